"""Grad-CAM maps/s: in closed form, and by autodiff as it is usually written and in whole batches.

    python benchmarks/gradcam_speed.py [--backbone resnet50] [--image-size 256] [--n-images 32]
        [--batch-size 16] [--repeats 3] [--csv results/costs]

Every way goes from images that lie in memory to `(n, size, size)` uint8 maps of the same network,
for the probability of the predicted class, whose map is never blank here. Weights and images are
random: neither changes the work. The ways take turns, so that a neighbor on the machine slows them
alike; of the repeats the median counts, tracing does not. `times` is the rate over autodiff's one
image at a time; `gray_levels` is the largest difference from the closed form's maps, of 255.
tf-keras-vis is timed where it is installed; it is no part of the project's environment. It takes a
map's minimum off and aligns corners, so what it shows differs, though at low resolution its maps
are the closed form's. "scores alone" is the plain forward pass, which every way has to make.
"""

import argparse
import importlib.metadata
import importlib.util
import statistics
import time
from pathlib import Path

import keras
import measured
import numpy as np
import pandas as pd
import tensorflow as tf

from rin import backbones, gradcam, training
from rin.gradcam import closed_form

USUAL, CLOSED = "autodiff, one image at a time", "closed form, batched"
LIBRARY = "tf_keras_vis"
KEY = ["way", "backbone", "image_size", "n_images", "batch_size"]


def network(backbone, image_size):
    """A random network whose probabilities lie off 0 and 1, where autodiff has no gradient.

    All of it trains, for a tape only records what depends on something that does.
    """
    keras.utils.set_random_seed(0)
    model = backbones.build(backbone, trainable="all", image_size=image_size)
    kernel = model.get_layer(closed_form.CLASSIFIER).kernel
    maps, _ = closed_form.with_maps(model)(pictures(2, image_size))
    kernel.assign(kernel / max(float(keras.ops.max(keras.ops.abs(maps))), 1))  # a logit: their mean
    return model


def pictures(n, image_size):
    """Noise about as bright as a preprocessed image."""
    return np.random.default_rng(0).normal(size=(n, image_size, image_size, 3)).astype("float32")


def in_closed_form(model, batch_size):
    """`rin.gradcam.cam`."""
    return lambda images, classes: gradcam.cam(model, images, classes, batch_size=batch_size)


def by_autodiff(model):
    """Maps of a batch from one tape, upsampled and scaled as ours; not compiled."""
    both = keras.Model(model.input, [closed_form.cam_tensor(model), model.output])
    side = model.input_shape[1:3]

    def maps(images, classes):
        with tf.GradientTape() as tape:
            features, scores = both(images)
            score = tf.gather(scores, classes, batch_dims=1)
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        signed = tf.reduce_sum(weights * features, axis=-1, keepdims=True)
        large = tf.image.resize(tf.nn.relu(signed), side, "bilinear")[..., 0]
        top = tf.reduce_max(large, axis=(1, 2), keepdims=True)
        return tf.cast(255 * tf.math.divide_no_nan(large, top), tf.uint8)

    return maps


def in_batches(maps, batch_size=1):
    """Some images after another; one by one is the loop that examples show."""

    def loop(images, classes):
        starts = range(0, len(images), batch_size)
        parts = (slice(at, at + batch_size) for at in starts)
        return np.concatenate([maps(images[part], classes[part]) for part in parts])

    return loop


def traced(maps):
    """The same graph, traced once for batches of any size."""
    graph = tf.function(maps, reduce_retracing=True)
    return lambda images, classes: graph(tf.constant(images), tf.constant(classes))


def by_library(model):
    """tf-keras-vis's Grad-CAM of a batch.

    Raises:
        Exception: whatever it raises under a Keras or SciPy it was not written for.
    """
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    layer = closed_form.cam_tensor(model)._keras_history.operation.name
    found = Gradcam(model, clone=False)

    def maps(images, classes):
        score = CategoricalScore(classes.tolist())
        given = {"penultimate_layer": layer, "seek_penultimate_conv_layer": False}
        return (255 * found(score, images, **given)).astype(np.uint8)

    return maps


def library_ways(model, batch_size, *probe):
    """Its ways; none where it is absent or does not run, which is said."""
    if importlib.util.find_spec(LIBRARY) is None:
        print(f"{LIBRARY}: not installed, so not timed")
        return {}
    try:
        maps = by_library(model)
        maps(*probe)
    except Exception as error:  # another project's library: any of them means that it is not timed
        print(f"{LIBRARY}: does not run here, so not timed ({type(error).__name__}: {error})")
        return {}
    name = f"tf-keras-vis {importlib.metadata.version('tf-keras-vis')}"
    one, several = in_batches(maps), in_batches(maps, batch_size)
    return {f"{name}, one image at a time": one, f"{name}, batched": several}


def compare(backbone, image_size, n_images, batch_size, repeats):
    """Maps/s of every way, timed in turns.

    Args:
        backbone: a key of `rin.backbones.BACKBONES`.
        image_size: pixels a side.
        n_images: maps a repeat.
        batch_size: of the batched ways.
        repeats: how often each way is timed.

    Returns:
        DataFrame with `way`, `maps_per_s`, `times` and `gray_levels` (NaN for scores alone).
    """
    model, images = network(backbone, image_size), pictures(n_images, image_size)
    model.compile(jit_compile=training.jit_compile())
    asked = images, model.predict(images, verbose=0).argmax(axis=1)
    maps = by_autodiff(model)
    ways = {
        CLOSED: in_closed_form(model, batch_size),
        USUAL: in_batches(maps),
        "autodiff, batched and traced": in_batches(traced(maps), batch_size),
        **library_ways(model, batch_size, images[:1], asked[1][:1]),
        "scores alone, batched": in_batches(lambda x, _: model.predict_on_batch(x), batch_size),
    }
    shown = {way: maps_of(*asked) for way, maps_of in ways.items()}  # and everything is traced
    seconds = {way: [] for way in ways}
    for _ in range(repeats):
        for way, maps_of in ways.items():
            started = time.perf_counter()
            maps_of(*asked)
            seconds[way].append(time.perf_counter() - started)
    rates = {way: n_images / statistics.median(found) for way, found in seconds.items()}
    rows = [
        {
            "way": way,
            "maps_per_s": rates[way],
            "times": rates[way] / rates[USUAL],
            "gray_levels": _gray_levels(shown[way], shown[CLOSED]),
        }
        for way in ways
    ]
    return pd.DataFrame(rows)


def main(arguments=None):
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=backbones.BACKBONES, default="resnet50")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--n-images", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="folder of the tables; writes gradcam_speed.csv")
    args = parser.parse_args(arguments)
    what = {"backbone": args.backbone, "image_size": args.image_size}
    what |= {"n_images": args.n_images, "batch_size": args.batch_size}
    found = compare(**what, repeats=args.repeats)
    print(found.round(2).to_string(index=False))
    for row in found.round(3).to_dict("records"):
        measured.keep(row | what, args.csv and args.csv / "gradcam_speed.csv", KEY)


def _gray_levels(maps, ours):
    if np.shape(maps) != ours.shape:
        return np.nan
    return float(np.abs(np.asarray(maps, int) - ours).max())


if __name__ == "__main__":
    main()
