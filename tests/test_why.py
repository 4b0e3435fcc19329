"""The why: what is expected, what is kept, and whether a gap changes with its setting."""

import math

import numpy as np
import pandas as pd
import pytest

from rin import judge, records, stats, why

pytestmark = pytest.mark.filterwarnings("error")

# E1 of the statistics and its second scenario
Y = [1, 1, 1, 0, 0, 0]
A, B = [0.9, 0.8, 0.4, 0.5, 0.3, 0.2], [0.7, 0.6, 0.3, 0.65, 0.4, 0.1]
A2, B2 = [0.6, 0.9, 0.55, 0.5, 0.2, 0.35], [0.5, 0.45, 0.8, 0.6, 0.7, 0.2]
FACTORS = pd.DataFrame(
    {
        "backbone": ["resnet50", "densenet121", "inception_v3", "inception_resnet_v2"],
        "native": ["caffe", "torch", "tf", "tf"],
        "factor": [255.0, 4.425, 2.0, 2.0],
    }
)


def run(init, scores, preprocess="official", batch_size=256, scenario="s", fold=0, **other):
    """The test predictions of one run; folds test other images."""
    rows = 100 * fold + np.arange(len(Y))
    facts = {"task": "breast", "init": init, "preprocess": preprocess, "batch_size": batch_size}
    facts |= {"backbone": "resnet50", "trainable": "head", "learning_rate": 0.01}
    facts |= {"scenario": scenario, "fold": fold, "seed": 0, "row": rows} | other
    groups = facts.pop("groups", None) or [f"g{row}" for row in rows]
    return pd.DataFrame(facts | {"group": groups, "y_true": Y, "y_score": scores})


def four(first, second, **other):
    """Both inits under official and under native."""
    pairs = [(first, "official"), (second, "native")]
    return pd.concat(
        [
            run(init, scores, preprocess, **other)
            for both, preprocess in pairs
            for init, scores in zip(("a", "b"), both, strict=True)
        ],
        ignore_index=True,
    )


def runs_of(predictions):
    runs = predictions[why.tables.RUN].drop_duplicates(ignore_index=True)
    facts = {
        "objective": "official",
        "fed": "official",
        "n_train": 500,
        "n_trainable": 4098,
        "diverged": False,
    }
    return runs.assign(**facts, n_updates=23040 // runs["batch_size"])


ONE = four((A, B), (A2, B2))


# What is expected


def test_the_official_input_is_small_in_the_order_of_the_recipe():
    found = why.shrinkage()
    assert list(found["backbone"]) == list(FACTORS["backbone"])
    assert list(found["native"]) == list(FACTORS["native"])
    per_channel = (1 / 0.229 + 1 / 0.224 + 1 / 0.225) / 3
    assert list(found["factor"]) == pytest.approx([255, per_channel, 2, 2], abs=1e-5)


@pytest.mark.parametrize(
    ("n_train", "batch", "n", "kept"),
    [(247, 256, 30, 0.74), (624, 256, 90, 0.40), (20412, 256, 2400, 0.0), (247, 32, 240, 0.09)],
)
def test_updates_are_counted_with_the_last_smaller_batch(n_train, batch, n, kept):
    found = why.updates(n_train, batch, 30)
    assert found[0] == n and found[1] == pytest.approx(kept, abs=0.005)


def test_updates_of_nothing_are_refused():
    with pytest.raises(ValueError, match="n_train=0, epochs=nan"):
        why.updates(0, 1, math.nan)
    with pytest.raises(ValueError, match="`momentum`.*2"):
        why.updates(1, 1, 1, momentum=2)


def test_published_tasks_have_the_updates_of_the_recipe():
    table = why.published_updates().set_index(["task", "batch_size"])
    n = table["n_updates"]
    assert [n[task, 256] for task in ("thyroid", "breast", "acl", "pneumonia")] == [
        30,
        90,
        90,
        2400,
    ]
    assert table.loc[("thyroid", 256), "n_train"] == 247
    assert "less the rows of" in table.loc[("covid19", 256), "source"]  # its list was not read
    for task in ("meniscus", "hemorrhage"):  # no number is invented for a list nobody read
        assert np.isnan(n[task, 32]) and "not read" in table.loc[(task, 32), "source"]


def test_a_prediction_for_every_backbone_and_one_for_the_updates():
    table = why.predictions(FACTORS).set_index("backbone")
    assert list(table["order"][list(FACTORS["backbone"])]) == list("1233")
    assert table["then"].str.contains("smaller").all()
    assert table.loc["each", "explanation"] == "updates" and table.loc["each", "order"] == "none"


def test_a_backbone_that_expects_the_official_input_has_nothing_to_lose():
    same = pd.DataFrame({"backbone": ["x"], "native": ["official"], "factor": [1.0]})
    assert "changes nothing" in why.predictions(same)["then"][0]


# Gaps


def test_a_gap_is_the_contrast_of_its_setting():
    table = why.gaps(runs_of(ONE), ONE, "a", "b").set_index("preprocess")
    assert table.loc["official", "difference"] == pytest.approx(22.2222, abs=1e-4)
    assert table.loc["official", "p"] == pytest.approx(0.157299, abs=1e-6)
    assert table.loc["native", "difference"] == pytest.approx(44.4444, abs=1e-4)
    assert list(table["n_updates"]) == [90, 90] and list(table["n_scenarios"]) == [1, 1]


def test_a_gap_needs_both_inits_in_one_setting():
    apart = ONE[(ONE["init"] == "a") == (ONE["preprocess"] == "native")]
    with pytest.raises(ValueError, match="ran together|should have run"):
        why.gaps(runs_of(apart), apart, "a", "b")
    some = ONE[~((ONE["init"] == "a") & (ONE["preprocess"] == "native"))]
    assert list(why.gaps(runs_of(some), some, "a", "b")["preprocess"]) == ["official"]


def test_a_gap_without_variance_is_no_finding():
    sure = pd.concat([run("a", Y), run("b", [1 - y for y in Y])], ignore_index=True)
    (row,) = why.gaps(runs_of(sure), sure, "a", "b").to_dict("records")
    assert row["degenerate"] and math.isnan(row["p"]) and row["difference"] == 100


def test_groups_in_several_folds_are_said_beside_a_gap():
    table = pd.concat([ONE, four((A, B), (A2, B2), fold=1)])
    table["group"] = "g" + (table["row"] % 100).astype(str)
    for reason in why.gaps(runs_of(table), table, "a", "b")["reason"]:
        assert reason == "6 groups are in several folds: the variance is too small"


# Changes


def by_hand(predictions):
    """The double difference of one fold and scenario from DeLong's components themselves."""
    sign = {("a", "official"): 1, ("b", "official"): -1, ("a", "native"): -1, ("b", "native"): 1}
    d10 = d01 = 0
    for key, part in predictions.groupby(["init", "preprocess"]):
        _, v10, v01 = stats.components(part["y_true"], part["y_score"])
        d10, d01 = d10 + sign[key] * v10, d01 + sign[key] * v01
    return d10.mean(), d10.var(ddof=1) / len(d10) + d01.var(ddof=1) / len(d01)


def test_a_change_is_the_difference_of_two_gaps_with_its_own_variance():
    (row,) = why.changes(ONE, "a", "b").to_dict("records")
    change, variance = by_hand(ONE)
    assert change == pytest.approx(0.222222 - 0.444444, abs=1e-6)
    assert row["change"] == pytest.approx(100 * change)
    half = 1.959964 * math.sqrt(variance)
    assert row["high"] - row["change"] == pytest.approx(100 * half, abs=1e-4)
    assert row["p"] == pytest.approx(math.erfc(abs(change) / math.sqrt(2 * variance)), abs=1e-9)
    assert (row["first"], row["second"], row["held"]) == ("official", "native", "256")
    assert (row["n_scenarios"], row["n_folds"], row["n_images"]) == (1, 1, 6)


def test_the_same_gap_twice_is_no_change():
    (row,) = why.changes(four((A, B), (A, B)), "a", "b").to_dict("records")
    assert (row["change"], row["p"], row["degenerate"]) == (0, 1, False)


def test_an_arm_that_native_leaves_as_it_is_drops_out_of_the_change():
    (row,) = why.changes(four((A, B), (A, B2)), "a", "b").to_dict("records")
    other = stats.delong_test(Y, B2, B)  # a cancels: what remains is b's own response
    assert row["change"] == pytest.approx(100 * other.difference)
    assert row["p"] == pytest.approx(other.p)


def test_images_of_one_patient_are_clustered_in_a_change():
    groups = list("001022")
    (row,) = why.changes(four((A, B), (A, B2), groups=groups), "a", "b").to_dict("records")
    other = stats.delong_test(Y, B2, B, patients=groups)
    assert row["p"] == pytest.approx(other.p) and row["n_groups"] == 3
    assert row["low"] == pytest.approx(100 * other.low)
    assert other.p != pytest.approx(stats.delong_test(Y, B2, B).p)


def test_folds_and_scenarios_are_averaged():
    more = [four((A, B), (A2, B2), scenario="t"), four((A2, B2), (A, B), fold=1)]
    more += [four((A2, B2), (A, B), fold=1, scenario="t")]
    (row,) = why.changes(pd.concat([ONE, *more]), "a", "b").to_dict("records")
    assert row["change"] == pytest.approx(0, abs=1e-9)
    assert (row["n_scenarios"], row["n_folds"]) == (2, 2)


def test_only_what_all_four_arms_have_counts():
    lone = run("a", A, "official", fold=1), run("b", B, "official", fold=1)
    unpaired = run("a", A, "official", scenario="u")
    (row,) = why.changes(pd.concat([ONE, *lone, unpaired]), "a", "b").to_dict("records")
    assert row["change"] == pytest.approx(-22.2222, abs=1e-4)
    assert (row["n_scenarios"], row["n_folds"]) == (1, 1)
    assert why.changes(ONE[ONE["init"] == "a"], "a", "b").empty


def test_batches_are_compared_with_the_largest():
    small = ONE.assign(batch_size=32, y_score=ONE["y_score"] / 2)
    table = why.changes(pd.concat([ONE, small]), "a", "b", varied="batch_size")
    assert list(table["first"]) == ["256"] * 2 and list(table["second"]) == ["32"] * 2
    assert list(table["change"]) == pytest.approx([0, 0])
    assert set(table["held"]) == {"official", "native"}
    assert why.changes(ONE, "a", "b", varied="batch_size").empty
    with pytest.raises(ValueError, match="`varied`.*'seed'"):
        why.changes(ONE, "a", "b", varied="seed")


def test_a_third_setting_leaves_the_change_of_two_as_it_is():
    sizes = [ONE.assign(batch_size=32, y_score=1 - ONE["y_score"]), ONE.assign(batch_size=8)]
    two = why.changes(pd.concat([ONE, sizes[0]]), "a", "b", varied="batch_size")
    three = why.changes(pd.concat([ONE, *sizes]), "a", "b", varied="batch_size")
    assert list(three["second"]) == ["32", "8"] * 2
    pd.testing.assert_frame_equal(three[three["second"] == "32"].reset_index(drop=True), two)
    assert two["change"][two["held"] == "official"].tolist() == pytest.approx([400 / 9])
    assert list(three[three["second"] == "8"]["change"]) == pytest.approx([0, 0])


def test_sentences_are_right_whichever_way_a_gap_went():
    table = why.changes(ONE, "a", "b")
    (said,) = why.lines(table)
    assert "gap with official less gap with native: -22.2 points" in said
    assert "no change is shown" in said
    assert "a − b is smaller with native" in why.lines(table.assign(low=1.0, high=2.0))[0]
    assert "a − b is larger with native" in why.lines(table.assign(low=-2.0, high=-1.0))[0]
    assert "nothing is shown" in why.lines(table.assign(degenerate=True))[0]


# Levels and pairs


def pair_of(*inits):
    return why.pair(runs_of(pd.concat([run(init, A) for init in inits])))


def test_levels_are_means_of_fold_aucs_over_whole_scenarios():
    table = pd.concat([run("a", A), run("a", A2, fold=1), run("a", Y, scenario="half")])
    (row,) = why.levels(runs_of(table), table).to_dict("records")
    assert row["mean_auc"] == pytest.approx((8 / 9 + 1) / 2)
    assert (row["n_scenarios"], row["n_folds"], row["n_updates"]) == (1, 2, 90)


def test_levels_of_inits_are_of_the_scenarios_that_all_of_them_have():
    table = pd.concat(
        [run("a", A), run("b", B), run("a", Y, scenario="of a"), run("b", A2, "native")]
    )
    found = why.levels(runs_of(table), table).set_index(["init", "preprocess"])
    assert found["n_scenarios"].to_dict() == dict.fromkeys(found.index, 1)
    assert found.loc[("a", "official"), "mean_auc"] == pytest.approx(8 / 9)
    assert list(found.index) == [("a", "official"), ("b", "native"), ("b", "official")]
    apart = pd.concat([run("a", A), run("b", B, scenario="of b")])
    found = why.levels(runs_of(apart), apart)
    assert found["mean_auc"].isna().all() and (found["n_scenarios"] == 0).all()


def test_the_study_s_pair_goes_before_others():
    assert pair_of("random", "imagenet", "mine") == ("imagenet", "random")
    assert pair_of("random", "mine-1a2b3c") == ("mine-1a2b3c", "random")
    assert pair_of("random", "imagenet", "radimagenet") == ("radimagenet", "imagenet")
    assert pair_of("random") is None and pair_of("imagenet", "mine") is None


def test_a_pair_ran_in_one_setting_and_in_one_scenario():
    ran = [run("imagenet", A), run("random", B), run("radimagenet", A2, "native")]
    table = pd.concat(ran)
    assert why.pair(runs_of(table)) == ("imagenet", "random")
    assert len(why.gaps(runs_of(table), table, *why.pair(runs_of(table)))) == 1
    small = pd.concat([*ran, run("radimagenet", A2, batch_size=32)])
    assert why.pair(runs_of(small)) == ("imagenet", "random")
    elsewhere = pd.concat([*ran, run("radimagenet", A2, scenario="t")])
    assert why.pair(runs_of(elsewhere)) == ("imagenet", "random")
    both = pd.concat([*ran, run("imagenet", B, "native")])
    assert why.pair(runs_of(both)) == ("radimagenet", "imagenet")


def test_gaps_that_rise_with_the_factor_have_rank_correlation_one():
    gap = [5.0, 3.0, 1.0, 1.0]
    table = FACTORS[["backbone"]].assign(preprocess="official", batch_size=256, difference=gap)
    (row,) = why.rank_correlations(table, FACTORS).to_dict("records")
    assert row["rho"] == pytest.approx(1) and row["n_backbones"] == 4
    assert math.isnan(why.rank_correlations(table[:2], FACTORS)["rho"][0])
    table.loc[0, "difference"] = math.nan
    (row,) = why.rank_correlations(table, FACTORS).to_dict("records")
    assert row["rho"] == pytest.approx(1) and row["n_backbones"] == 3
    (row,) = why.rank_correlations(table[:3], FACTORS).to_dict("records")
    assert math.isnan(row["rho"]) and row["n_backbones"] == 2


# Tables


def write_run(home, predictions):
    """A finished run as training leaves it."""
    names = ["row", "group", "y_true", "y_score"]
    facts = predictions.drop(columns=names).iloc[0].to_dict() | {"classifier": "gap"}
    folder = home / "breast" / "-".join(str(value) for value in facts.values())
    folder.mkdir(parents=True)
    inside = predictions[names].assign(split="test", image_id="i", patient=pd.NA)
    inside.assign(y_score_negative=1 - inside["y_score"]).to_parquet(folder / "predictions.parquet")
    result = {"n_train": 500, "n_updates": 90, "n_trainable": 4098, "diverged": False}
    record = {"kind": "training", "fingerprint": "f", "data_fingerprint": "d"}
    record |= {"settings": {"objective": "official"}}
    record |= {"run": facts, "result": result, "fed": "caffe", "init_fingerprint": "w"}
    records.write(folder, record)


def test_runs_of_several_settings_are_gathered_kept_and_read_again(tmp_path):
    for _, one in ONE.groupby(["init", "preprocess"]):
        write_run(tmp_path / "runs", one)
    runs, predictions = why.gather(tmp_path / "runs", "breast")
    assert len(runs) == 4 and len(predictions) == 24
    why.write(runs, predictions, tmp_path / "kept")
    again = why.read(tmp_path / "kept", "breast")
    for one, other in zip((runs, predictions), again, strict=True):
        pd.testing.assert_frame_equal(one, other, check_dtype=False)
    before = why.changes(predictions, "a", "b")
    pd.testing.assert_frame_equal(before, why.changes(again[1], "a", "b"))
    with pytest.raises(why.WhyError, match="one of: breast.*'acl'"):
        why.read(tmp_path / "kept", "acl")


def test_what_is_not_whole_is_neither_written_nor_read(tmp_path):
    with pytest.raises(why.WhyError, match=r"no runs.csv.*keep_why.py"):
        why.read(tmp_path, "breast")
    with pytest.raises(why.WhyError, match="1 runs are in one of"):
        why.write(runs_of(ONE).iloc[1:], ONE, tmp_path / "kept")
    with pytest.raises(why.WhyError, match="lacks: .'group'"):
        why.write(runs_of(ONE), ONE.drop(columns="group"), tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_learning_rate_of_many_digits_is_read_as_it_was(tmp_path):
    table = ONE.assign(learning_rate=1 / 3000)
    why.write(runs_of(table), table, tmp_path)
    assert set(why.read(tmp_path, "breast")[0]["learning_rate"]) == {1 / 3000}


def test_no_run_is_said(tmp_path):
    with pytest.raises(judge.JudgeError, match="no finished run"):
        why.gather(tmp_path, "breast")


def test_inits_whose_native_input_is_the_official_one_are_told():
    runs = runs_of(ONE)
    b_native = (runs["init"] == "b") & (runs["preprocess"] == "native")
    table = why.fed(runs.assign(fed=runs["fed"].mask(b_native, "caffe")))
    assert dict(zip(table["init"], table["changes"], strict=True)) == {"a": False, "b": True}
    assert list(table["native"]) == ["official", "caffe"]


def test_the_tally_counts_what_went_as_predicted_and_what_did_not():
    found = pd.DataFrame(
        {
            "varied": ["preprocess", "preprocess", "batch_size", "batch_size", "batch_size"],
            "low": [1.0, -1, -5, -1, 2],
            "high": [3.0, 1, -2, 1, 2],
            "degenerate": [False] * 4 + [True],
        }
    )
    assert why.tally(found) == [
        "preprocess 1 of 2, against it 0",
        "batch size 0 of 2, against it 1",
    ]
