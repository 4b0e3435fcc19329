"""Outcomes: the best epoch is kept, a diverged run scores one half, orders are keyed."""

import numpy as np
import pytest
from tiny import make_data, make_run

from rin.outcomes import Outcome, order

SCORES = np.array([[0.6, 0.4], [0.4, 0.6]])


def test_the_epoch_with_the_lowest_validation_loss_is_kept():
    outcome = Outcome()
    for number, val_loss in enumerate([0.5, 0.1, 0.1]):  # the first of two equal ones
        outcome.add(0.5, val_loss, SCORES, lambda n=number: f"state {n}")
    assert outcome.best["epoch"] == 1 and outcome.best["state"] == "state 1"
    assert outcome.best["val_loss"] == 0.1
    assert [row["epoch"] for row in outcome.history] == [0, 1, 2]


@pytest.mark.parametrize(("loss", "val_loss"), [(np.nan, 0.5), (0.5, np.nan), (np.inf, 0.5)])
def test_a_loss_that_is_not_finite_is_divergence(loss, val_loss):
    outcome = Outcome()
    outcome.add(0.5, 0.5, SCORES, lambda: "state 0")
    outcome.add(loss, val_loss, SCORES, lambda: "state 1")
    assert outcome.diverged and outcome.best["epoch"] == 0


def test_a_diverged_run_scores_one_half_everywhere():
    outcome, data = Outcome(), make_data()
    outcome.add(np.nan, 0.5, np.zeros((4, 2)), lambda: None)
    predictions, history, result = outcome.tables(make_run(), data, None)
    assert (predictions[["y_score", "y_score_negative"]] == 0.5).all(axis=None)
    assert result["best_epoch"] is None and result["val_loss"] is None
    assert result["n_epochs"] == len(history) == 1


def test_updates_are_counted_with_the_last_partial_batch():
    data, outcome = make_data(), Outcome()
    for _ in range(3):
        outcome.add(0.5, 0.5, np.full((4, 2), 0.5), lambda: None)
    _, _, result = outcome.tables(make_run(batch_size=6), data, np.full((4, 2), 0.5))
    assert result["n_train"] == 16 and result["n_updates"] == 3 * 3


def test_the_order_depends_on_seed_and_epoch_alone():
    rows = np.arange(20)
    assert list(order(rows, 1, 2)) == list(order(rows, 1, 2)) != list(rows)
    assert sorted(order(rows, 1, 2)) == list(rows)
    assert list(order(rows, 1, 2)) != list(order(rows, 1, 3)) != list(order(rows, 2, 3))
