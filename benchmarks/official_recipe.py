"""The official recipe as a user runs it today: the opponent of the other benchmarks.

Written from what the official scripts do, with Keras 3 where they call what is gone
(`fit_generator`, `Adam(lr=)`): ImageDataGenerator reads, augments and prepares one file after the
other in every epoch, a fresh model is fitted for every run, the checkpoint of the lowest
validation loss is kept. It predicts the test images at the end, which the scripts leave to others.
Nothing of `rin` is used but its tables of names and ranges.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from rin import augment, backbones

SEED, WORKERS = 726, 10  # Source: the official scripts
BEST = "best.keras"


@dataclass(frozen=True)
class Recipe:
    """How one run is trained; the defaults are the official script's for small datasets.

    Attributes:
        image_size: pixels a side.
        batch_size, epochs: as in the scripts.
        augmentation: a key of `rin.augment.RANGES`.
        workers: threads that prepare batches.
        xla: whether Keras compiles as it does unasked. On a CPU that is slower than without
            (`xla_on_cpu.py`), so the recipe is spared it unless a benchmark says so.
    """

    image_size: int = 256
    batch_size: int = 256
    epochs: int = 30
    augmentation: str = "small"
    workers: int = WORKERS
    xla: bool = False


@dataclass(frozen=True)
class Trained:
    """What a run took and gave.

    Attributes:
        seconds: all of it, from building the model to the last test image.
        epoch_ends: `(epochs,)` seconds from the start to each epoch's end, its validation and
            checkpoint included.
        val_loss: `(epochs,)`.
        scores: `(n_test, 2)` probabilities, in the order of the table's test rows.
    """

    seconds: float
    epoch_ends: np.ndarray = field(repr=False)
    val_loss: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)

    @property
    def epoch_s(self):
        """Seconds of a usual epoch: the median after the first, in which Keras still compiles."""
        return float(np.median(np.diff(self.epoch_ends)))

    @property
    def fixed_s(self):
        """Seconds that more epochs would not add."""
        return self.seconds - len(self.epoch_ends) * self.epoch_s


def train(frame, root, fold, scenario, recipe, folder):
    """Train one scenario in one fold.

    Args:
        frame: a split manifest.
        root: folder its paths start from.
        fold: which `split_…` column.
        scenario: a `rin.scenarios.Scenario`.
        recipe: a `Recipe`; at least two epochs, so that a usual one can be told from the first.
        folder: where the checkpoint goes.

    Returns:
        A `Trained`.
    """
    if recipe.epochs < 2:
        raise ValueError(f"`epochs` should be at least 2. Received: epochs={recipe.epochs}")
    started = time.perf_counter()
    flows = {name: flow(frame, root, fold, name, recipe) for name in ("train", "val", "test")}
    model = build(scenario, recipe)
    clock = Clock(started)
    best = Path(folder) / BEST
    kept = keras.callbacks.ModelCheckpoint(best, monitor="val_loss", save_best_only=True)
    seen = model.fit(
        flows["train"],
        validation_data=flows["val"],
        epochs=recipe.epochs,
        callbacks=[kept, clock],
        verbose=0,
    )
    model.load_weights(best)
    scores = model.predict(flows["test"], verbose=0)
    seconds = time.perf_counter() - started
    losses = np.array(seen.history["val_loss"])
    return Trained(seconds, np.array(clock.ends), losses, scores)


def flow(frame, root, fold, split, recipe):
    """The generator of one set's batches.

    Args:
        frame, root, fold, recipe: as in `train`.
        split: "train" (augmented, shuffled), "val" (shuffled) or "test".

    Returns:
        A Keras iterator of `(n, size, size, 3)` float32 and `(n, 2)` one-hot labels.
    """
    options = _augmentation(recipe.augmentation) if split == "train" else {}
    found = _generator()(
        rescale=1 / 255, preprocessing_function=_caffe, **options
    ).flow_from_dataframe(
        frame[frame[f"split_{fold}"] == split],
        directory=str(root),
        x_col="image",
        y_col="label",
        target_size=(recipe.image_size, recipe.image_size),
        class_mode="categorical",
        batch_size=recipe.batch_size,
        shuffle=split != "test",
        seed=SEED,
    )
    found.workers = recipe.workers  # an argument of fit_generator once
    return found


def build(scenario, recipe):
    """A fresh, compiled model with random weights."""
    shape = (recipe.image_size, recipe.image_size, 3)
    builder = backbones.BACKBONES[scenario.backbone].builder
    base = builder(include_top=False, weights=None, input_shape=shape, pooling="avg")
    n_frozen = {"head": len(base.layers), "top10": len(base.layers) - 10, "all": 0}
    for layer in base.layers[: n_frozen[scenario.trainable]]:
        layer.trainable = False
    features = keras.layers.Dropout(0.5)(base.output)
    model = keras.Model(base.input, keras.layers.Dense(2, activation="softmax")(features))
    model.compile(
        keras.optimizers.Adam(scenario.learning_rate),
        keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.AUC(name="auc")],
        jit_compile="auto" if recipe.xla else False,
    )
    return model


class Clock(keras.callbacks.Callback):
    """Notes when each epoch ends, its validation included: `ends`, seconds since `started`."""

    def __init__(self, started):
        super().__init__()
        self.started, self.ends = started, []

    def on_epoch_end(self, epoch, logs=None):
        """Called by Keras."""
        self.ends.append(time.perf_counter() - self.started)


def _generator():
    import tensorflow as tf

    return tf.keras.preprocessing.image.ImageDataGenerator


def _caffe(x):
    return keras.applications.imagenet_utils.preprocess_input(x)


def _augmentation(name):
    ranges = augment.RANGES[name]
    if ranges is None:
        return {}
    return {
        "rotation_range": ranges.rotation,
        "width_shift_range": ranges.shift,
        "height_shift_range": ranges.shift,
        "shear_range": ranges.shear,
        "zoom_range": ranges.zoom,
        "horizontal_flip": ranges.flip,
        "fill_mode": "nearest",
    }
