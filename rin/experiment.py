"""The pretraining experiment: its kept tables, and pretrained weights compared with random ones."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from rin import judge, kept_tables, stats
from rin.scenarios import Scenario

INITS = ("pretrained", "random")  # differences are the first less the second
SCENARIO = ["backbone", "trainable", "learning_rate"]
RUN = ["task", *SCENARIO, "init", "fold", "seed"]
AUDITS = {"breast": "busi", "pediatric": "kermany_subset"}  # where a task's audit tables are kept
FILES = {
    "process": "process.csv",
    "history": "pretraining_history.csv",
    "metrics": "pretraining_metrics.csv",
    "classes": "pretraining_classes.csv",
    "labels": "pretraining_predictions.parquet",
    "runs": "runs.csv",
    "losses": "history.parquet",
    "predictions": "predictions.parquet",
}


class ExperimentError(ValueError):
    """Tables that are not there, or that can't be compared."""


@dataclass(frozen=True)
class Experiment:
    """The tables of the experiment; `FILES` says where each lies.

    Attributes:
        process: one row a step: what ran on what, how long, on which hardware, by which command.
        history: one row a pretraining epoch, with `backbone`.
        metrics: one row a backbone, split and metric, as `rin.pretraining.scores.report` has them.
        classes: one row a backbone and class, as `rin.pretraining.scores.per_class` has them, of
            the test set.
        labels: pretraining predictions, one row a backbone and image of val or test.
        runs: one row a fine-tuning run (the columns `RUN`) and its counts.
        losses: one row a run and epoch.
        predictions: one row a run and test image: `RUN`, `row` (the image's running number within
            its task), `image_id`, `patient` (missing where unknown) and `group` (running names),
            `y_true`, `y_score`.
    """

    process: pd.DataFrame
    history: pd.DataFrame
    metrics: pd.DataFrame
    classes: pd.DataFrame
    labels: pd.DataFrame
    runs: pd.DataFrame
    losses: pd.DataFrame
    predictions: pd.DataFrame


def write(experiment, folder):
    """Keep an experiment's tables: all of them are complete before the first one is replaced."""
    frames = {file: getattr(experiment, name) for name, file in FILES.items()}
    kept_tables.write(frames, folder)


def read(folder):
    """The kept tables, as an `Experiment`.

    Raises:
        ExperimentError: one of them is not there.
    """
    files = [FILES[one.name] for one in fields(Experiment)]
    maker = "benchmarks/keep_experiment.py"
    return Experiment(*kept_tables.read(folder, files, ExperimentError, maker))


def compare(predictions, level=0.95):
    """Pretrained against random weights in every task and scenario.

    An AUC is the mean of its folds' AUCs. Folds test different images, so their DeLong variances
    add up; each is clustered by group (statistics: see `rin.stats`). P is of the paired test over
    all folds, Holm's over all rows of the table. All this is about these trained networks and new
    patients; training again is not in it.

    Args:
        predictions: of an `Experiment`.
        level: coverage of the intervals, between 0 and 1.

    Returns:
        DataFrame, one row a task and scenario, in the order of `predictions`: `task`, `backbone`,
        `trainable`, `learning_rate`; for both inits `auc_<init>`, `low_<init>` and `high_<init>`
        in [0, 1]; `difference` (pretrained − random), `low`, `high`, `p`, `p_holm`; `degenerate`
        (a difference without variance: P is NaN, no finding); `n_folds`, `n_images` (in all test
        sets), `n_groups`, and `n_patients` (NaN where a patient is not known).

    Raises:
        ExperimentError: several seeds, or two inits that were not tested on the same images.
    """
    rows = []
    for key, part in predictions.groupby(["task", *SCENARIO], sort=False):
        names = dict(zip(["task", *SCENARIO], key, strict=True))
        rows.append(names | _compared(part, " ".join(map(str, key)), level))
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", stats.holm(table["p"]))
    return table


def by_fold(predictions, level=0.95):
    """AUC of every run with its DeLong interval, clustered by group.

    Returns:
        DataFrame `task`, `init`, `scenario`, `fold`, then as `rin.judge.intervals` has them.
    """
    named = predictions.assign(arm=predictions["init"])
    scenario = named[SCENARIO].drop_duplicates()
    scenario["scenario"] = [str(Scenario(*row)) for row in scenario.itertuples(index=False)]
    named, parts = named.merge(scenario, on=SCENARIO), []
    for task, part in named.groupby("task", sort=False):
        found = judge.intervals(part, level).rename(columns={"arm": "init"})
        found.insert(0, "task", task)
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


def trivial(results, task):
    """The best trivial baseline the audit found for a task.

    Args:
        results: the folder with the audit's tables.
        task: a key of `AUDITS`.

    Returns:
        Series `baseline` (its name) and `auc` (mean of fold AUCs, patients and duplicates kept
        together as far as the set allows).
    """
    scores = pd.read_csv(Path(results) / AUDITS[task] / "audit_grouped.csv")
    grouped = scores.columns[-1]  # the columns go from no grouping to all of it
    best = scores.loc[scores[grouped].idxmax()]
    return best[["baseline", grouped]].set_axis(["baseline", "auc"])


def finding(table, level=0.95):
    """What the comparisons of one task show, in words that are right whichever way they fell.

    Args:
        table: rows of `compare`.
        level: a comparison counts when Holm's P is below 1 − level.

    >>> row = {"difference": 0.02, "p_holm": 0.3, "degenerate": False}
    >>> finding(pd.DataFrame([row]))
    'No gain is shown in 1 comparison (Holm P < 0.05 in none).'
    """
    alpha, n = f"{1 - level:.3g}", len(table)
    sure = (table["p_holm"] < 1 - level) & ~table["degenerate"]
    better, worse = ((sure & side).sum() for side in (table.difference > 0, table.difference < 0))
    of = f"of {n} comparison{'s' * (n != 1)}"
    if better and worse:
        return (
            f"Gains and losses: pretrained weights did better in {better} and worse in {worse} "
            f"{of} (Holm P < {alpha}); no one answer."
        )
    if better:
        rest = "" if better == n else f"; in the other {n - better} nothing is shown"
        return f"Pretrained weights did better in {better} {of} (Holm P < {alpha}){rest}."
    if worse:
        return f"No gain is shown but a loss, in {worse} {of} (Holm P < {alpha})."
    return f"No gain is shown in {of.removeprefix('of ')} (Holm P < {alpha} in none)."


def _compared(part, name, level):
    """Everything of one row of `compare` but its names."""
    a, b = (part[part["init"] == init].set_index(["fold", "row"]).sort_index() for init in INITS)
    if part["seed"].nunique() != 1 or not a.index.is_unique:
        raise ExperimentError(f"{name}: one seed is expected, found {part['seed'].nunique()}")
    if not a.index.equals(b.index):
        raise ExperimentError(f"{name}: the inits were not tested on the same images and folds")
    pairs = [(a.loc[fold], b.loc[fold]) for fold in a.index.unique("fold")]
    row = {}
    for init, cells in zip(INITS, zip(*pairs, strict=True), strict=True):
        found = [stats.auc_ci(c["y_true"], c["y_score"], patients=c["group"]) for c in cells]
        auc, low, high, _ = _mean([(one.auc, one.variance) for one in found], level)
        low, high = np.clip([low, high], 0, 1)
        row |= {f"auc_{init}": auc, f"low_{init}": low, f"high_{init}": high}
    tests = [
        stats.delong_test(x["y_true"], x["y_score"], y["y_score"], x["group"]) for x, y in pairs
    ]
    difference, low, high, p = _mean([(one.difference, one.variance) for one in tests], level)
    row |= {"difference": difference, "low": low, "high": high, "p": p}
    row |= {"degenerate": low == high and difference != 0, "n_folds": len(pairs)}
    row |= {"n_images": len(a), "n_groups": a["group"].nunique()}
    known = a["patient"].notna().all()
    return row | {"n_patients": a["patient"].nunique() if known else math.nan}


def _mean(folds, level):
    """Mean of independent estimates with its interval and P: `(mean, low, high, p)`.

    Args:
        folds: list of (estimate, variance).
        level: coverage.
    """
    values, variances = np.array(folds, dtype=float).T
    mean, se = float(values.mean()), math.sqrt(variances.sum()) / len(folds)
    half = NormalDist().inv_cdf((1 + level) / 2) * se
    if se == 0:
        p = math.nan if mean else 1.0
    else:
        p = math.erfc(abs(mean) / se / math.sqrt(2))
    return mean, mean - half, mean + half, p
