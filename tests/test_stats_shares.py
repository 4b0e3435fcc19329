"""Shares of variance: the mixed model against the closed form, and at the edge."""

import math

import numpy as np
import pandas as pd
import pytest
from test_stats import near

from rin import stats
from rin.stats import shares

pytestmark = pytest.mark.filterwarnings("error")


def gains(values, n_backbones=4):
    """A table of gains `(scenarios, folds)`; scenarios take turns among backbones in blocks."""
    n, k = np.shape(values)
    scenario, fold = np.indices((n, k)).reshape(2, -1)
    backbone = [f"b{i * n_backbones // n}" for i in scenario]
    columns = {"scenario": [f"s{i}" for i in scenario], "backbone": backbone, "fold": fold}
    return pd.DataFrame(columns | {"difference": np.ravel(values)})


def drawn(backbone, scenario, fold, residual, seed=0):
    """24 × 5 gains with these standard deviations."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(0, backbone, 4).repeat(6) + rng.normal(0, scenario, 24)
    values = 0.03 + parts[:, None] + rng.normal(0, fold, 5)
    return gains(values + rng.normal(0, residual, (24, 5)))


def variances(table):
    return shares.variance_shares(table).set_index("component")["variance"]


def test_the_worked_table_in_closed_form():
    found = stats.two_way(gains([[0.02, 0.05], [0.04, 0.06], [0.00, 0.04]]))
    assert (found.difference, found.se) == (near(0.035), near(0.0170783, 1e-7))
    assert (found.ms_scenario, found.ms_fold) == (near(0.00045, 1e-9), near(0.00135, 1e-9))
    assert (found.ms_residual, found.residual) == (near(0.00005, 1e-9), near(0.00005, 1e-9))
    assert (found.scenario, found.fold) == (near(0.0002, 1e-9), near(0.000433333, 1e-9))


def test_the_mixed_model_equals_the_closed_form():
    table = drawn(0, 0.02, 0.015, 0.02)
    expected = stats.two_way(table)
    mean, se, found = shares.fit_mixed(table, ["scenario", "fold"])
    assert (mean, se) == (pytest.approx(expected.difference), pytest.approx(expected.se, rel=1e-3))
    for name, value in found.items():
        assert value == pytest.approx(getattr(expected, name), rel=1e-3)
    one = stats.variance_shares(table.assign(backbone="resnet50")).set_index("component")
    assert math.isnan(one.loc["backbone", "variance"]) and math.isnan(one.loc["backbone", "share"])
    assert one.loc["fold", "variance"] == pytest.approx(expected.fold, rel=1e-3)
    assert one["share"].sum() == near(1)


def test_shares_follow_what_gains_vary_with():
    table = stats.variance_shares(drawn(0.05, 0.01, 0.01, 0.01))
    assert list(table.columns) == ["component", "variance", "share"]
    assert list(table["component"]) == ["backbone", "scenario", "fold", "residual"]
    assert table["share"].sum() == near(1) and table["share"].idxmax() == 0


@pytest.mark.parametrize("seed", range(3))
def test_at_the_edge_the_fit_is_silent_and_no_worse_than_any_other(seed):
    """Where a component is 0, the variances still maximize the restricted likelihood."""
    table = drawn(0, 0, 0.02, 0.02, seed)
    found = variances(table)

    def likelihood(backbone, scenario, fold, residual):
        same = {name: table[name].to_numpy() for name in ("backbone", "scenario", "fold")}
        same = {name: np.equal.outer(values, values) for name, values in same.items()}
        cov = backbone * same["backbone"] + scenario * same["scenario"] + fold * same["fold"]
        cov = cov + residual * np.eye(len(table))
        y, inverse = table["difference"].to_numpy(), np.linalg.inv(cov)
        rest = y - inverse.sum(axis=0) @ y / inverse.sum()
        return -(np.linalg.slogdet(cov)[1] + math.log(inverse.sum()) + rest @ inverse @ rest) / 2

    best = likelihood(*found)
    for i in range(4):
        for factor, step in ((0.8, 0), (1.2, 0), (1, 2e-5)):
            other = found.to_numpy().copy()
            other[i] = other[i] * factor + step
            assert likelihood(*other) <= best + 1e-6


def test_a_single_split_has_no_share_of_folds_or_scenarios():
    one = drawn(0.03, 0.01, 0, 0.01).query("fold == 0")
    found = variances(one)
    assert found[["scenario", "fold"]].isna().all()
    groups = one.groupby("backbone").difference
    within, between = groups.var().mean(), 6 * groups.mean().var()
    assert found["residual"] == pytest.approx(within, rel=1e-3)
    assert found["backbone"] == pytest.approx((between - within) / 6, rel=1e-3)
    alone = variances(one.assign(backbone="resnet50"))
    assert alone["residual"] == pytest.approx(one.difference.var())


def test_equal_gains_have_no_shares():
    table = stats.variance_shares(gains(np.full((6, 2), 0.25)))
    assert table["share"].isna().all() and table["variance"].iloc[-1] == 0


def test_tables_without_whole_cells_are_refused():
    table = gains([[0.02, 0.05], [0.04, 0.06], [0.00, 0.04]])
    with pytest.raises(ValueError, match="1 cells missing"):
        stats.two_way(table.iloc[1:])
    for function in (stats.two_way, stats.variance_shares):
        with pytest.raises(ValueError, match="a cell once. Received: 1 more"):
            function(pd.concat([table, table.iloc[:1]]))
    with pytest.raises(ValueError, match="gaps in \\['backbone'\\]"):
        stats.variance_shares(table.drop(columns="backbone"))
    with pytest.raises(ValueError, match="3 or more cells. Received: 2"):
        stats.variance_shares(table.iloc[:2])
