"""Keep the pediatric study: from finished runs on real images to the tables of its page.

    python benchmarks/keep_pediatric.py --data KERMANY [--runs DIR --official DIR]
        [--image-size 256] [--interpolation bilinear] [--out results/pediatric]

`--runs` and `--official` are what *Fine-tune a backbone* wrote under the task's own protocol, which
keeps patients apart, and under the official split. The images are read again: runs count only if
their data fingerprint is that of these images under their protocol, and every fold is there in
every arm. Without both folders the tables in `--out` stay, and only the image-blind baselines are
computed again, on the folds of the runs that are kept there. Phantoms are refused, and then nothing
is written.

No table holds a path, a file name or an id from the dataset: images go by a running number in the
order of their pixels' hashes, groups by running names in an order that is drawn at random and kept
nowhere.
"""

import argparse
from pathlib import Path

import numpy as np
from keep_experiment import KeepError, unlinked

from rin import datasets, judge, kept_tables, pediatric, splits
from rin.experiment import INITS
from rin.images import ImageError
from rin.prepare import prepare
from rin.scenarios import NAMED_INITS

REFUSED = (KeepError, pediatric.PediatricError, judge.JudgeError, datasets.DatasetError)
REFUSED += (ImageError, splits.SplitError, FileNotFoundError)
SCORES = ["y_score", "y_score_negative"]


def collect(runs_dir, official_dir, folder, image_size=256, interpolation="bilinear"):
    """The study's tables, with nothing in them that names a file or a child.

    Args:
        runs_dir, official_dir: folders of the runs under each protocol.
        folder: of the real images.
        image_size, interpolation: as the runs had them.

    Returns:
        A `rin.pediatric.Study`.

    Raises:
        KeepError: phantoms, runs of other images, or a fold that is missing. See also `REFUSED`.
    """
    prepared = prepared_as(folder, image_size, interpolation)
    folders = dict(zip(prepared, (runs_dir, official_dir), strict=True))
    found = pediatric.study(folders, image_size, prepared)
    for protocol, one in prepared.items():
        check(found.runs[found.runs["protocol"] == protocol], one.data)
    return unnamed(found, one.data)


def prepared_as(folder, image_size, interpolation):
    """The real images under both protocols: dict from protocol to a `rin.prepare.Prepared`.

    Raises:
        KeepError: phantoms.
    """
    if datasets.is_phantom(folder) is not None:
        raise KeepError(f"{folder} holds phantoms, and a phantom result is no finding")
    options = {"image_size": image_size, "interpolation": interpolation}
    protocols = datasets.task(pediatric.TASK).protocol, "official"
    return {name: prepare(pediatric.TASK, folder, protocol=name, **options) for name in protocols}


def check(runs, data):
    """Whether one protocol's runs have every fold of these images in every arm.

    Raises:
        KeepError: they have not.
    """
    protocol = runs["protocol"].iloc[0]
    expected = set(range(data.splits.shape[1]))
    for (arm, scenario), part in runs.groupby(["arm", "scenario"]):
        if lacks := sorted(expected - set(part["fold"])):
            raise KeepError(f"{protocol}: {arm}, {scenario} lacks folds {lacks}")


def again(kept, folder, image_size, interpolation):
    """Write the image-blind baselines of the kept runs, and print the best of each protocol."""
    (runs,) = kept_tables.read(kept, [pediatric.gathered.FILES["runs"]], KeepError, "this script")
    found = pediatric.baselines(prepared_as(folder, image_size, interpolation), runs)
    kept_tables.write({pediatric.gathered.FILES["baselines"]: found}, kept)
    print(pediatric.best_baselines(found).to_string(index=False))


def unnamed(found, data):
    """The study with running numbers and names; weight files of one's own become "pretrained"."""
    files = sorted(set(found.runs["init"]) - set(NAMED_INITS))
    if len(files) > 1:
        raise KeepError(f"one kind of weight files is expected. Received: {files}")
    number = np.empty(len(data.y), dtype=np.int32)  # by pixel hash: rows go by file name
    number[np.argsort(data.image_ids, kind="stable")] = np.arange(len(data.y))
    predictions = found.predictions.assign(
        row=number[found.predictions["row"]], group=unlinked(found.predictions["group"], "g")
    ).astype(dict.fromkeys(SCORES, "float32"))
    order = [*pediatric.CELL, "split", "row"]
    predictions = predictions.sort_values(order, ignore_index=True)
    tables = [found.runs, predictions, found.maps]
    for old in files:
        tables = [_renamed(table, old, INITS[0]) for table in tables]
    return pediatric.Study(*tables, found.baselines)


def _renamed(table, old, new):
    columns = table.columns.intersection(["arm", "init"])
    return table.assign(**{c: table[c].str.replace(old, new, regex=False) for c in columns})


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, help="runs with patients kept apart")
    parser.add_argument("--official", type=Path, help="runs of the official split")
    parser.add_argument("--data", type=Path, required=True, help="folder of the images")
    parser.add_argument("--image-size", type=int, default=256, help="pixels a side, as in the runs")
    parser.add_argument("--interpolation", default="bilinear", help="as in the runs")
    parser.add_argument("--out", type=Path, default=Path("results/pediatric"))
    asked = parser.parse_args(arguments)
    how = asked.image_size, asked.interpolation
    if bool(asked.runs) != bool(asked.official):
        parser.error("`--runs` and `--official` should both be given, or neither")
    try:
        if asked.runs:
            found = collect(asked.runs, asked.official, asked.data, *how)
            pediatric.write(found, asked.out)
            by = found.runs.groupby(["protocol", "arm", "scenario"])
            print(by.size().rename("n_runs").to_string())
        else:
            again(asked.out, asked.data, *how)
    except REFUSED as error:
        raise SystemExit(f"error: {error}") from error
    print(f"kept in {asked.out}")


if __name__ == "__main__":
    main()
