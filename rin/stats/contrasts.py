"""The contrast: one difference, one interval and one P over all scenarios and folds."""

import math
from dataclasses import dataclass
from typing import Any

from rin.stats.cells import n_split_groups, paired_folds
from rin.stats.delong import ROUNDING, normal_quantile, normal_test, variance_of
from rin.stats.gains import gain_components


@dataclass(frozen=True)
class Contrast:
    """What `contrast` returns.

    Attributes:
        difference: mean of the folds' differences, a − b; `low` and `high` bound it, unclipped.
        variance: of the difference.
        z, p: normal, two-sided.
        degenerate: a difference without variance, hence P 0: not a finding.
        reason: empty unless a value is NaN or the variance is 0.
        caution: empty unless the variance is too small, because folds share groups.
        folds: DataFrame `fold`, `difference`, `variance`, `n_images`, `n_groups`.
        n_images: in all test sets; `n_groups`: different ones among them.
    """

    difference: float
    variance: float
    low: float
    high: float
    z: float
    p: float
    degenerate: bool
    reason: str
    caution: str
    folds: Any
    n_scenarios: int
    n_folds: int
    n_images: int
    n_groups: int


def contrast(predictions, a, b, by="init", level=0.95):
    """DeLong's test of two arms over all scenarios and all folds at once, clustered by group.

    AUC is linear in DeLong's components, so these are averaged over scenarios before a variance is
    taken: scenarios that share test images are not taken for independent. Folds count equally.
    It speaks of new patients, for these trained networks; training again is not in it.

    Args:
        predictions, a, b, by: as in `rin.stats.common_cells`.
        level: coverage of the interval, between 0 and 1.

    Returns:
        `Contrast`; NaN with a `reason` when no scenario counts, or a fold has fewer than two
        groups with a positive or with a negative image.

    Raises:
        ValueError: see `rin.stats.common_cells` and `rin.stats.paired_folds`; or an unusable
            `level`.

    Source: DeLong et al. 1988, doi:10.2307/2531595; Obuchowski 1997, doi:10.2307/2533958
    """
    return contrast_of(paired_folds(predictions, a, b, by), level)


def contrast_of(folds, level=0.95):
    """`contrast` of folds that are already side by side.

    Args:
        folds: list of `rin.stats.Fold`, all with the same scenarios.
        level: coverage of the interval, between 0 and 1.

    Returns:
        `Contrast`.
    """
    import pandas as pd

    columns = ["fold", "difference", "variance", "n_images", "n_groups"]
    found = [_of_fold(fold) for fold in folds]
    table = pd.DataFrame([row for row, _ in found], columns=columns)
    reasons = [reason for _, reason in found if reason]
    gain = float(table["difference"].mean(skipna=False)) if folds else math.nan
    variance = float(table["variance"].sum(skipna=False)) / len(folds) ** 2 if folds else math.nan
    if variance == 0 and abs(gain) < ROUNDING:
        gain = 0.0
    z, p = normal_test(gain, variance)
    half_width = normal_quantile(level) * math.sqrt(variance)
    reason = "; ".join(reasons) if folds else "no scenario has every fold in both arms"
    if variance == 0:
        reason = f"variance 0 with difference {gain:.6g}"
    bounds, test = (gain - half_width, gain + half_width), (z, p, math.isinf(z), reason)
    return Contrast(gain, variance, *bounds, *test, _caution(folds), table, *_counts(folds))


def _of_fold(fold):
    """`(row, reason)` of one fold."""
    d10, d01 = (side.mean(axis=0) for side in gain_components(fold))
    gain = float(d10.mean()) if len(d10) and len(d01) else math.nan
    variance, reason, n_groups = variance_of(fold.y_true, d10, d01, gain, fold.group)
    reason = f"fold {fold.name}: {reason.replace('patients', 'groups')}" if reason else ""
    return (fold.name, gain, variance, len(fold.y_true), n_groups), reason


def _caution(folds):
    n = n_split_groups(folds)
    return f"{n} groups are in several folds: the variance is too small" if n else ""


def _counts(folds):
    """Scenarios, folds, images and different groups."""
    n_images = sum(len(fold.y_true) for fold in folds)
    n_groups = len(set().union(*(fold.group for fold in folds)))
    return len(folds[0].scenarios) if folds else 0, len(folds), n_images, n_groups
