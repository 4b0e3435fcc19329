"""Scores of the study: metrics of every run under two rules, their means, and two arms compared."""

import numpy as np
import pandas as pd

from rin import comparison, metrics, stats
from rin.pediatric.gathered import CELL

# The study's report says "six metrics" and names none: this list is our reading.
SIX = {
    "accuracy": "accuracy",
    "precision": "precision",
    "sensitivity": "recall",
    "specificity": "specificity",
    "f1": "F1",
    "auc": "AUC",
}
ARGMAX, FROM_VAL, NO_RULE = "argmax", "threshold from val", "none needed"
# The study's report holds no number. These are AUCs (percent, mean of five folds) of another study
# of ResNet50 on these images: all layers train, and inputs are not divided by 255.
# Source: Juodelyte et al. 2023, arXiv:2302.08272; mean AUCs in its public repository
NEIGHBORS = {
    "setting": ["all layers", "head first, then all layers"],
    "imagenet": [98.7, 98.6],
    "radimagenet": [98.8, 98.7],
}


def threshold_on_val(val):
    """The cut with the largest Youden's J (sensitivity + specificity − 1) on validation images.

    A cut lies midway between two neighboring scores. Of equally good ones the one nearest to 0.5
    is taken; where all scores are equal there is none, and it is 0.5.

    Args:
        val: DataFrame with `y_true` and `y_score` of one run's val images.

    Returns:
        Float; an image is called positive when its score is ≥ this.

    Raises:
        ValueError: one class only.

    Source: Youden 1950, doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3

    >>> threshold_on_val(pd.DataFrame({"y_true": [0, 0, 1, 1], "y_score": [0.1, 0.2, 0.6, 0.9]}))
    0.4
    """
    y_true, score = stats.checked(val["y_true"], y_score=val["y_score"])
    n_positive, n_negative = (y_true == 1).sum(), (y_true == 0).sum()
    if not n_positive or not n_negative:
        counts = f"{n_positive} positive, {n_negative} negative"
        raise ValueError(f"`val` should have both classes. Received: {counts}")
    values = np.unique(score)
    if len(values) == 1:
        return 0.5
    cuts = (values[1:] + values[:-1]) / 2
    called = score >= cuts[:, None]
    j = called[:, y_true == 1].mean(axis=1) - called[:, y_true == 0].mean(axis=1)
    best = cuts[np.isclose(j, j.max())]
    return float(best[np.abs(best - 0.5).argmin()])


def scores(predictions, n_resamples=1000, level=0.95):
    """All metrics of every run on its test images, its class called by each of two rules.

    `argmax` calls an image positive when the pneumonia unit is above the other one, which a sigmoid
    does not tie to 0.5; `threshold from val` when it is above the run's own `threshold_on_val`.

    Args:
        predictions: of a `rin.pediatric.Study`, val and test.
        n_resamples: of the bootstrap by group, ≥ 1.
        level: coverage of its intervals, between 0 and 1.

    Returns:
        DataFrame, one row a run, rule and metric: the columns `CELL`, `rule` ("none needed" for
        AUC, Brier score and calibration error), `threshold` (NaN without one), `metric`, `value`,
        `low`, `high`, `n_valid`; `n_test`, `n_val`, `n_val_positive`.
    """
    parts = []
    for cell, part in predictions.groupby(CELL, sort=False):
        val, test = (part[part["split"] == name] for name in ("val", "test"))
        cut = threshold_on_val(val)
        calls = {
            NO_RULE: (test["y_score"], np.nan),
            ARGMAX: ((test["y_score"] > test["y_score_negative"]).astype(float), np.nan),
            FROM_VAL: ((test["y_score"] >= cut).astype(float), cut),
        }
        facts = dict(zip(CELL, cell, strict=True))
        counts = {"n_test": len(test), "n_val": len(val)}
        counts["n_val_positive"] = int((val["y_true"] == 1).sum())
        for rule, (called, threshold) in calls.items():
            found = metrics.bootstrap(
                test["y_true"], called, test["group"], n_resamples=n_resamples, level=level
            )
            # a class is 0 or 1 here: of it the AUC and the like say nothing
            found = found[found.index.isin(metrics.OF_SCORES) == (rule == NO_RULE)]
            found = found.rename(columns={"estimate": "value"}).reset_index()
            named = pd.DataFrame(facts | {"rule": rule, "threshold": threshold}, found.index)
            parts.append(named.join(found).assign(**counts))
    return pd.concat(parts, ignore_index=True)


def averaged(table):
    """Mean and SD over folds of every metric; seeds of a fold are averaged first.

    Args:
        table: of `scores`.

    Returns:
        DataFrame `protocol`, `arm`, `scenario`, `rule`, `metric`, `mean`, `sd_over_folds` (ddof 1;
        how much folds differ, not an uncertainty of the mean; NaN with one fold), `n_folds` (in
        which the metric is defined).
    """
    keys = ["protocol", "arm", "scenario", "rule", "metric"]
    fold = table.groupby([*keys, "fold"], sort=False)["value"].mean()
    by = fold.groupby(keys, sort=False)
    return by.agg(mean="mean", sd_over_folds="std", n_folds="count").reset_index()


def six(means):
    """The six metrics in one row for each protocol, arm and rule.

    Args:
        means: of `averaged`.

    Returns:
        DataFrame `protocol`, `arm`, `scenario`, `rule`, then the columns `SIX` names.
    """
    keys = ["protocol", "arm", "scenario"]
    wide = means.pivot_table("mean", [*keys, "rule"], "metric", sort=False, dropna=False)
    wide = wide.dropna(how="all").reset_index()  # pairs of keys that no run has
    auc = wide.loc[wide["rule"] == NO_RULE, [*keys, "auc"]]
    table = wide[wide["rule"] != NO_RULE].drop(columns="auc").merge(auc, on=keys)
    return table[[*keys, "rule", *SIX]].rename(columns=SIX).rename_axis(columns=None)


def compare(runs, predictions, level=0.95):
    """The AUC of two arms under every protocol, for real images: exploratory.

    Args:
        runs, predictions: of a `rin.pediatric.Study`, one scenario an arm (see `chosen`).
        level: coverage of the intervals, between 0 and 1.

    Returns:
        DataFrame, one row a protocol with two arms to compare (see `rin.comparison.pair`):
        `protocol`, `a`, `b`; `difference` (a − b), `low`, `high` (points) and `p` of DeLong's
        contrast, clustered by group: new patients, these networks; `degenerate`; `training_low`,
        `training_high`, `training_p` of the corrected t over folds: other training sets too,
        if folds, which share training images, do not err alike;
        `reason` (why one is NaN); `n_folds`, `n_images`, `n_groups`.
    """
    rows, tested = [], predictions[predictions["split"] == "test"].assign(scenario="chosen")
    for protocol, part in tested.groupby("protocol", sort=False):
        if (arms := comparison.pair(part["arm"].unique())) is None:
            continue
        found = stats.contrast(part, *arms, by="arm", level=level)
        mine = runs[(runs["protocol"] == protocol) & runs["arm"].isin(arms)]
        ratio = comparison.ratio(mine, part[part["arm"].isin(arms)])
        again = stats.nadeau_bengio(stats.fold_gains(part, *arms, by="arm"), ratio, level)
        row = dict(zip(["protocol", "a", "b"], [protocol, *arms], strict=True))
        row |= {"difference": 100 * found.difference, "low": 100 * found.low}
        row |= {"high": 100 * found.high, "p": found.p, "degenerate": found.degenerate}
        row |= {"training_low": 100 * again.low, "training_high": 100 * again.high}
        row |= {"training_p": again.p}
        row["reason"] = "; ".join(filter(None, [found.reason, again.reason]))
        rows.append(row | {key: getattr(found, key) for key in ("n_folds", "n_images", "n_groups")})
    return pd.DataFrame(rows)
