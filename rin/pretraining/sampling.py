"""Sampling: which training images an epoch shows, in which order, and how much each counts."""

import numpy as np

BALANCES = ("none", "weights", "sampling")


def order(rows, y, seed, epoch, balance="none", power=1.0):
    """The rows one epoch shows, keyed by seed and epoch alone.

    Args:
        rows: `(n,)` ints, the training images.
        y: `(n,)` ints, their classes.
        seed, epoch: ints >= 0.
        balance: with "sampling" a class of m images gets a share of the epoch proportional to
            m ** (1 - power): images of small classes come several times, and large classes show
            other images every epoch. Else every image comes once.
        power: 0 … 1.

    Returns:
        `(n,)` ints.
    """
    rng = np.random.default_rng([seed, epoch])
    if balance != "sampling":
        return rng.permutation(rows)
    classes, sizes = np.unique(y, return_counts=True)
    wanted = _shares(sizes ** (1.0 - power), len(rows), rng)
    drawn = [_draw(rows[y == c], n, rng) for c, n in zip(classes, wanted, strict=True)]
    return rng.permutation(np.concatenate(drawn))


def weights(y, n_classes, power=1.0):
    """`(n_classes,)` float32: how much an image of each class counts in the loss.

    Proportional to m ** -power for a class of m images; the mean over the images is 1. A class
    without an image gets 0.

    Args:
        y: `(n,)` ints, the classes of the training images.
        n_classes: classes there are.
        power: 0 … 1.

    >>> weights(np.array([0, 0, 0, 1]), 2)
    array([0.6666667, 2.       ], dtype=float32)
    """
    sizes = np.bincount(y, minlength=n_classes).astype(float)
    raw = np.where(sizes > 0, np.maximum(sizes, 1) ** -power, 0)
    return (raw * len(y) / (raw * sizes).sum()).astype(np.float32)


def _shares(weight, n, rng):
    """Whole numbers that sum to `n`, as near to the weights' shares as can be; ties by lot."""
    exact = n * weight / weight.sum()
    counts = np.floor(exact).astype(int)
    lots = np.lexsort((rng.random(len(exact)), counts - exact))
    counts[lots[: n - counts.sum()]] += 1
    return counts


def _draw(rows, n, rng):
    """`n` of the rows: each as often as the others, or once more."""
    rounds = [rng.permutation(rows) for _ in range(-(-n // len(rows)))]
    return np.concatenate([*rounds, rows[:0]])[:n]
