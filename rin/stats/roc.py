"""Scenario AUCs and averaged ROC curves: folds are averaged, never pooled."""

import math

import numpy as np

from rin.stats.checks import checked, require_columns, with_seed
from rin.stats.delong import components


def average_roc(cells, n_points=101):
    """ROC curve averaged over folds, then over scenarios, at fixed false positive rates.

    Args:
        cells: DataFrame of one init, one row an image: `scenario`, `fold`, `y_true`, `y_score`,
            and `seed` where there are several (averaged within their fold first).
        n_points: false positive rates, evenly spaced over [0, 1].

    Returns:
        DataFrame of `n_points` rows: `fpr`, `tpr_mean`, `tpr_sd` (ddof 1, over scenarios; NaN with
        one scenario). Clip the band mean ± SD to [0, 1] when drawing it; label the curve with the
        mean of AUCs (`scenario_aucs`).

    Raises:
        ValueError: a column or value is missing, two inits, or a fold with only one class.
    """
    import pandas as pd

    require_columns(cells, ["scenario", "fold", "y_true", "y_score"])
    if "init" in cells and cells["init"].nunique() > 1:
        raise ValueError(f"`cells` should be of one init. Received: {set(cells['init'])}")
    fpr = np.linspace(0, 1, n_points)
    curves = {}
    keys = with_seed(cells, "scenario", "fold")
    for (scenario, fold, *_), cell in cells.groupby(keys, sort=False):
        seeds = curves.setdefault(scenario, {}).setdefault(fold, [])
        seeds.append(_roc_at(fpr, cell["y_true"], cell["y_score"]))
    tpr = np.stack([_mean_of_means(folds.values()) for folds in curves.values()])
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
    require_columns(predictions, ["init", "scenario", "fold", "y_true", "y_score"])
    by = ["init", "scenario"]
    folds = _aucs(predictions, with_seed(predictions, *by, "fold"))
    pooled = _aucs(predictions, with_seed(predictions, *by))
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


def _mean_of_means(several):
    return np.mean([np.mean(curves, axis=0) for curves in several], axis=0)


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
