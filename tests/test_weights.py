"""Weights arrive whole or not at all."""

import h5py
import keras
import numpy as np
import pytest

from rin import backbones, weights

pytestmark = pytest.mark.filterwarnings("ignore:.*legacy.*")
SIZE = 75


def saved(tmp_path, name):
    """A legacy file of random weights, and the weights."""
    model = backbones.build_base(name, SIZE)
    file = tmp_path / f"{name}.h5"
    model.save(file)
    return file, model.get_weights()


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("weights"), "resnet50")


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_every_tensor_arrives_also_in_a_second_build_with_other_layer_numbers(name, tmp_path):
    file, expected = saved(tmp_path, name)
    model = backbones.build_base(name, SIZE)
    report = weights.load(model, file)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), expected, strict=True))
    assert report.n_tensors == len(expected) and report.known_as is None
    assert len(report.sha256) == 64 and report.source == file.name


def test_build_takes_a_file_as_init(resnet):
    file, expected = resnet
    model = backbones.build("resnet50", init=str(file), image_size=SIZE)
    assert np.array_equal(model.get_layer("conv1_conv").get_weights()[0], expected[0])


def broken(kind, source, folder):
    """A copy of the file with one thing wrong."""
    file = folder / f"{kind}.h5"
    file.write_bytes(source.read_bytes())
    if kind == "truncated":
        file.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    elif kind == "text":
        file.write_text("not weights")
    else:
        with h5py.File(file, "r+") as h5:
            _spoil(kind, h5["model_weights"])
    return file


def _spoil(kind, home):
    if kind == "renamed":
        home.move("conv1_conv", "first_conv")
        names = [n if n != b"conv1_conv" else b"first_conv" for n in _bytes(home)]
        home.attrs["layer_names"] = names
    elif kind == "missing layer":
        home.attrs["layer_names"] = [n for n in _bytes(home) if n != b"conv1_conv"]
    elif kind == "not finite":
        _kernel(home)[0, 0, 0, 0] = np.nan
    elif kind == "one channel":
        place = _kernel(home).name
        values = _kernel(home)[:, :, :1]
        del home.file[place]
        home.file[place] = values


def _bytes(home):
    return [n if isinstance(n, bytes) else n.encode() for n in home.attrs["layer_names"]]


def _kernel(home):
    found = []
    home["conv1_conv"].visititems(lambda n, o: found.append(o) if "kernel" in n else None)
    return next(o for o in found if isinstance(o, h5py.Dataset))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "damaged or incomplete"),
        ("text", "not an HDF5 file"),
        ("renamed", "its layers are not the model's"),
        ("missing layer", "Missing in the file: 1"),
        ("not finite", "not finite"),
        ("one channel", "has shape"),
    ],
)
def test_a_spoiled_file_changes_nothing(kind, message, resnet, tmp_path):
    file = broken(kind, resnet[0], tmp_path)
    model = backbones.build_base("resnet50", SIZE)
    before = model.get_weights()
    with pytest.raises(weights.WeightsError, match=message):
        weights.load(model, file)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_another_architectures_file_is_refused(resnet):
    with pytest.raises(weights.WeightsError, match="unknown to the model"):
        weights.load(backbones.build_base("densenet121", SIZE), resnet[0])


def test_published_files_are_found_under_all_their_names(resnet, tmp_path, monkeypatch):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    model = backbones.build_base("resnet50", SIZE)
    with pytest.raises(weights.WeightsError, match="ask their authors"):
        weights.load(model, "radimagenet")
    (tmp_path / "RadImageNet-ResNet50-notop.h5").write_bytes(resnet[0].read_bytes())
    assert weights.load(model, "radimagenet").source == "RadImageNet-ResNet50-notop.h5"


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(weights.WeightsError, match="nowhere.h5"):
        weights.load(backbones.build_base("resnet50", SIZE), "/nowhere.h5")


def test_imagenet_without_a_network_says_where_to_put_the_file(monkeypatch):
    model = backbones.build_base("resnet50", SIZE)

    def offline(*args, **kwargs):
        raise Exception("URL fetch failure")

    row = backbones.BACKBONES["resnet50"]
    fake = backbones.Backbone(offline, row.n_features, row.native, row.cam_layer, row.release)
    monkeypatch.setitem(backbones.BACKBONES, "resnet50", fake)
    with pytest.raises(weights.WeightsError, match=r"\.keras/models"):
        weights.load(model, "imagenet")


def test_a_keras_3_file_is_told_by_its_content(tmp_path):
    small = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    small.save_weights(tmp_path / "small.weights.h5")
    with pytest.raises(weights.WeightsError, match="legacy Keras"):
        weights.load(backbones.build_base("resnet50", SIZE), tmp_path / "small.weights.h5")
