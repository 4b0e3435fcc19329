"""Masks: which pixels of a mask file are the lesion, decided by value or said to be uncertain."""

import numpy as np

FEW = 16  # values or colors that a label map may hold; more are taken for shades
CLEAR = 0.95  # share of the pixels that must be near black or near the brightest shade
NAME_THEM = "name the lesion's labels with `mask_values`"


class MaskError(ValueError):
    """A mask whose lesion can't be told; says why."""


def lesion(labels, shades, lossy=False, values=None):
    """The lesion's pixels of one mask.

    - `values` given: the pixels that hold one of these labels.
    - Otherwise black, which is label 0, is background, and every other label or color is lesion:
      0 and 1, 0 and 2, 0 and 255, black and red alike. A mask of one label is lesion throughout,
      or empty where that is black.
    - A mask of more than sixteen values or colors, or one compressed with loss (JPEG), holds
      shades: what is brighter than half of the brightest is lesion, if 95% of the pixels lie in
      the lowest or the highest quarter. A mask drawn with smooth edges does; a picture does not.
    - Anything else is refused: several labels and none of them black, low labels beside high ones
      (1 to 3 and 255: labels, or what a compression left), shades that are not clear.

    Args:
        labels: `(h, w)` numbers as they are stored, of a palette its indices; None for color.
        shades: `(h, w)` numbers, or `(h, w, 3)` colors: what is seen; 0 is black.
        lossy: whether the file is compressed with loss.
        values: ints, labels of the lesion; None for the rule above.

    Returns:
        `(h, w)` bool.

    Raises:
        MaskError: the lesion can't be told.
    """
    if values is not None:
        if labels is None:
            raise MaskError("`mask_values` are labels of gray or palette masks; this has color")
        return np.isin(labels, list(values))
    if not np.isfinite(shades).all():
        raise MaskError("holds values that are not finite")
    if shades.min() < 0:
        raise MaskError(f"holds values below 0; {NAME_THEM}")
    brightness = shades.max(axis=2) if shades.ndim == 3 else shades
    kinds = _kinds(shades)
    if len(kinds) == 1:
        return brightness > 0
    if lossy or len(kinds) > FEW:
        return _bright(brightness, len(kinds))
    return _labeled(brightness, kinds)


def check_values(values):
    """`mask_values` as a tuple of ints; anything else is refused."""
    try:
        found = tuple(values)
        kinds = {type(value) for value in found}
        if found and all(isinstance(v, int | np.integer) for v in found) and bool not in kinds:
            return found
    except TypeError:
        pass
    raise ValueError(f"`mask_values` should be a list of ints. Received: mask_values={values!r}")


def _kinds(shades):
    """The brightness of each value or color that occurs."""
    if shades.ndim == 3:
        _, first = np.unique(shades.astype(int) @ (1 << 16, 1 << 8, 1), return_index=True)
        return shades.max(axis=2).ravel()[first]
    if shades.dtype.kind in "bui" and shades.max() < 65536:  # counting is faster than sorting
        return np.flatnonzero(np.bincount(shades.ravel()))
    return np.unique(shades)


def _labeled(brightness, kinds):
    if kinds.min() > 0:
        raise MaskError(f"holds {len(kinds)} labels, none of them black (0); {NAME_THEM}")
    rest = kinds[kinds > 0]
    if len(rest) > 1 and rest.max() > 127 and rest.min() < rest.max() / 16:
        raise MaskError(
            f"holds values from {rest.min():g} to {rest.max():g} beside 0: labels, or traces of "
            f"a compression; {NAME_THEM}"
        )
    return brightness > 0


def _bright(brightness, n):
    top = float(brightness.max())
    low, high = brightness <= top / 4, brightness >= top * 3 / 4
    if not low.any() or top < 64 or (low | high).mean() < CLEAR:
        raise MaskError(
            f"holds {n} shades up to {top:g}, not two that are clearly apart: no lesion can be "
            f"told from it; {NAME_THEM}, or store the mask without loss"
        )
    return brightness > top / 2
