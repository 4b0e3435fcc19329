"""The report agrees with scikit-learn, and its bootstrap keeps patients whole."""

import math

import numpy as np
import pandas as pd
import pytest

from rin import metrics

pytestmark = pytest.mark.filterwarnings("error")

Y = [1, 1, 1, 0, 0, 0]
SCORE = [0.9, 0.8, 0.4, 0.5, 0.3, 0.2]


def simulated(seed, n=200, n_levels=25):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(int)
    score = np.clip(rng.normal(0.3 + 0.25 * y, 0.2), 0, 1)
    return y, np.round(score * n_levels) / n_levels, rng.integers(0, n // 2, n)


def by_scikit_learn(y, score, threshold):
    from sklearn import metrics as theirs

    called = score >= threshold
    return {
        "auc": theirs.roc_auc_score(y, score),
        "accuracy": theirs.accuracy_score(y, called),
        "balanced_accuracy": theirs.balanced_accuracy_score(y, called),
        "sensitivity": theirs.recall_score(y, called),
        "specificity": theirs.recall_score(y, called, pos_label=0),
        "precision": theirs.precision_score(y, called),
        "f1": theirs.f1_score(y, called),
        "mcc": theirs.matthews_corrcoef(y, called),
        "kappa": theirs.cohen_kappa_score(y, called),
        "brier": theirs.brier_score_loss(y, score),
    }


def test_the_report_of_six_images_is_right_by_hand():
    found = metrics.report(Y, SCORE)  # called: 1 1 0 1 0 0
    assert list(found) == list(metrics.METRICS)
    assert all(type(value) is float for value in found.values())
    assert found["auc"] == pytest.approx(8 / 9)
    for name in ("accuracy", "sensitivity", "specificity", "precision", "f1"):
        assert found[name] == pytest.approx(2 / 3)
    assert found["mcc"] == found["kappa"] == pytest.approx(1 / 3)
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.36 + 0.25 + 0.09 + 0.04) / 6)
    assert found["ece"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.5 + 0.3 + 0.2) / 6)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.72])
@pytest.mark.parametrize("seed", range(3))
def test_the_report_equals_scikit_learns_functions(seed, threshold):
    y, score, _ = simulated(seed)
    found = metrics.report(y, score, threshold)
    for name, value in by_scikit_learn(y, score, threshold).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_the_calibration_error_uses_the_bins_of_scikit_learns_calibration_curve():
    from sklearn.calibration import calibration_curve

    y, score, _ = simulated(4)
    observed, predicted = calibration_curve(y, score, n_bins=10)
    edges = np.linspace(0, 1, 11)[1:-1]
    sizes = np.bincount(np.searchsorted(edges, score), minlength=10)
    expected = np.average(np.abs(observed - predicted), weights=sizes[sizes > 0])
    assert metrics.report(y, score)["ece"] == pytest.approx(expected, abs=1e-12)


def test_over_and_underconfidence_in_one_bin_cancel_as_the_definition_has_it():
    assert metrics.report([1, 0], [0.45, 0.45])["ece"] == pytest.approx(0.05)
    assert metrics.report([1, 0], [1, 0])["ece"] == 0


def test_a_score_on_an_edge_is_in_the_bin_below():
    assert metrics.report([1, 0], [0.1, 0.05])["ece"] == pytest.approx((0.9 - 0.05) / 2)


def test_a_score_at_the_threshold_is_called_positive():
    assert metrics.report([1, 0], [0.5, 0.49])["accuracy"] == 1


@pytest.mark.parametrize(
    ("y", "score", "undefined"),
    [
        ([1, 1], [0.9, 0.1], {"auc", "balanced_accuracy", "specificity", "mcc"}),
        ([0, 0], [0.9, 0.1], {"auc", "balanced_accuracy", "sensitivity", "mcc"}),
        ([1, 0], [0.1, 0.2], {"precision", "mcc"}),
        ([1, 0], [0.9, 0.8], {"mcc"}),
        (
            [0, 0],
            [0.1, 0.2],
            {"auc", "balanced_accuracy", "sensitivity", "precision", "f1", "mcc", "kappa"},
        ),
        ([1, 1], [0.9, 0.8], {"auc", "balanced_accuracy", "specificity", "mcc", "kappa"}),
    ],
)
def test_an_undefined_metric_is_nan_and_the_others_are_not(y, score, undefined):
    found = metrics.report(y, score)
    assert {name for name, value in found.items() if math.isnan(value)} == undefined


@pytest.mark.parametrize(
    ("y", "score", "words"),
    [
        ([], [], "at least one image"),
        ([0, 1], [0.1, 1.2], "`y_score` should be probabilities"),
        ([0, 1], [-3, 2], "Received: -3 to 2"),
        ([0, 1], [-0.1, 0.5], "Received: -0.1 to 0.5"),
        ([0, 2], [0.1, 0.2], "`y_true` should be 0 or 1"),
        ([0, 1], [0.1], "as long as"),
    ],
)
def test_unusable_input_is_refused(y, score, words):
    with pytest.raises(ValueError, match=words):
        metrics.report(y, score)


@pytest.mark.parametrize("threshold", [math.nan, 95, -0.1])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(ValueError, match="`threshold` should be in \\[0, 1\\]"):
        metrics.report(Y, SCORE, threshold)
    with pytest.raises(ValueError, match="`threshold`"):
        metrics.bootstrap(Y, SCORE, None, threshold, n_resamples=10)
    assert metrics.report(Y, SCORE, 0)["sensitivity"] == 1  # both ends are probabilities
    assert metrics.report(Y, SCORE, 1)["specificity"] == 1


def test_a_resample_is_the_report_of_the_images_drawn():
    y, score, _ = simulated(5, n=40)
    weights = np.random.default_rng(0).integers(0, 4, (3, 40))
    values = metrics._weighted(y, score, 0.5, weights.astype(float))
    for row, times in enumerate(weights):
        expected = metrics.report(np.repeat(y, times), np.repeat(score, times))
        found = {name: values[name][row] for name in metrics.METRICS}
        assert found == pytest.approx(expected, abs=1e-12)


def test_the_bootstrap_table_has_one_row_a_metric_around_its_estimate():
    y, score, groups = simulated(6)
    table = metrics.bootstrap(y, score, groups, n_resamples=200)
    assert list(table.index) == list(metrics.METRICS)
    assert list(table.columns) == ["estimate", "low", "high", "n_valid"]
    assert table["estimate"].to_dict() == metrics.report(y, score)
    assert (table["low"] < table["high"]).all() and (table["n_valid"] == 200).all()
    inside = table.drop(index="ece")  # a resample adds noise to each bin, so its ECE is larger
    assert (inside["low"] <= inside["estimate"]).all()
    assert (inside["estimate"] <= inside["high"]).all()


def test_a_lower_level_gives_narrower_intervals():
    y, score, groups = simulated(6)
    wide, narrow = (metrics.bootstrap(y, score, groups, level=level) for level in (0.95, 0.5))
    assert (wide["low"] < narrow["low"]).all() and (narrow["high"] < wide["high"]).all()
    assert (narrow["low"] < narrow["high"]).all()


def test_the_same_seed_gives_the_same_table():
    y, score, groups = simulated(7)
    first, again = (metrics.bootstrap(y, score, groups, n_resamples=50, seed=3) for _ in "ab")
    other = metrics.bootstrap(y, score, groups, n_resamples=50, seed=4)
    pd.testing.assert_frame_equal(first, again)
    assert (first["low"] != other["low"]).any()


def test_no_groups_means_each_image_on_its_own():
    y, score, _ = simulated(8, n=60)
    alone = metrics.bootstrap(y, score, None, n_resamples=50)
    named = metrics.bootstrap(y, score, [f"p{i}" for i in range(60)], n_resamples=50)
    pd.testing.assert_frame_equal(alone, named)


def test_images_of_a_patient_are_drawn_together_and_strata_keep_their_size():
    y = np.array([1, 0, 0, 0, 1, 1, 0])
    group = np.array([0, 0, 1, 1, 2, 2, 3])
    weights = np.concatenate(list(metrics._resample(group, y, 100, seed=0)))
    for patient in range(4):
        drawn = weights[:, group == patient]
        assert (drawn == drawn[:, :1]).all()
    one_a_patient = weights[:, [0, 2, 4, 6]]
    assert (one_a_patient[:, [0, 2]].sum(axis=1) == 2).all()  # patients with a positive image
    assert (one_a_patient[:, [1, 3]].sum(axis=1) == 2).all()
    assert set(np.unique(one_a_patient)) == {0, 1, 2}


def test_copies_of_an_image_widen_nothing_when_grouped():
    y, score, _ = simulated(9, n=100)
    alone = metrics.bootstrap(y, score, range(100), n_resamples=100)
    copied = metrics.bootstrap(
        np.repeat(y, 3), np.repeat(score, 3), np.repeat(range(100), 3), n_resamples=100
    )
    pd.testing.assert_frame_equal(alone, copied)


def test_resamples_without_a_value_are_left_out_and_counted():
    y, score = [1, 1, 1, 0, 0, 0], [0.9, 0.2, 0.1, 0.1, 0.2, 0.3]
    table = metrics.bootstrap(y, score, None, n_resamples=300)
    assert 150 < table.loc["precision", "n_valid"] < 270  # (1 - (2/3)^3) of 300 is 211
    assert table.loc["auc", "n_valid"] == 300
    assert not table.isna().any(axis=None)
    none = metrics.bootstrap([1, 1], [0.9, 0.8], None, n_resamples=10).loc["auc"]
    assert none["n_valid"] == 0 and none.drop("n_valid").isna().all()


def test_the_bootstrap_of_the_auc_is_near_delongs_interval():
    from rin import stats

    y, score, groups = simulated(10, n=780)
    row = metrics.bootstrap(y, score, groups).loc["auc"]
    ci = stats.auc_ci(y, score, patients=groups)
    assert (row["low"], row["high"]) == (
        pytest.approx(ci.low, abs=0.01),
        pytest.approx(ci.high, abs=0.01),
    )


def test_blocks_do_not_change_what_is_counted(monkeypatch):
    y, score, groups = simulated(11, n=50)
    monkeypatch.setattr(metrics, "BLOCK", 50 * 7)
    table = metrics.bootstrap(y, score, groups, n_resamples=20)
    assert (table["n_valid"] == 20).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"groups": [1, 2]}, "`groups` should be 6 values"),
        ({"groups": ["a", None, "b", "b", "c", "c"]}, "1 missing"),
        ({"groups": None, "n_resamples": 0}, "`n_resamples` should be ≥ 1"),
        ({"groups": None, "level": 95}, "`level` between 0 and 1"),
    ],
)
def test_the_bootstrap_refuses_unusable_settings(arguments, words):
    with pytest.raises(ValueError, match=words):
        metrics.bootstrap(Y, SCORE, **arguments)
