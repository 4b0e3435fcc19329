"""Looks: what a task's maps look at, kept without images and read again."""

import numpy as np
import pandas as pd
import pytest
from test_gradcam_tables import HALF, HAS, HIT, MASKS, MISS, A, B, Made
from tiny import SETTINGS, make_data, make_run

from rin.gradcam import looks, tables

SPLITS = np.array([["train", "test"], ["test", "train"], ["test", "train"], ["test", "test"]])


@pytest.fixture
def seen(tmp_path):
    """Two arms: one always on the lesion, one half on it."""
    made = Made(tmp_path)
    made.run(A, [HIT, MISS, HIT], rows=[1, 2, 3])
    made.run(B, [HALF, HALF, HALF], rows=[1, 2, 3])
    runs, drawn, has, predictions = made.inputs
    return looks.find(runs, predictions, drawn, has, SPLITS)


def test_every_table_rests_on_the_same_runs_and_folds(seen):
    means = seen.overlaps.groupby("arm")["dice"].mean()
    assert means.to_dict() == {A: 1.0, B: 0.5}
    at = seen.curve.set_index(["arm", "threshold"])["mean_dice"]
    assert at[A, 180] == 1.0 and at[B, 180] == 0.5
    assert set(seen.ladder["fold"]) == {0} and set(seen.ladder["row"]) == {1, 2}
    assert "ideal map, 2×2" in set(seen.ladder["baseline"]) and seen.sanity.empty
    chosen = seen.sensitivity.set_index(tables.CHOICES)
    assert chosen.loc[("predicted", "probability", "bilinear", 180), A] == 1.0


def test_a_task_without_masks_has_overlaps_alone(tmp_path):
    made = Made(tmp_path)
    made.run(A, [HIT, MISS], rows=[1, 2])
    runs, _, _, predictions = made.inputs
    found = looks.find(runs, predictions, MASKS & False, HAS & False, SPLITS)
    assert len(found.overlaps) == 2 and found.overlaps["dice"].isna().all()
    assert found.curve.empty and found.ladder.empty and found.sensitivity.empty


def test_kept_tables_come_back_with_running_names_for_groups(seen, tmp_path):
    looks.write(seen, tmp_path / "kept")
    again = looks.read(tmp_path / "kept")
    numbered = seen.ladder.assign(row=seen.ladder["row"] - 1)  # images 1, 2, 3 by their hash
    pd.testing.assert_frame_equal(again.ladder, numbered, check_dtype=False)
    pd.testing.assert_series_equal(again.overlaps["dice"], seen.overlaps["dice"])
    assert list(again.overlaps["row"]) == [0, 1, 2] * 2
    assert set(again.overlaps["group"]) == {"g0", "g1", "g2"}
    pairs = set(zip(seen.overlaps["group"], again.overlaps["group"], strict=True))
    assert len(pairs) == 3, "one name a group"


def test_numbers_of_kept_images_and_groups_do_not_follow_their_files(tmp_path):
    made = Made(tmp_path)
    made.run(A, [HIT, MISS, HIT], rows=[1, 2, 3])
    runs, drawn, has, predictions = made.inputs
    predictions["image_id"] = predictions["row"].map({1: "c", 2: "a", 3: "b"})
    found = looks.find(runs, predictions, drawn, has, SPLITS)
    looks.write(found, tmp_path / "kept")
    kept = looks.read(tmp_path / "kept").overlaps.set_index("image_id")
    assert kept["row"].to_dict() == {"a": 0, "b": 1, "c": 2}
    assert kept["group"].to_dict() == {"a": "g0", "b": "g1", "c": "g2"}


def test_every_table_is_made_under_the_same_choices(tmp_path):
    made = Made(tmp_path)
    made.run(A, [MISS, HIT], negative=[HIT, HALF], fold=1, rows=[1, 2])
    runs, _, has, predictions = made.inputs
    large = np.repeat(np.repeat(MASKS, 8, axis=1), 8, axis=2)
    two = np.stack([SPLITS[:, 0], SPLITS[:, 0]], axis=1)
    chosen = {"which": "positive", "of": "logit", "threshold": 100, "resize": "nearest"}
    seen = looks.find(runs, predictions, large, has, two, **chosen)
    assert all((seen.overlaps[name] == value).all() for name, value in chosen.items())
    assert set(seen.ladder["fold"]) == {1}
    at = seen.curve.set_index("threshold")["mean_dice"]
    assert at[100] == seen.overlaps["dice"].mean()
    ideal = seen.ladder[seen.ladder["baseline"] == "ideal map, 2×2"]
    assert (ideal["dice"] == 1).all(), "squares of whole cells are the mask itself"


def test_a_lone_weight_file_is_kept_as_pretrained(tmp_path):
    made = Made(tmp_path)
    made.run("mine-123abc, official", [HIT, MISS], rows=[1, 2])
    made.run(B, [HALF, HALF], rows=[1, 2])
    runs, drawn, has, predictions = made.inputs
    found = looks.find(runs, predictions, drawn, has, SPLITS)
    looks.write(found, tmp_path / "kept")
    again = looks.read(tmp_path / "kept")
    assert set(again.overlaps["arm"]) == set(again.curve["arm"]) == {"pretrained, official", B}
    assert set(again.overlaps["init"]) == {"pretrained", "random"}
    assert "pretrained, official" in again.sensitivity
    assert "mine-123abc, official" in found.sensitivity, "what was given is left as it was"
    made.run("yours-456def, official", [HIT, MISS], rows=[1, 2])
    runs, drawn, has, predictions = made.inputs
    several = looks.find(runs, predictions, drawn, has, SPLITS)
    with pytest.raises(looks.LooksError, match="one kind of weight files. Received: 2"):
        looks.write(several, tmp_path / "kept")


def test_a_table_that_is_not_there_is_named(seen, tmp_path):
    looks.write(seen, tmp_path / "kept")
    (tmp_path / "kept" / "curve.parquet").unlink()
    with pytest.raises(looks.LooksError, match=r"no curve\.parquet"):
        looks.read(tmp_path / "kept")


@pytest.mark.slow
def test_a_run_that_kept_its_weights_is_checked_by_randomizing_them(tmp_path):
    from dataclasses import replace
    from types import SimpleNamespace

    from rin import records
    from rin.gradcam import checking
    from rin.runs import train_all

    data = make_data(size=64)
    train_all([make_run()], data, replace(SETTINGS, keep_weights=True), tmp_path)
    run = records.training_runs(tmp_path).iloc[0]
    table = checking.check(run, SimpleNamespace(data=data), n_images=3, steps=2)
    assert list(table["step"]) == [0, 1, 2] and table["similarity"].iloc[0] == pytest.approx(1)
    assert set(table["fold"]) == {0} and (table["n_images"] == 3).all()
    assert set(table["init"]) == {"random"} and table["n_layers"].is_monotonic_increasing
