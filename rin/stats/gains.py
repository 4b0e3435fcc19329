"""Gains: what one arm's AUC has over another's, by scenario, by fold and by backbone."""

import math

import numpy as np

from rin.stats.cells import paired_folds
from rin.stats.checks import require_columns
from rin.stats.delong import components


def gain_components(fold):
    """DeLong's components of arm a less those of arm b, in every scenario.

    Several seeds are averaged here, on the components, before anything else is done.

    Args:
        fold: a `rin.stats.Fold` with m positive and n negative images and S scenarios.

    Returns:
        `(d10, d01)`: `(S, m)` and `(S, n)` floats in [-1, 1], images in the fold's order; NaN
        when a class is missing.

    Source: DeLong et al. 1988, doi:10.2307/2531595
    """
    pairs = [
        [_mean_components(fold.y_true, scores) for scores in both]
        for both in zip(fold.a, fold.b, strict=True)
    ]
    return tuple(np.stack([a[side] - b[side] for a, b in pairs]) for side in (0, 1))


def scenario_gains(predictions, a, b, by="init"):
    """The gain of every cell that counts: AUC of `a` less AUC of `b`, seeds averaged.

    Args:
        predictions, a, b, by: as in `rin.stats.common_cells`; with a column `backbone`.

    Returns:
        DataFrame, one row a scenario and fold: `scenario`, `backbone`, `fold`, `difference` in
        [-1, 1] (NaN when a fold has one class).

    Raises:
        ValueError: see `rin.stats.common_cells` and `rin.stats.paired_folds`.
    """
    import pandas as pd

    require_columns(predictions, ["backbone"])
    backbone = predictions.drop_duplicates("scenario").set_index("scenario")["backbone"]
    columns = ["scenario", "backbone", "fold", "difference"]
    rows = [
        (scenario, backbone[scenario], fold.name, difference)
        for fold in paired_folds(predictions, a, b, by)
        for scenario, difference in zip(fold.scenarios, _differences(fold), strict=True)
    ]
    return pd.DataFrame(rows, columns=columns)


def fold_gains(predictions, a, b, by="init"):
    """The gain of every fold, over the scenarios that count: what `nadeau_bengio` takes.

    Args:
        predictions, a, b, by: as in `rin.stats.common_cells`.

    Returns:
        Series `difference` indexed by `fold`; empty when no scenario counts.

    Raises:
        ValueError: see `rin.stats.common_cells` and `rin.stats.paired_folds`.
    """
    import pandas as pd

    folds = paired_folds(predictions, a, b, by)
    index = pd.Index([fold.name for fold in folds], name="fold")
    means = [float(np.mean(_differences(fold))) for fold in folds]
    return pd.Series(means, index, dtype=float, name="difference")


def backbone_gains(predictions, a, b, by="init"):
    """The mean gain of every backbone, over its scenarios that count: what `over_backbones` takes.

    Args:
        predictions, a, b, by: as in `scenario_gains`.

    Returns:
        Series `difference` indexed by `backbone`; empty when no scenario counts.

    Raises:
        ValueError: see `scenario_gains`.
    """
    table = scenario_gains(predictions, a, b, by)
    return table.groupby("backbone")["difference"].mean(skipna=False)


def _differences(fold):
    """`(S,)` gains of a fold's scenarios."""
    if len(np.unique(fold.y_true)) < 2:
        return np.full(len(fold.scenarios), math.nan)
    return gain_components(fold)[0].mean(axis=1)


def _mean_components(y_true, scores):
    """`(v10, v01)`, averaged over seeds."""
    seeds = [components(y_true, one)[1:] for one in scores]
    return [np.mean(side, axis=0) for side in zip(*seeds, strict=True)]
