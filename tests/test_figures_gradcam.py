"""Figures of Grad-CAM: the watermark, what is drawn, and images that may not be shown."""

import matplotlib

matplotlib.use("Agg")

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from rin import figures
from rin.figures import gradcam

pytestmark = pytest.mark.usefixtures("closed_figures")

ARMS = ("pretrained, official", "random, official")
SIZE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)
MASKS = np.zeros((3, SIZE, SIZE), bool)
MASKS[:2, 4:9, 4:9] = True  # the third has no lesion
CHOSEN = pd.DataFrame({"rule": ["best", "median", "worst"], "row": [1, 2, 0]})


def maps():
    ramp = np.linspace(0, 255, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint8)
    return {arm: np.stack([ramp, ramp.T, ramp * 0]) for arm in ARMS}


def facts():
    rows = [
        {"arm": arm, "row": row, "dice": dice, "correct": row != 0, "confidence": 0.75, "y_true": y}
        for arm in ARMS
        for row, dice, y in ((0, 0.1, 1), (1, 0.62, 1), (2, np.nan, 0))
    ]
    return pd.DataFrame(rows)


def cases(task="breast", phantom=False, masks=MASKS, **options):
    return gradcam.cases(CHOSEN, IMAGES, masks, maps(), facts(), task, phantom, **options)


def curve(sd=0.05):
    at = np.arange(256)
    parts = [
        pd.DataFrame({"arm": arm, "threshold": at, "mean_dice": mean * (1 - at / 255)})
        for arm, mean in zip(ARMS, (0.4, 0.3), strict=True)
    ]
    return pd.concat(parts).assign(sd_dice=sd)


def levels():
    names = ["whole image", "another image's mask", "ideal map, 8×8"]
    return pd.DataFrame({"baseline": names, "mean_dice": [0.159, 0.16, 0.58], "pointing": 0.2})


def summary(sd=0.03):
    table = {"arm": ARMS, "mean_dice": [0.3, 0.1], "chance": [0.2, 0.15], "pointing": [0.5, 0.1]}
    return pd.DataFrame(table | {"sd_over_scenarios": sd})


def steps(**columns):
    table = {"step": [0, 1, 2], "n_layers": [0, 1, 40], "similarity": [1.0, 0.4, -0.1]}
    return pd.DataFrame(table | columns)


MAKERS = {
    "cases": lambda phantom: cases(phantom=phantom),
    "dice_by_threshold": lambda phantom: gradcam.dice_by_threshold(curve(), levels(), phantom),
    "ladder": lambda phantom: gradcam.ladder(summary(), levels(), phantom),
    "sanity": lambda phantom: gradcam.sanity(steps(), phantom),
}


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.mark.parametrize("name", MAKERS)
def test_phantoms_are_watermarked_and_real_images_are_not(name):
    for phantom in (True, False):
        figure = MAKERS[name](phantom)
        figure.canvas.draw()
        assert texts(figure).count(figures.WATERMARK) == phantom


def test_a_case_shows_its_image_its_lesion_and_each_arms_map():
    figure = cases()
    axes = np.reshape(figure.axes, (3, 3))
    assert [len(ax.images) for ax in axes[0]] == [1, 2, 2]  # image alone, then with maps
    for line, row in zip(axes, CHOSEN["row"], strict=True):
        for ax in line:
            assert (ax.images[0].get_array() == IMAGES[row]).all()
            assert len(ax.collections) == MASKS[row].any()


def test_a_map_is_transparent_where_it_is_zero():
    alpha = cases().axes[1].images[1].get_alpha()
    assert alpha.min() == 0 and alpha.max() == gradcam.OPACITY


def test_titles_say_rule_class_dice_and_probability():
    titles = [ax.get_title() for ax in cases().axes]
    assert titles[0] == "best\nmalignant"
    assert titles[1] == f"{ARMS[0]}\nDice 0.62\nmalignant 0.75"
    assert titles[3] == "median\nbenign" and titles[4] == "benign 0.75"  # no lesion, no Dice
    assert titles[7] == "Dice 0.10\nbenign 0.75"  # a wrong prediction


def test_an_arm_without_a_map_of_a_case_says_so():
    part = facts().iloc[:-2]  # random has a map of row 0 alone
    figure = gradcam.cases(CHOSEN, IMAGES, MASKS, maps(), part, "breast", False)
    assert figure.axes[5].get_title() == "no map"


def test_facts_of_several_scenarios_are_refused():
    twice = pd.concat([facts(), facts()])
    with pytest.raises(ValueError, match="`facts` should hold one row an arm and image"):
        gradcam.cases(CHOSEN, IMAGES, MASKS, maps(), twice, "breast", False)


def test_tasks_without_masks_have_no_outline():
    assert not any(ax.collections for ax in cases(masks=None).axes)


@pytest.mark.parametrize("task", ["acl", "radimagenet", "hemorrhage"])
def test_images_that_may_not_be_shown_are_refused(task):
    with pytest.raises(ValueError, match=f"task='{task}', whose registry entry says no"):
        cases(task)
    cases(task, phantom=True)  # phantoms belong to nobody


def test_readers_may_keep_their_own_images_out_of_the_page():
    cases("folder", show_images=True)
    with pytest.raises(ValueError, match="may be shown"):
        cases("folder", show_images=False)
    with pytest.raises(ValueError, match="whose registry entry says no"):
        cases("acl", show_images=True)  # what the registry forbids, nobody else allows


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="`task` should be one of"):
        cases("brest", phantom=True)


def test_the_curve_has_a_line_an_arm_and_marks_the_papers_threshold():
    (ax,) = gradcam.dice_by_threshold(curve(), None, False).axes
    first, second, marked = ax.get_lines()
    assert first.get_linestyle() != second.get_linestyle()
    assert list(marked.get_xdata()) == [180, 180]
    assert len(ax.collections) == 2  # bands


def test_one_scenario_has_a_curve_without_a_band():
    figure = gradcam.dice_by_threshold(curve(sd=np.nan), levels(), False)
    figure.canvas.draw()
    assert "ideal map, 8×8, 0.58" in texts(figure)


def test_levels_are_lines_whose_names_do_not_cover_each_other():
    figure = gradcam.dice_by_threshold(curve(), levels(), False)
    figure.canvas.draw()
    (ax,) = figure.axes
    assert sum(len(set(line.get_ydata())) == 1 for line in ax.get_lines()) == 3
    boxes = [text.get_window_extent() for text in ax.texts if ", 0." in text.get_text()]
    boxes.sort(key=lambda box: box.y0)
    assert len(boxes) == 3
    for below, above in zip(boxes, boxes[1:], strict=False):
        assert below.y1 <= above.y0
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_the_ladder_orders_arms_among_the_baselines():
    (ax,) = gradcam.ladder(summary(), levels(), False).axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [ARMS[1], *levels()["baseline"][:2], ARMS[0], "ideal map, 8×8"]
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == sorted(widths) == [0.1, 0.159, 0.16, 0.3, 0.58]


def test_a_tick_says_what_an_arms_size_is_worth():
    (ax,) = gradcam.ladder(summary(), levels(), False).axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    ticks = [line for line in ax.get_lines() if line.get_color() == "black"]
    found = {names[int(np.mean(tick.get_ydata()))]: tick.get_xdata()[0] for tick in ticks}
    assert found == {ARMS[0]: 0.2, ARMS[1]: 0.15}


def test_the_ladder_of_pointing_has_no_spread():
    (ax,) = gradcam.ladder(summary(), levels(), False, measure="pointing").axes
    assert len(ax.patches) == 5 and not ax.containers[0].errorbar and not ax.get_lines()
    with pytest.raises(ValueError, match="`measure` should be one of"):
        gradcam.ladder(summary(), levels(), False, measure="auc")


def test_the_sanity_check_has_a_line_an_arm():
    (ax,) = gradcam.sanity(steps(), False).axes
    assert [label.get_text() for label in ax.get_xticklabels()][1:] == [
        "1\n1 layer",
        "2\n40 layers",
    ]
    assert ax.get_legend() is None
    both = pd.concat([steps(arm=arm) for arm in ARMS])
    (ax,) = gradcam.sanity(both, False).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(ARMS)


def test_figures_and_tables_of_maps_need_no_backend():
    code = "import sys; from rin.figures import gradcam; from rin.gradcam import cases, ladder; "
    code += "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
