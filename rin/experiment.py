"""The pretraining experiment: its kept tables."""

from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from rin import kept_tables, paths, records

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
TUNED = ("runs", "losses", "predictions")  # of fine-tuning: all three, or none of them


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

    The last three, of fine-tuning, are empty where none of them was kept.
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
        ExperimentError: one of them is not there, or the runs don't name their objective.
    """
    home, names = paths.resolve(folder), [one.name for one in fields(Experiment)]
    empty = () if any((home / FILES[name]).is_file() for name in TUNED) else TUNED
    files = [FILES[name] for name in names if name not in empty]
    tables = kept_tables.read(home, files, ExperimentError, "benchmarks/keep_experiment.py")
    found = Experiment(*tables, *(pd.DataFrame() for _ in empty))
    if len(found.runs) and "objective" not in found.runs:
        raise ExperimentError(records.no_objective(home, "these tables are"))
    return found


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
