"""Views: the cut is found in any functional model, and what a view holds comes out again."""

import keras
import numpy as np
import pytest

from rin import backbones, views

pytestmark = pytest.mark.core
# Source: measured on Keras 3.15, 64 px
CUTS = {
    ("resnet50", "head"): [(2048,)],
    ("densenet121", "head"): [(1024,)],
    ("inception_v3", "head"): [(2048,)],
    ("inception_resnet_v2", "head"): [(1536,)],
    ("resnet50", "top10"): [(2, 2, 2048), (2, 2, 512)],
    ("densenet121", "top10"): [(2, 2, 992)],
}


def names(tensors):
    return [tensor._keras_history[0].name for tensor in tensors]


def dense(n, name, trainable=False):
    return keras.layers.Dense(n, name=name, trainable=trainable)


@pytest.mark.parametrize(("backbone", "trainable"), CUTS)
def test_the_cut_of_a_backbone_is_as_late_as_it_can_be(backbone, trainable):
    size = 75 if "inception" in backbone else 64
    model = backbones.build(backbone, None, trainable, image_size=size)
    found = [tuple(t.shape[1:]) for t in views.frontier(model)]
    assert sorted(found) == sorted(CUTS[backbone, trainable])


def test_a_flatten_head_is_cut_below_its_flatten_or_later():
    model = backbones.build("resnet50", None, "head", image_size=64, classifier="flatten")
    assert [t.shape[1:] for t in views.frontier(model)] == [(2 * 2 * 2048,)]


def test_a_layer_without_weights_is_frozen_whatever_its_flag():
    x = keras.Input((4,))
    y = keras.layers.Activation("relu", name="after")(dense(3, "frozen")(x))
    model = keras.Model(x, dense(2, "free", trainable=True)(y))
    assert names(views.frontier(model)) == ["after"]


def test_dropout_moves_although_it_has_no_weights():
    x = keras.Input((4,))
    y = keras.layers.Dropout(0.5)(dense(3, "frozen")(x))
    model = keras.Model(x, dense(2, "also frozen")(y))
    assert names(views.frontier(model)) == ["frozen"]


def test_a_frozen_branch_beside_a_free_one_is_handed_over_too():
    x = keras.Input((4,))
    a, b = dense(3, "a")(x), dense(3, "b")(x)
    free = dense(3, "free", trainable=True)(a)
    model = keras.Model(x, keras.layers.Add()([free, b]))
    assert names(views.frontier(model)) == ["a", "b"]


def test_a_frozen_layer_above_a_free_one_belongs_to_the_upper_part():
    x = keras.Input((4,))
    free = dense(3, "free", trainable=True)(dense(3, "below")(x))
    model = keras.Model(x, dense(2, "above")(free))
    assert names(views.frontier(model)) == ["below"]
    assert len(keras.Model(views.frontier(model), model.output).layers) == 3  # input, free, above


def test_a_frozen_batch_norm_is_a_constant_and_a_free_one_is_not():
    x = keras.Input((4,))
    for trainable, expected in ((False, "norm"), (True, "below")):
        norm = keras.layers.BatchNormalization(trainable=trainable, name="norm")
        model = keras.Model(x, dense(2, "free", trainable=True)(norm(dense(3, "below")(x))))
        assert names(views.frontier(model)) == [expected]


def test_a_nested_model_moves_if_any_layer_of_it_does():
    for trainable, expected in ((False, "inner"), (True, "below")):
        z = keras.Input((3,))
        inner = keras.Model(z, dense(3, "top", trainable)(dense(3, "base")(z)), name="inner")
        x = keras.Input((4,))
        model = keras.Model(x, dense(2, "free", trainable=True)(inner(dense(3, "below")(x))))
        assert names(views.frontier(model)) == [expected]


def test_a_layer_used_twice_is_cut_at_each_use():
    x = keras.Input((4,))
    shared = dense(4, "shared")
    once = shared(x)
    free = dense(4, "free", trainable=True)(once)
    model = keras.Model(x, keras.layers.Add()([free, shared(once)]))
    assert [t._keras_history[1] for t in views.frontier(model)] == [0, 1]


def test_a_model_whose_first_layer_trains_is_cut_at_its_input():
    x = keras.Input((4,))
    model = keras.Model(x, dense(2, "free", trainable=True)(x))
    (cut,) = views.frontier(model)
    assert cut is model.inputs[0]


def test_a_model_in_which_nothing_trains_is_refused():
    x = keras.Input((4,))
    with pytest.raises(ValueError, match="should have a layer that trains"):
        views.frontier(keras.Model(x, dense(2, "frozen")(x)))


def test_the_part_above_the_cut_gives_the_whole_models_output():
    model = backbones.build("densenet121", None, "top10", image_size=64)
    cut = views.frontier(model)
    x = np.random.default_rng(0).normal(size=(3, 64, 64, 3)).astype("float32")
    below, above = keras.Model(model.input, cut), keras.Model(cut, model.output)
    parts = above(below(x, training=False), training=False)
    assert np.array_equal(parts, model(x, training=False))


def test_what_moves_can_be_told_instead():
    model = backbones.build("densenet121", None, "top10", image_size=64)
    last = model.get_layer("classifier")
    cut = views.frontier(model, lambda o: o is last or views.draws(o))
    assert [t.shape[1:] for t in cut] == [(1024,)] and names(cut) == ["avg_pool"]


def tensors():
    return [keras.Input((3,)), keras.Input((2, 2))]


def counted(rows):
    """Row number r gives tensors full of r and of 10 r; two images at a time."""
    for at in range(0, len(rows), 2):
        part = np.array(rows[at : at + 2], dtype="float32")
        yield [np.tile(part[:, None], 3), 10 * np.tile(part[:, None, None], (2, 2))]


def test_a_view_gives_back_what_it_holds_in_the_order_asked(tmp_path):
    view = views.View(tensors(), 5, tmp_path)
    assert view.fill([3, 9, 4], 0, counted) == 3
    first, second = view.take([4, 3], [0, 1])
    assert np.array_equal(first, [[4] * 3, [3] * 3]) and first.dtype == np.float32
    assert np.array_equal(second[1], [[30, 30], [30, 30]])
    (only,) = view.take([9], [1])
    assert np.array_equal(only, [[[90, 90], [90, 90]]])


def test_what_is_held_is_not_computed_again_and_another_epoch_is(tmp_path):
    view = views.View(tensors(), 5, tmp_path)
    assert [view.fill(rows, key, counted) for rows, key in [
        ([1, 2, 3], 0), ([3, 1], 0), ([3, 1], 1), ([1, 2], 1), ([1], 1),
    ]] == [3, 0, 2, 2, 0]  # fmt: skip


def test_a_failed_fill_leaves_nothing_that_looks_whole(tmp_path):
    view = views.View(tensors(), 5, tmp_path)

    def failing(rows):
        yield next(counted(rows))
        raise RuntimeError("the device went away")

    with pytest.raises(RuntimeError):
        view.fill([1, 2, 3], 0, failing)
    assert view.fill([1, 2, 3], 0, counted) == 3


def test_the_files_have_no_name_so_nothing_is_left_behind(tmp_path, monkeypatch):
    view = views.View(tensors(), 5, tmp_path / "bank")
    view.fill([1], 0, counted)
    assert not list((tmp_path / "bank").iterdir())
    monkeypatch.setenv("RIN_SCRATCH", str(tmp_path / "fast"))
    views.View(tensors(), 5, tmp_path / "other")
    assert (tmp_path / "fast").is_dir() and not (tmp_path / "other").exists()
