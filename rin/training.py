"""Training: whole networks by the official recipe, one fresh state a run.

Adam, the objective asked for (`rin.objectives`), the epoch with the lowest validation value of it.
A model is compiled once per (backbone, trainable, classifier, size) and every run gets its weights,
seeds and optimizer assigned anew, so that nothing of one fold reaches another. Any run can be
trained here; those that free the classifier or the last layers alone are trained on the view bank
(`rin.banked`), many times as fast.
"""

import math
import time

import keras
import numpy as np

from rin import augment, backbones, feed, kept, micro, objectives
from rin.devices import computing_in, spread
from rin.feed import Batches
from rin.gradcam import closed_form
from rin.objectives import OFFICIAL
from rin.outcomes import Outcome, order, rows_of


class Trainer:
    """A network compiled once and given a fresh state for every run.

    Args:
        backbone, trainable, classifier, image_size: as `rin.backbones.build` takes them.
        precision: "float32", or "mixed_bfloat16": weights, classifier and loss in float32, what
            lies between in bfloat16.
        micro_batch: images that go through the network at once; 0 for the whole batch. There is
            still one update a batch, from its mean gradient, but a batch norm sees one part of the
            batch at a time and its moving averages move once a part. See `rin.micro`.
        devices: how many share each batch; see `rin.devices.spread`.
        resident: whether the images stay on the device; None asks `rin.feed.is_resident`.
        variant: as `rin.backbones.build` takes it; that of the runs' init.
        objective: as `rin.objectives.loss` takes it.

    Attributes:
        left: of the last run: a `rin.kept.Left`; None if it diverged.

    Raises:
        ValueError: an argument is not one of its choices.
    """

    def __init__(
        self,
        backbone,
        trainable,
        classifier="gap",
        image_size=256,
        *,
        precision="float32",
        micro_batch=0,
        devices=1,
        resident=None,
        variant="keras",
        objective=OFFICIAL,
    ):
        if micro_batch < 0:
            raise ValueError(f"`micro_batch` should be at least 0. Received: {micro_batch!r}")
        self.shape = {
            "backbone": backbone,
            "trainable": trainable,
            "classifier": classifier,
            "image_size": image_size,
            "variant": variant,
        }
        self.loss = objectives.loss(objective, classifier)
        self.micro_batch, self.devices, self.resident = micro_batch, devices, resident
        self._scope = spread(devices)
        with self._scope():
            with computing_in(precision):
                self.network = backbones.build(**self.shape, logits=True)
            self.feed = feed.Feed(name="feed")
            self.optimizer = micro.Adam() if micro_batch else keras.optimizers.Adam()
            self.optimizer.build(self.network.trainable_variables)
        self._optimizer = [variable.numpy() for variable in self.optimizer.variables]
        self._states, self._held, self.left = {}, None, None
        self._compile()

    def reset(self, run):
        """Assign the state a new model would have: weights, dropout seeds, optimizer, rate."""
        key = (run.init, run.seed)
        if key not in self._states:
            self._states = {key: fresh_state(run, self.shape)}  # one is held: they are large
        for variable, value in zip(self.network.variables, self._states[key], strict=True):
            variable.assign(value)
        for variable, value in zip(self.optimizer.variables, self._optimizer, strict=True):
            variable.assign(value)
        self.optimizer.learning_rate = run.scenario.learning_rate
        if self.micro_batch:
            self.optimizer.n_parts.assign(micro.n_parts(run.batch_size, self.micro_batch))
        self.feed.choose(run.preprocess, run.scenario.backbone, run.init)

    def train(self, run, data, settings, said=lambda text: None):
        """Train one run and predict val and test with its best epoch.

        Args:
            run: a `rin.scenarios.Run` of this trainer's backbone, trainable and classifier.
            data: a `rin.prepare.Data`.
            settings: a `rin.runs.Settings`.
            said: called with no more than the number of epochs done, after each.

        Returns:
            (predictions, history, result) as `rin.outcomes.Outcome.tables`.
        """
        started = time.perf_counter()
        self._hold(data)
        self.reset(run)
        rows, ranges = rows_of(data, run.fold), augment.RANGES[settings.augmentation]
        outcome = Outcome()
        for epoch in range(settings.epochs):
            shuffled = order(rows["train"], run.seed, epoch)
            loss = self._fit(run, data, shuffled, ranges, epoch)
            _, logits = self._predict(data, rows["val"], run.batch_size)
            val_loss = objectives.mean_loss(self.loss, data.y[rows["val"]], logits)
            outcome.add(loss, val_loss, self._scores(logits), self._moving_state)
            said(epoch + 1)
            if outcome.diverged:
                break
        test = self.left = None
        if not outcome.diverged:
            for variable, value in zip(self._moving, outcome.best["state"], strict=True):
                variable.assign(value)
            maps, logits = self._predict(data, rows["test"], run.batch_size)
            test = self._scores(logits)
            kind = run.scenario.trainable
            weights = kept.weights(self.network, kind) if settings.keep_weights else None
            self.left = kept.Left(maps, rows["test"], weights)
        outcome.seconds = time.perf_counter() - started
        predictions, history, result = outcome.tables(run, data, test)
        return predictions, history, result | {"n_trainable": self.n_trainable, "bank": "none"}

    @property
    def n_trainable(self):
        """Trainable parameters, the classifier's included."""
        return n_trainable(self.network)

    @property
    def _moving(self):
        """All variables that training can change; a frozen batch norm's are not among them."""
        return [v for layer in self.network.layers if layer.trainable for v in layer.weights]

    def _scores(self, logits):
        return objectives.probabilities(logits, self.shape["classifier"])

    def _moving_state(self):
        return [variable.numpy() for variable in self._moving]

    def _hold(self, data):
        """Keep these images on the device, where that is faster and they fit."""
        resident = feed.is_resident(data.images, self.resident)
        mark = data.fingerprint if resident else None
        if mark != self._held:
            self._held = mark
            self._compile(data.images if resident else None)

    def _compile(self, held=None):
        """Models over one network: `plain` and `seeing`, which gives class maps beside the logits,
        see images as stored, `model` resampled ones.
        """
        with self._scope():
            images, maps = feed.inputs(self.shape["image_size"])
            shown = images
            if held is not None:
                images = keras.Input((), dtype="int32", name="rows")
                shown = feed.Resident(held, name="resident")(images)
            self.plain = keras.Model(images, self.network(self.feed(shown)))
            self.seeing = keras.Model(images, closed_form.with_maps(self.network)(self.feed(shown)))
            self.model = keras.Model([images, maps], self.network(self.feed(shown, maps)))
            for model in (self.plain, self.model, self.seeing):
                model.compile(self.optimizer, self.loss, jit_compile=jit_compile())

    def _fit(self, run, data, rows, ranges, epoch):
        """Train one epoch; its mean loss."""
        held = self._held is not None
        seen = Batches(data, rows, run.batch_size, ranges, epoch, run.seed, held)
        if self.micro_batch or self.devices > 1:
            n_parts = micro.n_parts(run.batch_size, self.micro_batch)
            seen = micro.Parts(seen, n_parts, self.devices)
        model = self.plain if ranges is None else self.model
        with self._scope():
            # Batches has the order; Keras would shuffle the batches once more, unkeyed
            return model.fit(seen, shuffle=False, verbose=0).history["loss"][-1]

    def _predict(self, data, rows, batch_size):
        """Class maps `(n, h, w, 2)` and logits `(n, 2)`."""
        at_once = min(batch_size, self.micro_batch or batch_size)
        at_once = math.ceil(at_once / self.devices) * self.devices
        shared, _ = micro.level(rows, self.devices)
        batches = Batches(data, shared, at_once, resident=self._held is not None)
        with self._scope():
            return [found[: len(rows)] for found in self.seeing.predict(batches, verbose=0)]


def fresh_state(run, shape):
    """The values of all variables of a new network of this run's init and seed.

    Args:
        run: a `rin.scenarios.Run`.
        shape: dict of the other arguments of `rin.backbones.build`.
    """
    keras.utils.set_random_seed(run.seed)
    fresh = backbones.build(init=run.init, **shape)
    return [variable.numpy() for variable in fresh.variables]


def n_trainable(model):
    """Trainable parameters of a model."""
    return int(sum(np.prod(v.shape) for v in model.trainable_variables))


def deterministic():
    """Make TensorFlow repeat itself bit for bit; call it before any model is built."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()


def jit_compile():
    """XLA only where it is faster, on an accelerator, or where the backend knows nothing else.

    "auto" leaves TensorFlow's off too once `deterministic` was called, and for `rin.feed.Feed`.
    """
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow

    return "auto" if tensorflow.config.list_physical_devices("GPU") else False
