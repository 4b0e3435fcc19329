"""Judging a task: from run folders to tables, on examples that can be checked by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from rin import judge, records, stats

# statistics.md, section 2 (E1) and section 4 (its second fold)
Y = [1, 1, 1, 0, 0, 0]
A = [0.9, 0.8, 0.4, 0.5, 0.3, 0.2]  # AUC 8/9
B = [0.7, 0.6, 0.3, 0.65, 0.4, 0.1]  # AUC 6/9
Y2 = [1, 1, 0, 0, 0]
A2 = [0.8, 0.5, 0.6, 0.4, 0.1]  # AUC 5/6
B2 = [0.6, 0.2, 0.5, 0.3, 0.25]  # AUC 3/6
GROUPS = list("001022")
RIN, IMN = "radimagenet, official", "imagenet, official"
S1, S2 = "resnet50-head-1e-02", "resnet50-head-1e-03"


def cell(arm, fold=0, scores=A, y_true=Y, scenario=S1, seed=0, group=None):
    """The test predictions of one run."""
    init, preprocess = arm.split(", ")
    first = 10 * fold  # folds test other images
    rows = np.arange(first, first + len(y_true))
    return pd.DataFrame(
        {
            "arm": arm,
            "init": init,
            "preprocess": preprocess,
            "scenario": scenario,
            "fold": fold,
            "seed": seed,
            "row": rows,
            "group": [f"g{row}" for row in rows] if group is None else group,
            "split": "test",
            "y_true": y_true,
            "y_score": scores,
            "y_score_negative": 1 - np.asarray(scores),
        }
    )


def runs_of(predictions, diverged=()):
    """The runs behind predictions, as `judge.gather` gives them."""
    keys = ["arm", "scenario", "fold", "seed"]
    runs = predictions[keys].drop_duplicates(ignore_index=True)
    runs["diverged"] = [tuple(run) in set(diverged) for run in runs[keys].itertuples(index=False)]
    facts = {"backbone": "resnet50", "trainable": "head", "learning_rate": 0.01}
    return runs.assign(**facts, n_trainable=4098, n_updates=90 + 10 * runs["fold"])


def table_of(*cells, diverged=()):
    predictions = pd.concat(cells, ignore_index=True)
    return judge.scenarios(runs_of(predictions, diverged), predictions)


def write_run(
    home,
    arm,
    fold=0,
    data="d",
    classifier="gap",
    epochs=30,
    weights="w",
    scores=A,
    batch_size=256,
    trainable="head",
    settings=None,
):
    """A finished run as training leaves it."""
    init, preprocess = arm.split(", ")
    run = {"task": "breast", "init": init, "preprocess": preprocess, "scenario": S1}
    run |= {"backbone": "resnet50", "trainable": trainable, "learning_rate": 0.01}
    run |= {"fold": fold, "seed": 0, "classifier": classifier, "batch_size": batch_size}
    folder = home / "breast" / "-".join(map(str, [init, preprocess, fold, classifier, batch_size]))
    folder.mkdir(parents=True)
    inside = ["row", "group", "split", "y_true", "y_score", "y_score_negative"]
    test = cell(arm, fold, scores)[inside]
    val = test.assign(split="val", y_score=0.5, y_score_negative=0.5, row=test["row"] + 100)
    pd.concat([val, test], ignore_index=True).to_parquet(folder / "predictions.parquet")
    facts = {"kind": "training", "fingerprint": "f", "data_fingerprint": data, "run": run}
    settings = {"epochs": epochs, "objective": "official"} | (settings or {})
    facts |= {"settings": settings, "init_fingerprint": weights}
    result = {"n_updates": 90, "n_trainable": 4098, "diverged": False}
    records.write(folder, facts | {"result": result})


def test_runs_of_two_batch_sizes_are_two_arms(tmp_path):
    write_run(tmp_path, RIN)
    runs, _ = judge.gather(tmp_path, "breast")
    assert list(runs.arm) == [RIN]
    write_run(tmp_path, RIN, batch_size=32)
    runs, predictions = judge.gather(tmp_path, "breast")
    assert (
        sorted(runs.arm)
        == [f"{RIN}, batch 256", f"{RIN}, batch 32"]
        == sorted(predictions.arm.unique())
    )


def test_what_only_all_runs_are_told_does_not_part_them_from_head_runs(tmp_path):
    write_run(tmp_path, RIN, settings={})
    write_run(tmp_path, RIN, 1, trainable="all", settings={"precision": "float32"})
    assert len(judge.gather(tmp_path, "breast")[0]) == 2
    write_run(tmp_path, RIN, 2, trainable="all", settings={"precision": "mixed_bfloat16"})
    with pytest.raises(judge.JudgeError, match="2 different settings of all runs"):
        judge.gather(tmp_path, "breast")


def test_what_runs_of_both_kinds_are_told_is_the_same(tmp_path):
    write_run(tmp_path, RIN, epochs=30, settings={"augmentation": "none"})
    whole = {"trainable": "all", "epochs": 10}
    write_run(tmp_path, RIN, 1, **whole, settings={"augmentation": "none", "devices": 1})
    assert len(judge.gather(tmp_path, "breast")[0]) == 2, "epochs may differ"
    write_run(tmp_path, RIN, 2, trainable="top10", settings={"augmentation": "official"})
    with pytest.raises(
        judge.JudgeError, match="2 different settings \\(augmentation, objective\\)"
    ):
        judge.gather(tmp_path, "breast")


def test_whether_weights_were_kept_changes_no_result(tmp_path):
    write_run(tmp_path, RIN, settings={"keep_weights": True})
    write_run(tmp_path, RIN, 1, settings={"keep_weights": False})
    write_run(tmp_path, RIN, 2, trainable="all", settings={"keep_weights": False})
    assert len(judge.gather(tmp_path, "breast")[0]) == 3


def test_finished_runs_are_gathered_with_their_test_rows_only(tmp_path):
    write_run(tmp_path, RIN)
    write_run(tmp_path, "radimagenet, native", scores=B)
    runs, predictions = judge.gather(tmp_path, "breast")
    assert sorted(runs["arm"]) == ["radimagenet, native", RIN]
    assert len(predictions) == 12 and set(predictions["split"]) == {"test"}
    table = judge.scenarios(runs, predictions).set_index("arm")
    assert table.loc[RIN, "auc"] == pytest.approx(8 / 9)
    assert table.loc["radimagenet, native", "auc"] == pytest.approx(6 / 9)


def test_no_runs_are_refused(tmp_path):
    with pytest.raises(judge.JudgeError, match="no finished run of task 'breast'"):
        judge.gather(tmp_path, "breast")
    write_run(tmp_path, RIN)
    with pytest.raises(judge.JudgeError, match="no finished run of task 'pediatric'"):
        judge.gather(tmp_path, "pediatric")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"data": "e"}, "2 different data sets or splits"),
        ({"epochs": 4}, "2 different settings"),
        ({"classifier": "flatten"}, "2 different classifiers"),
        ({"weights": "v"}, "2 different weight files of radimagenet resnet50"),
    ],
)
def test_runs_that_are_not_alike_are_refused(tmp_path, other, message):
    write_run(tmp_path, RIN)
    write_run(tmp_path, RIN, fold=1, **other)
    with pytest.raises(judge.JudgeError, match=message):
        judge.gather(tmp_path, "breast")


def test_inits_may_differ_in_their_weight_files(tmp_path):
    write_run(tmp_path, RIN, weights="r")
    write_run(tmp_path, IMN, weights="i")
    assert len(judge.gather(tmp_path, "breast")[0]) == 2


def test_the_auc_of_a_scenario_is_the_mean_of_its_folds_and_not_pooled():
    (row,) = table_of(cell(RIN, 0, A, Y), cell(RIN, 1, A2, Y2)).to_dict("records")
    assert row["auc"] == pytest.approx((8 / 9 + 5 / 6) / 2)
    assert row["pooled_auc"] == pytest.approx(0.866667, abs=1e-6)
    moved = table_of(cell(RIN, 0, A, Y), cell(RIN, 1, np.array(A2) - 0.5, Y2))
    assert moved["auc"][0] == pytest.approx(row["auc"])
    assert moved["pooled_auc"][0] == pytest.approx(0.8)


def test_a_scenario_carries_what_stands_beside_its_auc():
    (row,) = table_of(cell(RIN, 0, A, Y), cell(RIN, 1, A2, Y2)).to_dict("records")
    assert (row["backbone"], row["trainable"], row["learning_rate"]) == ("resnet50", "head", 0.01)
    assert (row["n_folds"], row["n_trainable"], row["n_updates"]) == (2, 4098, 95)
    assert row["n_diverged"] == 0


def test_several_seeds_are_averaged_within_their_fold_first():
    cells = cell(RIN, 0, A), cell(RIN, 0, B, seed=1), cell(RIN, 1, A2, Y2)
    (row,) = table_of(*cells).to_dict("records")
    assert row["auc"] == pytest.approx(((8 / 9 + 6 / 9) / 2 + 5 / 6) / 2)
    assert row["n_folds"] == 2


def test_a_diverged_run_enters_with_auc_one_half_and_is_counted():
    constant = [0.5] * 6
    cells = cell(RIN), cell(RIN, 1, A2, Y2), cell(RIN, 0, constant, scenario=S2)
    cells += (cell(RIN, 1, A2, Y2, S2),)
    table = table_of(*cells, diverged=[(RIN, S2, 0, 0)]).set_index("scenario")
    assert table.loc[S2, "auc"] == pytest.approx((0.5 + 5 / 6) / 2)
    assert list(table["n_diverged"]) == [0, 1]
    assert len(judge.complete(table.reset_index(), 2)) == 2  # it counts as any other
    twice = table_of(*cells, diverged=[(RIN, S2, 0, 0), (RIN, S2, 1, 0)])
    assert twice.set_index("scenario").loc[S2, "n_diverged"] == 2


def test_a_scenario_counts_only_when_every_arm_has_every_fold():
    whole = [cell(arm, fold, scenario=S1) for arm in (RIN, IMN) for fold in (0, 1)]
    partial = [cell(RIN, 0, scenario=S2), cell(RIN, 1, scenario=S2), cell(IMN, 0, scenario=S2)]
    one_arm = [cell(RIN, fold, scenario="s3") for fold in (0, 1)]
    table = table_of(*whole, *partial, *one_arm)
    kept = judge.complete(table, n_folds=2)
    assert list(kept["scenario"]) == [S1, S1] and set(kept["arm"]) == {RIN, IMN}
    assert set(judge.complete(table[table["arm"] == RIN], 2)["scenario"]) == {S1, S2, "s3"}


def test_several_seeds_do_not_stand_in_for_missing_folds():
    seeds = [cell(RIN, 0, scenario=S1, seed=seed) for seed in (0, 1)]
    both = [cell(RIN, fold, scenario=S2, seed=seed) for fold in (0, 1) for seed in (0, 1)]
    assert list(judge.complete(table_of(*seeds, *both), 2)["scenario"]) == [S2]


def test_no_scenario_is_complete_when_folds_are_missing_everywhere():
    assert judge.complete(table_of(cell(RIN), cell(IMN)), n_folds=5).empty


def scored(**aucs):
    """A table of scenarios: `arm=[auc, auc, …]` with the arm's name under its keyword."""
    names = {"rin": RIN, "imn": IMN, "native": "radimagenet, native", "random": "random, official"}
    rows = [
        {"arm": names[key], "scenario": f"s{n}", "auc": auc, "n_folds": 1}
        for key, values in aucs.items()
        for n, auc in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_the_summary_is_mean_and_sample_sd_over_scenarios():
    found = judge.summary(scored(rin=[0.7, 0.8, 0.9], imn=[0.6])).set_index("arm")
    assert found.loc[RIN, ["n_scenarios", "mean_auc", "sd_auc"]].tolist() == pytest.approx(
        [3, 0.8, 0.1]
    )
    assert found.loc[IMN, "mean_auc"] == 0.6 and math.isnan(found.loc[IMN, "sd_auc"])


def test_published_values_stand_beside_the_arms_of_the_paper_only():
    table = scored(rin=[0.7, 0.8], imn=[0.6, 0.7], native=[0.7, 0.8], random=[0.5, 0.6])
    found = judge.summary(table, "breast").set_index("arm")
    columns = ["published_mean", "published_sd"]
    assert found.loc[RIN, columns].tolist() == [0.94, 0.05]
    assert found.loc[IMN, columns].tolist() == [0.90, 0.10]
    assert found.loc[["radimagenet, native", "random, official"], columns].isna().all(axis=None)


def test_runs_of_another_batch_size_have_no_published_values():
    named, unnamed = f"{RIN}, batch 32", RIN  # only several batch sizes are in the names
    assert judge.as_published(unnamed) and not judge.as_published(unnamed, [32])
    assert not judge.as_published(named, [32, 256])
    assert judge.as_published(f"{RIN}, batch 256", [32, 256])
    columns, table = ["published_mean", "published_sd"], scored(rin=[0.7, 0.8])
    assert judge.summary(table, "breast", batch_sizes=[32])[columns].isna().all(axis=None)
    assert judge.summary(table, "breast")[columns].to_numpy().tolist() == [[0.94, 0.05]]


@pytest.mark.parametrize("task", [None, "pediatric", "folder"])
def test_phantoms_and_tasks_the_paper_lacks_get_no_published_columns(task):
    found = judge.summary(scored(rin=[0.7, 0.8]), task)
    assert list(found) == ["arm", "n_scenarios", "mean_auc", "sd_auc"]


def test_an_interval_is_delongs_clustered_by_group():
    predictions = pd.concat([cell(RIN, group=GROUPS), cell(RIN, 1, A2, Y2)])
    found = judge.intervals(predictions)
    for (_, row), groups, y, scores in zip(
        found.iterrows(), (GROUPS, range(5)), (Y, Y2), (A, A2), strict=True
    ):
        expected = stats.auc_ci(y, scores, patients=groups)
        for name in ("auc", "low", "high", "degenerate"):
            assert row[name] == pytest.approx(getattr(expected, name))
    assert list(found["n_images"]) == [6, 5] and list(found["n_groups"]) == [3, 5]
    assert list(found["n_positive"]) == [3, 2]
    half = 1.959964 * math.sqrt(0.0274348)  # section 3; the upper limit is clipped
    assert found["low"][0] == pytest.approx(8 / 9 - half, abs=1e-6) and found["high"][0] == 1


def test_a_lower_level_gives_a_narrower_interval():
    two = pd.concat([cell(RIN, scores=A), cell(IMN, scores=B)])
    for made in (
        lambda level: judge.intervals(cell(RIN, scores=B), level),
        lambda level: judge.paired(two, RIN, IMN, level),
    ):
        wide, narrow = made(0.95), made(0.5)
        assert wide["low"][0] < narrow["low"][0] and narrow["high"][0] < wide["high"][0]


def test_a_perfect_run_is_flagged_and_not_certain():
    (row,) = judge.intervals(cell(RIN, scores=Y)).to_dict("records")
    assert row["degenerate"] and (row["low"], row["high"]) == (1, 1)


def test_two_arms_are_paired_as_in_the_worked_example():
    predictions = pd.concat([cell(RIN, scores=A), cell(IMN, scores=B)])
    (row,) = judge.paired(predictions, RIN, IMN).to_dict("records")
    assert row["auc_a"] == pytest.approx(8 / 9) and row["auc_b"] == pytest.approx(6 / 9)
    found = [row[name] for name in ("difference", "p", "low", "high")]
    assert found == pytest.approx([0.222222, 0.157299, -0.085756, 0.530201], abs=1e-6)
    assert not row["degenerate"] and (row["n_images"], row["n_groups"]) == (6, 6)
    (back,) = judge.paired(predictions, IMN, RIN).to_dict("records")
    assert back["difference"] == -row["difference"] and back["p"] == row["p"]


def test_images_of_one_group_are_clustered_when_arms_are_paired():
    predictions = pd.concat([cell(arm, 0, s, group=GROUPS) for arm, s in ((RIN, A), (IMN, B))])
    (row,) = judge.paired(predictions, RIN, IMN).to_dict("records")
    variance = ((row["high"] - row["low"]) / 2 / 1.959964) ** 2
    assert variance == pytest.approx(0.00685871, abs=1e-8)
    assert row["n_groups"] == 3


def test_rows_are_paired_by_image_and_not_by_place():
    shuffled = cell(IMN, scores=B).sample(frac=1, random_state=1)
    found = judge.paired(pd.concat([cell(RIN, scores=A), shuffled]), RIN, IMN)
    assert found["p"][0] == pytest.approx(0.157299, abs=1e-6)


def test_a_cell_of_one_arm_only_is_not_paired():
    both = [cell(RIN), cell(IMN, scores=B)]
    alone = [cell(RIN, 1, A2, Y2), cell(IMN, 0, B, scenario=S2), cell(RIN, seed=1)]
    found = judge.paired(pd.concat([*both, *alone]), RIN, IMN)
    assert found[["scenario", "fold", "seed"]].to_numpy().tolist() == [[S1, 0, 0]]
    none = judge.paired(pd.concat(alone), RIN, IMN)
    assert none.empty and list(none) == list(found)


def test_a_difference_without_variance_is_flagged():
    perfect, reversed_ = Y, [1 - y for y in Y]
    predictions = pd.concat([cell(RIN, scores=perfect), cell(IMN, scores=reversed_)])
    (row,) = judge.paired(predictions, RIN, IMN).to_dict("records")
    assert row["p"] == 0 and row["degenerate"]


def test_the_gain_is_in_points_over_common_scenarios():
    table = scored(rin=[0.8, 0.7, 0.9], imn=[0.75, 0.7])
    assert judge.gain(table, RIN, IMN) == (pytest.approx(2.5), 2)
    assert judge.gain(table, IMN, RIN) == (pytest.approx(-2.5), 2)


def test_the_gain_is_over_scenarios_that_both_arms_have_in_every_fold():
    whole = [cell(arm, fold, scenario=S1) for arm in (RIN, IMN) for fold in (0, 1)]
    half = [
        cell(RIN, 0, scenario=S2),
        cell(RIN, 1, scenario=S2),
        cell(IMN, 0, scores=B, scenario=S2),
    ]
    table = table_of(*whole, *half, *[cell(IMN, fold, scenario="s3") for fold in (0, 1)])
    assert judge.gain(table, RIN, IMN) == (0, 1)
    assert np.isnan(judge.gain(table[table["scenario"] != S1], RIN, IMN)[0])


def test_averaged_rocs_are_those_of_the_worked_example():
    predictions = pd.concat(
        [cell(RIN, scores=A, scenario=S1), cell(RIN, scores=B, scenario=S2), cell(IMN)]
        + [cell(RIN, scores=Y, scenario="incomplete")]
    )
    curves = judge.averaged_rocs(predictions, [S1, S2, S1])
    assert list(curves["arm"].unique()) == [RIN, IMN]
    found = curves[curves["arm"] == RIN].iloc[::25]
    assert list(found["fpr"]) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert list(found["tpr_mean"]) == pytest.approx([0, 0.5, 0.833333, 1, 1], abs=1e-6)
    assert list(found["tpr_sd"]) == pytest.approx([0, 0.235702, 0.235702, 0, 0], abs=1e-6)
    assert curves.loc[curves["arm"] == IMN, "tpr_sd"].isna().all()  # one scenario


def validated(arm, **losses):
    """Runs with their lowest validation loss: `s1=[of fold 0, of fold 1, …]`."""
    rows = [
        {"arm": arm, "scenario": name, "fold": fold, "val_loss": loss}
        for name, several in losses.items()
        for fold, loss in enumerate(several)
    ]
    return pd.DataFrame(rows)


def test_the_scenario_with_the_lowest_val_loss_is_chosen():
    runs = validated(RIN, s1=[0.1, 0.7], s2=[0.3, 0.3])
    assert judge.chosen(runs, RIN) == (RIN, "s2")  # mean .3 against .4
    both = pd.concat([runs, validated(IMN, s1=[0.01, 0.01])])
    assert judge.chosen(both, RIN) == (RIN, "s2") and judge.chosen(both) == (IMN, "s1")


def test_a_scenario_that_lacks_a_fold_or_diverged_in_one_is_not_chosen():
    runs = validated(RIN, easy=[0.1], broken=[0.1, None], s1=[0.2, 0.9], s2=[0.3, 0.9])
    assert judge.chosen(runs, RIN) == (RIN, "s1")
    again = pd.concat([runs, validated(RIN, s1=[None, 0.1])])  # another seed of it diverged
    assert judge.chosen(again, RIN) == (RIN, "s2")


def test_where_every_scenario_diverged_one_is_still_judged():
    runs = validated(RIN, s1=[0.1, None], s2=[None, 0.2], s3=[0.1])  # means of .40 and .45
    assert judge.chosen(runs, RIN) == (RIN, "s1")
    alone = validated(RIN, s1=[None])
    assert judge.chosen(alone, RIN) == (RIN, "s1")
    assert judge.chosen(pd.concat([alone, validated(IMN, s1=[5.0])])) == (IMN, "s1")


def test_an_arm_that_is_not_there_can_choose_nothing():
    with pytest.raises(judge.JudgeError, match="arm 'random, official'"):
        judge.chosen(validated(RIN, s1=[0.1]), "random, official")


def test_no_table_holds_a_path_an_image_or_a_patient():
    predictions = pd.concat([cell(RIN), cell(IMN, scores=B)], ignore_index=True)
    predictions = predictions.assign(patient="p0001", image_id="ab", folder="/home/x")
    table = judge.scenarios(runs_of(predictions).assign(folder="/home/x"), predictions)
    made = [table, judge.complete(table, 1), judge.summary(table), judge.intervals(predictions)]
    made += [judge.paired(predictions, RIN, IMN), judge.averaged_rocs(predictions, [S1])]
    for frame in made:
        assert not {"patient", "group", "row", "image", "image_id", "folder"} & set(frame)
        assert "/home" not in frame.to_csv() and "p0001" not in frame.to_csv()
