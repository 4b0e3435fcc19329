"""Several devices and mixed precision: the same training, but for what the docstrings say."""

import keras
import numpy as np
import pytest
import two_devices
from tiny import SETTINGS, SIZE, make_data, make_run

from rin import devices, training

# Batches of five and a last one of one image, so that neither falls into equal halves. Without
# batch norm and dropout all of these runs should agree.
SPREAD = """
import numpy as np
from tiny import SETTINGS, SIZE, make_data, make_run
from rin import devices, training
assert len(devices.found()) == 2, devices.found()
training.deterministic()
run = make_run("tiny", "all", classifier="flatten", batch_size=5, rate=1e-2)
found = []
for options in ({}, {"devices": 2}, {"devices": 2, "micro_batch": 2, "resident": True}):
    trainer = training.Trainer("tiny", "all", "flatten", SIZE, **options)
    tables, history, result = trainer.train(run, make_data(), SETTINGS)
    assert history.loss[1] < 0.9 * history.loss[0], history
    found.append([*tables.y_score, *tables.y_score_negative])
    assert result["n_updates"] == int(np.array(trainer.optimizer.iterations)) == 2 * 4
again, _, _ = trainer.train(run, make_data(), SETTINGS)
assert np.array_equal([*again.y_score, *again.y_score_negative], found[-1])
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_train_as_one_does(backend):
    one, two, in_parts = two_devices.run(SPREAD, backend)
    assert np.abs(two - one).max() < 1e-6  # measured: 1.2e-7
    assert np.abs(in_parts - one).max() < 1e-6


@pytest.mark.core
@pytest.mark.parametrize("n", [0, -1, 1000])
def test_devices_that_are_not_there_are_refused(n):
    with pytest.raises(ValueError, match=rf"`devices` should be 1 … \d+: .* devices={n}"):
        training.Trainer("resnet50", "head", image_size=SIZE, devices=n)


def test_a_backend_that_can_not_spread_a_batch_says_so(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert not devices.accelerated()
    with pytest.raises(ValueError, match="`devices` should be 1 on torch. Received: devices=2"):
        devices.spread(2)


def test_a_processor_is_no_accelerator(monkeypatch):
    for names, expected in ((["cpu:0", "cpu:1"], False), (["gpu:0"], True), (["tpu:0"], True)):
        monkeypatch.setattr(devices, "found", lambda names=names: names)
        assert devices.accelerated() is expected


@pytest.mark.core
def test_the_precision_comes_back_after_a_network_and_after_an_error():
    before = keras.config.dtype_policy().name
    with devices.computing_in("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == before
    with pytest.raises(ZeroDivisionError), devices.computing_in("mixed_bfloat16"):
        _ = 1 / 0
    assert keras.config.dtype_policy().name == before


@pytest.mark.core
def test_an_unknown_precision_is_refused_with_the_known_ones():
    message = r"`precision` should be one of \('float32', 'mixed_bfloat16'\).*'float16'"
    with pytest.raises(ValueError, match=message):
        training.Trainer("resnet50", "head", image_size=SIZE, precision="float16")


@pytest.mark.core
@pytest.mark.slow
def test_mixed_precision_keeps_weights_input_and_classifier_in_float32():
    trainer = training.Trainer("resnet50", "head", image_size=SIZE, precision="mixed_bfloat16")
    run, data = make_run(rate=1e-3), make_data()
    found, history, _ = trainer.train(run, data, SETTINGS)
    assert np.isfinite(history.to_numpy(float)).all()
    kinds = {v.dtype for v in trainer.network.weights}
    assert kinds == {"float32"}
    computed = {layer.name: layer.compute_dtype for layer in trainer.network.layers}
    assert computed["conv1_conv"] == computed["conv5_block3_add"] == "bfloat16"
    assert computed["classifier"] == trainer.feed.compute_dtype == "float32"
    assert trainer.network.output.dtype == trainer.plain.output.dtype == "float32"
    whole = training.Trainer("resnet50", "head", image_size=SIZE)
    assert {layer.compute_dtype for layer in whole.network.layers} == {"float32"}
    expected, _, _ = whole.train(run, data, SETTINGS)
    difference = np.abs(found.y_score - expected.y_score).max()
    assert 0 < difference < 0.02  # bfloat16 has three digits


@pytest.mark.slow
def test_a_whole_network_trains_in_mixed_precision_and_twice_the_same():
    training.deterministic()
    shape = ("resnet50", "all", "gap", SIZE)
    trainer = training.Trainer(*shape, precision="mixed_bfloat16")
    run = make_run(trainable="all", rate=1e-4)
    first, history, result = trainer.train(run, make_data(), SETTINGS)
    second, _, _ = trainer.train(run, make_data(), SETTINGS)
    assert np.isfinite(history.to_numpy(float)).all() and not result["diverged"]
    assert np.array_equal(first.y_score, second.y_score)
