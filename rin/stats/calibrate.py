"""Calibration: slope and intercept of a logistic recalibration."""

import warnings
from dataclasses import dataclass

import numpy as np

from rin.stats.checks import checked, codes, usable_level

EDGE = 1e-7  # scores of 0 and 1, which float32 gives, have no finite logit


@dataclass(frozen=True)
class Calibration:
    """What `calibration` returns.

    Attributes:
        slope: 1 is ideal; below 1, scores are too extreme. `slope_low`, `slope_high` bound it.
        intercept: of the same fit; 0 is ideal. Log odds at a score of 0.5.
        in_the_large: intercept with the slope held at 1; above 0, disease is more common than the
            scores say.
        n_clipped: scores so near 0 or 1 that they were moved to `EDGE`.
    """

    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    intercept_low: float
    intercept_high: float
    in_the_large: float
    in_the_large_low: float
    in_the_large_high: float
    n_images: int
    n_clipped: int


def calibration(y_true, y_score, level=0.95, patients=None):
    """Logistic recalibration: log odds of disease = intercept + slope × logit(score).

    Args:
        y_true: `(n,)` ints in {0, 1}.
        y_score: `(n,)` floats in [0, 1], probability of disease.
        level: coverage of the Wald intervals, between 0 and 1.
        patients: `(n,)` hashables; intervals then allow for several images of a patient.

    Returns:
        `Calibration`.

    Raises:
        ValueError: see `rin.stats.checked`; a score outside [0, 1]; one class only; or scores that
            separate the classes, or nearly so, or are all equal, for which there is no slope.

    Source: Cox 1958, doi:10.1093/biomet/45.3-4.562

    >>> found = calibration([0, 0, 0, 1, 0, 1, 1, 1], [0.2, 0.2, 0.2, 0.2, 0.8, 0.8, 0.8, 0.8])
    >>> round(found.slope, 6), round(abs(found.intercept), 6)
    (0.792481, 0.0)
    """
    from scipy.optimize import brentq
    from scipy.special import expit
    from statsmodels.api import Logit

    y_true, y_score = checked(y_true, y_score=y_score)
    _check(y_true, y_score)
    clipped = np.clip(y_score, EDGE, 1 - EDGE)
    logit, ones = np.log(clipped / (1 - clipped)), np.ones(len(y_true))
    how = {"disp": 0}
    if patients is not None:
        groups = codes(patients, len(y_true))
        if groups.max() < 2:  # two parameters need more clusters than two
            raise ValueError(f"`patients` should be three or more. Received: {groups.max() + 1}")
        how |= {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
    alpha = 1 - usable_level(level)
    both = _fitted(Logit(y_true, np.column_stack([logit, ones])), how)
    # from 0 the steps overflow where scores are extreme: it starts at the root of its own equation
    start = brentq(lambda shift: (expit(logit + shift) - y_true).sum(), -40, 40)
    large = _fitted(Logit(y_true, ones, offset=logit), how | {"start_params": [start]})
    rows = [*_bounded(both, alpha), *_bounded(large, alpha)]
    return Calibration(*rows, len(y_true), int((clipped != y_score).sum()))


def _fitted(model, how):
    """The fit of a model, or a ValueError: nearly separated classes only raise a warning."""
    from statsmodels.tools.sm_exceptions import ModelWarning

    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):  # exp of much is infinite
            warnings.simplefilter("error", ModelWarning)
            return model.fit(**how)
    except (ModelWarning, np.linalg.LinAlgError) as error:
        raise ValueError(
            "`y_score` should not nearly separate the classes: the fit did not converge"
        ) from error


def _bounded(fitted, alpha):
    """Estimate, low, high of each parameter, one after the other."""
    table = np.column_stack([fitted.params, fitted.conf_int(alpha)])
    return [float(value) for value in table.ravel()]


def _check(y_true, y_score):
    if len(y_score) and not (y_score.min() >= 0 and y_score.max() <= 1):
        spread = f"{y_score.min():g} to {y_score.max():g}"
        raise ValueError(f"`y_score` should be probabilities in [0, 1]. Received: {spread}")
    x, y = y_score[y_true == 1], y_score[y_true == 0]
    if not len(x) or not len(y):
        counts = f"{len(x)} positive, {len(y)} negative"
        raise ValueError(f"`y_true` should have both classes. Received: {counts}")
    if x.min() >= y.max() or x.max() <= y.min():
        raise ValueError(
            "`y_score` should not separate the classes, nor be constant: there is no slope then. "
            f"Received: positives {x.min():g} to {x.max():g}, negatives {y.min():g} to {y.max():g}"
        )
