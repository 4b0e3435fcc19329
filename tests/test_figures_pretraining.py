"""Figures of pretraining: every line, point and share is there, and no names overlap."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from watermarks import assert_marked

from rin import published
from rin.figures import pretraining

NAN = float("nan")
pytestmark = pytest.mark.usefixtures("closed_figures")


def history(n=3, shift=0.0):
    epoch = np.arange(n)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "loss": 3.0 - epoch,
            "val_loss": 3.5 - epoch + shift,
            "val_top1": 0.1 * epoch + shift,
            "val_balanced_accuracy": 0.05 * epoch + shift,
        }
    )


def classes(n=165):
    """Recall of n released classes: sizes 47 to 40,498, a fifth of them never found."""
    labels = published.classes()["label"][:n]
    recall = np.linspace(-0.2, 0.9, n).clip(0)
    sizes = np.geomspace(47, 40498, n).astype(int)
    table = pd.DataFrame({"label": labels, "n_train": sizes, "recall": recall})
    return table.assign(modality=labels.str.split("/").str[0])


def shares(names, diagonal=0.8):
    n = len(names)
    rest = (1 - diagonal) / max(n - 1, 1)
    values = np.full((n, n), rest) + np.eye(n) * (diagonal - rest)
    return pd.DataFrame(values, index=names, columns=names)


def labels_of_165():
    table = published.classes()
    return list(table.sort_values(["modality", "group"])["label"])


GROUPS = [f"{row.modality} {row.anatomy}" for row in published.database().itertuples()]
MAKERS = {
    "curves": lambda phantom: pretraining.curves({"resnet50": history()}, phantom),
    "recall_by_size": lambda phantom: pretraining.recall_by_size(classes(), phantom),
    "confusion": lambda phantom: pretraining.confusion(shares(GROUPS), phantom),
    "example_grid": lambda phantom: pretraining.example_grid(
        np.zeros((7, 8, 8, 1)), ["MR/knee/normal"] * 7, phantom
    ),
}


def extent(text):
    """Of the words alone: an annotation's own extent includes its line."""
    return matplotlib.text.Text.get_window_extent(text)


def apart(texts):
    """Whether no two texts touch, each compared with all others."""
    boxes = [extent(text) for text in texts]
    return not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("name", MAKERS)
def test_phantoms_are_watermarked_inside_the_figure_and_real_images_are_not(name):
    for phantom in (True, False):
        assert_marked(MAKERS[name](phantom), phantom)


def test_curves_have_four_lines_a_backbone_and_name_each_once():
    names = ("resnet50", "densenet121", "inception_v3", "inception_resnet_v2")
    figure = pretraining.curves({name: history(shift=0.01 * len(name)) for name in names}, False)
    assert [len(ax.get_lines()) for ax in figure.axes] == [8, 4, 4]
    loss, val_loss = figure.axes[0].get_lines()[:2]
    assert list(loss.get_ydata()) == [3, 2, 1] and loss.get_linestyle() == "-"
    assert list(val_loss.get_ydata()) == pytest.approx([3.58, 2.58, 1.58])
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == [*names, "training", "validation"]
    figure.canvas.draw()
    assert apart(figure.legends[0].get_texts())


@pytest.mark.parametrize("table", [history(1), history().assign(val_loss=NAN)])
def test_one_epoch_and_missing_losses_are_drawn(table):
    figure = pretraining.curves({"resnet50": table}, True)
    figure.canvas.draw()
    assert {line.get_marker() for line in figure.axes[0].get_lines()} == {"."}


def test_every_class_is_a_point_colored_by_modality():
    table = classes()
    (ax,) = pretraining.recall_by_size(table, False).axes
    points = {line.get_label(): len(line.get_xdata()) for line in ax.get_lines()}
    mean = f"mean: {table['recall'].mean():.2f}"
    assert points == {**table["modality"].value_counts(), mean: 2}
    assert ax.get_xscale() == "log"


def test_the_three_smallest_and_the_largest_of_the_worst_five_are_named():
    table = classes()
    (ax,) = pretraining.recall_by_size(table, False).axes
    never = table[table["recall"] == 0]
    assert len(never) > 8
    expected = pd.concat([table.head(3), never.tail(5)])
    said = {f"{row.label} ({row.n_train:,})" for row in expected.itertuples()}
    assert {text.get_text() for text in ax.texts} == said


@pytest.mark.parametrize("recall", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 9, 165])
def test_names_of_classes_do_not_overlap_and_stay_in_the_figure(n, recall):
    figure = pretraining.recall_by_size(classes(n).assign(recall=recall), False)
    figure.canvas.draw()
    texts = figure.axes[0].texts
    assert len(texts) == min(n, 8) and apart(texts)
    boxes = [extent(text) for text in texts]
    assert all(box.x1 <= figure.bbox.x1 and box.y0 >= figure.bbox.y0 for box in boxes)


def test_classes_without_images_are_left_out():
    table = classes(9)
    table.loc[4, "recall"] = NAN
    (ax,) = pretraining.recall_by_size(table, False).axes
    assert sum(len(line.get_xdata()) for line in ax.get_lines()[:-1]) == 8


def test_shares_of_eleven_groups_are_written_and_small_ones_left_blank():
    table = shares(GROUPS)
    table.iloc[0, :2] = [0.997, 0.003]
    ax, _ = pretraining.confusion(table, False).axes
    said = [text.get_text() for text in ax.texts]
    assert said[:3] == ["1.00", "", "0.02"] and len(said) == 121
    assert [tick.get_text() for tick in ax.get_yticklabels()] == GROUPS


def test_a_row_without_images_is_drawn_empty():
    table = shares(GROUPS[:3])
    table.iloc[1] = NAN
    figure = pretraining.confusion(table, True)
    figure.canvas.draw()
    assert not any("nan" in text.get_text() for text in figure.axes[0].texts)


@pytest.mark.parametrize("n", [1, 3, 9, 11, 45])
def test_rows_up_to_45_are_named_one_by_one(n):
    names = labels_of_165()[:n]
    figure = pretraining.confusion(shares(names), False)
    figure.canvas.draw()
    ax = figure.axes[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == names
    assert bool(ax.texts) == (n <= 20)
    assert apart(ax.get_yticklabels()) and apart(ax.get_xticklabels())


def test_165_classes_are_named_by_their_groups_and_divided_between_them():
    names = labels_of_165()
    figure = pretraining.confusion(shares(names), False)
    figure.canvas.draw()
    ax = figure.axes[0]
    said = [tick.get_text() for tick in ax.get_yticklabels()]
    assert sorted(said) == sorted(GROUPS) and not ax.texts
    assert apart(ax.get_yticklabels()) and apart(ax.get_xticklabels())
    assert said[0] == "CT abdomen/pelvis" and ax.get_yticks()[0] == 28 / 2
    lines = sorted({line.get_ydata()[0] for line in ax.get_lines() if line.get_xdata()[0] == 0})
    assert lines[0] == 28 and len(lines) == 10


def test_a_grid_shows_every_image_in_gray_with_its_title_above():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 16, 16, 1))
    titles = [f"MR/knee/soft_tissue_fluid_collection{i}" for i in range(8)]
    figure = pretraining.example_grid(images, titles, False)
    figure.canvas.draw()
    assert len(figure.axes) == 12
    for ax, image, title in zip(figure.axes, images, titles, strict=False):
        (shown,) = ax.get_images()
        assert np.array_equal(shown.get_array(), np.repeat(image, 3, axis=-1))
        assert ax.get_title() == title.replace("/soft", "\nsoft")
    assert all((ax.get_images()[0].get_array() == 255).all() for ax in figure.axes[8:])
    assert apart([ax.title for ax in figure.axes[:6]])
    assert extent(figure.axes[6].title).y1 < figure.axes[0].get_window_extent().y0


def test_a_grid_does_not_wrap_around_what_is_above_255():
    figure = pretraining.example_grid(np.array([[[[-3.0, 7.9, 300.0]]]]), ["one"], False)
    assert figure.axes[0].get_images()[0].get_array().tolist() == [[[0, 7, 255]]]


@pytest.mark.parametrize(
    ("images", "titles", "message"),
    [
        (np.zeros((2, 8, 8)), ["a", "b"], "`images` should be"),
        (np.zeros((0, 8, 8, 1)), [], "`images` should be"),
        (np.zeros((2, 8, 8, 4)), ["a", "b"], "Received: \\(2, 8, 8, 4\\)"),
        (np.zeros((2, 8, 8, 1)), ["a"], "`titles` should be 2 texts. Received: 1"),
    ],
)
def test_a_grid_of_something_else_is_refused(images, titles, message):
    with pytest.raises(ValueError, match=message):
        pretraining.example_grid(images, titles, True)
