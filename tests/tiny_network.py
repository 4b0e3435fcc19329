"""A backbone of two layers for tests of how training is arranged: it is compiled in a second."""

import keras

from rin import backbones


def build(include_top, weights, input_shape, pooling):
    """Neither batch norm nor dropout: parts of a batch then add up to the whole."""
    image = keras.Input(input_shape)
    x = keras.layers.Conv2D(6, 5, strides=3, activation="relu", name="first")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="second")(x)
    if pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, x)


ROW = backbones.Backbone(build, 8, "tf", "second", "")
