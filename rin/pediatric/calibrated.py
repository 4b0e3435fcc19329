"""Calibration of the study: slope and intercept of every run, and the reliability curve."""

import dataclasses

import numpy as np
import pandas as pd

from rin import stats
from rin.metrics import N_BINS
from rin.pediatric.gathered import CELL


def calibrations(predictions, level=0.95):
    """Slope and intercept of every run on its test images, bounded by group.

    Args:
        predictions: of a `rin.pediatric.Study`; val rows are left out.
        level: coverage of the intervals, between 0 and 1.

    Returns:
        DataFrame, one row a run: the columns `CELL`, the fields of `rin.stats.Calibration`, and
        `reason`: why they are NaN, "" where they are not.
    """
    rows = []
    for cell, part in predictions[predictions["split"] == "test"].groupby(CELL, sort=False):
        found, reason = _calibration(part, level)
        facts = dict(zip(CELL, cell, strict=True)) | found
        rows.append(facts | {"n_images": len(part), "reason": reason})
    return pd.DataFrame(rows)


def reliability(predictions, level=0.95):
    """Observed against predicted share of pneumonia, in ten equal bins of the probability.

    Folds of a protocol are pooled, each network's probability taken at its word: a bin of one fold
    holds too few images.

    Args:
        predictions: of a `rin.pediatric.Study`, one scenario an arm; val rows are left out.
        level: coverage of Wilson's intervals, between 0 and 1. They take images for independent,
            which those of one child are not.

    Returns:
        DataFrame `protocol`, `arm`, `bin` (0 to 9), `predicted` (mean probability), `observed`,
        `low`, `high`, `n_images`; bins without an image are left out.
    """
    from statsmodels.stats.proportion import proportion_confint

    tested = predictions[predictions["split"] == "test"]
    edges = np.linspace(0, 1, N_BINS + 1)[1:-1]  # those of the calibration error
    tested = tested.assign(bin=np.searchsorted(edges, tested["y_score"]))
    by = tested.groupby(["protocol", "arm", "bin"], sort=False)
    table = by.agg(
        predicted=("y_score", "mean"),
        n_positive=("y_true", "sum"),
        observed=("y_true", "mean"),
        n_images=("y_true", "size"),
    ).reset_index()
    counts = table.pop("n_positive"), table["n_images"]
    table["low"], table["high"] = proportion_confint(*counts, alpha=1 - level, method="wilson")
    table = table.sort_values(["protocol", "arm", "bin"], ignore_index=True)
    names = ["predicted", "observed", "low", "high", "n_images"]
    return table[["protocol", "arm", "bin", *names]]


def _calibration(part, level):
    """`(fields, reason)` of one run."""
    scores = part["y_true"], part["y_score"].astype(float)
    try:
        found = stats.calibration(*scores, level, part["group"])
    except ValueError as error:
        names = [one.name for one in dataclasses.fields(stats.Calibration)]
        return dict.fromkeys(names, np.nan), str(error).strip().splitlines()[0]
    return dataclasses.asdict(found), ""
