"""The figure of predictions: one column an image, what is unlike marked, no more than fit."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from watermarks import assert_marked

from rin.figures.predict import MOST, answers

pytestmark = pytest.mark.usefixtures("closed_figures")


def table(n):
    columns = {"probability": np.linspace(0, 1, n), "predicted": "benign"}
    unlike = pd.array([i == 1 for i in range(n)], "boolean")
    return pd.DataFrame(columns).assign(unlike=unlike)


def drawn(n, phantom=True, frame=None):
    pixels = np.zeros((n, 8, 8), np.uint8)
    return answers(table(n) if frame is None else frame, pixels, pixels, "malignant", phantom)


@pytest.mark.parametrize("phantom", [True, False])
@pytest.mark.parametrize("n", [1, MOST + 3])
def test_images_stand_above_their_maps_and_phantoms_are_marked(n, phantom):
    figure = drawn(n, phantom)
    assert len(figure.axes) == 2 * min(n, MOST)
    assert_marked(figure, phantom)


def test_an_unlike_image_says_so_and_the_others_do_not():
    titles = [ax.get_title() for ax in drawn(3).axes]
    assert [title.endswith("unlike") for title in titles[:3]] == [False, True, False]
    assert titles[0].startswith("benign\nP(malignant) 0.00")


def test_where_nothing_was_compared_nothing_is_called_unlike():
    frame = table(2).assign(unlike=pd.array([pd.NA, pd.NA], "boolean"))
    assert not any("unlike" in ax.get_title() for ax in drawn(2, frame=frame).axes)


def test_rows_that_are_not_the_images_are_refused():
    with pytest.raises(ValueError, match="Received: 2 rows, 3 images, 3 maps"):
        drawn(3, frame=table(2))
