"""Context: gains beside the size of their dataset and what the pretraining database held."""

import pandas as pd

from rin import experiment, paths, published
from rin.comparison.gathered import KEPT_FOLDER, PAIR, STUDY_PAIR
from rin.datasets import registry

STUDY = "published"
# The database names the organ where tasks name the region. Our reading.
ORGANS = {"chest": "lung", "head": "brain"}
PEDIATRIC = {"pediatric": "chest"}  # the registry has modalities; the paper has no such task
RELATIONS = ("not the anatomy", "anatomy, other modality", "anatomy and modality")
COLUMNS = ["task", "source", "a", "b", "gain", "low", "high", "n_images", "n_train", "relation"]


def context(runs, gains, results_dir):
    """Published and measured gains, each with its dataset's size and its tie to the database.

    Args:
        runs: of `gather`.
        gains: of `gains`.
        results_dir: as for `gather`; says what the kept networks were pretrained on.

    Returns:
        DataFrame task, source ("published" or as in `gains`), a, b, gain, low, high (points;
        published as printed, measured of the contrast), n_images (of the dataset), n_train (mean
        of folds; NaN for published ones, which print none) and relation: one of `RELATIONS`, NaN
        where what an init was pretrained on is not known.
    """
    theirs, about = published.tasks(), _about()
    ours = gains.rename(columns={"contrast_low": "low", "contrast_high": "high"})
    size = runs.groupby(PAIR)[["n_train", "n_val", "n_test"]].mean()
    size["n_images"] = size.sum(axis=1)  # n_train, n_val and n_test of a fold make the dataset
    ours = ours.drop(columns="n_images").join(size[["n_images", "n_train"]], on=PAIR)
    groups = {"own run": _groups(published.database()), "kept result": _kept_groups(results_dir)}
    ours["relation"] = [
        relation(*about[row.task], groups[row.source])
        if row.task in about
        and (row.a.partition(", ")[0] == STUDY_PAIR[0] or row.source == "kept result")
        else pd.NA
        for row in ours.itertuples()
    ]
    printed = {"gain_points": "gain", "gain_ci_low": "low", "gain_ci_high": "high"}
    theirs = theirs.rename(columns=printed).assign(source=STUDY, a="radimagenet", b="imagenet")
    theirs["n_images"] = theirs["n_positive"] + theirs["n_negative"]
    theirs["relation"] = [relation(*about[task], groups["own run"]) for task in theirs["task"]]
    parts = [frame.reindex(columns=COLUMNS) for frame in (theirs, ours) if len(frame)]
    return pd.concat([part.astype({"n_train": float}) for part in parts], ignore_index=True)


def relation(modality, anatomy, groups):
    """How a task is tied to a pretraining database: one of `RELATIONS`.

    Args:
        modality, anatomy: of the task.
        groups: set of (modality, anatomy) that the database holds.

    >>> relation("CT", "head", {("MR", "brain"), ("CT", "lung")})
    'anatomy, other modality'
    """
    organ = ORGANS.get(anatomy, anatomy)
    if (modality, organ) in groups:
        return RELATIONS[2]
    return RELATIONS[1] if organ in {name for _, name in groups} else RELATIONS[0]


def rank_correlations(table):
    """Spearman's correlation of gain and dataset size: a description of few tasks, no test.

    Args:
        table: of `context`.

    Returns:
        DataFrame source, rho (NaN below three tasks), n_tasks (with both).
    """
    rows = []
    for source, part in table.groupby("source", sort=False):
        known = part.dropna(subset=["gain", "n_images"])
        several = len(known) > 2
        rho = known["gain"].corr(known["n_images"], method="spearman") if several else None
        rows.append({"source": source, "rho": rho, "n_tasks": len(known)})
    return pd.DataFrame(rows).astype({"rho": float})


def _about():
    """Modality and anatomy by task."""
    tasks = published.tasks().set_index("task")
    theirs = {name: (row["modality"], row["anatomy"]) for name, row in tasks.iterrows()}
    cards = registry.cards()
    return theirs | {name: (cards[name].modality, part) for name, part in PEDIATRIC.items()}


def _groups(database):
    return set(zip(database["modality"], database["anatomy"], strict=True))


def _kept_groups(results_dir):
    """What the networks of the kept results were pretrained on, as `relation` takes it."""
    folder = paths.resolve(results_dir) / KEPT_FOLDER
    if not folder.is_dir():
        return set()
    labels = [label.split("/") for label in experiment.read(folder).classes["label"]]
    return {(one[0], published.anatomy_group(one[0], one[1])) for one in labels}
