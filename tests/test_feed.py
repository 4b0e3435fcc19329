"""What the network is fed: the same from a store, a device or Keras's own functions, exactly."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import tiny_network
from tiny import SETTINGS, SIZE, make_data, make_run

from rin import augment, backbones, devices, feed, objectives, training

IDS = [f"{n:016x}" for n in (3, 14, 159)]
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="about TensorFlow's graphs alone"
)


def pictures(n=3, size=12):
    return np.random.default_rng(0).integers(0, 256, (n, size, size), dtype=np.uint8)


def model_of(layer, size=12):
    images, maps = feed.inputs(size)
    return keras.Model([images, maps], layer(images, maps))


def tiny_run(**other):
    return make_run("tiny", "all", **other)


@pytest.fixture(scope="module")
def tiny():
    """A backbone that is compiled in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)
        yield "tiny"


@pytest.fixture(scope="module")
def trained(tiny):
    """The trainer and tables of one run, images fed batch by batch; the same, images held."""
    training.deterministic()
    found = []
    for resident in (False, True):
        trainer = training.Trainer(tiny, "all", image_size=SIZE, resident=resident)
        found.append((trainer, *trainer.train(tiny_run(batch_size=5), make_data(), SETTINGS)))
    return found


@pytest.mark.core
@pytest.mark.parametrize("mode", backbones.PREPROCESSES)
@pytest.mark.parametrize("backbone", backbones.BACKBONES)
def test_feed_is_preprocess_inside_the_graph(mode, backbone):
    images = pictures()
    layer = feed.Feed()
    graph = keras.Sequential([keras.Input((12, 12), dtype="uint8"), layer])
    layer.choose(mode, backbone)
    expected = np.asarray(backbones.preprocess(images[..., None], mode, backbone))
    assert np.allclose(graph.predict(images, verbose=0), expected, atol=1e-6)


@pytest.mark.core
def test_one_feed_serves_every_preprocess_in_turn():
    layer = feed.Feed()
    graph = keras.Sequential([keras.Input((12, 12), dtype="uint8"), layer])
    for mode in ("unit", "official", "unit"):
        layer.choose(mode, "resnet50")
        expected = np.asarray(backbones.preprocess(pictures()[..., None], mode, "resnet50"))
        assert np.allclose(graph.predict(pictures(), verbose=0), expected, atol=1e-6)


@pytest.mark.core
def test_augmentation_inside_the_graph_is_the_eager_one():
    images, layer = pictures(), feed.Feed()
    maps = feed.maps(augment.RANGES["small"], IDS, epoch=3, seed=1, image_size=12)
    seen = model_of(layer).predict([images, maps], verbose=0)
    eager = np.asarray(augment.apply(images[..., None].astype("float32"), maps))
    assert np.allclose(seen, np.repeat(eager, 3, axis=-1), atol=1e-3)  # of 255
    assert not np.allclose(seen[..., 0], images, atol=1)


@pytest.mark.core
def test_the_plain_view_is_exactly_the_stored_pixels():
    layer = feed.Feed()
    graph = keras.Sequential([keras.Input((12, 12), dtype="uint8"), layer])
    assert np.array_equal(graph.predict(pictures(), verbose=0)[..., 1], pictures())


@pytest.mark.core
def test_val_and_test_are_predicted_from_the_stored_pixels(trained):
    trainer, predictions, _, _ = trained[0]
    test = predictions[predictions.split == "test"]
    stored = make_data().images[test.row]
    x = backbones.preprocess(stored[..., None], "official", "tiny")
    scores = objectives.probabilities(trainer.network.predict(np.asarray(x), verbose=0))
    assert np.allclose(test.y_score, scores[:, 1], atol=1e-6)


@pytest.mark.core
def test_batches_hold_the_asked_rows_and_only_training_ones_have_maps():
    data, rows = make_data(), np.array([5, 2, 9, 11, 0])
    plain, y = feed.Batches(data, rows, batch_size=2)[1]
    assert np.array_equal(plain, data.images[[9, 11]])
    assert np.array_equal(y, [[0, 1], [0, 1]])
    ranges = augment.RANGES["small"]
    (images, maps), _ = feed.Batches(data, rows, 2, ranges, epoch=4, seed=1)[2]
    assert np.array_equal(images, data.images[[0]])
    ids = data.image_ids[[0]]
    assert np.array_equal(maps, feed.maps(ranges, ids, epoch=4, seed=1, image_size=SIZE))


@pytest.mark.core
def test_resident_images_are_fed_by_their_row_numbers():
    data = make_data()
    images, _ = feed.Batches(data, np.array([5, 2]), 2, resident=True)[0]
    assert images.dtype == np.int32 and list(images) == [5, 2]
    layer = feed.Resident(data.images)
    graph = keras.Sequential([keras.Input((), dtype="int32"), layer])
    assert np.array_equal(graph.predict(images, verbose=0), data.images[[5, 2]])
    assert layer.images.dtype == "uint8" and not layer.trainable_variables


@pytest.mark.core
def test_images_on_the_device_and_fed_ones_give_equal_results(trained):
    (_, *fed), (_, *held) = trained
    exact = {"check_exact": True} if keras.backend.backend() == "tensorflow" else {"atol": 1e-6}
    pd.testing.assert_frame_equal(fed[0], held[0], **exact)
    pd.testing.assert_frame_equal(fed[1], held[1], **exact)


@pytest.mark.core
def test_other_images_take_the_place_of_those_on_the_device(trained):
    (fed, *_), (held, *_) = trained
    other = replace(make_data(n=36), fingerprint="other")
    tables = [trainer.train(tiny_run(), other, SETTINGS)[0] for trainer in (fed, held)]
    assert np.allclose(tables[0].y_score, tables[1].y_score, atol=1e-6)
    again, _, _ = held.train(tiny_run(batch_size=5), make_data(), SETTINGS)
    assert np.allclose(again.y_score, trained[1][1].y_score, atol=1e-6)


@on_tensorflow
def test_rows_are_gathered_from_the_variable_itself_not_from_a_copy():
    """The other gather has no uint8 kernel for a GPU."""
    import tensorflow

    layer = feed.Resident(pictures())
    layer(np.array([0], dtype=np.int32))
    graph = tensorflow.function(layer).get_concrete_function(
        tensorflow.TensorSpec((None,), "int32")
    )
    operations = {operation.type for operation in graph.graph.get_operations()}
    assert "ResourceGather" in operations
    assert not operations & {"GatherV2", "ReadVariableOp"}


def test_images_stay_on_an_accelerator_alone_and_only_if_they_fit(monkeypatch):
    images = pictures()
    monkeypatch.setattr(devices, "accelerated", lambda: False)
    assert not feed.is_resident(images)
    assert feed.is_resident(images, asked=True)
    monkeypatch.setattr(devices, "accelerated", lambda: True)
    assert feed.is_resident(images)
    assert not feed.is_resident(images, asked=False)
    monkeypatch.setattr(feed, "RESIDENT_GIB", (images.nbytes - 1) / 2**30)
    assert not feed.is_resident(images)


@on_tensorflow
def test_another_fold_rate_batch_size_or_dataset_is_not_traced_again(tiny, monkeypatch):
    """A trace calls each layer of the graph once, in Python."""
    traces, call = [], feed.Feed.call
    monkeypatch.setattr(feed.Feed, "call", lambda *a, **k: (traces.append(1), call(*a, **k))[1])
    trainer = training.Trainer(tiny, "all", image_size=SIZE)
    trainer.train(tiny_run(batch_size=3), make_data(), SETTINGS)  # a last batch of one image
    n_first = len(traces)
    for run in (tiny_run(fold=1), tiny_run(rate=1e-4, batch_size=5), tiny_run(seed=1)):
        trainer.train(run, make_data(n=36), SETTINGS)
    assert n_first and len(traces) == n_first
