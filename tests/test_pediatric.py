"""The pediatric study: its rules, its tables, and what they refuse, on examples made by hand."""

import numpy as np
import pandas as pd
import pytest

from rin import pediatric, records
from rin.gradcam import choices

Y = [0, 0, 1, 1, 1, 0]
POSITIVE = [0.2, 0.6, 0.7, 0.55, 0.9, 0.4]
NEGATIVE = [0.8, 0.7, 0.1, 0.6, 0.3, 0.5]  # a sigmoid ties neither unit to the other
ARMS = ("radimagenet, official", "imagenet, official")
RATE = "resnet50-head-1e-03"


def images(split, y=Y, score=POSITIVE, negative=NEGATIVE, first=0):
    """One run's predictions of one set."""
    rows = np.arange(first, first + len(y))
    facts = {"split": split, "row": rows, "group": [f"g{row}" for row in rows], "y_true": y}
    return pd.DataFrame(facts | {"y_score": score, "y_score_negative": negative})


def run(arm=ARMS[0], fold=0, protocol="5-fold", scenario=RATE, seed=0, val=None, **test):
    """Val and test of one run; a fold tests other images."""
    parts = [val if val is not None else images("val", first=500)]
    parts += [images("test", first=20 * fold, **test)]
    facts = {"protocol": protocol, "arm": arm, "scenario": scenario, "fold": fold, "seed": seed}
    both = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(facts, both.index).join(both)


def value(table, metric, rule=pediatric.ARGMAX, column="value"):
    return table.loc[(table["metric"] == metric) & (table["rule"] == rule), column].item()


# The rules


def test_the_threshold_lies_midway_in_the_gap_with_the_largest_j():
    # cuts .3 .475 .575 .65 .8; J = 1/3, 2/3, 1/3, 2/3, 1/3: of both best .475 is nearer to .5
    assert pediatric.threshold_on_val(images("val")) == pytest.approx(0.475)
    apart = images("val", [0, 1], [0.1, 0.4], [0.5, 0.5])
    assert pediatric.threshold_on_val(apart) == pytest.approx(0.25)


def test_equal_scores_have_no_threshold_and_one_class_is_refused():
    flat = images("val", [0, 1], [0.7, 0.7], [0.5, 0.5])
    assert pediatric.threshold_on_val(flat) == 0.5
    with pytest.raises(ValueError, match="both classes. Received: 2 positive, 0 negative"):
        pediatric.threshold_on_val(images("val", [1, 1], [0.1, 0.2], [0.5, 0.5]))


def test_argmax_looks_at_both_units_and_the_threshold_at_one():
    table = pediatric.scores(run(), n_resamples=5)
    # argmax calls images 2 and 4; .475 calls 1, 2, 3 and 4
    assert value(table, "sensitivity") == pytest.approx(2 / 3)
    assert value(table, "specificity") == 1
    assert value(table, "precision") == 1
    assert value(table, "accuracy") == pytest.approx(5 / 6)
    rule = pediatric.FROM_VAL
    assert value(table, "sensitivity", rule) == 1
    assert value(table, "precision", rule) == pytest.approx(3 / 4)
    assert value(table, "specificity", rule) == pytest.approx(2 / 3)
    assert value(table, "accuracy", rule, "threshold") == pytest.approx(0.475)
    # 8 of 9 pairs are in order
    assert value(table, "auc", pediatric.NO_RULE) == pytest.approx(8 / 9)
    assert (table["metric"] == "auc").sum() == 1


def test_test_images_have_no_say_in_the_threshold():
    table = pediatric.scores(run(score=POSITIVE[::-1]), n_resamples=5)
    assert value(table, "f1", pediatric.FROM_VAL, "threshold") == pytest.approx(0.475)
    other = run(val=images("val", [0, 1], [0.8, 0.9], [0.5, 0.5], first=500))
    table = pediatric.scores(other, n_resamples=5)
    assert value(table, "f1", pediatric.FROM_VAL, "threshold") == pytest.approx(0.85)
    assert value(table, "f1", pediatric.FROM_VAL, "n_val") == 2


def test_every_run_has_every_metric_with_an_interval():
    table = pediatric.scores(pd.concat([run(fold=k) for k in (0, 1)]), n_resamples=50)
    assert len(table) == 2 * (3 + 8 + 8)
    known = table[table["n_valid"] > 0]
    assert ((known["low"] <= known["high"]) & known["value"].notna()).all()


def test_a_mean_is_over_folds_and_its_sd_says_how_folds_differ():
    worse = {"score": [0.6, 0.6, 0.2, 0.55, 0.9, 0.4]}  # 5 of 9 pairs in order
    folds = pd.concat([run(fold=0), run(fold=1, **worse)])
    means = pediatric.averaged(pediatric.scores(folds, n_resamples=5))
    row = means[means["metric"] == "auc"].iloc[0]
    assert row["mean"] == pytest.approx((8 + 4) / 18)
    assert row["sd_over_folds"] == pytest.approx(4 / 9 / np.sqrt(2))
    assert row["n_folds"] == 2


def test_seeds_of_a_fold_count_once():
    worse = {"score": [0.6, 0.6, 0.2, 0.55, 0.9, 0.4]}
    cells = pd.concat([run(seed=0), run(seed=1, **worse), run(fold=1)])
    means = pediatric.averaged(pediatric.scores(cells, n_resamples=5))
    auc = means.loc[means["metric"] == "auc", "mean"].item()
    assert auc == pytest.approx((6 / 9 + 8 / 9) / 2)


def test_the_six_metrics_stand_in_one_row_for_each_rule():
    both = pd.concat([run(), run(protocol="official", arm=ARMS[1])])
    table = pediatric.six(pediatric.averaged(pediatric.scores(both, n_resamples=5)))
    assert list(table.columns[-6:]) == list(pediatric.SIX.values())
    assert len(table) == 4 and set(table["rule"]) == {pediatric.ARGMAX, pediatric.FROM_VAL}
    assert table["AUC"].tolist() == pytest.approx([8 / 9] * 4)


def test_the_learning_rate_is_chosen_on_val_for_each_arm_and_protocol():
    other = "resnet50-head-1e-02"
    losses = {(ARMS[0], RATE): 0.1, (ARMS[0], other): 0.6, (ARMS[1], RATE): 0.6}
    losses[ARMS[1], other] = 0.1
    rows = [(*key, loss) for key, loss in losses.items()]
    runs = pd.DataFrame(rows, columns=["arm", "scenario", "val_loss"]).assign(
        protocol="5-fold", fold=0, seed=0
    )
    chosen = pediatric.chosen(runs, runs)[["arm", "scenario"]]
    assert set(chosen.itertuples(index=False, name=None)) == {(ARMS[0], RATE), (ARMS[1], other)}


# Calibration


def test_a_network_that_is_right_as_often_as_it_says_has_slope_one():
    score = [0.2] * 5 + [0.8] * 5
    table = pediatric.calibrations(
        run(y=[1, 0, 0, 0, 0, 1, 1, 1, 1, 0], score=score, negative=score)
    )
    (row,) = table.to_dict("records")
    assert row["slope"] == pytest.approx(1) and row["intercept"] == pytest.approx(0, abs=1e-9)
    assert row["slope_low"] < 1 < row["slope_high"] and row["reason"] == ""


@pytest.mark.parametrize(
    ("score", "why"),
    [([0.1, 0.2, 0.8, 0.9], "should not separate the classes"), ([0.5] * 4, "nor be constant")],
)
def test_a_slope_that_does_not_exist_is_said_not_to(score, why):
    (row,) = pediatric.calibrations(run(y=[0, 0, 1, 1], score=score, negative=score)).to_dict(
        "records"
    )
    assert np.isnan(row["slope"]) and why in row["reason"] and row["n_images"] == 4


def test_the_reliability_curve_pools_folds_in_the_bins_of_the_calibration_error():
    table = pediatric.reliability(pd.concat([run(fold=k) for k in (0, 1)]))
    assert table["bin"].tolist() == [1, 3, 5, 6, 8]
    assert table["n_images"].tolist() == [2, 2, 4, 2, 2]
    assert table["observed"].tolist() == [0, 0, 0.5, 1, 1]
    assert table["predicted"].tolist() == pytest.approx([0.2, 0.4, 0.575, 0.7, 0.9])
    assert ((table["low"] <= table["observed"]) & (table["observed"] <= table["high"])).all()


# Two arms


def test_two_arms_are_compared_under_each_protocol_in_points():
    score = [0.6, 0.6, 0.2, 0.55, 0.9, 0.4]  # AUC 4/9
    cells = [run(fold=k, protocol="5-fold") for k in (0, 1)] + [run(protocol="official")]
    cells += [run(ARMS[1], fold=k, score=score) for k in (0, 1)]
    cells += [run(ARMS[1], protocol="official", score=score)]
    cells = pd.concat(cells, ignore_index=True)
    facts = cells[["protocol", "arm", "fold"]].drop_duplicates()
    facts = facts.assign(n_train=12, n_val=6, n_test=6)
    table = pediatric.compare(facts, cells).set_index("protocol")
    assert table["a"].tolist() == [ARMS[0]] * 2
    assert table["difference"].tolist() == pytest.approx([400 / 9, 400 / 9])
    assert "one split" in table.loc["official", "reason"]
    assert np.isnan(table.loc["official", "training_p"])
    assert table.loc["5-fold", "n_images"] == 12


def test_one_arm_alone_is_compared_with_nothing():
    assert pediatric.compare(pd.DataFrame(), run()).empty


# From run folders


def write_run(home, init="random", fold=0, backbone="resnet50", diverged=False, **other):
    """A finished run with maps of 2 × 2 cells: the positive unit looks at the top left."""
    folder = home / "pediatric" / f"{init}-{backbone}-fold{fold}"
    facts = {"task": "pediatric", "init": init, "preprocess": "official", "backbone": backbone}
    facts |= {"trainable": "head", "learning_rate": 0.001, "scenario": f"{backbone}-head-1e-03"}
    facts |= {"fold": fold, "seed": 0, "classifier": "flatten", "batch_size": 16} | other
    counts = {"n_trainable": 16386, "n_updates": 4, "n_train": 12, "n_val": 6, "n_test": 6}
    counts |= {
        "n_epochs": 2,
        "best_epoch": 1,
        "val_loss": 0.5,
        "diverged": diverged,
        "seconds": 1.0,
    }
    folder.mkdir(parents=True)
    sets = pd.concat([images("val", first=500), images("test", first=20 * fold)])
    sets.to_parquet(folder / "predictions.parquet")
    maps = np.zeros((6, 2, 2, 2), np.float32)
    maps[:, 0, 0, 1] = [1, 2, 3, 4, 5, 0]  # the last map is blank
    choices.save(folder, maps, np.arange(20 * fold, 20 * fold + 6))
    record = {"kind": "training", "fingerprint": folder.name, "run": facts, "result": counts}
    record |= {"settings": {"epochs": 2, "objective": "official"}, "data_fingerprint": "d"}
    record["init_fingerprint"] = init
    records.write(folder, record)
    return folder


def test_the_studys_runs_are_picked_out_of_others(tmp_path):
    write_run(tmp_path, "imagenet")
    write_run(tmp_path, "random")
    write_run(tmp_path, backbone="densenet121")
    assert pediatric.runs(tmp_path)["arm"].tolist() == ["imagenet, official", "random, official"]


def test_another_networks_batch_size_is_not_part_of_an_arms_name(tmp_path):
    write_run(tmp_path)
    write_run(tmp_path, backbone="densenet121", batch_size=32)
    found = pediatric.study({"5-fold": tmp_path}, image_size=64)
    assert {*found.runs["arm"]} == {*found.predictions["arm"]} == {"random, official"}
    assert {*found.maps["arm"]} == {"random, official"}


def test_a_protocol_whose_runs_all_diverged_leaves_the_others_maps_numbers(tmp_path):
    write_run(tmp_path / "grouped")
    write_run(tmp_path / "official", diverged=True)
    folders = {"5-fold": tmp_path / "grouped", "official": tmp_path / "official"}
    found = pediatric.study(folders, image_size=64)
    assert found.maps["value"].dtype == float and set(found.maps["protocol"]) == {"5-fold"}
    assert found.runs["diverged"].tolist() == [False, True]


def test_runs_of_another_network_alone_are_not_the_study(tmp_path):
    write_run(tmp_path, backbone="densenet121")
    with pytest.raises(pediatric.PediatricError, match="resnet50, head, flatten among 1 runs"):
        pediatric.runs(tmp_path)


def test_a_study_is_kept_and_read_again(tmp_path):
    for fold in (0, 1):
        write_run(tmp_path / "grouped", fold=fold)
    write_run(tmp_path / "official")
    found = pediatric.study(
        {"5-fold": tmp_path / "grouped", "official": tmp_path / "official"}, image_size=64
    )
    assert found.runs["protocol"].tolist() == ["5-fold", "5-fold", "official"]
    assert len(found.predictions) == 3 * 12
    pediatric.write(found, tmp_path / "kept")
    again = pediatric.read(tmp_path / "kept")
    for name in ("runs", "predictions", "maps", "baselines"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(again, name), check_dtype=False)
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == sorted(
        pediatric.gathered.FILES.values()
    )


def test_kept_tables_that_are_not_there_are_named(tmp_path):
    with pytest.raises(pediatric.PediatricError, match="no runs.csv, predictions.parquet, maps"):
        pediatric.read(tmp_path)


def test_heads_of_another_image_size_are_refused(tmp_path):
    write_run(tmp_path)
    with pytest.raises(pediatric.PediatricError, match=r"\[16386\].*256 px make 262146"):
        pediatric.study({"5-fold": tmp_path}, image_size=256)


def test_the_head_has_the_parameters_of_its_map():
    assert pediatric.head_parameters(256) == 262_146 == 8 * 8 * 2048 * 2 + 2
    assert pediatric.head_parameters(64) == 2 * 2 * 2048 * 2 + 2
    assert pediatric.head_parameters(80) == 3 * 3 * 2048 * 2 + 2


def test_the_mean_map_counts_every_image_alike_and_blank_ones_as_nothing(tmp_path):
    write_run(tmp_path)
    table = pediatric.study({"5-fold": tmp_path}, image_size=64).maps
    corner = table[(table["y"] == 0) & (table["x"] == 0)].set_index("y_true")
    assert corner.loc[1, "value"] == 1 and corner.loc[0, "value"] == pytest.approx(2 / 3)
    assert corner["n_blank"].to_dict() == {0: 1, 1: 0} and (corner["n_images"] == 3).all()
    assert table.loc[(table["y"] == 1) | (table["x"] == 1), "value"].eq(0).all()
