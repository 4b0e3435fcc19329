"""Banked networks: what is trained above the cut is what the whole network would have become."""

import keras
import numpy as np
import pytest
from tiny import SIZE, make_data, make_run

from rin import backbones, banked, epochwise, training, views
from rin.runs import Settings

# float32 rounding, seen on two CPU cores: 0 but for ResNet50's top10 (1.4e-5 after four epochs)
TOLERANCE = 1e-4
SETTINGS = Settings(epochs=3)


def banked_states(networks, runs, data, settings, folder, gib=1):
    image_bytes = views.n_bytes(networks.tensors)
    plan = epochwise.plan(runs, data, settings, image_bytes, folder)
    group = epochwise.Group(networks, runs, data, settings, plan, folder)
    return group.train(), group.states


def feeds_a_batch_norm(network):
    """Paths of biases whose effect batch norm cancels, so that Adam steps on rounding alone."""
    found = set()
    for layer in network.layers:
        after = [node.operation for node in layer._outbound_nodes]
        norms = [o for o in after if isinstance(o, keras.layers.BatchNormalization)]
        if norms and getattr(layer, "bias", None) is not None:
            found.add(layer.bias.path)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backbone", backbones.BACKBONES)
def test_banked_runs_end_as_the_plain_path_does(backbone, tmp_path):
    """Two folds at two rates side by side, three epochs; batch norm and dropout included."""
    training.deterministic()
    size = 75 if "inception" in backbone else SIZE
    data = make_data(size)
    runs = [
        make_run(backbone, free, rate, fold)
        for free, rate in (("head", 1e-2), ("head", 1e-3), ("top10", 1e-3))
        for fold in (0, 1)
    ]
    networks = banked.Networks(backbone, image_size=size)
    tables, states = banked_states(networks, runs, data, SETTINGS, tmp_path)
    for free, i in (("head", 1), ("top10", 5)):  # fold 1, trained after others of its kind
        networks.reset(runs[i])  # what the other cut left in layers that this one does not free
        trainer = training.Trainer(backbone, free, "gap", size)
        predictions, history, result = trainer.train(runs[i], data, SETTINGS)
        assert np.abs(tables[i][0].y_score - predictions.y_score).max() <= TOLERANCE
        assert np.allclose(tables[i][1], history, atol=TOLERANCE)
        same = ("best_epoch", "n_updates", "n_trainable", "n_train", "n_val", "n_test")
        assert all(tables[i][2][key] == result[key] for key in same)
        top = networks.tops[free]
        top.assign(states[i].outcome.best["state"])
        noise = feeds_a_batch_norm(trainer.network)
        pairs = zip(trainer.network.weights, networks.network.weights, strict=True)
        for plain, held in ((a, b) for a, b in pairs if a.path not in noise):
            assert np.allclose(plain.numpy(), held.numpy(), atol=TOLERANCE), plain.path


@pytest.fixture(scope="module")
def networks():
    training.deterministic()
    return banked.Networks("resnet50", image_size=SIZE)


def test_both_cuts_come_from_one_pass(networks):
    images = make_data().images[:5]
    found = networks.forward(images)
    shapes = [(5, *t.shape[1:]) for t in networks.tensors]
    assert [array.shape for array in found] == shapes
    head, top10 = networks.which["head"], networks.which["top10"]
    assert len(head) == 1 and len(top10) == 2 and len(networks.tensors) == 3
    assert found[head[0]].shape == (5, 2048)


def test_an_augmented_view_differs_and_the_identity_does_not(networks):
    images = make_data().images[:3]
    networks.reset(make_run())
    identity = np.tile(epochwise.IDENTITY, (3, 1))
    moved = identity + np.float32([0, 0, 4, 0, 0, 0, 0, 0])
    plain = networks.forward(images)
    assert np.array_equal(networks.forward(images, identity)[0], plain[0])
    assert not np.allclose(networks.forward(images, moved)[0], plain[0], atol=1e-6)


def test_weights_and_optimizer_of_one_run_do_not_reach_the_next(networks, tmp_path):
    data, settings = make_data(), Settings(epochs=2)
    first, second = make_run(trainable="top10"), make_run(trainable="top10", fold=1)
    together, _ = banked_states(networks, [first, second], data, settings, tmp_path)
    alone, _ = banked_states(networks, [second], data, settings, tmp_path)
    assert together[1][0].equals(alone[0][0]) and together[1][1].equals(alone[0][1])


def test_seeds_and_preprocesses_share_the_compiled_networks(networks, tmp_path):
    data, settings = make_data(), Settings(epochs=1)
    scores = {}
    for key in ({"seed": 0}, {"seed": 1}, {"preprocess": "unit"}, {"seed": 0}):
        run = make_run()
        run = type(run)(**{**run.__dict__, **key})
        ((predictions, _, _),), _ = banked_states(networks, [run], data, settings, tmp_path)
        again = scores.setdefault(str(key), predictions)
        assert again.equals(predictions)
    assert len({tuple(s.y_score) for s in scores.values()}) == 3
