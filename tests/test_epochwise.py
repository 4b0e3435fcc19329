"""Epoch by epoch: views stored or streamed give the same tables, at the cost they should have."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import SIZE, make_data, make_run

from rin import banked, epochwise, training
from rin.runs import Settings

SETTINGS = Settings(epochs=2)


@pytest.fixture(scope="module")
def networks():
    training.deterministic()
    return banked.Networks("resnet50", ("head",), image_size=SIZE)


def some_runs(**other):
    return [make_run(rate=rate, fold=fold, **other) for rate in (1e-2, 1e-3) for fold in (0, 1)]


def chosen(runs, data, settings, folder, image_bytes=2048 * 4):
    return epochwise.plan(runs, data, settings, image_bytes, folder)


def train(networks, runs, data, settings, folder):
    plan = chosen(runs, data, settings, folder)
    group = epochwise.Group(networks, runs, data, settings, plan, folder)
    return plan.mode, group.train(), group


def gib(n_images, image_bytes=2048 * 4):
    return (n_images + 0.5) * image_bytes / 2**30


@pytest.mark.core
def test_views_are_stored_where_they_fit(tmp_path):
    """Folds 0 and 1 hold out 8 images each of 24; all 24 train in one of them."""
    plan = chosen(some_runs(), make_data(), SETTINGS, tmp_path)
    assert (plan.mode, plan.n_plain, plan.n_seen) == ("stored", 16, 24)
    one = chosen([make_run()], make_data(), SETTINGS, tmp_path)
    assert (one.n_plain, one.n_seen) == (8, 16)
    plain = chosen(some_runs(), make_data(), replace(SETTINGS, augmentation="none"), tmp_path)
    assert (plain.n_plain, plain.n_seen) == (24, 0)
    assert "views stored: 8 KiB an image" in str(plan)


@pytest.mark.core
@pytest.mark.parametrize(
    ("n_held", "mode", "n_seen"),
    [(40, "stored", 24), (39, "streamed", 32), (8, "streamed", 8), (7, "none", 0), (0, "none", 0)],
)
def test_the_budget_decides_and_chunks_hold_whole_batches(n_held, mode, n_seen, tmp_path):
    plan = chosen(some_runs(), make_data(), replace(SETTINGS, bank_gib=gib(n_held)), tmp_path)
    assert (plan.mode, plan.n_seen) == (mode, n_seen)


@pytest.mark.core
def test_chunks_end_where_batches_of_every_size_end(tmp_path):
    runs = [make_run(batch_size=6), make_run(batch_size=4)]
    plan = chosen(runs, make_data(), replace(SETTINGS, bank_gib=gib(23)), tmp_path)
    assert (plan.mode, plan.n_seen) == ("streamed", 12)


def test_a_full_disk_shrinks_the_budget(tmp_path, monkeypatch):
    class Usage:
        free = gib(20) * 2**30

    monkeypatch.setattr(epochwise.shutil, "disk_usage", lambda folder: Usage)
    assert chosen(some_runs(), make_data(), SETTINGS, tmp_path).n_seen == 16


def test_the_disk_that_counts_is_the_one_the_bank_will_lie_on(tmp_path, monkeypatch):
    fast, asked = tmp_path / "fast", []

    class Usage:
        free = 2**40

    monkeypatch.setenv("RIN_SCRATCH", str(fast))
    monkeypatch.setattr(
        epochwise.shutil, "disk_usage", lambda folder: asked.append(folder) or Usage
    )
    chosen(some_runs(), make_data(), SETTINGS, tmp_path / "runs")
    assert asked == [str(fast)] and fast.is_dir()


@pytest.mark.core
@pytest.mark.parametrize("augmentation", ["small", "none"])
def test_streamed_views_give_the_tables_of_stored_ones(networks, augmentation, tmp_path):
    data, runs = make_data(), some_runs()
    settings = replace(SETTINGS, augmentation=augmentation)
    mode, stored, _ = train(networks, runs, data, settings, tmp_path)
    small = replace(settings, bank_gib=gib(8))
    streaming, streamed, _ = train(networks, runs, data, small, tmp_path)
    assert (mode, streaming) == ("stored", "streamed")
    for a, b in zip(stored, streamed, strict=True):
        assert np.allclose(a[0].y_score, b[0].y_score, atol=1e-6)
        assert a[2]["bank"] == "stored" and b[2]["bank"] == "streamed"


def test_stored_views_cost_one_pass_an_epoch_whatever_the_runs(networks, tmp_path):
    data = make_data()
    for runs in ([make_run(), make_run(fold=1)], some_runs()):
        _, tables, _ = train(networks, runs, data, SETTINGS, tmp_path)
        assert tables[0][2]["n_forward"] == 16 + 2 * 24
    plain = replace(SETTINGS, augmentation="none", epochs=3)
    _, tables, _ = train(networks, some_runs(), data, plain, tmp_path)
    assert tables[0][2]["n_forward"] == 24


def test_streamed_views_cost_one_pass_an_epoch_and_fold(networks, tmp_path):
    data, settings = make_data(), replace(SETTINGS, bank_gib=gib(8))
    _, tables, _ = train(networks, some_runs(), data, settings, tmp_path)
    val_test = [int((data.splits[:, fold] != "train").sum()) for fold in (0, 1)]
    train_rows = [24 - n for n in val_test]
    val = [int((data.splits[:, fold] == "val").sum()) for fold in (0, 1)]
    test = [a - b for a, b in zip(val_test, val, strict=True)]
    assert tables[0][2]["n_forward"] == 2 * (sum(train_rows) + sum(val)) + sum(test)


def test_runs_of_several_batch_sizes_share_a_bank(networks, tmp_path):
    data = make_data()
    runs = [make_run(batch_size=size) for size in (4, 8)]
    _, tables, _ = train(networks, runs, data, SETTINGS, tmp_path)
    assert [t[2]["n_updates"] for t in tables] == [2 * 4, 2 * 2]
    _, ((alone, _, _),), _ = train(networks, [runs[1]], data, SETTINGS, tmp_path)
    assert tables[1][0].equals(alone)


def test_a_diverged_run_stops_and_the_others_go_on(networks, tmp_path):
    data, wild = make_data(), make_run(rate=3e38)
    settings = replace(SETTINGS, epochs=3)
    _, tables, _ = train(networks, [wild, make_run()], data, settings, tmp_path)
    assert tables[0][2]["diverged"] and len(tables[0][1]) < 3
    assert (tables[0][0].y_score == 0.5).all()
    _, ((alone, _, _),), _ = train(networks, [make_run()], data, settings, tmp_path)
    assert not tables[1][2]["diverged"] and tables[1][0].equals(alone)
