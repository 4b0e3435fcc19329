"""Images/s into the store and out of it, against ImageDataGenerator and tf.data from files.

    python benchmarks/loader.py --images BUSI [--n-images N] [--image-size 256] [--repeats 3]
        [--csv results/costs]

Every way ends in batches of `(n, size, size, 3)` float32 prepared as officially, classes beside
them; nothing is trained. Every file is read once beforehand, so that no way pays for a cold disk.
Of the repeats the median counts. The store is filled once and read in every epoch after that.
`times` is the rate over ImageDataGenerator's with the same augmentation.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import measured
import numpy as np
import official_recipe
import pandas as pd
import tensorflow as tf

from rin import augment, backbones, datasets, feed, images, splits
from rin.prepare import Data

TASK, BATCH = "breast", 256
KEY = ["way", "augmentation", "image_size", "n_images"]
WHOLE = "whole"  # a split of the name that ImageDataGenerator's table needs: all images


def into_store(frame, root, size, repeats):
    """Seconds to decode, resize and write every image into an empty store."""
    seconds = []
    for _ in range(repeats):
        with measured.scratch() as folder:
            started = time.perf_counter()
            images.store(frame, root, size, folder, interpolation="nearest")
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def from_store(data, ranges, batch_size=BATCH):
    """One epoch of the store's images, prepared on the device as a network gets them."""
    layer, (pictures, maps) = feed.Feed(), feed.inputs(data.images.shape[1])
    if ranges is None:
        model = keras.Model(pictures, layer(pictures))
    else:
        model = keras.Model([pictures, maps], layer(pictures, maps))
    layer.choose("official", "resnet50")
    model.compile(jit_compile=False)

    def epoch(number):
        batches = feed.Batches(data, np.arange(len(data.y)), batch_size, ranges, number)
        for index in range(len(batches)):
            fed, y = batches[index]
            yield model.predict_on_batch(fed), y

    return epoch


def from_generator(frame, root, size, augmentation, batch_size=BATCH, workers=1):
    """One epoch of ImageDataGenerator, as the official recipe sets it up, batches in threads."""
    recipe = official_recipe.Recipe(size, batch_size, augmentation=augmentation, workers=workers)
    split = "train" if augmentation != "none" else "test"
    flow = official_recipe.flow(frame.assign(split_0=split), root, 0, split, recipe)

    def epoch(number):
        with ThreadPoolExecutor(workers) as pool:  # what `fit` does with several workers
            yield from pool.map(flow.__getitem__, range(len(flow)))

    return epoch


def from_files(frame, root, size, batch_size=BATCH):
    """One epoch of tf.data: read, decode, resize in parallel, batch, prefetch."""
    names = [str(Path(root) / name) for name in frame["image"]]
    y = np.eye(2, dtype=np.float32)[pd.factorize(frame["label"], sort=True)[0]]

    def one(name, label):
        pixels = tf.io.decode_png(tf.io.read_file(name), channels=3)
        pixels = tf.image.resize(pixels, (size, size), "nearest")
        return backbones.preprocess(pixels[None], "official", "resnet50")[0], label

    pipeline = tf.data.Dataset.from_tensor_slices((names, y))
    pipeline = pipeline.map(one, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
    return lambda number: pipeline.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


def seconds_an_epoch(epoch, repeats):
    """The median of several epochs after one that is not counted."""
    found = []
    for number in range(repeats + 1):
        started = time.perf_counter()
        for _ in epoch(number):
            pass
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


def compare(frame, root, size, repeats):
    """Images/s of every way.

    Args:
        frame: a split manifest.
        root: folder its paths start from.
        size: pixels a side.
        repeats: how often each way is timed.

    Returns:
        DataFrame with `way`, `augmentation`, `images_per_s` and `times`.
    """
    for name in frame["image"]:
        (Path(root) / name).read_bytes()
    rows = [("into the store", "none", into_store(frame, root, size, repeats))]
    with measured.scratch() as folder:
        store = images.store(frame, root, size, folder, interpolation="nearest")
        data = Data.from_manifest(frame, store, datasets.task(TASK).classes)
        ways = {
            ("out of the store", "none"): from_store(data, None),
            ("out of the store", "small"): from_store(data, augment.RANGES["small"]),
            ("tf.data from files", "none"): from_files(frame, root, size),
        }
        for workers in (1, official_recipe.WORKERS):
            for augmentation in ("none", "small"):
                way = f"ImageDataGenerator, {workers} worker{'s' * (workers > 1)}"
                epoch = from_generator(frame, root, size, augmentation, workers=workers)
                ways[way, augmentation] = epoch
        rows += [(*what, seconds_an_epoch(epoch, repeats)) for what, epoch in ways.items()]
    found = pd.DataFrame(rows, columns=["way", "augmentation", "seconds"])
    found["images_per_s"] = len(frame) / found.pop("seconds")
    best = found[found.way.str.startswith("ImageDataGenerator")]
    best = best.groupby("augmentation").images_per_s.max()
    return found.assign(times=found.images_per_s / found.augmentation.map(best))


def main(arguments=None):
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of BUSI's download")
    parser.add_argument("--n-images", type=int, help="default all of them")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="folder of the tables; writes loader.csv")
    args = parser.parse_args(arguments)
    frame = datasets.read(TASK, args.images, duplicates=False)
    frame = splits.assign(measured.thin(frame, args.n_images), "5-fold")
    found = compare(frame, args.images, args.image_size, args.repeats)
    print(found.round(2).to_string(index=False))
    for row in found.round(3).to_dict("records"):
        what = {"image_size": args.image_size, "n_images": len(frame)}
        measured.keep(row | what, args.csv and args.csv / "loader.csv", KEY)


if __name__ == "__main__":
    main()
