"""Statistics: DeLong intervals and tests, t tests, Holm, averaged ROC curves, scenario AUCs.

Every function takes labels and scores (or tables of them) and never a model. Here X are the
scores of positive images and Y those of negative ones; m and n are their numbers; "patient" is
any group whose images must be kept together.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

# pandas, scipy, scikit-learn and statsmodels together take seconds to import, so each is imported
# where it is used.

ROUNDING = 1e-13  # a variance this much smaller than its own terms is rounding, hence 0


@dataclass(frozen=True)
class AucInterval:
    """What `auc_ci` returns; `reason` is empty unless a value is NaN or degenerate."""

    auc: float
    low: float
    high: float
    variance: float
    degenerate: bool
    reason: str
    n_images: int
    n_patients: int | None


@dataclass(frozen=True)
class DelongTest:
    """What `delong_test` returns; `difference` is A − B, `reason` as in `AucInterval`."""

    auc_a: float
    auc_b: float
    difference: float
    variance: float
    low: float
    high: float
    z: float
    p: float
    degenerate: bool
    reason: str
    n_images: int
    n_patients: int | None


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
class UnpairedT:
    """What `unpaired_t_interval` returns."""

    difference: float
    low: float
    high: float
    p: float
    half_width: float


def components(y_true, y_score):
    """AUC and DeLong's structural components, by mid-ranks in O(n log n).

    Args:
        y_true: `(m + n,)` ints in {0, 1}; 1 is disease.
        y_score: `(m + n,)` finite floats; larger means more diseased.

    Returns:
        `(auc, v10, v01)`: float; `(m,)` share of negatives that each positive beats; `(n,)` share
        of positives that beat each negative. Both in [0, 1] and in input order; a tie counts one
        half. All NaN when one class is missing.

    Raises:
        ValueError: lengths differ, a score is not finite, or a label is not 0 or 1.

    Source: DeLong et al. 1988, doi:10.2307/2531595; Sun & Xu 2014, doi:10.1109/LSP.2014.2337313

    >>> auc, v10, v01 = components([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> auc, v10.tolist(), v01.tolist()
    (0.75, [0.5, 1.0], [1.0, 0.5])
    """
    y_true, y_score = checked(y_true, y_score=y_score)
    positive, negative = y_score[y_true == 1], y_score[y_true == 0]
    m, n = len(positive), len(negative)
    if m == 0 or n == 0:
        return math.nan, np.full(m, np.nan), np.full(n, np.nan)
    above = _twice_below(positive, negative)
    below = 2 * m - _twice_below(negative, positive)
    return float(above.sum() / (2 * m * n)), above / (2 * n), below / (2 * m)


def auc_ci(y_true, y_score, level=0.95, patients=None):
    """AUC with its DeLong interval, clustered by patient when patients are given.

    An AUC of 0 or 1, or all-equal scores, give variance 0 and an interval of no width, flagged
    `degenerate`: the method has nothing more to say, which is not certainty.

    Args:
        y_true: `(n,)` ints in {0, 1}.
        y_score: `(n,)` finite floats.
        level: coverage, between 0 and 1.
        patients: `(n,)` hashables, one an image; None when each image is its own patient.

    Returns:
        `AucInterval`, bounds clipped to [0, 1]. With fewer than two positives or two negatives
        (patients who have one, when patients are given) the interval is NaN and `reason` says so.

    Raises:
        ValueError: see `components`; or `level` or `patients` is unusable.

    Source: DeLong et al. 1988, doi:10.2307/2531595; Obuchowski 1997, doi:10.2307/2533958

    >>> interval = auc_ci([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.4, 0.5, 0.3, 0.2])
    >>> round(interval.auc, 6), round(interval.low, 6), interval.high
    (0.888889, 0.58091, 1.0)
    """
    y_true, y_score = checked(y_true, y_score=y_score)
    auc, v10, v01 = components(y_true, y_score)
    variance, reason, n_patients = _variance(y_true, v10, v01, auc, patients)
    half_width = _normal_quantile(level) * math.sqrt(variance)
    low, high = (float(np.clip(auc + side * half_width, 0, 1)) for side in (-1, 1))
    degenerate = variance == 0
    if degenerate:
        reason = f"variance 0 at AUC {auc:.6g}"
    return AucInterval(auc, low, high, variance, degenerate, reason, len(y_true), n_patients)


def delong_test(y_true, score_a, score_b, patients=None, level=0.95):
    """Test whether two scores of the same images have the same AUC.

    Args:
        y_true: `(n,)` ints in {0, 1}.
        score_a, score_b: `(n,)` finite floats of the same images in the same order.
        patients: `(n,)` hashables, one an image; needed wherever a patient has several images.
        level: coverage of the interval, between 0 and 1.

    Returns:
        `DelongTest`. The interval of the difference is not clipped. No difference and no variance:
        z 0, P 1. A difference without variance: z infinite, P 0, and `degenerate`, which is not a
        finding. Too few images or patients: NaN with a `reason`.

    Raises:
        ValueError: see `components`; or `level` or `patients` is unusable.

    Source: DeLong et al. 1988, doi:10.2307/2531595; Obuchowski 1997, doi:10.2307/2533958

    >>> y = [1, 1, 1, 0, 0, 0]
    >>> test = delong_test(y, [0.9, 0.8, 0.4, 0.5, 0.3, 0.2], [0.7, 0.6, 0.3, 0.65, 0.4, 0.1])
    >>> round(test.difference, 6), round(test.z, 6), round(test.p, 6)
    (0.222222, 1.414214, 0.157299)
    """
    y_true, score_a, score_b = checked(y_true, score_a=score_a, score_b=score_b)
    auc_a, a10, a01 = components(y_true, score_a)
    auc_b, b10, b01 = components(y_true, score_b)
    gain = auc_a - auc_b
    variance, reason, n_patients = _variance(y_true, a10 - b10, a01 - b01, gain, patients)
    if variance == 0 and abs(gain) < ROUNDING:
        gain = 0.0
    z, p = _normal_test(gain, variance)
    degenerate = math.isinf(z)
    if variance == 0:
        reason = f"variance 0 with difference {gain:.6g}"
    half_width = _normal_quantile(level) * math.sqrt(variance)
    bounds = gain - half_width, gain + half_width
    counts = len(y_true), n_patients
    return DelongTest(auc_a, auc_b, gain, variance, *bounds, z, p, degenerate, reason, *counts)


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

    x, y = _finite("x", x), _finite("y", y)
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"`x` and `y` should be 2 or more pairs. Received: {len(x)} and {len(y)}")
    gaps, df = x - y, len(x) - 1
    mean, se = float(gaps.mean()), float(gaps.std(ddof=1)) / math.sqrt(len(x))
    if se <= 4 * np.finfo(float).eps * max(np.abs(x).max(), np.abs(y).max()):
        return PairedT(math.nan, math.nan, math.nan, math.nan, mean, df)
    half_width = float(stdtrit(df, (1 + _level(level)) / 2)) * se
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

    x = _finite("x", x)
    if len(x) < 3:
        raise ValueError(f"`x` should have 3 or more values. Received: {len(x)}")
    if np.ptp(x) == 0:
        return Shapiro(math.nan, math.nan)
    result = test(x)
    return Shapiro(float(result.statistic), float(result.pvalue))


def unpaired_t_interval(mean_a, sd_a, mean_b, sd_b, n, level=0.95):
    """Interval of A − B as the paper has it: two-sample t over two sets of n AUCs.

    It reproduces the published intervals to rounding. It ignores that the settings are paired and
    takes them, all on one test set, for independent: show it as published, not as evidence.

    Args:
        mean_a, mean_b: mean AUCs; any unit, the same for all four numbers.
        sd_a, sd_b: standard deviations (ddof 1) of the AUCs, ≥ 0.
        n: AUCs in each set, ≥ 2; the paper has 24, so 46 degrees of freedom.
        level: coverage, between 0 and 1.

    Returns:
        `UnpairedT` in the unit of the means; P is NaN when both SDs are 0.

    Raises:
        ValueError: `n` below 2 or a negative SD.

    Source: Mei et al. 2022, doi:10.1148/ryai.210315; the formula was found from its numbers

    >>> round(unpaired_t_interval(85, 9, 76, 14, n=24).half_width, 2)
    6.84
    """
    from scipy.special import stdtr, stdtrit

    if n < 2 or not (sd_a >= 0 and sd_b >= 0):
        raise ValueError(f"`n` should be ≥ 2, SDs ≥ 0. Received: n={n}, SDs {sd_a} and {sd_b}")
    gain, df = mean_a - mean_b, 2 * n - 2
    se = math.sqrt((sd_a**2 + sd_b**2) / n)
    half_width = float(stdtrit(df, (1 + _level(level)) / 2)) * se
    p = float(2 * stdtr(df, -abs(gain / se))) if se else math.nan
    return UnpairedT(gain, gain - half_width, gain + half_width, p, half_width)


def holm(p_values, m=None):
    """Holm's adjusted P values within a family of fixed size.

    Args:
        p_values: `(k,)` floats in [0, 1]; NaN is a test not done yet.
        m: size of the family, ≥ k. Tests missing from it, NaN included, count as P = 1, so a lone
            finished test is not free. None: k.

    Returns:
        `(k,)` floats in [0, 1] in input order; NaN stays NaN.

    Raises:
        ValueError: `m` below k, or a P value outside [0, 1].

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70

    >>> holm([0.001, 0.03, float("nan")], m=8).round(3).tolist()
    [0.008, 0.21, nan]
    """
    from statsmodels.stats.multitest import multipletests

    p_values = np.asarray(p_values, dtype=float)
    m = len(p_values) if m is None else m
    if m < len(p_values):
        raise ValueError(f"`m` should be at least {len(p_values)} here. Received: m={m}")
    if ((p_values < 0) | (p_values > 1)).any():
        raise ValueError(f"`p_values` should be in [0, 1]. Received: {p_values.tolist()}")
    family = np.ones(m)
    family[: len(p_values)] = np.nan_to_num(p_values, nan=1)
    adjusted = multipletests(family, method="holm")[1] if m else family
    return np.where(np.isnan(p_values), np.nan, adjusted[: len(p_values)])


def average_roc(cells, n_points=101):
    """ROC curve averaged over folds, then over scenarios, at fixed false positive rates.

    Args:
        cells: DataFrame of one init, one row an image: `scenario`, `fold`, `y_true`, `y_score`,
            and `seed` where there are several (averaged like folds).
        n_points: false positive rates, evenly spaced over [0, 1].

    Returns:
        DataFrame of `n_points` rows: `fpr`, `tpr_mean`, `tpr_sd` (ddof 1, over scenarios; NaN with
        one scenario). Clip the band mean ± SD to [0, 1] when drawing it; label the curve with the
        mean of AUCs (`scenario_aucs`).

    Raises:
        ValueError: a column or value is missing, two inits, or a fold with only one class.
    """
    import pandas as pd

    _require_columns(cells, ["scenario", "fold", "y_true", "y_score"])
    if "init" in cells and cells["init"].nunique() > 1:
        raise ValueError(f"`cells` should be of one init. Received: {set(cells['init'])}")
    fpr = np.linspace(0, 1, n_points)
    curves = {}
    for (scenario, *_), cell in cells.groupby(_keys(cells, "scenario", "fold"), sort=False):
        curves.setdefault(scenario, []).append(_roc_at(fpr, cell["y_true"], cell["y_score"]))
    tpr = np.stack([np.mean(folds, axis=0) for folds in curves.values()])
    sd = tpr.std(axis=0, ddof=1) if len(tpr) > 1 else np.full(n_points, np.nan)
    return pd.DataFrame({"fpr": fpr, "tpr_mean": tpr.mean(axis=0), "tpr_sd": sd})


def scenario_aucs(predictions):
    """AUC of every scenario: the mean of its folds' AUCs.

    Folds are not pooled, for five networks' scores share no scale: a constant added to one fold's
    scores moves a pooled AUC but not this one.

    Args:
        predictions: DataFrame, one row an image: `init`, `scenario`, `fold`, `y_true`, `y_score`,
            and `seed` where there are several (their AUCs are averaged).

    Returns:
        DataFrame, one row an (init, scenario): `init`, `scenario`, `auc` in [0, 1] (NaN when a
        fold has one class), `n_folds`, and `pooled_auc`, a sensitivity column only.

    Raises:
        ValueError: a column or value is missing, a score not finite, or a label not 0 or 1.
    """
    _require_columns(predictions, ["init", "scenario", "fold", "y_true", "y_score"])
    by = ["init", "scenario"]
    folds = _aucs(predictions, _keys(predictions, *by, "fold"))
    pooled = _aucs(predictions, _keys(predictions, *by))
    folds = folds.groupby([*by, "fold"], sort=False).mean(skipna=False)
    folds = folds.groupby(by, sort=False)
    table = folds.mean(skipna=False).to_frame("auc").assign(n_folds=folds.size())
    table["pooled_auc"] = pooled.groupby(by, sort=False).mean(skipna=False)
    return table.reset_index()


def mean_sd(aucs):
    """Mean and standard deviation (ddof 1) over settings.

    The SD is over settings: not an uncertainty of the mean, and not over patients.

    Args:
        aucs: `(n,)` floats, one a scenario.

    Returns:
        `(mean, sd)`; the SD of one value is NaN, and both are when a value is.

    >>> mean_sd([0.25, 0.5, 0.75])
    (0.5, 0.25)
    """
    aucs = np.asarray(aucs, dtype=float)
    mean = float(aucs.mean()) if len(aucs) else math.nan
    return mean, float(aucs.std(ddof=1)) if len(aucs) > 1 else math.nan


def checked(y_true, **scores):
    """Labels and scores as arrays of one length, or a ValueError that names the culprit.

    Args:
        y_true: `(n,)` labels in {0, 1}; booleans will do.
        **scores: `(n,)` finite floats each, under the name the error should give.

    Returns:
        List of `(n,)` arrays: the labels (int), then the scores (float64).
    """
    arrays = [_finite("y_true", y_true)]
    if not np.isin(arrays[0], (0, 1)).all():
        raise ValueError(f"`y_true` should be 0 or 1. Received: {np.unique(arrays[0])[:5]}")
    for name, values in scores.items():
        arrays.append(_finite(name, values))
        if len(arrays[-1]) != len(arrays[0]):
            lengths = f"{len(arrays[-1])} and {len(arrays[0])}"
            raise ValueError(f"`{name}` should be as long as `y_true`. Received: {lengths}")
    return [arrays[0].astype(int), *arrays[1:]]


def codes(groups, n, name="patients"):
    """Number groups 0, 1, … in order of appearance.

    Args:
        groups: `(n,)` hashables; None puts each image in a group of its own.
        n: number of images.
        name: the argument an error should name.

    Returns:
        `(n,)` ints.

    Raises:
        ValueError: another length than `n`, or a missing value.
    """
    if groups is None:
        return np.arange(n)
    import pandas as pd

    groups = np.fromiter(groups, dtype=object)
    numbers = pd.factorize(groups)[0]
    if len(groups) != n or (numbers < 0).any():
        missing = int((numbers < 0).sum())
        raise ValueError(
            f"`{name}` should be {n} values, none missing. "
            f"Received: {len(groups)} values, {missing} missing"
        )
    return numbers


def _twice_below(scores, others):
    """Twice the number of `others` below each score, ties counting one (exact ints)."""
    others = np.sort(others)
    return np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")


def _variance(y_true, v10, v01, auc, patients):
    """Obuchowski's variance of `auc`; with one image a patient it is DeLong's.

    Returns `(variance, reason, n_patients)`; too few patients with a class give NaN and a reason.
    """
    patient = codes(patients, len(y_true))
    n_patients, m, n = len(np.unique(patient)), len(v10), len(v01)
    i10, i01 = (len(np.unique(patient[y_true == label])) for label in (1, 0))
    known = None if patients is None else n_patients
    if min(i10, i01) < 2:
        unit = "images" if patients is None else "patients"
        return math.nan, f"too few {unit}: {i10} positive, {i01} negative; 2 of each needed", known
    e10 = np.bincount(patient[y_true == 1], v10 - auc, n_patients)
    e01 = np.bincount(patient[y_true == 0], v01 - auc, n_patients)
    s10 = i10 / ((i10 - 1) * m) * (e10**2).sum()
    s01 = i01 / ((i01 - 1) * n) * (e01**2).sum()
    s11 = n_patients / (n_patients - 1) * (e10 * e01).sum()
    terms = s10 / m + s01 / n
    variance = terms + 2 * s11 / (m * n)  # never negative but by rounding
    return float(variance) if variance > ROUNDING * (terms + ROUNDING) else 0.0, "", known


def _normal_test(difference, variance):
    """`(z, P)`, two-sided; without variance (0, 1) or (±inf, 0)."""
    if variance == 0:
        return (0.0, 1.0) if difference == 0 else (math.copysign(math.inf, difference), 0.0)
    z = difference / math.sqrt(variance)
    return z, math.erfc(abs(z) / math.sqrt(2))


def _normal_quantile(level):
    return NormalDist().inv_cdf((1 + _level(level)) / 2)


def _level(level):
    if not 0 < level < 1:
        raise ValueError(f"`level` should be between 0 and 1. Received: level={level!r}")
    return level


def _finite(name, values):
    """`values` as a 1-d float array without NaN or infinity."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` should be numbers. Received: {values!r}") from error
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` should be 1-d and finite. "
            f"Received: shape {array.shape}, {int((~np.isfinite(array)).sum())} not finite"
        )
    return array


def _require_columns(table, columns):
    missing = [name for name in columns if name not in table or table[name].isna().any()]
    if missing:
        raise ValueError(
            f"the table should have {columns} without gaps. Received: gaps in {missing}"
        )


def _keys(table, *columns):
    """`columns`, and `seed` where the table has seeds."""
    return [*columns, "seed"] if "seed" in table else list(columns)


def _aucs(predictions, by):
    """Series of AUCs indexed by the columns `by`."""
    groups = predictions.groupby(by, sort=False)[["y_true", "y_score"]]
    return groups.apply(lambda cell: components(cell["y_true"], cell["y_score"])[0])


def _roc_at(fpr, y_true, y_score):
    """True positive rates `(n_points,)` at the given false positive rates."""
    from sklearn.metrics import roc_curve

    y_true, y_score = checked(y_true, y_score=y_score)
    if len(np.unique(y_true)) < 2:
        raise ValueError(f"every fold should have both classes. Received: {np.unique(y_true)}")
    x, y, _ = roc_curve(y_true, y_score, drop_intermediate=False)
    tpr = np.interp(fpr, x, y)
    tpr[0] = 0
    return tpr
