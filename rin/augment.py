"""Keyed augmentation: the official random affine map, drawn per (seed, image, epoch).

The official scripts let Keras's ImageDataGenerator rotate, shift, shear, zoom and flip; all of it
is one affine map an image. Its parameters come from a counter-based generator keyed by the seed,
the image and the epoch, so an image is changed the same way whatever the order, the fold or the
point where a stopped run went on; a whole batch is then resampled at once.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranges:
    """What ImageDataGenerator is given.

    Attributes:
        rotation: degrees either way.
        shift: share of height and width either way.
        shear: **degrees** either way: the official 0.1 hardly shears at all.
        zoom: share either way.
        flip: whether half of the images are mirrored.
    """

    rotation: float
    shift: float
    shear: float
    zoom: float
    flip: bool


# Source: the official scripts; acl, meniscus, thyroid and breast are the small sets
RANGES = {
    "small": Ranges(rotation=10, shift=0.1, shear=0.1, zoom=0.1, flip=True),
    "large": Ranges(rotation=0, shift=0.1, shear=0.1, zoom=0.1, flip=False),
    "none": None,
}


def draw(ranges, image_ids, epoch, seed):
    """The parameters of each image's map.

    Args:
        ranges: a `Ranges`.
        image_ids: `(n,)` hexadecimal strings (`rin.images.image_id`).
        epoch: int >= 0.
        seed: int in 0 … 2**32 - 1.

    Returns:
        `(n, 7)` float64: theta (degrees), tx, ty (shares of height and of width),
        shear (degrees), zx, zy (factors), flip (0 or 1), as ImageDataGenerator names them.
    """
    low = np.array([-ranges.rotation, -ranges.shift, -ranges.shift, -ranges.shear])
    uniform = np.stack([_uniform(image_id, epoch, seed) for image_id in image_ids])
    first = low * (1 - 2 * uniform[:, :4])
    zoom = 1 - ranges.zoom + 2 * ranges.zoom * uniform[:, 4:6]
    flip = (uniform[:, 6:] < 0.5) * float(ranges.flip)
    return np.concatenate([first, zoom, flip], axis=1)


def matrices(parameters, height, width):
    """Affine maps from output to input pixels, in the order `keras.ops.image` takes them.

    Args:
        parameters: `(n, 7)` from `draw`.
        height, width: of the images, pixels.

    Returns:
        `(n, 8)` float32: a0 a1 a2 b0 b1 b2 0 0 with x' = a0 x + a1 y + a2, y' = b0 x + b1 y + b2.
    """
    theta, shear = np.deg2rad(parameters[:, 0]), np.deg2rad(parameters[:, 3])
    tx, ty = parameters[:, 1] * height, parameters[:, 2] * width
    zx, zy, flip = parameters[:, 4], parameters[:, 5], parameters[:, 6]
    one, zero = np.ones_like(theta), np.zeros_like(theta)
    rotation = _matrix(np.cos(theta), -np.sin(theta), zero, np.sin(theta), np.cos(theta), zero)
    translation = _matrix(one, zero, tx, zero, one, ty)
    shearing = _matrix(one, -np.sin(shear), zero, zero, np.cos(shear), zero)
    zooming = _matrix(zx, zero, zero, zero, zy, zero)
    # Keras's matrix speaks of (x, y), yet centers x by the height; images are square here
    first, second = height / 2 - 0.5, width / 2 - 0.5
    out_of = _matrix(one, zero, first * one, zero, one, second * one)
    into = _matrix(one, zero, -first * one, zero, one, -second * one)
    # what came out is mirrored afterwards
    mirror = _matrix(1 - 2 * flip, zero, flip * (width - 1), zero, one, zero)
    m = out_of @ rotation @ translation @ shearing @ zooming @ into @ mirror
    flat = [m[:, 0, 0], m[:, 0, 1], m[:, 0, 2], m[:, 1, 0], m[:, 1, 1], m[:, 1, 2], zero, zero]
    return np.stack(flat, axis=1).astype(np.float32)


def apply(images, maps):
    """Resample a batch: bilinear, the border repeated.

    Args:
        images: `(n, h, w, c)` float32.
        maps: `(n, 8)` from `matrices`.

    Returns:
        Tensor of the same shape.
    """
    import keras

    return keras.ops.image.affine_transform(
        images, maps, interpolation="bilinear", fill_mode="nearest", data_format="channels_last"
    )


def _uniform(image_id, epoch, seed):
    key = np.array([int(image_id, 16) % 2**64, (seed << 32) + epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(7)


def _matrix(*entries):
    """`(n, 3, 3)` from six `(n,)` entries; the last row is 0 0 1."""
    m = np.zeros((len(entries[0]), 3, 3))
    m[:, :2, :] = np.stack(entries, axis=1).reshape(-1, 2, 3)
    m[:, 2, 2] = 1
    return m
