"""Matching: lay a file's tensors beside the model's, and assign all of them or none.

Layers are matched by name, auto-numbered ones by their rank within a type, tensors by their own
name and shape. Any difference raises, with both sides listed, before anything is assigned.
"""

import math
import re

import keras
import numpy as np

from rin.weights.report import WeightsError

AUTO_NAME = re.compile(
    r"^(?P<type>conv2d|depthwise_conv2d|separable_conv2d|batch_normalization|dense)"
    r"(_(?P<number>\d+))?$"
)
# what changes a layer's output and leaves no trace in the shapes of its tensors
OPTIONS = (
    "strides", "padding", "dilation_rate", "groups", "data_format", "activation", "use_bias",
    "center", "scale", "epsilon",
)  # fmt: skip


def place(file_name, model, content):
    """Assign what a file holds to a model, all of it or nothing.

    Args:
        file_name: for messages.
        model: a functional Keras model.
        content: a `rin.weights.formats.Content`.

    Raises:
        WeightsError: layers, tensors, shapes, order or settings differ, a value is not finite, or
            a tensor did not take its value; the model is as it was before.
    """
    ours, theirs = canonical(weighted(model)), canonical(content.layers)
    compare(file_name, "layers", set(ours), set(theirs))
    check_order(file_name, model, content.listed)
    check_options(file_name, model, content.options)
    planned = _plan(file_name, ours, theirs)
    before = [keras.ops.convert_to_numpy(variable) for variable, _ in planned]
    for variable, value in planned:
        variable.assign(value)
    for variable, value in planned:
        if not np.array_equal(keras.ops.convert_to_numpy(variable), value):
            for (changed, _), old in zip(planned, before, strict=True):
                changed.assign(old)
            raise WeightsError(
                f"{file_name}: {variable.path} ({variable.dtype}) did not take its value"
            )


def canonical(layers):
    """Rename auto-numbered layers by their rank within the type.

    Keras numbers layers through a process: the second InceptionV3 starts at conv2d_94.

    >>> canonical({"conv2d_94": 1, "conv2d_107": 2, "conv1": 3})
    {'conv2d#0': 1, 'conv2d#1': 2, 'conv1': 3}
    """
    matches = {name: AUTO_NAME.match(name) for name in layers}
    numbered = {name: (m["type"], int(m["number"] or 0)) for name, m in matches.items() if m}
    rank, names = {}, {}
    for name, (kind, _) in sorted(numbered.items(), key=lambda item: item[1]):
        names[name] = f"{kind}#{rank.get(kind, 0)}"
        rank[kind] = rank.get(kind, 0) + 1
    return {names.get(name, name): value for name, value in layers.items()}


def compare(file_name, what, ours, theirs):
    """Raise unless two sets are equal, listing both sides of the difference."""
    if ours != theirs:
        only_ours, only_theirs = sorted(ours - theirs), sorted(theirs - ours)
        raise WeightsError(
            f"{file_name}: its {what} are not the model's. Missing in the file: "
            f"{len(only_ours)} {only_ours[:5]}; unknown to the model: "
            f"{len(only_theirs)} {only_theirs[:5]}"
        )


def weighted(model):
    """The layers that hold weights: `{name: layer}` in the model's order."""
    return {layer.name: layer for layer in model.layers if layer.weights}


def check_order(file_name, model, listed):
    """Raise where auto-numbered layers stand in an order that contradicts their numbers.

    Every Keras lists layers from input to output, by their depth in the graph. Layers of one
    depth may come in any order: versions of Keras differ there.

    Args:
        file_name: for the message.
        model: a functional Keras model.
        listed: names of the file's layers that hold weights, as the file lists them.

    Raises:
        WeightsError: a layer is listed after one that is nearer to the output.
    """
    depths = _depths(model)
    depth = canonical({name: depths[name] for name in weighted(model)})
    names = list(canonical(dict.fromkeys(listed)))
    places = [(name, depth[new]) for name, new in zip(listed, names, strict=True) if "#" in new]
    for (before, near), (after, far) in zip(places, places[1:], strict=False):
        if far > near:
            raise WeightsError(
                f"{file_name}: it lists {before} before {after}, and the model computes them the "
                "other way round: the numbers of its layers can't be trusted"
            )


def check_options(file_name, model, options):
    """Raise where layers of the same shapes compute something else.

    Args:
        file_name: for the message.
        model: a Keras model.
        options: `{layer name: dict}`, the layers' configurations as the file holds them; layers
            and options that it doesn't name are not compared.
    """
    theirs, differing = canonical(options), []
    for name, layer in canonical(weighted(model)).items():
        mine, other = layer.get_config(), theirs.get(name, {})
        for key in OPTIONS:
            if key in mine and key in other and not _same(mine[key], other[key]):
                differing.append(f"{name} {key}={other[key]}, expected {_plain(mine[key])}")
    if differing:
        raise WeightsError(
            f"{file_name}: {len(differing)} settings of its layers are not the model's: "
            f"{'; '.join(differing[:5])}"
        )


def sizes(model):
    """Layers that hold weights, tensors, parameters."""
    return len(weighted(model)), len(model.weights), int(model.count_params())


def _plan(file_name, ours, theirs):
    planned = []
    for name, layer in ours.items():
        mine = {variable.name: variable for variable in layer.weights}
        compare(file_name, f"tensors of layer {name}", set(mine), set(theirs[name]))
        for key, variable in mine.items():
            value = _checked(f"{file_name}: {name}/{key}", variable, theirs[name][key])
            planned.append((variable, value))
    return planned


def _checked(what, variable, value):
    expected = tuple(variable.shape)
    if expected != value.shape:
        one = len(expected) == 4 and (*value.shape[:2], 3, *value.shape[3:]) == expected
        hint = f": it takes images of {value.shape[2]} channel, not of 3" if one else ""
        raise WeightsError(f"{what} has shape {value.shape}, expected {expected}{hint}")
    if value.dtype.kind != "f":
        raise WeightsError(f"{what} holds {value.dtype} values, expected floats")
    with np.errstate(over="ignore"):
        value = value.astype(np.float32)
    if not np.isfinite(value).all():
        raise WeightsError(f"{what} holds values that are not finite")
    return value


def _depths(model):
    """`{layer name: n}`: operations on the longest way to the output."""
    depth = dict.fromkeys((op.name for op in model.operations), 0)
    for operation in reversed(model.operations):
        for tensor in operation._inbound_nodes[0].input_tensors:
            parent = tensor._keras_history[0].name
            depth[parent] = max(depth[parent], depth[operation.name] + 1)
    return depth


def _same(mine, other):
    mine, other = _plain(mine), _plain(other)
    if isinstance(mine, float) and isinstance(other, int | float):
        return math.isclose(mine, other, rel_tol=1e-6)
    return mine == other


def _plain(value):
    """Versions of Keras write lists or tuples, and an activation as a name or as None."""
    if value is None:
        return "linear"
    return tuple(value) if isinstance(value, list) else value
