"""Objectives: the loss that is trained and watched is the one that is named, on every backend."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import tiny_network
from scipy import special
from tiny import SETTINGS, SIZE, make_data, make_run

from rin import backbones, objectives, records, runs, stats, training
from rin.outcomes import order, rows_of

LOGITS = np.array([[2.0, -1.0], [0.3, 0.9], [-4.0, 3.0], [30.0, -30.0]], np.float32)
Y = np.array([0, 0, 1, 1])
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="what TensorFlow makes of the published code"
)


def by_hand(name, y, logits):
    """Mean loss and its gradient by the logits, in float64."""
    target, z = np.eye(2)[y], logits.astype(float)
    if name == "stated":
        return np.mean(special.logsumexp(z, axis=1) - z[range(len(y)), y]), (
            special.softmax(z, axis=1) - target
        ) / len(y)
    each = np.logaddexp(0, z) - target * z
    return each.mean(), (special.expit(z) - target) / (2 * len(y))


def head(activation=None, bias=(0.7, -1.1), n_features=2):
    """A dense layer of two units with biases that are not zero."""
    x = keras.Input((n_features,))
    model = keras.Model(x, keras.layers.Dense(2, activation)(x))
    kernel = np.random.default_rng(1).normal(size=(n_features, 2))
    model.set_weights([kernel.astype(np.float32), np.array(bias, np.float32)])
    return model


def overlapping(n=2000):
    """Two features, shifted by the class."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    return (rng.normal(size=(n, 2)) + 0.6 * y[:, None]).astype(np.float32), y


@pytest.mark.core
@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_the_loss_is_its_formula_far_beyond_saturation_too(name):
    found = objectives.mean_loss(objectives.loss(name), Y, LOGITS)
    assert found == pytest.approx(by_hand(name, Y, LOGITS)[0], rel=1e-6)


@pytest.mark.core
def test_a_flatten_head_has_two_sigmoids_whatever_the_objective():
    for name in objectives.OBJECTIVES:
        found = objectives.mean_loss(objectives.loss(name, "flatten"), Y, LOGITS)
        assert found == pytest.approx(by_hand("official", Y, LOGITS)[0], rel=1e-6)
    assert np.allclose(objectives.probabilities(LOGITS, "flatten"), special.expit(LOGITS))
    assert np.allclose(objectives.probabilities(LOGITS).sum(axis=1), 1)


@pytest.mark.core
def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match=r"`objective` should be one of .* Received: .*'other'"):
        objectives.loss("other")


@on_tensorflow
def test_official_is_what_plain_keras_trains_and_evaluates_on_tensorflow():
    """The published line, `compile("adam", "binary_crossentropy")`, over a softmax."""
    x, y = overlapping(64)
    plain, ours = head("softmax"), head()
    plain.compile("adam", "binary_crossentropy", jit_compile=False)
    ours.compile("adam", objectives.loss("official"), jit_compile=False)
    classes = objectives.one_hot(y)

    def evaluated(model):
        return model.evaluate(x, classes, batch_size=16, verbose=0)

    softmax = special.softmax(ours.predict(x, verbose=0), axis=1)
    stated = -np.log(softmax[range(64), y]).mean()
    assert evaluated(plain) == pytest.approx(evaluated(ours), abs=1e-6)
    assert evaluated(plain) == pytest.approx(
        objectives.mean_loss(objectives.loss(), y, ours.predict(x, verbose=0)), abs=1e-6
    )
    assert abs(evaluated(plain) - stated) > 0.05  # it is not the loss it seems to be
    for model in (plain, ours):
        model.fit(x, classes, batch_size=16, epochs=5, shuffle=False, verbose=0)
    for theirs, mine in zip(plain.get_weights(), ours.get_weights(), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)
    assert evaluated(plain) == pytest.approx(evaluated(ours), abs=1e-6)


@pytest.mark.core
@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_training_takes_the_steps_of_adam_by_hand_on_every_backend(name):
    """Equal to float64 numpy to 1e-5, and so TensorFlow and JAX are equal to each other."""
    x, y = overlapping(64)
    model = head()
    values = [w.astype(float) for w in model.get_weights()]
    model.compile(keras.optimizers.Adam(1e-2), objectives.loss(name))
    moments = [[np.zeros_like(w), np.zeros_like(w)] for w in values]
    for step in range(1, 11):
        loss = float(model.train_on_batch(x, objectives.one_hot(y)))
        model.reset_metrics()
        expected, gradient = by_hand(name, y, x @ values[0] + values[1])
        assert loss == pytest.approx(expected, abs=1e-5)
        for w, m, g in zip(values, moments, (x.T @ gradient, gradient.sum(axis=0)), strict=True):
            m[0], m[1] = 0.9 * m[0] + 0.1 * g, 0.999 * m[1] + 0.001 * g * g
            w -= 1e-2 * (m[0] / (1 - 0.9**step)) / (np.sqrt(m[1] / (1 - 0.999**step)) + 1e-7)
    for found, expected in zip(model.get_weights(), values, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("name", "slope"), [("official", 0.5), ("stated", 1.0)])
def test_log_odds_come_out_doubled_under_the_official_objective(name, slope):
    """Trained to convergence without dropout: the in-sample calibration slope is ½, or 1."""
    x, y = overlapping()
    model = head()
    model.compile(keras.optimizers.Adam(0.05), objectives.loss(name), jit_compile=False)
    model.fit(x, objectives.one_hot(y), batch_size=len(y), epochs=400, shuffle=False, verbose=0)
    p = objectives.probabilities(model.predict(x, verbose=0).astype(float))[:, 1]
    assert stats.calibration(y, p).slope == pytest.approx(slope, abs=0.01)


@pytest.mark.parametrize("path", [{}, {"bank_gib": 0}, {"trainable": "all"}, {"micro_batch": 4}])
def test_every_path_watches_and_keeps_by_the_objective_asked_for(path, tmp_path, monkeypatch):
    """On the bank, alone, whole networks and in parts: val predictions give the loss again."""
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)
    path = {"trainable": "all" if "micro_batch" in path else "head"} | path
    run, data = make_run("tiny", path.pop("trainable"), 1e-2), make_data()
    losses = {}
    for name in objectives.OBJECTIVES:
        settings = replace(SETTINGS, objective=name, epochs=3, **path)
        (home,) = runs.train_all([run], data, settings, tmp_path / name)
        losses[name] = records.training_runs(tmp_path / name).iloc[0]
        assert losses[name].objective == name == records.read(home)["settings"]["objective"]
        assert losses[name].val_loss == pd.read_parquet(home / "history.parquet").val_loss.min()
    val = pd.read_parquet(home / "predictions.parquet").query("split == 'val'")
    of_the_truth = val.y_score.where(val.y_true == 1, val.y_score_negative)
    assert losses["stated"].val_loss == pytest.approx(-np.log(of_the_truth).mean(), rel=1e-5)
    assert abs(losses["official"].val_loss - losses["stated"].val_loss) > 1e-3


def test_runs_of_before_the_objective_was_named_are_refused(tmp_path):
    record = {"kind": "training", "fingerprint": "f", "run": {"task": "breast"}, "result": {}}
    records.write(tmp_path / "breast" / "one", record | {"settings": {"epochs": 30}})
    with pytest.raises(
        ValueError, match=r"1 of 1 runs \(breast.one\) without .* Delete these and train"
    ):
        records.training_runs(tmp_path)


@on_tensorflow
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backbone", backbones.BACKBONES)
def test_the_kept_epoch_is_that_of_keras_own_checkpoint(backbone, tmp_path):
    """A head trained by the published lines with `ModelCheckpoint`, beside ours on the bank."""
    training.deterministic()
    size = 75 if "inception" in backbone else SIZE
    data = make_data(size)
    data = replace(data, y=np.random.default_rng(3).integers(0, 2, len(data.y)))  # to overfit
    run, how = make_run(backbone, rate=0.3), replace(SETTINGS, epochs=6, augmentation="none")
    (home,) = runs.train_all([run], data, how, tmp_path)
    ours = records.training_runs(tmp_path).iloc[0]

    keras.utils.set_random_seed(run.seed)
    network = backbones.build(backbone, None, "head", image_size=size)
    pooled = network.get_layer("dropout").input
    fed = backbones.preprocess(data.images[..., None], "official", backbone)
    features = keras.Model(network.input, pooled).predict(fed, verbose=0)
    plain, rows = keras.Model(pooled, network.output), rows_of(data, 0)
    plain.compile(keras.optimizers.Adam(0.3), "binary_crossentropy", jit_compile=False)
    file = str(tmp_path / "{epoch}.weights.h5")
    keeper = keras.callbacks.ModelCheckpoint(file, save_best_only=True, save_weights_only=True)
    losses = []
    for epoch in range(how.epochs):
        train, val = order(rows["train"], run.seed, epoch), rows["val"]
        history = plain.fit(
            features[train],
            objectives.one_hot(data.y[train]),
            batch_size=run.batch_size,
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
            validation_data=(features[val], objectives.one_hot(data.y[val])),
            callbacks=[keeper],
            verbose=0,
        )
        losses += history.history["val_loss"]
    saved = max(int(f.name.split(".")[0]) for f in tmp_path.glob("*.weights.h5")) - 1
    watched = pd.read_parquet(home / "history.parquet").val_loss
    assert list(watched) == pytest.approx(losses, rel=1e-4)
    assert ours["best_epoch"] == saved == int(np.argmin(losses))
    assert ours["val_loss"] == pytest.approx(min(losses), rel=1e-4)
    assert len(set(np.sign(np.diff(losses)))) > 1  # it rose and fell: there was a choice
