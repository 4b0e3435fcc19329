"""PyTorch tensors for Keras: give a state dict to Keras's layers, or say why that can't be.

Three forms are published: torchvision's names, the same modules numbered behind `backbone.`, and
Keras's ResNet50 rebuilt in PyTorch, whose convolutions have a bias. What computes something else
in the network at hand is refused with the reason.
"""

import numpy as np

from rin.weights import torch_names, torch_network
from rin.weights.report import WeightsError
from rin.weights.torch_file import read

__all__ = ("network", "notes", "read", "to_keras")
BACKBONES = ("resnet50", "densenet121", "inception_v3")
LEFT_OUT = ("fc", "classifier", torch_names.AUXILIARY)  # what lies above the backbone
BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# A state dict does not hold batch norm's epsilon: torchvision's default is taken
TORCH_EPSILON, KERAS_EPSILON = 1e-5, 1.001e-5
OTHER_NETWORK = {
    ("resnet50", "torchvision"): (
        "torchvision's ResNet50 strides in a block's 3x3 convolution and Keras's in the first "
        "1x1, and its convolutions lack Keras's bias: the same tensors give other features; "
        "rin.weights.torch_network.as_torchvision makes its network"
    ),
    ("inception_v3", "torchvision"): (
        "torchvision's InceptionV3 counts the zeros around the border in its average pooling and "
        "scales in batch norm, Keras's does neither: the same tensors give other features; "
        "rin.weights.torch_network.as_torchvision makes its network"
    ),
    ("resnet50", "keras"): (
        "its convolutions have a bias: it is Keras's ResNet50, which strides in a block's first "
        "1x1, and the model at hand was built as torchvision's"
    ),
}


def network(backbone, tensors):
    """Whose network the tensors were trained in.

    Args:
        backbone: one of `BACKBONES`.
        tensors: as `read` returns them.

    Returns:
        "keras", or "torchvision" where `rin.weights.torch_network.as_torchvision` is needed.

    Raises:
        WeightsError: no PyTorch form of this backbone was published.
    """
    _check_backbone(backbone, "a PyTorch file")
    if backbone == "densenet121":
        return "keras"
    names = set(torch_names.plain(backbone, tensors)[0].values())
    modules = torch_names.table(backbone).items()
    convolutions = [name for name, layer in modules if not torch_names.is_batch_norm(layer)]
    return "keras" if any(f"{name}.bias" in names for name in convolutions) else "torchvision"


def to_keras(backbone, tensors, file_name, model=None):
    """The tensors by Keras's layers.

    Args:
        backbone: one of `BACKBONES`.
        tensors: as `read` returns them.
        file_name: for errors.
        model: the network to fill; default keras.applications' own.

    Returns:
        `{Keras layer: {Keras tensor: array}}`, convolution kernels (h, w, in, out).

    Raises:
        WeightsError: names are missing or unknown, or the network computes something else.
    """
    _check_backbone(backbone, file_name)
    named = _backbone_only(backbone, tensors, file_name)
    needed = network(backbone, tensors)
    _compare_names(backbone, needed, set(named), file_name)
    if needed != ("torchvision" if model and torch_network.is_torchvision(model) else "keras"):
        raise WeightsError(f"{file_name}: {OTHER_NETWORK[backbone, needed]}")
    layers = {}
    for module, layer in torch_names.table(backbone).items():
        turn = _batch_norm if torch_names.is_batch_norm(layer) else _convolution
        layers[layer] = turn(module, named, file_name)
        if backbone == "densenet121" and turn is _batch_norm:
            layers[layer]["gamma"] = _same_output(**layers[layer])
    return layers


def notes(backbone, tensors):
    """What `to_keras` does to the tensors, as sentences for a report.

    Args:
        backbone, tensors: as `to_keras` takes them.

    Returns:
        A tuple of sentences.
    """
    named, said = torch_names.plain(backbone, tensors)
    said = list(said)
    above = [name.partition(".")[0] for name in named.values()]
    for part in LEFT_OUT:
        if part in above:
            said.append(f"{above.count(part)} tensors of {part} above the backbone were left out")
    if backbone == "densenet121":
        said.append(
            "batch norm's gamma was rescaled, by 0.05% at most: Keras adds "
            f"{KERAS_EPSILON:.3e} to the variance, torchvision {TORCH_EPSILON:.0e}"
        )
        if torch_names.NUMBERED in said:
            said.append("a Sequential of its children lacks the last ReLU; Keras applies it")
    return tuple(said)


def _check_backbone(backbone, file_name):
    if backbone not in BACKBONES:
        raise WeightsError(
            f"{file_name}: PyTorch files are read for {BACKBONES}: of {backbone} none was "
            "published, and torchvision has no such network"
        )


def _backbone_only(backbone, tensors, file_name):
    plain, _ = torch_names.plain(backbone, tensors)
    named = {plain[name]: value for name, value in tensors.items()}
    if len(named) < len(tensors):
        raise WeightsError(f"{file_name}: two tensors have one name behind different prefixes")
    return {k: value for k, value in named.items() if k.partition(".")[0] not in LEFT_OUT}


def _compare_names(backbone, needed, theirs, file_name):
    biased = needed == "keras" and backbone == "resnet50"
    conv = ("weight", "bias") if biased else ("weight",)
    ours = {
        f"{module}.{part}"
        for module, layer in torch_names.table(backbone).items()
        for part in (BATCH_NORM if torch_names.is_batch_norm(layer) else conv)
    }
    if ours != theirs:
        missing, unknown = sorted(ours - theirs), sorted(theirs - ours)
        raise WeightsError(
            f"{file_name}: its tensors are not {backbone}'s. Missing in the file: {len(missing)} "
            f"{missing[:5]}; unknown to the network: {len(unknown)} {unknown[:5]}"
        )


def _convolution(module, named, file_name):
    kernel = named[f"{module}.weight"]
    if kernel.ndim != 4:
        raise WeightsError(
            f"{file_name}: {module}.weight has shape {kernel.shape}, expected four dimensions"
        )
    bias = {"bias": named[f"{module}.bias"]} if f"{module}.bias" in named else {}
    return {"kernel": kernel.transpose(2, 3, 1, 0)} | bias


def _batch_norm(module, named, file_name):
    tensors = {ours: named[f"{module}.{theirs}"] for theirs, ours in BATCH_NORM.items()}
    if (tensors["moving_variance"] < 0).any():
        raise WeightsError(f"{file_name}: {module}.running_var is below 0")
    return tensors


def _same_output(gamma, moving_variance, **_):
    """Gamma with which Keras's larger epsilon gives torchvision's output.

    A smaller variance would do as well, but falls below 0 for channels that never fire.
    """
    variance = moving_variance.astype(np.float64)
    ratio = np.sqrt((variance + KERAS_EPSILON) / (variance + TORCH_EPSILON))
    return (gamma * ratio).astype(np.float32)
