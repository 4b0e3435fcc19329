"""The statistics agree with worked examples, with R and with their own definitions."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rin import stats

pytestmark = pytest.mark.filterwarnings("error")

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared/reference/roc_reference.json"
FROZEN = HERE / "reference_roc.json"

Y = [1, 1, 1, 0, 0, 0]
A = [0.9, 0.8, 0.4, 0.5, 0.3, 0.2]
B = [0.7, 0.6, 0.3, 0.65, 0.4, 0.1]
PATIENTS = [0, 0, 1, 0, 2, 2]
FOLD_2_Y = [1, 1, 0, 0, 0]
FOLD_2_A = [0.8, 0.5, 0.6, 0.4, 0.1]
FOLD_2_B = [0.6, 0.2, 0.5, 0.3, 0.25]

# task: gain, both SDs and published half-width in points; half-width and P computed from them
PUBLISHED = {
    "thyroid": (9.4, 9, 14, 6.80, 6.84, 0.0081),
    "breast": (4.0, 5, 10, 4.65, 4.59, 0.0863),
    "acl": (4.8, 3, 8, 3.55, 3.51, 0.0084),
    "meniscus": (4.5, 2, 6, 2.65, 2.60, 0.0011),
    "covid19": (6.1, 3, 9, 3.90, 3.90, 0.0029),
    "pneumonia": (1.9, 2, 5, 2.10, 2.21, 0.0906),
    "sarscov2": (1.7, 3, 7, 3.05, 3.13, 0.2798),
    "hemorrhage": (0.9, 4, 5, 2.55, 2.63, 0.4945),
}


def near(value, tolerance=1e-6):
    return pytest.approx(value, abs=tolerance, rel=0)


def covariance(test, a, b):
    return (a.variance + b.variance - test.variance) / 2


def tied_data(seed, n=60, n_levels=6):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return y, *(rng.integers(0, n_levels, (2, n)) / n_levels)


def cell(scenario, fold, y_true, y_score, init="random"):
    columns = {"y_true": y_true, "y_score": y_score}
    return pd.DataFrame(columns).assign(init=init, scenario=scenario, fold=fold)


# --- DeLong, one fold -----------------------------------------------------------------------


def test_the_worked_example_gives_both_aucs_and_their_variances():
    a, b = stats.auc_ci(Y, A), stats.auc_ci(Y, B)
    assert (a.auc, b.auc) == (near(0.888889), near(0.666667))
    assert (a.variance, b.variance) == (near(0.0246914), near(0.0740741))
    assert covariance(stats.delong_test(Y, A, B), a, b) == near(0.0370370)
    assert (a.n_images, a.n_patients, a.degenerate, a.reason) == (6, None, False, "")


def test_the_worked_example_gives_the_test_of_the_difference():
    test = stats.delong_test(Y, A, B)
    assert (test.auc_a, test.auc_b) == (near(0.888889), near(0.666667))
    assert (test.difference, test.variance) == (near(0.222222), near(0.0246914))
    assert (test.z, test.p) == (near(1.414214), near(0.157299))
    assert (test.low, test.high) == (near(-0.085756), near(0.530201))
    assert (test.n_images, test.n_patients, test.degenerate, test.reason) == (6, None, False, "")


@pytest.mark.parametrize("seed", range(5))
def test_components_by_mid_ranks_equal_the_definition_over_all_pairs(seed):
    y, score, _ = tied_data(seed)
    x, others = score[y == 1], score[y == 0]
    wins = np.sign(x[:, None] - others[None, :]) / 2 + 0.5
    auc, v10, v01 = stats.components(y, score)
    assert auc == near(wins.mean(), 1e-12)
    np.testing.assert_allclose(v10, wins.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(v01, wins.mean(axis=0), atol=1e-12)


def test_an_auc_with_ties_equals_scikit_learns():
    from sklearn.metrics import roc_auc_score

    y, score, _ = tied_data(7)
    assert stats.auc_ci(y, score).auc == near(roc_auc_score(y, score), 1e-12)


def test_the_auc_interval_is_clipped_but_the_differences_is_not():
    assert stats.auc_ci(Y, A).high == 1
    assert stats.auc_ci(Y, np.negative(A)).low == 0
    assert stats.delong_test(Y, A, B, level=0.9999999).high > 1


@pytest.mark.parametrize(("sign", "auc"), [(1, 1), (-1, 0)])
def test_perfect_separation_either_way_is_degenerate(sign, auc):
    ci = stats.auc_ci([1, 1, 0, 0], np.multiply(sign, [0.9, 0.8, 0.2, 0.1]))
    assert (ci.auc, ci.low, ci.high, ci.variance) == (auc, auc, auc, 0)
    assert ci.degenerate and "variance 0" in ci.reason


def test_all_equal_scores_are_chance_and_degenerate():
    ci = stats.auc_ci(Y, np.full(6, 0.3))
    assert (ci.auc, ci.low, ci.high, ci.variance, ci.degenerate) == (0.5, 0.5, 0.5, 0, True)


def test_a_score_against_itself_differs_by_nothing():
    test = stats.delong_test(Y, A, np.exp(A))
    assert (test.difference, test.variance, test.z, test.p) == (0, 0, 0, 1)
    assert (test.low, test.high, test.degenerate) == (0, 0, False)


def test_two_perfect_scores_differ_by_nothing():
    y = [1, 1, 0, 0]
    test = stats.delong_test(y, [4, 3, 2, 1], [9, 8, 7, 6])
    assert (test.z, test.p, test.degenerate) == (0, 1, False)


@pytest.mark.parametrize("sign", [1, -1])
def test_perfect_against_reversed_is_degenerate_and_says_so(sign):
    best = np.multiply(sign, [4, 3, 2, 1])
    test = stats.delong_test([1, 1, 0, 0], best, -best)
    assert (test.difference, test.variance, test.p) == (sign, 0, 0)
    assert (test.z, test.low, test.high) == (sign * math.inf, sign, sign)
    assert test.degenerate and test.reason


def test_a_variance_that_is_only_rounding_counts_as_zero():
    a, b = [2, 4, 6, 1, 3, 5], [1, 3, 5, 2, 4, 6]  # each component of a is 1/3 above b's
    for patients in (None, [0, 1, 2, 0, 1, 2]):
        test = stats.delong_test(Y, a, b, patients)
        assert test.difference == near(1 / 3)
        assert (test.variance, test.degenerate, test.z) == (0, True, math.inf)


@pytest.mark.parametrize("seed", range(20))
def test_a_clustered_variance_is_never_negative(seed):
    rng = np.random.default_rng(seed)
    y, score = np.repeat([1, 0], 6), rng.normal(size=12)
    ci = stats.auc_ci(y, score, patients=rng.integers(0, 5, 12))
    whole = stats.auc_ci(y, score, patients=np.arange(12) % 6)
    assert math.isnan(ci.variance) or ci.variance >= 0
    assert whole.variance >= 0


def test_reversing_the_scores_mirrors_auc_and_interval():
    y, a, _ = tied_data(1)
    ci, mirrored = stats.auc_ci(y, a), stats.auc_ci(y, -a)
    flipped = stats.auc_ci(1 - y, a)
    assert mirrored.auc == near(1 - ci.auc, 1e-12)
    assert (mirrored.low, mirrored.high) == (near(1 - ci.high, 1e-12), near(1 - ci.low, 1e-12))
    assert (flipped.auc, flipped.variance) == (near(1 - ci.auc, 1e-12), near(ci.variance, 1e-12))


def test_swapping_the_scores_changes_only_the_sign():
    y, a, b = tied_data(2)
    test, swapped = stats.delong_test(y, a, b), stats.delong_test(y, b, a)
    assert (swapped.difference, swapped.z) == (near(-test.difference, 1e-12), near(-test.z, 1e-12))
    assert (swapped.low, swapped.high) == (near(-test.high, 1e-12), near(-test.low, 1e-12))
    assert swapped.p == near(test.p, 1e-12)


@pytest.mark.parametrize("y", [[1, 0, 0, 0], [1, 1, 1, 0]])
def test_one_image_of_a_class_leaves_the_auc_but_no_interval(y):
    ci = stats.auc_ci(y, [0.9, 0.8, 0.2, 0.1])
    assert not math.isnan(ci.auc)
    assert math.isnan(ci.low) and math.isnan(ci.high) and math.isnan(ci.variance)
    assert "too few images" in ci.reason and not ci.degenerate


def test_a_missing_class_is_nan_with_a_reason():
    ci = stats.auc_ci([1, 1, 1], [0.1, 0.2, 0.3])
    test = stats.delong_test([0, 0, 0], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert math.isnan(ci.auc) and "0 negative" in ci.reason
    assert math.isnan(test.z) and math.isnan(test.p) and "0 positive" in test.reason


@pytest.mark.parametrize(
    ("y", "score", "words"),
    [
        ([0, 1, 1], [0.1, 0.2], "as long as `y_true`"),
        ([0, 1, 2], [0.1, 0.2, 0.3], "`y_true` should be 0 or 1"),
        ([0, 1, 1], [0.1, math.nan, 0.3], "`y_score` should be 1-d and finite"),
        ([0, 1, 1], [0.1, math.inf, 0.3], "1 not finite"),
        ([0, 1], [[0.1, 0.2], [0.3, 0.4]], "1-d"),
        (["no", "yes"], [0.1, 0.2], "`y_true` should be numbers"),
        ([0, None], [0.1, 0.2], "`y_true`"),
    ],
)
def test_unusable_input_is_refused_by_name(y, score, words):
    with pytest.raises(ValueError, match=words):
        stats.auc_ci(y, score)


def test_the_argument_at_fault_is_the_one_named():
    with pytest.raises(ValueError, match="`score_b`"):
        stats.delong_test(Y, A, B[:-1])
    with pytest.raises(ValueError, match="`level` should be between 0 and 1"):
        stats.auc_ci(Y, A, level=95)


# --- Patients with several images -------------------------------------------------------------


def test_the_worked_example_by_patient():
    assert stats.auc_ci(Y, A, patients=PATIENTS).variance == near(0.0274348)
    test = stats.delong_test(Y, A, B, patients=PATIENTS)
    assert test.variance == near(0.00685871)
    assert test.z == near(0.222222 / math.sqrt(0.00685871), 1e-4)
    assert (test.n_images, test.n_patients) == (6, 3)


def test_one_image_a_patient_equals_the_plain_test():
    y, a, b = tied_data(3)
    plain, clustered = stats.delong_test(y, a, b), stats.delong_test(y, a, b, range(len(y)))
    for name in ("difference", "variance", "low", "high", "z", "p"):
        assert getattr(clustered, name) == getattr(plain, name)
    assert stats.auc_ci(y, a, patients=range(len(y))).variance == stats.auc_ci(y, a).variance


def test_the_plain_variance_is_the_textbook_one():
    y, a, _ = tied_data(4)
    _, v10, v01 = stats.components(y, a)
    textbook = v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)
    assert stats.auc_ci(y, a).variance == near(textbook, 1e-15)


@pytest.mark.parametrize(
    "names",
    [
        ["b", "b", "a", "b", "c", "c"],
        [("x", 1), ("x", 1), "a", ("x", 1), 7, 7],
        pd.Series([9, 9, -1, 9, 3, 3], index=list("uvwxyz")),
        np.array(["p10", "p10", "p2", "p10", "p1", "p1"]),
    ],
)
def test_patients_may_have_any_names(names):
    assert stats.delong_test(Y, A, B, patients=names).variance == near(0.00685871)


def test_the_order_of_the_images_does_not_matter():
    order = [5, 2, 0, 4, 1, 3]
    shuffled = [np.array(values)[order] for values in (Y, A, B, PATIENTS)]
    assert stats.delong_test(*shuffled).variance == near(0.00685871)


def test_every_image_twice_in_a_patient_adds_no_information():
    y, a, b = tied_data(5)
    once = stats.delong_test(y, a, b)
    twice = stats.delong_test(*(np.tile(v, 2) for v in (y, a, b)), np.tile(np.arange(len(y)), 2))
    assert (twice.variance, twice.p) == (near(once.variance, 1e-12), near(once.p, 1e-12))
    assert (twice.n_images, twice.n_patients) == (2 * len(y), len(y))


@pytest.mark.parametrize("patients", [[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 3, 3]])
def test_one_patient_with_a_class_is_nan_with_a_reason(patients):
    ci = stats.auc_ci(Y, A, patients=patients)
    test = stats.delong_test(Y, A, B, patients=patients)
    assert ci.auc == near(0.888889) and math.isnan(ci.variance) and math.isnan(ci.low)
    assert test.difference == near(0.222222) and math.isnan(test.p) and math.isnan(test.high)
    assert "too few patients" in ci.reason and ci.reason == test.reason
    assert not test.degenerate and test.n_patients == 4


def test_patients_must_be_one_an_image_and_known():
    with pytest.raises(ValueError, match="`patients` should be 6 values"):
        stats.delong_test(Y, A, B, patients=[0, 1])
    with pytest.raises(ValueError, match="1 missing"):
        stats.delong_test(Y, A, B, patients=["a", "a", None, "b", "c", "c"])


# --- Agreement with R ---------------------------------------------------------------------------


def reference(path):
    if not path.exists():
        pytest.skip(f"no {path.name} beside the project: the frozen subset is tested instead")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [FROZEN, SHARED], ids=["frozen", "shared"])
def test_delong_agrees_with_proc(path):
    for row in reference(path)["roc"]:
        y, a, b, r = row["label"], row["a"], row["b"], row["proc"]
        for letter, score in (("a", a), ("b", b)):
            ci = stats.auc_ci(y, score)
            found = [ci.auc, ci.low, ci.high, ci.variance]
            names = [f"auc_{letter}", f"ci_{letter}_low", f"ci_{letter}_high", f"var_{letter}"]
            assert found == [near(r[name], 1e-9) for name in names], row["name"]
        test = stats.delong_test(y, a, b)
        found = [test.z, test.p, covariance(test, stats.auc_ci(y, a), stats.auc_ci(y, b))]
        names = ["z_paired", "p_paired", "cov_ab"]
        assert found == [near(r[name], 1e-9) for name in names], row["name"]


@pytest.mark.parametrize("path", [FROZEN, SHARED], ids=["frozen", "shared"])
def test_paired_t_and_shapiro_agree_with_r(path):
    for row in reference(path)["paired"]:
        x, y, r = np.array(row["x"]), np.array(row["y"]), row["r"]
        t, w = stats.paired_t(x, y), stats.shapiro(x - y)
        found = [t.statistic, t.p, t.low, t.high, w.statistic, w.p]
        names = ["t", "t_p", "diff_ci_low", "diff_ci_high", "shapiro_w", "shapiro_p"]
        assert found == [near(r[name], 1e-8) for name in names], row["name"]


# --- t tests ----------------------------------------------------------------------------------


def test_paired_t_on_three_groups_by_hand():
    test = stats.paired_t([0.2, 0.05, 0], [0, 0, 0.02])
    assert (test.statistic, test.p, test.df) == (near(1.181431), near(0.358881), 2)
    assert test.difference == near(0.0766667)


def test_paired_t_without_spread_has_no_p():
    for x in ([1.0, 2.0, 3.0], [1.1, 2.1, 3.1]):
        test = stats.paired_t(x, [1.0, 2.0, 3.0])
        assert math.isnan(test.statistic) and math.isnan(test.p) and math.isnan(test.low)
        assert test.difference == near(x[0] - 1) and test.df == 2


def test_t_and_shapiro_refuse_too_little():
    with pytest.raises(ValueError, match="2 or more pairs"):
        stats.paired_t([1], [2])
    with pytest.raises(ValueError, match="2 or more pairs"):
        stats.paired_t([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="`y` should be 1-d and finite"):
        stats.paired_t([1, 2], [1, math.nan])
    with pytest.raises(ValueError, match="3 or more"):
        stats.shapiro([1, 2])


def test_shapiro_on_equal_values_is_nan():
    assert math.isnan(stats.shapiro([2, 2, 2]).statistic)


@pytest.mark.parametrize("task", PUBLISHED)
def test_the_published_interval_is_an_unpaired_t_interval(task):
    gain, sd_a, sd_b, published, half_width, p = PUBLISHED[task]
    interval = stats.unpaired_t_interval(gain, sd_a, 0, sd_b, n=24)
    assert interval.half_width == near(half_width, 0.005)
    assert interval.p == near(p, 0.00005)
    assert interval.low == near(gain - half_width, 0.005)
    assert interval.high == near(gain + half_width, 0.005)
    narrow = stats.unpaired_t_interval(gain, sd_a - 0.5, 0, sd_b - 0.5, n=24).half_width
    wide = stats.unpaired_t_interval(gain, sd_a + 0.5, 0, sd_b + 0.5, n=24).half_width
    assert narrow < published < wide


def test_the_unpaired_interval_equals_scipys_t_test():
    from scipy.stats import ttest_ind

    x, y = np.random.default_rng(0).normal(size=(2, 24))
    ours = stats.unpaired_t_interval(x.mean(), x.std(ddof=1), y.mean(), y.std(ddof=1), 24)
    theirs = ttest_ind(x, y)
    bounds = theirs.confidence_interval()
    assert ours.p == near(theirs.pvalue, 1e-12)
    assert (ours.low, ours.high) == (near(bounds.low, 1e-12), near(bounds.high, 1e-12))


def test_the_unpaired_interval_refuses_impossible_spreads():
    assert math.isnan(stats.unpaired_t_interval(1, 0, 0, 0, n=24).p)
    for sd, n in ((-1, 24), (math.nan, 24), (1, 1)):
        with pytest.raises(ValueError, match="SDs ≥ 0"):
            stats.unpaired_t_interval(1, sd, 0, 1, n=n)


# --- Holm -------------------------------------------------------------------------------------


def test_holm_counts_the_tests_not_done():
    p = [0.001, 0.0086, 0.004, 0.03, 0.2, 0.5]
    expected = [0.008, 0.0516, 0.028, 0.15, 0.8, 1]
    np.testing.assert_allclose(stats.holm(p, m=8), expected, atol=1e-12)
    with_gaps = stats.holm([math.nan, *p, math.nan])
    np.testing.assert_allclose(with_gaps[1:-1], expected, atol=1e-12)
    assert np.isnan(with_gaps[[0, -1]]).all()


def test_holm_of_one_finished_task_is_not_free():
    assert stats.holm([0.01], m=8)[0] == near(0.08)
    assert stats.holm([0.01])[0] == near(0.01)


def test_holm_refuses_a_small_family_and_impossible_values():
    with pytest.raises(ValueError, match="`m` should be at least 2"):
        stats.holm([0.1, 0.2], m=1)
    with pytest.raises(ValueError, match="`p_values` should be in"):
        stats.holm([0.1, 1.2])


# --- Scenario AUCs and averaged curves ----------------------------------------------------------


def test_a_scenario_auc_is_the_mean_of_its_folds():
    folds = pd.concat([cell("s", 0, Y, A), cell("s", 1, FOLD_2_Y, FOLD_2_A)])
    row = stats.scenario_aucs(folds).iloc[0]
    assert (row["auc"], row["pooled_auc"]) == (near(0.861111), near(0.866667))
    assert (row["init"], row["scenario"], row["n_folds"]) == ("random", "s", 2)


def test_moving_one_folds_scores_moves_only_the_pooled_auc():
    moved = pd.concat([cell("s", 0, Y, A), cell("s", 1, FOLD_2_Y, np.subtract(FOLD_2_A, 0.5))])
    row = stats.scenario_aucs(moved).iloc[0]
    assert (row["auc"], row["pooled_auc"]) == (near(0.861111), near(0.8))


def test_the_gain_between_inits_is_of_fold_means():
    cells = [cell("s", 0, Y, A, "radimagenet"), cell("s", 1, FOLD_2_Y, FOLD_2_A, "radimagenet")]
    cells += [cell("s", 0, Y, B, "imagenet"), cell("s", 1, FOLD_2_Y, FOLD_2_B, "imagenet")]
    table = stats.scenario_aucs(pd.concat(cells)).set_index("init").drop(columns="scenario")
    gain = table.loc["radimagenet"] - table.loc["imagenet"]
    assert (gain["auc"], gain["pooled_auc"]) == (near(0.277778), near(0.216667))


def test_seeds_are_averaged_first():
    seeds = [cell("s", 0, Y, A).assign(seed=0), cell("s", 0, Y, B).assign(seed=1)]
    table = stats.scenario_aucs(pd.concat([*seeds, cell("s", 1, Y, B).assign(seed=0)]))
    assert list(table.columns) == ["init", "scenario", "auc", "n_folds", "pooled_auc"]
    assert table.loc[0, "auc"] == near(((0.888889 + 0.666667) / 2 + 0.666667) / 2)
    assert table.loc[0, "n_folds"] == 2
    # seed 0 wins 29 of its 36 pairs, seed 1 has fold 0 only and wins 6 of 9
    assert table.loc[0, "pooled_auc"] == near((29 / 36 + 6 / 9) / 2)


def test_a_fold_with_one_class_makes_the_scenario_nan():
    table = stats.scenario_aucs(pd.concat([cell("s", 0, Y, A), cell("s", 1, [1, 1], [0.2, 0.3])]))
    assert math.isnan(table.loc[0, "auc"])


def test_tables_without_their_columns_are_refused():
    with pytest.raises(ValueError, match="fold"):
        stats.scenario_aucs(cell("s", 0, Y, A).drop(columns="fold"))
    for function in (stats.scenario_aucs, stats.average_roc):
        with pytest.raises(ValueError, match="gaps in \\['seed'\\]"):
            function(cell("s", 0, Y, A).assign(seed=[math.nan, *[0] * 5]))
    with pytest.raises(ValueError, match="scenario"):
        stats.average_roc(cell(None, 0, Y, A))
    with pytest.raises(ValueError, match="one init"):
        stats.average_roc(pd.concat([cell("s", 0, Y, A, "imagenet"), cell("s", 0, Y, A)]))
    with pytest.raises(ValueError, match="both classes"):
        stats.average_roc(cell("s", 0, [1, 1], [0.1, 0.2]))


def test_mean_and_sd_are_over_settings_with_ddof_one():
    assert stats.mean_sd([0.7, 0.8, 0.9]) == (near(0.8), near(0.1))
    mean, sd = stats.mean_sd(pd.Series([0.7]))
    assert mean == 0.7 and math.isnan(sd)
    assert all(math.isnan(value) for value in stats.mean_sd([]))


def test_the_averaged_curve_of_two_scenarios_is_the_worked_one():
    curve = stats.average_roc(pd.concat([cell("s", 0, Y, A), cell("t", 0, Y, B)]), n_points=5)
    np.testing.assert_allclose(curve["fpr"], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve["tpr_mean"], [0, 0.5, 0.833333, 1, 1], atol=1e-6)
    np.testing.assert_allclose(curve["tpr_sd"], [0, 0.235702, 0.235702, 0, 0], atol=1e-6)


def test_folds_are_averaged_before_scenarios_spread():
    curve = stats.average_roc(pd.concat([cell("s", 0, Y, A), cell("s", 1, Y, B)]), n_points=5)
    np.testing.assert_allclose(curve["tpr_mean"], [0, 0.5, 0.833333, 1, 1], atol=1e-6)
    assert curve["tpr_sd"].isna().all()
    assert len(stats.average_roc(cell("s", 0, Y, A))) == 101


def test_the_area_under_the_averaged_curve_is_the_mean_auc():
    cells = pd.concat([cell("s", 0, Y, A), cell("t", 0, Y, B)])
    curve = stats.average_roc(cells, n_points=1001)
    mean, _ = stats.mean_sd(stats.scenario_aucs(cells)["auc"])
    assert np.trapezoid(curve["tpr_mean"], curve["fpr"]) == pytest.approx(mean, abs=5e-4)


def test_a_fold_with_more_seeds_weighs_no_more_in_the_averaged_curve():
    seeds = [cell("s", 0, Y, A).assign(seed=0), cell("s", 0, Y, B).assign(seed=1)]
    cells = pd.concat([*seeds, cell("s", 1, Y, Y).assign(seed=0)])
    curve = stats.average_roc(cells, n_points=1001)
    expected = ((8 / 9 + 6 / 9) / 2 + 1) / 2  # not (8 / 9 + 6 / 9 + 1) / 3
    assert stats.scenario_aucs(cells)["auc"][0] == near(expected)
    assert np.trapezoid(curve["tpr_mean"], curve["fpr"]) == pytest.approx(expected, abs=5e-4)


# --- Import -------------------------------------------------------------------------------------


def test_importing_the_statistics_loads_no_backend_and_nothing_slow():
    slow = {"tensorflow", "keras", "jax", "torch", "scipy", "sklearn", "statsmodels"}
    code = f"import sys, rin.stats; print(sorted({slow} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
