"""All four backbones come back from every Keras format; a Keras 3 file is read by its ranks."""

import zipfile

import h5py
import numpy as np
import pytest
import tiny_weights as tiny

from rin import backbones, weights
from rin.weights import formats

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore:.*legacy.*")]
SIZE = 75
SLOW = {"inception_resnet_v2"}
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in backbones.BACKBONES
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """`built(name)`: a backbone's files, its weights and a second build with other numbers."""
    done = {}

    def once(name):
        if name not in done:
            folder, source = tmp_path_factory.mktemp(name), backbones.build_base(name, SIZE)
            written = [tiny.write(source, folder, kind) for kind in ("full", "keras 3", "archive")]
            done[name] = written, source.get_weights(), backbones.build_base(name, SIZE)
        return done[name]

    return once


def same(values, others):
    return all(np.array_equal(a, b) for a, b in zip(values, others, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_arrives_also_in_a_second_build_with_other_layer_numbers(name, built):
    written, expected, model = built(name)
    for i, file in enumerate(written):
        model.set_weights([value + 1 for value in expected])
        report = weights.load(model, file, check_features=i == 0)
        assert same(model.get_weights(), expected), report.format
        assert report.n_tensors == len(expected)
        assert i or report.feature_spread > 0.1  # see rin.weights.collapse


def test_another_architectures_file_is_refused(built):
    for file in built("resnet50")[0]:
        model = built("densenet121")[2]
        before = model.get_weights()
        with pytest.raises(weights.WeightsError, match="Missing in the file: .*unknown to the"):
            weights.load(model, file)
        assert same(model.get_weights(), before)


def test_build_takes_a_file_as_init(built):
    written, expected, _ = built("resnet50")
    model = backbones.build("resnet50", init=str(written[0]), image_size=SIZE)
    assert np.array_equal(model.get_layer("conv1_conv").get_weights()[0], expected[0])


@pytest.fixture
def keras_3(tmp_path):
    return tiny.write(tiny.filled(), tmp_path, "keras 3")


def read(file, model):
    return formats.read(file, model, "tiny").layers


def noted(h5, key):
    return h5[f"layers/{key}/vars"].attrs["name"]


def test_a_keras_3_file_gives_each_layer_the_models_own_name(keras_3):
    model = tiny.build()
    layers = read(keras_3, model)
    names = [layer.name for layer in model.layers if layer.weights]
    assert list(layers) == names
    assert list(layers["stem_bn"]) == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert layers["stem"]["kernel"].shape == (3, 3, 3, 4)


def test_a_keras_3_file_without_names_is_read_by_class_and_rank(keras_3):
    source, model = tiny.filled(), tiny.build()
    with h5py.File(keras_3, "r+") as h5:
        for key in h5["layers"]:
            del h5[f"layers/{key}/vars"].attrs["name"]
    layers = read(keras_3, model)
    theirs = {layer.name: layer.get_weights()[0] for layer in source.layers if layer.weights}
    for (name, tensors), expected in zip(layers.items(), theirs.values(), strict=True):
        assert np.array_equal(next(iter(tensors.values())), expected), name


@pytest.mark.parametrize(
    ("one", "other"), [("conv2d_1", "conv2d_2"), ("conv2d_2", "conv2d_3"), ("conv2d", "conv2d_4")]
)
def test_keras_3_layers_whose_names_and_ranks_disagree_are_refused(one, other, keras_3):
    with h5py.File(keras_3, "r+") as h5:
        first, second = noted(h5, one), noted(h5, other)
        h5[f"layers/{one}/vars"].attrs["name"] = second
        h5[f"layers/{other}/vars"].attrs["name"] = first
    with pytest.raises(weights.WeightsError, match="2 layers stand in another order"):
        read(keras_3, tiny.build())


def test_keras_3_groups_in_each_others_place_are_refused(keras_3):
    with h5py.File(keras_3, "r+") as h5:
        for before, after in (("conv2d_1", "x"), ("conv2d_2", "conv2d_1"), ("x", "conv2d_2")):
            h5["layers"].move(before, after)
    with pytest.raises(weights.WeightsError, match="2 layers stand in another order"):
        read(keras_3, tiny.build())


def test_layers_without_weights_tell_architectures_of_the_same_shapes_apart(keras_3):
    import keras

    model = tiny.build(pool=keras.layers.AveragePooling2D)
    with pytest.raises(weights.WeightsError, match=r"'average_pooling2d'\]; unknown.*'max_poolin"):
        read(keras_3, model)


def test_a_keras_3_layer_of_more_tensors_is_refused(keras_3):
    with h5py.File(keras_3, "r+") as h5:
        h5["layers/conv2d_1/vars/1"] = np.zeros(4)
    with pytest.raises(weights.WeightsError, match=r"has 2 tensors, expected 1 \['kernel'\]"):
        read(keras_3, tiny.build())


def test_a_keras_3_file_holds_the_optimizer_of_a_trained_model_beside_its_layers(tmp_path):
    source = tiny.filled()
    source.compile("adam", "mse")
    source.optimizer.build(source.trainable_variables)
    for kind in ("keras 3", "archive", "full"):
        model = tiny.build()
        weights.load(model, tiny.write(source, tmp_path, kind), "tiny", check_features=False)
        assert same(model.get_weights(), source.get_weights())


def test_a_model_in_a_model_is_refused(tmp_path):
    import keras

    outer = keras.Sequential([keras.Input((tiny.SIZE, tiny.SIZE, 3)), tiny.filled()])
    for kind in ("full", "keras 3", "archive"):
        with pytest.raises(weights.WeightsError, match="is a model itself, expected one layer"):
            read(tiny.write(outer, tmp_path, kind), tiny.build())


def test_a_damaged_archive_is_told_by_its_checksum(tmp_path):
    file = tiny.write(tiny.filled(), tmp_path, "archive")
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("model.weights.h5").header_offset
    content = bytearray(file.read_bytes())
    content[start + 5000] ^= 255
    file.write_bytes(content)
    with pytest.raises(weights.WeightsError, match="damaged or incomplete.*Bad CRC-32"):
        read(file, tiny.build())


def test_a_long_list_of_layers_is_read_from_all_its_parts(tmp_path):
    file = tiny.write(tiny.filled(), tmp_path, "full")
    with h5py.File(file, "r+") as h5:
        home = h5["model_weights"]
        names = tiny.listing(home)
        del home.attrs["layer_names"]
        home.attrs["layer_names0"], home.attrs["layer_names1"] = names[:7], names[7:]
    assert len(read(file, tiny.build())) == 9
