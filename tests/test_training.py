"""Training: fresh states, equal results, honest records, and nothing lost when it is killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from rin import augment, backbones, records, training
from rin.prepare import Data
from rin.scenarios import Run, Scenario

SIZE = 32
# InceptionResNetV2 trained whole is not bit-equal twice (seen 4e-7 after 9 steps; cause unknown)
TOLERANCE = {"inception_resnet_v2": 1e-4}


def make_data(size=SIZE, n=24, n_folds=2):
    """Images whose brightness tells the class, 2/3 train, the rest val and test by fold."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    images = rng.integers(0, 120, (n, size, size)) + 100 * y[:, None, None]
    splits = np.full((n, n_folds), "train", dtype="<U5")
    for fold in range(n_folds):
        held = (np.arange(n) // 4) % 3 == fold
        splits[held, fold] = np.where((np.arange(n) // 2)[held] % 2, "val", "test")
    ids = np.array([f"{i:016x}" for i in range(n)])
    groups = np.array([f"g{i}" for i in range(n)])
    patients = np.array([f"p{i}" for i in range(n)], dtype=object)
    return Data(images.astype(np.uint8), ids, y, patients, groups, splits, f"test{size}")


def make_run(backbone="resnet50", trainable="head", rate=1e-2, fold=0, **other):
    scenario = Scenario(backbone, trainable, rate)
    return Run("breast", "random", "official", scenario, fold, **other)


SETTINGS = training.Settings(epochs=2, batch_size=8, augmentation="small")


@pytest.fixture(scope="module")
def head():
    training.deterministic()
    return training.Trainer("resnet50", "head", "gap", SIZE)


@pytest.fixture(scope="module")
def head_result(head):
    return head.train(make_run(), make_data(), SETTINGS)


@pytest.mark.core
def test_every_val_and_test_image_gets_one_row(head_result):
    predictions, _, result = head_result
    data = make_data()
    for split in ("val", "test"):
        rows = np.flatnonzero(data.splits[:, 0] == split)
        part = predictions[predictions.split == split]
        assert list(part.row) == list(rows)
        assert list(part.y_true) == list(data.y[rows])
        assert list(part.image_id) == list(data.image_ids[rows])
    assert np.allclose(predictions.y_score + predictions.y_score_negative, 1, atol=1e-6)
    assert result["n_train"] == (data.splits[:, 0] == "train").sum()
    assert result["n_updates"] == 2 * -(-result["n_train"] // 8)


@pytest.mark.core
def test_val_predictions_are_those_of_the_epoch_with_the_lowest_loss(head_result):
    predictions, history, result = head_result
    assert result["best_epoch"] == history.val_loss.idxmin()
    val = predictions[predictions.split == "val"]
    scores = val[["y_score_negative", "y_score"]].to_numpy()
    assert training.bce(val.y_true.to_numpy(), scores) == pytest.approx(history.val_loss.min())


@pytest.mark.core
def test_our_loss_is_keras_loss():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 20), rng.uniform(0, 1, 20).astype("float32")
    scores = np.stack([1 - p, p], axis=1)
    theirs = float(keras.losses.BinaryCrossentropy()(training.one_hot(y), scores))
    assert training.bce(y, scores) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.core
def test_a_fresh_state_is_made_for_every_fold(head):
    """Fold 1 after fold 0 equals fold 1 alone in a new model, bit for bit."""
    data = make_data()
    head.train(make_run(fold=0), data, SETTINGS)
    after, _, _ = head.train(make_run(fold=1), data, SETTINGS)
    alone, _, _ = training.Trainer("resnet50", "head", "gap", SIZE).train(
        make_run(fold=1), data, SETTINGS
    )
    pd.testing.assert_frame_equal(after, alone, check_exact=True)


def test_every_variable_is_reset_dropouts_seed_and_the_optimizer_included(head):
    head.reset("random", 0, 1e-2)
    before = [v.numpy() for v in [*head.model.variables, *head.model.optimizer.variables]]
    head.train(make_run(), make_data(), SETTINGS)
    seed = [v for v in head.model.variables if "seed" in v.path]
    assert seed, "dropout keeps its seed in a variable"
    head.reset("random", 0, 1e-2)
    after = [v.numpy() for v in [*head.model.variables, *head.model.optimizer.variables]]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert float(head.model.optimizer.learning_rate) == pytest.approx(1e-2)


def test_another_seed_or_rate_gives_another_result(head, head_result):
    data = make_data()
    for other in (make_run(seed=1), make_run(rate=1e-3)):
        predictions, _, _ = head.train(other, data, SETTINGS)
        assert not np.allclose(predictions.y_score, head_result[0].y_score)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_the_same_run_twice_gives_the_same_predictions(name):
    """All layers free: bit-equal, but for InceptionResNetV2 (see TOLERANCE)."""
    training.deterministic()
    size = 75 if "inception" in name else SIZE
    trainer, data = training.Trainer(name, "all", "gap", size), make_data(size)
    settings = replace(SETTINGS, epochs=2)
    run = make_run(name, "all", 1e-4)
    first, _, result = trainer.train(run, data, settings)
    second, _, _ = trainer.train(run, data, settings)
    assert not result["diverged"]
    difference = np.abs(first.y_score - second.y_score).max()
    assert difference <= TOLERANCE.get(name, 0), difference


def test_a_diverged_run_stops_and_scores_one_half(head, tmp_path):
    data = make_data()
    run = make_run(rate=1e38)
    predictions, history, result = head.train(run, data, replace(SETTINGS, epochs=5))
    assert result["diverged"] and result["best_epoch"] is None
    assert result["n_epochs"] == len(history) < 5
    assert not np.isfinite(history.iloc[-1][["loss", "val_loss"]].to_numpy(float)).all()
    assert (predictions[["y_score", "y_score_negative"]] == 0.5).all(axis=None)


@pytest.mark.core
def test_batches_hold_the_asked_rows_and_nothing_else():
    data = make_data()
    rows = np.flatnonzero(data.splits[:, 0] == "train")
    batches = training.Batches(data, rows, lambda x: x, 5, epoch=3, seed=1, shuffle=True)
    seen = np.concatenate([batches[i][0] for i in range(len(batches))])[..., 0]
    order = batches.rows
    assert sorted(order) == list(rows) and list(order) != list(rows)
    assert np.array_equal(seen, data.images[order])
    labels = np.concatenate([batches[i][1] for i in range(len(batches))])
    assert np.array_equal(labels.argmax(1), data.y[order])


@pytest.mark.core
def test_the_order_depends_on_seed_and_epoch_alone():
    data, rows = make_data(), np.arange(20)

    def order(**key):
        return list(training.Batches(data, rows, lambda x: x, 5, shuffle=True, **key).rows)

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert order(seed=1, epoch=2) != order(seed=1, epoch=3) != order(seed=2, epoch=3)


@pytest.mark.core
def test_training_batches_are_augmented_and_plain_ones_are_not():
    data = make_data()
    ranges = augment.RANGES["small"]
    plain = training.Batches(data, np.arange(4), lambda x: x, 4)[0][0]
    changed = training.Batches(data, np.arange(4), lambda x: x, 4, ranges=ranges)[0][0]
    assert np.array_equal(plain[..., 0], data.images[:4])
    assert not np.allclose(plain, changed, atol=1)


def test_finished_runs_are_skipped_and_changed_ones_are_not(tmp_path, capsys):
    data, run = make_data(), make_run()
    (home,) = training.train_all([run], data, SETTINGS, tmp_path)
    record = records.read(home)
    assert record["run"]["backbone"] == "resnet50" and record["result"]["n_val"] > 0
    assert {"versions", "hardware", "git_commit", "data_fingerprint"} <= set(record)
    training.train_all([run], data, SETTINGS, tmp_path)
    assert "finished before, skipped" in capsys.readouterr().out
    training.train_all([run], data, replace(SETTINGS, epochs=1), tmp_path)
    assert "skipped" not in capsys.readouterr().out
    assert records.read(home)["settings"]["epochs"] == 1


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_training import SETTINGS, make_data, make_run
from rin import training
runs = [make_run(fold=fold, seed=seed) for seed in (0, 1) for fold in (0, 1)]
training.train_all(runs, make_data(), SETTINGS, {folder!r})
"""


@pytest.mark.slow
def test_after_kill_9_a_rerun_gives_the_tables_of_an_uninterrupted_run(tmp_path):
    def start(folder):
        code = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([sys.executable, "-c", code], **quiet)

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(killed)
    deadline = time.monotonic() + 240
    while not list(killed.rglob("record.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {f: f.stat().st_mtime_ns for f in killed.rglob("record.json")}
    assert 1 <= len(done) < 4, "it was killed in the middle"
    assert start(killed).wait() == 0 and start(whole).wait() == 0
    assert all(f.stat().st_mtime_ns == t for f, t in done.items()), "finished runs stay"
    tables = sorted(p.relative_to(whole) for p in whole.rglob("*.parquet"))
    assert len(tables) == 8
    for table in tables:
        a, b = pd.read_parquet(whole / table), pd.read_parquet(killed / table)
        pd.testing.assert_frame_equal(a, b, check_exact=True)
