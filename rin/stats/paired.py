"""Tests of pairs: t, Wilcoxon, normality of the differences, and equality of spreads."""

import math
from dataclasses import dataclass

import numpy as np

from rin.stats.checks import finite, usable_level


@dataclass(frozen=True)
class PairedT:
    """What `paired_t` returns; `low` and `high` bound the mean difference."""

    statistic: float
    p: float
    low: float
    high: float
    difference: float
    df: int


@dataclass(frozen=True)
class Shapiro:
    """What `shapiro` returns."""

    statistic: float
    p: float


@dataclass(frozen=True)
class Wilcoxon:
    """What `wilcoxon` returns; `exact` says whether P comes from all signs or from the normal."""

    statistic: float
    p: float
    exact: bool


@dataclass(frozen=True)
class PitmanMorgan:
    """What `pitman_morgan` returns; `r` and `statistic` are above 0 when `x` varies more."""

    statistic: float
    p: float
    r: float
    df: int


def paired_t(x, y, level=0.95):
    """Paired t test of `x` − `y`.

    Args:
        x, y: `(n,)` finite floats, one a unit (patient or duplicate group), in the same order.
        level: coverage of the interval, between 0 and 1.

    Returns:
        `PairedT`. Differences without spread (beyond rounding): NaN everywhere but `difference`
        and `df`.

    Raises:
        ValueError: lengths differ, fewer than two pairs, or a value is not finite.

    >>> round(paired_t([0.1, 0.3, 0.2], [0.0, 0.1, 0.1]).statistic, 6)
    4.0
    """
    from scipy.special import stdtr, stdtrit

    x, y = _pairs(x, y, at_least=2)
    gaps, df = x - y, len(x) - 1
    mean, se = float(gaps.mean()), float(gaps.std(ddof=1)) / math.sqrt(len(x))
    if se <= 4 * np.finfo(float).eps * max(np.abs(x).max(), np.abs(y).max()):
        return PairedT(math.nan, math.nan, math.nan, math.nan, mean, df)
    half_width = float(stdtrit(df, (1 + usable_level(level)) / 2)) * se
    p = float(2 * stdtr(df, -abs(mean / se)))
    return PairedT(mean / se, p, mean - half_width, mean + half_width, mean, df)


def shapiro(x):
    """Shapiro and Wilk's test of normality.

    Args:
        x: `(n,)` finite floats, n ≥ 3; past 5000 SciPy warns that P is approximate.

    Returns:
        `Shapiro`; NaN when all values are equal.

    Raises:
        ValueError: fewer than three values, or one is not finite.

    Source: Shapiro & Wilk 1965, doi:10.1093/biomet/52.3-4.591

    >>> round(shapiro([0.1, 0.2, 0.4, 0.8]).statistic, 3)
    0.92
    """
    from scipy.stats import shapiro as test

    x = finite("x", x)
    if len(x) < 3:
        raise ValueError(f"`x` should have 3 or more values. Received: {len(x)}")
    if np.ptp(x) == 0:
        return Shapiro(math.nan, math.nan)
    result = test(x)
    return Shapiro(float(result.statistic), float(result.pvalue))


def wilcoxon(x, y):
    """Wilcoxon's signed-rank test of `x` − `y`, two-sided, as R's `wilcox.test` has it.

    Pairs without a difference are dropped. P is exact for fewer than 50 pairs without ties or
    zeros; otherwise from the normal distribution, with continuity correction.

    Args:
        x, y: `(n,)` finite floats, one a unit, in the same order.

    Returns:
        `Wilcoxon`: `statistic` is R's V, the sum of the ranks of positive differences; NaN when
        all pairs are equal.

    Raises:
        ValueError: lengths differ, no pair, or a value is not finite.

    Source: Wilcoxon 1945, doi:10.2307/3001968

    >>> wilcoxon([0.3, 0.1, 0.5], [0.1, 0.2, 0.1])
    Wilcoxon(statistic=5.0, p=0.5, exact=True)
    """
    from scipy.stats import rankdata
    from scipy.stats import wilcoxon as test

    x, y = _pairs(x, y, at_least=1)
    gains = (x - y)[x != y]
    if len(gains) == 0:
        return Wilcoxon(math.nan, math.nan, False)
    distinct = len(np.unique(np.abs(gains))) == len(gains)
    exact = len(gains) < 50 and distinct and len(gains) == len(x)
    method = "exact" if exact else "approx"
    p = float(test(gains, method=method, correction=True).pvalue)
    return Wilcoxon(float(rankdata(np.abs(gains))[gains > 0].sum()), p, exact)


def pitman_morgan(x, y):
    """Test whether paired `x` and `y` have the same variance: is x + y correlated with x − y?

    Assumes normal pairs that are independent of each other. Scenarios share test images, so a P
    over scenarios is exploratory.

    Args:
        x, y: `(n,)` finite floats, n ≥ 3, one a unit, in the same order.

    Returns:
        `PitmanMorgan`: t on n − 2 degrees of freedom; NaN when the sums or the differences do not
        vary. P 0 where they lie on one line: no finding.

    Raises:
        ValueError: lengths differ, fewer than three pairs, or a value is not finite.

    Source: Pitman 1939, doi:10.1093/biomet/31.1-2.9; Morgan 1939, doi:10.1093/biomet/31.1-2.13

    >>> test = pitman_morgan([1, 2, 4, 5], [2, 3, 3, 4])
    >>> round(test.statistic, 6), round(test.r, 6)
    (2.828427, 0.894427)
    """
    from scipy.special import stdtr

    x, y = _pairs(x, y, at_least=3)
    total, gain, df = x + y, x - y, len(x) - 2
    if min(np.ptp(total), np.ptp(gain)) <= 4 * np.finfo(float).eps * np.abs([x, y]).max():
        return PitmanMorgan(math.nan, math.nan, math.nan, df)
    r = float(np.clip(np.corrcoef(total, gain)[0, 1], -1, 1))
    t = r * math.sqrt(df / (1 - r**2)) if abs(r) < 1 else math.copysign(math.inf, r)
    return PitmanMorgan(t, float(2 * stdtr(df, -abs(t))), r, df)


def _pairs(x, y, at_least):
    x, y = finite("x", x), finite("y", y)
    if len(x) != len(y) or len(x) < at_least:
        counts = f"{len(x)} and {len(y)}"
        raise ValueError(f"`x` and `y` should be {at_least} or more pairs. Received: {counts}")
    return x, y
