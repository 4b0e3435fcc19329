"""All four backbones: what trains, what comes out, and what goes in."""

import h5py
import keras
import numpy as np
import pytest

from rin import backbones, scenarios

pytestmark = pytest.mark.core
SIZE = 75  # the smallest that the Inceptions take
# Source: counted in Keras 3.15.1 in `layers[:-10]` of the backbone without top, average-pooled
TOP10_PARAMETERS = {
    "resnet50": 3_416_576,
    "densenet121": 168_128,
    "inception_v3": 192,
    "inception_resnet_v2": 4_130_592,
}
NATIVE = {
    "resnet50": keras.applications.resnet50.preprocess_input,
    "densenet121": keras.applications.densenet.preprocess_input,
    "inception_v3": keras.applications.inception_v3.preprocess_input,
    "inception_resnet_v2": keras.applications.inception_resnet_v2.preprocess_input,
}


def n_trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def rgb():
    return np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_head_and_top10_free_what_the_official_code_frees(name):
    row = backbones.BACKBONES[name]
    model = backbones.build(name, trainable="head", image_size=SIZE)
    classifier = 2 * row.n_features + 2
    assert n_trainable(model) == classifier
    assert model.output_shape == (None, 2)
    assert row.cam_layer in {layer.name for layer in model.layers}
    base = model.layers[:-2]  # without dropout and classifier
    assert [layer.name for layer in model.layers[-2:]] == ["dropout", "classifier"]
    for position, layer in enumerate(base):
        layer.trainable = position >= len(base) - 10
    assert n_trainable(model) == TOP10_PARAMETERS[name] + classifier
    assert n_trainable(backbones.build(name, trainable="top10", image_size=SIZE)) == n_trainable(
        model
    )


def test_all_frees_everything_that_batch_norm_does_not_keep_for_itself():
    model = backbones.build("densenet121", trainable="all", image_size=32)
    moving = sum(int(np.prod(v.shape)) for v in model.variables if "moving" in v.path)
    assert n_trainable(model) + moving == model.count_params()


def test_the_pediatric_head_has_as_many_parameters_as_the_study_implies():
    model = backbones.build("resnet50", classifier="flatten", image_size=256)
    assert n_trainable(model) == 262_146
    assert model.layers[-1].activation is keras.activations.sigmoid


def test_the_scenarios_name_the_same_backbones_and_trainables():
    assert set(scenarios.BACKBONES) == set(backbones.BACKBONES)
    assert set(scenarios.LEARNING_RATES) == set(backbones.TRAINABLES)


def test_official_is_what_the_official_generator_feeds():
    """Augment first, then caffe, then /255: Keras's own order inside ImageDataGenerator."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    caffe = keras.applications.imagenet_utils.preprocess_input
    generator = ImageDataGenerator(preprocessing_function=caffe, rescale=1 / 255)
    for image in rgb():
        theirs = generator.standardize(image.copy())
        for name in backbones.BACKBONES:  # the same for every backbone
            ours = np.asarray(backbones.preprocess(image[None], "official", name))[0]
            assert np.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_native_is_keras_own_function(name):
    ours = np.asarray(backbones.preprocess(rgb(), "native", name))
    assert np.allclose(ours, NATIVE[name](rgb()), atol=1e-5)


@pytest.mark.parametrize(
    ("init", "backbone", "expected"),
    [
        ("random", "resnet50", "caffe"),
        ("imagenet", "densenet121", "torch"),
        (None, "inception_v3", "tf"),
    ],
)
def test_native_names_what_an_init_was_trained_with(init, backbone, expected):
    assert backbones.fed("native", backbone, init) == expected
    assert backbones.fed("official", backbone, init) == "official"


def test_native_of_a_file_is_what_its_card_says(tmp_path):
    file = tmp_path / "Mine-ResNet50_notop.h5"
    with h5py.File(file, "w") as h5:
        h5.attrs["layer_names"] = []
    (tmp_path / "Mine-ResNet50_notop.card.json").write_text('{"preprocess": "unit"}')
    assert backbones.fed("native", "resnet50", str(file)) == "unit"
    center, scale = backbones.center_and_scale("native", "resnet50", str(file))
    assert center.tolist() == [0, 0, 0] and scale.tolist() == [255, 255, 255]


def test_native_of_radimagenet_is_official(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "RadImageNet-ResNet50_notop.h5", "w") as h5:
        h5.attrs["layer_names"] = []
    monkeypatch.setenv("RIN_WEIGHTS", str(tmp_path))
    assert backbones.fed("native", "resnet50", "radimagenet") == "official"


def test_signed_bgr_and_unit_have_their_ranges_and_channel_order():
    blue = np.zeros((1, 2, 2, 3), "float32")
    blue[..., 2] = 255
    signed = np.asarray(backbones.preprocess(blue, "signed_bgr", "resnet50"))
    assert (signed[..., 0] == 1).all() and (signed[..., 1:] == -1).all()
    assert np.allclose(backbones.preprocess(blue, "unit", "resnet50"), blue / 255)


@pytest.mark.parametrize("mode", backbones.PREPROCESSES)
def test_gray_is_the_same_as_three_equal_channels(mode):
    gray = np.random.default_rng(1).integers(0, 256, (2, 4, 4, 1)).astype("uint8")
    three = np.repeat(gray, 3, axis=-1)
    a, b = (backbones.preprocess(x, mode, "densenet121") for x in (gray, three))
    assert np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    "argument",
    [{"backbone": "vgg"}, {"trainable": "top5"}, {"classifier": "mean"}],
)
def test_a_wrong_choice_is_refused_with_the_choices(argument):
    given = {"backbone": "resnet50"} | argument
    with pytest.raises(ValueError, match=rf"`{next(iter(argument))}` should be one of"):
        backbones.build(**given)
