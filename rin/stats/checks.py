"""Checks: labels, scores, groups and tables are usable, or an error names the culprit."""

import numpy as np


def checked(y_true, **scores):
    """Labels and scores as arrays of one length, or a ValueError that names the culprit.

    Args:
        y_true: `(n,)` labels in {0, 1}; booleans will do.
        **scores: `(n,)` finite floats each, under the name the error should give.

    Returns:
        List of `(n,)` arrays: the labels (int), then the scores (float64).
    """
    arrays = [finite("y_true", y_true)]
    if not np.isin(arrays[0], (0, 1)).all():
        raise ValueError(f"`y_true` should be 0 or 1. Received: {np.unique(arrays[0])[:5]}")
    for name, values in scores.items():
        arrays.append(finite(name, values))
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


def finite(name, values):
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


def usable_level(level):
    if not 0 < level < 1:
        raise ValueError(f"`level` should be between 0 and 1. Received: level={level!r}")
    return level


def require_columns(table, columns):
    missing = [name for name in columns if name not in table or table[name].isna().any()]
    if missing:
        raise ValueError(
            f"the table should have {columns} without gaps. Received: gaps in {missing}"
        )


def with_seed(table, *columns):
    """`columns`, and `seed` where the table has seeds."""
    if "seed" not in table:
        return list(columns)
    require_columns(table, ["seed"])  # a group without a key would leave without a word
    return [*columns, "seed"]
