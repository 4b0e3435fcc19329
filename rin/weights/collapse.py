"""Collapse: do a backbone's features differ between images at all?

A file can be read to the last tensor and still be of no use: one published network was reported to
answer every image with almost the same features. So a few synthetic patterns are shown to it.
"""

import functools

import keras
import numpy as np

from rin import backbones

N_IMAGES, MOST_PIXELS = 6, 96
# Measured with these patterns at 75, 96 and 256 px, two seeds, three preprocesses: ResNet50 of
# random weights 0.22 to 0.27, DenseNet121 0.32 to 0.40, InceptionV3 0.17 to 0.30,
# InceptionResNetV2 0.24 to 0.34; any of them with all kernels 0 and all biases 1: exactly 0.
# An eighth of the least of them counts as collapsed.
THRESHOLD = 0.02


def feature_spread(model, preprocess, backbone):
    """How much a backbone's pooled features differ between six synthetic images.

    Args:
        model: a Keras model from `(n, h, w, 3)` preprocessed images to features, pooled or not.
        preprocess: one of `rin.weights.files.PREPROCESSES`.
        backbone: a key of `rin.backbones.BACKBONES`.

    Returns:
        Float ≥ 0: the standard deviation between images, mean over features, divided by the
        features' mean magnitude; 0 for features that are all 0, NaN where one is not finite.
    """
    size = model.input_shape[1] or MOST_PIXELS
    fed = backbones.preprocess(patterns(size)[..., None], preprocess, backbone)
    features = keras.ops.convert_to_numpy(model(fed, training=False)).astype(np.float64)
    if features.ndim == 4:
        features = features.mean(axis=(1, 2))
    magnitude = np.abs(features).mean()
    return float(features.std(axis=0).mean() / magnitude) if magnitude != 0 else 0.0


def is_collapsed(spread):
    """Whether a spread is below `THRESHOLD`, or not a number.

    >>> is_collapsed(0.2), is_collapsed(0.0), is_collapsed(float("nan"))
    (False, True, True)
    """
    return not spread >= THRESHOLD


@functools.cache
def patterns(size):
    """Six grey patterns of different grain, brightness and contrast, `(6, size, size)` uint8."""
    from rin.phantoms import textures  # scipy: only where features are looked at

    rng, images = np.random.default_rng(0), []
    for i in range(N_IMAGES):
        draw = textures.smooth_noise if i % 2 else textures.speckle
        pattern = draw(rng, (size, size), 0.7 * 1.8**i)
        images.append(textures.tone(pattern, mean=60 + 25 * i, sd=20 + 8 * i))
    return np.stack(images)
