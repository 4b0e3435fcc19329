"""The scan within an ultrasound picture: its rectangle, and the picture with all else black.

Beside and below a scan stand scales, settings and words; some of the words are the label.
"""

import numpy as np

DARK = 1  # gray levels: JPEG leaves up to this in what was black
FILLED_ROW, FILLED = 0.2, 0.4  # share of lighter pixels that makes a row or a column the scan's
STACKED = 0.3  # the same of a row, between the scan's own columns
BLOCK = 8  # pixels: JPEG smears an edge over one block
LIGHT = 16  # gray levels; brighter is the same when an edge is sought
WIDE = 1 / 8  # of the picture: two halves as wide may have a black gap between them
LEAST = 1 / 4  # of either side of the picture: less is no scan


def rectangle(image):
    """Where the scan lies, found from the picture alone.

    Lines of writing fill little of their rows and columns, a scan nearly all of them, shadows
    included. Two scans side by side are one rectangle.

    Args:
        image: `(h, w)` uint8.

    Returns:
        (top, bottom, left, right) in pixels; bottom and right are the first ones outside.

    Raises:
        ValueError: nothing in the picture fills a quarter of both sides.
    """
    lit = image > DARK
    top, bottom = _span(lit.mean(1) > FILLED_ROW)
    left, right = _span(lit[top:bottom].mean(0) > FILLED)
    top, bottom = _span(lit[:, left:right].mean(1) > STACKED)
    left, right = _span(lit[top:bottom].mean(0) > FILLED)
    top, bottom = _edges(image[:, left:right].T, top, bottom)
    left, right = _edges(image[top:bottom], left, right)
    return top, bottom, left, right


def blank_outside(image):
    """The picture with 0 wherever its scan is not: a copy, `(h, w)` uint8.

    Args:
        image: `(h, w)` uint8.

    Raises:
        ValueError: see `rectangle`.
    """
    top, bottom, left, right = rectangle(image)
    alone = np.zeros_like(image)
    alone[top:bottom, left:right] = image[top:bottom, left:right]
    return alone


def _span(filled):
    """First and one past the last of the longest stretch, and of others wide enough."""
    turns = np.flatnonzero(np.diff(np.r_[0, filled.astype(np.int8), 0]))
    starts, ends = turns[::2], turns[1::2]
    length = ends - starts
    if not len(length) or length.max() < LEAST * len(filled):
        raise ValueError("no scan is found in the picture: nothing fills a quarter of both sides")
    wide = length >= WIDE * len(filled)
    return int(starts[wide].min()), int(ends[wide].max())


def _edges(image, first, last):
    """The steepest steps of the columns' mean within a block inside of both ends."""
    profile = np.minimum(image, LIGHT).mean(0)
    step = np.diff(np.r_[0, profile, 0])
    reach = min(BLOCK + 2, (last - first) // 2)
    start = first + int(step[first : first + reach].argmax())
    end = last - int((-step[last : last - reach : -1]).argmax())
    return start, end
