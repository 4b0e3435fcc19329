"""Micro-batches: one update from a batch that goes through the network in equal parts."""

import math

import keras
import numpy as np


def n_parts(batch_size, micro_batch):
    """Parts a batch is cut into so that none has more images than `micro_batch`; 0 is no limit.

    >>> n_parts(256, 32), n_parts(256, 0)
    (8, 1)
    """
    return math.ceil(batch_size / micro_batch) if micro_batch else 1


def level(rows, n):
    """Repeat some rows so that a batch falls into `n` equal parts, with weights that undo it.

    A mean over the rows with these weights is the mean over the batch, and so is the mean over
    equal parts of the parts' means.

    Args:
        rows: `(m,)` ints, a batch.
        n: parts.

    Returns:
        `(k,)` rows, the given ones first, and `(k,)` float32 weights; k is the next multiple of n.

    >>> level(np.array([7, 8, 9]), 2)
    (array([7, 8, 9, 7]), array([0.6666667, 1.3333334, 1.3333334, 0.6666667], dtype=float32))
    """
    size = math.ceil(len(rows) / n) * n
    places = np.resize(np.arange(len(rows)), size)
    times = np.bincount(places)
    weights = size / (len(rows) * times[places])
    return rows[places], weights.astype(np.float32)


class Parts(keras.utils.PyDataset):
    """The parts of all batches of an epoch, one after the other, with their sample weights.

    Gradients are exact means over each batch. The epoch's mean loss counts a batch by the rows it
    is fed, repeated ones included, so it differs a little where batches fall into unequal parts.

    Args:
        batches: a `rin.training.Batches`.
        n_parts: parts a batch.
        n_devices: devices that share each part equally.
    """

    def __init__(self, batches, n_parts, n_devices=1):
        super().__init__()
        self.batches, self.n_parts, self.n_devices = batches, n_parts, n_devices

    def __len__(self):
        return len(self.batches) * self.n_parts

    def __getitem__(self, index):
        batch, part = divmod(index, self.n_parts)
        rows, weights = level(self.batches.batch(batch), self.n_parts * self.n_devices)
        here = np.split(np.arange(len(rows)), self.n_parts)[part]
        return (*self.batches.shown(rows[here]), weights[here])


class Adam(keras.optimizers.Adam):
    """Adam that takes a step every `n_parts` gradients, along their mean.

    Keras's own `gradient_accumulation_steps` steps inside a branch, which TensorFlow's
    `MirroredStrategy` refuses, and is fixed when a model is compiled; `n_parts` is a variable.
    """

    def build(self, variables):
        """Add a sum of gradients for each variable."""
        super().build(variables)
        options = {"dtype": "int32", "aggregation": "only_first_replica"}
        self.n_parts = self.add_variable((), initializer="ones", name="n_parts", **options)
        self._sums = self.add_optimizer_variables(variables, "gradient_sum")

    @property
    def iterations(self):
        """Steps taken."""
        return keras.ops.floor_divide(super().iterations, self.n_parts)

    def update_step(self, gradient, variable, learning_rate):
        """Add one gradient; take a step if it was its batch's last."""
        place, copy = self._get_variable_index(variable), keras.ops.copy
        changing = (variable, self._momentums[place], self._velocities[place])
        total, before = self._sums[place], [copy(each) for each in changing]
        self.assign_add(total, gradient)
        is_last = keras.ops.equal((super().iterations + 1) % self.n_parts, 0)
        mean = copy(total) / keras.ops.cast(self.n_parts, total.dtype)
        super().update_step(mean, variable, learning_rate)
        for each, old in zip(changing, before, strict=True):
            self.assign(each, keras.ops.where(is_last, copy(each), old))
        self.assign(total, keras.ops.where(is_last, 0.0, copy(total)))
