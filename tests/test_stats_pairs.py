"""Wilcoxon, Pitman and Morgan, Dice, calibration, and the verdict's words."""

import math

import numpy as np
import pandas as pd
import pytest
from test_stats import FROZEN, SHARED, near, reference

from rin import stats

pytestmark = pytest.mark.filterwarnings("error")

# --- Wilcoxon -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [FROZEN, SHARED], ids=["frozen", "shared"])
def test_wilcoxon_agrees_with_r(path):
    for row in reference(path)["paired"]:
        if "wilcoxon_p" not in row["r"]:
            pytest.skip(f"{path.name} holds no Wilcoxon test")
        found = stats.wilcoxon(row["x"], row["y"])
        assert found.p == near(row["r"]["wilcoxon_p"], 1e-8), row["name"]
        assert found.exact == (len(row["x"]) < 50)


def test_wilcoxon_is_exact_only_without_ties_or_zeros_and_below_fifty():
    x = np.arange(1, 51) * np.where(np.arange(50) % 3, 1, -1) / 7
    assert stats.wilcoxon(x[:49], np.zeros(49)).exact
    assert not stats.wilcoxon(x, np.zeros(50)).exact
    assert not stats.wilcoxon([1, 2, 2], [0, 0, 0]).exact
    assert not stats.wilcoxon([1, 2, 0], [0, 0, 0]).exact


def test_wilcoxon_with_a_tie_and_a_zero_by_hand():
    found = stats.wilcoxon([1, 0, 3, 3, 5], [0, 2, 0, 0, 5])  # ranks 1, 2, 3.5, 3.5
    z = (8 - 5 - 0.5) / math.sqrt(4 * 5 * 9 / 24 - (2**3 - 2) / 48)
    assert found.statistic == 8 and found.p == near(math.erfc(z / math.sqrt(2)), 1e-12)


def test_wilcoxon_without_differences_is_nan_and_refuses_bad_pairs():
    assert math.isnan(stats.wilcoxon([1, 2], [1, 2]).p)
    for x, y in (([], []), ([1, 2], [1])):
        with pytest.raises(ValueError, match="1 or more pairs"):
            stats.wilcoxon(x, y)


# --- Equal spreads --------------------------------------------------------------------------------


def test_pitman_and_morgan_is_the_correlation_of_sum_and_difference():
    from scipy.stats import pearsonr

    x, y = np.random.default_rng(0).normal(size=(2, 24)) * [[2], [1]] + 0.7
    found, expected = stats.pitman_morgan(x, y), pearsonr(x + y, x - y)
    assert (found.r, found.p) == (near(expected.statistic, 1e-12), near(expected.pvalue, 1e-12))
    assert found.statistic > 0 and found.df == 22


def test_pitman_and_morgan_by_hand():
    found = stats.pitman_morgan([1, 2, 4, 5], [2, 3, 3, 4])  # sums 3 5 7 9, differences −1 −1 1 1
    assert (found.r, found.statistic) == (near(8 / math.sqrt(80)), near(math.sqrt(8)))
    turned = stats.pitman_morgan([2, 3, 3, 4], [1, 2, 4, 5])
    assert (turned.statistic, turned.p) == (near(-math.sqrt(8)), near(found.p))


def test_pitman_and_morgan_knows_nothing_of_a_constant_shift():
    found = stats.pitman_morgan([1.1, 2.2, 3.3], [0.1, 1.2, 2.3])
    assert math.isnan(found.p) and found.df == 1
    with pytest.raises(ValueError, match="3 or more pairs"):
        stats.pitman_morgan([1, 2], [2, 3])


# --- Dice -----------------------------------------------------------------------------------------


def dices(gains=(0.1, 0.3, 0.05, -0.02), groups="ggab", base=0.3, scenarios=("s", "t")):
    """Dice of two arms whose means over scenarios differ by `gains`, an image each."""
    rows = []
    bases = np.broadcast_to(base, len(gains))
    for row, (gain, group, base) in enumerate(zip(gains, groups, bases, strict=True)):
        for i, scenario in enumerate(scenarios):
            shift = 0.02 * (2 * i - len(scenarios) + 1)
            facts = {"row": row, "group": group, "scenario": scenario}
            rows.append(facts | {"dice_a": base + gain + shift, "dice_b": base - shift})
    return pd.DataFrame(rows)


def test_the_worked_dice_is_tested_over_groups():
    test = stats.dice_test(dices())
    assert (test.t.statistic, test.t.df, test.t.p) == (near(1.181431), 2, near(0.358881))
    assert test.difference == near(0.23 / 3)
    assert (test.low, test.high) == (test.t.low, test.t.high)
    assert (test.signed_rank.statistic, test.signed_rank.p) == (5, near(0.5))
    assert test.normality.p == near(stats.shapiro([0.2, 0.05, -0.02]).p)
    assert (test.n_images, test.n_groups, test.n_scenarios) == (4, 3, 2)
    assert (test.n_left_out, test.n_incomplete, test.reason) == (0, 0, "")
    uneven = stats.dice_test(dices(base=(0.3, 0.3, 0.5, 0.1)))  # a alone is spread otherwise
    assert uneven.normality.p == near(test.normality.p)
    by_image = stats.dice_test(dices(groups="ghab"))
    assert (by_image.t.statistic, by_image.t.p) == (near(1.564240), near(0.215718))


def test_both_spreads_of_dice_are_named():
    test = stats.dice_test(dices())
    assert test.mean_a == near(0.3 + 0.23 / 3) and test.mean_b == near(0.3)
    assert test.sd_scenarios_a == near(0.04 / math.sqrt(2))
    assert test.sd_scenarios_b == near(0.04 / math.sqrt(2))
    assert test.sd_groups_a == near(np.std([0.2, 0.05, -0.02], ddof=1))
    assert test.sd_groups_b == near(0)


def test_images_without_a_mask_are_left_out_and_counted():
    table = dices((0.1, 0.3, 0.05, -0.02, 0.4), "ggabc")
    table.loc[table["row"] == 4, ["dice_a", "dice_b"]] = math.nan
    test = stats.dice_test(table)
    assert (test.n_images, test.n_left_out) == (4, 1) and test.t.p == near(0.358881)


def test_a_blank_map_counts_as_zero():
    table = dices()
    table.loc[table["row"] == 3, "dice_a"] = 0
    assert stats.dice_test(table).difference == near((0.2 + 0.05 - 0.3) / 3)


def test_seeds_of_dice_are_averaged_first():
    table = dices()
    wobbled = [table.assign(seed=s, dice_a=table.dice_a + d) for s, d in ((0, 0.05), (1, -0.05))]
    lone = table[table["scenario"] == "t"].assign(seed=0)
    whole = stats.dice_test(pd.concat([*wobbled, lone]))
    assert whole.t.p == near(0.358881)


def test_correct_cells_only_says_how_many_images_lack_some():
    table = dices()
    test = stats.dice_test(table.drop(index=[0, 5]))
    assert (test.n_images, test.n_incomplete) == (4, 2)


def test_dice_is_averaged_over_an_images_cells_before_its_group():
    test = stats.dice_test(dices().drop(index=[0]))  # image 0 keeps 0.14, image 1 has 0.3
    assert test.difference == near(((0.14 + 0.3) / 2 + 0.05 - 0.02) / 3)


def test_one_group_gives_no_dice_test():
    test = stats.dice_test(dices(groups="gggg"))
    assert math.isnan(test.t.p) and test.reason == "too few groups with a mask: 1; 2 needed"
    assert test.difference == near(0.1075)
    two = stats.dice_test(dices(groups="ggaa"))
    assert not math.isnan(two.t.p) and math.isnan(two.normality.p)
    none = stats.dice_test(dices().assign(dice_a=math.nan, dice_b=math.nan))
    assert (none.n_images, none.n_left_out) == (0, 4) and math.isnan(none.difference)


@pytest.mark.parametrize("gain", [0, 0.125])
def test_arms_that_differ_alike_in_every_group_have_no_dice_test(gain):
    test = stats.dice_test(dices([gain] * 4))
    assert test.difference == near(gain) and math.isnan(test.t.p) and math.isnan(test.low)
    assert test.reason == "the arms differ alike in every group"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dice_a": 1.2}, "Dice should be in \\[−1, 1\\]. Received: 0.28 to 1.2"),
        ({"dice_a": math.nan}, "NaN together"),
        ({"group": None}, "gaps in \\['group'\\]"),
        ({"group": list("gxgggggg")}, "one group. Received: 1 images"),
    ],
)
def test_dice_that_cannot_be_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        stats.dice_test(dices(groups="gggg").assign(**change))


def test_dice_without_its_columns_or_with_half_a_mask_is_refused():
    with pytest.raises(ValueError, match="no \\['dice_b'\\]"):
        stats.dice_test(dices().drop(columns="dice_b"))
    table = dices()
    table.loc[0, ["dice_a", "dice_b"]] = math.nan
    with pytest.raises(ValueError, match="one mask or none. Received: 1 images"):
        stats.dice_test(table)


# --- Calibration ----------------------------------------------------------------------------------


def drawn_with(slope, intercept, n=20_000):
    """Labels whose log odds are intercept + slope × the logit of their scores."""
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 1.5, n)
    y = rng.uniform(size=n) < 1 / (1 + np.exp(-intercept - slope * logit))
    return y.astype(int), 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.5, 0.4), (1.5, -0.3)])
def test_calibration_finds_what_the_scores_were_made_with(slope, intercept):
    found = stats.calibration(*drawn_with(slope, intercept))
    assert found.slope_low < slope < found.slope_high
    assert found.intercept_low < intercept < found.intercept_high
    assert found.slope_high - found.slope_low < 0.15 and found.n_clipped == 0


def test_calibration_of_two_scores_by_hand():
    scores = np.repeat([0.2, 0.8], 8)
    y = [1] * 2 + [0] * 6 + [1] * 6 + [0] * 2  # a quarter, three quarters
    found = stats.calibration(y, scores)
    assert found.slope == near(math.log(3) / math.log(4)) and found.intercept == near(0)
    assert found.in_the_large == near(0)


def test_calibration_in_the_large_equals_expected_and_observed():
    y, score = drawn_with(1, 0.7, n=2000)
    shift = stats.calibration(y, score).in_the_large
    moved = 1 / (1 + np.exp(-np.log(score / (1 - score)) - shift))
    assert moved.mean() == near(y.mean()) and shift == near(0.7, 0.2)


def test_scores_of_zero_and_one_are_clipped_and_counted():
    y, score = drawn_with(1, 0, n=200)
    score[:2] = 0, 1
    found = stats.calibration(y, score)
    assert found.n_clipped == 2 and np.isfinite(found.slope)


def test_scores_of_a_sure_network_have_a_slope_and_an_intercept_too():
    y, score = drawn_with(1, 0, n=400)
    extreme = 1 / (1 + np.exp(-12 * np.log(score / (1 - score))))  # most lie beyond 1e-7
    found = stats.calibration(y, extreme)
    assert 0.05 < found.slope_low < found.slope_high < 0.2 and found.n_clipped > 50
    shifted = np.log(np.clip(extreme, 1e-7, 1 - 1e-7) / np.clip(1 - extreme, 1e-7, 1))
    assert (1 / (1 + np.exp(-shifted - found.in_the_large))).mean() == near(y.mean(), 1e-6)


def test_every_image_twice_in_a_patient_does_not_narrow_calibration():
    y, score = drawn_with(1, 0, n=300)
    twice = np.tile(y, 2), np.tile(score, 2)
    once = stats.calibration(y, score, patients=range(300))
    clustered = stats.calibration(*twice, patients=np.tile(np.arange(300), 2))
    naive = stats.calibration(*twice)
    assert clustered.slope == near(once.slope)
    for name in ("slope_high", "intercept_high", "in_the_large_high"):
        assert getattr(clustered, name) == near(getattr(once, name), 0.01)
        assert getattr(naive, name) < getattr(once, name) - 0.01
    with pytest.raises(ValueError, match="`patients` should be three or more. Received: 1"):
        stats.calibration(y, score, patients=["p"] * 300)


NEARLY = np.r_[np.linspace(0.1, 0.5 - 1e-3, 30), 0.5]  # one pair in the wrong order, by 1e-9


@pytest.mark.parametrize(
    ("y", "score", "words"),
    [
        ([1, 1], [0.2, 0.3], "both classes. Received: 2 positive, 0 negative"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], "should not separate the classes"),
        ([0, 0, 1, 1], [0.9, 0.4, 0.4, 0.1], "should not separate the classes"),
        ([0, 0, 1, 1], [0.5] * 4, "nor be constant"),
        ([0] * 31 + [1] * 30, [*NEARLY, *(1 - NEARLY[:29]), 0.5 - 1e-9], "did not converge"),
        ([0, 1, 0, 1], [0.5, 1.2, 0.1, 0.1], "probabilities in \\[0, 1\\]"),
    ],
)
def test_calibration_refuses_what_has_no_slope(y, score, words):
    with pytest.raises(ValueError, match=words):
        stats.calibration(y, score)


@pytest.mark.parametrize(
    ("test", "what"),
    [
        (lambda level: stats.paired_t([0.2, 0.05, 0], [0, 0, 0.02], level), ""),
        (lambda level: stats.dice_test(dices(), level), ""),
        *[
            (lambda level: stats.calibration(*drawn_with(1, 0, n=200), level), what)
            for what in ("slope_", "intercept_", "in_the_large_")
        ],
    ],
    ids=["paired_t", "dice_test", "slope", "intercept", "in_the_large"],
)
def test_a_lower_level_gives_a_narrower_interval(test, what):
    wide, narrow = test(0.95), test(0.5)
    assert getattr(wide, what + "low") < getattr(narrow, what + "low")
    assert getattr(narrow, what + "low") < getattr(narrow, what + "high")
    assert getattr(narrow, what + "high") < getattr(wide, what + "high")


# --- The verdict ----------------------------------------------------------------------------------

CLAIM = "shown for {N}; suggested for "
NAMES = {"N": "these networks", "S": "other training sets", "B": "other backbones"}


@pytest.mark.parametrize(
    ("p", "folds", "backbones", "words"),
    [
        (0.01, 0.03, 0.04, CLAIM + "{S} and {B}"),
        (0.01, 0.03, 0.2, CLAIM + "{S}; not shown for {B}"),
        (0.01, 0.2, 0.01, "shown for {N}; not shown for {S} and {B}"),
        (0.01, None, 0.03, CLAIM + "{B}; not available for {S}"),
        (0.01, None, 0.3, "shown for {N}; not shown for {B}; not available for {S}"),
        (0.01, 0.2, None, "shown for {N}; not shown for {S}; not available for {B}"),
        (0.01, None, None, "shown for {N}; not available for {S} and {B}"),
        (0.05, 0.001, 0.001, "not shown"),
        (1, None, None, "not shown"),
        (math.nan, 0.001, 0.001, "not available"),
    ],
)
def test_the_verdict_follows_the_rule(p, folds, backbones, words):
    assert stats.verdict(p, folds, backbones) == words.format(**NAMES)


def test_the_verdict_takes_results_as_they_come():
    folds = stats.nadeau_bengio([0.04, 0.06, 0.01, 0.05, 0.03], ratio=72 / 247)
    backbones = stats.over_backbones([0.05, 0.03, 0.04, 0.01])
    assert stats.verdict(0.01, folds, backbones) == stats.verdict(0.01, 0.04, 0.03)
    assert stats.verdict(0.01, stats.nadeau_bengio([0.1], 0.3), backbones) == stats.verdict(
        0.01, None, 0.03
    )


def test_a_higher_level_asks_for_a_smaller_p_of_every_test():
    assert stats.verdict(0.03, level=0.99) == "not shown"
    words = "shown for {N}; not shown for {S} and {B}".format(**NAMES)
    assert stats.verdict(0.005, 0.03, 0.005, level=0.99) == words
    assert stats.verdict(0.07, 0.07, 0.07, level=0.9) == stats.verdict(0.01, 0.01, 0.01)


def test_a_difference_without_variance_is_no_finding():
    words = stats.verdict(0, 0.01, 0.01, degenerate=True)
    assert words == "not available: a difference without variance is no finding"


def test_the_verdict_refuses_what_is_no_p():
    with pytest.raises(ValueError, match="`backbones` should be a P value"):
        stats.verdict(0.01, 0.01, 1.5)
    with pytest.raises(ValueError, match="`contrast_p_holm` should be a P value"):
        stats.verdict(-1)
