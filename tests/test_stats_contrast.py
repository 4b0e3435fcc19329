"""Two arms over all scenarios and folds: worked examples, and what must not change them."""

import math

import numpy as np
import pandas as pd
import pytest
from test_stats import FOLD_2_A, FOLD_2_B, FOLD_2_Y, PATIENTS, A, B, Y, near

from rin import stats
from rin.stats import gains, resampling

pytestmark = pytest.mark.filterwarnings("error")

A2 = [0.6, 0.9, 0.55, 0.5, 0.2, 0.35]
B2 = [0.5, 0.45, 0.8, 0.6, 0.7, 0.2]
RIN, IMN = "radimagenet", "imagenet"


def cell(init, scores, scenario="s", fold=0, y=Y, groups=None, seed=0, backbone="resnet50"):
    """The test predictions of one run; folds test other images."""
    rows = 100 * fold + np.arange(len(y))
    facts = {"init": init, "scenario": scenario, "backbone": backbone, "fold": fold, "seed": seed}
    groups = [f"g{row}" for row in rows] if groups is None else [f"{fold}-{g}" for g in groups]
    columns = {"row": rows, "group": groups, "y_true": y, "y_score": scores}
    return pd.DataFrame(columns).assign(**facts)


def both(a, b, *args, **facts):
    """One cell of both inits."""
    return pd.concat([cell(RIN, a, *args, **facts), cell(IMN, b, *args, **facts)])


def table(*cells):
    return pd.concat(cells, ignore_index=True)


ONE = table(both(A, B))
TWO = table(both(A, B), both(A2, B2, "t", backbone="densenet121"))
FOLDS = table(both(A, B), both(FOLD_2_A, FOLD_2_B, fold=1, y=FOLD_2_Y))
SEEDS = table(cell(RIN, A), cell(RIN, A2, seed=1), cell(IMN, B), cell(IMN, B2, seed=1))


def noisy(n_scenarios=3, n_folds=2, n=40, seed=0, n_levels=9, n_groups=25):
    """Scores of both inits, tied within classes and between them; several images a group."""
    rng = np.random.default_rng(seed)
    cells = []
    for fold in range(n_folds):
        y = (rng.permutation(n) % 3 == 0).astype(int)
        groups = rng.integers(0, n_groups, n)
        for i in range(n_scenarios):
            a, b = (rng.integers(0, n_levels, (2, n)) + 3 * y) / n_levels
            cells.append(both(a, b, f"s{i}", fold, y, groups, backbone=f"b{i % 2}"))
    return table(*cells)


# --- Which cells count --------------------------------------------------------------------------


def test_counts_are_said_in_words():
    common = stats.common_cells(TWO, RIN, IMN)
    assert str(common) == "2 of 24 scenarios, 1 of 1 folds"
    assert str(stats.common_cells(FOLDS, RIN, IMN, n_folds=5)) == "1 of 24 scenarios, 2 of 5 folds"


def test_a_scenario_without_every_fold_in_both_arms_does_not_count():
    partial = table(FOLDS, both(A2, B2, "t"), cell(RIN, FOLD_2_A, "t", fold=1, y=FOLD_2_Y))
    common = stats.common_cells(partial, RIN, IMN)
    assert (common.n_scenarios, set(common.predictions["scenario"])) == (1, {"s"})
    assert stats.contrast(partial, RIN, IMN).difference == near(0.277778)


def test_other_arms_and_their_folds_are_not_looked_at():
    more = table(FOLDS, cell("random", A, "u", fold=7))
    assert str(stats.common_cells(more, RIN, IMN)) == "1 of 24 scenarios, 2 of 2 folds"


def test_without_a_common_cell_everything_is_nan_and_says_why():
    apart = table(cell(RIN, A, "s"), cell(IMN, B, "t"))
    assert str(stats.common_cells(apart, RIN, IMN)) == "0 of 24 scenarios, 0 of 1 folds"
    whole = stats.contrast(apart, RIN, IMN)
    drawn = stats.patient_bootstrap(apart, RIN, IMN, n_resamples=10)
    for found in (whole, drawn):
        assert math.isnan(found.difference) and math.isnan(found.p) and math.isnan(found.high)
        assert found.reason == "no scenario has every fold in both arms"
    assert (whole.n_scenarios, whole.n_folds, whole.n_images, len(whole.folds)) == (0, 0, 0, 0)
    for empty in (stats.fold_gains, stats.backbone_gains, stats.scenario_gains):
        assert len(empty(apart, RIN, IMN)) == 0
    assert "no cell" in stats.nadeau_bengio(stats.fold_gains(apart, RIN, IMN), 0.25).reason


@pytest.mark.parametrize(
    ("predictions", "arms", "words"),
    [
        (ONE, (RIN, "vgg"), "`a` and `b` should be two of"),
        (ONE, (RIN, RIN), "`a` and `b` should be two of"),
        (ONE.drop(columns="group"), (RIN, IMN), "gaps in \\['group'\\]"),
        (ONE.assign(group=None), (RIN, IMN), "gaps in \\['group'\\]"),
        (table(ONE, ONE), (RIN, IMN), "12 more rows; do runs differ in more than init"),
        (ONE.assign(task=np.arange(12) % 2), (RIN, IMN), "one task"),
        (ONE.iloc[1:], (RIN, IMN), "fold 0: the runs were not tested on the same images"),
        (ONE.assign(y_true=1 - ONE.y_true.where(ONE.index > 0, 0)), (RIN, IMN), "`y_true` of an"),
        (ONE.assign(group=range(12)), (RIN, IMN), "`group` of an image differs"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(predictions, arms, words):
    with pytest.raises(ValueError, match=words):
        stats.contrast(predictions, *arms)


def test_arms_may_stand_in_any_column():
    renamed = TWO.rename(columns={"init": "arm"})
    assert stats.contrast(renamed, RIN, IMN, by="arm").variance == near(0.0370370)


# --- The contrast -------------------------------------------------------------------------------


def test_one_scenario_and_fold_is_delongs_test():
    found, plain = stats.contrast(ONE, RIN, IMN), stats.delong_test(Y, A, B)
    for name in ("difference", "variance", "low", "high", "z", "p"):
        assert getattr(found, name) == near(getattr(plain, name), 1e-15)
    clustered = stats.contrast(table(both(A, B, groups=PATIENTS)), RIN, IMN)
    assert clustered.variance == near(0.00685871, 1e-8)
    assert (clustered.n_images, clustered.n_groups) == (6, 3)


def test_the_worked_contrast_of_two_scenarios():
    alone = stats.contrast(table(both(A2, B2)), RIN, IMN)
    assert (alone.difference, alone.variance) == (near(0.444444), near(0.0987654))
    found = stats.contrast(TWO, RIN, IMN)
    assert (found.difference, found.variance) == (near(0.333333), near(0.0370370))
    assert (found.z, found.p) == (near(1.732051), near(0.083265))
    assert (found.n_scenarios, found.n_folds, found.n_images, found.n_groups) == (2, 1, 6, 6)
    assert (found.degenerate, found.reason, found.caution) == (False, "", "")


def test_the_worked_contrast_of_two_folds():
    found = stats.contrast(FOLDS, RIN, IMN)
    assert (found.difference, found.variance) == (near(0.277778), near(0.0408951))
    assert (found.z, found.p) == (near(1.373606), near(0.169564))
    assert (found.low, found.high) == (near(-0.118576), near(0.674132))
    assert list(found.folds["fold"]) == [0, 1]
    np.testing.assert_allclose(found.folds["difference"], [0.222222, 0.333333], atol=1e-6)
    np.testing.assert_allclose(found.folds["variance"], [0.0246914, 0.138889], atol=1e-6)
    assert (found.n_folds, found.n_images) == (2, 11)


def test_moving_all_scores_of_a_fold_changes_nothing():
    moved = FOLDS.assign(y_score=FOLDS.y_score - 0.5 * (FOLDS.fold == 1) * (FOLDS.init == RIN))
    assert stats.contrast(moved, RIN, IMN).p == stats.contrast(FOLDS, RIN, IMN).p


def test_folds_weigh_the_same_even_where_one_separates_perfectly():
    perfect = both([9, 8, 1, 2], [9, 7, 2, 1], fold=1, y=[1, 1, 0, 0])
    found = stats.contrast(table(ONE, perfect), RIN, IMN)
    assert (found.difference, found.variance) == (near(0.111111), near(0.0246914 / 4))


def test_averaged_components_equal_the_definition_over_all_pairs():
    predictions = noisy(n_folds=1)
    (fold,) = stats.paired_folds(predictions, RIN, IMN)
    x, y = fold.y_true == 1, fold.y_true == 0
    wins = [np.sign(a[0, x][:, None] - a[0, y]) / 2 for a in (*fold.a, *fold.b)]
    mean = (sum(wins[:3]) - sum(wins[3:])) / 3
    d10, d01 = (side.mean(axis=0) for side in gains.gain_components(fold))
    np.testing.assert_allclose(d10, mean.mean(axis=1), atol=1e-14)
    np.testing.assert_allclose(d01, mean.mean(axis=0), atol=1e-14)


def test_one_scenario_many_times_is_not_more_evidence():
    many = table(*(both(A, B, f"s{i}") for i in range(24)))
    found = stats.contrast(many, RIN, IMN)
    assert (found.variance, found.n_scenarios) == (near(0.0246914), 24)


def test_seeds_are_averaged_on_components():
    found = stats.contrast(SEEDS, RIN, IMN)
    assert (found.difference, found.variance) == (near(0.333333), near(0.0370370))
    uneven = stats.contrast(table(cell(RIN, A), cell(IMN, B), cell(IMN, B, seed=1)), RIN, IMN)
    assert (uneven.difference, uneven.variance) == (near(0.222222), near(0.0246914))


def test_swapping_the_arms_changes_only_the_sign():
    predictions = noisy()
    one, other = stats.contrast(predictions, RIN, IMN), stats.contrast(predictions, IMN, RIN)
    assert (one.difference, one.z) == (near(-other.difference, 1e-12), near(-other.z, 1e-12))
    assert (one.variance, one.p) == (near(other.variance, 1e-12), near(other.p, 1e-12))


def test_the_order_of_rows_does_not_matter():
    predictions = noisy()
    shuffled = predictions.sample(frac=1, random_state=0)
    assert stats.contrast(shuffled, RIN, IMN).p == near(stats.contrast(predictions, RIN, IMN).p)


def test_a_difference_without_variance_is_degenerate():
    best = [4, 3, 2, 1]
    found = stats.contrast(table(both(best, np.negative(best), y=[1, 1, 0, 0])), RIN, IMN)
    assert (found.difference, found.p, found.z, found.degenerate) == (1, 0, math.inf, True)
    same = stats.contrast(table(both(A, np.exp(A))), RIN, IMN)
    assert (same.difference, same.p, same.z, same.degenerate) == (0, 1, 0, False)


def test_gains_that_cancel_but_for_rounding_are_no_difference():
    a, b, c = [4, 5, 1, 3, 0, 2], [3, 0, 5, 2, 1, 4], [3, 0, 4, 2, 5, 1]
    found = stats.contrast(table(both(a, b, "s"), both(b, c, "t"), both(c, a, "u")), RIN, IMN)
    assert (found.difference, found.p, found.z, found.degenerate) == (0, 1, 0, False)
    assert found.reason == "variance 0 with difference 0"


def test_a_fold_with_too_few_groups_is_nan_and_named():
    few = table(ONE, both([0.9, 0.3, 0.1], [0.8, 0.2, 0.1], fold=1, y=[1, 0, 0]))
    found = stats.contrast(few, RIN, IMN)
    assert math.isnan(found.p) and math.isnan(found.low)
    assert found.reason.startswith("fold 1: too few groups: 1 positive")
    lone = table(ONE, both([0.9, 0.3], [0.8, 0.2], fold=1, y=[0, 0]))
    assert math.isnan(stats.contrast(lone, RIN, IMN).difference)
    assert math.isnan(stats.fold_gains(lone, RIN, IMN)[1])


def test_groups_in_several_folds_are_said():
    split = FOLDS.assign(group=FOLDS["row"] % 100)
    found = stats.contrast(split, RIN, IMN)
    assert found.caution.startswith("5 groups are in several folds")
    assert (found.n_images, found.n_groups) == (11, 6)  # different ones
    assert list(found.folds["n_groups"]) == [6, 5]


@pytest.mark.parametrize(
    "test",
    [
        lambda level: stats.contrast(FOLDS, RIN, IMN, level=level),
        lambda level: stats.patient_bootstrap(FOLDS, RIN, IMN, n_resamples=200, level=level),
        lambda level: stats.nadeau_bengio([0.04, 0.06, 0.01], 0.25, level),
        lambda level: stats.over_backbones([0.04, 0.06, 0.01], level),
    ],
    ids=["contrast", "patient_bootstrap", "nadeau_bengio", "over_backbones"],
)
def test_a_lower_level_gives_a_narrower_interval(test):
    wide, narrow = test(0.95), test(0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert (narrow.difference, narrow.p) == (wide.difference, wide.p)


# --- Gains, folds and backbones -------------------------------------------------------------------


def test_gains_by_cell_fold_and_backbone():
    found = stats.scenario_gains(TWO, RIN, IMN)
    assert list(found.columns) == ["scenario", "backbone", "fold", "difference"]
    np.testing.assert_allclose(found["difference"], [0.222222, 0.444444], atol=1e-6)
    assert stats.backbone_gains(TWO, RIN, IMN).round(6).to_dict() == {
        "densenet121": 0.444444,
        "resnet50": 0.222222,
    }
    folds = stats.fold_gains(FOLDS, RIN, IMN)
    assert (folds.index.name, folds.round(6).to_dict()) == ("fold", {0: 0.222222, 1: 0.333333})


def test_all_roads_lead_to_the_same_mean_gain():
    predictions = noisy(n_scenarios=4)
    expected = stats.contrast(predictions, RIN, IMN).difference
    aucs = stats.scenario_aucs(predictions).pivot(index="scenario", columns="init", values="auc")
    assert (aucs[RIN] - aucs[IMN]).mean() == near(expected, 1e-12)
    for gain in (stats.fold_gains, stats.backbone_gains):
        assert gain(predictions, RIN, IMN).mean() == near(expected, 1e-12)
    assert stats.scenario_gains(predictions, RIN, IMN).difference.mean() == near(expected, 1e-12)


def test_nadeau_and_bengios_worked_example():
    test = stats.nadeau_bengio([0.04, 0.06, 0.01, 0.05, 0.03], ratio=72 / 247)
    assert (test.difference, test.se) == (near(0.038), near(0.0134853))
    assert (test.statistic, test.p, test.df) == (near(2.817876), near(0.047931), 4)
    assert (test.low, test.high) == (near(0.000559), near(0.075441))
    uncorrected = stats.over_backbones([0.04, 0.06, 0.01, 0.05, 0.03])
    assert uncorrected.p == near(0.011534)


def test_fewer_than_three_backbones_say_nothing_of_others():
    for few, reason in (([0.05], "one backbone"), ([0.05, 0.04], "two backbones")):
        test = stats.over_backbones(few)
        assert test.reason == f"not available: {reason}"
        assert math.isnan(test.p) and math.isnan(test.low)
        assert test.difference == pytest.approx(np.mean(few))
    assert stats.over_backbones([0.05, 0.04, 0.03]).p < 0.05


def test_the_worked_example_over_backbones():
    test = stats.over_backbones(pd.Series([0.05, 0.03, 0.04, 0.01]))
    assert (test.difference, test.statistic) == (near(0.0325), near(3.806010))
    assert (test.p, test.df) == (near(0.031874), 3)
    assert (test.low, test.high) == (near(0.005325), near(0.059675))


@pytest.mark.parametrize(
    ("gains", "words"),
    [([0.3], "one split"), ([0.1, 0.1, 0.1], "3 equal gains"), ([0.1, math.nan], "1 of 2 gains")],
)
def test_without_spread_there_is_no_test_over_folds(gains, words):
    test = stats.nadeau_bengio(gains, 0.25)
    assert math.isnan(test.p) and math.isnan(test.low) and words in test.reason
    with pytest.raises(ValueError, match="`ratio` should be above 0"):
        stats.nadeau_bengio([0.1, 0.2], 0)


def test_the_ratio_of_test_to_training_counts_units_not_images():
    manifest = pd.DataFrame(
        {
            "unit": list("aabbcd"),
            "split_0": ["test", "test", "train", "train", "train", "val"],
            "split_1": ["train", "train", "test", "test", "test", "train"],
        }
    )
    assert stats.split_ratio(manifest, manifest["unit"]) == near((1 / 2 + 2 / 2) / 2)
    assert stats.split_ratio(manifest) == near((2 / 3 + 3 / 3) / 2)
    with pytest.raises(ValueError, match="`split_0` should have train and test"):
        stats.split_ratio(manifest.replace("test", "val"))
    with pytest.raises(ValueError, match="should have split_0"):
        stats.split_ratio(manifest[["unit"]])


# --- Bootstrap by patient -------------------------------------------------------------------------


def test_weights_of_one_return_the_gain():
    for predictions in (TWO, FOLDS, SEEDS, noisy()):
        for fold in stats.paired_folds(predictions, RIN, IMN):
            expected = gains.gain_components(fold)[0].mean()
            found = resampling.weighted_gains(fold, [np.ones((1, len(fold.y_true)))])
            assert found == [near(expected, 1e-15)]


def test_a_weight_of_two_is_the_image_twice():
    (fold,) = stats.paired_folds(noisy(n_folds=1), RIN, IMN)
    weights = np.random.default_rng(1).integers(0, 4, (5, len(fold.y_true)))
    for row, found in zip(weights, resampling.weighted_gains(fold, [weights]), strict=True):
        y, pairs = np.repeat(fold.y_true, row), zip(fold.a, fold.b, strict=True)
        tests = [stats.delong_test(y, *(np.repeat(s[0], row) for s in pair)) for pair in pairs]
        assert found == near(np.mean([test.difference for test in tests]), 1e-12)


def test_ranks_give_what_the_matrix_gives(monkeypatch):
    predictions = noisy()
    by_matrix = stats.patient_bootstrap(predictions, RIN, IMN, n_resamples=50)
    monkeypatch.setattr(resampling, "LARGEST", 0)
    assert stats.patient_bootstrap(predictions, RIN, IMN, n_resamples=50) == by_matrix


def test_small_blocks_draw_as_many_resamples_from_the_same_matrix(monkeypatch):
    predictions = noisy(n_folds=1)
    whole = stats.patient_bootstrap(predictions, RIN, IMN, n_resamples=400)
    monkeypatch.setattr(resampling, "BLOCK", 1)
    found = stats.patient_bootstrap(predictions, RIN, IMN, n_resamples=400)
    assert (found.n_valid, found.difference) == (400, whole.difference)
    assert (found.low, found.high) == (near(whole.low, 0.05), near(whole.high, 0.05))
    (fold,) = stats.paired_folds(predictions, RIN, IMN)
    ones = [np.ones((1, len(fold.y_true)))]
    assert resampling.weighted_gains(fold, ones) == [near(whole.difference, 1e-15)]


def test_patients_are_drawn_whole_and_within_their_stratum():
    (fold,) = stats.paired_folds(noisy(n_folds=1), RIN, IMN)
    (weights,) = resampling._draws(fold, 30, np.random.default_rng(0))
    frame = pd.DataFrame(weights.T).groupby(fold.group)
    assert (frame.nunique() == 1).all(axis=None)
    drawn = frame.first()
    positive = pd.Series(fold.y_true).groupby(fold.group).max() == 1
    for stratum in (positive, ~positive):
        assert (drawn[stratum].sum() == stratum.sum()).all()


def test_the_bootstrap_agrees_with_the_contrast():
    predictions = noisy(n=120, n_groups=100, n_folds=3, seed=3)
    predictions.loc[predictions.init == RIN, "y_score"] += 0.1 * predictions.y_true
    drawn = stats.patient_bootstrap(predictions, RIN, IMN, n_resamples=2000)
    found = stats.contrast(predictions, RIN, IMN)
    assert drawn.difference == near(found.difference, 1e-12)
    assert (drawn.low, drawn.high) == (near(found.low, 0.01), near(found.high, 0.01))
    assert drawn.p == near(found.p, 0.03) and drawn.n_valid == 2000


def test_the_bootstraps_p_counts_the_smaller_side():
    assert resampling._p(0, 1999) == 0.001
    assert resampling._p(49, 1999) == 0.05
    same = stats.patient_bootstrap(table(both(A, np.exp(A))), RIN, IMN, n_resamples=20)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_a_seed_repeats_a_bootstrap_and_another_does_not():
    one, again, other = (
        stats.patient_bootstrap(noisy(), RIN, IMN, n_resamples=50, seed=s) for s in (1, 1, 2)
    )
    assert one == again and one.low != other.low


def test_resamples_without_a_class_are_left_out_and_counted():
    mixed = table(both(A, B, groups=[0, 1, 2, 0, 1, 2]), both(A, B, fold=1))
    mixed = mixed[~((mixed.fold == 0) & (mixed["row"].isin([4, 5])))]
    drawn = stats.patient_bootstrap(mixed, RIN, IMN, n_resamples=200)
    assert 0 < drawn.n_valid < 200 and not math.isnan(drawn.p)
    certain = mixed.assign(y_score=mixed.y_true * np.where(mixed.init == RIN, 1, -1))
    found = stats.patient_bootstrap(certain, RIN, IMN, n_resamples=200)  # each gain is 1
    assert (found.difference, found.low, found.n_valid) == (1, 1, drawn.n_valid)
    assert found.p == near(2 / (found.n_valid + 1), 1e-12)
    one_class = table(ONE, both([0.9, 0.3], [0.8, 0.2], fold=1, y=[0, 0]))
    drawn = stats.patient_bootstrap(one_class, RIN, IMN, n_resamples=10)
    assert math.isnan(drawn.p) and drawn.reason == "only one class in folds [1]"


def test_the_bootstrap_refuses_no_resamples_and_odd_levels():
    with pytest.raises(ValueError, match="`n_resamples` should be ≥ 1"):
        stats.patient_bootstrap(ONE, RIN, IMN, n_resamples=0)
    with pytest.raises(ValueError, match="`level`"):
        stats.patient_bootstrap(ONE, RIN, IMN, level=95)
