"""Ways to pretrain that a benchmark compares: `rin.pretraining`, and plain Keras on image files."""

import contextlib
import os
import tempfile
import time
import unittest.mock
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from rin import augment, backbones, devices, feed, splits, training
from rin.pretraining import database, policies, recipe
from rin.pretraining.fitting import Fit
from rin.pretraining.stream import Stream

LOADER = "none"  # in place of a backbone: nothing is trained
FIRST, LATER = "inputs, first epoch", "inputs, later epochs"
HANDED, TRAINING = "batches, later epochs", "training"


@dataclass(frozen=True)
class Job:
    """What a way is measured on.

    Attributes:
        folder: holds one folder of images a class.
        scratch: below it lie image stores.
        backbone: a key of `rin.backbones.BACKBONES`, or `LOADER`.
        image_size: pixels a side.
        n_images, n_classes: in `folder`; the images are whole batches.
        steps: batches to train on.
        recipe: a `rin.pretraining.recipe.Recipe`.
    """

    folder: Path
    scratch: Path
    backbone: str
    image_size: int
    n_images: int
    n_classes: int
    steps: int
    recipe: recipe.Recipe

    @property
    def whats(self):
        """What is measured: see `Way.measure`."""
        return (FIRST, LATER, HANDED) if self.backbone == LOADER else (TRAINING,)

    def n_shown(self, what):
        """Images that one measurement shows."""
        return self.steps * self.recipe.batch_size if what == TRAINING else self.n_images


class Way:
    """One way to feed a network and to train it.

    A subclass defines `open()`, what is done once before the first epoch; `batches(n, epoch)`, `n`
    batches, images over again where there are too few; `join(network)`, a model from a batch to
    what the network makes of it, augmented and prepared; and `build()`, the model to train.
    """

    def __init__(self, job):
        self.job = job
        keras.utils.set_random_seed(job.recipe.seed)
        self.open()
        if job.backbone == LOADER:
            self.front = self.join(a_number_each)
            self.front.compile(jit_compile=training.jit_compile())
        else:
            self.model = self.build()

    def warm_up(self):
        """Show a batch, so that everything is traced and compiled."""
        if self.job.backbone == LOADER:
            self.front.predict(self.batches(1, 0), verbose=0)
        else:
            self.train(1, 0)

    def measure(self, what, epoch):
        """Do one of the job's `whats`."""
        if what == TRAINING:
            self.train(self.job.steps, epoch)
            return
        if what == FIRST:
            self.open()
        shown = self.batches(self.job.n_images // self.job.recipe.batch_size, epoch)
        if what == HANDED:
            exhaust(shown)
        else:
            self.front.predict(shown, verbose=0)

    def train(self, steps, epoch):
        """So many updates."""
        self.model.fit(self.batches(steps, epoch), shuffle=False, verbose=0)


class Rin(Way):
    """What the page *Pretrain a backbone* does."""

    def __init__(self, job):
        training.deterministic()  # as `Fit` does, before anything is built
        names, facts = job.recipe.policies, (job.n_classes, job.image_size, job.recipe.seed)
        self.policy = policies.Policy(names, *facts) if names else None
        self.augmented = job.recipe.augmentation != "none"
        super().__init__(job)

    def open(self):
        """Read, decode, resize and split the images, into a store that was not there."""
        fresh = tempfile.mkdtemp(dir=self.job.scratch)
        options = {"task": "folder", "image_size": self.job.image_size, "near_duplicates": False}
        options |= {"protocol": "blocks", "block_size": 1}  # every class has training images
        with warnings.catch_warnings(), unittest.mock.patch.object(database, "STORE_FOLDER", fresh):
            warnings.simplefilter("ignore", splits.SmallSplitWarning)
            data = database.prepare(self.job.folder, **options).data
        self.data = replace(data, splits=np.full_like(data.splits, "train"))

    def batches(self, n, epoch):
        """See `Way`."""
        asked, order = self.job.recipe, np.random.default_rng(epoch).permutation(self.job.n_images)
        rows = np.resize(order, n * asked.batch_size)
        return Stream(self.data, rows, asked, self.job.n_classes, epoch, policy=self.policy)

    def join(self, network):
        """See `Way`; `Fit` joins its own network in the same way."""
        layer, (images, maps) = feed.Feed(), feed.inputs(self.job.image_size)
        if self.policy:
            images = keras.Input(images.shape[1:], dtype="float32", name="images")
        shown = layer(images, maps) if self.augmented else layer(images)
        model = keras.Model([images, maps] if self.augmented else images, network(shown))
        layer.choose(*prepared(self.job))
        return model

    def build(self):
        """See `Way`."""
        job = self.job
        fit = Fit(self.data, job.n_classes, job.backbone, job.recipe)
        return fit.model if self.augmented else fit.plain


class Plain(Way):
    """What Keras's guides show: float32 batches of three channels, random layers, `fit`."""

    in_map = False  # whether batches come augmented

    def __init__(self, job):
        self.layers = random_layers(augment.RANGES[job.recipe.augmentation], job.recipe.seed)
        super().__init__(job)

    def join(self, network):
        """See `Way`."""
        images = keras.Input((self.job.image_size, self.job.image_size, 3))
        moved = images if self.in_map or not self.layers else Always(self.layers)(images)
        center, scale = backbones.center_and_scale(*prepared(self.job))
        prepare = keras.layers.Rescaling(1 / scale, -center / scale, dtype="float32")
        return keras.Model(images, network(prepare(moved)))

    def build(self):
        """The network that `Fit` builds, compiled as there."""
        job, asked = self.job, self.job.recipe
        with devices.computing_in(asked.precision):
            network = backbones.build(
                job.backbone, trainable="all", n_classes=job.n_classes, image_size=job.image_size
            )
        model = self.join(network)
        optimizer = recipe.optimizer(asked, job.n_images // asked.batch_size)
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=asked.label_smoothing)
        model.compile(optimizer, loss, jit_compile=training.jit_compile())
        return model


class Always(keras.layers.Layer):
    """Random layers that do not rest while a model predicts."""

    def __init__(self, layers):
        super().__init__(dtype="float32")
        self.layers = layers

    def call(self, images):
        """See the class."""
        return in_turn(self.layers, images)


class Model(Plain):
    """Files by `image_dataset_from_directory`, augmented in the graph."""

    def __init__(self, job):
        import tensorflow as tf

        self.tf = tf
        # traced once, and not at every `open`
        self.moved = tf.function(lambda images: in_turn(self.layers, images))
        if keras.backend.backend() != "tensorflow":
            with contextlib.suppress(RuntimeError):  # too late: it was used before
                tf.config.set_visible_devices([], "GPU")  # its memory is the other backend's
        super().__init__(job)

    def open(self):
        """List the files."""
        self.dataset = keras.utils.image_dataset_from_directory(
            self.job.folder,
            label_mode="categorical",
            batch_size=self.job.recipe.batch_size,
            image_size=(self.job.image_size, self.job.image_size),
            seed=self.job.recipe.seed,
            verbose=False,
        )
        if self.in_map:
            auto = self.tf.data.AUTOTUNE
            moved = self.dataset.map(lambda x, y: (self.moved(x), y), num_parallel_calls=auto)
            self.dataset = moved.prefetch(auto)

    def batches(self, n, epoch):
        """See `Way`; the dataset itself shuffles its files anew each time."""
        return self.dataset.repeat().take(n)


class Map(Model):
    """Files by `image_dataset_from_directory`, augmented in `Dataset.map`."""

    in_map = True


class Files(Plain):
    """Files by a `PyDataset`, augmented in the graph."""

    def open(self):
        """List the files."""
        homes = sorted(self.job.folder.iterdir())
        found = [(file, i) for i, home in enumerate(homes) for file in sorted(home.iterdir())]
        self.files, self.y = [file for file, _ in found], np.eye(len(homes), dtype=np.float32)
        self.y = self.y[[i for _, i in found]]

    def batches(self, n, epoch):
        """See `Way`."""
        order = np.random.default_rng(epoch).permutation(self.job.n_images)
        rows = np.resize(order, (n, self.job.recipe.batch_size))
        return FileBatches(self.files, self.y, rows, self.job.image_size)


class FileBatches(keras.utils.PyDataset):
    """Batches read by Keras's own `load_img`, by a thread for each core.

    Args:
        files: paths.
        y: `(n, n_classes)` float32.
        rows: `(n_batches, batch_size)` ints.
        size: pixels a side.
    """

    def __init__(self, files, y, rows, size):
        super().__init__(workers=os.cpu_count())
        self.files, self.y, self.rows, self.size = files, y, rows, (size, size)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        rows, options = self.rows[index], {"target_size": self.size, "interpolation": "bilinear"}
        shown = [keras.utils.load_img(self.files[row], **options) for row in rows]
        return np.stack(shown).astype(np.float32), self.y[rows]


WAYS = {"rin": Rin, "map": Map, "model": Model, "files": Files}


def random_layers(ranges, seed):
    """Keras's layers for these ranges, but for the shear: a tenth of a degree moves no pixel.

    Args:
        ranges: a `rin.augment.Ranges`, or None.
        seed: int.
    """
    if ranges is None:
        return []
    make, options = keras.layers, {"seed": seed, "dtype": "float32"}
    moving = options | {"fill_mode": "nearest"}
    made = [make.RandomRotation(ranges.rotation / 360, **moving)] if ranges.rotation else []
    made += [make.RandomTranslation(ranges.shift, ranges.shift, **moving)]
    made += [make.RandomZoom(ranges.zoom, ranges.zoom, **moving)]
    made += [make.RandomFlip("horizontal", **options)] if ranges.flip else []
    if keras.backend.backend() == "jax":
        for layer in made:
            layer.supports_jit = True  # they do; Keras says no, and would compile nothing at all
    return made


def in_turn(layers, images):
    """Images after every layer, each of them told that this is training."""
    for layer in layers:
        images = layer(images, training=True)
    return images


def prepared(job):
    """The first arguments of `rin.backbones.center_and_scale`."""
    # "official" is the same for every backbone
    return job.recipe.preprocess, "resnet50" if job.backbone == LOADER else job.backbone


def a_number_each(images):
    """In place of a network, so that no image travels back from the device."""
    return keras.ops.mean(images, axis=(1, 2, 3))


def exhaust(batches):
    """Ask for every batch, of a `PyDataset` in as many threads as `fit` would."""
    if not isinstance(batches, keras.utils.PyDataset):
        for _ in batches:
            pass
        return
    with ThreadPoolExecutor(batches.workers) as pool:
        for _ in pool.map(batches.__getitem__, range(len(batches))):
            pass


def begin(name, job):
    """Make this process's way."""
    global _way
    _way = WAYS[name](job)


def seconds_of(what, epoch):
    """Seconds of one measurement of this process's way; of its warm-up with `what` None."""
    started = time.perf_counter()
    _way.warm_up() if what is None else _way.measure(what, epoch)
    return time.perf_counter() - started
