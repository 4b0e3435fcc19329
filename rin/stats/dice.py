"""Dice of two arms: averaged over scenarios, then within groups, and tested over groups."""

import math
from dataclasses import dataclass

from rin.stats.checks import require_columns
from rin.stats.paired import PairedT, Shapiro, Wilcoxon, paired_t, shapiro, wilcoxon
from rin.stats.roc import mean_sd

NEEDED = ["group", "row", "scenario"]
SCORES = ["dice_a", "dice_b"]


@dataclass(frozen=True)
class DiceTest:
    """What `dice_test` returns; the difference is a − b.

    Attributes:
        mean_a, mean_b: mean over groups of each arm's Dice.
        difference: mean over groups; `low` and `high` bound it.
        t, normality, signed_rank: paired t over groups, Shapiro on its differences (NaN below
            three groups), and Wilcoxon.
        sd_scenarios_a, sd_scenarios_b: SD over the means of scenarios, over images: how much
            settings differ.
        sd_groups_a, sd_groups_b: SD over groups, over scenarios: how much patients differ.
        n_left_out: images without a mask, hence without a Dice.
        n_incomplete: images that some scenario lacks, as where only correct cells are kept.
        reason: empty unless there is no test.
    """

    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    t: PairedT
    normality: Shapiro
    signed_rank: Wilcoxon
    sd_scenarios_a: float
    sd_scenarios_b: float
    sd_groups_a: float
    sd_groups_b: float
    n_images: int
    n_groups: int
    n_scenarios: int
    n_left_out: int
    n_incomplete: int
    reason: str


def dice_test(table, level=0.95):
    """Compare the Dice of two arms: is one arm's map nearer to the lesion?

    An image is tested once in each scenario, and groups have several images, so neither is a unit:
    Dice is averaged over the scenarios of an image, then over the images of a group.

    Args:
        table: DataFrame, one row an image and scenario: `group`, `row` (the image), `scenario`,
            `dice_a`, `dice_b` in [0, 1], or in [−1, 1] less what chance gives. NaN in both: the
            mask is empty, and the image is left out and counted. Several
            rows of one image and scenario (seeds) are averaged. For "correct only", pass the rows
            in which both arms are right.
        level: coverage of the interval, between 0 and 1.

    Returns:
        `DiceTest`; NaN with a `reason` for fewer than two groups.

    Raises:
        ValueError: a column or value is missing, a Dice is outside [−1, 1], only one arm has a
            Dice, an image is in two groups, or it has a mask in some rows only.

    Source: Mei et al. 2022, doi:10.1148/ryai.210315, has paired t after Shapiro, over images
    """
    _check(table)
    known = table.dropna(subset=SCORES)
    cells = known.groupby(NEEDED, observed=True)[SCORES].mean().reset_index()
    images = cells.groupby(["group", "row"], observed=True)[SCORES].mean()
    n_scenarios = cells["scenario"].nunique()
    incomplete = cells.groupby("row", observed=True).size() < n_scenarios
    groups = images.groupby("group", observed=True).mean()
    scenarios = cells.groupby("scenario", observed=True)[SCORES].mean()
    spread = [mean_sd(frame[name])[1] for frame in (scenarios, groups) for name in SCORES]
    n_left_out = table["row"].nunique() - len(images)
    counts = len(images), len(groups), n_scenarios, n_left_out, int(incomplete.sum())
    means = [mean_sd(groups[name])[0] for name in SCORES]
    tests = _tests(groups, level)
    return DiceTest(*means, *tests, *spread, *counts, _reason(groups, tests[3].p))


def _tests(groups, level):
    """Difference, bounds, t, Shapiro and Wilcoxon over groups."""
    a, b = (groups[name].to_numpy() for name in SCORES)
    t, normality = PairedT(*[math.nan] * 5, 0), Shapiro(math.nan, math.nan)
    signed_rank = Wilcoxon(math.nan, math.nan, False)
    if len(groups) >= 2:
        t, signed_rank = paired_t(a, b, level), wilcoxon(a, b)
    if len(groups) >= 3:
        normality = shapiro(a - b)
    return mean_sd(a - b)[0], t.low, t.high, t, normality, signed_rank


def _reason(groups, p):
    if len(groups) < 2:
        return f"too few groups with a mask: {len(groups)}; 2 needed"
    return "the arms differ alike in every group" if math.isnan(p) else ""


def _check(table):
    require_columns(table, NEEDED)
    absent = [name for name in SCORES if name not in table]
    if absent:
        raise ValueError(f"the table should have {[*NEEDED, *SCORES]}. Received: no {absent}")
    if table[SCORES].abs().gt(1).any(axis=None):
        low, high = table[SCORES].min(axis=None), table[SCORES].max(axis=None)
        raise ValueError(f"Dice should be in [−1, 1]. Received: {low:g} to {high:g}")
    empty = table[SCORES].isna()
    if (empty["dice_a"] != empty["dice_b"]).any():
        raise ValueError("`dice_a` and `dice_b` should be NaN together: they share the mask")
    rows = table["row"]
    for what, values in (("group", table["group"]), ("mask or none", empty["dice_a"])):
        n = int((values.groupby(rows, observed=True).nunique() > 1).sum())
        if n:
            raise ValueError(f"an image should have one {what}. Received: {n} images with several")
