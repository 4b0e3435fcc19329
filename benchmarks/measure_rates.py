"""How many images a second does this machine do? The rates that `rin.estimate` scales.

    python benchmarks/measure_rates.py [--backbones resnet50 …] [--image-size 256] [--out F]

Plain Keras models with random weights and images in memory: a forward pass, a train step with all
layers free, and train steps of what stands above the frozen layers in `top10` and `head` runs. The
first step compiles and is not counted. Rows of the same hardware, backbone, size and kind are
replaced; without `--out` the table is printed and nothing is kept.
"""

import argparse
import time
from pathlib import Path

import keras
import measured
import numpy as np
import pandas as pd

from rin import backbones, estimate, objectives, records, training, views

COLUMNS = ["hardware", "backbone", "image_size", "kind", "images_per_second", "source"]
KEY = COLUMNS[:4]
SHIPPED = Path(estimate.__file__).parent / "data" / estimate.FILE
SECONDS = 5.0  # each rate is measured for so long, at least two steps


def measure(backbone, image_size, batch_size, seconds=SECONDS):
    """Images per second of each kind: dict from `rin.estimate.KINDS`.

    Args:
        backbone, image_size: as `rin.backbones.build` takes them.
        batch_size: images a train step of all layers; the other kinds take 64 and 256.
        seconds: how long each is measured.
    """
    keras.backend.clear_session()
    found = {}
    options = {"image_size": image_size, "logits": True}
    whole = _compiled(backbones.build(backbone, trainable="all", **options))
    shape = (image_size, image_size, 3)
    found["forward"] = _rate(whole.predict_on_batch, [shape], 64, seconds)
    found["train_all"] = _rate(whole.train_on_batch, [shape], batch_size, seconds, labels=True)
    for kind in ("top10", "head"):
        network = backbones.build(backbone, trainable=kind, **options)
        cut = views.frontier(network)
        top = _compiled(keras.Model(cut, network.output))
        shapes = [tensor.shape[1:] for tensor in cut]
        found[kind] = _rate(top.train_on_batch, shapes, 256, seconds, labels=True)
    return found


def hardware():
    """The accelerator the backend would use, or how many CPU cores there are."""
    found = records.environment()["hardware"]
    return (found["accelerators"] or [f"{found['n_cores']} CPU cores"])[0]


def keep(table, file):
    """Put rows into a csv in the place of older ones of the same hardware, backbone, size, kind."""
    if Path(file).is_file():
        old = pd.read_csv(file)
        new = set(table[KEY].itertuples(index=False, name=None))
        stale = [row in new for row in old[KEY].itertuples(index=False, name=None)]
        table = pd.concat([old[~np.array(stale, dtype=bool)], table], ignore_index=True)
    measured.write(table.sort_values(KEY, ignore_index=True), file)


def _compiled(model):
    model.compile(keras.optimizers.Adam(), objectives.loss(), jit_compile=training.jit_compile())
    return model


def _rate(step, shapes, batch_size, seconds, labels=False):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(batch_size, *shape)).astype("float32") for shape in shapes]
    args = [x if len(x) > 1 else x[0]]
    if labels:
        args.append(np.eye(2, dtype="float32")[np.arange(batch_size) % 2])
    step(*args)
    started, n = time.perf_counter(), 0
    while n < 2 or time.perf_counter() - started < seconds:
        step(*args)
        n += 1
    return n * batch_size / (time.perf_counter() - started)


def main():
    """Measure, print, and keep where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=list(backbones.BACKBONES))
    parser.add_argument("--image-size", type=int, nargs="+", default=[256])
    parser.add_argument("--batch-size", type=int, default=32, help="of train_all")
    parser.add_argument("--out", type=Path, help=f"the csv; the one that ships is {SHIPPED.name}")
    args = parser.parse_args()
    for backbone in args.backbones:
        for size in args.image_size:
            found = measure(backbone, size, args.batch_size)
            source = f"benchmarks/measure_rates.py, train_all in batches of {args.batch_size}"
            facts = {"hardware": hardware(), "backbone": backbone, "image_size": size}
            table = pd.DataFrame(found.items(), columns=["kind", "images_per_second"])
            table["images_per_second"] = table["images_per_second"].round(2)
            table = table.assign(source=source, **facts)[COLUMNS]
            print(table.drop(columns="source").to_string(index=False), flush=True)
            if args.out:
                keep(table, args.out)


if __name__ == "__main__":
    main()
