"""HDF5: read the tensors of Keras's legacy `.h5` files and of its `.weights.h5` files.

Both give `{layer: {tensor: array}}`. A legacy file names layers and tensors, and lists its layers.
A Keras 3 file names its groups by class and rank among the layers of this class (`conv2d_7` is the
eighth Conv2D, whatever its name), numbers the tensors, and notes each layer's own name; early
versions do not, and then class and rank must do.
"""

import json
import re
from collections import Counter

import numpy as np

from rin.weights import matching
from rin.weights.report import WeightsError

# what stands before or behind a backbone, and holds no weights
AROUND = ("input_layer", "global_average_pooling2d", "global_max_pooling2d", "dropout", "flatten")
MOST_BYTES = 2**32  # the largest tensor of the four backbones takes 15 MB


def is_legacy(h5):
    """Whether an open HDF5 file is a legacy Keras file."""
    return "model_weights" in h5 or _has(h5, "layer_names")


def is_keras_3(h5):
    """Whether an open HDF5 file is a Keras 3 weight file."""
    return "layers" in h5 and not is_legacy(h5)


def legacy(h5, file_name):
    """The tensors of an open legacy file.

    Args:
        h5: an `h5py.File` for which `is_legacy` holds.
        file_name: for messages.

    Returns:
        `{layer: {tensor: array}}`, in the order in which the file lists its layers.

    Raises:
        WeightsError: it is no file of one functional model.
        KeyError, OSError: it is damaged.
    """
    home = h5["model_weights"] if "model_weights" in h5 else h5
    layers = {}
    for name in _texts(home, "layer_names"):
        keys = _texts(home[name], "weight_names")
        tensors = {key.split(":")[0].split("/")[-1]: _array(home[name], key) for key in keys}
        if len(tensors) != len(keys):
            raise WeightsError(f"{file_name}: layer {name} is a model itself, expected one layer")
        if tensors:
            layers[name] = tensors
    return layers


def legacy_options(h5):
    """`{layer: its configuration}` of a legacy file; empty for one that holds weights alone."""
    return options(_text(h5.attrs["model_config"])) if "model_config" in h5.attrs else {}


def options(config):
    """`{layer: its configuration}` from a model's configuration, the text of a JSON object."""
    layers = json.loads(config)["config"]
    layers = layers["layers"] if isinstance(layers, dict) else layers
    return {layer["config"].get("name", ""): layer["config"] for layer in layers}


def keras_3(h5, model, file_name):
    """The tensors of an open Keras 3 file, which only a model can put names to.

    Args:
        h5: an `h5py.File` for which `is_keras_3` holds.
        model: the functional model they are meant for.
        file_name: for messages.

    Returns:
        `{layer: {tensor: array}}` with the model's own names.

    Raises:
        WeightsError: it is another architecture's; both sides are listed.
        KeyError, OSError: it is damaged.
    """
    ours, theirs = _ours(model), _theirs(h5, file_name)
    held = {key: arrays for key, (_, arrays) in theirs.items() if arrays}
    expected = {key: layer for key, layer in ours.items() if layer.weights}
    if all(name for name, _ in theirs.values()):
        _check_names(file_name, ours, theirs, expected, held)
    matching.compare(file_name, "layers", set(expected), set(held))
    layers = {}
    for key, layer in expected.items():
        names = [variable.name for variable in layer.weights]
        if len(held[key]) != len(names):
            raise WeightsError(
                f"{file_name}: layer {layer.name} has {len(held[key])} tensors, expected "
                f"{len(names)} {names}"
            )
        layers[layer.name] = dict(zip(names, held[key], strict=True))
    return layers


def _check_names(file_name, ours, theirs, expected, held):
    """The names in the file and the ranks of its groups must tell the same."""
    mine = list(matching.canonical({layer.name: 0 for layer in expected.values()}))
    noted = [theirs[key][0] for key in held]
    other = list(matching.canonical(dict.fromkeys(noted)))
    matching.compare(file_name, "layers", set(mine), set(other))
    kinds = {key for key in ours if _kind(key) not in AROUND}
    matching.compare(
        file_name, "layers by class", kinds, {k for k in theirs if _kind(k) not in AROUND}
    )
    mine, other = dict(zip(expected, mine, strict=True)), dict(zip(held, other, strict=True))
    moved = [f"{other[key]} in the place of {mine[key]}" for key in mine if mine[key] != other[key]]
    if moved:
        raise WeightsError(
            f"{file_name}: {len(moved)} layers stand in another order than the model's: "
            f"{'; '.join(moved[:5])}"
        )


def _ours(model):
    """The model's layers under the names that Keras 3 gives their groups."""
    count, layers = Counter(), {}
    for layer in model.layers:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        layers[f"{kind}_{count[kind]}" if count[kind] else kind] = layer
        count[kind] += 1
    return layers


def _theirs(h5, file_name):
    """`{group: (layer's name or None, arrays)}`."""
    found = {}
    for key, group in h5["layers"].items():
        if "layers" in group:
            raise WeightsError(f"{file_name}: layer {key} is a model itself, expected one layer")
        held = group["vars"] if "vars" in group else {}
        name = held.attrs.get("name") if held else None
        numbers = sorted(held, key=int)
        found[key] = (name and _text(name), [_array(held, number) for number in numbers])
    return found


def _kind(key):
    return re.sub(r"_\d+$", "", key)


def _array(group, key):
    """One tensor, from this file alone and no larger than one can be."""
    data = group[key]
    if data.external or data.is_virtual or data.file.id != group.file.id:
        raise OSError(f"{data.name} lies in another file")
    if data.nbytes > MOST_BYTES:
        raise OSError(f"{data.name} has shape {data.shape}, more than a backbone can hold")
    return np.asarray(data[()])


def _has(group, name):
    return name in group.attrs or f"{name}0" in group.attrs


def _texts(group, name):
    """A list of names; Keras splits one that is too long for HDF5 into name0, name1 and so on."""
    if name in group.attrs:
        return [_text(value) for value in group.attrs[name]]
    found, part = [], 0
    while f"{name}{part}" in group.attrs:
        found += [_text(value) for value in group.attrs[f"{name}{part}"]]
        part += 1
    if not part:
        raise KeyError(f"{group.name} has no {name}")
    return found


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
