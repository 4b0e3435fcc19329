"""torchvision's networks in Keras: what keras.applications does otherwise, done as there.

The same tensors give other features in Keras's ResNet50 and InceptionV3. Measured with random
tensors on images of noise of 96 px: a feature differs by up to 13% and 33% of the largest one; in
the networks made here, and in DenseNet121, by less than one part in a million.
"""

import keras

PAD = "_torchvision_pad"  # ends the name of every layer that only torchvision's networks have
EPSILON = {1.001e-5: 1e-5, 1e-3: 1e-3}  # Keras's batch norm: torchvision's


def as_torchvision(backbone, base):
    """A network as torchvision builds it, out of Keras's.

    ResNet50: a downsampling block strides in its 3x3 convolution, not in its first 1x1 (called
    v1.5 elsewhere), convolutions have no bias, and batch norm adds 1e-5, not 1.001e-5, to the
    variance. InceptionV3: average pooling counts the zeros around the border, and batch norm
    scales. DenseNet121 is the same network in both.

    Args:
        backbone: "resnet50", "densenet121" or "inception_v3".
        base: as `rin.backbones.build_base` makes it, with or without pooling.

    Returns:
        A new model with random weights; the names of its layers, the last ten of them and the
        shapes of its outputs are Keras's. DenseNet121 is returned as it is, and so is a network
        that is torchvision's already.

    Raises:
        ValueError: torchvision has no such network.

    Source: torchvision 0.28; for the strides, Goyal et al. 2017, doi:10.48550/arXiv.1706.02677
    """
    if backbone not in ("resnet50", "densenet121", "inception_v3"):
        raise ValueError(f"torchvision has no such network. Received: backbone={backbone!r}")
    if backbone == "densenet121" or is_torchvision(base):
        return base
    moved = {layer.name: _second(layer.name) for layer in base.layers if _strides_first(layer)}
    padded = set(moved.values()) | {layer.name for layer in base.layers if _pools_borders(layer)}

    def rebuild(layer):
        config = layer.get_config() | _changes(layer)
        if layer.name in padded:
            config["padding"] = "valid"
        if layer.name in moved:
            config["strides"] = (1, 1)
        elif layer.name in moved.values():
            config["strides"] = (2, 2)
        return type(layer).from_config(config)

    def call(layer, *args, **kwargs):
        if layer.name not in padded:
            return layer(*args, **kwargs)
        # Keras's own "same" pads a strided convolution on one side, and pooling with nothing
        pad = keras.layers.ZeroPadding2D(1, name=layer.name + PAD, dtype=layer.dtype_policy)
        return layer(pad(*args), **kwargs)

    return keras.models.clone_model(base, clone_function=rebuild, call_function=call)


def is_torchvision(model):
    """Whether `as_torchvision` changed this network."""
    return any(layer.name.endswith(PAD) for layer in model.layers)


def _changes(layer):
    if isinstance(layer, keras.layers.Conv2D):
        return {"use_bias": False}
    if isinstance(layer, keras.layers.BatchNormalization):
        return {"scale": True, "epsilon": EPSILON[layer.epsilon]}
    return {}


def _strides_first(layer):
    return layer.name.endswith("_1_conv") and tuple(layer.strides) == (2, 2)


def _second(name):
    return name.removesuffix("_1_conv") + "_2_conv"


def _pools_borders(layer):
    return isinstance(layer, keras.layers.AveragePooling2D) and layer.padding == "same"
