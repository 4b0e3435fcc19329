"""Objective: the loss that is trained and watched, taken from logits, the same on every backend.

The study's code asks for binary cross-entropy of a softmax. On TensorFlow, Keras's
`binary_crossentropy` then fetches the logits behind the softmax and returns the mean of two
*sigmoid* cross-entropies; on JAX and PyTorch the same line trains the cross-entropy of the
softmax. Here a network ends in logits while it trains, and the objective is named.

Source: keras/src/backend/tensorflow/nn.py, `binary_crossentropy` (`_keras_logits`), Keras 3.15.
"""

import keras
import numpy as np
from scipy import special

OFFICIAL, STATED = "official", "stated"
OBJECTIVES = (OFFICIAL, STATED)


def loss(objective=OFFICIAL, classifier="gap"):
    """The loss of a network that ends in logits.

    Args:
        objective: "official": the mean over both columns of the sigmoid cross-entropy of the
            logits, what TensorFlow makes of the published code; "stated": the cross-entropy of
            their softmax, what the paper says.
        classifier: "gap", or "flatten", whose two units are sigmoids: both objectives are then
            the mean of their two cross-entropies.

    Returns:
        `keras.losses.Loss` of `(n, 2)` one-hot classes and `(n, 2)` logits.

    Raises:
        ValueError: `objective` is not one of `OBJECTIVES`.
    """
    if objective not in OBJECTIVES:
        text = f"`objective` should be one of {OBJECTIVES}."
        raise ValueError(f"{text} Received: objective={objective!r}")
    if objective == STATED and classifier == "gap":
        return keras.losses.CategoricalCrossentropy(from_logits=True)
    return keras.losses.BinaryCrossentropy(from_logits=True)


def one_hot(y):
    """`(n,)` ints -> `(n, 2)` float32."""
    return np.eye(2, dtype=np.float32)[y]


def mean_loss(objective, y, logits):
    """An objective's mean over images, as validation watches it.

    Args:
        objective: of `loss`.
        y: `(n,)` ints, the classes.
        logits: `(n, 2)` floats.
    """
    each = objective.call(one_hot(y), keras.ops.convert_to_tensor(logits, "float32"))
    return float(keras.ops.convert_to_numpy(each).mean(dtype=np.float64))


def probabilities(logits, classifier="gap"):
    """What a trained network reports, whatever its objective: softmax, or sigmoid behind flatten.

    Args:
        logits: `(n, 2)` floats.
        classifier: "gap" or "flatten".

    Returns:
        `(n, 2)` of the dtype of `logits`.
    """
    return special.expit(logits) if classifier == "flatten" else special.softmax(logits, axis=1)
