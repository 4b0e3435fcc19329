"""Backbones and heads: build a model, choose its init, choose what trains, prepare its input."""

import logging
from dataclasses import dataclass

import keras
import numpy as np

# TensorFlow warns of functions traced several times. Every network here is traced once, on purpose.
logging.getLogger("tensorflow").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Backbone:
    """One row of the table.

    Attributes:
        builder: the function in `keras.applications`.
        n_features: after global average pooling.
        native: how its ImageNet weights were trained to see images, in Keras's words.
        cam_layer: the last convolutional map, for Grad-CAM.
        release: its name in the published weight files.
    """

    builder: object
    n_features: int
    native: str
    cam_layer: str
    release: str


BACKBONES = {
    "resnet50": Backbone(
        keras.applications.ResNet50, 2048, "caffe", "conv5_block3_out", "ResNet50"
    ),
    "densenet121": Backbone(keras.applications.DenseNet121, 1024, "torch", "relu", "DenseNet121"),
    "inception_v3": Backbone(keras.applications.InceptionV3, 2048, "tf", "mixed10", "InceptionV3"),
    "inception_resnet_v2": Backbone(
        keras.applications.InceptionResNetV2, 1536, "tf", "conv_7b_ac", "IRV2"
    ),
}
TRAINABLES = ("head", "top10", "all")
CLASSIFIERS = ("gap", "flatten")
PREPROCESSES = ("official", "native", "signed_bgr", "unit")
CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red
TORCH_MEAN, TORCH_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue


def build(
    backbone,
    init=None,
    trainable="head",
    n_classes=2,
    image_size=256,
    classifier="gap",
    variant=None,
    logits=False,
):
    """A backbone with its classifier, ready to compile.

    Args:
        backbone: a key of `BACKBONES`.
        init: None or "random" for random weights, else what `rin.weights.load` takes:
            "radimagenet", "imagenet" or a weight file.
        trainable: "head" freezes the backbone, "top10" all but its last ten Keras layers
            (pooling included, as the official `layers[:-10]`), "all" nothing.
        n_classes: units of the last layer.
        image_size: pixels a side; the Inceptions need at least 75, the others 32.
        classifier: "gap": global average pooling, dropout 0.5, softmax (the study);
            "flatten": flatten, sigmoid (the pediatric study).
        variant: "keras", or "torchvision" for the network that most PyTorch files were trained
            in (see `rin.weights.torch_network`); None for the one that the init needs.
        logits: whether the softmax or sigmoid is left out, as while it trains (`rin.objectives`).

    Returns:
        A functional `keras.Model` from `(n, image_size, image_size, 3)` float32, preprocessed,
        to `(n, n_classes)` probabilities, or logits where asked for.

    Raises:
        ValueError: an argument is not one of its choices.
    """
    _check("backbone", backbone, BACKBONES)
    _check("trainable", trainable, TRAINABLES)
    _check("classifier", classifier, CLASSIFIERS)
    base = build_base(backbone, image_size, pooling="avg" if classifier == "gap" else None)
    if variant == "torchvision" or init not in (None, "random"):
        from rin import weights  # reads h5 files: only where a file is asked for

        base = weights.suited(base, backbone, variant or weights.variant(init, backbone))
        if init not in (None, "random"):
            weights.load(base, init, backbone=backbone)
    freeze(base, trainable)
    if classifier == "gap":
        features = keras.layers.Dropout(0.5, name="dropout")(base.output)
        activation = "softmax"
    else:
        features = keras.layers.Flatten(name="flatten")(base.output)
        activation = "sigmoid"
    activation = None if logits else activation
    # float32 under a mixed precision too: bfloat16 has three digits, too few for a loss
    last = keras.layers.Dense(n_classes, activation, dtype="float32", name="classifier")
    scores = last(features)
    return keras.Model(base.input, scores, name=f"{backbone}_{classifier}")


def build_base(backbone, image_size=256, pooling="avg"):
    """The backbone alone, randomly initialized, without the 1000-class top."""
    shape = (image_size, image_size, 3)
    build_one = BACKBONES[backbone].builder
    return build_one(include_top=False, weights=None, input_shape=shape, pooling=pooling)


def freeze(base, trainable):
    """Set which of the backbone's layers train. A frozen batch norm runs in inference mode."""
    n_free = {"head": 0, "top10": 10, "all": len(base.layers)}[trainable]
    for position, layer in enumerate(base.layers):
        layer.trainable = position >= len(base.layers) - n_free


def preprocess(images, mode, backbone, init=None):
    """Turn 0–255 grey or RGB images into what a backbone is fed.

    Args:
        images: `(n, h, w, 1)` or `(n, h, w, 3)` (red, green, blue), float32 or uint8, 0–255.
        mode: "official": caffe means off, then /255, for every backbone and init, as the
            official scripts do; "native": what the init was trained with (see `fed`);
            "signed_bgr": [-1, 1], blue first, as the published PyTorch notebooks do;
            "unit": [0, 1], red first. Also Keras's own "caffe", "torch" and "tf".
        backbone: a key of `BACKBONES`; only "native" looks at it.
        init: as `build` takes it; only "native" looks at it.

    Returns:
        `(n, h, w, 3)` float32 tensor.
    """
    x = keras.ops.cast(images, "float32")
    center, scale = center_and_scale(mode, backbone, init)
    if x.shape[-1] == 1:
        x = keras.ops.repeat(x, 3, axis=-1)
    elif fed(mode, backbone, init) in BLUE_FIRST:
        x = keras.ops.flip(x, axis=-1)
    return (x - center) / scale


def center_and_scale(mode, backbone, init=None):
    """Every preprocess is (x − center) / scale a channel, in the order the network takes them.

    Args:
        mode, backbone, init: as `preprocess` takes them.

    Returns:
        Two `(3,)` float32 arrays.
    """
    _check("backbone", backbone, BACKBONES)
    center, scale = _CENTER_AND_SCALE[fed(mode, backbone, init)]
    return np.broadcast_to(np.float32(center), 3), np.broadcast_to(np.float32(scale), 3)


def fed(mode, backbone, init=None):
    """What a preprocess comes down to: "native" is what the init's own training used.

    For random and ImageNet weights that is Keras's transform of the backbone, for RadImageNet's
    the official one, for a file what its card says; see `rin.weights.native`.

    Args:
        mode, backbone, init: as `preprocess` takes them.

    Returns:
        A mode that is not "native", or Keras's "caffe", "torch" or "tf".

    Raises:
        ValueError: an unknown mode; or a weight file that does not say how it was trained.
    """
    _check("mode", mode, (*PREPROCESSES, "caffe", "torch", "tf"))
    if mode != "native":
        return mode
    if init in (None, "random", "imagenet"):
        return BACKBONES[backbone].native
    from rin import weights  # reads h5 files: only where a file is asked for

    return weights.native(init, backbone)


BLUE_FIRST = ("official", "caffe", "signed_bgr")
_CENTER_AND_SCALE = {
    "official": (CAFFE_MEAN, 255.0),
    "caffe": (CAFFE_MEAN, 1.0),
    "torch": (255 * np.array(TORCH_MEAN), 255 * np.array(TORCH_SD)),
    "tf": (127.5, 127.5),
    "signed_bgr": (127.5, 127.5),
    "unit": (0.0, 255.0),
}


def _check(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` should be one of {tuple(choices)}. Received: {name}={value!r}")
