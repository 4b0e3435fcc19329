"""Figures of all tasks: phantoms are watermarked, and what was not run is said."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from test_comparison import ALL, A, D, cell, keep
from watermarks import assert_marked

from rin import comparison, verdict
from rin.figures import comparison as levels
from rin.figures import gains as drawn

pytestmark = pytest.mark.usefixtures("closed_figures")
NAN = float("nan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Kept results in which one backbone has a scenario that the other lacks."""
    arms = (("pretrained", A), ("random", D))
    more = [cell(arm, scores, fold=k, free=ALL) for arm, scores in arms for k in (0, 1)]
    return keep(tmp_path_factory.mktemp("results"), more)


@pytest.fixture(scope="module")
def kept(folder):
    """The kept results: runs, predictions, scenarios, gains."""
    runs, predictions = comparison.gather("no runs", folder)
    table = comparison.scenarios(runs, predictions)
    gains = comparison.gains(runs, predictions, table, n_resamples=50)
    # two backbones have no interval: one is made up, so that there is something to draw
    ends = {
        f"backbones_{end}": gains["backbones_gain"] + by for end, by in (("low", -9), ("high", 9))
    }
    return runs, predictions, table, gains.assign(**ends)


def make_levels(kept, phantom):
    runs, predictions, table, _ = kept
    overview = comparison.overview(table, runs, predictions, {("breast", "kept result"): 0.8})
    return levels.levels(overview, table, phantom)


def make_settings(kept, phantom):
    by_setting = comparison.means(comparison.with_setting(kept[2]), "setting")
    return levels.settings(by_setting, comparison.means(kept[2], "backbone"), phantom)


MAKERS = {
    "levels": make_levels,
    "settings": make_settings,
    "parameters": lambda kept, phantom: levels.parameters(kept[2], phantom),
}


@pytest.mark.parametrize("name", MAKERS)
def test_phantoms_are_watermarked_and_real_images_are_not(name, kept):
    for phantom in (True, False):
        assert_marked(MAKERS[name](kept, phantom), phantom)


def test_levels_have_a_row_a_task_and_arm_and_every_scenario(kept):
    (ax,) = make_levels(kept, False).axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[0] == "breast: pretrained" and len(names) == 4
    dots = [line for line in ax.get_lines() if line.get_marker() == "."]
    counts = kept[2].groupby(["task", "arm"], sort=False).size()
    assert [len(line.get_xdata()) for line in dots] == list(counts)
    bars = [
        line for line in ax.get_lines() if line.get_marker() == "|" and line.get_markersize() > 6
    ]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in bars] == [(0.8, 0), (0.8, 1)]
    runs, predictions, table, _ = kept
    overview = comparison.overview(table, runs, predictions)
    centers = [bars[0].get_xdata()[0] for bars in ax.containers]
    ends = [list(bars[2][0].get_segments()[0][:, 0]) for bars in ax.containers]
    assert centers == list(overview["mean_auc"])
    for (low, high), row in zip(ends, overview.itertuples(), strict=True):
        expected = row.mean_auc - row.sd_auc, row.mean_auc + row.sd_auc
        assert (low, high) == pytest.approx(expected)


def test_one_scenario_alone_is_drawn(kept):
    runs, predictions, table, _ = kept
    one = table.iloc[:1]
    levels.levels(comparison.overview(one, runs, predictions), one, True).canvas.draw()
    levels.parameters(one, True).canvas.draw()


def test_settings_show_each_mean_once(kept):
    left, right = make_settings(kept, False).axes
    settings = comparison.with_setting(kept[2]).groupby(["arm", "task", "setting"]).ngroups
    backbones = kept[2].groupby(["arm", "task", "backbone"]).ngroups
    for ax, n in ((left, settings), (right, backbones)):
        points = [line for line in ax.get_lines() if line.get_marker() != "None"]
        assert sum(len(line.get_xdata()) for line in points) == n


def test_parameters_have_a_panel_a_task_on_a_log_scale(kept):
    axes = [ax for ax in levels.parameters(kept[2], False).axes if ax.axison]
    assert [ax.get_title() for ax in axes] == ["breast, kept result", "pediatric, kept result"]
    assert all(ax.get_xscale() == "log" for ax in axes)


def test_spreads_show_both_sds():
    table = comparison.printed_spread().assign(series="published")
    (ax,) = levels.spreads(table).axes
    first, second = ax.get_lines()[-2:]
    assert list(first.get_xdata()) == list(table["sd_a"])
    assert list(second.get_xdata()) == list(table["sd_b"])


def test_procedures_say_which_one_is_not_available(kept):
    gains = kept[3].assign(training_low=NAN, training_high=NAN)
    (ax,) = drawn.procedures(gains, comparison.TESTS).axes
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("not available") == 2 and len(texts) == 2 * len(comparison.TESTS)


def test_procedures_draw_every_estimate_in_its_own_interval(kept):
    (ax,) = drawn.procedures(kept[3], comparison.TESTS).axes
    markers = [line for line in ax.get_lines() if len(line.get_xdata()) == len(comparison.TESTS)]
    for line, bars, row in zip(markers, ax.collections, kept[3].to_dict("records"), strict=True):
        assert list(line.get_xdata()) == [row[f"{test}_gain"] for test in comparison.TESTS]
        ends = [list(segment[:, 0]) for segment in bars.get_segments()]
        assert ends == [[row[f"{test}_low"], row[f"{test}_high"]] for test in comparison.TESTS]


def test_one_gain_alone_is_named(kept):
    (ax,) = drawn.procedures(kept[3].iloc[:1], comparison.TESTS).axes
    assert ax.get_title(loc="left") == "breast: pretrained − random"


def test_backbones_are_plotted_each(kept):
    runs, predictions, table, gains = kept
    by_network = comparison.backbone_gains(predictions, table)
    (ax,) = drawn.backbones(by_network, gains).axes
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == list(by_network["backbone"].unique())
    points = {line.get_label(): list(line.get_xdata()) for line in ax.get_lines()}
    for name in labels:
        assert points[name] == list(by_network.query("backbone == @name")["gain"])
    means = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "|"]
    assert means == list(gains["backbones_gain"]) and means[0] != gains["gain"][0]
    ends = [list(bar.get_segments()[0][:, 0]) for bar in ax.collections]
    assert ends == gains[["backbones_low", "backbones_high"]].values.tolist()


def test_published_and_measured_gains_share_a_figure(kept, folder):
    runs, _, _, gains = kept
    context = comparison.context(runs, gains, folder)
    context.loc[context.index[-1], "relation"] = pd.NA  # an init whose origin is not known
    figure = drawn.against_context(context, comparison.RELATIONS)
    figure.canvas.draw()
    left, right = figure.axes
    assert left.get_xscale() == "log" and len(left.containers) == len(right.containers) == 2
    shown = [len(bars[0].get_xdata()) for bars in right.containers]
    assert shown == [8, 1]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "published: radimagenet − imagenet"
    parts = [part for _, part in context.groupby("source", sort=False)]
    for bars, part in zip(left.containers, parts, strict=True):
        assert list(bars[0].get_xdata()) == list(part["n_images"])
        ends = [segment[:, 1] for segment in bars[2][0].get_segments()]
        assert np.allclose(ends, part[["low", "high"]].astype(float))
    for bars, part in zip(right.containers, parts, strict=True):
        known = part.dropna(subset="relation")
        ties = [comparison.RELATIONS.index(tie) for tie in known["relation"]]
        assert list(bars[0].get_ydata()) == list(known["gain"])
        assert np.abs(bars[0].get_xdata() - ties).max() < 0.5


def test_the_forest_says_what_was_not_run_again(kept):
    rows = verdict.forest_rows(verdict.table(kept[3]))
    figure = drawn.verdict(rows)
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("not rerun") == 8 and "not available" not in texts
    assert "9.4 (2.6 to 16.2)" in texts and len(texts) == 8 + 8 + 2


def test_a_task_that_was_rerun_without_a_gain_is_not_called_not_rerun(kept):
    gains = kept[3].copy()
    gains.loc[0, ["gain", "contrast_low", "contrast_high", "contrast_p", "holm_p"]] = NAN
    figure = drawn.verdict(verdict.forest_rows(verdict.table(gains)))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("not rerun") == 8 and texts.count("not available") == 1
