"""Fitting: train a network on a whole database, stoppable at any batch."""

import math
import time

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, recall_score
from tqdm import tqdm

from rin import backbones, feed, outcomes, training
from rin.devices import computing_in, spread
from rin.micro import level
from rin.pretraining import recipe as recipes
from rin.pretraining.checkpoint import CheckpointError, State
from rin.pretraining.policies import Policy
from rin.pretraining.stream import Plain, Stream, n_batches


class FittingError(ValueError):
    """A pretraining that can't begin or can't go on."""


class Fit:
    """A network on its way from random weights.

    Args:
        data: a `rin.prepare.Data` with one split; any number of classes.
        n_classes: units of the softmax.
        backbone: a key of `rin.backbones.BACKBONES`.
        recipe: a `rin.pretraining.recipe.Recipe`.
        devices: how many share each batch; see `rin.devices.spread`.

    Raises:
        FittingError: there is no whole batch, or it does not fall into equal parts.
    """

    def __init__(self, data, n_classes, backbone, recipe, devices=1):
        self.data, self.n_classes, self.recipe, self.devices = data, n_classes, recipe, devices
        self.rows = outcomes.rows_of(data, 0)
        self.n_steps = n_batches(self.rows["train"], recipe)
        self._check()
        size, self._scope = data.images.shape[1], spread(devices)
        training.deterministic()
        keras.utils.set_random_seed(recipe.seed)
        with self._scope():
            with computing_in(recipe.precision):
                self.network = backbones.build(backbone, None, "all", n_classes, size)
            self.feed = feed.Feed(name="feed")
            self.optimizer = recipes.optimizer(recipe, self.n_steps)
            self.optimizer.build(self.network.trainable_variables)
            self._compile(size)
        self.feed.choose(recipe.preprocess, backbone)
        self.state = State()
        self.policy = policy_of(recipe, n_classes, size) if recipe.policies else None

    def train(self, checkpoint, title="Pretraining"):
        """Train to the end of the last epoch, from where the checkpoint stands.

        The network then has the weights of the epoch with the lowest validation loss.

        Args:
            checkpoint: a `rin.pretraining.checkpoint.Checkpoint`.
            title: of the progress bar.

        Returns:
            The history: DataFrame with one row an epoch.

        Raises:
            rin.pretraining.checkpoint.CheckpointError: see its `read`.
            FittingError: the loss is not finite any more. The last checkpoint stays.
        """
        self._go_on_from(checkpoint)
        total, done = self.recipe.epochs * self.n_steps, self._n_seen
        with tqdm(total=total, initial=done, desc=title, unit="batch", mininterval=2) as bar:
            while self.state.epoch < self.recipe.epochs:
                self._epoch(checkpoint, bar)
        for variable, value in zip(self.network.variables, self.state.best["values"], strict=True):
            variable.assign(value)
        return pd.DataFrame(self.state.history)

    def predict(self, split):
        """`(n, n_classes)` float32 probabilities of this set's images, as stored."""
        rows = self.rows[split]
        shared, _ = level(rows, self.devices)
        with self._scope():
            batches = Plain(self.data, shared, self.recipe.batch_size)
            return self.plain.predict(batches, verbose=0)[: len(rows)]

    @property
    def variables(self):
        """What a checkpoint holds: of the network, dropout's seed included, and the optimizer."""
        return [*self.network.variables, *self.optimizer.variables]

    @property
    def _n_seen(self):
        return self.state.epoch * self.n_steps + self.state.step

    def _check(self):
        n, size = len(self.rows["train"]), self.recipe.batch_size
        if not self.n_steps:
            raise FittingError(
                f"`batch_size` should be at most the {n} training images. "
                f"Received: batch_size={size}"
            )
        if size % self.devices:
            raise FittingError(
                f"`batch_size` should be a multiple of devices={self.devices}. "
                f"Received: batch_size={size}"
            )

    def _compile(self, size):
        dtype = "float32" if self.recipe.policies else "uint8"
        images = keras.Input((size, size), dtype=dtype, name="images")
        _, maps = feed.inputs(size)
        self.plain = keras.Model(images, self.network(self.feed(images)))
        self.model = keras.Model([images, maps], self.network(self.feed(images, maps)))
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=self.recipe.label_smoothing)
        for model in (self.plain, self.model):
            model.compile(self.optimizer, loss, jit_compile=training.jit_compile())

    def _go_on_from(self, checkpoint):
        found = checkpoint.read()
        if found is None:
            return
        shapes = [tuple(variable.shape) for variable in self.variables]
        if [value.shape for value in found.values] != shapes:
            raise CheckpointError(
                f"{checkpoint.file}: its {len(found.values)} tensors are not those of this network "
                f"and optimizer ({len(shapes)}); remove it to begin anew"
            )
        for variable, value in zip(self.variables, found.values, strict=True):
            variable.assign(value)
        found.values, self.state = [], found

    def _epoch(self, checkpoint, bar):
        state, none = self.state, self.recipe.augmentation == "none"
        began = time.perf_counter()
        if state.step < self.n_steps:
            seen = Stream(
                *(self.data, self.rows["train"], self.recipe, self.n_classes),
                *(state.epoch, state.step, self.policy),
            )
            watch = _Watch(self, checkpoint, bar)
            with self._scope():
                model = self.plain if none else self.model
                model.fit(seen, shuffle=False, verbose=0, callbacks=[watch])
        trained = state.seconds
        row = {"epoch": state.epoch, "learning_rate": self._rate(), "loss": state.loss}
        row |= self._judge()
        if not (math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])):
            raise FittingError(
                f"the loss is not finite in epoch {state.epoch}: lower the learning rate"
            )
        per_s = self.n_steps * self.recipe.batch_size / trained
        state.history.append(row | {"seconds": trained, "images_per_s": per_s})
        self._keep(row)
        state.epoch, state.step, state.loss, state.seconds = state.epoch + 1, 0, 0.0, 0.0
        bar.write(_said(row, self.recipe.epochs, time.perf_counter() - began))
        if checkpoint.is_due or state.epoch == self.recipe.epochs:
            checkpoint.write(state, self.values())

    def values(self):
        """The values of `variables`, as arrays."""
        return [keras.ops.convert_to_numpy(variable) for variable in self.variables]

    def _keep(self, row):
        if row["val_loss"] < self.state.best.get("val_loss", math.inf):
            values = [keras.ops.convert_to_numpy(v) for v in self.network.variables]
            self.state.best = {"epoch": row["epoch"], "val_loss": row["val_loss"], "values": values}

    def _rate(self):
        """The learning rate of the last update."""
        steps = (self.state.epoch + 1) * self.n_steps - 1
        rate = recipes.schedule(self.recipe, self.n_steps)(steps)
        return float(keras.ops.convert_to_numpy(rate))

    def _judge(self):
        y, p = self.data.y[self.rows["val"]], self.predict("val").astype(np.float64)
        truth = p[np.arange(len(y)), y]
        rank = (p > truth[:, None]).sum(axis=1)
        guess = p.argmax(axis=1)
        options = {"average": "macro", "zero_division": 0}
        return {
            "val_loss": float(-np.log(np.clip(truth, 1e-7, 1)).mean()),
            "val_top1": float((guess == y).mean()),
            "val_top5": float((rank < 5).mean()),
            "val_balanced_accuracy": float(recall_score(y, guess, labels=np.unique(y), **options)),
            "val_macro_f1": float(f1_score(y, guess, **options)),
        }


def policy_of(recipe, n_classes, image_size):
    """The `rin.pretraining.policies.Policy` of a recipe.

    Where the affine map already moves the images, RandAugment changes their greys alone.
    """
    still = recipe.augmentation == "none"
    return Policy(recipe.policies, n_classes, image_size, recipe.seed, geometric=still)


class _Watch(keras.callbacks.Callback):
    """Counts the batches of an epoch, and writes a checkpoint when one is due."""

    def __init__(self, fit, checkpoint, bar):
        super().__init__()
        self.fit, self.checkpoint, self.bar = fit, checkpoint, bar
        self.first, self.before = fit.state.step, fit.state.loss
        self.seconds, self.began = fit.state.seconds, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """See the class."""
        state = self.fit.state
        state.step = self.first + batch + 1
        self.bar.update()
        if state.step < self.fit.n_steps and not self.checkpoint.is_due:
            return
        mean = float(logs["loss"])  # over the batches of this call alone
        if not math.isfinite(mean):
            raise FittingError(
                f"the loss is not finite in epoch {state.epoch}: lower the learning rate"
            )
        state.loss = (self.before * self.first + mean * (state.step - self.first)) / state.step
        state.seconds = self.seconds + time.perf_counter() - self.began
        if self.checkpoint.is_due:
            _ = self.model  # on JAX this puts the state of the loop back into the variables
            self.checkpoint.write(state, self.fit.values())


def _said(row, n_epochs, seconds):
    return (
        f"epoch {row['epoch'] + 1}/{n_epochs}: loss {row['loss']:.3f}, val loss "
        f"{row['val_loss']:.3f}, top-1 {row['val_top1']:.3f}, balanced accuracy "
        f"{row['val_balanced_accuracy']:.3f}, {seconds:.0f} s"
    )
