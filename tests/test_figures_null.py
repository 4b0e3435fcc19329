"""The figure of the null simulation: every method and setting where the table has it."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import pandas as pd
import pytest

from rin.figures import null

pytestmark = pytest.mark.usefixtures("closed_figures")
KEPT = Path(__file__).resolve().parents[1] / "results" / "null_simulation.csv"


def test_each_setting_is_a_series_and_each_method_a_row():
    table = pd.DataFrame(
        {
            "setting": ["none", "none", "training"],
            "method": ["t", "contrast", "t"],
            "share": [0.5, 0.05, 0.7],
            "low": [0.4, 0.03, 0.6],
            "high": [0.6, 0.08, 0.8],
        }
    )
    (ax,) = null.rejections(table).axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["t", "contrast"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["none", "training"]
    first = ax.containers[0].lines[0]
    assert list(first.get_xdata()) == [0.5, 0.05]
    ends = [list(one[:, 0]) for one in ax.containers[0].lines[2][0].get_segments()]
    assert ends == [pytest.approx([0.4, 0.6]), pytest.approx([0.03, 0.08])]


def test_the_kept_simulation_says_what_the_pages_rest_on():
    share = pd.read_csv(KEPT).set_index(["setting", "method"]).share
    assert share["none", "paired t over 24 AUCs"] > 0.4
    assert 0.03 < share["none", "contrast"] < 0.07
    assert share["training", "Nadeau-Bengio"] < 0.05 < share["training", "contrast"]
    by = share.unstack("method")
    independent = ["none", "training", "training and pretraining"]
    assert by.loc[independent, "all three"].max() < 0.05
    correlated = by.loc[["training 0.15, correlation 0.8", "training 0.3, correlation 0.8"]]
    assert correlated["Nadeau-Bengio"].min() > 0.1
    assert correlated["contrast and Nadeau-Bengio"].min() > 0.1


def test_each_size_of_noise_is_a_line_over_its_correlations():
    rows = [(0.15, 0.0, 0.02), (0.3, 0.5, 0.2), (0.15, 0.5, 0.06)]
    table = pd.DataFrame(rows, columns=["training_sd", "correlation", "share"])
    table = table.assign(method="t", low=table["share"] - 0.01, high=table["share"] + 0.02)
    other = table.assign(method="u")
    left, right = null.correlated(pd.concat([table, other]), ["t", "u"]).axes
    assert (left.get_title(), right.get_title()) == ("t", "u")
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["0.15", "0.3"]
    first, second = (one.lines[0] for one in left.containers)
    assert list(first.get_xdata()) == [0, 0.5] and list(first.get_ydata()) == [0.02, 0.06]
    assert list(second.get_ydata()) == [0.2]
    ends = left.containers[1].lines[2][0].get_segments()[0][:, 1]
    assert list(ends) == pytest.approx([0.19, 0.22])
