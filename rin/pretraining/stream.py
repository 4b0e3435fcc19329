"""Stream: the batches of one epoch from the image store, from any batch on."""

import keras
import numpy as np

from rin import augment, feed
from rin.pretraining import sampling


class Stream(keras.utils.PyDataset):
    """The training batches of one epoch, from `first` on.

    Batch k of an epoch depends on the recipe's seed, the epoch and k alone, so a stopped epoch
    goes on with the very batches that it would have seen. Images are read from the memory-mapped
    store batch by batch; what is left over after the last whole batch is not shown this epoch.

    Args:
        data: a `rin.prepare.Data` of any number of classes.
        rows: `(n,)` ints, the training images.
        recipe: a `rin.pretraining.recipe.Recipe`.
        n_classes: classes of the softmax.
        epoch: which one.
        first: batches that were seen already.
        policy: a `rin.pretraining.policies.Policy`, or None.
    """

    def __init__(self, data, rows, recipe, n_classes, epoch, first=0, policy=None):
        super().__init__()
        y, power = data.y[rows], recipe.balance_power
        self.data, self.recipe, self.epoch, self.first = data, recipe, epoch, first
        self.n_classes, self.policy = n_classes, policy
        self.order = sampling.order(rows, y, recipe.seed, epoch, recipe.balance, power)
        by_weight = recipe.balance == "weights"
        self.weights = sampling.weights(y, n_classes, power) if by_weight else None

    def __len__(self):
        return n_batches(self.order, self.recipe) - self.first

    def __getitem__(self, index):
        step, size = self.first + index, self.recipe.batch_size
        rows = self.order[step * size : (step + 1) * size]
        images, y = self.data.images[rows], one_hot(self.data.y[rows], self.n_classes)
        counts = () if self.weights is None else (self.weights[self.data.y[rows]],)
        if self.policy is not None:
            grey = images[..., None].astype(np.float32)
            changed, y = self.policy.apply(grey, y, self.epoch, step)
            images = changed[..., 0]
        ranges = augment.RANGES[self.recipe.augmentation]
        if ranges is None:
            return (images, y, *counts)
        ids, size = self.data.image_ids[rows], images.shape[1]
        moved = feed.maps(ranges, ids, self.epoch, self.recipe.seed, size)
        return ((images, moved), y, *counts)


class Plain(keras.utils.PyDataset):
    """Images as stored, in the order of `rows`, for predictions: every one, the rest as well.

    Args:
        data: a `rin.prepare.Data`.
        rows: `(n,)` ints.
        batch_size: images a batch.
    """

    def __init__(self, data, rows, batch_size):
        super().__init__()
        self.data, self.rows, self.batch_size = data, rows, batch_size

    def __len__(self):
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index):
        rows = self.rows[index * self.batch_size : (index + 1) * self.batch_size]
        return (self.data.images[rows],)


def n_batches(rows, recipe):
    """Whole batches, and so updates, an epoch."""
    return len(rows) // recipe.batch_size


def one_hot(y, n_classes):
    """`(n,)` ints -> `(n, n_classes)` float32."""
    return np.eye(n_classes, dtype=np.float32)[y]
