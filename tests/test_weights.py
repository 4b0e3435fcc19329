"""Weights arrive whole or not at all."""

import inspect
import json
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tiny_weights as tiny

from rin import backbones, records, weights
from rin.weights import collapse, files, imagenet

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore:.*legacy.*")]
KINDS = ("full", "only", "keras 3", "archive")


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny.ROW)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file of each Keras format, and the weights in all of them."""
    folder, model = tmp_path_factory.mktemp("weights"), tiny.filled()
    return {kind: tiny.write(model, folder, kind) for kind in KINDS}, model.get_weights()


@pytest.fixture
def copied(written, tmp_path):
    """`copied(kind, name)`: one of these files under another name."""

    def copy(kind, name):
        file = tmp_path / name
        file.write_bytes(written[0][kind].read_bytes())
        return file

    return copy


def same(values, others):
    return all(np.array_equal(a, b) for a, b in zip(values, others, strict=True))


def refused(file, message, model=None, backbone="tiny"):
    """Loading raises this message, which names the file, and the model stays as it was."""
    model = model or tiny.filled(seed=1)
    before = model.get_weights()
    with pytest.raises(weights.WeightsError, match=message) as caught:
        weights.load(model, file, backbone=backbone)
    assert file.name in str(caught.value)
    assert same(model.get_weights(), before)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_arrives_in_a_model_whose_layers_have_other_numbers(kind, written):
    model = tiny.build()
    report = weights.load(model, written[0][kind], backbone="tiny")
    assert same(model.get_weights(), written[1])
    assert (report.n_layers, report.n_tensors, report.known_as) == (9, 20, None)
    assert report.n_parameters == sum(value.size for value in written[1])
    assert report.sha256 == weights.fingerprint(written[0][kind], "tiny")
    assert len(report.sha256) == 64 and report.source == written[0][kind].name


@pytest.mark.parametrize(
    ("kind", "name", "format"),
    [
        ("full", "a.weights.h5", "legacy Keras .h5, full model"),
        ("only", "a.weights.h5", "legacy Keras .h5, weights only"),
        ("keras 3", "a.h5", "Keras 3 .weights.h5"),
        ("archive", "a.h5", "Keras 3 .keras archive"),
        ("full", "a.keras", "legacy Keras .h5, full model"),
        ("keras 3", "a.pt", "Keras 3 .weights.h5"),
    ],
)
def test_content_and_not_the_suffix_tells_the_format(kind, name, format, copied, written):
    model = tiny.build()
    assert weights.load(model, copied(kind, name), backbone="tiny").format == format
    assert same(model.get_weights(), written[1])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.h5", b"", "an empty file; expected a Keras .h5"),
        ("words.h5", b"not weights", "text that begins 'not weights'; expected a Keras .h5"),
        ("page.h5", b"\n<!DOCTYPE html><html>Quota exceeded", "an HTML page"),
        ("ref.h5", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs pointer"),
        ("noise.h5", bytes(range(64)), "unknown content that begins with the bytes 00 01 02"),
    ],
)
def test_what_is_no_weight_file_is_called_by_its_name(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_truncated_file_is_told(kind, share, copied):
    file = copied(kind, "cut.h5")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    refused(file, f"damaged or incomplete, {file.stat().st_size:,} bytes")


def test_a_truncated_published_file_is_measured_against_the_public_record(copied):
    file = copied("full", "RadImageNet-ResNet50_notop.h5")
    file.write_bytes(file.read_bytes()[:5000])
    refused(file, "5,000 bytes of 94,852,768")


def test_the_download_of_all_models_is_to_be_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "models.zip", "w") as archive:
        archive.writestr("RadImageNet-ResNet50_notop.h5", "weights")
    refused(tmp_path / "models.zip", "an archive of 1 files, such as .*unpack it first")


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as h5:
        h5["pixels"] = np.zeros(3)
    refused(tmp_path / "data.h5", r"without Keras's layers, its top level holds \['pixels'\]")


def spoil(kind, home):
    """One thing wrong in an open legacy file."""
    stem = tiny.tensor(home, "stem", "kernel")
    if kind == "renamed":
        tiny.rename(home, "stem", "first")
    elif kind == "missing layer":
        home.attrs["layer_names"] = [n for n in tiny.listing(home) if n != "stem"]
    elif kind == "extra layer":
        home.copy(home["stem"], home, "classifier")
        home.attrs["layer_names"] = [*tiny.listing(home), "classifier"]
    elif kind == "missing tensor":
        home["stem"].attrs["weight_names"] = list(home["stem"].attrs["weight_names"])[:1]
    elif kind == "lost tensor":
        del home.file[stem.name]
    elif kind == "one channel":
        tiny.replace(home, "stem", "kernel", stem[:, :, :1])
    elif kind == "other shape":
        tiny.replace(home, "stem", "kernel", np.zeros((5, 5, 3, 4), "float32"))
    elif kind == "not finite":
        stem[0, 0, 0, 0] = np.nan
    elif kind == "too large for float32":
        tiny.replace(home, "stem", "kernel", np.full(stem.shape, 1e39))
    elif kind == "whole numbers":
        tiny.replace(home, "stem", "kernel", np.ones(stem.shape, int))
    elif kind == "another file's":
        place = stem.name
        del home.file[place]
        home.file[place] = h5py.ExternalLink("full.h5", place)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("renamed", r"Missing in the file: 1 \['stem'\]; unknown to the model: 1 \['first'\]"),
        ("missing layer", r"Missing in the file: 1 \['stem'\]; unknown to the model: 0 \[\]"),
        ("extra layer", r"Missing in the file: 0 \[\]; unknown to the model: 1 \['classifier'\]"),
        ("missing tensor", r"tensors of layer stem are not the model's. Missing in the file: 1"),
        ("lost tensor", "damaged or incomplete"),
        ("one channel", r"stem/kernel has shape \(3, 3, 1, 4\), expected .* images of 1 channel,"),
        ("other shape", r"stem/kernel has shape \(5, 5, 3, 4\), expected \(3, 3, 3, 4\)$"),
        ("not finite", "stem/kernel holds values that are not finite"),
        ("too large for float32", "stem/kernel holds values that are not finite"),
        ("whole numbers", "stem/kernel holds int64 values, expected floats"),
        ("another file's", "stem/kernel.* lies in another file"),
    ],
)
def test_a_spoiled_file_changes_nothing(kind, message, copied):
    copied("full", "full.h5")
    file = copied("full", "spoiled.h5")
    with h5py.File(file, "r+") as h5:
        spoil(kind, h5["model_weights"])
    refused(file, message)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_more": 1}, r"Missing in the file: 2 \['batch_normalization#3', 'conv2d#3'\]; unknown"),
        ({"stride": 2}, r"last strides=.1, 1., expected \(2, 2\)"),
        ({"epsilon": 1e-5}, "stem_bn epsilon=0.001, expected 1e-05"),
    ],
)
def test_a_file_of_another_architecture_is_refused_as_far_as_its_format_can_tell(
    kind, change, message, written
):
    if kind in ("only", "keras 3") and "n_more" not in change:
        model = tiny.build(**change)  # weights alone say nothing of strides and epsilons
        weights.load(model, written[0][kind], backbone="tiny")
        assert same(model.get_weights(), written[1])
    else:
        refused(written[0][kind], message, tiny.filled(seed=1, **change))


def auto_numbered(home, kind="conv2d"):
    """Auto-numbered layers by their number: first the short branch, then the long one."""
    names = [n for n in tiny.listing(home) if re.fullmatch(rf"{kind}(_\d+)?", n)]
    return sorted(names, key=lambda name: int(re.sub(r"\D", "", name[len(kind) :]) or 0))


def test_auto_numbered_layers_listed_against_their_numbers_are_refused(copied):
    file = copied("full", "swapped.h5")
    with h5py.File(file, "r+") as h5:
        short, long, _ = auto_numbered(h5["model_weights"])
        tiny.swap(h5["model_weights"], short, long)
    refused(file, f"it lists {short} before batch_normalization.*can't be trusted")


def test_auto_numbered_layers_that_changed_names_are_refused(copied):
    file = copied("full", "swapped.h5")
    with h5py.File(file, "r+") as h5:
        home = h5["model_weights"]
        short, long, _ = auto_numbered(home)
        for before, after in ((short, "held"), (long, short), ("held", long)):
            tiny.rename(home, before, after)
    refused(file, "can't be trusted")


def test_named_layers_of_the_same_shapes_listed_in_another_order_arrive_by_name(tmp_path):
    def twins():
        x = image = keras.Input((tiny.SIZE, tiny.SIZE, 3))
        for name in ("one", "two"):
            x = keras.layers.Conv2D(3, 1, name=name)(x)
        return keras.Model(image, x)

    source, model = twins(), twins()
    source.save(tmp_path / "twins.h5")
    with h5py.File(tmp_path / "twins.h5", "r+") as h5:
        tiny.swap(h5["model_weights"], "one", "two")
    weights.load(model, tmp_path / "twins.h5", backbone="tiny")
    assert same(model.get_weights(), source.get_weights())


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "bare pickle"])
def test_a_pickle_with_code_inside_is_refused_and_not_run(archive, tmp_path):
    mark = tmp_path / "ran"
    file = tiny.pickled(tmp_path / "evil.pt", f"touch {mark}", archive)
    refused(file, "holds objects or code beside tensors|needs torch", backbone="resnet50")
    with pytest.raises(weights.WeightsError):
        weights.native(file, "resnet50")
    assert not mark.exists()


def test_a_model_that_can_not_hold_the_values_keeps_its_own(copied):
    keras.config.set_dtype_policy("float16")
    try:
        model = tiny.filled(seed=1)
    finally:
        keras.config.set_dtype_policy("float32")
    refused(copied("only", "a.h5"), r"\(float16\) did not take its value", model)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(weights.WeightsError, match="nowhere.h5.*there is no such file"):
        weights.load(tiny.build(), "/nowhere.h5", backbone="tiny")
    with pytest.raises(weights.WeightsError, match="that is a folder"):
        weights.load(tiny.build(), tmp_path, backbone="tiny")


def test_random_is_not_loaded():
    with pytest.raises(weights.WeightsError, match="build the model with init=None"):
        weights.load(tiny.build(), "random", backbone="tiny")


def test_a_model_that_no_backbone_is_named_after_needs_a_name(written):
    with pytest.raises(weights.WeightsError, match="is none of .*'resnet50'.*name its backbone"):
        weights.load(tiny.build(), written[0]["full"])


def test_published_files_are_found_under_all_their_names_in_a_fixed_order(
    copied, tmp_path, monkeypatch
):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(weights.WeightsError, match="ask their authors.*RadImageNet-Tiny_notop.h5"):
        weights.load(tiny.build(), "radimagenet", backbone="tiny")
    for name in reversed(files.spellings("tiny")):  # each found before those that lie there
        copied("full", name)
        report = weights.load(tiny.build(), "radimagenet", backbone="tiny")
        assert (report.source, report.preprocess) == (name, "official")
    assert weights.fingerprint("radimagenet", "tiny") == report.sha256


def test_both_names_of_the_fourth_network_are_looked_for():
    names = files.spellings("inception_resnet_v2")
    assert names[0] == "RadImageNet-IRV2_notop.h5" and len(names) == 8
    assert {"RadImageNet-IRV2-notop.h5", "RadImageNet-InceptionResNetV2_notop.h5"} < set(names)


@pytest.mark.parametrize("init", [None, "random", "imagenet"])
def test_native_is_keras_own_transform_where_keras_made_the_weights(init):
    found = [weights.native(init, name) for name in ("resnet50", "densenet121", "inception_v3")]
    assert found == ["caffe", "torch", "tf"]


def test_native_is_what_the_card_says_and_a_file_without_one_is_asked_about(copied):
    file = copied("keras 3", "mine.weights.h5")
    with pytest.raises(weights.WeightsError, match="write mine.card.json beside it"):
        weights.native(file, "tiny")
    assert weights.load(tiny.build(), file, backbone="tiny").preprocess is None
    tiny.card(file, preprocess="unit")
    assert weights.native(file, "tiny") == "unit"
    assert weights.native(copied("archive", "mine.keras"), "tiny") == "unit"
    assert weights.load(tiny.build(), file, backbone="tiny").preprocess == "unit"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "mine.card.json: not a JSON card"),
        ("[]", "`preprocess` should be one of .* Received: None"),
        (json.dumps({"preprocess": "native"}), "Received: 'native'"),
    ],
)
def test_a_card_that_says_nothing_changes_nothing(text, message, copied, tmp_path):
    file = copied("full", "mine.h5")
    (tmp_path / "mine.card.json").write_text(text)
    model = tiny.filled(seed=1)
    before = model.get_weights()
    with pytest.raises(weights.WeightsError, match=message):
        weights.load(model, file, backbone="tiny")
    assert same(model.get_weights(), before)


def test_a_file_known_by_its_hash_is_official_whatever_it_is_called(copied, monkeypatch):
    file = copied("full", "renamed.h5")
    size = file.stat().st_size
    known = files.Known("RadImageNet Tiny", "RadImageNet-Tiny_notop.h5", size, "official")
    monkeypatch.setitem(weights.KNOWN, records.sha256(file), known)
    report = weights.load(tiny.build(), file, backbone="tiny")
    assert (report.known_as, report.preprocess) == ("RadImageNet Tiny", "official")
    assert weights.native(file, "tiny") == "official"


def test_a_network_that_answers_every_image_alike_is_called_collapsed(tmp_path, written):
    model = tiny.filled()
    model.get_layer("last").set_weights([np.zeros((1, 1, 4, 5)), np.ones(5)])
    file = tiny.write(model, tmp_path, "full")
    with pytest.warns(weights.CollapsedWarning, match="full.h5: its features hardly differ"):
        report = weights.load(tiny.build(), file, backbone="tiny")
    assert report.collapsed and report.feature_spread < 1e-6
    report = weights.load(tiny.build(), written[0]["full"], backbone="tiny")
    assert not report.collapsed and report.feature_spread > 0.1


def test_features_are_pooled_and_left_alone_on_request(written):
    file, model = written[0]["only"], tiny.build(pooling=None)
    report = weights.load(model, file, backbone="tiny")
    pooled = weights.load(tiny.build(), file, backbone="tiny")
    assert report.feature_spread == pytest.approx(pooled.feature_spread, rel=1e-4)
    report = weights.load(model, file, backbone="tiny", check_features=False)
    assert report.feature_spread is None and report.collapsed is None


def test_the_spread_is_the_deviation_between_images_over_the_mean():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    means = collapse.patterns(8).mean(axis=(1, 2)) / 255
    expected = means.std() / means.mean()
    assert collapse.feature_spread(model, "unit", "resnet50") == pytest.approx(expected, rel=1e-5)
    silent = keras.Model(image, keras.layers.Rescaling(0.0)(image))
    assert collapse.feature_spread(silent, "unit", "resnet50") == 0


@pytest.mark.parametrize("preprocess", files.PREPROCESSES)
def test_features_can_be_looked_at_with_every_preprocess(preprocess):
    assert collapse.feature_spread(tiny.filled(), preprocess, "tiny") > 0.05


def test_a_page_shows_a_report_as_a_table(written):
    report = weights.load(tiny.build(), written[0]["full"], backbone="tiny")
    shown = weights.table(report).set_index("fact")["value"]
    assert shown["layers, tensors"] == "9, 20: all loaded and verified"
    assert shown["known as"] == "no public record of this file"
    assert shown["native preprocess"].startswith("unknown")
    assert shown["features on test patterns"].startswith("differ: spread 0.")


def keras_download(monkeypatch, builder):
    row = backbones.Backbone(builder, 5, "tf", "last", "Tiny")
    monkeypatch.setitem(backbones.BACKBONES, "tiny", row)


def test_imagenet_weights_are_those_that_keras_builds_with(monkeypatch):
    source, model = tiny.filled(pooling=None), tiny.build()
    keras_download(monkeypatch, lambda **options: source)
    report = weights.load(model, "imagenet", backbone="tiny")
    assert same(model.get_weights(), source.get_weights())
    assert (report.source, report.sha256, report.preprocess) == ("imagenet", None, "tf")
    assert "known as" not in set(weights.table(report)["fact"])


def test_imagenet_without_a_network_says_which_file_to_put_where(monkeypatch):
    def offline(**options):
        raise Exception("URL fetch failure\nand a long trace")

    keras_download(monkeypatch, offline)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    with pytest.raises(
        weights.WeightsError, match=r"failure\).* tiny_.*_notop.h5 into ~/.keras/mo"
    ):
        weights.load(tiny.build(), "imagenet", backbone="tiny")


def test_imagenet_weights_do_not_fit_another_architecture(monkeypatch):
    keras_download(monkeypatch, lambda **options: tiny.filled())
    with pytest.raises(weights.WeightsError, match="has 24 tensors that are not those of tiny"):
        weights.load(tiny.build(n_more=1), "imagenet", backbone="tiny")


def test_the_file_named_is_the_one_keras_looks_for(monkeypatch):
    asked = []

    def get_file(fname, *args, **options):
        asked.append(fname)
        raise Exception("offline")

    monkeypatch.setattr(keras.src.applications.resnet.file_utils, "get_file", get_file)
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    with pytest.raises(weights.WeightsError, match=imagenet.file_name("resnet50")):
        weights.load(model, "imagenet", backbone="resnet50")
    assert asked == [imagenet.file_name("resnet50")]


@pytest.mark.parametrize("name", ["densenet121", "inception_v3", "inception_resnet_v2"])
def test_keras_source_names_the_other_networks_files(name):
    source = inspect.getsource(inspect.getmodule(backbones.BACKBONES[name].builder))
    assert imagenet.file_name(name) in re.sub(r"[\s\"]", "", source)  # long names stand in parts
