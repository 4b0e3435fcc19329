"""Choices made after training: whose map, of what, and how large, from stored low-resolution maps.

A run of a task with masks keeps the signed maps of both classes as its network gave them, before
ReLU. Class, logit or probability, and size are chosen here, without weights and without a backend.
"""

import zipfile
from pathlib import Path

import numpy as np

from rin import paths

FILE = "cams.npz"
WHICH = ("predicted", "true", "positive")
TARGETS = ("logit", "probability")
ACTIVATIONS = ("softmax", "sigmoid")
RESIZES = ("bilinear", "nearest")
POSITIVE = 1  # its column among maps and scores
CHUNK = 256  # maps upsampled at once: 64 MiB at 256 px
LARGEST = 2.0**15  # of the stored values; float16 ends at 65504


def signed(maps, told=None, which="predicted", of="probability", activation="softmax"):
    """One signed map an image out of the maps of both classes.

    Args:
        maps: `(n, h, w, 2)`, signed maps M_c of the negative and the positive class.
        told: what chooses the class: for "predicted" the `(n, 2)` scores of both units, negative
            first; for "true", or a class known otherwise, `(n,)` ints in {0, 1}; for "positive"
            nothing.
        which: "predicted", the class with the larger score, negative where they are equal;
            "true"; or "positive".
        of: "probability" or "logit"; see `rin.gradcam.closed_form`.
        activation: "softmax" or "sigmoid", that of the network's classifier. With a softmax the
            probability's map is the difference of both maps, with a sigmoid it is the logit's.

    Returns:
        `(n, h, w)`, before ReLU.

    Raises:
        ValueError: a shape or an argument is not one of its choices.

    >>> signed(np.float32([[[[1, 3]]]]), which="positive").item()
    2.0
    """
    maps = _checked_maps(maps).astype(np.float32, copy=False)
    check("which", which, WHICH)
    check("of", of, TARGETS)
    check("activation", activation, ACTIVATIONS)
    classes = _classes(told, which, len(maps))
    own = _column(maps, classes)
    both = of == "probability" and activation == "softmax"
    return own - _column(maps, 1 - classes) if both else own


def to_cam(signed, size, resize="bilinear"):
    """Signed maps as Grad-CAM shows them: ReLU, upsampling, over its own maximum.

    Args:
        signed: `(n, h, w)` finite floats.
        size: pixels a side, or `(height, width)`.
        resize: "bilinear" or "nearest", which leaves every cell of the map a square.

    Returns:
        `(n, height, width)` uint8, 0–255, cut to whole gray levels. The largest value of a map is
        255; a map without a positive value is 0 everywhere.

    Raises:
        ValueError: `signed` is not of this shape or has a value that is not finite, or `resize` is
            unknown.
    """
    signed = np.asarray(signed, np.float32)
    if signed.ndim != 3 or not np.isfinite(signed).all():
        raise ValueError(
            f"`signed` should be (n, h, w) finite floats. Received: shape {signed.shape}, "
            f"{int((~np.isfinite(signed)).sum())} values that are not finite"
        )
    height, width = (size, size) if np.ndim(size) == 0 else size
    cams = np.empty((len(signed), height, width), np.uint8)
    for at in range(0, len(signed), CHUNK):
        large = upsampled(np.maximum(signed[at : at + CHUNK], 0), height, width, resize)
        top = large.max(axis=(1, 2), keepdims=True)
        # divided first: 255 times a value near float32's end would be infinite
        large /= np.where(top > 0, top, 1)
        cams[at : at + CHUNK] = large * np.float32(255)
    return cams


def upsampled(maps, height, width, resize="bilinear"):
    """Resizing with half-pixel centers and no antialiasing, as `keras.ops.image.resize`.

    Args:
        maps: `(n, h, w)` float32.
        height, width: of the result.
        resize: "bilinear" or "nearest".

    Returns:
        `(n, height, width)` float32.
    """
    check("resize", resize, RESIZES)
    rows = _weights(maps.shape[1], height, resize)
    columns = _weights(maps.shape[2], width, resize)
    return rows @ (maps @ columns.T)


def save(folder, maps, rows):
    """Write the maps of a run's test images, the same bytes for the same maps.

    The maps of a run share one scale, a power of two, so that float16's three digits are spent on
    them whatever their size: values down to 2·10⁻⁹ of the largest one keep them.

    Args:
        folder: the run's.
        maps: `(n, h, w, 2)` finite floats, as `rin.gradcam.closed_form.ClassMaps` gives them.
        rows: `(n,)` ints, the manifest rows of the images.

    Returns:
        Path of the file.

    Raises:
        ValueError: shapes don't match, or a value is not finite.
    """
    maps, rows = _checked_maps(maps), np.asarray(rows)
    largest = float(np.abs(maps).max(initial=0))
    if not np.isfinite(largest) or rows.shape != (len(maps),) or rows.dtype.kind not in "iu":
        raise ValueError(
            f"`maps` should be finite and `rows` as many ints. Received: {len(maps)} maps up to "
            f"{largest:g}, rows of {rows.dtype} and shape {rows.shape}"
        )
    scale = 2.0 ** np.ceil(np.log2(largest)) / LARGEST if largest else 1.0
    stored = (np.asarray(maps, float) / scale).astype(np.float16)
    file = Path(folder) / FILE
    with paths.replacing(file) as work:
        np.savez(work, maps=stored, scale=np.float64(scale), rows=rows.astype(np.int64))
    return file


def load(folder):
    """The maps that `save` wrote.

    Args:
        folder: the run's.

    Returns:
        `(maps, rows)`: `(n, h, w, 2)` float32 and `(n,)` ints.

    Raises:
        FileNotFoundError: the run kept no maps.
        ValueError: the file is broken or holds something else.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; runs of tasks with masks write one")
    try:
        # opened here, for NumPy leaves a broken file open
        with file.open("rb") as raw, np.load(raw) as held:
            maps, scale, rows = held["maps"], held["scale"], held["rows"]
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.error) as error:
        raise ValueError(f"{file}: not a file of maps ({error})") from error
    shapes = maps.ndim == 4 and maps.shape[-1] == 2 and rows.shape == maps.shape[:1]
    kinds = maps.dtype.kind == "f" and scale.dtype.kind == "f" and rows.dtype.kind in "iu"
    if not (shapes and kinds and scale.shape == () and np.isfinite(scale) and scale > 0):
        raise ValueError(
            f"{file}: expected maps (n, h, w, 2) of floats, a positive scale and (n,) int rows. "
            f"Received: {maps.dtype} {maps.shape}, scale {scale}, {rows.dtype} {rows.shape}"
        )
    maps = (maps * scale).astype(np.float32)
    if not np.isfinite(maps).all():
        raise ValueError(f"{file}: holds values that are not finite")
    return maps, rows


def check(name, value, known):
    """Raise a ValueError unless a value is one of the known ones."""
    if value not in known:
        raise ValueError(f"`{name}` should be one of {tuple(known)}. Received: {name}={value!r}")


def _weights(n_from, n_to, resize):
    """`(n_to, n_from)` float32: what each new position takes from the old ones.

    New position i lies at (i + ½) n_from / n_to − ½; beyond the outer centers the edge counts.
    """
    at = np.clip((np.arange(n_to) + 0.5) * n_from / n_to - 0.5, 0, n_from - 1)
    if resize == "nearest":
        at = np.floor(at + 0.5)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(n_from)), 0).astype(np.float32)


def _classes(told, which, n):
    """`(n,)` ints in {0, 1}."""
    if which == "positive":
        return np.full(n, POSITIVE)
    given = np.asarray(told)
    if which == "predicted" and given.shape == (n, 2) and given.dtype.kind == "f":
        return given.argmax(axis=1)
    if given.shape != (n,) or not np.isin(given, (0, 1)).all():
        wanted = "(n, 2) scores or " if which == "predicted" else ""
        raise ValueError(
            f"`told` should be {wanted}(n,) ints in {{0, 1}} for the {which} class of {n} maps. "
            f"Received: {given.dtype} {given.shape}"
        )
    return given.astype(int)


def _column(maps, classes):
    return np.take_along_axis(maps, classes[:, None, None, None], axis=3)[..., 0]


def _checked_maps(maps):
    maps = np.asarray(maps)
    if maps.ndim != 4 or maps.shape[-1] != 2 or maps.dtype.kind != "f":
        raise ValueError(
            f"`maps` should be (n, h, w, 2) floats, the maps of both classes. "
            f"Received: {maps.dtype} {maps.shape}"
        )
    return maps
