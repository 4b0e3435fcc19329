"""Figures of the database: nothing published beside phantoms, every class counted."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from watermarks import assert_marked

from rin import figures
from rin.figures import database

PUBLISHED = pd.DataFrame(
    [("CT", "lung", 6, 152528, 25421), ("MR", "knee", 18, 179555, 9975)],
    columns=["modality", "anatomy", "classes", "images", "average_class_size"],
)
FOUND = pd.DataFrame(
    [("CT", "lung", 3, 76264, 25421.3), ("US", "thyroid", 2, 40, 20.0)], columns=PUBLISHED.columns
)
COUNTS = pd.Series({"MR/knee/normal": 900, "CT/lung/Nodule": 3, "US/thyroid/thyroid": 30})


pytestmark = pytest.mark.usefixtures("closed_figures")


def texts(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


MAKERS = {
    "composition": lambda _, phantom: database.composition(FOUND, None, phantom),
    "imbalance": lambda _, phantom: database.imbalance(COUNTS, phantom),
    "grid": lambda breast, phantom: database.grid(*breast, phantom),
}


@pytest.mark.parametrize("name", MAKERS)
def test_phantoms_are_watermarked_inside_the_figure_and_real_images_are_not(name, breast):
    for phantom in (True, False):
        assert_marked(MAKERS[name](breast, phantom), phantom)


def test_the_phases_hold_the_papers_numbers_and_no_watermark():
    said = " ".join(texts(database.phases()))
    for number in ("1,354,913", "131,872", "165", "8,528", "263,039", "24 scenarios", "8 tasks"):
        assert number in said
    assert 1_354_913 - 263_039 == 1_091_874 and "1,091,874" in said
    assert figures.WATERMARK not in said


def test_the_text_of_the_phases_stays_in_its_box():
    figure = database.phases()
    figure.canvas.draw()
    (ax,) = figure.axes
    boxes = [patch.get_window_extent() for patch in ax.patches]
    for text in ax.texts:
        if text.get_style() == "normal" and text.get_text():
            extent = text.get_window_extent()
            assert any(box.contains(*extent.min) and box.contains(*extent.max) for box in boxes)


def test_nothing_published_stands_beside_phantoms():
    with pytest.raises(ValueError, match="should not stand beside published"):
        database.composition(FOUND, PUBLISHED, phantom=True)


def test_no_table_at_all_is_refused():
    with pytest.raises(ValueError, match="should be a table"):
        database.composition()


def test_found_and_published_stand_on_one_line_with_their_ratio():
    figure = database.composition(FOUND, PUBLISHED)
    said = texts(figure)
    assert "76,264 / 152,528 (0.5)" in said and "3 / 6 (0.5)" in said
    assert "none / 179,555" in said and "40 / none" in said
    lines = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert lines == ["CT lung", "MR knee", "US thyroid"]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [152528, 76264, 179555, 0, 0, 40]


def test_one_table_alone_has_no_legend_and_no_ratio():
    figure = database.composition(published=PUBLISHED)
    assert not figure.legends and "152,528" in texts(figure)
    assert not any("/" in text for text in texts(figure))


def test_imbalance_draws_every_class_and_says_the_ratio():
    figure = database.imbalance(COUNTS, False)
    (ax,) = figure.axes
    assert ax.get_title() == "3 classes; the largest is 300 times the smallest"
    assert ax.get_yscale() == "log"
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
    assert drawn == {"MR": [900], "US": [30], "CT": [3]}
    assert {"MR/knee/normal: 900", "CT/lung/Nodule: 3"} <= set(texts(figure))


def test_one_class_alone_is_drawn():
    assert "1 times" in database.imbalance(COUNTS.head(1), True).axes[0].get_title()


def test_a_grid_shows_each_class_once_and_no_file_name(breast):
    manifest, root = breast
    figure = database.grid(manifest, root, False)
    assert sum(len(ax.images) for ax in figure.axes) == manifest["label"].nunique()
    assert not any(".png" in text for text in texts(figure))


def test_a_grid_of_many_classes_shows_24_from_first_to_last(breast):
    manifest, root = breast
    many = manifest.head(30).assign(label=[f"MR/knee/c{n:02d}" for n in range(30)])
    axes = database.grid(many, root, True).axes
    titles = [ax.get_title() for ax in axes if ax.images]
    assert len(titles) == database.MOST == len(set(titles))
    assert titles[0] == "MR/knee\nc00" and titles[-1] == "MR/knee\nc29"
    assert np.shape(axes[0].images[0].get_array()) == (128, 128)
