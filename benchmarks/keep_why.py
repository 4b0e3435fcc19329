"""Keep runs of several preprocesses and batch sizes as the tables that the *Why* page reads.

    python benchmarks/keep_why.py --runs DIR --data breast=BUSI [pediatric=KERMANY]
        [--image-size 96] [--out results/why]

`--runs` is what *Fine-tune a backbone* wrote with `preprocesses: [official, native]` or with
several `batch_sizes`. The images are read again, so that the tables can't say more than is true: a
run counts only if its data fingerprint is that of these images, at this size and split. Phantoms
are refused, and so are runs of one setting alone or whose arms have unlike folds; then nothing is
written. An init from weight files is called `pretrained`.

No table holds a path, a file name or an id from a dataset: images go by running numbers in the
order of the hash of their pixels, groups by running names in an order that is kept nowhere.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from keep_experiment import KeepError, unlinked

from rin import judge, paths, splits, why
from rin.datasets import DatasetError, is_phantom
from rin.images import ImageError
from rin.prepare import prepare
from rin.scenarios import NAMED_INITS

ARM = ["init", "preprocess", "batch_size"]
PRETRAINED = "pretrained"
REFUSED = (KeepError, DatasetError, ImageError, judge.JudgeError, splits.SplitError, why.WhyError)


def collect(runs_dir, folders, image_size):
    """The tables of all tasks.

    Args:
        runs_dir: folder of the runs.
        folders: dict from task to the folder of its real images.
        image_size: pixels a side, as the runs had it.

    Returns:
        (runs, predictions), as `rin.why.write` takes them.

    Raises:
        KeepError, rin.judge.JudgeError: see the module.
    """
    for task, folder in folders.items():
        if is_phantom(folder) is not None:
            raise KeepError(f"{task}: {folder} holds phantoms, and a phantom result is no finding")
    parts = []
    for task, folder in folders.items():
        ran, tested = judge.gather(paths.resolve(runs_dir), task)
        found = why.needed(ran, tested)
        if ran["phantom"].eq(True).any():
            raise KeepError(f"{task}: runs of phantoms are among them, which are no finding")
        data = prepare(task, folder, image_size=image_size).data
        check(found[0], set(ran["data_fingerprint"]), data, task)
        parts.append(kept(*found, data))
    return tuple(pd.concat(several, ignore_index=True) for several in zip(*parts, strict=True))


def check(runs, marks, data, task):
    """Whether the runs of a task are what the tables will say they are.

    Args:
        runs: of `rin.why.gather`.
        marks: set of the runs' data fingerprints.
        data: the `rin.prepare.Data` of the real images.
        task: its name, for errors.

    Raises:
        KeepError: other images, one setting alone, several pretrained inits, or unlike folds.
    """
    if marks != {data.fingerprint}:
        raise KeepError(
            f"{task}: the runs' data and split are {', '.join(sorted(marks))}, those of the folder "
            f"given at {data.images.shape[1]} px {data.fingerprint}: other images, or another size"
        )
    if runs[["preprocess", "batch_size"]].drop_duplicates().shape[0] < 2:
        raise KeepError(f"{task}: two preprocesses or batch sizes are expected; one ran")
    if len(files := set(runs["init"]) - set(NAMED_INITS)) > 1:
        raise KeepError(f"{task}: one kind of weight files is expected. Received: {sorted(files)}")
    folds = runs.groupby([*ARM, "scenario"])["fold"].agg(set)
    if unlike := [" ".join(map(str, key)) for key, has in folds.items() if has != {*runs["fold"]}]:
        raise KeepError(f"{task}: not finished, folds are missing of {'; '.join(unlike)}")


def kept(runs, predictions, data):
    """The tables of one task under names that say nothing of the dataset."""
    files = dict.fromkeys(set(runs["init"]) - set(NAMED_INITS), PRETRAINED)
    number = np.empty(len(data.y), dtype=np.int32)  # by pixel hash: rows go by file name
    number[np.argsort(data.image_ids, kind="stable")] = np.arange(len(data.y))
    rows, groups = number[predictions["row"]], unlinked(predictions["group"], "g")
    predictions = predictions.assign(row=rows, group=groups).astype({"y_score": "float32"})
    tables = (frame.assign(init=frame["init"].replace(files)) for frame in (runs, predictions))
    # as drawn, the order of rows would still be that of the files
    order = ["scenario", *ARM, "fold", "seed"]
    runs, predictions = tables
    return runs.sort_values(order), predictions.sort_values([*order, "row"])


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of fine-tuning runs")
    parser.add_argument("--data", nargs="+", required=True, metavar="TASK=FOLDER", help="images")
    parser.add_argument("--image-size", type=int, default=256, help="pixels a side, as the runs")
    parser.add_argument("--out", type=Path, default=Path("results/why"))
    asked = parser.parse_args(arguments)
    if wrong := [pair for pair in asked.data if "=" not in pair]:
        raise SystemExit(f"error: `--data` should be TASK=FOLDER. Received: {wrong}")
    folders = {name: Path(at) for name, at in (pair.split("=", 1) for pair in asked.data)}
    try:
        runs, predictions = collect(asked.runs, folders, asked.image_size)
        why.write(runs, predictions, asked.out)
    except REFUSED as error:
        raise SystemExit(f"error: {error}") from error
    print(runs.groupby(["task", *ARM])["fold"].agg(runs="size", folds="nunique").to_string())
    print(f"kept in {asked.out}")


if __name__ == "__main__":
    main()
