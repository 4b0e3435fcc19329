"""Figures of the why: phantoms are watermarked, and backbones stand in order of shrinkage."""

import itertools

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from test_why import FACTORS
from watermarks import assert_marked

from rin import why
from rin.figures import why as drawn

pytestmark = pytest.mark.usefixtures("closed_figures")


def table(**columns):
    """A row for every backbone, preprocess and batch size."""
    keys = [FACTORS["backbone"], ["official", "native"], [256, 32]]
    index = pd.MultiIndex.from_product(keys, names=["backbone", "preprocess", "batch_size"])
    return pd.DataFrame(columns, index=index).reset_index()


def test_gaps_have_an_interval_each_and_fall_from_the_most_shrunken():
    figure = drawn.gaps(table(difference=3.0, low=-1.0, high=7.0), FACTORS, "a", "b")
    figure.canvas.draw()
    (ax,) = figure.axes
    assert len(ax.containers) == 4  # two preprocesses, two batch sizes
    assert ax.get_xlim()[0] > ax.get_xlim()[1] and ax.get_xscale() == "log"
    names = [label.get_text().replace("\n", "") for label in ax.get_xticklabels()]
    ends = ["255 ×", "4.42 ×", "2 ×", "2 ×"]
    assert names == [f"{a}{b}" for a, b in zip(FACTORS["backbone"], ends, strict=True)]
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    for row in (boxes[::2], boxes[1::2]):  # neighbors stand one under another
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(row))
    for bars in ax.containers:
        assert list(bars[0].get_ydata()) == [3.0] * 4
        assert all(list(one[:, 1]) == [-1, 7] for one in bars[2][0].get_segments())
    assert len(set(np.round(ax.get_xticks(), 6))) == 4  # equal factors stand side by side
    assert "a − b" in ax.get_ylabel()


def test_a_gap_without_an_interval_is_drawn():
    nothing = table(difference=np.nan, low=np.nan, high=np.nan)
    drawn.gaps(nothing, FACTORS, "a", "b").canvas.draw()


@pytest.mark.parametrize("phantom", [True, False])
def test_levels_are_watermarked_for_phantoms(phantom):
    levels = table(mean_auc=0.7).assign(init="random")
    figure = drawn.levels(levels, FACTORS, phantom)
    assert_marked(figure, phantom)
    points = [line for line in figure.axes[0].get_lines() if line.get_marker() != "None"]
    assert [list(line.get_ydata()) for line in points] == [[0.7] * 4] * 4
    assert_marked(drawn.levels(levels[:1], FACTORS, phantom), phantom)


@pytest.mark.parametrize("phantom", [True, False])
def test_updates_show_known_tasks_and_own_runs(phantom):
    counted = why.published_updates()
    figure = drawn.updates(counted, [6, 6, 12], phantom)
    assert_marked(figure, phantom)
    (ax,) = figure.axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    own = lines["the runs of this page that train it"]
    assert list(own.get_xdata()) == [6, 12]
    assert list(own.get_ydata()) == pytest.approx([0.99**6, 0.99**12])
    known = counted.dropna()
    assert len(lines["published tasks, batch 256"].get_xdata()) == len(known) / 2
    words = " ".join(text.get_text() for text in ax.texts)
    assert "meniscus" not in words and "thyroid" in words
    drawn.updates(counted, [], phantom).canvas.draw()
