"""Shares of variance: what gains vary with. A description without P: folds share images."""

import math
import warnings
from dataclasses import dataclass

import numpy as np

from rin.stats.checks import require_columns

COMPONENTS = ("backbone", "scenario", "fold")
# what statsmodels says where a component is 0, its edge; anything else is heard
AT_THE_EDGE = (
    "The MLE may be on the boundary of the parameter space",
    "The Hessian matrix at the estimated parameter values is not positive definite",
)


@dataclass(frozen=True)
class TwoWay:
    """What `two_way` returns: the mean gain, its standard error, mean squares and variances."""

    difference: float
    se: float
    ms_scenario: float
    ms_fold: float
    ms_residual: float
    scenario: float
    fold: float
    residual: float


def variance_shares(gains):
    """How the variance of gains divides into backbone, scenario, fold and what is left.

    Args:
        gains: DataFrame of `rin.stats.scenario_gains`: `scenario`, `backbone`, `fold`,
            `difference`, one row a cell.

    Returns:
        DataFrame `component` (backbone, scenario, fold, residual), `variance` (of gains as given;
        REML) and `share` in [0, 1]. NaN where a component cannot be told from another: it has one
        level only, or as many as there are cells. All is NaN where no fit is found; shares are,
        too, when gains do not vary.

    Raises:
        ValueError: a column or value is missing, a cell twice, or fewer than three cells.

    Source: Laird & Ware 1982, doi:10.2307/2529876
    """
    import pandas as pd

    _check(gains)
    spread = float(gains["difference"].std(ddof=1))
    names = [name for name in COMPONENTS if 1 < gains[name].nunique() < len(gains)]
    found = dict.fromkeys(COMPONENTS, math.nan) | {"residual": spread**2}
    if names and spread > 0:
        try:
            found |= fit_mixed(gains, names)[2]
        except np.linalg.LinAlgError:  # the search stepped to where the model is singular
            found = dict.fromkeys(found, math.nan)
    table = pd.DataFrame(found.items(), columns=["component", "variance"])
    total = table["variance"].sum()
    return table.assign(share=table["variance"] / total if total > 0 else math.nan)


def fit_mixed(gains, components):
    """The mixed model behind `variance_shares`: gain = mean + a random part each + residual.

    Args:
        gains: as there; they should vary.
        components: the columns with a random part.

    Returns:
        `(mean, se, variances)`: the standard error is of the mean; a dict from component, and
        `residual`, to variance. Its z test would be too liberal: don't make one.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    unit = float(gains["difference"].std(ddof=1))  # gains of 0.01 are too flat for an optimizer
    data = gains.assign(one=1, difference=gains["difference"] / unit)
    parts = {name: f"0 + C({name})" for name in components}
    with warnings.catch_warnings():
        for message in AT_THE_EDGE:
            warnings.filterwarnings("ignore", message, ConvergenceWarning)
        model = MixedLM.from_formula(
            "difference ~ 1", groups="one", re_formula="0", vc_formula=parts, data=data
        )
        # by its default, BFGS, it stops short of the optimum wherever a component is 0
        fitted = model.fit(reml=True, method="powell", ftol=1e-12)
        mean, se = float(fitted.fe_params["Intercept"]), float(fitted.bse_fe["Intercept"])
    variances = zip([*model.exog_vc.names, "residual"], [*fitted.vcomp, fitted.scale], strict=True)
    variances = {name: float(value) * unit**2 for name, value in variances}
    return mean * unit, se * unit, variances


def two_way(gains):
    """Scenarios × folds in closed form: analysis of variance of a whole table of gains.

    Without backbones, and where no component is 0, the same as `variance_shares`.

    Args:
        gains: DataFrame `scenario`, `fold`, `difference`; every scenario in every fold, once.

    Returns:
        `TwoWay`; an estimated variance of a component may be below 0.

    Raises:
        ValueError: a column or value is missing, a cell missing or twice, or fewer than two
            scenarios or folds.

    Source: Searle, Casella & McCulloch 1992, Variance Components, chapter 4
    """
    require_columns(gains, ["scenario", "fold", "difference"])
    _check_once(gains)
    y = gains.pivot(index="scenario", columns="fold", values="difference").to_numpy()
    n, k = y.shape
    if np.isnan(y).any() or min(n, k) < 2:
        raise ValueError(
            f"`gains` should have 2 or more scenarios, each in 2 or more folds. "
            f"Received: {n} scenarios, {k} folds, {int(np.isnan(y).sum())} cells missing"
        )
    mean, rows, columns = y.mean(), y.mean(axis=1), y.mean(axis=0)
    rest = y - rows[:, None] - columns + mean
    ms = [k * rows.var(ddof=1), n * columns.var(ddof=1), (rest**2).sum() / ((n - 1) * (k - 1))]
    variances = (ms[0] - ms[2]) / k, (ms[1] - ms[2]) / n, ms[2]
    se = math.sqrt(max(0.0, ms[0] + ms[1] - ms[2]) / (n * k))
    return TwoWay(*map(float, (mean, se, *ms, *variances)))


def _check(gains):
    require_columns(gains, [*COMPONENTS, "difference"])
    _check_once(gains)
    if len(gains) < 3:
        raise ValueError(f"`gains` should have 3 or more cells. Received: {len(gains)}")


def _check_once(gains):
    n = int(gains.duplicated(["scenario", "fold"]).sum())
    if n:
        raise ValueError(f"`gains` should have a cell once. Received: {n} more rows")
