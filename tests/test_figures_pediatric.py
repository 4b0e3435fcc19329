"""Figures of the pediatric study: watermarks, and that they draw what the tables say."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from watermarks import assert_marked

from rin import pediatric
from rin.figures import pediatric as figures

pytestmark = pytest.mark.usefixtures("closed_figures")

ARMS = ("imagenet, official", "random, official")
PROTOCOLS = ("5-fold", "official")


def scores():
    rows = [
        {"protocol": protocol, "rule": rule, "arm": arm, "fold": fold, "metric": metric}
        for protocol in PROTOCOLS
        for arm in ARMS
        for fold in ((0, 1) if protocol == "5-fold" else (0,))
        for rule, several in (
            (pediatric.NO_RULE, ["auc"]),
            (pediatric.ARGMAX, ["accuracy", "f1"]),
            (pediatric.FROM_VAL, ["accuracy", "f1"]),
        )
        for metric in several
    ]
    table = pd.DataFrame(rows)
    return table.assign(value=0.5 + 0.25 * table["fold"])


def curves():
    bins = np.array([0, 5, 9])
    parts = [
        pd.DataFrame(
            {
                "protocol": protocol, "arm": arm, "bin": bins, "predicted": bins / 10 + 0.05,
                "observed": [0, 0.5, 1], "low": [0, 0.3, 0.8], "high": [0.2, 0.7, 1],
                "n_images": [4, 2, 6],
            }
        )
        for protocol in PROTOCOLS
        for arm in ARMS
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def maps():
    parts = [
        pd.DataFrame(
            {
                "protocol": protocol, "arm": arm, "fold": fold, "y_true": y, "y": [0, 0, 1, 1],
                "x": [0, 1, 0, 1], "value": [1, 0, fold, 0.5], "n_images": 1 + 2 * fold,
            }
        )
        for protocol in PROTOCOLS
        for arm in ARMS
        for fold in (0, 1)
        for y in (0, 1)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def drawings(phantom):
    names = {"accuracy": "accuracy", "f1": "F1", "auc": "AUC"}
    yield figures.metrics(scores(), names, phantom)
    yield figures.reliability(curves(), phantom)
    yield figures.mean_maps(maps(), ("normal", "pneumonia"), phantom)


@pytest.mark.parametrize("phantom", [True, False])
def test_every_figure_of_phantoms_says_so_and_no_other(phantom):
    for figure in drawings(phantom):
        assert_marked(figure, phantom)


def test_each_protocol_and_rule_has_a_panel_and_each_holds_the_auc():
    figure = next(drawings(False))
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    titles = {ax.get_title(loc="left") for ax in panels}
    rules = (pediatric.ARGMAX, pediatric.FROM_VAL)
    assert titles == {f"{name} split, {rule}" for name in PROTOCOLS for rule in rules}
    names = [text.get_text() for text in panels[0].get_yticklabels()]
    assert names == ["accuracy", "F1", "AUC"]
    for ax in panels:
        bars = [line for line in ax.lines if line.get_marker() == "|"]
        assert len(bars) == 3 * len(ARMS)
        mean = 0.625 if "5-fold" in ax.get_title(loc="left") else 0.5
        assert all(bar.get_xdata()[0] == mean for bar in bars)


def test_a_metric_that_is_nowhere_defined_is_left_out():
    table = scores()
    table.loc[table["metric"] == "f1", "value"] = np.nan
    figure = figures.metrics(table, {"accuracy": "accuracy", "f1": "F1", "auc": "AUC"}, False)
    assert all(len([x for x in ax.lines if x.get_marker() == "|"]) == 4 for ax in figure.axes)


def test_bins_stand_side_by_side_with_their_counts():
    figure = figures.reliability(curves(), False)
    heights = [bar.get_height() for bar in figure.axes[2].patches]
    assert heights == [4, 2, 6] * len(ARMS)
    lefts = [bar.get_x() for bar in figure.axes[2].patches]
    assert len(set(np.round(lefts, 6))) == 6


def test_a_mean_map_weighs_folds_by_their_images():
    figure = figures.mean_maps(maps(), ("normal", "pneumonia"), False)
    drawn = figure.axes[0].images[0].get_array()
    assert drawn.tolist() == [[1, 0], [0.75, 0.5]]  # one image of fold 0, three of fold 1
