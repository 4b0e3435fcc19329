"""Outcomes: a run's losses epoch by epoch, its best epoch, and the tables it leaves."""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from rin import manifest

CONSTANT_SCORE = 0.5  # of a diverged run: AUC 0.5, counted and named, never dropped


@dataclass
class Outcome:
    """A run under way.

    Attributes:
        history: one dict an epoch: epoch, loss, val_loss.
        best: val_loss, epoch, val (`(n, 2)` scores) and state of the epoch with the lowest
            validation loss; empty before the first.
        diverged: whether a loss was not finite; nothing is trained after that.
        seconds: spent on this run alone.
    """

    history: list = field(default_factory=list)
    best: dict = field(default_factory=dict)
    diverged: bool = False
    seconds: float = 0.0

    def add(self, loss, val_loss, scores, state):
        """One more epoch.

        Args:
            loss, val_loss: means of the trained objective over train and val.
            scores: `(n, 2)` probabilities for val.
            state: called without arguments for what is kept if this epoch is the best so far.
        """
        epoch = len(self.history)
        self.history.append({"epoch": epoch, "loss": float(loss), "val_loss": val_loss})
        self.diverged = not (math.isfinite(loss) and math.isfinite(val_loss))
        if not self.diverged and val_loss < self.best.get("val_loss", math.inf):
            self.best = {"val_loss": val_loss, "epoch": epoch, "val": scores, "state": state()}

    def tables(self, run, data, test):
        """What the run leaves.

        Args:
            run: its `rin.scenarios.Run`.
            data: a `rin.prepare.Data`.
            test: `(n, 2)` scores of the best epoch; ignored if the run diverged.

        Returns:
            (predictions, history, result): the DataFrames of `predictions.parquet` and
            `history.parquet`, and a dict of counts.
        """
        rows = rows_of(data, run.fold)
        scores = {"val": self.best.get("val"), "test": test}
        if self.diverged:
            scores = {name: np.full((len(rows[name]), 2), CONSTANT_SCORE) for name in scores}
        tables = [_table(data, rows[name], name, scores[name]) for name in ("val", "test")]
        n_epochs = len(self.history)
        result = {
            "diverged": self.diverged,
            "best_epoch": None if self.diverged else self.best["epoch"],
            "val_loss": None if self.diverged else self.best["val_loss"],
            "n_epochs": n_epochs,
            "n_updates": n_epochs * math.ceil(len(rows["train"]) / run.batch_size),
            "seconds": round(self.seconds, 2),
            **{f"n_{name}": len(rows[name]) for name in rows},
        }
        return pd.concat(tables, ignore_index=True), pd.DataFrame(self.history), result


def rows_of(data, fold):
    """Row numbers of a fold's train, val and test images: a dict of `(n,)` ints."""
    return {name: np.flatnonzero(data.splits[:, fold] == name) for name in manifest.SPLITS}


def order(rows, seed, epoch):
    """The rows in the order of one training epoch, keyed by seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def _table(data, rows, split, scores):
    columns = {
        "row": rows,
        "image_id": data.image_ids[rows],
        "patient": pd.array(data.patients[rows], dtype="string"),
        "group": data.groups[rows],
        "split": split,
        "y_true": data.y[rows],
        "y_score": scores[:, 1].astype(np.float64),
        "y_score_negative": scores[:, 0].astype(np.float64),
    }
    return pd.DataFrame(columns)
