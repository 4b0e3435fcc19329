"""Looks: all tables of one task's maps, made from runs and masks, or kept without either."""

from dataclasses import dataclass, fields

import pandas as pd

from rin import kept_tables, records
from rin import manifest as manifests
from rin.experiment import INITS
from rin.gradcam import choices, ladder, tables
from rin.gradcam.overlap import THRESHOLD
from rin.scenarios import NAMED_INITS


class LooksError(ValueError):
    """Kept tables that are not there, or can't be made."""


@dataclass(frozen=True)
class Looks:
    """What a task's maps look at; all but `overlaps` and `sanity` are empty without masks.

    Attributes:
        overlaps: of `rin.gradcam.tables.overlaps`, with the choices it was made under
            (`rin.gradcam.tables.CHOICES`).
        curve: of `rin.gradcam.tables.curve`.
        sensitivity: of `rin.gradcam.tables.sensitivity`.
        ladder: of `rin.gradcam.ladder.ladder`.
        sanity: of `rin.gradcam.checking.check`, of one run; empty where no weights were kept.
    """

    overlaps: pd.DataFrame
    curve: pd.DataFrame
    sensitivity: pd.DataFrame
    ladder: pd.DataFrame
    sanity: pd.DataFrame


def find(
    runs,
    predictions,
    drawn,
    has,
    splits,
    which="predicted",
    of="probability",
    threshold=THRESHOLD,
    resize="bilinear",
):
    """The tables of these runs.

    Args:
        runs, predictions: of `rin.judge.gather`.
        drawn, has: of `rin.gradcam.tables.masks`.
        splits: `(n, n_folds)` of "train", "val", "test", a row an image.
        which, of: see `rin.gradcam.choices.signed`.
        threshold: in 0..255.
        resize: see `rin.gradcam.choices.to_cam`.

    Returns:
        `Looks`, its `sanity` empty: that needs a network.

    Raises:
        FileNotFoundError: a run kept no maps.
    """
    told = runs, drawn, has, predictions
    made = {"which": which, "of": of, "threshold": threshold, "resize": resize}
    (objective,) = runs["objective"].unique()  # others are not judged together
    overlaps = tables.overlaps(*told, **made).assign(**made, objective=objective)
    if not has.any():
        return Looks(overlaps, *(pd.DataFrame() for _ in range(4)))
    grids = sorted({choices.load(folder)[0].shape[1:3] for folder in runs["folder"]})
    folds = sorted(runs["fold"].unique())
    steps = ladder.ladder(drawn, splits[:, folds], grids, threshold, resize=resize)
    steps["fold"] = steps["fold"].map(dict(enumerate(folds)))
    curve = tables.curve(*told, which, of, resize)
    return Looks(overlaps, curve, tables.sensitivity(*told), steps, pd.DataFrame())


def splits_of(frame):
    """`(n, n_folds)` sets of a split manifest."""
    return frame[manifests.split_columns(frame)].to_numpy(str)


def write(looks, folder):
    """Keep the tables without names: all are complete before the first is replaced.

    Images and groups get running numbers by the hash of their pixels, not by their files' order;
    where one init was a weight file it becomes "pretrained", for the file's name is its owner's.

    Args:
        looks: a `Looks`.
        folder: where `<field>.parquet` is written.

    Raises:
        LooksError: weight files of several kinds.
    """
    kept = {one.name: _plain(getattr(looks, one.name), looks) for one in fields(Looks)}
    images = looks.overlaps.sort_values(["image_id", "row"]).drop_duplicates("row")
    rows = pd.Series(range(len(images)), images["row"])
    groups = {name: f"g{n}" for n, name in enumerate(images["group"].drop_duplicates())}
    kept["overlaps"] = kept["overlaps"].assign(group=looks.overlaps["group"].map(groups))
    for name in {"overlaps", "ladder"} & {name for name, table in kept.items() if len(table)}:
        kept[name] = kept[name].assign(row=kept[name]["row"].map(rows))
    kept_tables.write({f"{name}.parquet": frame for name, frame in kept.items()}, folder)


def read(folder):
    """The tables that `write` kept.

    Raises:
        LooksError: one of them is not there, or the runs don't name their objective.
    """
    files = [f"{one.name}.parquet" for one in fields(Looks)]
    found = Looks(*kept_tables.read(folder, files, LooksError, "the page on maps"))
    if "objective" not in found.overlaps:
        raise LooksError(records.no_objective(folder, "these tables are"))
    return found


def _plain(frame, looks):
    """A copy of a table, with the name of a weight file replaced in it."""
    files = sorted(set(looks.overlaps["init"]) - set(NAMED_INITS))
    if len(files) > 1:
        raise LooksError(f"tables are kept of one kind of weight files. Received: {len(files)}")
    if not files:
        return frame.copy()
    frame = frame.rename(columns=lambda name: name.replace(files[0], INITS[0]))
    for name in {"arm", "init"} & set(frame):
        frame[name] = frame[name].str.replace(files[0], INITS[0], regex=False)
    return frame
