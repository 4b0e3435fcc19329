"""Records: the mark of a finished run, what it stands for, and all runs read again."""

import getpass
import json
import os
import socket
from pathlib import Path

import pandas as pd
import pytest

from rin import records


@pytest.fixture
def runs_dir(tmp_path):
    """Two finished training runs, one unfinished one and one page, written by hand."""
    for fold, mark in ((1, "bbbb"), (0, "aaaa")):
        home = tmp_path / "breast" / f"run{fold}"
        home.mkdir(parents=True)
        splits = ["val", "test", "test"]
        table = {"split": splits, "y_true": [0, 0, 1], "y_score": [0.1, 0.2 + fold, 0.3]}
        pd.DataFrame(table).to_parquet(home / "predictions.parquet")
        pd.DataFrame({"epoch": [0, 1], "val_loss": [0.7, 0.6]}).to_parquet(home / "history.parquet")
        run = {
            "task": "breast",
            "init": "random",
            "preprocess": "official",
            "fold": fold,
            "seed": 0,
            "batch_size": 256,
        }
        run |= {"backbone": "resnet50", "trainable": "head", "learning_rate": 1e-3}
        run |= {"scenario": "resnet50-head-1e-03", "classifier": "gap"}
        facts = {"kind": "training", "fingerprint": mark, "data_fingerprint": "d", "run": run}
        facts["settings"] = {"objective": "official"}
        records.write(home, facts | {"result": {"n_updates": 90, "diverged": False}})
    (tmp_path / "breast" / "unfinished").mkdir()
    records.write(tmp_path / "page", {"kind": "page", "fingerprint": "cccc"})
    return tmp_path


def test_a_record_is_written_whole_and_read_again(tmp_path):
    assert records.read(tmp_path / "run") is None
    records.write(tmp_path / "run", {"fingerprint": "f", "n": 1, "file": Path("a")})
    record = records.read(tmp_path / "run")
    assert (record["fingerprint"], record["n"], record["file"]) == ("f", 1, "a")
    assert {"versions", "hardware", "git_commit"} < set(record)
    assert os.listdir(tmp_path / "run") == ["record.json"]


def test_a_run_is_finished_only_with_its_own_fingerprint(tmp_path):
    assert not records.is_finished(tmp_path, "f")
    records.write(tmp_path, {"fingerprint": "f"})
    assert records.is_finished(tmp_path, "f") and not records.is_finished(tmp_path, "g")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"n": 1}'])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ValueError, match="record.json: expected a .*record"):
        records.is_finished(tmp_path, "f")


def test_a_crash_while_writing_leaves_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        records.write(tmp_path, {"fingerprint": "f"})
    assert os.listdir(tmp_path) == []


def test_a_fingerprint_depends_on_values_and_not_on_the_order_of_keys():
    first = records.fingerprint({"a": 1, "b": [1.5, None, Path("x")]})
    assert first == records.fingerprint({"b": [1.5, None, Path("x")], "a": 1})
    assert len(first) == 16 and int(first, 16) >= 0
    others = [{"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, {"a": None}, {"b": 1}]
    assert len({records.fingerprint(facts) for facts in others}) == len(others)


def test_the_code_fingerprint_is_of_the_modules_named():
    one, two, whole = (records.code_fingerprint(*m) for m in (["stats"], ["stats", "paths"], []))
    assert len({one, two, whole}) == 3
    assert one == records.code_fingerprint("stats")


def test_the_code_fingerprint_takes_packages_and_refuses_what_is_not_there():
    one = records.code_fingerprint("augment")
    assert len({one, records.code_fingerprint("weights"), records.code_fingerprint()}) == 3
    assert records.code_fingerprint("augment", "weights") != one
    with pytest.raises(FileNotFoundError, match="neither a module nor a package"):
        records.code_fingerprint("waits")


def test_a_file_fingerprint_is_of_its_size_and_time(tmp_path):
    file = tmp_path / "w.h5"
    assert records.file_fingerprint(file) == ""
    file.write_bytes(b"1")
    first = records.file_fingerprint(file)
    file.write_bytes(b"12")
    assert first and records.file_fingerprint(file) != first


def test_a_folder_fingerprint_sees_every_change_below(tmp_path):
    assert records.folder_fingerprint(tmp_path / "no") == ""
    file = tmp_path / "deep" / "a.png"
    file.parent.mkdir()
    file.write_text("one")
    (tmp_path / "b.png").symlink_to("nowhere")
    seen = [records.folder_fingerprint(tmp_path)]
    assert records.folder_fingerprint(tmp_path) == seen[0]
    os.utime(file, (1, 1))
    seen.append(records.folder_fingerprint(tmp_path))
    file.write_text("longer")
    os.utime(file, (1, 1))
    seen.append(records.folder_fingerprint(tmp_path))
    file.rename(file.with_name("c.png"))
    seen.append(records.folder_fingerprint(tmp_path))
    assert len(set(seen)) == 4


def test_the_environment_names_versions_and_hardware_and_nobody():
    found = records.environment()
    assert {"python", "rin", "numpy", "keras"} <= set(found["versions"])
    assert found["hardware"]["n_cores"] == os.cpu_count() and found["hardware"]["memory_gib"] > 0
    words = set(json.dumps(found).replace('"', " ").replace(",", " ").split())
    assert not words & {getpass.getuser(), socket.gethostname()}
    assert str(Path.home()) not in words and os.getcwd() not in json.dumps(found)


def test_finished_training_runs_are_one_table_in_order(runs_dir):
    runs = records.training_runs(runs_dir)
    assert list(runs["fold"]) == [0, 1] and list(runs["n_updates"]) == [90, 90]
    assert set(runs["data_fingerprint"]) == {"d"}
    assert list(runs["folder"]) == [str(runs_dir / "breast" / f"run{n}") for n in (0, 1)]
    assert records.training_runs(runs_dir, task="breast").equals(runs)
    assert records.training_runs(runs_dir, task="acl").empty
    assert records.training_runs(runs_dir / "no").empty


def test_predictions_of_all_runs_are_one_long_table(runs_dir):
    runs = records.training_runs(runs_dir)
    test = records.predictions(runs)
    assert list(test["fold"]) == [0, 0, 1, 1] and list(test["y_score"]) == [0.2, 0.3, 1.2, 0.3]
    assert set(test["split"]) == {"test"} and list(test.index) == [0, 1, 2, 3]
    assert list(test.columns[:3]) == ["task", "init", "preprocess"]
    assert len(records.predictions(runs, "val")) == 2 and len(records.predictions(runs, None)) == 6
    history = records.predictions(runs, table="history")
    assert list(history["epoch"]) == [0, 1, 0, 1]


def test_predictions_of_no_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`runs` should hold at least one finished run"):
        records.predictions(records.training_runs(tmp_path))


def test_the_fingerprint_of_runs_changes_with_any_of_them(runs_dir):
    before = records.runs_fingerprint(runs_dir)
    records.write(runs_dir / "pages" / "page", {"kind": "page", "fingerprint": "dddd"})
    assert records.runs_fingerprint(runs_dir) == before, "a page's own record is no run"
    records.write(runs_dir / "breast" / "new", {"kind": "training", "fingerprint": "eeee"})
    assert records.runs_fingerprint(runs_dir) != before
