"""Keep the pretraining experiment: from finished runs on real images to the tables of a page.

    python benchmarks/keep_experiment.py --pretraining DIR --runs DIR
        --data radimagenet=NINE breast=BUSI pediatric=KERMANY
        [--block-size 20] [--image-size 96] [--trainables head top10] [--out results/pretraining]

`--pretraining` is what *Pretrain a backbone* wrote, `--runs` what *Fine-tune a backbone* wrote:
pretrained weights and random ones, the same scenarios, folds and seed. The images are read again,
so that the tables can't say more than is true: a run counts only if its data fingerprint is that
of these images, at this size and split, and its weights those of the pretraining. Phantoms and
unfinished grids are refused, and then nothing is written.

No table holds a path, a file name or an id from a dataset: images go by the hash of their pixels,
patients and groups by running names in an order that is drawn at random and kept nowhere.
"""

import argparse
import secrets
from pathlib import Path

import experiment_steps
import numpy as np
import pandas as pd
from experiment_steps import TRAINABLES

from rin import experiment, judge, records, scenarios, splits
from rin.datasets import DatasetError, is_phantom
from rin.experiment import INITS, RUN, SCENARIO
from rin.images import ImageError
from rin.prepare import prepare
from rin.pretraining import card as cards
from rin.pretraining import database, scores
from rin.scenarios import Scenario

DATABASE = "radimagenet"  # the reader of what was pretrained on
COUNTS = ["objective", "batch_size", "n_train", "n_val", "n_test", "n_trainable", "n_updates"]
COUNTS += ["n_epochs", "best_epoch", "diverged", "seconds"]


class KeepError(ValueError):
    """Runs that can't stand in the tables."""


REFUSED = (KeepError, DatasetError, ImageError, judge.JudgeError, cards.CardError)
REFUSED += (splits.SplitError, database.DatabaseError)


def collect(pretraining, runs_dir, folders, block_size=500, image_size=None, trainables=None):
    """All tables of the experiment.

    Args:
        pretraining: folder with `<backbone>/record.json` and the weight files' cards.
        runs_dir: folder with the fine-tuning runs of all tasks.
        folders: dict from "radimagenet" and each task to the folder of its images.
        block_size: of the pretraining's split.
        image_size: of the fine-tuning, pixels a side; None for that of the pretraining.
        trainables: the scenarios to keep; None for all.

    Returns:
        A `rin.experiment.Experiment`.

    Raises:
        KeepError, rin.judge.JudgeError: see the module.
    """
    tasks = [name for name in folders if name != DATABASE]
    if DATABASE not in folders or not tasks:
        raise KeepError(f"`--data` should name {DATABASE} and one task or more: {list(folders)}")
    for name, folder in folders.items():
        if is_phantom(folder) is not None:
            raise KeepError(f"{name}: {folder} holds phantoms, and a phantom result is no finding")
    done = pretrainings(pretraining)
    tuned = {task: chosen(runs_dir, task, trainables) for task in tasks}
    size = image_size or next(iter(done.values()))["facts"]["image_size"]
    base, process = _pretrained(pretraining, done, folders[DATABASE], block_size)
    parts = []
    for task, found in tuned.items():
        ready = prepare(task, folders[task], image_size=size)
        check(found, ready.data, done, pretraining)
        parts.append(_tuned(found, ready.data))
        process += experiment_steps.fine_tuning(found, ready, done, size)
    names = ("runs", "losses", "predictions")
    joined = [pd.concat(several, ignore_index=True) for several in zip(*parts, strict=True)]
    base |= dict(zip(names, joined, strict=True))
    return experiment.Experiment(process=pd.DataFrame(process), **base)


def pretrainings(folder):
    """The records of all pretrainings below a folder, by backbone.

    Raises:
        KeepError: none, an unfinished one, or one of phantoms.
    """
    homes = [folder / name for name in sorted(scenarios.BACKBONES) if (folder / name).is_dir()]
    found = {home.name: records.read(home) for home in homes}
    if not found:
        raise KeepError(f"{folder}: no pretraining there; expected a folder for each backbone")
    if unfinished := [name for name, record in found.items() if record is None]:
        raise KeepError(f"{folder}: the pretraining of {', '.join(unfinished)} is not finished")
    if phantom := [name for name, record in found.items() if record["phantom"]]:
        raise KeepError(f"{folder}: {', '.join(phantom)} saw phantoms, which is no finding")
    return found


def chosen(runs_dir, task, trainables=None):
    """The runs of a task, `init` named as in `rin.experiment.INITS`, with their records.

    Raises:
        KeepError: nothing of these trainables, or not exactly one weight file beside random.
    """
    runs, _ = judge.gather(runs_dir, task)
    runs = runs[runs["trainable"].isin(trainables or TRAINABLES)].reset_index(drop=True)
    inits = sorted(set(runs["init"]) - {"random"})
    if len(inits) != 1 or "random" not in set(runs["init"]):
        raise KeepError(
            f"{task}: random and one kind of weight files are expected. "
            f"Received: {sorted(set(runs['init'])) or 'no run'}"
        )
    runs["init"] = runs["init"].replace(inits[0], INITS[0])
    return runs.assign(record=[records.read(folder) for folder in runs["folder"]])


def check(runs, data, done, pretraining):
    """Whether runs are what the tables will say they are.

    Args:
        runs: of `chosen`.
        data: the `rin.prepare.Data` of the real images.
        done: of `pretrainings`.
        pretraining: its folder.

    Raises:
        KeepError: other images, weights of elsewhere, unlike arms, or a fold that is missing.
    """
    task = runs["task"].iloc[0]
    if (other := set(runs["data_fingerprint"])) != {data.fingerprint}:
        raise KeepError(
            f"{task}: the runs' data and split are {', '.join(other)}, those of the folder given "
            f"at {data.images.shape[1]} px {data.fingerprint}: other images, or another size"
        )
    for name in ("preprocess", "seed"):
        if runs[name].nunique() != 1:
            raise KeepError(f"{task}: one {name} is expected. Received: {sorted(set(runs[name]))}")
    if (runs.groupby(SCENARIO)["batch_size"].nunique() > 1).any():
        raise KeepError(f"{task}: both inits need one batch size in each scenario")
    for backbone, several in runs[runs["init"] == INITS[0]].groupby("backbone"):
        files = _card(pretraining, done, backbone).sha256 if backbone in done else {}
        strange = {record["init_fingerprint"] for record in several["record"]} - {*files.values()}
        if strange:
            raise KeepError(f"{task}, {backbone}: its weights are of no pretraining given here")
    if missing := list(_missing(runs, data.splits.shape[1])):
        raise KeepError(
            f"{task}: the grid is not finished ({'; '.join(missing)}); finish it, or name the "
            "finished trainables with `--trainables`"
        )


def unlinked(values, letter):
    """Running names for the values of a column, in an order drawn by the system and forgotten."""
    known = sorted(set(values.dropna()))
    secrets.SystemRandom().shuffle(known)
    width = len(str(len(known)))
    return values.map({name: f"{letter}{n:0{width}d}" for n, name in enumerate(known)})


def _pretrained(folder, done, images_dir, block_size):
    """The tables of pretraining by their names, and its rows of `process`."""
    facts, protocol = next(iter(done.values()))["facts"], next(iter(done.values()))["protocol"]
    base = database.prepare(
        images_dir, image_size=facts["image_size"], protocol=protocol, block_size=block_size
    )
    mark, sizes = base.data.fingerprint, base.counts().set_index("label")["n_train"]
    found, process = {"history": [], "metrics": [], "classes": [], "labels": []}, []
    for backbone, record in done.items():
        if record["facts"]["data_fingerprint"] != mark:
            raise KeepError(
                f"{backbone}: pretrained on data and split {record['facts']['data_fingerprint']}, "
                f"those of the folder given are {mark}: other images, or another `--block-size`"
            )
        home, classes = folder / backbone, record["facts"]["classes"]
        labels = pd.read_parquet(home / "predictions.parquet")
        reports = [
            scores.report(part, n_classes=len(classes)).reset_index().assign(split=split)
            for split, part in labels.groupby("split")
        ]
        one = {
            "history": pd.read_parquet(home / "history.parquet"),
            "metrics": pd.concat(reports, ignore_index=True),
            "classes": scores.per_class(labels[labels["split"] == "test"], sizes),
            "labels": _small(labels.sort_values(["split", "image_id", "y_true"])),
        }
        for name, frame in one.items():
            found[name].append(_named(frame, backbone=backbone))
        process.append(experiment_steps.pretraining(record, base, block_size))
    return {k: pd.concat(parts, ignore_index=True) for k, parts in found.items()}, process


def _tuned(runs, data):
    """The tables of one task's runs: counts, losses and test predictions."""
    losses = records.predictions(runs, table="history")
    tested = records.predictions(runs)
    number = np.empty(len(data.y), dtype=np.int32)  # by pixel hash: rows go by file name
    number[np.argsort(data.image_ids, kind="stable")] = np.arange(len(data.y))
    tested["row"] = number[tested["row"]]
    tested["patient"] = unlinked(tested["patient"], "p")
    tested["group"] = unlinked(tested["group"], "g")
    shown = [*RUN, "row", "image_id", "patient", "group", "y_true", "y_score"]
    return (
        _ordered(runs[[*RUN, *COUNTS]], RUN),
        _small(_ordered(losses[[*RUN, "epoch", "loss", "val_loss"]], [*RUN, "epoch"])),
        _small(_ordered(tested[shown], [*RUN, "row"])),
    )


def _missing(runs, n_folds):
    """Sentences on the folds each scenario lacks."""
    by = runs.groupby([*SCENARIO, "init"])["fold"].agg(set)
    for key in runs[SCENARIO].drop_duplicates().itertuples(index=False, name=None):
        for init in INITS:
            lacks = sorted(set(range(n_folds)) - by.get((*key, init), set()))
            if lacks:
                yield f"{Scenario(*key)} {init} lacks folds {', '.join(map(str, lacks))}"


def _card(folder, done, backbone):
    return cards.read(folder / done[backbone]["files"]["card"])


def _named(frame, **names):
    """A table with constant columns before its own, and a fresh index."""
    frame = frame.reset_index(drop=True)
    return pd.DataFrame(names, index=frame.index).join(frame)


def _ordered(frame, by):
    def key(column):
        return column.map(TRAINABLES) if column.name == "trainable" else column

    return frame.sort_values(by, key=key, ignore_index=True)


def _small(frame):
    """Scores and losses in float32, as networks make them; rates stay what they are called."""
    floats = [c for c in frame.select_dtypes("float64") if c != "learning_rate"]
    return frame.astype(dict.fromkeys(floats, "float32"))


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretraining", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--runs", type=Path, required=True, help="folder of fine-tuning runs")
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=FOLDER", help="images")
    parser.add_argument("--block-size", type=int, default=500, help="of the pretraining's split")
    parser.add_argument("--image-size", type=int, help="of fine-tuning; default as pretraining")
    parser.add_argument("--trainables", nargs="+", choices=TRAINABLES, help="default all")
    parser.add_argument("--out", type=Path, default=Path("results/pretraining"))
    asked = parser.parse_args(arguments)
    if wrong := [pair for pair in asked.data if "=" not in pair]:
        raise SystemExit(f"error: `--data` should be NAME=FOLDER. Received: {wrong}")
    folders = {name: Path(at) for name, at in (pair.split("=", 1) for pair in asked.data)}
    options = asked.block_size, asked.image_size, asked.trainables
    try:
        found = collect(asked.pretraining, asked.runs, folders, *options)
    except REFUSED as error:
        raise SystemExit(f"error: {error}") from error
    experiment.write(found, asked.out)
    shown = ["step", "what", "backbones", "trainable", "n_runs", "n_images", "hours"]
    print(found.process[shown].to_string(index=False))
    print(f"kept in {asked.out}")


if __name__ == "__main__":
    main()
