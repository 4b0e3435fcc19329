"""Do 1,354,913 files read and split in minutes? Seconds and peak memory of each step, one table.

    python benchmarks/scan_the_database.py [--n 1354913] [--folder /tmp] [--keep] [--csv F]

Writes a tree of hard links in RadImageNet's layout, classes in the sizes the paper prints, with
its three lists. Beside it stands what one would write by hand (`rglob`, `is_file` for every row,
StratifiedGroupKFold), timed on fewer files: the ratio is that of equal numbers of files.
"""

import argparse
import resource
import shutil
import tempfile
import time
import warnings
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

from rin import manifest, published, splits
from rin.datasets import radimagenet
from rin.phantoms.draws import apportion

N, N_BY_HAND = 1_354_913, 50_000
LINKS = 60_000  # of one file; ext4 allows 65,000


def write(root, n):
    """A tree of `n` hard links in 165 class folders; the lists come last and mark it complete."""
    originals = root / "originals"
    originals.mkdir(parents=True)
    for number in range(-(-n // LINKS)):
        image = Image.fromarray(np.full((8, 8), number, np.uint8))
        image.save(originals / f"{number}.png")
    classes = published.classes().merge(
        published.database(), left_on=["modality", "group"], right_on=["modality", "anatomy"]
    )
    sizes = dict(zip(classes["label"], classes["average_class_size"], strict=True))
    names = [name for label, size in apportion(n, sizes).items() for name in _names(label, size)]
    for label in sizes:
        (root / radimagenet.HOME / label).mkdir(parents=True)
    for number, name in enumerate(names):
        (root / name).hardlink_to(originals / f"{number // LINKS}.png")
    _write_lists(root, pd.Series(names))


def _names(label, n):
    return [f"{radimagenet.HOME}/{label}/image{number:06d}.png" for number in range(n)]


def _write_lists(root, names):
    table = pd.DataFrame({"filename": names, "label": names.str.split("/").str[-2]})
    twentieth = np.random.default_rng(0).integers(20, size=len(names))
    for name, first, last in (("train", 0, 15), ("val", 15, 17), ("test", 17, 20)):
        inside = (first <= twentieth) & (twentieth < last)
        table[inside].to_csv(root / radimagenet.LISTS[name], index=False)


def with_rin(root):
    """Seconds and peak memory after scan, validate and split."""
    steps = _Steps()
    frame = steps.run("scan", lambda: radimagenet.scan(root))
    frame = steps.run("validate", lambda: manifest.validate(frame, root))
    steps.run("split", lambda: splits.assign(frame, "75/10/15"))
    return steps.rows


def by_hand(root):
    """The same three steps as one would write them without this package."""
    steps = _Steps()
    files = steps.run("scan", lambda: sorted(root.rglob(f"{radimagenet.HOME}/**/*.png")))
    labels = [file.parent.relative_to(root).as_posix() for file in files]
    steps.run("validate", lambda: all(file.is_file() for file in files))
    folder = StratifiedGroupKFold(20, shuffle=True, random_state=0)
    steps.run("split", lambda: list(folder.split(files, labels, np.arange(len(files)))))
    return steps.rows


class _Steps:
    """Rows of `step`, `seconds`, `peak_gib` (of the process up to then)."""

    def __init__(self):
        self.rows = []

    def run(self, step, function):
        started = time.perf_counter()
        result = function()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
        self.rows.append({"step": step, "seconds": seconds, "peak_gib": peak})
        return result


def table(function, root):
    """What a function measured, by step and in all."""
    rows = pd.DataFrame(apart(function, root)).set_index("step")
    rows.loc["all"] = [rows["seconds"].sum(), rows["peak_gib"].max()]
    return rows


def apart(function, *args):
    """Call in a fresh process: its peak is its own, as long as this one stays small."""
    quiet = (warnings.simplefilter, ["ignore"])  # the rarest classes are small on purpose
    with get_context("spawn").Pool(1, *quiet) as pool:
        result = pool.apply(function, args)
        pool.close()
        pool.join()
    return result


def tree(folder, n):
    """The folder of `n` files, written where there is none."""
    root = folder / f"radimagenet-{n}"
    if not (root / radimagenet.LISTS["test"]).is_file():
        shutil.rmtree(root, ignore_errors=True)  # a broken leftover
        started = time.perf_counter()
        apart(write, root, n)
        print(f"{n:,} links written in {time.perf_counter() - started:.0f} s", flush=True)
    return root


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=N, help="files, at least 165")
    parser.add_argument("--folder", type=Path, help="where trees are written and found again")
    parser.add_argument("--csv", type=Path, help="where the table is written, a row a step")
    parser.add_argument("--keep", action="store_true", help="leave the trees there")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    few = min(args.n, N_BY_HAND)
    try:
        found = {
            (f"rin, {args.n:,}"): table(with_rin, tree(folder, args.n)),
            (f"rin, {few:,}"): table(with_rin, tree(folder, few)),
            (f"by hand, {few:,}"): table(by_hand, tree(folder, few)),
        }
        shown = pd.concat(found, axis=1)
        hand, ours = (shown[f"{name}, {few:,}"]["seconds"] for name in ("by hand", "rin"))
        shown["by hand / rin", "seconds"] = hand / ours
        print(shown.round(2).to_string())
        if args.csv:
            tidy = pd.concat(found, names=["run"]).reset_index()
            tidy.round(2).to_csv(args.csv, index=False)
        print(f"trees kept in {folder}" if args.keep else "trees removed")
    finally:
        if not args.keep:
            for n in {args.n, few}:
                shutil.rmtree(folder / f"radimagenet-{n}", ignore_errors=True)
        if not args.folder and not args.keep:
            folder.rmdir()


if __name__ == "__main__":
    main()
