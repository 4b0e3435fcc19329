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
    assert share[:, "all three"].max() < 0.05
