"""The ladder: Dice of marks that never saw a network, and of a map that knows the lesion."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from rin.gradcam import choices
from rin.gradcam.overlap import LEVELS, THRESHOLD, dice, dice_curve, pointing, share_inside

DISC = 0.30  # of the image's area; fixed before any mask was looked at
N_OTHERS = 20  # masks of other images set against each mask: one alone moves the mean by 0.007
WHOLE, BEST_DISC = "whole image", "centered disc, best share in training"
OTHER, MEAN = "another image's mask", "mean training mask"


def ladder(masks, splits, resolution, threshold=THRESHOLD, seed=0, resize="bilinear"):
    """Dice and pointing of every baseline on every test image with a lesion.

    The whole image and a fixed disc know nothing; the other marks know the training masks of
    their fold, never a test mask. Ideal maps know the very mask: they are what the coarse grid
    of a network, and the fixed threshold, leave of its share in each cell. They are a mark, not a
    bound: the fourth root of the same shares overlaps far better (on BUSI's masks and 8 × 8
    cells 0.84 in place of 0.59), for fewer pixels of a slope then lie below the threshold.

    Args:
        masks: `(n, size, size)` bools.
        splits: `(n, n_folds)` of "train", "val", "test".
        resolution: `(h, w)` of the ideal map in cells, or a list of them.
        threshold: of the ideal maps, in 0..255.
        seed: int >= 0, of the draw of other images.
        resize: of the ideal maps; see `rin.gradcam.choices.to_cam`.

    Returns:
        DataFrame `baseline`, `fold`, `row`, `dice`, `pointing` (the expected share of hits for
        a point anywhere on the mark; at the image's center for the discs, at the maximum for
        mean and ideal masks). Images with an empty mask have no rows, and marks that know training
        masks have none where a fold's training set has no lesion.

    Raises:
        ValueError: masks, splits or resolution of another shape or type.
    """
    masks, splits = _checked(masks, splits)
    grids = _resolutions(resolution, masks.shape[1:])
    parts = []
    for fold in range(splits.shape[1]):
        train, test = (_lesions(masks, splits[:, fold], split) for split in ("train", "test"))
        if not len(test):
            continue
        marks = _simple(masks[test], masks[train], np.random.default_rng([seed, fold]))
        marks |= {_ideal_name(grid): _ideal(masks[test], grid, threshold, resize) for grid in grids}
        for name, (overlap, hits) in marks.items():
            facts = {"baseline": name, "fold": fold, "row": test}
            parts.append(pd.DataFrame(facts | {"dice": overlap, "pointing": hits}))
    columns = ["baseline", "fold", "row", "dice", "pointing"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def levels(table):
    """Mean Dice and pointing of every baseline over images.

    Args:
        table: of `ladder`.

    Returns:
        DataFrame `baseline`, `mean_dice`, `pointing`, `n_images`, the lowest Dice first. A
        baseline that some fold lacks is left out.
    """
    n_folds = table.groupby("baseline")["fold"].transform("nunique")
    by = table[n_folds == table["fold"].nunique()].groupby("baseline", sort=False)
    found = by.agg(
        mean_dice=("dice", "mean"), pointing=("pointing", "mean"), n_images=("row", "size")
    )
    return found.sort_values("mean_dice", kind="stable").reset_index()


def disc(shape, share):
    """A centered disc that covers a share of the image, cut by its edges where it is large.

    Args:
        shape: (h, w) in pixels.
        share: in (0, 1]; met to the few pixels that are equally far from the center.

    Returns:
        `(h, w)` bools.
    """
    if not 0 < share <= 1:
        raise ValueError(f"`share` should be above 0, at most 1. Received: share={share!r}")
    return _rank(shape) <= share


def ideal(masks, resolution, resize="bilinear"):
    """The ideal map of a grid: the mask's share of each cell, made a map as CAMs are.

    Args:
        masks: `(n, size, size)` bools.
        resolution: (h, w) in cells.
        resize: see `rin.gradcam.choices.to_cam`.

    Returns:
        `(n, size, size)` uint8.
    """
    rows, columns = (
        _averages(n, cells) for n, cells in zip(masks.shape[1:], resolution, strict=True)
    )
    # not by @: a busy machine's cores wait for each other over products this small
    halves = np.einsum("hy,nyx->nhx", rows, masks.astype(np.float32))
    return choices.to_cam(np.einsum("nhx,wx->nhw", halves, columns), masks.shape[1], resize)


def _simple(test, train, rng):
    """Every baseline of whole pixels: name -> (dice, pointing) of the test masks."""
    shape = test.shape[1:]
    rank, everywhere = _rank(shape), np.ones(shape, bool)
    center = rank == rank.min()
    marks = {WHOLE: (everywhere, everywhere), disc_name(DISC): (disc(shape, DISC), center)}
    found = {name: _against(test, *both) for name, both in marks.items()}
    return found | _learned(test, train, rank, rng) if len(train) else found


def _learned(test, train, rank, rng):
    """The baselines that know training masks."""
    mean = train.mean(axis=0)
    closeness = np.floor(LEVELS * (1 - rank)).astype(np.uint8)
    likeness = np.floor(255 * mean / mean.max()).astype(np.uint8)
    marks = {
        BEST_DISC: (closeness > _best_threshold(closeness, train), rank == rank.min()),
        MEAN: (likeness > _best_threshold(likeness, train), mean == mean.max()),
    }
    found = {name: _against(test, *both) for name, both in marks.items()}
    others = (train[rng.integers(len(train), size=len(test))] for _ in range(N_OTHERS))
    return found | {OTHER: np.mean([_against(test, other, other) for other in others], axis=0)}


def disc_name(share):
    """The name of a disc's rows."""
    return f"centered disc, {100 * share:g} %"


def _ideal_name(resolution):
    return "ideal map, {}×{}".format(*resolution)


def _best_threshold(level, masks):
    """The threshold above which one map overlaps best with all masks, on average."""
    curves = dice_curve(np.broadcast_to(level, masks.shape), masks)
    return int(curves.mean(axis=0).argmax())


def _against(masks, mark, peak):
    mark, peak = (np.broadcast_to(one, masks.shape) for one in (mark, peak))
    return dice(mark.astype(np.uint8), masks, threshold=0), share_inside(peak, masks)


def _ideal(masks, resolution, threshold, resize):
    cam = ideal(masks, resolution, resize)
    return dice(cam, masks, threshold), pointing(cam, masks)


def _rank(shape):
    """The share of pixels at most as far from the center as each pixel: `(h, w)` in (0, 1]."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    squared = y[:, None] ** 2 + x**2
    return rankdata(squared, "max", axis=None).reshape(shape) / squared.size


def _averages(n, cells):
    """`(cells, n)` weights that average n pixels in cells of equal width, whole or not."""
    edges, left = np.linspace(0, n, cells + 1), np.arange(n)
    shared = np.minimum(edges[1:, None], left + 1) - np.maximum(edges[:-1, None], left)
    return (np.clip(shared, 0, None) * cells / n).astype(np.float32)


def _lesions(masks, split, name):
    return np.flatnonzero((split == name) & masks.any(axis=(1, 2)))


def _checked(masks, splits):
    masks, splits = np.asarray(masks), np.asarray(splits)
    square = masks.ndim == 3 and masks.shape[1] == masks.shape[2] > 0
    if masks.dtype != bool or not square:
        raise ValueError(
            f"`masks` should be (n, size, size) bools. Received: {masks.dtype} {masks.shape}"
        )
    if splits.ndim != 2 or len(splits) != len(masks):
        raise ValueError(
            f"`splits` should be ({len(masks)}, n_folds), a row a mask. Received: {splits.shape}"
        )
    return masks, splits


def _resolutions(value, size):
    try:
        grids = np.atleast_2d(np.asarray(value))
    except ValueError:
        grids = np.empty((0, 0))
    whole = grids.shape[-1] == 2 and grids.dtype.kind in "iu"
    if not whole or grids.min() < 1 or (grids > size).any():
        raise ValueError(
            f"`resolution` should be (h, w), or several, each 1 to {size[0]} cells. "
            f"Received: resolution={value!r}"
        )
    return [tuple(map(int, grid)) for grid in grids]
