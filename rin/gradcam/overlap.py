"""Overlap: how much of what a map marks lies in the lesion, and whether its peak does."""

import numpy as np

THRESHOLD = 180  # of 255, the paper's: pixels above it are positive
LEVELS = 256


def dice(cam, mask, threshold=THRESHOLD):
    """Dice coefficient of the pixels above a threshold with the lesion mask.

    Args:
        cam: `(n, h, w)` or `(h, w)` ints in 0..255.
        mask: bools (or 0 and 1) of the same shape.
        threshold: number in 0..255; a pixel is positive where `cam > threshold`.

    Returns:
        `(n,)` floats in [0, 1]; NaN where the mask is empty, 0 where only the map is blank. One
        `(h, w)` pair is n = 1.

    Raises:
        ValueError: an argument is of another shape, type or range.

    Source: Mei et al. 2022, Methods, doi:10.1148/ryai.210315

    >>> dice([[200, 180], [181, 0]], [[1, 1], [0, 0]]).tolist()
    [0.5]
    """
    cam, mask = _pair(cam, mask)
    positive = cam > _threshold(threshold)
    both = _count(positive & mask)
    return _dice(both, _count(positive), _count(mask))


def dice_curve(cam, mask, thresholds=range(LEVELS)):
    """Dice at many thresholds at once, from two histograms an image.

    Args:
        cam, mask: as for `dice`.
        thresholds: ints in 0..255.

    Returns:
        `(n, n_thresholds)` floats; NaN where the mask is empty.

    Raises:
        ValueError: see `dice`.
    """
    cam, mask = _pair(cam, mask)
    at = np.array([_threshold(one) for one in thresholds])
    if at.dtype.kind not in "iu":
        raise ValueError(f"`thresholds` should be ints in 0..255. Received: {at.tolist()[:8]}")
    positive = [_above(one)[at] for one in cam]
    both = [_above(one[lesion])[at] for one, lesion in zip(cam, mask, strict=True)]
    shape = len(cam), len(at)  # of no image, too
    return _dice(np.reshape(both, shape), np.reshape(positive, shape), _count(mask)[:, None])


def pointing(cam, mask):
    """The pointing game: the share of a map's maxima that lie in the lesion.

    Args:
        cam, mask: as for `dice`.

    Returns:
        `(n,)` floats in [0, 1]: 1 or 0 where the maximum is one pixel, a share where several tie;
        NaN where the mask is empty, 0 where the map is blank.

    Raises:
        ValueError: see `dice`.

    Source: Zhang et al. 2018, doi:10.1007/s11263-017-1059-x; there a hit within 15 pixels counts

    >>> pointing([[9, 9], [1, 0]], [[1, 0], [0, 0]]).tolist()
    [0.5]
    """
    cam, mask = _pair(cam, mask)
    top = cam.max(axis=(1, 2), keepdims=True)
    return share_inside((cam == top) & (top > 0), mask)


def share_inside(pixels, mask):
    """The share of marked pixels that lie in the lesion.

    Args:
        pixels, mask: `(n, h, w)` bools.

    Returns:
        `(n,)` floats; NaN where the mask is empty, 0 where only no pixel is marked.
    """
    share = _count(pixels & mask) / np.maximum(_count(pixels), 1)
    return np.where(_count(mask) > 0, share, np.nan)


def coverage(cam, threshold=THRESHOLD):
    """The share of the image that is positive.

    Args:
        cam: `(n, h, w)` or `(h, w)` ints in 0..255.
        threshold: number in 0..255.

    Returns:
        `(n,)` floats in [0, 1].

    Raises:
        ValueError: see `dice`.
    """
    return (_maps(cam) > _threshold(threshold)).mean(axis=(1, 2))


def chance(cam, mask, threshold=THRESHOLD):
    """The Dice to expect of a mark of the map's size, put anywhere in the image.

    A mark that covers a share c of the image and lies anywhere with equal chance shares c·l of it,
    on average, with a lesion that covers l: Dice 2cl / (c + l). Large marks have more of it.

    Args:
        cam, mask, threshold: as for `dice`.

    Returns:
        `(n,)` floats in [0, 1]; NaN where the mask is empty, 0 where only the map is blank.

    Raises:
        ValueError: see `dice`.

    >>> chance([[200, 180], [181, 0]], [[1, 1], [0, 0]]).tolist()
    [0.5]
    """
    cam, mask = _pair(cam, mask)
    positive, lesion = _count(cam > _threshold(threshold)), _count(mask)
    return _dice(positive * lesion / (cam.shape[1] * cam.shape[2]), positive, lesion)


def _dice(both, positive, lesion):
    size = positive + lesion
    # an empty mask is no lesion to find: it is excluded, even where the map is blank too
    return np.where(lesion > 0, 2 * both / np.maximum(size, 1), np.nan)


def _count(pixels):
    return np.count_nonzero(pixels, axis=(1, 2))


def _above(values):
    """How many of some uint8 values lie above each of the thresholds 0 to 255: `(256,)`."""
    counts = np.bincount(values.ravel(), minlength=LEVELS)
    return values.size - counts.cumsum()


def _pair(cam, mask):
    cam, mask = _maps(cam), np.asarray(mask)
    if mask.dtype != bool:
        if mask.dtype.kind not in "iu" or mask.size and (mask.min() < 0 or mask.max() > 1):
            raise ValueError(f"`mask` should be bools, or 0 and 1. Received: {_words(mask)}")
        mask = mask.astype(bool)
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.shape != cam.shape:
        raise ValueError(f"`mask` should be {cam.shape}, as `cam` is. Received: {mask.shape}")
    return cam, mask


def _maps(cam):
    cam = np.asarray(cam)
    if cam.ndim not in (2, 3) or 0 in cam.shape[-2:]:
        raise ValueError(f"`cam` should be (n, h, w) or (h, w). Received: {cam.shape}")
    if cam.dtype.kind not in "iu" or cam.size and (cam.min() < 0 or cam.max() > 255):
        raise ValueError(f"`cam` should be ints in 0..255. Received: {_words(cam)}")
    cam = cam.astype(np.uint8, copy=False)
    return cam[None] if cam.ndim == 2 else cam


def _threshold(value):
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool) or not 0 <= value <= 255:
        raise ValueError(f"`threshold` should be in 0..255. Received: threshold={value!r}")
    return value


def _words(array):
    if array.dtype.kind not in "iuf" or not array.size:
        return str(array.dtype)
    return f"{array.dtype} from {array.min():g} to {array.max():g}"
