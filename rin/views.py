"""Views: what frozen layers hand to those that train, found from the graph and kept on disk.

In `head` and `top10` runs everything below the cut is a constant function of (image, view). The cut
is found in any functional Keras model; a `View` holds its tensors for many images in memory-mapped
files, so that every learning rate and fold trains on one pass through the frozen layers.
"""

import os
import tempfile

import keras
import numpy as np

FOLDER_VARIABLE = "RIN_SCRATCH"


def frontier(model, moving=None):
    """The tensors that frozen layers hand to those that train.

    A layer moves if its weights train, or if it draws random numbers (dropout), or if anything
    before it moves; all others give the same output for the same image in every epoch and are
    cut off as late as possible. A frozen batch norm runs in inference mode; one that stands
    above a layer that trains belongs to the upper part, still frozen.

    Args:
        model: a functional `keras.Model` whose layers carry their `trainable`.
        moving: called with an operation, says whether it moves; default `moves`.

    Returns:
        List of KerasTensors, each once, in the order in which the model computes them.

    Raises:
        ValueError: nothing below the output moves, so there is nothing to train.
    """
    moving, seen, found = moving or moves, {}, {}

    def visit(tensor):
        if id(tensor) not in seen:
            operation, before = _source(tensor)
            below = [visit(parent) for parent in before]  # every parent, so that all are seen
            seen[id(tensor)] = any(below) or moving(operation)
            if seen[id(tensor)]:
                still = (t for t, moved in zip(before, below, strict=True) if not moved)
                found.update({id(t): t for t in still})
        return seen[id(tensor)]

    if not any([visit(output) for output in model.outputs]):
        raise ValueError("`model` should have a layer that trains. Received: all layers are frozen")
    place = {operation: i for i, operation in enumerate(model.operations)}
    return sorted(found.values(), key=lambda t: (place[_source(t)[0]], t._keras_history[1:]))


def moves(operation):
    """Whether an operation changes from one epoch to the next: weights that train, or chance."""
    if parts := getattr(operation, "layers", []):
        return any(moves(part) for part in parts)
    if not isinstance(operation, keras.Layer):
        return False
    return draws(operation) or (operation.trainable and bool(operation.weights))


def draws(operation):
    """Whether an operation draws random numbers in training: its seeds are no weights."""
    is_layer = isinstance(operation, keras.Layer)
    return is_layer and len(operation.variables) > len(operation.weights)


def n_bytes(tensors):
    """Bytes that one image's float32 tensors take."""
    return sum(int(np.prod(t.shape[1:])) for t in tensors) * np.dtype(np.float32).itemsize


def scratch(folder):
    """Where a bank's files lie: the folder that `RIN_SCRATCH` names, a faster disk, or this one."""
    chosen = os.environ.get(FOLDER_VARIABLE, folder)
    os.makedirs(chosen, exist_ok=True)
    return chosen


class View:
    """Tensors of many images, in files that vanish with the process.

    Args:
        tensors: KerasTensors, whose shapes are held.
        capacity: images that fit.
        folder: where the files lie while they are open; see `scratch`.
    """

    def __init__(self, tensors, capacity, folder):
        folder, self.capacity = scratch(folder), int(capacity)
        self.arrays = [_mapped(folder, (self.capacity, *t.shape[1:])) for t in tensors]
        self._key, self._place = None, {}

    def fill(self, rows, key, batches):
        """Hold these rows, unless they are held already.

        Args:
            rows: `(n,)` ints, at most `capacity`.
            key: names the pictures the rows were computed from, such as (seed, epoch).
            batches: called with rows for an iterator over their tensors, a list an array of this
                view, some images at a time, in the order of the rows.

        Returns:
            How many images were computed.
        """
        if key == self._key and all(int(row) in self._place for row in rows):
            return 0
        self._key, self._place = None, {}
        at = 0
        for tensors in batches(rows):
            for array, values in zip(self.arrays, tensors, strict=True):
                array[at : at + len(values)] = values
            at += len(tensors[0])
        self._key, self._place = key, {int(row): i for i, row in enumerate(rows)}
        return len(rows)

    def take(self, rows, which):
        """The tensors of these rows.

        Args:
            rows: ints that `fill` was given.
            which: numbers of the arrays wanted.

        Returns:
            List of float32 arrays.
        """
        at = np.array([self._place[int(row)] for row in rows], dtype=int)
        return [self.arrays[i][at] for i in which]


def _mapped(folder, shape):
    """A memory-mapped array over a file without a name: the disk gets it back, killed or not."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)


def _source(tensor):
    operation, node, _ = tensor._keras_history
    return operation, operation._inbound_nodes[node].input_tensors
