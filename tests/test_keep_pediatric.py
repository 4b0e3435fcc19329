"""Keeping the pediatric study: what is refused, and that no name of the dataset is kept."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rin import baselines, pediatric, phantoms, records
from rin.gradcam import choices
from rin.prepare import prepare

ROOT = Path(__file__).resolve().parents[1]
IDS = np.array(["c", "a", "b"])
DATA = SimpleNamespace(
    y=np.array([0, 1, 1]),
    image_ids=IDS,
    images=np.zeros((3, 64, 64), np.uint8),
    splits=np.full((3, 2), "test"),
    fingerprint="d",
)


def script():
    """The command as a module: benchmarks lie outside any package."""
    if str(ROOT / "benchmarks") not in sys.path:
        sys.path.append(str(ROOT / "benchmarks"))
    return importlib.import_module("keep_pediatric")


def runs(inits=("Mine-abc123", "random"), folds=(0, 1), fingerprint="d"):
    rows = [
        {"protocol": "5-fold", "arm": f"{init}, official", "scenario": "s", "fold": fold, "seed": 0}
        | {"init": init, "data_fingerprint": fingerprint}
        for init in inits
        for fold in folds
    ]
    return pd.DataFrame(rows)


def study(found):
    part = pd.DataFrame({"split": "test", "row": [0, 1, 2], "group": ["train/PERSON7"] * 2 + ["x"]})
    part = part.assign(y_true=[0, 1, 1], y_score=0.5, y_score_negative=0.5)
    predictions = found[pediatric.CELL].merge(part, how="cross")
    return pediatric.Study(found, predictions, found[["protocol", "arm"]], pd.DataFrame())


def test_images_and_children_get_running_names():
    kept = script().unnamed(study(runs()), DATA)
    one = kept.predictions[kept.predictions["fold"] == 0]
    one = one[one["arm"] == "random, official"]
    assert one["row"].tolist() == [0, 1, 2]
    assert one["y_true"].tolist() == [1, 1, 0], "in the order of their pixels' hashes"
    assert one["group"].iloc[0] == one["group"].iloc[2] != one["group"].iloc[1]
    assert set(kept.predictions["group"]) == {"g0", "g1"}


def test_a_weight_file_of_ones_own_is_called_pretrained():
    kept = script().unnamed(study(runs()), DATA)
    assert set(kept.runs["init"]) == {"pretrained", "random"}
    for table in (kept.runs, kept.predictions, kept.maps):
        assert set(table["arm"]) == {"pretrained, official", "random, official"}
    with pytest.raises(script().KeepError, match="one kind of weight files"):
        script().unnamed(study(runs(("a", "b"))), DATA)


def test_runs_of_other_images_have_no_baselines():
    given = {"5-fold": SimpleNamespace(data=DATA)}
    with pytest.raises(pediatric.PediatricError, match="5-fold: the runs' data and split are e"):
        pediatric.baselines(given, runs(fingerprint="e"))


def test_missing_folds_are_refused():
    script().check(runs(), DATA)
    with pytest.raises(script().KeepError, match=r"Mine-abc123, official, s lacks folds \[1\]"):
        script().check(pd.concat([runs(("a",)), runs(folds=(0,))]), DATA)


def test_phantoms_are_refused_and_nothing_is_written(tmp_path, pediatric_root):
    places = ["--runs", str(tmp_path), "--official", str(tmp_path), "--data", str(pediatric_root)]
    with pytest.raises(SystemExit, match="holds phantoms"):
        script().main([*places, "--out", str(tmp_path / "kept")])
    assert not (tmp_path / "kept").exists()


def write_runs(home, data, init):
    """Finished runs of all folds of these images, with made-up scores."""
    for fold in range(data.splits.shape[1]):
        folder = home / "pediatric" / f"{init}-{fold}"
        folder.mkdir(parents=True)
        rows = np.flatnonzero(np.isin(data.splits[:, fold], ["val", "test"]))
        facts = {"split": data.splits[rows, fold], "row": rows, "group": data.groups[rows]}
        score = np.random.default_rng(fold).random(len(rows))
        facts |= {"y_true": data.y[rows], "y_score": score, "y_score_negative": 1 - score}
        pd.DataFrame(facts).to_parquet(folder / "predictions.parquet")
        tested = rows[data.splits[rows, fold] == "test"]
        choices.save(folder, np.ones((len(tested), 1, 1, 2), np.float32), tested)
        run = {"task": "pediatric", "init": init, "preprocess": "official", "fold": fold}
        run |= {"backbone": "resnet50", "trainable": "head", "learning_rate": 0.001, "seed": 0}
        run |= {"scenario": "resnet50-head-1e-03", "classifier": "flatten", "batch_size": 16}
        counts = dict.fromkeys(pediatric.gathered.COUNTS[1:-1], 1)
        counts |= {"n_trainable": 4098, "diverged": False}
        record = {"kind": "training", "fingerprint": str(folder), "run": run, "result": counts}
        record |= {"data_fingerprint": data.fingerprint, "init_fingerprint": init}
        record |= {"settings": {"objective": "official"}}
        records.write(folder, record)


@pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")
def test_finished_runs_become_the_pages_tables(tmp_path, monkeypatch):
    images = phantoms.write("pediatric", tmp_path / "images", n=80, size=48)
    monkeypatch.setattr("rin.prepare.STORE_FOLDER", str(tmp_path / "store"))
    names = set()
    for protocol in ("5-fold", "official"):
        data = prepare("pediatric", images, image_size=32, protocol=protocol).data
        names |= set(data.groups)
        for init in ("Mine-abc123", "random"):
            write_runs(tmp_path / protocol, data, init)
    monkeypatch.setattr(script().datasets, "is_phantom", lambda root: None)  # for this test alone
    places = ["--runs", str(tmp_path / "5-fold"), "--official", str(tmp_path / "official")]
    places += ["--data", str(images), "--image-size", "32"]
    script().main([*places, "--out", str(tmp_path / "kept")])
    kept = pediatric.read(tmp_path / "kept")
    assert len(kept.runs) == 2 * (5 + 1)
    assert kept.predictions.groupby("row").y_true.nunique().eq(1).all()
    assert kept.predictions.groupby("row").group.nunique().eq(1).all(), "alike in both splits"
    by = kept.runs.groupby(["protocol", "fold"]).data_fingerprint.agg(set)
    assert kept.baselines.groupby(["protocol", "fold"]).data_fingerprint.agg(set).equals(by)
    alone = ["--data", str(images), "--image-size", "32", "--out", str(tmp_path / "kept")]
    script().main(alone)  # the folds are those of the kept runs
    pd.testing.assert_frame_equal(pediatric.read(tmp_path / "kept").baselines, kept.baselines)
    with pytest.raises(SystemExit):
        script().main([*alone, "--runs", str(tmp_path)])
    text = kept.predictions.to_csv() + kept.runs.to_csv() + kept.maps.to_csv()
    assert not [name for name in names if name in text] and str(tmp_path) not in text
    places[-1] = "64"
    with pytest.raises(SystemExit, match="64 px make"):
        script().main([*places, "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


def test_the_kept_baselines_are_of_the_kept_runs():
    kept = pediatric.read(ROOT / "results/pediatric")
    keys = ["protocol", "fold", "data_fingerprint"]
    assert set(kept.runs.groupby(keys).groups) == set(kept.baselines.groupby(keys).groups)
    best = pediatric.best_baselines(kept.baselines).set_index("protocol")
    thumbnail = kept.baselines[kept.baselines.baseline == best.baseline["5-fold"]]
    mean = thumbnail[thumbnail.protocol == "5-fold"].auc.mean()
    assert best.auc["5-fold"] == pytest.approx(mean)


@pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")
@pytest.mark.parametrize("protocol", ["5-fold", "official"])
def test_the_kept_baselines_were_tested_on_the_networks_own_images(
    protocol, project_data, tmp_path, monkeypatch
):
    """The fold is read from the kept predictions, not from the code that splits."""
    folder = project_data("kermany") / "chest_xray"
    monkeypatch.setattr("rin.prepare.STORE_FOLDER", str(tmp_path))
    one = prepare("pediatric", str(folder), protocol="official")  # 256 px
    numbered = np.argsort(one.data.image_ids, kind="stable")  # as `unnamed` numbers the images
    kept = pediatric.read(ROOT / "results/pediatric")
    tested = kept.predictions[kept.predictions.protocol == protocol]
    tested = tested[tested.fold == 0].drop_duplicates("row")
    rows = numbered[tested.row]
    assert np.array_equal(one.data.y[rows], tested.y_true)
    split = pd.Series("train", one.manifest.index)
    split.iloc[rows] = tested.split.to_numpy()
    manifest = one.manifest.drop(columns="split_0").assign(split_0=split)
    found = baselines.scores(manifest, one.store, one.classes[1])
    mine = kept.baselines[(kept.baselines.protocol == protocol) & (kept.baselines.fold == 0)]
    expected = mine.set_index("baseline").auc
    assert found.set_index("baseline").auc.to_dict() == pytest.approx(expected.to_dict(), abs=2e-3)
