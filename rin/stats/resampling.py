"""Bootstrap by patient: the contrast's question, answered by drawing patients again."""

import math
from dataclasses import dataclass

import numpy as np

from rin.stats.cells import paired_folds
from rin.stats.checks import codes, usable_level
from rin.stats.gains import gain_components

LARGEST = 100_000_000  # entries of a fold's matrix W; above it, weighted ranks
BLOCK = 4_000_000  # weights, or entries of a matrix in the making, held at a time
DECIMALS = 12  # of a resampled gain: what is smaller is rounding


@dataclass(frozen=True)
class Bootstrap:
    """What `patient_bootstrap` returns; `n_valid` resamples had both classes in every fold."""

    difference: float
    low: float
    high: float
    p: float
    n_resamples: int
    n_valid: int
    reason: str


def patient_bootstrap(predictions, a, b, by="init", n_resamples=2000, level=0.95, seed=0):
    """Percentile bootstrap of the gain, resampling groups within each fold.

    Groups are drawn with replacement, as many as there are, separately among those with a positive
    image and those without. Every scenario and both arms see the same draw. Folds and scenarios
    are not resampled: like `rin.stats.contrast` this speaks of new patients, for these networks.

    Args:
        predictions, a, b, by: as in `rin.stats.common_cells`.
        n_resamples: number of resamples, B.
        level: coverage of the interval, between 0 and 1.
        seed: of the generator; the same seed gives the same result.

    Returns:
        `Bootstrap`; P = min(1, 2 (1 + min(#Δ* ≤ 0, #Δ* ≥ 0)) / (B + 1)) with B the valid
        ones, so never 0. NaN with a `reason` when no scenario counts or a fold has one class.

    Raises:
        ValueError: see `rin.stats.common_cells` and `rin.stats.paired_folds`; or `n_resamples` or
            `level` is unusable.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 15
    """
    return bootstrap_of(paired_folds(predictions, a, b, by), n_resamples, level, seed)


def bootstrap_of(folds, n_resamples=2000, level=0.95, seed=0):
    """`patient_bootstrap` of folds that are already side by side.

    Args:
        folds: list of `rin.stats.Fold`, all with the same scenarios.
        n_resamples, level, seed: as in `patient_bootstrap`.

    Returns:
        `Bootstrap`.
    """
    if n_resamples < 1:
        raise ValueError(f"`n_resamples` should be ≥ 1. Received: n_resamples={n_resamples!r}")
    tails = [(1 - usable_level(level)) / 2, (1 + level) / 2]
    reason = "" if folds else "no scenario has every fold in both arms"
    if lonely := [fold.name for fold in folds if len(np.unique(fold.y_true)) < 2]:
        reason = f"only one class in folds {lonely}"
    if reason:
        return Bootstrap(*[math.nan] * 4, n_resamples, 0, reason)
    rng = np.random.default_rng(seed)
    gain = float(np.mean([gain_components(fold)[0].mean() for fold in folds]))
    drawn = [weighted_gains(fold, _draws(fold, n_resamples, rng)) for fold in folds]
    drawn = np.mean(drawn, axis=0).round(DECIMALS)
    drawn = drawn[~np.isnan(drawn)]
    n_valid = len(drawn)
    if n_valid == 0:
        return Bootstrap(gain, *[math.nan] * 3, n_resamples, 0, "no resample has both classes")
    low, high = (float(bound) for bound in np.quantile(drawn, tails))
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Bootstrap(gain, low, high, _p(smaller, n_valid), n_resamples, n_valid, "")


def weighted_gains(fold, blocks):
    """The gain of a fold, averaged over scenarios, under weights of its images.

    With W_ij the mean over scenarios of ψᵃ − ψᵇ, it is w′Wu / (Σw Σu): one matrix for all
    resamples. Where that would be too large, the scores are ranked instead, to the same effect.

    Args:
        fold: a `rin.stats.Fold` of n images.
        blocks: arrays `(b, n)` of weights ≥ 0, one row a resample.

    Returns:
        Floats in [-1, 1], one a row of weights; NaN when a class has no weight. All weights 1
        give the fold's difference in `rin.stats.contrast`.
    """
    positive = fold.y_true == 1
    large = positive.sum() * (~positive).sum() > LARGEST
    total = _by_ranks(fold) if large else _by_matrix(fold)
    parts = [_ratio(total(w), w[:, positive].sum(1) * w[:, ~positive].sum(1)) for w in blocks]
    return np.concatenate(parts)


def _by_matrix(fold):
    """A function from weights `(b, n)` to w′Wu `(b,)`."""
    positive = fold.y_true == 1
    matrix = np.zeros((positive.sum(), (~positive).sum()))
    size = max(1, BLOCK // matrix.shape[1])
    for share, score in _signed(fold):
        x, y = score[positive], score[~positive]
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            matrix[rows] += share / 2 * np.sign(x[rows, None] - y)  # the halves of ψ cancel
    return lambda w: ((w[:, positive] @ matrix) * w[:, ~positive]).sum(axis=1)


def _by_ranks(fold):
    """The same function, without the matrix."""

    def total(weights):
        return sum(share * _wins(fold.y_true, score, weights) for share, score in _signed(fold))

    return total


def _wins(y_true, score, weights):
    """`(b,)` weighted pairs that the positive image wins, ties counting one half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    weights, positive = weights[:, order], y_true[order] == 1
    won = np.add.reduceat(weights * positive, starts, axis=1)
    others = np.add.reduceat(weights * ~positive, starts, axis=1)
    return (won * (others.cumsum(axis=1) - others / 2)).sum(axis=1)


def _signed(fold):
    """Yield `(share, score)`: all scores of a fold with their part in the mean gain."""
    for arm, sign in ((fold.a, 1), (fold.b, -1)):
        for seeds in arm:
            for score in seeds:
                yield sign / len(seeds) / len(arm), score


def _draws(fold, n_resamples, rng):
    """Yield blocks `(b, n)` of weights: how often each image was drawn."""
    group = codes(fold.group, len(fold.y_true), "group")
    has_positive = np.bincount(group, fold.y_true) > 0
    size = max(1, BLOCK // len(group))
    for start in range(0, n_resamples, size):
        drawn = np.zeros((min(size, n_resamples - start), len(has_positive)))
        for stratum in (np.flatnonzero(has_positive == kind) for kind in (True, False)):
            n = len(stratum)
            if n:
                drawn[:, stratum] = rng.multinomial(n, np.full(n, 1 / n), size=len(drawn))
        yield drawn[:, group]


def _ratio(top, bottom):
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom != 0)


def _p(smaller, n):
    return min(1.0, 2 * (1 + int(smaller)) / (n + 1))
