"""Families of tests: Holm's adjustment."""

import numpy as np


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
