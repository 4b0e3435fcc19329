"""Scans: their rectangle is found in the picture, and writing beside them goes black."""

import numpy as np
import pytest

from rin import scans


def picture(box, shape=(360, 560), low=20, seed=0):
    """Speckle in a box of (top, bottom, left, right), with what scanners write beside it."""
    rng, top, bottom, left, right = np.random.default_rng(seed), *box
    image = np.zeros(shape, np.uint8)
    image[top:bottom, left:right] = rng.integers(low, 200, (bottom - top, right - left))
    image[160:260, 8:18] = np.linspace(255, 0, 100)[:, None]  # the gray scale
    image[top::75, left - 6 : left - 3] = 255  # marks of depth
    for line in range(4, 95, 13):  # settings
        image[line : line + 9, 532:558:3] = 255
    image[330:340, 200:330:3] = 255  # words below
    return image


BOXES = {"wide": (8, 309, 35, 526), "narrow": (8, 308, 174, 384), "low": (103, 310, 87, 449)}


@pytest.mark.parametrize("name", BOXES)
def test_the_rectangle_is_found_beside_words_marks_and_a_gray_scale(name):
    assert scans.rectangle(picture(BOXES[name])) == BOXES[name]


def test_shadows_and_the_gap_between_two_scans_belong_to_it():
    image = picture((8, 309, 35, 526))
    image[150:309, 35:160] = np.random.default_rng(1).integers(0, 5, (159, 125))  # a shadow
    image[8:309, 277:283] = 0
    assert scans.rectangle(image) == (8, 309, 35, 526)


def test_a_scan_that_fills_the_picture_stays_as_it_is():
    image = np.random.default_rng(0).integers(20, 200, (40, 50), dtype=np.uint8)
    assert scans.rectangle(image) == (0, 40, 0, 50)
    assert (scans.blank_outside(image) == image).all()


def test_all_else_goes_black_and_the_picture_itself_stays():
    image = picture((8, 309, 87, 472))
    before, black = image.copy(), scans.blank_outside(image)
    assert (image == before).all() and black.shape == image.shape and black.dtype == np.uint8
    assert (black[8:309, 87:472] == image[8:309, 87:472]).all()
    assert black.sum() == image[8:309, 87:472].sum(dtype=int)


@pytest.mark.parametrize("image", [np.zeros((40, 50)), picture((8, 60, 87, 160))])
def test_a_picture_without_a_scan_is_refused(image):
    with pytest.raises(ValueError, match="no scan is found"):
        scans.rectangle(image.astype(np.uint8))
