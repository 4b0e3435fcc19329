"""Training: whole networks get fresh states, equal results and one row for every image."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny import SETTINGS, SIZE, make_data, make_run

from rin import augment, backbones, training

# InceptionResNetV2 trained whole is not bit-equal twice (seen 4e-7 after 9 steps; cause unknown)
TOLERANCE = {"inception_resnet_v2": 1e-4}


@pytest.fixture(scope="module")
def head():
    training.deterministic()
    return training.Trainer("resnet50", "head", "gap", SIZE)


@pytest.fixture(scope="module")
def head_result(head):
    return head.train(make_run(), make_data(), SETTINGS)


@pytest.mark.core
def test_every_val_and_test_image_gets_one_row(head_result):
    predictions, _, result = head_result
    data = make_data()
    for split in ("val", "test"):
        rows = np.flatnonzero(data.splits[:, 0] == split)
        part = predictions[predictions.split == split]
        assert list(part.row) == list(rows)
        assert list(part.y_true) == list(data.y[rows])
        assert list(part.image_id) == list(data.image_ids[rows])
    assert np.allclose(predictions.y_score + predictions.y_score_negative, 1, atol=1e-6)
    assert result["n_train"] == (data.splits[:, 0] == "train").sum()
    assert result["n_updates"] == 2 * -(-result["n_train"] // 8)


@pytest.mark.core
def test_the_epoch_with_the_lowest_loss_is_reported(head_result):
    _, history, result = head_result
    assert result["best_epoch"] == history.val_loss.idxmin()
    assert result["val_loss"] == history.val_loss.min()


@pytest.mark.core
def test_a_fresh_state_is_made_for_every_fold(head):
    """Fold 1 after fold 0 equals fold 1 alone in a new model, bit for bit."""
    data = make_data()
    head.train(make_run(fold=0), data, SETTINGS)
    after, _, _ = head.train(make_run(fold=1), data, SETTINGS)
    alone, _, _ = training.Trainer("resnet50", "head", "gap", SIZE).train(
        make_run(fold=1), data, SETTINGS
    )
    pd.testing.assert_frame_equal(after, alone, check_exact=True)


def test_every_variable_is_reset_dropouts_seed_and_the_optimizer_included(head):
    head.reset(make_run())
    before = [v.numpy() for v in [*head.model.variables, *head.model.optimizer.variables]]
    head.train(make_run(), make_data(), SETTINGS)
    seed = [v for v in head.model.variables if "seed" in v.path]
    assert seed, "dropout keeps its seed in a variable"
    head.reset(make_run())
    after = [v.numpy() for v in [*head.model.variables, *head.model.optimizer.variables]]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert float(head.model.optimizer.learning_rate) == pytest.approx(1e-2)


def test_another_seed_or_rate_gives_another_result(head, head_result):
    data = make_data()
    for other in (make_run(seed=1), make_run(rate=1e-3)):
        predictions, _, _ = head.train(other, data, SETTINGS)
        assert not np.allclose(predictions.y_score, head_result[0].y_score)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_the_same_run_twice_gives_the_same_predictions(name):
    """All layers free: bit-equal, but for InceptionResNetV2 (see TOLERANCE)."""
    training.deterministic()
    size = 75 if "inception" in name else SIZE
    trainer, data = training.Trainer(name, "all", "gap", size), make_data(size)
    settings = replace(SETTINGS, epochs=2)
    run = make_run(name, "all", 1e-4)
    first, _, result = trainer.train(run, data, settings)
    second, _, _ = trainer.train(run, data, settings)
    assert not result["diverged"]
    difference = np.abs(first.y_score - second.y_score).max()
    assert difference <= TOLERANCE.get(name, 0), difference


def test_a_diverged_run_stops_and_scores_one_half(head, tmp_path):
    data = make_data()
    run = make_run(rate=3e38)
    predictions, history, result = head.train(run, data, replace(SETTINGS, epochs=5))
    assert result["diverged"] and result["best_epoch"] is None
    assert result["n_epochs"] == len(history) < 5
    assert not np.isfinite(history.iloc[-1][["loss", "val_loss"]].to_numpy(float)).all()
    assert (predictions[["y_score", "y_score_negative"]] == 0.5).all(axis=None)


@pytest.mark.core
def test_batches_hold_the_asked_rows_and_nothing_else():
    data, rows = make_data(), np.array([7, 2, 5, 11, 3, 20, 1])
    batches = training.Batches(data, rows, 5)
    assert len(batches) == 2
    assert np.array_equal(np.concatenate([batches[i][0] for i in range(2)]), data.images[rows])
    labels = np.concatenate([batches[i][1] for i in range(2)])
    assert np.array_equal(labels.argmax(1), data.y[rows])


@pytest.mark.core
def test_training_batches_carry_the_maps_of_their_epoch():
    data, ranges = make_data(), augment.RANGES["small"]
    rows = np.array([4, 0, 9])
    (images, maps), _ = training.Batches(data, rows, 4, ranges=ranges, epoch=3, seed=1)[0]
    drawn = augment.draw(ranges, data.image_ids[rows], 3, 1)
    assert np.array_equal(maps, augment.matrices(drawn, SIZE, SIZE))
    assert images.dtype == np.uint8 and np.array_equal(images, data.images[rows])
