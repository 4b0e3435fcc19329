"""The study's runs under each protocol, and the tables that are kept of them."""

from dataclasses import dataclass, fields

import pandas as pd

from rin import baselines as blind
from rin import judge, kept_tables, paths, records
from rin.pediatric.maps import mean_maps

TASK = "pediatric"
NETWORK = {"backbone": "resnet50", "trainable": "head", "classifier": "flatten"}
STRIDE, N_FEATURES = 32, 2048  # of ResNet50's last map
FILES = {"runs": "runs.csv", "predictions": "predictions.parquet", "maps": "maps.csv"}
FILES |= {"baselines": "baselines.csv"}
CELL = ["protocol", "arm", "scenario", "fold", "seed"]  # names a run
COUNTS = ["image_size", "n_train", "n_val", "n_test", "n_trainable", "n_updates", "n_epochs"]
COUNTS += ["best_epoch", "val_loss", "diverged", "seconds", "data_fingerprint"]
RUNS = [*CELL, "init", "preprocess", "objective", "learning_rate", "batch_size", *COUNTS]
TESTED = ["split", "row", "group", "y_true", "y_score", "y_score_negative"]
BASELINES = ["protocol", "baseline", "fold", "auc", "data_fingerprint"]


class PediatricError(ValueError):
    """Runs or tables the study can't be read from."""


@dataclass(frozen=True)
class Study:
    """The tables of the study; `FILES` says where each is kept. All but the last have `CELL`.

    Attributes:
        runs: one row a run: `RUNS`.
        predictions: one row a run and image of val or test: `TESTED`.
        maps: of `mean_maps`.
        baselines: of `baselines`.
    """

    runs: pd.DataFrame
    predictions: pd.DataFrame
    maps: pd.DataFrame
    baselines: pd.DataFrame


def runs(runs_dir):
    """The finished runs of the study: frozen ResNet50, flatten, every learning rate there is.

    Args:
        runs_dir: folder that training wrote to; pediatric runs of other networks may be there.

    Returns:
        DataFrame, one row a run, as `rin.judge.gather` has them.

    Raises:
        PediatricError: none of them is the study's.
        rin.judge.JudgeError: no pediatric run, or runs that can't be judged together.
    """
    found, _ = judge.gather(paths.resolve(runs_dir), TASK)
    mine = (found[list(NETWORK)] == pd.Series(NETWORK)).all(axis=1)
    if not mine.any():
        said = ", ".join(NETWORK.values())
        raise PediatricError(f"{runs_dir}: no finished run of {said} among {len(found)} runs")
    found = found[mine].reset_index(drop=True)
    return found.assign(arm=judge.arms(found))  # told apart among these alone, as in `study`


def study(folders, image_size, prepared=None):
    """Everything the study's page shows, from run folders.

    Args:
        folders: dict from protocol ("5-fold", "official", …) to the folder of its runs.
        image_size: pixels a side, as the runs had it.
        prepared: dict from protocol to a `rin.prepare.Prepared`, the images of these runs; without
            them there are no baselines.

    Returns:
        A `Study`; groups are called as the dataset calls them, and must not leave the page.

    Raises:
        PediatricError: see `runs` and `baselines`; or heads that are not of this image size.
        rin.judge.JudgeError: see `runs`.
        FileNotFoundError: a run that did not diverge kept no maps.
    """
    parts = [_of_protocol(name, folder, image_size) for name, folder in folders.items()]
    tables = [_joined(several) for several in zip(*parts, strict=True)]
    return Study(*tables, baselines(prepared or {}, tables[0]))


def baselines(prepared, runs):
    """Test AUC of every image-blind baseline, trained and tested on the networks' own folds.

    Args:
        prepared: dict from protocol to a `rin.prepare.Prepared`.
        runs: of a `Study`, with all of these protocols.

    Returns:
        DataFrame `BASELINES`: one row a protocol, baseline and fold that was run; the fingerprint
        of images and split is that of the runs.

    Raises:
        PediatricError: images or a split that are not the runs'.
    """
    parts = [pd.DataFrame(columns=BASELINES)]
    for protocol, one in prepared.items():
        mine = runs[runs["protocol"] == protocol]
        mark = one.data.fingerprint
        if (other := set(mine["data_fingerprint"])) != {mark}:
            raise PediatricError(
                f"{protocol}: the runs' data and split are {', '.join(sorted(other))}, those of "
                f"the images given at {one.data.images.shape[1]} px {mark}: other images, another "
                "size, interpolation or split"
            )
        found = blind.scores(one.manifest, one.store, one.classes[1])
        found = found[found["fold"].isin(mine["fold"])]
        parts.append(found.assign(protocol=protocol, data_fingerprint=mark)[BASELINES])
    return _joined(parts)


def best_baselines(table):
    """The best image-blind baseline of every protocol.

    Args:
        table: of `baselines`.

    Returns:
        DataFrame `protocol`, `baseline`, `auc` (mean of fold AUCs).
    """
    found = {name: blind.best(part) for name, part in table.groupby("protocol", sort=False)}
    return pd.DataFrame([{"protocol": name} | best._asdict() for name, best in found.items()])


def chosen(frame, runs):
    """The rows of a table that belong to each arm's learning rate with the lowest val loss.

    Args:
        frame: DataFrame with `protocol`, `arm` and `scenario`: any table of a `Study`.
        runs: of the `Study`.

    Returns:
        The rows of `frame`, one scenario a protocol and arm.
    """
    by = runs.groupby(["protocol", "arm"], sort=False)
    best = {(protocol, *judge.chosen(part, arm)) for (protocol, arm), part in by}
    keys = frame[["protocol", "arm", "scenario"]].itertuples(index=False, name=None)
    return frame[[key in best for key in keys]].reset_index(drop=True)


def head_parameters(image_size):
    """Parameters of flatten and a dense layer of two units on ResNet50: (h w 2048 + 1) × 2.

    >>> head_parameters(256)
    262146
    """
    side = -(-image_size // STRIDE)
    return side * side * N_FEATURES * 2 + 2


def write(found, folder):
    """Keep a study's tables: all of them are complete before the first one is replaced."""
    kept_tables.write({file: getattr(found, name) for name, file in FILES.items()}, folder)


def read(folder):
    """The kept tables, as a `Study`.

    Raises:
        PediatricError: one of them is not there, or the runs don't name their objective.
    """
    files = [FILES[one.name] for one in fields(Study)]
    maker = "benchmarks/keep_pediatric.py"
    found = Study(*kept_tables.read(folder, files, PediatricError, maker))
    if "objective" not in found.runs:
        raise PediatricError(records.no_objective(folder, "these tables are"))
    return found


def _joined(tables):
    """Tables one below the other; an empty one has no dtypes, and would take the others'."""
    return pd.concat([one for one in tables if len(one)] or tables[:1], ignore_index=True)


def _of_protocol(protocol, folder, image_size):
    """The three tables of one protocol."""
    found = runs(folder).assign(protocol=protocol, image_size=image_size)
    if other := set(found["n_trainable"]) - {head_parameters(image_size)}:
        raise PediatricError(
            f"{folder}: heads of {sorted(other)} parameters; "
            f"images of {image_size} px make {head_parameters(image_size)}"
        )
    predictions = records.predictions(found, split=None)
    predictions = predictions[predictions["split"].isin(["val", "test"])]
    predictions = predictions.assign(arm=judge.arms(predictions), protocol=protocol)
    maps = mean_maps(found, predictions[predictions["split"] == "test"])
    maps.insert(0, "protocol", protocol)
    return found[RUNS], predictions[[*CELL, *TESTED]], maps
