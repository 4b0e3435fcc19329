"""Figures: the watermark on everything made of phantoms, and gaps in the data that don't hurt."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from watermarks import assert_marked

from rin.figures import task as task_figures
from rin.figures.forest import forest

NAN = float("nan")
S1, S2 = "resnet50-head-1e-02", "resnet50-all-1e-04"


pytestmark = pytest.mark.usefixtures("closed_figures")


def history(*runs):
    """`(scenario, fold, [val losses])` each; the training loss is .1 below."""
    rows = [
        {"scenario": name, "fold": fold, "epoch": epoch, "loss": loss - 0.1, "val_loss": loss}
        for name, fold, losses in runs
        for epoch, loss in enumerate(losses)
    ]
    return pd.DataFrame(rows)


def scored(n=3):
    kinds = ["head", "top10", "all"]
    rows = [
        {"arm": arm, "trainable": kinds[i % 3], "auc": 0.7 + 0.05 * i + shift}
        for arm, shift in (("random, official", 0), ("imagenet, official", 0.02))
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def summarized(table):
    found = table.groupby("arm", sort=False)["auc"].agg(mean_auc="mean", sd_auc="std")
    return found.reset_index()


def curves(sd=0.1):
    fpr = np.linspace(0, 1, 11)
    arms = ("random, official", "imagenet, official")
    parts = [
        pd.DataFrame({"arm": arm, "fpr": fpr, "tpr_mean": np.sqrt(fpr), "tpr_sd": sd})
        for arm in arms
    ]
    return pd.concat(parts)


def intervals(n_scenarios=2, n_folds=2):
    rows = [
        {"scenario": f"resnet50-head-{s}", "fold": fold, "auc": 0.8, "low": 0.6, "high": 0.95}
        for s in range(n_scenarios)
        for fold in range(n_folds)
    ]
    return pd.DataFrame(rows)


def all_texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


MAKERS = {
    "examples": lambda breast, phantom: task_figures.examples(*breast, phantom),
    "losses": lambda _, phantom: task_figures.losses(history((S1, 0, [0.7, 0.6])), phantom),
    "swarm": lambda _, phantom: task_figures.swarm(scored(), summarized(scored()), phantom, 0.6),
    "roc_band": lambda _, phantom: task_figures.roc_band(curves(), summarized(scored()), phantom),
    "auc_rows": lambda _, phantom: task_figures.auc_rows(intervals(), phantom),
}


@pytest.mark.parametrize("name", MAKERS)
def test_phantoms_are_watermarked_and_real_images_are_not(name, breast):
    for phantom in (True, False):
        assert_marked(MAKERS[name](breast, phantom), phantom)


def test_examples_show_each_class_and_no_path_or_patient(breast):
    figure = task_figures.examples(*breast, phantom=False, per_class=3)
    assert len(figure.axes) == 3 * breast[0]["label"].nunique()
    assert all(len(ax.images) == 1 for ax in figure.axes)
    assert sorted(all_texts(figure)) == sorted(breast[0]["label"].unique())


def test_examples_outline_the_lesion(breast):
    frame = breast[0][breast[0]["mask"].notna()]
    assert all(ax.collections for ax in task_figures.examples(frame, breast[1], False).axes)


@pytest.mark.parametrize("per_class", [1, 100])
def test_examples_take_one_column_and_more_columns_than_images(breast, per_class):
    few = breast[0].groupby("label").head(2)
    figure = task_figures.examples(few, str(breast[1]), True, per_class=min(per_class, 4))
    shown = sum(len(ax.images) for ax in figure.axes)
    assert shown == few["label"].nunique() * min(per_class, 2)


def test_losses_have_a_panel_a_scenario_and_two_lines_a_run():
    table = history((S1, 0, [0.7, 0.6]), (S1, 1, [0.8, 0.5]), (S2, 0, [0.7, 0.7]))
    axes = task_figures.losses(table, False).axes
    assert [ax.get_title() for ax in axes] == ["head-1e-02", "all-1e-04"]
    assert [len(ax.get_lines()) for ax in axes] == [4, 2]


def test_losses_of_several_inits_and_seeds_are_lines_of_their_own():
    one = history((S1, 0, [0.7, 0.6]))
    tables = [
        one.assign(init=init, seed=seed) for init in ("random", "imagenet") for seed in (0, 1)
    ]
    (ax,) = task_figures.losses(pd.concat(tables), False).axes
    assert len(ax.get_lines()) == 8
    assert all(len(line.get_xdata()) == 2 for line in ax.get_lines())


def test_panels_of_several_backbones_name_them():
    table = history((S1, 0, [0.7]), ("densenet121-head-1e-02", 0, [0.7]))
    axes = task_figures.losses(table, False).axes
    assert [ax.get_title() for ax in axes] == [S1, "densenet121-head-1e-02"]


@pytest.mark.parametrize("losses", [[0.7, NAN], [NAN], [0.7]])
def test_losses_with_nan_or_one_epoch_are_drawn(losses):
    figure = task_figures.losses(history((S1, 0, losses), (S1, 1, [0.7, 0.6])), True)
    figure.canvas.draw()
    lines = figure.axes[0].get_lines()
    assert len(lines) == 4 and {line.get_marker() for line in lines} == {"."}


def test_a_swarm_shows_every_scenario_and_mean_and_sd():
    table = scored(5)
    figure = task_figures.swarm(table, summarized(table), False, baseline=0.61)
    figure.canvas.draw()
    ax = figure.axes[0]
    drawn = sum(len(c.get_offsets()) for c in ax.collections if hasattr(c, "get_sizes"))
    assert drawn == len(table)
    texts = [text.get_text() for text in ax.texts]
    assert "0.80 ± 0.08" in texts and "trivial baseline" in texts
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["head", "top10", "all"]


def test_a_swarm_of_one_scenario_has_a_mean_and_no_sd():
    table = scored(1)
    assert summarized(table)["sd_auc"].isna().all()
    figure = task_figures.swarm(table, summarized(table), True)
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["0.70", "0.72"] and not any("nan" in text for text in all_texts(figure))


@pytest.mark.parametrize("sd", [0.1, NAN])
def test_a_roc_band_is_labelled_with_the_mean_of_aucs(sd):
    figure = task_figures.roc_band(curves(sd), summarized(scored()), False)
    figure.canvas.draw()
    labels = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert labels == ["random, official: AUC 0.75", "imagenet, official: AUC 0.77"]


def test_a_roc_band_is_clipped():
    figure = task_figures.roc_band(curves(sd=3), summarized(scored()), False)
    for band in figure.axes[0].collections:
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() >= 0 and heights.max() <= 1


def test_no_arm_is_left_out_of_the_roc():
    parts = [
        curves()[lambda t: t["arm"] == "random, official"].assign(arm=f"{n}") for n in range(12)
    ]
    summary = pd.DataFrame({"arm": [f"{n}" for n in range(12)], "mean_auc": 0.7})
    figure = task_figures.roc_band(pd.concat(parts), summary, False)
    assert len(figure.axes[0].get_legend().get_texts()) == 12


@pytest.mark.parametrize(("n_scenarios", "n_folds"), [(1, 1), (24, 5)])
def test_auc_rows_draw_one_interval_a_run(n_scenarios, n_folds):
    figure = task_figures.auc_rows(intervals(n_scenarios, n_folds), True)
    figure.canvas.draw()
    bars = figure.axes[0].containers
    assert len(bars) == n_folds and all(len(bar[0].get_xdata()) == n_scenarios for bar in bars)
    assert len(figure.axes[0].get_yticklabels()) == n_scenarios


def test_auc_rows_reach_from_low_to_high_and_skip_missing_limits():
    table = intervals(1, 2)
    table.loc[1, ["low", "high"]] = NAN
    figure = task_figures.auc_rows(table, False)
    figure.canvas.draw()
    first = figure.axes[0].containers[0][2][0].get_segments()[0]
    assert first[:, 0] == pytest.approx([0.6, 0.95])
    assert list(figure.axes[0].containers[1][0].get_xdata()) == [0.8]


@pytest.mark.parametrize(("level", "text"), [(0.95, "95 %"), (0.9, "90 %")])
def test_auc_rows_name_the_level_of_their_intervals(level, text):
    figure = task_figures.auc_rows(intervals(), False, level=level)
    assert text in figure.axes[0].get_xlabel()


def gains(*rows):
    return pd.DataFrame(rows, columns=["task", "series", "gain", "low", "high"])


def test_a_forest_writes_its_numbers_and_survives_nan():
    table = gains(
        ("breast", "ours", 4.0, -0.6, 8.7),
        ("acl", "ours", 2.0, NAN, NAN),
        ("x", "ours", *3 * [NAN]),
    )
    ax = forest(table)
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.texts] == ["4.0 (−0.6 to 8.7)", "2.0", "not available"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["breast", "acl", "x"]


def test_a_forest_of_nothing_but_nan_is_drawn():
    ax = forest(gains(("breast", "ours", NAN, NAN, NAN)))
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.texts] == ["not available"]


def test_a_forest_tells_series_apart_by_shape():
    ax = forest(gains(*(("breast", name, 1.0, 0.0, 2.0) for name in "abcd")))
    markers = [line.get_marker() for line in ax.get_lines() if line.get_label() in set("abcd")]
    assert len(set(markers)) == 4


def test_a_forest_refuses_what_it_can_not_draw():
    with pytest.raises(ValueError, match="at most 4 values"):
        forest(gains(*(("breast", name, 1.0, 0.0, 2.0) for name in "abcde")))
    with pytest.raises(ValueError, match="one interval per row and series"):
        forest(gains(*[("breast", "a", 1.0, 0.0, 2.0)] * 2))
