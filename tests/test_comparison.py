"""Comparing the inits: what is gathered, what counts, and what each gain rests on."""

import math

import numpy as np
import pandas as pd
import pytest

from rin import (
    comparison,
    experiment,
    judge,
    kept_tables,
    phantoms,
    published,
    records,
    stats,
    verdict,
)
from rin.scenarios import Scenario

# statistics.md, section 2 (E1), section 4 (a second scenario, a second fold)
Y = [1, 1, 1, 0, 0, 0]
A = [0.9, 0.8, 0.4, 0.5, 0.3, 0.2]  # AUC 8/9
B = [0.7, 0.6, 0.3, 0.65, 0.4, 0.1]  # AUC 6/9
C = [0.6, 0.9, 0.55, 0.5, 0.2, 0.35]  # AUC 9/9
D = [0.5, 0.45, 0.8, 0.6, 0.7, 0.2]  # AUC 5/9
Y2 = [1, 1, 0, 0, 0]
PERFECT, WRONG = [0.9, 0.8, 0.7, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]
A2, B2 = [0.8, 0.5, 0.6, 0.4, 0.1], [0.6, 0.2, 0.5, 0.3, 0.25]  # AUC 5/6 and 3/6
RIN, IMN, RANDOM = "radimagenet, official", "imagenet, official", "random, official"
NAN = float("nan")
HEAD, TOP, ALL = ("head", 1e-2), ("top10", 1e-2), ("all", 1e-4)


def cell(arm, scores=A, y=Y, fold=0, backbone="resnet50", free=HEAD, task="breast", **over):
    """One run and its test predictions, as `gather` gives them."""
    facts = {"task": task, "source": "own run", "phantom": False, "arm": arm}
    facts |= {"init": arm.split(",")[0], "backbone": backbone, "trainable": free[0]}
    facts |= {"learning_rate": free[1], "scenario": f"{backbone}-{free[0]}-{free[1]:g}"}
    facts |= {"fold": fold, "seed": 0, "batch_size": 256} | over
    run = pd.DataFrame([facts]).assign(
        n_train=8, n_val=2, n_test=len(y), n_trainable=4098, n_updates=90, diverged=False
    )
    rows = np.arange(10 * fold, 10 * fold + len(y))
    tested = {"row": rows, "image_id": rows.astype(str), "patient": None}
    tested |= {"group": [f"g{row}" for row in rows], "y_true": y, "y_score": scores}
    return run, pd.DataFrame(facts | tested)


def together(*cells):
    return tuple(pd.concat(parts, ignore_index=True) for parts in zip(*cells, strict=True))


def gains_of(*cells, **options):
    runs, predictions = together(*cells)
    table = comparison.scenarios(runs, predictions)
    return comparison.gains(runs, predictions, table, n_resamples=200, **options)


def four_backbones(gains, task="breast", **over):
    """Two folds of four backbones; the arms' AUCs differ by one of `gains` steps of 1/9."""
    steps = [PERFECT, A, C, B]  # AUC 9/9, 8/9, 9/9, 6/9
    names = ("resnet50", "densenet121", "inception_v3", "inception_resnet_v2")
    cells = []
    for name, gain in zip(names, gains, strict=True):
        for fold in (0, 1):
            shared = {"fold": fold, "backbone": name, "task": task} | over
            cells += [cell(RIN, steps[gain], **shared), cell(IMN, D, **shared)]
    return cells


# What is gathered


def write_run(home, task="breast", init="random", fold=0, scores=A, data="d", batch=256, **said):
    """A finished run as training leaves it."""
    scenario = Scenario("resnet50", "head", 0.01)
    run = {"task": task, "init": init, "preprocess": "official", "scenario": str(scenario)}
    run |= {"backbone": "resnet50", "trainable": "head", "learning_rate": 0.01}
    run |= {"fold": fold, "seed": 0, "classifier": "gap", "batch_size": batch}
    folder = home / task / f"{init}-{fold}-{data}"
    folder.mkdir(parents=True)
    frame = cell(f"{init}, official", scores, fold=fold)[1]
    kept = ["row", "image_id", "patient", "group", "y_true", "y_score"]
    frame[kept].assign(split="test").to_parquet(folder / "predictions.parquet")
    facts = {"kind": "training", "fingerprint": "f", "data_fingerprint": data, "run": run}
    facts |= {"settings": {"epochs": 1, "objective": "official"}, "init_fingerprint": init}
    result = {"n_updates": 90, "n_trainable": 4098, "diverged": False}
    result |= {"n_train": 8, "n_val": 2, "n_test": len(Y)}
    records.write(folder, facts | {"result": result} | said)


def test_runs_of_a_task_without_a_real_folder_are_phantoms(tmp_path):
    write_run(tmp_path / "runs")
    write_run(tmp_path / "runs", task="thyroid")
    (tmp_path / "busi").mkdir()
    roots = {"breast": str(tmp_path / "busi")}
    runs, predictions = comparison.gather(tmp_path / "runs", tmp_path, roots)
    for frame in (runs, predictions):
        found = frame.drop_duplicates("task").set_index("task")
        assert found["source"].to_dict() == {"thyroid": "phantom run", "breast": "own run"}
        assert found["phantom"].to_dict() == {"thyroid": True, "breast": False}


def test_runs_whose_records_say_that_images_were_real_need_no_folder(tmp_path):
    write_run(tmp_path, "thyroid", phantom=False)
    write_run(tmp_path, "breast", phantom=True)
    runs, _ = comparison.gather(tmp_path, tmp_path / "none")
    found = runs.set_index("task")["source"].to_dict()
    assert found == {"thyroid": "own run", "breast": "phantom run"}


def test_tasks_of_two_objectives_are_not_compared(tmp_path):
    write_run(tmp_path, "breast")
    other = {"epochs": 1, "objective": "stated"}
    write_run(tmp_path, "acl", settings=other)
    with pytest.raises(judge.JudgeError, match=r"runs of 2 objectives \(official, stated\)"):
        comparison.gather(tmp_path, tmp_path / "none")


def test_no_folder_overrules_a_record_of_phantoms(tmp_path):
    (tmp_path / "busi").mkdir()
    for task, known in (("breast", [True]), ("acl", [True, None]), ("thyroid", [False, None])):
        for fold, phantom in enumerate(known):
            said = {} if phantom is None else {"phantom": phantom}
            write_run(tmp_path / "runs", task, fold=fold, **said)
    roots = dict.fromkeys(("breast", "acl", "thyroid"), str(tmp_path / "busi"))
    runs, _ = comparison.gather(tmp_path / "runs", tmp_path, roots)
    found = runs.drop_duplicates("task").set_index("task")["phantom"].to_dict()
    assert found == {"breast": True, "acl": True, "thyroid": False}
    runs, _ = comparison.gather(tmp_path / "runs", tmp_path)  # one that is silent is enough
    assert runs["phantom"].all()


def test_another_batch_size_than_the_studys_is_in_an_arms_name(tmp_path):
    for init, scores in (("radimagenet", A), ("imagenet", B)):
        write_run(tmp_path, "breast", init, scores=scores, batch=32, phantom=False)
        write_run(tmp_path, "acl", init, scores=scores, phantom=False)
    runs, predictions = comparison.gather(tmp_path, tmp_path / "none")
    small = {f"{RIN}, batch 32", f"{IMN}, batch 32"}
    for frame in (runs, predictions):
        arms = frame.groupby("task")["arm"].agg(set)
        assert arms.to_dict() == {"breast": small, "acl": {RIN, IMN}}
    table = comparison.scenarios(runs, predictions)
    gains = comparison.gains(runs, predictions, table, n_resamples=50).set_index("task")
    assert gains["exploratory"].to_dict() == {"breast": True, "acl": False}
    assert gains["study"].to_dict() == {"breast": False, "acl": True}
    found = verdict.table(gains.reset_index()).set_index(["task", "question"])
    assert found.loc[("breast", verdict.QUESTION), "answer"] == verdict.NOT_RERUN
    assert ("breast", f"{RIN}, batch 32 − {IMN}, batch 32") in found.index


def test_a_folder_of_phantoms_makes_no_real_run(tmp_path):
    write_run(tmp_path / "runs")
    root = phantoms.write("breast", tmp_path / "breast", n=4, size=32)
    runs, _ = comparison.gather(tmp_path / "runs", tmp_path, {"breast": str(root)})
    assert runs["phantom"].all()


def test_runs_that_cannot_be_judged_together_are_refused_by_task(tmp_path):
    write_run(tmp_path)
    write_run(tmp_path, data="e")
    with pytest.raises(judge.JudgeError, match="task breast: .* 2 different data sets"):
        comparison.gather(tmp_path, tmp_path)


def test_without_runs_and_results_every_table_is_empty(tmp_path):
    runs, predictions = comparison.gather(tmp_path / "none", tmp_path)
    table = comparison.scenarios(runs, predictions)
    gains = comparison.gains(runs, predictions, table)
    empty = [runs, predictions, table, gains, comparison.overview(table, runs, predictions)]
    empty += [comparison.means(table, "backbone"), comparison.claims(table)]
    empty += [comparison.spread(table), comparison.gain_by(table, "trainable")]
    empty += [comparison.backbone_gains(predictions, table)]
    empty += [comparison.variance_shares(predictions, table)]
    assert all(frame.empty for frame in empty)
    assert list(comparison.context(runs, gains, tmp_path)["source"].unique()) == ["published"]
    assert comparison.gain_lines(gains, comparison.gain_by(table, "trainable"))[0].startswith("No ")


def keep(folder, more=()):
    """Results that hold two tasks of an experiment, pretrained against random weights.

    Args:
        folder: where they are written.
        more: further results of `cell`.
    """
    cells = [
        cell(arm, scores, fold=fold, free=free, task=task, backbone=net)
        for task in ("breast", "pediatric")
        for free in (HEAD, TOP)
        for net in ("resnet50", "densenet121")
        for fold in (0, 1)
        for arm, scores in (("pretrained", A if net == "resnet50" else C), ("random", (B, D)[fold]))
    ]
    runs, predictions = together(*cells, *more)
    gathered = ["arm", "source", "phantom", "scenario"]
    runs = runs.drop(columns=gathered).assign(objective="official", n_test=6)
    predictions = predictions.drop(columns=gathered)
    frames = {experiment.FILES[n]: runs.head(1) for n in ("process", "history", "metrics")}
    frames[experiment.FILES["classes"]] = pd.DataFrame(
        {"label": ["CT/lung/nodule", "US/gallbladder/normal"], "backbone": "resnet50"}
    ).assign(modality=["CT", "US"], anatomy=["lung", "gallbladder"])
    frames |= {experiment.FILES[name]: predictions for name in ("labels", "losses")}
    frames |= {experiment.FILES["runs"]: runs, experiment.FILES["predictions"]: predictions}
    kept_tables.write(frames, folder / "pretraining")
    return folder


@pytest.fixture
def kept(tmp_path):
    """The folder of `keep`."""
    return keep(tmp_path)


def test_kept_results_are_gathered_with_their_scenarios(kept):
    runs, predictions = comparison.gather("no runs", kept)
    assert set(runs["task"]) == {"breast", "pediatric"} and not runs["phantom"].any()
    assert set(runs["arm"]) == set(experiment.INITS)
    table = comparison.scenarios(runs, predictions)
    assert (table["n_folds"] == 2).all() and set(table["source"]) == {"kept result"}
    assert {str(Scenario("resnet50", "top10", 1e-2))} <= set(table["scenario"])
    gains = comparison.gains(runs, predictions, table, n_resamples=50).set_index("task")
    both = 100 * ((8 / 9 + 9 / 9) / 2 - (6 / 9 + 5 / 9) / 2)
    assert gains["gain"].to_dict() == pytest.approx({"breast": both, "pediatric": both})


def test_results_that_hold_no_run_compare_nothing():
    runs, _ = comparison.gather("no runs", "results")
    assert runs.empty


# What is compared


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([RIN, IMN, RANDOM], (RIN, IMN)),
        ([IMN, RANDOM], (IMN, RANDOM)),
        ([IMN, RIN, "radimagenet, native", "imagenet, native"], (RIN, IMN)),
        (["radimagenet, native", IMN], None),
        (
            ["radimagenet, native", "imagenet, native", RANDOM, IMN],
            ("radimagenet, native", "imagenet, native"),
        ),
        (["Pretrained-1a2b3c, official", RANDOM], ("Pretrained-1a2b3c, official", RANDOM)),
        (
            [f"{RIN}, batch 32", f"{IMN}, batch 32", f"{RIN}, batch 256"],
            (f"{RIN}, batch 32", f"{IMN}, batch 32"),
        ),
        ([RANDOM], None),
        ([], None),
    ],
)
def test_the_pair_is_the_studys_where_it_ran_else_pretrained_and_random(arms, expected):
    assert comparison.pair(arms) == expected


def test_the_pair_is_the_first_that_shares_a_whole_scenario():
    runs, predictions = together(
        cell(RIN), cell(IMN, B, free=TOP), cell(RIN, free=ALL), cell(RIN, free=ALL, fold=1),
        cell(IMN, B, free=ALL),
        *[cell(f"{init}, native", s) for init, s in (("radimagenet", C), ("imagenet", D))],
    )  # fmt: skip
    table = comparison.scenarios(runs, predictions)
    sides = table.drop_duplicates("arm").set_index("arm")["side"].to_dict()
    assert sides == {"radimagenet, native": "a", "imagenet, native": "b", RIN: "", IMN: ""}
    gains = comparison.gains(runs, predictions, table, n_resamples=50)
    assert gains[["a", "b"]].values.tolist() == [["radimagenet, native", "imagenet, native"]]
    assert gains["gain"][0] == pytest.approx(400 / 9)
    spread = comparison.spread(table)
    assert spread["a"].tolist() == ["radimagenet, native"]
    assert len(comparison.gain_lines(gains, comparison.gain_by(table, "trainable"))) == 1


def test_without_a_shared_scenario_every_arm_stands_alone():
    runs, predictions = together(cell(RIN), cell(IMN, B, free=TOP))
    table = comparison.scenarios(runs, predictions)
    assert set(table["arm"]) == {RIN, IMN} and (table["side"] == "").all()
    assert comparison.gains(runs, predictions, table).empty and comparison.spread(table).empty
    assert comparison.gain_by(table, "trainable").empty


def test_only_the_usual_preprocess_and_batch_size_are_official():
    assert comparison.official(RIN) and comparison.official("pretrained")
    assert comparison.official(f"{RIN}, batch 256")
    assert not comparison.official("radimagenet, native")
    assert not comparison.official(f"{RIN}, batch 32")


def test_a_scenario_counts_when_both_arms_have_all_folds():
    runs, predictions = together(
        cell(RIN), cell(RIN, fold=1), cell(IMN, B), cell(IMN, B, fold=1),
        cell(RIN, free=TOP), cell(RIN, free=TOP, fold=1), cell(IMN, B, free=TOP),
        cell(RANDOM, free=TOP), cell(RANDOM, free=TOP, fold=1),
    )  # fmt: skip
    table = comparison.scenarios(runs, predictions)
    found = table.groupby("arm")["trainable"].agg(list).to_dict()
    assert found == {RIN: ["head"], IMN: ["head"], RANDOM: ["top10"]}
    two_images_each = "g" + (predictions["row"] // 2).astype(str)
    grouped = predictions.assign(group=two_images_each)
    overview = comparison.overview(table, runs, grouped).set_index("arm")
    assert overview.loc[RIN, "scenarios"] == "1 of 24"
    assert overview.loc[RIN, "folds"] == "2 of 5"
    assert overview.loc[RIN, "mean_auc"] == pytest.approx(8 / 9)
    assert math.isnan(overview.loc[RIN, "sd_auc"])
    assert overview.loc[RIN, ["n_images", "n_groups"]].tolist() == [12, 6]


def test_phantoms_have_levels_and_nothing_else():
    as_phantoms = {"source": "phantom run", "phantom": True}
    runs, predictions = together(cell(RIN, **as_phantoms), cell(IMN, B, free=TOP, **as_phantoms))
    table = comparison.scenarios(runs, predictions)
    assert len(table) == 2 and table["phantom"].all()  # no pair, hence nothing is left out
    real = table[~table["phantom"].astype(bool)]
    empty = [comparison.overview(real, runs, predictions), comparison.claims(real)]
    empty += [comparison.means(comparison.with_setting(real), "setting"), comparison.spread(real)]
    assert all(frame.empty for frame in empty)
    assert comparison.gains(runs, predictions, table).empty
    assert comparison.backbone_gains(predictions, table).empty
    assert comparison.variance_shares(predictions, table).empty


def test_means_are_over_scenarios():
    cells = [cell(RIN, A), cell(RIN, C, free=TOP), cell(RIN, B, backbone="densenet121")]
    table = comparison.scenarios(*together(*cells))
    found = comparison.means(table, "backbone").set_index("backbone")
    assert found["mean_auc"].to_dict() == pytest.approx({"resnet50": 17 / 18, "densenet121": 6 / 9})
    assert found["n_scenarios"].to_dict() == {"resnet50": 2, "densenet121": 1}
    settings = comparison.means(comparison.with_setting(table), "setting")["setting"]
    assert set(settings) == {"head, 0.01", "top10, 0.01"}


def test_the_papers_rankings_are_checked_where_they_can_be():
    cells = [cell(RIN, A, free=ALL), cell(RIN, B, free=HEAD)]
    best, weakest = comparison.claims(comparison.scenarios(*together(*cells))).to_dict("records")
    assert (best["holds"], best["found"], best["n"]) == ("yes", "all, 0.0001", 2)
    assert best["n_over"] == 1  # one backbone
    assert (weakest["holds"], weakest["n"], weakest["n_over"]) == ("not run", 1, 2)
    cells = [cell(RIN, B), cell(RIN, A, backbone="inception_v3")]
    best, weakest = comparison.claims(comparison.scenarios(*together(*cells))).to_dict("records")
    assert best["holds"] == "not run"
    assert (weakest["holds"], weakest["found"]) == ("no", "resnet50")


def test_rankings_compare_what_every_setting_has():
    cells = [cell(RIN, B, free=ALL), cell(RIN, A, free=HEAD)]
    cells += [cell(RIN, PERFECT, free=ALL, backbone="densenet121")]
    best = comparison.claims(comparison.scenarios(*together(*cells))).iloc[0]
    assert (best["holds"], best["found"]) == ("no", "head, 0.01")  # densenet121 has one setting
    assert best["n_over"] == 1


def test_one_that_ties_is_neither_the_best_nor_the_weakest():
    both = [cell(RIN, A, free=free) for free in (ALL, HEAD)]
    best = comparison.claims(comparison.scenarios(*together(*both))).iloc[0]
    assert (best["holds"], best["found"]) == ("no", "all, 0.0001 and head, 0.01")
    both = [cell(RIN, A, backbone=name) for name in ("resnet50", "inception_v3")]
    weakest = comparison.claims(comparison.scenarios(*together(*both))).iloc[1]
    assert (weakest["holds"], weakest["found"]) == ("no", "inception_v3 and resnet50")


def test_spread_is_of_the_pairs_scenarios():
    free = [HEAD, TOP, ALL]
    cells = [cell(RIN, s, free=f) for s, f in zip([A, C, A], free, strict=True)]
    cells += [cell(IMN, s, free=f) for s, f in zip([B, D, A], free, strict=True)]
    (row,) = comparison.spread(comparison.scenarios(*together(*cells))).to_dict("records")
    assert row["sd_a"] == pytest.approx(np.std([8, 9, 8], ddof=1) / 9)
    assert row["sd_b"] == pytest.approx(np.std([6, 5, 8], ddof=1) / 9)
    assert row["p"] == pytest.approx(stats.pitman_morgan([8, 9, 8], [6, 5, 8]).p)
    printed = comparison.printed_spread()
    assert len(printed) == 8 and printed["p"].isna().all() and (printed["sd_a"] > 0).all()


# Gains


def test_a_gain_is_the_contrast_over_scenarios_in_points():
    (row,) = gains_of(
        cell(RIN, A), cell(IMN, B), cell(RIN, C, free=TOP), cell(IMN, D, free=TOP)
    ).to_dict("records")
    assert row["gain"] == pytest.approx(33.3333, abs=1e-4)
    assert row["contrast_p"] == pytest.approx(0.083265, abs=1e-6)
    assert row["study"] and not row["exploratory"]
    assert [row[name] for name in comparison.COUNTS] == [2, 1, 1, 6, 6]
    assert row["training_reason"] == "not available: one split" and math.isnan(row["training_p"])
    assert row["backbones_reason"] == "not available: one backbone"


def test_a_gain_over_folds_is_the_mean_of_their_differences():
    (row,) = gains_of(
        cell(RIN, A), cell(IMN, B), cell(RIN, A2, Y2, 1), cell(IMN, B2, Y2, 1)
    ).to_dict("records")
    found = [row[name] / 100 for name in ("gain", "contrast_low", "contrast_high")]
    assert found == pytest.approx([0.277778, -0.118576, 0.674132], abs=1e-6)
    assert row["contrast_p"] == pytest.approx(0.169564, abs=1e-6)
    folds = stats.nadeau_bengio([2 / 9, 1 / 3], (6 / 8 + 5 / 8) / 2)  # folds are missing: images
    assert row["training_p"] == pytest.approx(folds.p)


def test_holms_family_is_always_eight_tasks():
    first = gains_of(*four_backbones([1, 1, 2, 1])).iloc[0]
    assert first["holm_p"] == pytest.approx(min(1, 8 * first["contrast_p"]))
    both = gains_of(*four_backbones([1, 1, 2, 1]), *four_backbones([1, 1, 2, 3], task="acl"))
    assert both["holm_p"].tolist() == pytest.approx(stats.holm(both["contrast_p"], m=8).tolist())


def test_other_tasks_and_preprocess_arms_are_exploratory():
    assert gains_of(cell(RIN, task="pediatric"), cell(IMN, B, task="pediatric"))["exploratory"][0]
    row = gains_of(cell("radimagenet, native"), cell("imagenet, native", B)).iloc[0]
    assert row["exploratory"] and not row["study"] and math.isnan(row["holm_p"])


def test_a_difference_without_variance_is_no_finding():
    cells = cell(RIN, PERFECT), cell(IMN, WRONG)
    gains, table = gains_of(*cells), comparison.scenarios(*together(*cells))
    row = gains.iloc[0]
    assert row["degenerate"] and row["contrast_p"] == 0 and row["holm_p"] == 1
    lines = comparison.gain_lines(gains, comparison.gain_by(table, "trainable"))
    said = "+100.0 points (no interval: variance 0 with difference 1; no finding)"
    assert said in lines[0] and "to 100.0" not in lines[0]


def test_backbones_are_compared_by_the_mean_of_their_scenarios():
    runs, predictions = together(*four_backbones([0, 1, 2, 3]))
    table = comparison.scenarios(runs, predictions)
    found = comparison.backbone_gains(predictions, table).set_index("backbone")["gain"]
    steps = {"resnet50": 4, "densenet121": 3, "inception_v3": 4, "inception_resnet_v2": 1}
    assert found.to_dict() == pytest.approx({name: 100 * n / 9 for name, n in steps.items()})
    row = comparison.gains(runs, predictions, table, n_resamples=50).iloc[0]
    assert row["n_backbones"] == 4
    assert row["backbones_p"] == pytest.approx(stats.over_backbones([4, 3, 4, 1]).p)
    (gain,) = comparison.gain_by(table, "trainable")["gain"]
    assert gain == pytest.approx(row["gain"]) == pytest.approx(100 / 3)


def test_two_backbones_say_nothing_of_others():
    cells = []
    for name, scores in (("resnet50", A), ("densenet121", PERFECT)):
        for fold in (0, 1):
            shared = {"fold": fold, "backbone": name}
            cells += [cell(RIN, scores, **shared), cell(IMN, D, **shared)]
    gains = gains_of(*cells)
    row = gains.iloc[0]
    assert row["n_backbones"] == 2 and math.isnan(row["backbones_p"])
    assert row["backbones_reason"] == "not available: two backbones"
    sure = gains.assign(holm_p=0.01, training_p=0.01)
    (answer,) = verdict.table(sure).query("task == 'breast'")["answer"]
    assert answer.endswith("not available for other backbones")


def test_an_init_without_a_backbone_has_no_gain_there():
    free = [HEAD, TOP]
    both = [c for f in free for c in (cell(RIN, A, free=f), cell(IMN, B, free=f))]
    alone = [cell(RIN, PERFECT, backbone="densenet121"), cell(IMN, WRONG, backbone="inception_v3")]
    runs, predictions = together(*both, *alone, cell(RIN, PERFECT, free=ALL))
    table = comparison.scenarios(runs, predictions)
    row = comparison.gains(runs, predictions, table, n_resamples=50).iloc[0]
    assert [row[name] for name in ("n_scenarios", "n_backbones")] == [2, 1]
    for test in ("contrast", "as_published"):
        assert row[f"{test}_gain"] == pytest.approx(200 / 9)
    assert row["training_gain"] == row["backbones_gain"] == pytest.approx(200 / 9)
    assert comparison.backbone_gains(predictions, table)["backbone"].tolist() == ["resnet50"]
    assert comparison.gain_by(table, "backbone")["backbone"].tolist() == ["resnet50"]
    assert comparison.spread(table)["n_scenarios"].tolist() == [2]


def test_every_interval_is_around_its_own_estimate():
    free = [HEAD, TOP, ALL, ("head", 1e-3)]
    cells = [pair for f in free for pair in (cell(RIN, PERFECT, free=f), cell(IMN, D, free=f))]
    for name in ("densenet121", "inception_v3"):  # one scenario each, and the other way round
        cells += [cell(RIN, [1 - b for b in B], backbone=name), cell(IMN, PERFECT, backbone=name)]
    row = gains_of(*cells).iloc[0]  # in ninths: +4 four times, then -6 twice
    assert row["gain"] == pytest.approx(100 * 4 / 54)
    assert row["backbones_gain"] == pytest.approx(-100 * 8 / 27)  # (4 - 6 - 6) / 3 ninths
    t = stats.over_backbones([4 / 9, -6 / 9, -6 / 9])
    assert [row["backbones_low"], row["backbones_high"]] == pytest.approx(
        [100 * t.low, 100 * t.high]
    )
    assert row["contrast_gain"] == row["gain"] == pytest.approx(row["as_published_gain"])
    sides = [stats.mean_sd(np.array(auc) / 9) for auc in ([9] * 4 + [3] * 2, [5] * 4 + [9] * 2)]
    paper = stats.unpaired_t_interval(*sides[0], *sides[1], n=6)
    found = [row["as_published_low"], row["as_published_high"]]
    assert found == pytest.approx([100 * paper.low, 100 * paper.high])


def test_the_bootstrap_is_over_all_folds():
    cells = cell(RIN, A), cell(IMN, A), cell(RIN, PERFECT, fold=1), cell(IMN, WRONG, fold=1)
    row = gains_of(*cells).iloc[0]  # 0 in one fold and 100 in the other, whoever is drawn
    names = ("gain", "bootstrap_gain", "bootstrap_low", "bootstrap_high")
    assert [row[name] for name in names] == pytest.approx([50] * 4)


def test_groups_in_several_folds_are_a_caution_in_the_table_and_in_words():
    runs, predictions = together(cell(RIN), cell(IMN, B), cell(RIN, fold=1), cell(IMN, B, fold=1))
    predictions["group"] = "g" + (predictions["row"] % 10).astype(str)
    table = comparison.scenarios(runs, predictions)
    gains = comparison.gains(runs, predictions, table, n_resamples=50)
    assert gains["caution"][0] == "6 groups are in several folds: the variance is too small"
    (line,) = comparison.gain_lines(gains, comparison.gain_by(table, "trainable"))
    assert gains["caution"][0] in line


def test_a_family_is_of_one_source():
    kept = four_backbones([0, 0, 0, 0], source="kept result")
    gains = gains_of(*four_backbones([0, 1, 2, 1]), *kept)
    alone = 8 * gains["contrast_p"]
    assert alone.max() < 1
    assert len(set(alone)) == 2 and gains["holm_p"].tolist() == pytest.approx(alone.tolist())


def test_one_run_that_counts_with_another_batch_size_is_exploratory():
    pair = cell("pretrained"), cell("random", B)
    small = cell("pretrained", free=ALL, batch_size=32), cell("random", B, free=ALL, batch_size=32)
    assert not gains_of(*pair)["exploratory"][0]
    assert gains_of(*pair, *small)["exploratory"][0]
    assert not gains_of(*pair, small[0])["exploratory"][0]  # it does not count


def test_words_say_what_a_gain_lacks():
    row = gains_of(cell(RIN, A), cell(IMN, B)).iloc[0]
    assert comparison.gain_words(row) == "+22.2 points (-8.6 to 53.0)"
    said = comparison.gain_words(
        gains_of(cell("pretrained", task="pediatric"), cell("random", B, task="pediatric")).iloc[0]
    )
    assert said == "+22.2 points (-8.6 to 53.0; exploratory)"
    one_class = [1] * 6
    cells = cell(RIN, A, one_class), cell(IMN, B, one_class)
    gains = gains_of(*cells)
    reason = gains["contrast_reason"][0]
    assert reason and comparison.gain_words(gains.iloc[0]) == f"no gain (no interval: {reason})"
    by = comparison.gain_by(comparison.scenarios(*together(*cells)), "trainable")
    assert by.empty and "no gain" in comparison.gain_lines(gains, by)[0]


def test_kept_results_are_said_to_answer_another_question():
    kept = [cell(arm, s, source="kept result") for arm, s in (("pretrained", A), ("random", B))]
    table = comparison.scenarios(*together(*kept))
    lines = comparison.gain_lines(gains_of(*kept), comparison.gain_by(table, "trainable"))
    assert len(lines) == 2 and "`head` +22.2 (n = 1)" in lines[0]
    assert "nothing about radiology against photographs" in lines[1]


@pytest.mark.parametrize(("seed", "total"), [(3, 1), (5, math.nan)])
def test_shares_of_variance_add_up_or_are_all_missing(seed, total):
    """Where the search for a fit steps to a singular model there are no shares, and no error."""
    rng, y = np.random.default_rng(seed), [0, 1] * 15
    cells = [
        cell(arm, list(rng.normal(np.multiply(y, gain))), y, fold, net, free)
        for net in ("resnet50", "densenet121")
        for free in (HEAD, TOP)
        for fold in range(3)
        for arm, gain in ((RIN, 2), (IMN, 1))
    ]
    runs, predictions = together(*cells)
    shares = comparison.variance_shares(predictions, comparison.scenarios(runs, predictions))
    assert shares["share"].sum(min_count=1) == pytest.approx(total, nan_ok=True)


def test_the_ratio_counts_groups_where_every_image_is_tested():
    folds = []
    for fold in range(5):
        run, tested = cell(RIN, fold=fold)
        sizes = {"n_train": 21, "n_val": 3, "n_test": 6}
        folds.append(
            (run.assign(**sizes), tested.assign(group=[f"{fold}{i // 2}" for i in range(6)]))
        )
    runs, cells = together(*folds)
    assert comparison.ratio(runs, cells) == pytest.approx(3 / (12 * 21 / 24))
    some = runs["fold"] < 2
    assert comparison.ratio(runs[some], cells[cells["fold"] < 2]) == pytest.approx(6 / 21)


# What stands around a gain


def test_a_task_is_tied_to_a_database_by_modality_and_organ():
    groups = set(zip(*published.database()[["modality", "anatomy"]].T.values, strict=True))
    ties = {
        row.task: comparison.relation(row.modality, row.anatomy, groups)
        for row in published.tasks().itertuples()
    }
    neither, other, both = comparison.RELATIONS
    assert ties["breast"] == neither
    assert ties["pneumonia"] == ties["hemorrhage"] == other
    assert {task for task, tie in ties.items() if tie == both} == {
        "thyroid", "acl", "meniscus", "covid19", "sarscov2",
    }  # fmt: skip


def test_measured_gains_stand_beside_the_published_ones(kept):
    runs, predictions = comparison.gather("no runs", kept)
    table = comparison.scenarios(runs, predictions)
    gains = comparison.gains(runs, predictions, table, n_resamples=50)
    context = comparison.context(runs, gains, kept)
    ours = context[context["source"] == "kept result"].set_index("task")
    assert ours["n_images"].to_dict() == {"breast": 16, "pediatric": 16}
    assert ours["relation"].to_dict() == {  # to classes that hold lung CT
        "breast": comparison.RELATIONS[0], "pediatric": comparison.RELATIONS[1],
    }  # fmt: skip
    limits = gains.set_index("task")[["contrast_low", "contrast_high"]]
    assert ours.loc[limits.index, ["low", "high"]].values.tolist() == limits.values.tolist()
    rho = comparison.rank_correlations(context).set_index("source")["rho"]
    assert -1 <= rho[comparison.STUDY] < 0 and math.isnan(rho["kept result"])


def test_what_an_unknown_file_was_pretrained_on_is_not_guessed(tmp_path):
    cells = cell("mine-1a2b3c, official"), cell(RANDOM, B)
    runs, predictions = together(*cells)
    gains = gains_of(*cells)
    context = comparison.context(runs, gains, tmp_path)
    assert context.set_index("source").loc["own run", "relation"] is pd.NA


def test_only_the_studys_own_weights_are_tied_to_its_database(tmp_path):
    cells = cell("radimagenet_mini-1a2b3c, official"), cell(RANDOM, B)
    context = comparison.context(together(*cells)[0], gains_of(*cells), tmp_path)
    assert context.set_index("source").loc["own run", "relation"] is pd.NA
    cells = cell(RIN), cell(IMN, B)
    context = comparison.context(together(*cells)[0], gains_of(*cells), tmp_path)
    assert context.set_index("source").loc["own run", "relation"] == comparison.RELATIONS[0]


def test_tasks_without_a_gain_are_not_counted_in_a_rank_correlation():
    table = pd.DataFrame({"source": "own run", "gain": [3.0, 2, 1, NAN], "n_images": [1, 2, 3, 4]})
    (row,) = comparison.rank_correlations(table).to_dict("records")
    assert (row["rho"], row["n_tasks"]) == (pytest.approx(-1), 3)
    (row,) = comparison.rank_correlations(table[1:]).to_dict("records")
    assert math.isnan(row["rho"]) and row["n_tasks"] == 2
