"""Grad-CAM in closed form: what autodiff finds, in one forward pass."""

import gc
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
import tiny_network

from rin import backbones
from rin.devices import computing_in
from rin.gradcam import choices, closed_form

pytestmark = pytest.mark.core
SIZE = 32
EQUAL = 1e-4  # of a map's maximum
SIZES = {"resnet50": 96, "densenet121": 96, "inception_v3": 107, "inception_resnet_v2": 107}
autodiff_here = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs TensorFlow's GradientTape"
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)


def build(backbone="tiny", classifier="gap", n_classes=2, size=SIZE):
    """A network with random weights, biases of the classifier included."""
    keras.utils.set_random_seed(0)
    shape = {"classifier": classifier, "n_classes": n_classes, "image_size": size}
    model = backbones.build(backbone, **shape)
    bias = np.linspace(-0.2, 0.2, n_classes).astype("float32")
    model.get_layer("classifier").bias.assign(bias)
    return model


def pictures(n=4, size=SIZE, seed=1):
    return np.random.default_rng(seed).normal(size=(n, size, size, 3)).astype("float32")


def features_of(model, images):
    """The last convolutional map, `(n, h, w, K)`."""
    found = keras.Model(model.input, closed_form.cam_tensor(model))(images)
    return keras.ops.convert_to_numpy(found)


def autodiff(model, features, class_index, of):
    """Grad-CAM by its definition, channels weighted with the mean gradient; (maps, scores)."""
    import tensorflow as tf

    above, classifier = head(model), model.get_layer("classifier")
    with tf.GradientTape() as tape:
        features = tf.constant(features)
        tape.watch(features)
        logits = above(features) @ classifier.kernel + classifier.bias
        found = logits if of == "logit" else classifier.activation(logits)
        target = tf.gather(found, np.broadcast_to(class_index, len(features)), batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(target, features), axis=(1, 2), keepdims=True)
    return tf.reduce_sum(weights * features, axis=-1).numpy(), found.numpy()


def head(model):
    """From the last convolutional map to what the classifier takes."""
    return keras.Model(closed_form.cam_tensor(model), model.get_layer("classifier").input)


def over_maximum(maps):
    return maps / np.abs(maps).max(axis=(1, 2), keepdims=True)


def differ(a, b):
    """The largest difference of signed maps, each over its own largest value."""
    return np.abs(over_maximum(a) - over_maximum(b)).max()


@autodiff_here
@pytest.mark.parametrize("backbone", backbones.BACKBONES)
def test_the_closed_form_is_what_autodiff_finds(backbone):
    """Both heads, targets and classes; several positions, no probability near 0 or 1."""
    size, classes = SIZES[backbone], np.array([1, 0])
    pooled, images = build(backbone, size=size), pictures(2, size)
    tensor = closed_form.cam_tensor(pooled)
    assert tensor is pooled.get_layer(backbones.BACKBONES[backbone].cam_layer).output
    assert min(tensor.shape[1:3]) > 1
    features = features_of(pooled, images)
    for model, classifier in ((pooled, "gap"), (flattened(pooled), "flatten")):
        unsaturate(model, features)
        ours = {}
        for of in choices.TARGETS:
            theirs, found = autodiff(model, features, classes, of)
            ours[of] = closed_form.signed_maps(model, images, classes, of)
            assert differ(ours[of], theirs) < EQUAL
            cams = closed_form.cam(model, images, classes, of)
            assert np.abs(cams - choices.to_cam(theirs, size).astype(int)).max() <= 1
        assert ((found > 0.01) & (found < 0.99)).all()  # the probabilities
        alike = differ(ours["logit"], ours["probability"])
        assert alike > 0.01 if classifier == "gap" else alike < EQUAL  # a sigmoid mixes nothing


def flattened(model):
    """The same backbone under the pediatric study's head."""
    features = keras.layers.Flatten(name="flatten")(closed_form.cam_tensor(model))
    last = keras.layers.Dense(2, "sigmoid", name="classifier")
    return keras.Model(model.input, last(features))


def unsaturate(model, features):
    """Random networks give features of any size: a kernel that leaves logits within ±1."""
    kernel = model.get_layer("classifier").kernel
    largest = np.abs(keras.ops.convert_to_numpy(head(model)(features) @ kernel)).max()
    kernel.assign(kernel / max(largest, 1))


@pytest.mark.parametrize("classifier", backbones.CLASSIFIERS)
def test_the_maps_come_from_the_last_convolution_under_either_head(classifier):
    model = build(classifier=classifier)
    assert closed_form.cam_tensor(model) is model.get_layer("second").output


@autodiff_here
@pytest.mark.parametrize("of", choices.TARGETS)
def test_three_classes_mix_by_what_the_others_share(of):
    model, images = build(n_classes=3), pictures()
    features = features_of(model, images)
    for c in range(3):
        theirs, _ = autodiff(model, features, c, of)
        assert differ(closed_form.signed_maps(model, images, c, of), theirs) < EQUAL


@autodiff_here
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_sure_network_still_has_a_map_where_autodiff_has_none(n_classes):
    model, images = build(n_classes=n_classes), pictures()
    features = features_of(model, images)
    model.get_layer("classifier").bias.assign([300.0, 0, 0][:n_classes])
    theirs, scores = autodiff(model, features, 0, "probability")
    assert (scores[:, 0] == 1).all() and not theirs.any()
    ours = closed_form.signed_maps(model, images, 0, "probability")
    assert (np.abs(ours).max(axis=(1, 2)) > 0).all()
    model.get_layer("classifier").bias.assign([0.0, 0, 0][:n_classes])  # shares of the others stay
    unsure, _ = autodiff(model, features, 0, "probability")
    assert differ(ours, unsure) < EQUAL


@pytest.mark.parametrize("classifier", backbones.CLASSIFIERS)
def test_maps_and_scores_come_from_one_pass(classifier):
    model, images = build(classifier=classifier), pictures()
    both = closed_form.with_maps(model)
    assert both.count_params() == model.count_params()
    maps, scores = both.predict(images, verbose=0)
    assert maps.dtype == np.float32 and maps.shape == (
        4,
        *closed_form.cam_tensor(model).shape[1:3],
        2,
    )
    assert np.allclose(scores, model.predict(images, verbose=0), atol=1e-6)
    features = features_of(model, images)
    kernel = keras.ops.convert_to_numpy(model.get_layer("classifier").kernel)
    assert np.allclose(maps, closed_form.class_maps(features, kernel), atol=1e-5)
    own = closed_form.signed_maps(model, images, 1, "logit")
    assert np.allclose(maps[..., 1], own, atol=1e-5)


def test_maps_are_float32_in_mixed_precision_too():
    with computing_in("mixed_bfloat16"):
        mixed = build()
    maps, _ = closed_form.with_maps(mixed).predict(pictures(), verbose=0)
    own = closed_form.signed_maps(mixed, pictures(), 0, "logit")
    assert maps.dtype == own.dtype == np.float32
    # the features are still bfloat16's, with three digits
    features = features_of(mixed, pictures()).astype("float32")
    kernel = keras.ops.convert_to_numpy(mixed.get_layer("classifier").kernel)
    assert np.allclose(maps, closed_form.class_maps(features, kernel), rtol=1e-2, atol=1e-2)


def test_a_class_map_weighs_channels_with_the_classifier():
    """One image, two positions, two channels, two classes."""
    features = np.float32([[[[1, 2]], [[3, 4]]]])
    pooled = closed_form.class_maps(features, np.float32([[1, 0], [10, -1]]))
    assert pooled[0, :, 0].tolist() == [[21, -2], [43, -4]]
    # flattened: position by position; a channel's weight is the mean of its two
    flat = closed_form.class_maps(features, np.float32([[0, 0], [12, -2], [2, 0], [8, 0]]))
    assert flat[0, :, 0].tolist() == pooled[0, :, 0].tolist()


def test_weights_of_other_maps_are_refused():
    with pytest.raises(ValueError, match=r"`kernel` should have 2 or 4 rows.*Received: 3"):
        closed_form.class_weights(np.zeros((3, 2)), (1, 2, 2))


def test_stored_maps_give_the_same_cam_as_the_model():
    model, images = build(), pictures()
    maps, scores = closed_form.with_maps(model).predict(images, verbose=0)
    predicted = scores.argmax(axis=1)
    for of in choices.TARGETS:
        later = choices.to_cam(choices.signed(maps, scores, of=of), SIZE)
        now = closed_form.cam(model, images, predicted, of)
        assert np.abs(later.astype(int) - now).max() <= 1


def test_a_cam_has_the_images_size_and_reaches_255():
    model, images = build(), pictures()
    cams = closed_form.cam(model, images, 1)
    assert cams.shape == (4, SIZE, SIZE) and cams.dtype == np.uint8
    positive = (closed_form.signed_maps(model, images, 1) > 0).any(axis=(1, 2))
    assert positive.any() and (cams.max(axis=(1, 2)) == np.where(positive, 255, 0)).all()


def test_a_map_without_a_positive_value_stays_black():
    model = build()
    model.get_layer("classifier").kernel.assign([[-1.0, 0]] * 8)  # features follow a ReLU
    assert not closed_form.cam(model, pictures(), 0, "logit").any()


def test_the_order_and_size_of_batches_changes_nothing():
    model, images, classes = build(), pictures(7), np.array([0, 1, 1, 0, 1, 0, 0])
    whole, order = closed_form.signed_maps(model, images, classes), np.random.permutation(7)
    turned = closed_form.signed_maps(model, images[order], classes[order], batch_size=3)
    assert np.allclose(turned, whole[order], atol=1e-6)
    one = closed_form.signed_maps(model, images[5:6], 0)
    assert np.allclose(one[0], whole[5], atol=1e-6)
    assert closed_form.cam(model, images[:0], 0).shape == (0, SIZE, SIZE)


def test_a_model_is_traced_once_and_forgotten_with_its_maps():
    model, images = build(), pictures()
    before = closed_form.cam(model, images, 0)
    companion = weakref.ref(closed_form._companions[model])
    model.get_layer("classifier").kernel.assign(-model.get_layer("classifier").kernel)
    assert not np.array_equal(closed_form.cam(model, images, 0), before)  # new weights count
    assert closed_form._companions[model] is companion()
    del model
    keras.backend.clear_session()
    gc.collect()
    assert companion() is None


@pytest.mark.parametrize("wrong", [2, -1, [0, 1], 0.5, True, "malignant", None])
def test_a_class_the_model_lacks_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`class_index` should be an int in 0 … 1"):
        closed_form.cam(build(), pictures(), wrong)


@pytest.mark.parametrize("shape", [(2, 16, 16, 3), (2, SIZE, SIZE, 1), (SIZE, SIZE, 3), (2,)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"`images` should be of shape \(n, 32, 32, 3\)"):
        closed_form.cam(build(), np.zeros(shape, np.float32), 0)


@pytest.mark.parametrize("wrong", [{"of": "softmax"}, {"batch_size": 0}])
def test_another_target_and_an_empty_batch_are_refused(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` should be"):
        closed_form.cam(build(), pictures(), 0, **wrong)


def test_a_network_the_closed_form_does_not_hold_for_is_refused():
    image = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalMaxPooling2D()(image)
    last = keras.layers.Dense(2, "softmax", name="classifier")
    with pytest.raises(ValueError, match="Received: GlobalMaxPooling2D"):
        closed_form.cam_tensor(keras.Model(image, last(pooled)))
    with pytest.raises(ValueError, match="should have a dense layer 'classifier'"):
        closed_form.cam_tensor(keras.Model(image, pooled))


def test_the_package_imports_without_a_backend():
    code = "import sys, rin.gradcam; assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_front_door_gives_the_same_maps():
    from rin import gradcam

    model, images = build(), pictures()
    for of in choices.TARGETS:
        ours = gradcam.cam(model, images, [0, 1, 1, 0], of)
        assert np.array_equal(ours, closed_form.cam(model, images, [0, 1, 1, 0], of))
