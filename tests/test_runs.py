"""Runs: finished ones are kept, unfinished ones go on, and nothing is lost when they are killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import filelock
import pandas as pd
import pytest
from tiny import SETTINGS, make_data, make_run

from rin import banked, checkpoints, kept, records, training
from rin.runs import Settings, run_fingerprint, train_all


def tables(folder):
    return {p.relative_to(folder): pd.read_parquet(p) for p in sorted(folder.rglob("*.parquet"))}


def assert_same(a, b, n):
    assert len(a) == n and a.keys() == b.keys()
    for name in a:
        pd.testing.assert_frame_equal(a[name], b[name], check_exact=True)


def test_finished_runs_are_skipped_and_changed_ones_are_not(tmp_path, capsys):
    data, run = make_data(), make_run()
    (home,) = train_all([run], data, SETTINGS, tmp_path)
    record = records.read(home)
    assert record["run"]["backbone"] == "resnet50" and record["result"]["n_val"] > 0
    assert record["result"]["bank"] == "stored" and record["run"]["batch_size"] == 8
    assert record["phantom"] is False
    assert {"versions", "hardware", "git_commit", "data_fingerprint"} <= set(record)
    train_all([run], data, replace(SETTINGS, bank_gib=3.0), tmp_path)
    assert "finished before, skipped" in capsys.readouterr().out
    train_all([run], data, replace(SETTINGS, epochs=1), tmp_path)
    assert "skipped" not in capsys.readouterr().out
    assert records.read(home)["settings"]["epochs"] == 1


def test_a_record_does_not_outlive_the_tables_it_speaks_of(tmp_path, monkeypatch):
    data, run = make_data(), make_run()
    (home,) = train_all([run], data, SETTINGS, tmp_path)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(kept, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train_all([run], data, replace(SETTINGS, epochs=1), tmp_path)
    assert records.read(home) is None and records.training_runs(tmp_path).empty


def test_only_the_missing_runs_of_a_group_are_trained(tmp_path, capsys):
    data, runs = make_data(), [make_run(fold=fold) for fold in (0, 1)]
    train_all(runs[:1], data, SETTINGS, tmp_path / "a")
    train_all(runs, data, SETTINGS, tmp_path / "a")
    said = capsys.readouterr().out
    assert said.count("val loss") == 2 and said.count("skipped") == 1
    train_all(runs, data, SETTINGS, tmp_path / "b")
    assert_same(tables(tmp_path / "a"), tables(tmp_path / "b"), 4)


def test_networks_are_compiled_once_for_all_inits_and_seeds(tmp_path, monkeypatch):
    built = []
    kind = banked.Networks
    monkeypatch.setattr(banked, "Networks", lambda *a, **k: built.append(a) or kind(*a, **k))
    runs = [make_run(seed=seed, fold=fold) for seed in (0, 1) for fold in (0, 1)]
    train_all(runs, make_data(), SETTINGS, tmp_path)
    assert len(built) == 1


@pytest.mark.parametrize("gib", [0.0, 1e-9])
def test_without_room_for_a_bank_runs_train_by_themselves(gib, tmp_path, capsys):
    data, run = make_data(), make_run()
    (home,) = train_all([run], data, replace(SETTINGS, bank_gib=gib), tmp_path / "alone")
    assert records.read(home)["result"]["bank"] == "none"
    assert ("not one batch fits" in capsys.readouterr().out) == (gib > 0)
    (held,) = train_all([run], data, SETTINGS, tmp_path / "banked")
    alone, banked_ = (pd.read_parquet(f / "predictions.parquet") for f in (home, held))
    pd.testing.assert_frame_equal(alone, banked_, atol=1e-5)


def test_what_only_other_runs_use_does_not_retrain():
    data, head, whole = make_data(), make_run(), make_run(trainable="all")
    base = Settings()

    def changes(run, **other):
        before, after = (run_fingerprint(run, data, s) for s in (base, replace(base, **other)))
        return before != after

    assert changes(head, epochs=3) and changes(whole, epochs=3)
    assert changes(head, objective="stated") and changes(whole, objective="stated")
    for only in ({"precision": "mixed_bfloat16"}, {"micro_batch": 4}, {"devices": 2}):
        assert changes(whole, **only) and not changes(head, **only)
    assert not changes(head, bank_gib=1.0) and not changes(whole, bank_gib=1.0)


def test_another_process_at_the_same_run_is_waited_for(tmp_path, capsys):
    """Whoever waited finds the run finished and writes nothing."""
    data, run = make_data(), make_run()
    home = tmp_path / run.task / run.name
    home.mkdir(parents=True)
    (home / "record.json").write_text(
        f'{{"fingerprint": "{run_fingerprint(run, data, SETTINGS)}"}}'
    )
    code = (
        "import filelock, sys, time\n"
        f"with filelock.FileLock({str(home / '.lock')!r}):\n"
        "    print('held', flush=True)\n    time.sleep(2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        train_all([run], data, SETTINGS, tmp_path)
    said = capsys.readouterr()
    assert "another process trains it; waiting" in said.err and "skipped" in said.out
    assert not list(home.glob("*.parquet"))
    with filelock.FileLock(home / ".lock", timeout=0):
        pass  # it was let go


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from tiny import SETTINGS, make_data, make_run
from dataclasses import replace
from rin import checkpoints
from rin.runs import train_all
checkpoints.Checkpoint.__init__.__defaults__ = (0,)  # one after every epoch
runs = [make_run(fold=fold, seed=seed, rate=rate)
        for seed in (0, 1) for fold in (0, 1) for rate in (1e-2, 1e-3)]
train_all(runs, make_data(), replace(SETTINGS, epochs=8), {folder!r})
"""


def start(folder):
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder))
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], **quiet)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["a run is finished", "a group is half way"])
def test_after_kill_9_a_rerun_gives_the_tables_of_an_uninterrupted_run(when, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    pattern = "record.json" if when == "a run is finished" else ".checkpoint-*.npz"
    with start(killed) as process:
        deadline = time.monotonic() + 240
        while not list(killed.rglob(pattern)) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    done = {f: f.stat().st_mtime_ns for f in killed.rglob("record.json")}
    assert len(done) < 8, "it was killed in the middle"
    assert bool(done) == (when == "a run is finished")
    for folder in (killed, whole):
        with start(folder) as process:
            said = process.communicate()[0]
            assert process.returncode == 0
            assert said.count("skipped") == (len(done) if folder == killed else 0)
    assert all(f.stat().st_mtime_ns == t for f, t in done.items()), "finished runs stay"
    assert_same(tables(whole), tables(killed), 16)
    assert not list(killed.rglob(".checkpoint*")), "nothing is left behind"


def test_a_group_goes_on_from_its_checkpoint_and_not_from_the_start(tmp_path, monkeypatch):
    from rin import epochwise

    data, runs = make_data(), [make_run(fold=fold) for fold in (0, 1)]
    settings = replace(SETTINGS, epochs=4)
    train_all(runs, data, settings, tmp_path / "whole")
    monkeypatch.setattr(checkpoints.Checkpoint.__init__, "__defaults__", (0,))
    seen, epoch_of = [], epochwise.Group._epoch

    def stopped(self, epoch):
        seen.append(epoch)
        if epoch == 2 and seen.count(2) == 1:
            raise KeyboardInterrupt
        epoch_of(self, epoch)

    monkeypatch.setattr(epochwise.Group, "_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_all(runs, data, settings, tmp_path / "stopped")
    train_all(runs, data, settings, tmp_path / "stopped")
    assert seen == [0, 1, 2, 2, 3]
    assert_same(tables(tmp_path / "whole"), tables(tmp_path / "stopped"), 4)


def test_all_runs_train_whole_networks(tmp_path):
    training.deterministic()
    run = make_run(trainable="all", rate=1e-4)
    (home,) = train_all([run], make_data(), replace(SETTINGS, epochs=1), tmp_path)
    record = records.read(home)
    assert record["result"]["bank"] == "none" and record["settings"]["precision"] == "float32"
    assert record["result"]["n_trainable"] > 23_000_000


def test_a_checkpoint_that_outlived_its_runs_goes_with_the_next_call(tmp_path, monkeypatch):
    """As after a kill between the last run's record and the removal."""
    data, runs = make_data(), [make_run(fold=fold) for fold in (0, 1)]
    monkeypatch.setattr(checkpoints.Checkpoint.__init__, "__defaults__", (0,))
    with monkeypatch.context() as killed:
        killed.setattr(checkpoints.Checkpoint, "remove", lambda self: None)
        train_all(runs, data, SETTINGS, tmp_path)
    assert len(list(tmp_path.rglob(".checkpoint*"))) == 1
    train_all(runs[:1], data, SETTINGS, tmp_path)
    assert len(list(tmp_path.rglob(".checkpoint*"))) == 1, "it holds the other run too"
    train_all(runs, data, SETTINGS, tmp_path)
    assert not list(tmp_path.rglob(".checkpoint*"))
