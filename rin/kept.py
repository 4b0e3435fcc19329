"""Kept: what a run leaves beside its tables, the class maps of its test images and its weights.

The weights are those that training could change. The others come from the init again, and a digest
over all of them says whether they did: random weights are the same on one backend only.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from rin import backbones, paths, records
from rin.gradcam import choices
from rin.scenarios import NAMED_INITS

FILE = "weights.npz"


class KeptError(ValueError):
    """A run whose network can't be built again."""


@dataclass(frozen=True)
class Left:
    """What training leaves beside the tables.

    Attributes:
        maps: `(n, h, w, 2)` signed class maps of the test images, with the weights below.
        rows: `(n,)` ints, their rows.
        weights: a `Weights`; None where they are not kept.
    """

    maps: np.ndarray
    rows: np.ndarray
    weights: object


@dataclass(frozen=True)
class Weights:
    """The weights of a trained network.

    Attributes:
        values: list of arrays, those that training could change.
        digest: 64 hex digits over all weights of the network.
    """

    values: list
    digest: str


def weights(network, trainable):
    """The weights a network holds now, if a run of this kind trained it.

    Args:
        network: of `rin.backbones.build`; for "top10" and "all" with its `trainable` set.
        trainable: "head", "top10" or "all".
    """
    return Weights([v.numpy() for v in _moving(network, trainable)], _digest(network))


def save(folder, left, image_size):
    """Write `cams.npz`, and `weights.npz` if kept; what stood there of another run goes.

    Args:
        folder: the run's.
        left: a `Left`, or None for a diverged run, which leaves neither.
        image_size: pixels a side of the network's input.
    """
    folder = Path(folder)
    (folder / FILE).unlink(missing_ok=True)
    if left is None:
        (folder / choices.FILE).unlink(missing_ok=True)
        return
    choices.save(folder, left.maps, left.rows)
    if left.weights is not None:
        named = {str(i): value for i, value in enumerate(left.weights.values)}
        with paths.replacing(folder / FILE) as work:
            np.savez(work, digest=left.weights.digest, image_size=image_size, **named)


def load(folder, init=None):
    """The trained network of a finished run that kept its weights.

    Args:
        folder: the run's.
        init: the weight file the run started from, if it was a file: the record has its name
            alone. Its content is checked.

    Returns:
        `keras.Model` as `rin.backbones.build` makes it: preprocessed float32 in, probabilities
        out.

    Raises:
        KeptError: no finished run, one without an objective, no kept weights, another weight
            file, or frozen weights that are not those of the run (random ones of another backend).
    """
    folder = Path(folder)
    record = records.read(folder)
    if record is None or record.get("kind") != "training":
        raise KeptError(f"{folder}: no finished training run")
    if "objective" not in record.get("settings", {}):
        raise KeptError(records.no_objective(folder, "this run is"))
    if not (folder / FILE).is_file():
        raise KeptError(f"{folder}: no {FILE}; train this run with keep_weights: true")
    run = record["run"]
    if run["init"] not in NAMED_INITS and init is None:
        raise KeptError(f"{folder.name}: started from a weight file; name it as `init`")
    with np.load(folder / FILE) as held:
        values = [held[str(i)] for i in range(len(held.files) - 2)]
        digest, image_size = str(held["digest"]), int(held["image_size"])
    keras.utils.set_random_seed(run["seed"])
    network = backbones.build(
        run["backbone"],
        run["init"] if run["init"] in NAMED_INITS else str(init),
        run["trainable"],
        image_size=image_size,
        classifier=run["classifier"],
    )
    _assign(network, run["trainable"], values, folder)
    if _digest(network) != digest:
        raise KeptError(
            f"{folder.name}: the frozen weights are not those it was trained with. It started "
            f"from {run['init']} weights on {record['backend']}; here is {keras.backend.backend()}"
        )
    return network


def _moving(network, trainable):
    layers = [layer for layer in network.layers if layer.trainable]
    if trainable == "head":  # its network may have been built for top10 runs too
        layers = [network.get_layer("classifier")]
    return [variable for layer in layers for variable in layer.weights]


def _assign(network, trainable, values, folder):
    variables = _moving(network, trainable)
    if [v.shape for v in variables] != [value.shape for value in values]:
        raise KeptError(f"{folder / FILE}: other tensors than {network.name} {trainable} trains")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _digest(network):
    digest = hashlib.sha256()
    for variable in network.weights:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()
