"""Dealing: groups of images into sets, each class by its shares."""

import numpy as np
import pandas as pd


def deal(manifest, shares, seed=0):
    """Deal groups into sets, every class by its shares as nearly as its groups allow.

    The largest groups come first, equal ones in a random order. A group goes to the set that is
    emptiest for its classes among those that hold room for it; without room, to the one that
    lacks most. So a class of one or two groups is in train, and may be missing elsewhere.
    `rin.splits.assign` deals into twenty folds, for which a class needs twenty groups.

    Args:
        manifest: with `label` and `group`.
        shares: dict from set to share, which sum to 1; of equal sets the first is taken.
        seed: int.

    Returns:
        Series of sets, indexed as the manifest.
    """
    group = pd.factorize(manifest["group"])[0]
    label = pd.factorize(manifest["label"], sort=True)[0]
    held = _held(group, label)
    n_class, sizes = np.bincount(label), np.bincount(group)
    wanted = np.outer([*shares.values()], n_class)
    lacking, place = wanted.copy(), np.empty(len(sizes), dtype=int)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    for g in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        labels, n = held[g]
        place[g] = _best(lacking[:, labels], wanted[:, labels], n, n_class[labels])
        lacking[place[g], labels] -= n
    return pd.Series(np.array([*shares])[place[group]], index=manifest.index, dtype="string")


def _held(group, label):
    """Of every group, its classes and how many images of each."""
    cells, n = np.unique(np.stack([group, label]), axis=1, return_counts=True)
    starts = np.flatnonzero(np.diff(cells[0])) + 1
    return list(zip(np.split(cells[1], starts), np.split(n, starts), strict=True))


def _best(lacking, wanted, n, n_class):
    """The set for a group of `n` images of each of its classes, arrays `(sets, classes)`."""
    weight = n / n_class  # a class decides by how much of it is in the group
    room = (lacking >= n - 1e-9).all(axis=1)
    if room.any():
        return np.where(room, (lacking / wanted) @ weight, -np.inf).argmax()
    return ((lacking / n_class) @ weight).argmax()
