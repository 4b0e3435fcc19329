"""Figures of the audit: pairs on both sides of the threshold, baselines, sites."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest

from rin import figures
from rin.figures import audit as drawn

pytestmark = pytest.mark.usefixtures("closed_figures")


def pairs_of(frame, *distances):
    """Near pairs of ultrasound images at these distances; 6 bits are the last within."""
    names = list(frame["image"])
    rows = [
        {"image_a": names[n], "image_b": names[n + 20], "label_a": "p", "label_b": "q",
         "kind": "near", "distance": d, "correlation": 0.9, "within": d <= 6}
        for n, d in enumerate(distances)
    ]  # fmt: skip
    columns = "image_a image_b label_a label_b kind distance correlation within".split()
    return pd.DataFrame(rows, columns=columns).astype({"within": bool, "distance": int})


def captions(figure):
    return [ax.get_xlabel().split(" bits")[0] for ax in figure.axes if ax.get_xlabel()]


def marked(figure):
    return figures.WATERMARK in [text.get_text() for text in figure.texts]


def test_the_pairs_nearest_to_the_threshold_are_shown_on_both_sides(breast):
    figure = drawn.pairs_grid(pairs_of(breast[0], 1, 6, 5, 9, 7, 8), *breast, phantom=True, n=2)
    assert captions(figure) == ["6", "5", "7", "8"]
    assert "p | q" in figure.axes[0].get_xlabel()
    assert marked(figure)


def test_a_side_without_pairs_says_so(breast):
    figure = drawn.pairs_grid(pairs_of(breast[0], 3), *breast, phantom=False, n=2)
    assert captions(figure) == ["3"] and not marked(figure)
    assert "no such pair" in figure.axes[2].get_title(loc="left")
    assert captions(drawn.pairs_grid(pairs_of(breast[0]), *breast, phantom=False)) == []


def test_a_pair_too_little_correlated_lies_outside_by_that():
    rule = {"max_distance": 32, "min_correlation": 0.95}
    pairs = pd.DataFrame({"distance": [32, 4, 36], "correlation": [0.99, 0.90, 0.99]})
    assert list(drawn._excess(pairs, rule)) == pytest.approx([0, 0.5, 0.125])


def test_a_bar_is_the_mean_of_its_folds():
    scores = pd.DataFrame(
        {"baseline": ["f", "f", "t", "t"], "fold": [0, 1] * 2, "auc": [0.6, 0.8, 0.4, 0.5]}
    )
    figure = drawn.bars(scores, phantom=True)
    ends = [bar.get_x() + bar.get_width() for bar in figure.axes[0].patches]
    assert ends == pytest.approx([0.7, 0.45]) and marked(figure)
    points = np.concatenate([line.get_xdata() for line in figure.axes[0].get_lines()[:1]])
    assert sorted(points) == pytest.approx([0.4, 0.5, 0.6, 0.8])


def test_splits_stand_side_by_side_also_where_one_lacks_a_baseline_or_a_fold():
    scores = pd.DataFrame(
        {
            "split": ["by image", "by image", "by patient"],
            "baseline": ["f", "t", "f"],
            "fold": 0,
            "auc": [0.9, 0.8, np.nan],
        }
    )
    figure = drawn.bars(scores, phantom=False)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["by image", "by patient"]
    assert not marked(figure)


def test_sites_are_counted_by_class():
    table = pd.DataFrame(
        {"site": ["north", "south"], "n_images": [5, 2], "n_groups": [5, 2], "n_ill": [3, 0],
         "n_groups_ill": [3, 0], "share_ill": [0.6, 0.0], "n_well": [2, 2],
         "n_groups_well": [2, 2], "share_well": [0.4, 1.0]}
    )  # fmt: skip
    figure = drawn.sites_heat(table, phantom=True)
    assert [text.get_text() for text in figure.axes[0].texts] == ["3", "2", "0", "2"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["ill", "well"]
    assert marked(figure)


def test_a_mean_needs_many_images_and_shows_none_of_them():
    arms = {"kept": np.full((100, 4, 4), 9, np.uint8), "black": np.zeros((120, 4, 4), np.uint8)}
    figure = drawn.mean_images(arms, phantom=True)
    assert [ax.get_title() for ax in figure.axes] == ["kept", "black"] and marked(figure)
    assert (figure.axes[0].get_images()[0].get_array() == 9).all()
    with pytest.raises(ValueError, match="few: at least 100 images expected, received 99"):
        drawn.mean_images({"few": arms["kept"][:99]}, phantom=True)
