"""The sanity check: maps change with the weights, and the weights come back."""

import keras
import numpy as np
import pytest
import tiny_network

from rin import backbones
from rin.gradcam import closed_form, sanity

pytestmark = pytest.mark.core
SIZE, N = 32, 5


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    return backbones.build("tiny", image_size=SIZE)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(N, SIZE, SIZE, 3)).astype("float32")


def unchanged(model, before):
    return all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_maps_are_themselves_at_first_and_others_at_last(model, images):
    before = model.get_weights()
    found = sanity.randomized(model, images, 1, steps=3)
    assert list(found.columns) == ["step", "n_layers", "similarity", "n_blank", "n_images"]
    assert found.step.tolist() == [0, 1, 2, 3] and found.n_layers.tolist() == [0, 1, 2, 3]
    assert found.similarity[0] == pytest.approx(1)
    assert (found.similarity[1:] < 0.9).all() and (found.n_images == N).all()
    assert unchanged(model, before)


def test_steps_share_the_layers_below_the_classifier(model, images):
    assert sanity.randomized(model, images, 1, steps=2).n_layers.tolist() == [0, 1, 3]
    assert sanity.randomized(model, images, 1, steps=1).n_layers.tolist() == [0, 1]


def test_a_seed_repeats_itself_and_another_differs(model, images):
    first, again, other = (sanity.randomized(model, images, 1, 3, seed) for seed in (0, 0, 1))
    assert first.equals(again) and not first.equals(other)


def test_no_two_layers_draw_the_same_numbers(model):
    layers = [layer for layer in model.layers if layer.weights]
    sanity._initialize(layers[0], seed=[0, 0])
    one = keras.ops.convert_to_numpy(layers[0].kernel)
    sanity._initialize(layers[0], seed=[0, 1])
    assert not np.array_equal(keras.ops.convert_to_numpy(layers[0].kernel), one)
    assert not keras.ops.convert_to_numpy(layers[0].bias).any()  # its initializer is zeros


def test_blank_maps_are_counted_not_averaged(model, images):
    classifier = model.get_layer("classifier")
    classifier.kernel.assign([[-1.0, 0]] * 8)  # features follow a ReLU: no map above 0
    found = sanity.randomized(model, images, 0, steps=2, of="logit")
    assert found.n_blank.tolist() == [N] * 3 and found.similarity.isna().all()


def test_weights_come_back_after_an_error(model, images, monkeypatch):
    before, calls, real = model.get_weights(), [], closed_form.signed_maps

    def fails_at_the_third(*given):
        calls.append(not unchanged(model, before))
        if len(calls) == 3:
            raise RuntimeError("the device is gone")
        return real(*given)

    monkeypatch.setattr(closed_form, "signed_maps", fails_at_the_third)
    with pytest.raises(RuntimeError, match="the device is gone"):
        sanity.randomized(model, images, 1, steps=3)
    assert calls == [False, True, True] and unchanged(model, before)


@pytest.mark.parametrize("steps", [0, 4])
def test_more_steps_than_layers_are_refused(model, images, steps):
    with pytest.raises(ValueError, match=r"`steps` should be in 1 … 3"):
        sanity.randomized(model, images, 1, steps)


def test_every_layer_of_a_backbone_can_be_initialized_anew():
    model = backbones.build("densenet121", image_size=32)
    before = model.get_weights()
    for i, layer in enumerate(layer for layer in model.layers if layer.weights):
        sanity._initialize(layer, seed=[0, i])
    kernels = [i for i, variable in enumerate(model.weights) if variable.name == "kernel"]
    after = model.get_weights()
    assert all(not np.array_equal(before[i], after[i]) for i in kernels)
    assert all(np.isfinite(values).all() for values in after)
