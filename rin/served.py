"""Served: a network with its preprocess inside, as Keras and as ONNX."""

import importlib.util
import warnings

import keras
import numpy as np

from rin import backbones

ONNX = ("onnx", "tf2onnx", "onnxruntime")
WITHOUT_ONNX = (
    "ONNX files need packages that are not installed here: pip install -r requirements-onnx.lock."
)


class OnnxError(RuntimeError):
    """ONNX can't be written here."""


def with_preprocess(network, fed, backbone):
    """A network with its preprocess inside.

    Args:
        network: from preprocessed `(n, size, size, 3)` to probabilities.
        fed: what a preprocess comes down to; see `rin.backbones.fed`.
        backbone: a key of `rin.backbones.BACKBONES`.

    Returns:
        A `keras.Model` from `(n, size, size, 1)` float32 grey levels, 0–255. Its last layer is
        `network`.
    """
    center, scale = backbones.center_and_scale(fed, backbone)
    grey = keras.Input((*network.input_shape[1:3], 1), dtype="float32", name="grey")
    x = keras.layers.Concatenate(name="three_channels")([grey] * 3)  # equal: no order to get wrong
    shift, factor = (-center / scale).tolist(), (1 / scale).tolist()
    x = keras.layers.Rescaling(factor, shift, name="preprocess")(x)
    return keras.Model(grey, network(x), name=f"{network.name}_of_grey")


def without_onnx():
    """Why no ONNX file can be written here, in one sentence; "" where it can."""
    absent = [name for name in ONNX if importlib.util.find_spec(name) is None]
    return f"{WITHOUT_ONNX} Missing: {', '.join(absent)}." if absent else ""


def to_onnx(whole, file):
    """Write a Keras model as ONNX, its batch size open.

    Raises:
        OnnxError: the packages for it are not installed.
    """
    if why := without_onnx():
        raise OnnxError(why)
    signature = [keras.InputSpec(shape=whole.input_shape, dtype="float32", name="grey")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's bridge asks numpy for names it no longer has
        whole.export(str(file), format="onnx", verbose=False, input_signature=signature)


def difference(whole, file, pixels):
    """The largest difference of a probability between Keras and an ONNX file.

    Args:
        whole: a Keras model as `with_preprocess` makes it.
        file: path of the ONNX file.
        pixels: `(n, size, size)` uint8.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    grey = np.asarray(pixels, np.float32)[..., None]
    (found,) = session.run(None, {session.get_inputs()[0].name: grey})
    expected = keras.ops.convert_to_numpy(whole(grey, training=False))
    return float(np.abs(found - expected).max())
