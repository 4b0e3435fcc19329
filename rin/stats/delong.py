"""DeLong: the interval of an AUC and the test of two, clustered by patient where needed."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from rin.stats.checks import checked, codes, usable_level

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
    variance, reason, n_patients = variance_of(y_true, v10, v01, auc, patients)
    half_width = normal_quantile(level) * math.sqrt(variance)
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
    variance, reason, n_patients = variance_of(y_true, a10 - b10, a01 - b01, gain, patients)
    if variance == 0 and abs(gain) < ROUNDING:
        gain = 0.0
    z, p = normal_test(gain, variance)
    degenerate = math.isinf(z)
    if variance == 0:
        reason = f"variance 0 with difference {gain:.6g}"
    half_width = normal_quantile(level) * math.sqrt(variance)
    bounds = gain - half_width, gain + half_width
    counts = len(y_true), n_patients
    return DelongTest(auc_a, auc_b, gain, variance, *bounds, z, p, degenerate, reason, *counts)


def variance_of(y_true, v10, v01, auc, patients):
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


def normal_test(difference, variance):
    """`(z, P)`, two-sided; without variance (0, 1) or (±inf, 0)."""
    if variance == 0:
        return (0.0, 1.0) if difference == 0 else (math.copysign(math.inf, difference), 0.0)
    z = difference / math.sqrt(variance)
    return z, math.erfc(abs(z) / math.sqrt(2))


def normal_quantile(level):
    return NormalDist().inv_cdf((1 + usable_level(level)) / 2)


def _twice_below(scores, others):
    """Twice the number of `others` below each score, ties counting one (exact ints)."""
    others = np.sort(others)
    return np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")
