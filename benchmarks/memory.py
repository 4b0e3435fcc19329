"""Peak memory of a head + top10 sweep: what the process owns, mapped pages not counted.

    python benchmarks/memory.py [--backbone stand_in] [--n-images 50000] [--image-size 256]
        [--epochs 2] [--folds 1] [--bank-gib 16] [--folder DIR] [--csv results/costs]

Images of noise lie in a memory-mapped file, as a store's do, and `rin.runs.train_all` trains all
head and top10 runs on them. A thread reads RssAnon of /proc/self/status every 20 ms: pages of
files (the store, the view bank) are the system's to drop and stand apart.

50,000 images through ResNet50 take more than an hour on two cores, and what that adds to memory is
one batch. So there is a stand-in: a network of a few small layers whose frontier has ResNet50's
shapes, 648 KiB an image, so that the bank, its files, chunks and batches are the real ones at the
full number of images. What the real network owns (weights, activations, the states of twenty runs)
is measured on fewer images, `--backbone resnet50 --n-images 1024 --folds 5`, and, to show that it
does not grow with them, on fewer still. The folder needs the bank's and the images' place on disk.
"""

import argparse
import re
import threading
import time
from pathlib import Path

import keras
import measured
import numpy as np

from rin import backbones, estimate, manifest, runs, scenarios
from rin.prepare import Data

STAND_IN = "stand_in"
KEY = ["backbone", "n_images", "image_size", "epochs", "folds", "bank_gib"]
CHUNK = 1000  # images written at a time
LIMIT_GIB = 6  # what a sweep may own


class Peak:
    """The largest memory of this process inside a `with` block.

    Attributes:
        before, anon: GiB of anonymous memory at the start, and at most.
        bank: GiB of nameless files, which hold the view bank, mapped at most.
    """

    def __init__(self, every_s=0.02):
        self.every_s, self.before, self.anon, self.bank = every_s, 0.0, 0.0, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.before = self.anon = anonymous_gib()
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self):
        while not self._stop.wait(self.every_s):
            self._look()

    def _look(self):
        self.anon = max(self.anon, anonymous_gib())
        self.bank = max(self.bank, nameless_gib())


def anonymous_gib():
    """What this process owns and no file holds."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", text)[1]) / 2**20


def nameless_gib():
    """Files this process has mapped that no folder names any more."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith("(deleted)")]
    return sum(int(end, 16) - int(start, 16) for start, end in spans) / 2**30


def noise(n, size, folds, folder, seed=0):
    """A `Data` of `n` images of noise in a memory-mapped file below `folder`."""
    rng, file = np.random.default_rng(seed), Path(folder) / "images.npy"
    images = np.lib.format.open_memmap(file, "w+", np.uint8, (n, size, size))
    for start in range(0, n, CHUNK):
        part = images[start : start + CHUNK]
        part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8)
    images.flush()
    ids = np.array([f"{i:016x}" for i in range(n)])
    counts = (np.array(estimate.SHARES["5-fold"]) * n).astype(int)
    counts[0] += n - counts.sum()
    names = np.repeat(manifest.SPLITS, counts)
    splits = np.stack([rng.permutation(names) for _ in range(folds)], axis=1)
    y, nobody = rng.integers(0, 2, n), np.full(n, None, dtype=object)
    mark = f"noise-{n}-{size}-{folds}-{seed}"
    return Data(np.load(file, mmap_mode="r"), ids, y, nobody, ids, splits, mark)


def stand_in(include_top, weights, input_shape, pooling):
    """A network whose last ten layers take ResNet50's tensors, and little else.

    Arguments as `keras.applications` has them; there is no top and there are no weights.
    """
    layers = keras.layers
    image = keras.Input(input_shape)
    small = layers.AveragePooling2D(32)(image)
    block = layers.Conv2D(2048, 1, activation="relu")(small)
    x = layers.Conv2D(512, 1)(layers.Activation("relu")(block))
    x = layers.ReLU()(layers.BatchNormalization()(x))  # from here on the last ten
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 1)(x)))
    x = layers.BatchNormalization()(layers.Conv2D(2048, 1)(x))
    x = layers.ReLU()(layers.Add()([block, x]))
    if pooling:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(image, x)


def register():
    """Add the stand-in to the backbones, for this process alone."""
    row = backbones.Backbone(stand_in, 2048, "caffe", "", "")
    backbones.BACKBONES[STAND_IN] = row


def measure(backbone, n_images, image_size, epochs, folds, bank_gib, folder):
    """Train the sweep and watch it.

    Args:
        backbone: a key of `rin.backbones.BACKBONES`, the stand-in included.
        n_images, image_size: of the noise.
        epochs, folds: of the sweep; its learning rates are the study's.
        bank_gib: budget of the view bank.
        folder: where images, bank and records lie.

    Returns:
        dict of columns.
    """
    data = noise(n_images, image_size, folds, folder)
    wanted = [
        scenarios.Run("noise", "random", "official", scenarios.Scenario(backbone, free, rate), fold)
        for free in ("head", "top10")
        for rate in scenarios.LEARNING_RATES[free]
        for fold in range(folds)
    ]
    settings = runs.Settings(epochs=epochs, bank_gib=bank_gib)
    started = time.perf_counter()
    with Peak() as peak:
        runs.train_all(wanted, data, settings, folder)
    return {
        "n_runs": len(wanted),
        "seconds": time.perf_counter() - started,
        "images_gib": data.images.nbytes / 2**30,
        "bank_held_gib": peak.bank,
        "before_gib": peak.before,
        "peak_gib": peak.anon,
    }


def main(arguments=None):
    """Print the peak and keep it; exit 1 when it is too high."""
    choices = (STAND_IN, *scenarios.BACKBONES)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=choices, default=STAND_IN)
    parser.add_argument("--n-images", type=int, default=50_000)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--bank-gib", type=float, default=runs.Settings().bank_gib)
    parser.add_argument("--folder", type=Path, help="below it lie images and bank while it runs")
    parser.add_argument("--csv", type=Path, help="folder of the tables; writes memory.csv")
    args = parser.parse_args(arguments)
    register()
    what = {name: getattr(args, name) for name in KEY}
    with measured.scratch(args.folder) as folder:
        row = what | measure(**what, folder=folder)
    for name, value in row.items():
        print(f"{name:>14}  {value:.2f}" if isinstance(value, float) else f"{name:>14}  {value}")
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
    measured.keep(rounded, args.csv and args.csv / "memory.csv", KEY)
    if row["peak_gib"] >= LIMIT_GIB:
        raise SystemExit(f"error: {row['peak_gib']:.2f} GiB, under {LIMIT_GIB} expected")


if __name__ == "__main__":
    main()
