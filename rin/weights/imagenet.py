"""ImageNet: the weights that Keras itself downloads, once, and keeps."""

import os
from pathlib import Path

from rin.backbones import BACKBONES
from rin.weights import matching
from rin.weights.report import Report, WeightsError

FORMAT = "Keras Applications' own download"


def load(model, backbone):
    """Fill a backbone with Keras's ImageNet weights.

    Args:
        model: a Keras model without top.
        backbone: a key of `rin.backbones.BACKBONES`.

    Returns:
        A `Report`.

    Raises:
        WeightsError: Keras can neither download them nor find them; says where they belong.
    """
    row, shape = BACKBONES[backbone], model.input_shape[1:]
    try:
        source = row.builder(include_top=False, weights="imagenet", input_shape=shape, pooling=None)
    except Exception as error:  # Keras raises a bare Exception when it can't download
        raise WeightsError(
            f"Keras could not get the ImageNet weights of {backbone} ({_first_line(error)}): with "
            f"a network it downloads them once; without, put {file_name(backbone)} into {folder()}"
        ) from error
    values = source.get_weights()
    shapes = [tuple(variable.shape) for variable in model.weights]
    if [value.shape for value in values] != shapes:
        raise WeightsError(
            f"the model has {len(shapes)} tensors that are not those of {backbone}, expected "
            f"{len(values)} as keras.applications builds them"
        )
    model.set_weights(values)
    return Report("imagenet", None, None, *matching.sizes(model), FORMAT, row.native)


def file_name(backbone):
    """The file without top as Keras caches it.

    >>> file_name("resnet50")
    'resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5'
    """
    return f"{backbone}_weights_tf_dim_ordering_tf_kernels_notop.h5"


def folder():
    """Where Keras keeps downloads: `models` in `KERAS_HOME`, by default `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"


def _first_line(error):
    return str(error).strip().split("\n")[0]
