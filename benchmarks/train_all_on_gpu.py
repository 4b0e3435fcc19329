"""Training images/s of `all` runs on one card: `rin` against plain Keras `fit`, one row each.

    KERAS_BACKEND=jax python benchmarks/train_all_on_gpu.py [--backbones resnet50 …]
        [--precisions float32 mixed_bfloat16] [--image-size 256] [--batch-size 256]
        [--n-images 2048] [--epochs 3] [--csv results/costs]

Needs no TensorFlow and no images: noise trains as fast as medicine. `rin` starts from uint8
images, which it augments and prepares on the device; `fit` gets float32 arrays that are already
prepared, and augments nothing. Seconds are those of `--epochs` epochs after the first, in which
both compile; a shape that does not fit on the card is a row without a rate.
"""

import argparse
import gc
import itertools
import time
from pathlib import Path

import keras
import measured
import numpy as np
import official_recipe

from rin import backbones, objectives, runs, scenarios, training
from rin.objectives import one_hot
from rin.prepare import Data

KEY = ["backbone", "precision", "image_size", "batch_size", "backend"]
HELD = 32  # images of val, and of test
NO_ROOM = ("RESOURCE_EXHAUSTED", "out of memory", "OOM", "ResourceExhausted")


def noise(n, size, seed=0):
    """A `Data` of `n` training images of noise, and a few to validate and test on."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n + 2 * HELD, size, size), dtype=np.uint8)
    y = np.arange(len(images)) % 2
    ids = np.array([f"{i:016x}" for i in range(len(images))])
    nobody = np.full(len(images), None, dtype=object)
    splits = np.repeat(["train", "val", "test"], [n, HELD, HELD])[:, None]
    return Data(images, ids, y, nobody, ids, splits, f"noise-{n}-{size}-{seed}")


def with_rin(backbone, precision, data, epochs, batch_size):
    """Seconds an epoch of `rin.training.Trainer`."""
    scenario = scenarios.Scenario(backbone, "all", 1e-4)
    run = scenarios.Run("noise", "random", "official", scenario, 0, batch_size=batch_size)
    size = data.images.shape[1]
    trainer = training.Trainer(backbone, "all", image_size=size, precision=precision)
    seconds = []
    for n in (1, 1, 1 + epochs):  # the first one compiles
        settings = runs.Settings(epochs=n, precision=precision)
        started = time.perf_counter()
        trainer.train(run, data, settings)
        seconds.append(time.perf_counter() - started)
    return (seconds[2] - seconds[1]) / epochs


def with_fit(backbone, precision, data, epochs, batch_size):
    """Seconds an epoch of plain Keras on arrays in memory, as the official network is compiled."""
    x, y = prepared(data.images), one_hot(data.y)
    part = {name: np.flatnonzero(data.splits[:, 0] == name) for name in ("train", "val")}
    keras.config.set_dtype_policy(precision)
    try:
        model = backbones.build(backbone, trainable="all", image_size=x.shape[1], logits=True)
        model.compile(keras.optimizers.Adam(1e-4), objectives.loss())
        clock = official_recipe.Clock(time.perf_counter())
        model.fit(
            x[part["train"]],
            y[part["train"]],
            validation_data=(x[part["val"]], y[part["val"]]),
            batch_size=batch_size,
            epochs=1 + epochs,
            callbacks=[clock],
            verbose=0,
        )
    finally:
        keras.config.set_dtype_policy("float32")
    return (clock.ends[-1] - clock.ends[0]) / epochs


def prepared(images):
    """`(n, h, w)` uint8 -> `(n, h, w, 3)` float32, as the official preprocess gives it."""
    center, scale = backbones.center_and_scale("official", "resnet50")
    x = np.repeat(images[..., None].astype(np.float32), 3, axis=-1)
    x -= center
    x /= scale
    return x


WAYS = {"rin": with_rin, "fit": with_fit}


def rate(way, backbone, precision, data, epochs, batch_size):
    """Training images/s; NaN, said aloud, where the card has no room."""
    try:
        seconds = WAYS[way](backbone, precision, data, epochs, batch_size)
    except Exception as error:
        if not any(text in str(error) for text in NO_ROOM):
            raise
        print(f"{way} {backbone} {precision}: batches of {batch_size} do not fit", flush=True)
        return float("nan")
    finally:
        keras.backend.clear_session()
        gc.collect()
    return int((data.splits == "train").sum()) / seconds


def main(arguments=None):
    """Print a row as it is measured, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--backbones", nargs="+", choices=scenarios.BACKBONES, default=list(scenarios.BACKBONES)
    )
    precisions = ["float32", "mixed_bfloat16"]
    parser.add_argument("--precisions", nargs="+", choices=precisions, default=precisions)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--n-images", type=int, default=2048, help="to train on")
    parser.add_argument("--epochs", type=int, default=3, help="measured, after one that is not")
    parser.add_argument("--csv", type=Path, help="folder of the tables; writes gpu.csv")
    args = parser.parse_args(arguments)
    data = noise(args.n_images, args.image_size)
    for backbone, precision in itertools.product(args.backbones, args.precisions):
        found = {
            way: rate(way, backbone, precision, data, args.epochs, args.batch_size) for way in WAYS
        }
        row = {"backbone": backbone, "precision": precision, "image_size": args.image_size}
        row |= {"batch_size": args.batch_size, "n_images": args.n_images}
        row |= {"backend": keras.backend.backend()}
        row |= {f"{way}_images_per_s": round(value, 2) for way, value in found.items()}
        row |= {"times": round(found["rin"] / found["fit"], 3)}
        print(row, flush=True)
        measured.keep(row, args.csv and args.csv / "gpu.csv", KEY)


if __name__ == "__main__":
    main()
