"""Cells: which scenarios and folds count for a comparison, and both arms' scores side by side."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from rin.stats.checks import require_columns, with_seed

N_SCENARIOS = 24  # of the study: 4 backbones × (2 + 2 + 2) ways to train
NEEDED = ["scenario", "fold", "row", "group", "y_true", "y_score"]


@dataclass(frozen=True)
class CommonCells:
    """What `common_cells` returns; as text it is "n of 24 scenarios, k of K folds".

    Attributes:
        predictions: DataFrame, the rows of both arms that count.
        n_scenarios: scenarios that count, of `of_scenarios`.
        n_folds: folds that were run, of `of_folds`; 0 where no scenario counts.
    """

    predictions: Any
    n_scenarios: int
    of_scenarios: int
    n_folds: int
    of_folds: int

    def __str__(self):
        scenarios = f"{self.n_scenarios} of {self.of_scenarios} scenarios"
        return f"{scenarios}, {self.n_folds} of {self.of_folds} folds"


@dataclass(frozen=True)
class Fold:
    """The test images of one fold and their scores from both arms.

    Attributes:
        name: of the fold.
        y_true: `(n,)` ints in {0, 1}.
        group: `(n,)` names of patients or duplicate groups.
        scenarios: names of the S scenarios.
        a, b: S arrays `(n_seeds, n)` of scores, a scenario each; arms may differ in seeds.
    """

    name: Any
    y_true: np.ndarray
    group: np.ndarray
    scenarios: tuple
    a: list
    b: list


def common_cells(predictions, a, b, by="init", n_scenarios=N_SCENARIOS, n_folds=None):
    """The cells that count: both arms have them, in every fold of their scenario.

    Args:
        predictions: DataFrame, one row a run and test image: `by`, `scenario`, `fold`, `row` (the
            image), `group`, `y_true`, `y_score`, and `seed` where there are several. A diverged
            run stays in, as a constant score.
        a, b: names of the arms.
        by: the column of arms: init, arm, preprocess, …
        n_scenarios: how many scenarios the study has.
        n_folds: how many folds the protocol has; None: those either arm was run in. A scenario
            needs all folds that either arm was run in.

    Returns:
        `CommonCells`. No scenario may count: then its table is empty.

    Raises:
        ValueError: a column or value is missing, an arm is not there, several tasks, or an image
            twice in a cell. Arms that differ in more than `by`, such as in preprocess too, are the
            caller's to avoid: name them in a column of their own.
    """
    require_columns(predictions, [by, *NEEDED])
    _check_arms(predictions, a, b, by)
    used = predictions[predictions[by].isin([a, b])]
    _check_rows(used, by)
    n_run = used["fold"].nunique()
    cells = used[[by, "scenario", "fold"]].drop_duplicates()
    complete = cells.groupby("scenario").size() == 2 * n_run
    used = used[used["scenario"].isin(complete.index[complete])]
    counted = used["fold"].nunique()
    return CommonCells(used, int(complete.sum()), n_scenarios, counted, n_folds or n_run)


def paired_folds(predictions, a, b, by="init"):
    """Every fold's test images with the scores of both arms in the scenarios that count.

    Args:
        predictions, a, b, by: as in `common_cells`.

    Returns:
        List of `Fold` in the order of their names, all with the same scenarios; empty when no
        scenario counts.

    Raises:
        ValueError: see `common_cells`; or the cells of a fold are not about the same images.
    """
    used = common_cells(predictions, a, b, by).predictions
    return [_fold(name, part, a, b, by) for name, part in used.groupby("fold")]


def _fold(name, part, a, b, by):
    columns = with_seed(part, by, "scenario")
    wide = part.pivot(index="row", columns=columns, values="y_score")
    if wide.isna().to_numpy().any():
        raise ValueError(f"fold {name}: the runs were not tested on the same images")
    first = part.drop_duplicates("row").set_index("row")[["y_true", "group"]]
    for fact in first:
        if (part[fact].to_numpy() != first[fact].reindex(part["row"]).to_numpy()).any():
            raise ValueError(f"fold {name}: `{fact}` of an image differs between runs")
    first = first.loc[wide.index]
    scenarios = tuple(sorted(part["scenario"].unique()))
    both = [[wide[arm][[one]].to_numpy().T for one in scenarios] for arm in (a, b)]
    return Fold(name, first["y_true"].to_numpy(), first["group"].to_numpy(), scenarios, *both)


def n_split_groups(folds):
    """How many groups have images in several folds: folds are then not independent."""
    seen = Counter(group for fold in folds for group in set(fold.group))
    return sum(n > 1 for n in seen.values())


def _check_arms(predictions, a, b, by):
    arms = sorted(predictions[by].unique())
    if a not in arms or b not in arms or a == b:
        raise ValueError(f"`a` and `b` should be two of {arms}. Received: a={a!r}, b={b!r}")
    if "task" in predictions and predictions["task"].nunique() > 1:
        tasks = sorted(predictions["task"].unique())
        raise ValueError(f"`predictions` should be of one task. Received: {tasks}")


def _check_rows(used, by):
    keys = with_seed(used, by, "scenario", "fold", "row")
    n = int(used.duplicated(keys).sum())
    if n:
        raise ValueError(
            f"`predictions` should have an image once in {keys[:-1]}. Received: {n} more rows; do "
            f"runs differ in more than {by}, such as preprocess or batch_size?"
        )
