"""Micro-batches: equal parts, exact mean gradients, one update a batch."""

import math

import keras
import numpy as np
import pytest
import tiny_network
from tiny import SETTINGS, SIZE, make_data, make_run

from rin import backbones, micro, objectives, training

N, BATCH = 19, 8  # the last batch has three


class Rows(keras.utils.PyDataset):
    """Batches of made-up features, in the shape that `Parts` asks for."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(N, 5)).astype("float32")
        self.y = np.eye(2, dtype="float32")[rng.integers(0, 2, N)]

    def __len__(self):
        return math.ceil(N / BATCH)

    def __getitem__(self, index):
        return self.shown(self.batch(index))

    def batch(self, index):
        return np.arange(N)[index * BATCH : (index + 1) * BATCH]

    def shown(self, rows):
        return self.x[rows], self.y[rows]


def small_network(optimizer):
    """Neither batch norm nor dropout."""
    keras.utils.set_random_seed(0)
    x = keras.Input((5,))
    hidden = keras.layers.Dense(4, activation="tanh")(x)
    model = keras.Model(x, keras.layers.Dense(2)(hidden))
    model.compile(optimizer, objectives.loss(), jit_compile=training.jit_compile())
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, batches):
    return model.fit(batches, epochs=4, shuffle=False, verbose=0).history["loss"]


@pytest.mark.core
@pytest.mark.parametrize("n_parts", [1, 2, 4, 5])  # 5 is more than the last batch has
def test_parts_train_a_network_as_its_whole_batches_do(n_parts):
    whole = small_network(keras.optimizers.Adam(0.05))
    losses = fit(whole, Rows())
    cut = small_network(micro.Adam(0.05))
    cut.optimizer.n_parts.assign(n_parts)
    cut_losses = fit(cut, micro.Parts(Rows(), n_parts))
    for a, b in zip(whole.weights, cut.weights, strict=True):
        assert np.allclose(a.numpy(), b.numpy(), atol=1e-5)
    assert losses[-1] < losses[0]
    assert cut_losses == pytest.approx(losses, rel=0.03)  # repeated rows count in the mean
    assert int(cut.optimizer.iterations) == 4 * 3


@pytest.mark.core
def test_weights_move_with_the_last_part_alone():
    cut = small_network(micro.Adam(0.05))
    cut.optimizer.n_parts.assign(2)
    before = [v.numpy() for v in cut.weights]
    parts = micro.Parts(Rows(), 2)
    cut.train_on_batch(*parts[0])
    assert all(np.array_equal(v.numpy(), old) for v, old in zip(cut.weights, before, strict=True))
    cut.train_on_batch(*parts[1])
    assert not any(np.allclose(v.numpy(), o) for v, o in zip(cut.weights, before, strict=True))


@pytest.mark.core
def test_a_batch_is_cut_into_equal_parts_that_hold_each_row():
    parts = micro.Parts(Rows(), n_parts=3)
    seen = [[tuple(row) for row in parts[i][0]] for i in range(len(parts))]
    assert [len(part) for part in seen] == [3, 3, 3, 3, 3, 3, 1, 1, 1]
    rows = [tuple(row) for row in Rows().x]
    assert set(sum(seen[:3], [])) == set(rows[:8])
    assert sum(seen[6:], []) == rows[16:]


@pytest.mark.parametrize(("n_rows", "n"), [(8, 2), (8, 3), (5, 4), (3, 8), (1, 2), (7, 1)])
def test_weights_undo_the_repeats(n_rows, n):
    values = np.random.default_rng(0).normal(size=n_rows)
    rows, weights = micro.level(np.arange(n_rows), n)
    assert len(rows) % n == 0 and len(rows) - n_rows < n
    assert list(rows[:n_rows]) == list(range(n_rows))
    means = [np.mean(part) for part in np.split(values[rows] * weights, n)]
    assert np.mean(means) == pytest.approx(values.mean())


def test_no_part_has_more_images_than_asked():
    assert micro.n_parts(256, 0) == 1
    assert micro.n_parts(256, 256) == micro.n_parts(256, 300) == 1
    assert micro.n_parts(256, 255) == 2
    assert micro.n_parts(256, 32) == 8


@pytest.mark.core
def test_one_compiled_trainer_takes_any_batch_size_in_parts(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)
    training.deterministic()
    data, shape = make_data(), ("tiny", "all", "flatten", SIZE)
    whole, cut = training.Trainer(*shape), training.Trainer(*shape, micro_batch=2)
    for batch_size in (7, 5):
        run = make_run(*shape[:2], classifier="flatten", batch_size=batch_size)
        expected, history, counts = whole.train(run, data, SETTINGS)
        found, cut_history, cut_counts = cut.train(run, data, SETTINGS)
        assert np.allclose(found.y_score, expected.y_score, atol=1e-5)
        assert np.allclose(cut_history.val_loss, history.val_loss, atol=1e-5)
        assert cut_counts["n_updates"] == counts["n_updates"] == 2 * math.ceil(16 / batch_size)
        assert int(cut.optimizer.iterations) == cut_counts["n_updates"]


@pytest.mark.slow
def test_a_whole_network_trains_in_parts_and_twice_the_same():
    training.deterministic()
    trainer = training.Trainer("resnet50", "all", image_size=SIZE, micro_batch=4)
    run = make_run(trainable="all", rate=1e-4)
    first, history, result = trainer.train(run, make_data(), SETTINGS)
    second, _, _ = trainer.train(run, make_data(), SETTINGS)
    assert np.isfinite(history.to_numpy(float)).all() and not result["diverged"]
    assert np.array_equal(first.y_score, second.y_score)


def test_less_than_no_images_at_once_is_refused():
    with pytest.raises(ValueError, match=r"`micro_batch` should be at least 0. Received: -1"):
        training.Trainer("resnet50", "head", image_size=SIZE, micro_batch=-1)
