import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_network
import two_devices

from rin import backbones
from rin.prepare import Data
from rin.pretraining import checkpoint
from rin.pretraining.checkpoint import Checkpoint, CheckpointError
from rin.pretraining.fitting import Fit, FittingError
from rin.pretraining.recipe import Recipe
from rin.pretraining.stream import Stream

SIZE, CLASSES = 32, 3
FACTS = {"backbone": "tiny", "recipe": {"learning_rate": 0.01}}


def make_recipe(**given):
    return Recipe(
        **{"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "warmup_epochs": 0.5} | given
    )


def make_data(n=60):
    """Three classes told apart by their brightness."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % CLASSES
    images = rng.integers(0, 60, (n, SIZE, SIZE)) + 90 * y[:, None, None]
    splits = np.array(["train", "train", "train", "val", "test"])[np.arange(n) // CLASSES % 5]
    ids = np.array([f"{i:016x}" for i in range(n)])
    no_patients = np.full(n, None, dtype=object)
    return Data(images.astype(np.uint8), ids, y, no_patients, ids, splits[:, None], "three")


class Killed(Exception):
    """Stands for a kill between two batches."""


class Mortal(Checkpoint):
    """A checkpoint whose process dies after some writes."""

    def __init__(self, folder, facts, n_writes):
        super().__init__(folder, facts, every_s=0)
        self.left = n_writes

    def write(self, state, values):
        super().write(state, values)
        self.left -= 1
        if not self.left:
            raise Killed


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)


def make_fit(**given):
    return Fit(make_data(), CLASSES, "tiny", make_recipe(**given))


def trained(folder, fit=None, **given):
    fit = fit or make_fit(**given)
    history = fit.train(Checkpoint(folder, FACTS))
    return fit, history


@pytest.mark.core
@pytest.mark.parametrize("given", [{}, {"augmentation": "none", "balance": "weights"}])
def test_a_killed_pretraining_ends_with_the_weights_of_one_that_was_not(given, tmp_path):
    whole, history = trained(tmp_path / "whole", **given)
    for n_writes in (2, 4, 3):  # in an epoch, at its end, in the next one
        fit = make_fit(**given)
        with pytest.raises(Killed):
            fit.train(Mortal(tmp_path / "killed", FACTS, n_writes))
    resumed, again = trained(tmp_path / "killed", **given)
    for a, b in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    same = ["epoch", "learning_rate", "val_loss", "val_top1", "val_balanced_accuracy"]
    assert history[same].equals(again[same])
    assert again.loss.to_numpy() == pytest.approx(history.loss.to_numpy(), rel=1e-5)


KILL_ME = """
import sys
sys.path.insert(0, {tests!r})
import test_pretraining_fitting as t, tiny_network
from rin import backbones
backbones.BACKBONES["tiny"] = tiny_network.ROW
from rin.pretraining.checkpoint import Checkpoint
import os, signal
class Once(Checkpoint):
    def write(self, state, values):
        super().write(state, values)
        if {at} and (state.epoch, state.step) == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
t.make_fit().train(Once({folder!r}, t.FACTS, every_s=0))
"""


def run_and_kill(folder, at):
    text = KILL_ME.format(tests=str(Path(__file__).parent), folder=str(folder), at=at)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, env=dict(os.environ))
    return done.returncode


def test_kill_9_and_going_on_in_another_process_gives_the_same_weights(tmp_path):
    assert run_and_kill(tmp_path / "killed", (1, 2)) == -signal.SIGKILL
    assert (tmp_path / "killed" / checkpoint.FILE).is_file()
    resumed, _ = trained(tmp_path / "killed")
    whole, _ = trained(tmp_path / "whole")
    for a, b in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_it_learns_and_keeps_the_epoch_with_the_lowest_validation_loss(tmp_path):
    fit, history = trained(tmp_path, epochs=8, learning_rate=3e-2, augmentation="none")
    best = int(history.val_loss.idxmin())
    assert history.val_top1[best] > 0.6  # chance is a third
    y, p = fit.data.y[fit.rows["val"]], fit.predict("val")
    assert -np.log(p[np.arange(len(y)), y]).mean() == pytest.approx(history.val_loss[best], 1e-4)
    assert fit.predict("test").shape == (12, CLASSES)
    assert list(history.epoch) == list(range(8)) and (history.images_per_s > 0).all()


def test_the_rate_in_the_history_is_that_of_an_epochs_last_update(tmp_path):
    _, history = trained(tmp_path, epochs=2, warmup_epochs=0, learning_rate=0.1)
    rates = 0.05 * (1 + np.cos(np.pi * np.array([3, 7]) / 8))  # four updates an epoch
    assert history.learning_rate.tolist() == pytest.approx(rates.tolist(), rel=1e-5)


def test_a_stream_goes_on_with_the_batches_an_epoch_had_left():
    data, recipe = make_data(), make_recipe()
    rows = np.flatnonzero(data.splits[:, 0] == "train")
    whole = Stream(data, rows, recipe, CLASSES, epoch=1)
    rest = Stream(data, rows, recipe, CLASSES, epoch=1, first=3)
    assert (len(whole), len(rest)) == (4, 1)
    (images, maps), y = whole[3]
    (images_again, maps_again), y_again = rest[0]
    assert (images == images_again).all() and (maps == maps_again).all() and (y == y_again).all()


def test_weights_follow_the_class_of_each_image():
    data = make_data()
    rows = np.flatnonzero(data.splits[:, 0] == "train")[:-3]
    stream = Stream(data, rows, make_recipe(balance="weights"), CLASSES, epoch=0)
    _, y, weights = stream[0]
    assert (weights == stream.weights[y.argmax(axis=1)]).all()


SPREAD = """
import test_pretraining_fitting as t
from rin.pretraining.checkpoint import Checkpoint
found = []
for devices in (1, 2):
    fit = t.Fit(t.make_data(), t.CLASSES, "tiny", t.make_recipe(), devices)
    fit.network.get_layer("dropout").rate = 0  # on TensorFlow each device draws the same mask
    history = fit.train(Checkpoint(sys.argv[1] + str(devices), t.FACTS))
    found.append([*history.loss, *history.val_loss])
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_share_each_batch(backend, tmp_path):
    one, two = two_devices.run(SPREAD, backend, str(tmp_path / "on"))
    assert np.abs(two - one).max() < 1e-5


def test_mixed_precision_keeps_weights_and_scores_in_float32(tmp_path):
    fit, history = trained(tmp_path, precision="mixed_bfloat16")
    assert {str(v.dtype) for v in fit.network.trainable_variables} == {"float32"}
    assert fit.network.get_layer("first").compute_dtype == "bfloat16"
    assert fit.predict("test").dtype == np.float32 and np.isfinite(history.loss).all()


def test_parameters_of_another_pretraining_are_named_and_nothing_is_overwritten(tmp_path):
    with pytest.raises(Killed):
        make_fit().train(Mortal(tmp_path, FACTS, 2))
    before = (tmp_path / checkpoint.FILE).read_bytes()
    other = {"backbone": "tiny", "recipe": {"learning_rate": 0.1}}
    with pytest.raises(CheckpointError, match=r"learning_rate: 0.01 there, 0.1 here"):
        make_fit().train(Checkpoint(tmp_path, other))
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"hello"])
def test_a_damaged_checkpoint_is_one_clear_error(content, tmp_path):
    (tmp_path / checkpoint.FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        make_fit().train(Checkpoint(tmp_path, FACTS))
    assert (tmp_path / checkpoint.FILE).read_bytes() == content


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    with pytest.raises(Killed):
        make_fit().train(Mortal(tmp_path, FACTS, 1))
    with pytest.raises(CheckpointError, match="are not those of this network"):
        make_fit(optimizer="sgd").train(Checkpoint(tmp_path, FACTS))


@pytest.mark.parametrize(
    ("given", "devices", "said"),
    [
        ({"batch_size": 64}, 1, "at most the 36 training images"),
        ({"batch_size": 7}, 2, "a multiple of devices=2"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(given, devices, said):
    with pytest.raises(FittingError, match=said):
        Fit(make_data(), CLASSES, "tiny", make_recipe(**given), devices)


def test_a_loss_that_is_not_finite_ends_it_and_leaves_the_last_checkpoint(tmp_path):
    with pytest.raises(FittingError, match="not finite in epoch"):
        trained(tmp_path, learning_rate=1e30, warmup_epochs=0, optimizer="sgd", epochs=4)


def test_differences_name_what_only_one_side_has():
    said = checkpoint.differences({"a": 1, "b": {"c": 2}}, {"b": {"c": 3, "d": 4}})
    assert said == ["a: 1 there, None here", "c: 2 there, 3 here", "d: None there, 4 here"]
