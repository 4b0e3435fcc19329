"""Metrics: one report for one set of predictions, and its bootstrap interval by patient.

Every metric is computed from weights, one an image: all ones give the report, and how often each
image was drawn gives a resample. So one formula serves both, a thousand resamples at a time.
"""

import numpy as np

from rin.stats import checked, codes

METRICS = (
    "auc",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "mcc",
    "kappa",
    "brier",
    "ece",
)
OF_SCORES = ("auc", "brier", "ece")  # those that need no class
N_BINS = 10  # of the calibration error: equal-width, (0, 0.1], …, (0.9, 1]; 0 is in the first
BLOCK = 4_000_000  # weights held at a time


def report(y_true, y_score, threshold=0.5):
    """All metrics of one set of predictions.

    An undefined metric is NaN, where other libraries put 0: AUC, balanced accuracy, sensitivity or
    specificity without the class, precision without a positive prediction, F1 without either, MCC
    when truth or prediction is constant, kappa when both are and agree.

    Args:
        y_true: `(n,)` ints in {0, 1}; 1 is disease.
        y_score: `(n,)` floats in [0, 1], probability of disease.
        threshold: an image is called positive when its score is ≥ this.

    Returns:
        Dict of floats in the order of `METRICS`. In [0, 1], `mcc` and `kappa` in [-1, 1]. Lower is
        better for `brier` and `ece`, the expected calibration error over ten equal-width bins of
        the probability of disease (mean gap between predicted and observed, weighted by images).

    Raises:
        ValueError: lengths differ, no image, a label not in {0, 1}, or a score or the
            threshold not in [0, 1].

    Source: calibration error: Guo et al. 2017, arXiv:1706.04599

    >>> scores = report([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> scores["auc"], scores["sensitivity"], scores["precision"]
    (0.75, 0.5, 1.0)
    """
    y_true, y_score = _checked(y_true, y_score)
    if not 0 <= threshold <= 1:
        raise ValueError(f"`threshold` should be in [0, 1]. Received: threshold={threshold!r}")
    values = _weighted(y_true, y_score, threshold, np.ones((1, len(y_true))))
    return {name: float(values[name][0]) for name in METRICS}


def bootstrap(y_true, y_score, groups, threshold=0.5, n_resamples=1000, level=0.95, seed=0):
    """Percentile bootstrap intervals of all metrics, resampling patients.

    Patients are drawn with replacement, as many as there are, separately among those with a
    positive image and those without one. All images of a patient come along.

    Args:
        y_true: `(n,)` ints in {0, 1}.
        y_score: `(n,)` floats in [0, 1].
        groups: `(n,)` hashables, the patient of each image; None: each image on its own.
        threshold: as in `report`.
        n_resamples: number of resamples.
        level: coverage, between 0 and 1.
        seed: of the generator; the same seed gives the same table.

    Returns:
        DataFrame indexed by `metric`: `estimate` (of `report`), `low`, `high`, and `n_valid`, the
        resamples in which the metric is defined; the others are left out of its interval.

    Raises:
        ValueError: see `report`; or `groups`, `n_resamples` or `level` is unusable.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13
    """
    import pandas as pd

    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(
            "`n_resamples` should be ≥ 1 and `level` between 0 and 1. "
            f"Received: n_resamples={n_resamples!r}, level={level!r}"
        )
    estimates = report(y_true, y_score, threshold)
    y_true, y_score = _checked(y_true, y_score)
    draws = _resample(codes(groups, len(y_true), "groups"), y_true, n_resamples, seed)
    blocks = [_weighted(y_true, y_score, threshold, weights) for weights in draws]
    rows = [_row(np.concatenate([block[name] for block in blocks]), level) for name in METRICS]
    table = pd.DataFrame(rows, index=pd.Index(METRICS, name="metric"))
    table.insert(0, "estimate", pd.Series(estimates))
    return table


def _checked(y_true, y_score):
    y_true, y_score = checked(y_true, y_score=y_score)
    if len(y_true) == 0:
        raise ValueError("`y_true` should have at least one image. Received: none")
    if y_score.min() < 0 or y_score.max() > 1:
        spread = f"{y_score.min():g} to {y_score.max():g}"
        raise ValueError(f"`y_score` should be probabilities in [0, 1]. Received: {spread}")
    return y_true, y_score


def _resample(group, y_true, n_resamples, seed):
    """Yield blocks `(b, n)` of weights: how often each image was drawn."""
    rng = np.random.default_rng(seed)
    has_positive = np.bincount(group, y_true) > 0
    strata = [np.flatnonzero(has_positive == kind) for kind in (True, False)]
    size = max(1, BLOCK // len(group))
    for start in range(0, n_resamples, size):
        drawn = np.zeros((min(size, n_resamples - start), len(has_positive)))
        for stratum in strata:
            drawn[:, stratum] = _draw(rng, len(stratum), len(drawn))
        yield drawn[:, group]


def _draw(rng, n, n_rows):
    """`(n_rows, n)` counts of n draws with replacement from n."""
    if n == 0:
        return np.zeros((n_rows, 0))
    cells = rng.integers(n, size=(n_rows, n)) + n * np.arange(n_rows)[:, None]
    return np.bincount(cells.ravel(), minlength=n_rows * n).reshape(n_rows, n)


def _weighted(y_true, y_score, threshold, weights):
    """Dict of `(b,)` arrays, one a metric, for weights `(b, n)` of whole numbers."""
    total = weights.sum(axis=1)
    errors = y_true - y_score
    return {
        "auc": _auc(y_true, y_score, weights),
        **_at_threshold(y_true, y_score >= threshold, weights),
        "brier": weights @ errors**2 / total,
        "ece": _calibration_error(y_score, errors, weights) / total,
    }


def _at_threshold(y_true, y_pred, weights):
    """The metrics of the two-by-two table; an empty denominator gives NaN."""
    positive, called = y_true == 1, y_pred
    tp, fn = weights @ (positive & called), weights @ (positive & ~called)
    fp, tn = weights @ (~positive & called), weights @ (~positive & ~called)
    sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    cross = tp * tn - fp * fn
    marginals = (tp + fn) * (tn + fp) * (tp + fp) * (tn + fn)
    return {
        "accuracy": _ratio(tp + tn, tp + tn + fp + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": _ratio(tp, tp + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": _ratio(cross, np.sqrt(marginals)),
        "kappa": _ratio(2 * cross, (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn)),
    }


def _auc(y_true, y_score, weights):
    """Weighted AUC: positives at each distinct score times the negatives below it."""
    order = np.argsort(y_score, kind="stable")
    starts = np.flatnonzero(np.diff(y_score[order], prepend=-np.inf))
    weights = weights[:, order]
    positive = np.add.reduceat(weights * y_true[order], starts, axis=1)
    negative = np.add.reduceat(weights, starts, axis=1) - positive
    below = negative.cumsum(axis=1) - negative / 2
    return _ratio((positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _calibration_error(y_score, errors, weights):
    """Sum over the bins of the absolute total error in each."""
    edges = np.linspace(0, 1, N_BINS + 1)[1:-1]
    in_bin = np.searchsorted(edges, y_score)[:, None] == np.arange(N_BINS)
    return np.abs(weights @ (in_bin * errors[:, None])).sum(axis=1)


def _ratio(top, bottom):
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom != 0)


def _row(values, level):
    """Interval of the defined values, and how many they are."""
    valid = values[~np.isnan(values)]
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(valid, tails) if len(valid) else (np.nan, np.nan)
    return {"low": low, "high": high, "n_valid": len(valid)}
