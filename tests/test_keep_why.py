"""Keeping the runs of the why: real images only, whole, and without a name of the dataset."""

import importlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rin import phantoms, records, why
from rin.phantoms import MARKER
from rin.prepare import prepare

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SIZE = 32
pytestmark = pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")


@pytest.fixture(scope="module")
def script():
    """The command as a module: benchmarks lie outside any package."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    return importlib.import_module("keep_why")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Phantoms that pass for real images, as they have lost their mark, and their `Data`."""
    folder = tmp_path_factory.mktemp("images") / "breast"
    root = phantoms.write("breast", folder, n=150, size=SIZE)
    for mark in {*folder.rglob(MARKER), root / MARKER}:
        mark.unlink(missing_ok=True)
    return root, prepare("breast", root, image_size=SIZE).data


def write_runs(home, data, inits=("random", "weights-1a2b3c"), folds=(0, 1), phantom=False):
    """Finished runs of both inits and both preprocesses."""
    rng = np.random.default_rng(0)
    keys = pd.MultiIndex.from_product([inits, ("official", "native"), folds])
    for init, preprocess, fold in keys:
        rows = np.flatnonzero(data.splits[:, fold] == "test")
        facts = {"task": "breast", "init": init, "preprocess": preprocess, "scenario": "s"}
        facts |= {"backbone": "resnet50", "trainable": "head", "learning_rate": 0.01, "fold": fold}
        facts |= {"seed": 0, "classifier": "gap", "batch_size": 256}
        folder = home / "breast" / f"{init}-{preprocess}-{fold}"
        folder.mkdir(parents=True)
        table = pd.DataFrame({"row": rows, "split": "test", "image_id": data.image_ids[rows]})
        table = table.assign(group=data.groups[rows], y_true=data.y[rows])
        table["y_score"] = rng.random(len(rows)).astype("float32")
        table.to_parquet(folder / "predictions.parquet")
        record = {"kind": "training", "fingerprint": "f", "data_fingerprint": data.fingerprint}
        record |= {"settings": {"objective": "official"}, "run": facts, "fed": preprocess}
        record["init_fingerprint"] = init
        record["phantom"] = phantom
        counts = {"n_train": 40, "n_trainable": 4098, "n_updates": 30, "diverged": False}
        records.write(folder, record | {"result": counts})


def test_runs_are_kept_under_names_that_say_nothing(script, images, tmp_path, capsys, monkeypatch):
    root, data = images
    write_runs(tmp_path / "runs", data)
    read, gather = [], script.judge.gather
    monkeypatch.setattr(script.judge, "gather", lambda *args: read.append(args) or gather(*args))
    words = ["--runs", tmp_path / "runs", "--data", f"breast={root}", "--image-size", SIZE]
    script.main([*map(str, words), "--out", str(tmp_path / "kept")])
    assert len(read) == 1  # all predictions are read once
    assert "kept in" in capsys.readouterr().out
    runs, kept = why.read(tmp_path / "kept", "breast")
    assert set(runs["init"]) == {"random", "pretrained"} and len(runs) == 8
    assert kept["group"].str.fullmatch(r"g\d+").all()
    assert not set(kept["group"]) & set(data.groups)
    by_hash = np.sort(data.image_ids)[kept["row"]]
    truth = dict(zip(data.image_ids, data.y, strict=True))
    assert [truth[name] for name in by_hash] == list(kept["y_true"])
    before = why.gaps(*why.gather(tmp_path / "runs", "breast"), "weights-1a2b3c", "random")
    after = why.gaps(runs, kept, "pretrained", "random")
    pd.testing.assert_frame_equal(before, after)  # groups are renamed and not regrouped


def test_phantoms_are_refused(script, images, tmp_path):
    write_runs(tmp_path / "runs", images[1], phantom=True)
    with pytest.raises(script.KeepError, match="runs of phantoms"):
        script.collect(tmp_path / "runs", {"breast": images[0]}, SIZE)
    root = phantoms.write("breast", tmp_path / "breast", n=20, size=SIZE)
    with pytest.raises(SystemExit, match="holds phantoms"):
        script.main(["--runs", str(tmp_path), "--data", f"breast={root}"])


def test_other_images_one_setting_and_missing_folds_are_refused(script, images, tmp_path):
    root, data = images
    write_runs(tmp_path, data)
    with pytest.raises(script.KeepError, match="other images, or another size"):
        script.collect(tmp_path, {"breast": root}, 2 * SIZE)
    lost = tmp_path / "breast" / "random-native-1"
    lost.rename(tmp_path / "aside")
    with pytest.raises(script.KeepError, match="folds are missing of random native 256 s"):
        script.collect(tmp_path, {"breast": root}, SIZE)
    for folder in (tmp_path / "breast").glob("*-native-*"):
        shutil.rmtree(folder)
    with pytest.raises(script.KeepError, match="two preprocesses or batch sizes"):
        script.collect(tmp_path, {"breast": root}, SIZE)
    write_runs(tmp_path / "two", data, inits=("mine-1a2b3c", "yours-1a2b3c"))
    with pytest.raises(script.KeepError, match="one kind of weight files"):
        script.collect(tmp_path / "two", {"breast": root}, SIZE)
