"""What comes out of pretraining is whole, in the published form, and says what it is."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tiny_network

from rin import backbones, records, weights
from rin.pretraining import card as cards
from rin.pretraining import export as exports

ALL_OF_IT = {"legacy", "weights", "classifier", "card"}


@pytest.fixture
def tiny(monkeypatch):
    row = dataclasses.replace(tiny_network.ROW, release="Tiny")
    monkeypatch.setitem(backbones.BACKBONES, "tiny", row)


def card(backbone="tiny", **changes):
    facts = {
        "classes": ("CT/lung/normal", "MR/knee/normal", "US/liver"),
        "preprocess": "official",
        "image_size": 32,
        "data_fingerprint": "0123456789abcdef",
        "protocol": "75/10/15",
        "n_images": {"train": 75, "val": 10, "test": 15},
        "recipe": {"epochs": 2, "optimizer": "adamw", "policies": ()},
        "metrics": {"test": {"top1": np.float32(0.5), "top5": float("nan")}},
        "phantom": True,
    }
    return cards.Card(backbone=backbone, **(facts | changes))


def network(backbone="tiny", size=32, seed=0):
    """A network whose tensors all differ, biases and batch norms included, by next to nothing."""
    keras.utils.set_random_seed(seed)
    made = backbones.build(backbone, trainable="all", n_classes=3, image_size=size)
    rng = np.random.default_rng(seed)
    made.set_weights([w + rng.normal(0, 1e-6, w.shape) for w in made.get_weights()])
    return made


def of_backbone(made):
    return [w for layer in made.layers[:-2] for w in layer.get_weights()]


def digest(arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def contents(folder):
    return {file.name: records.sha256(file) for file in folder.iterdir()}


def test_a_resnet50_goes_out_and_comes_back_with_its_classifier(tmp_path):
    trained = network("resnet50")
    files = exports.export(trained, "resnet50", tmp_path, card("resnet50", preprocess="unit"))
    assert set(files) == ALL_OF_IT and files["legacy"].name == "Pretrained-ResNet50_notop.h5"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        f.name for f in files.values()
    )
    written = cards.read(files["card"])
    assert (written.release, written.n_parameters) == ("ResNet50", 23_587_712)
    base = backbones.build_base("resnet50", 32)
    weights.load(base, files["legacy"])
    assert equal(base.get_weights(), of_backbone(trained))
    assert weights.native(files["legacy"], "resnet50") == "unit"  # the card says so
    again = exports.restore(files["card"])
    images = np.random.default_rng(1).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    assert equal(again.get_weights(), trained.get_weights())
    assert np.array_equal(again.predict(images, verbose=0), trained.predict(images, verbose=0))


FRESH = """
import hashlib, json, sys
import keras, numpy as np
def mark(model):
    arrays = [np.ascontiguousarray(w).tobytes() for w in model.get_weights()]
    return hashlib.sha256(b"".join(arrays)).hexdigest()
legacy, native = sys.argv[1:]
build = keras.applications.InceptionV3
model = build(include_top=False, weights=legacy, input_shape=(75, 75, 3), pooling="avg")
names, marks = [layer.name for layer in model.layers], [mark(model)]
for file, options in ((legacy, {"by_name": True}), (legacy, {}), (native, {})):
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    model.load_weights(file, **options)
    marks.append(mark(model))
marks.append(mark(keras.models.load_model(legacy, compile=False)))
print(json.dumps({"names": names, "marks": marks}))
"""


def test_an_inception_built_second_is_taken_by_keras_itself_in_a_fresh_process(tmp_path):
    again = backbones.build_base("inception_v3", 75)  # it takes the names conv2d, conv2d_1, …
    trained = network("inception_v3", 75)
    assert "conv2d" not in [layer.name for layer in trained.layers]
    told = card("inception_v3", image_size=75, phantom=False)
    files = exports.export(trained, "inception_v3", tmp_path, told, name="RadImageNet")
    assert files["legacy"].name == "RadImageNet-InceptionV3_notop.h5"
    command = [sys.executable, "-c", FRESH, str(files["legacy"]), str(files["weights"])]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    with h5py.File(files["legacy"]) as h5:
        names = list(h5["model_weights"].attrs["layer_names"])
        keys = list(h5["model_weights/batch_normalization_3"].attrs["weight_names"])
        assert "batch_normalization_3/beta:0" in h5["model_weights/batch_normalization_3"]
    assert names == found["names"] and names[:2] == ["input_layer", "conv2d"]
    assert keys == [
        "batch_normalization_3/beta:0",
        "batch_normalization_3/moving_mean:0",
        "batch_normalization_3/moving_variance:0",
    ]
    assert set(found["marks"]) == {digest(of_backbone(trained))}
    weights.load(again, files["weights"])
    assert equal(again.get_weights(), of_backbone(trained))
    again.set_weights([np.zeros_like(w) for w in again.get_weights()])
    weights.load(again, files["legacy"])
    assert equal(again.get_weights(), of_backbone(trained))


def test_two_exports_of_the_same_weights_are_equal_byte_by_byte(tiny, tmp_path):
    for name in ("one", "two"):
        exports.export(network(), "tiny", tmp_path / name, card())
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    exports.export(network(seed=1), "tiny", tmp_path / "two", card())
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert set(one) == set(two) and all(one[name] != two[name] for name in one)


def test_a_mixed_precision_leaves_no_trace_in_the_files(tiny, tmp_path):
    exports.export(network(), "tiny", tmp_path / "plain", card())
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        exports.export(network(), "tiny", tmp_path / "mixed", card())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert contents(tmp_path / "plain") == contents(tmp_path / "mixed")


@pytest.mark.parametrize("at", ["legacy", "save_weights", "card"])
def test_a_failure_midway_leaves_the_old_files(at, tiny, tmp_path, monkeypatch):
    exports.export(network(), "tiny", tmp_path, card())
    before = contents(tmp_path)

    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    place, name = {
        "legacy": (exports, "_write_legacy"),
        "save_weights": (keras.Sequential, "save_weights"),  # the classifier, the third file
        "card": (cards, "write"),
    }[at]
    monkeypatch.setattr(place, name, full_disk)
    with pytest.raises(OSError, match="no space left"):
        exports.export(network(seed=1), "tiny", tmp_path, card())
    assert contents(tmp_path) == before


def diverged():
    made = network()
    made.layers[1].bias.assign(np.full(made.layers[1].bias.shape, np.nan))
    return made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet50"}, "the card's backbone should be"),
        ({"backbone": "vgg"}, "`backbone` should be one of"),
        ({"name": "../up"}, "`name` should be the beginning of a file name"),
        ({"name": "RadImageNet"}, "where the images were phantoms"),
        ({"card": {"phantom": True}}, "should be a rin.pretraining.card.Card"),
        ({"card": lambda: card(classes=("a", "b"))}, "number of classes should be .* 3, not 2"),
        ({"card": lambda: card(image_size=64)}, "image_size should be .* 32, not 64"),
        ({"network": diverged}, "not finite, in first"),
        ({"network": lambda: backbones.build_base("tiny", 32)}, "should end in the layers"),
        ({"network": lambda: network("densenet121"), "backbone": "tiny"}, "layers differ"),
    ],
)
def test_what_does_not_fit_together_is_refused_and_nothing_written(
    arguments, message, tiny, tmp_path
):
    given = {"network": network, "backbone": "tiny", "card": card} | arguments
    made = {key: value() if callable(value) else value for key, value in given.items()}
    with pytest.raises(ValueError, match=message):
        exports.export(folder=tmp_path / "out", **made)
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_not_exported_is_not_overwritten(tiny, tmp_path):
    theirs = tmp_path / "RadImageNet-Tiny_notop.h5"
    theirs.write_text("from its authors")
    with pytest.raises(ValueError, match="RadImageNet-Tiny_notop.h5 is there and has no card"):
        exports.export(network(), "tiny", tmp_path, card(phantom=False), name="RadImageNet")
    assert theirs.read_text() == "from its authors"


def test_verify_says_which_files_are_missing_or_changed(tiny, tmp_path):
    files = exports.export(network(), "tiny", tmp_path, card())
    written = cards.read(files["card"])
    assert cards.verify(tmp_path, written) == {}
    files["weights"].unlink()
    files["legacy"].write_bytes(files["legacy"].read_bytes()[:-1])
    wrong = {"Pretrained-Tiny_notop.h5": "changed", "Pretrained-Tiny_notop.weights.h5": "missing"}
    assert cards.verify(tmp_path, written) == wrong
    with pytest.raises(ValueError, match="not as exported"):
        exports.restore(files["card"])
    with pytest.raises(cards.CardError, match="names no files"):
        cards.verify(tmp_path, card())


def test_a_card_comes_back_as_it_was_written(tmp_path):
    cards.write(card(), tmp_path / "a.card.json")
    assert cards.read(tmp_path / "a.card.json") == card()
    found = json.loads((tmp_path / "a.card.json").read_text())
    assert found["preprocess"] == "official" and found["phantom"] is True
    assert found["metrics"] == {"test": {"top1": 0.5, "top5": None}}
    assert "not a finding" in found["terms"] and "memorise" in found["terms"]
    assert "not a finding" not in card(phantom=False).terms


def test_native_is_put_into_the_words_of_the_backbone():
    assert card("resnet50", preprocess="native").preprocess == "caffe"
    assert card("densenet121", preprocess="native").preprocess == "torch"
    natives = {row.native for row in backbones.BACKBONES.values()}
    assert set(cards.FED) == natives | set(backbones.PREPROCESSES) - {"native"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phantom": None}, "`phantom` should be a filled bool"),
        ({"phantom": "no"}, "`phantom`"),
        ({"preprocess": "imagenet"}, "`preprocess` should be one of"),
        ({"backbone": "vgg", "preprocess": "native"}, "`backbone` should be one of"),
        ({"classes": ("a", "a")}, "two or more different names"),
        ({"classes": ("a", 1)}, "two or more different names"),
        ({"image_size": 32.5}, "`image_size`"),
        ({"data_fingerprint": ""}, "`data_fingerprint`"),
        ({"n_images": {"train": 3}}, "a count for each of"),
        ({"n_images": {"train": 3, "val": -1, "test": 1}}, "a count for each of"),
        ({"recipe": {"init": "/home/someone/weights.h5"}}, "`recipe: init` should hold no path"),
        ({"recipe": {"layer": keras.layers.Dense}}, "text, numbers, lists or dicts"),
    ],
)
def test_a_card_refuses_what_it_may_not_hold(changes, message):
    with pytest.raises(cards.CardError, match=message):
        card(**changes)


def test_a_card_needs_its_phantom_flag(tmp_path):
    facts = dataclasses.asdict(card())
    del facts["phantom"]
    with pytest.raises(TypeError, match="phantom"):
        cards.Card(**facts)
    file = tmp_path / "a.card.json"
    for text, message in [
        (json.dumps(facts), "a.card.json: not a whole card, it has no phantom"),
        (json.dumps(facts | {"phantom": 1}), "a.card.json: `phantom` should be"),
        ("{", "a.card.json: expected a card in JSON"),
        ("[]", "a.card.json: not a whole card"),
    ]:
        file.write_text(text)
        with pytest.raises(cards.CardError, match=message):
            cards.read(file)
    with pytest.raises(cards.CardError, match="b.card.json: can't be read"):
        cards.read(tmp_path / "b.card.json")


def test_a_card_is_shown_as_a_table_and_as_markdown():
    table = cards.table(card()).set_index("item")["value"]
    assert table["classes"] == "3" and table["n_images: train"] == "75"
    assert table["metrics: test: top1"] == "0.5" and table["metrics: test: top5"] == "not measured"
    assert table["phantom"] == "yes. Pretrained on phantoms: this file is not a finding."
    text = cards.markdown(card(protocol="a|b"))
    assert text.startswith("## tiny, pretrained on 3 classes\n\nPretrained on phantoms")
    assert r"| protocol | a\|b |" in text and "`CT/lung/normal`, `MR/knee/normal`" in text
