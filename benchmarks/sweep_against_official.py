"""How much sooner than the official recipe does the view bank end? Both on the same images.

    python benchmarks/sweep_against_official.py --images BUSI [--backbone resnet50]
        [--trainables head top10] [--no-augmentation] [--image-size 256] [--n-images N]
        [--epochs 3] [--official-folds 1] [--official-xla] [--csv results/costs]

Five folds, both learning rates, random weights, batches of 256. The official recipe trains every
scenario in the first `--official-folds` folds, one run after the other, and its time is multiplied
to five; `rin.runs.train_all` trains all of them, storing the images included. Every time is
`fixed + epochs × epoch_s`, where `epoch_s` is the median epoch after the first, in which Keras
still compiles. What 30 epochs and all images would take follows; fixed seconds then
grow with the images on our side and not on theirs, both to our disadvantage.

The floor is one forward pass of the backbone over all images, `model.predict` on arrays already
prepared, the fastest of four. `per_view` is the sweep's time over a floor for every view it needs.
"""

import argparse
import time
import unittest.mock
from dataclasses import dataclass
from pathlib import Path

import keras
import measured
import numpy as np
import official_recipe
import passes
from tqdm import tqdm

from rin import backbones, datasets, epochwise, images, runs, scenarios, splits
from rin.prepare import Data

TASK, SPLIT = "breast", passes.SPLITS["5-fold"]
FLOOR_PASSES = 4
EPOCHS, IMAGES = 30, 780  # what is extrapolated to: the study's protocol, BUSI complete
KEY = ["backbone", "image_size", "n_images", "epochs", "trainables", "augmentation", "official_xla"]


@dataclass(frozen=True)
class Cost:
    """Seconds as a line over epochs: `fixed + epochs × epoch_s`."""

    fixed: float
    epoch_s: float

    def at(self, epochs, fixed_by=1.0, epoch_by=1.0):
        """Seconds of so many epochs, both parts multiplied where there are more images."""
        return self.fixed * fixed_by + epochs * self.epoch_s * epoch_by


def split_images(root, n):
    """The manifest of `n` images of BUSI with its folds, and nothing about duplicates."""
    frame = datasets.read(TASK, root, duplicates=False)
    return splits.assign(measured.thin(frame, n), "5-fold")


def official(frame, root, grid, recipe, n_folds):
    """The cost of the official recipe for a grid over five folds, measured on `n_folds` of them."""
    total = np.zeros(2)
    for scenario in grid:
        for fold in range(n_folds):
            with measured.scratch() as folder:
                run = official_recipe.train(frame, root, fold, scenario, recipe, folder)
            keras.backend.clear_session()
            total += (run.fixed_s, run.epoch_s)
            said = f"{run.fixed_s:.1f} s and {run.epoch_s:.1f} s an epoch"
            print(f"official {scenario}, fold {fold}: {said}", flush=True)
    return Cost(*(float(part) for part in total * SPLIT.folds / n_folds))


def ours(frame, root, grid, size, epochs, augmentation, folder):
    """The cost of the same grid through the view bank, storing the images included."""
    started = time.perf_counter()
    store = images.store(frame, root, size, folder / "store", interpolation="nearest")
    data = Data.from_manifest(frame, store, datasets.task(TASK).classes)
    wanted = [
        scenarios.Run(TASK, "random", "official", scenario, fold)
        for scenario in grid
        for fold in range(SPLIT.folds)
    ]
    ends, settings = [], runs.Settings(epochs=epochs, augmentation=augmentation)
    with unittest.mock.patch.object(epochwise, "tqdm", _clock(ends)):
        runs.train_all(wanted, data, settings, folder / "runs")
    seconds = time.perf_counter() - started
    keras.backend.clear_session()
    if len(ends) != epochs:
        raise RuntimeError(f"one bar with {epochs} epochs was expected, {len(ends)} updates came")
    epoch_s = float(np.median(np.diff(ends)))
    print(f"view bank: {seconds:.1f} s for {epochs} epochs, {epoch_s:.1f} s an epoch")
    return Cost(seconds - epochs * epoch_s, epoch_s)


def _clock(ends):
    """A progress bar that notes when each epoch ends."""

    class Bar(tqdm):
        def update(self, n=1):
            ends.append(time.perf_counter())
            return super().update(n)

    return Bar


def floor(backbone, n, size):
    """Seconds of one forward pass over `n` images in memory: the fastest of some, as a floor is."""
    model = backbones.build_base(backbone, size)
    model.compile(jit_compile=False)
    x = np.random.default_rng(0).normal(size=(n, size, size, 3)).astype(np.float32)
    model.predict(x[: 64 + n % 64], batch_size=64, verbose=0)  # both shapes of batch, compiled
    seconds = []
    for _ in range(FLOOR_PASSES):
        started = time.perf_counter()
        model.predict(x, batch_size=64, verbose=0)
        seconds.append(time.perf_counter() - started)
    keras.backend.clear_session()
    return min(seconds)


def compare(theirs, mine, floor_s, n_scenarios, n_images, epochs, augmented):
    """The ratios, at the measured epochs and images and at the study's.

    Args:
        theirs, mine: `Cost`s of the whole grid.
        floor_s: seconds of one pass over `n_images` images.
        n_scenarios, n_images, epochs: of the measurement.
        augmented: whether each epoch has a view of its own.

    Returns:
        dict of columns.
    """
    more = IMAGES / n_images
    views, views_then = (1 + n * augmented for n in (epochs, EPOCHS))
    then, mine_then = theirs.at(EPOCHS, 1.0, more), mine.at(EPOCHS, more, more)
    return {
        "official_s": theirs.at(epochs),
        "official_fixed_s": theirs.fixed,
        "official_epoch_s": theirs.epoch_s,
        "bank_s": mine.at(epochs),
        "bank_fixed_s": mine.fixed,
        "bank_epoch_s": mine.epoch_s,
        "ratio": theirs.at(epochs) / mine.at(epochs),
        "cap": passes.cap(n_scenarios, epochs, SPLIT, augmented),
        "official_study_s": then,
        "bank_study_s": mine_then,
        "ratio_study": then / mine_then,
        "cap_study": passes.cap(n_scenarios, EPOCHS, SPLIT, augmented),
        "floor_images_per_s": n_images / floor_s,
        "per_view": mine.at(epochs) / (views * floor_s),
        "per_view_study": mine_then / (views_then * floor_s * more),
    }


def main(arguments=None):
    """Measure, print and keep one row."""
    args = _arguments(arguments)
    if args.epochs < 2:
        raise SystemExit("error: `--epochs` should be at least 2: an epoch's time is a difference")
    rates = {name: scenarios.LEARNING_RATES[name] for name in args.trainables}
    grid = scenarios.grid([args.backbone], rates)
    augmentation = "none" if args.no_augmentation else "small"
    recipe = official_recipe.Recipe(
        args.image_size, epochs=args.epochs, augmentation=augmentation, xla=args.official_xla
    )
    frame = split_images(args.images, args.n_images)
    what = {
        "backbone": args.backbone,
        "image_size": args.image_size,
        "n_images": len(frame),
        "epochs": args.epochs,
        "trainables": " + ".join(args.trainables),
        "augmentation": augmentation,
        "n_runs": len(grid) * SPLIT.folds,
        "n_official_runs": len(grid) * args.official_folds,
        "official_xla": args.official_xla,
    }
    floor_s = floor(args.backbone, len(frame), args.image_size)
    print(f"floor: {len(frame) / floor_s:.1f} images/s")
    theirs = official(frame, args.images, grid, recipe, args.official_folds)
    with measured.scratch(args.folder) as folder:
        size, epochs = args.image_size, args.epochs
        mine = ours(frame, args.images, grid, size, epochs, augmentation, folder)
    augmented = not args.no_augmentation
    row = what | compare(theirs, mine, floor_s, len(grid), len(frame), epochs, augmented)
    for name, value in row.items():
        print(f"{name:>20}  {value:.2f}" if isinstance(value, float) else f"{name:>20}  {value}")
    file = args.csv and args.csv / "sweep_against_official.csv"
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
    measured.keep(rounded, file, KEY)


def _arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of BUSI's download")
    parser.add_argument("--n-images", type=int, help="default all of them")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--backbone", choices=scenarios.BACKBONES, default="resnet50")
    parser.add_argument(
        "--trainables", nargs="+", choices=["head", "top10"], default=["head", "top10"]
    )
    parser.add_argument("--no-augmentation", action="store_true", help="the plain view alone")
    parser.add_argument("--epochs", type=int, default=3, help="measured; at least 2")
    parser.add_argument(
        "--official-folds", type=int, default=1, choices=range(1, 6), help="folds of each scenario"
    )
    parser.add_argument(
        "--official-xla", action="store_true", help="let Keras compile the recipe as it would"
    )
    parser.add_argument("--folder", type=Path, help="below it lie stores and banks while it runs")
    parser.add_argument("--csv", type=Path, help="folder of the tables")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
