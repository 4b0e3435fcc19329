import keras
import numpy as np
import pytest

from rin.pretraining import recipe, sampling
from rin.pretraining.recipe import Recipe


def rates(made, n, steps_per_epoch):
    plan = recipe.schedule(made, steps_per_epoch)
    return [float(keras.ops.convert_to_numpy(plan(step))) for step in range(n)]


def test_the_rate_grows_evenly_then_falls_along_a_cosine():
    seen = rates(Recipe(epochs=3, warmup_epochs=1, learning_rate=0.4), 12, 4)
    assert seen[:5] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-7)
    assert seen[8] == pytest.approx(0.2, abs=1e-7)  # half of the cosine
    assert seen[4:] == sorted(seen[4:], reverse=True) and seen[11] < 0.02


def test_without_a_warm_up_the_rate_begins_at_its_height():
    assert rates(Recipe(epochs=2, warmup_epochs=0, learning_rate=0.4), 1, 4) == pytest.approx([0.4])


def test_a_warm_up_of_all_epochs_leaves_one_update():
    seen = rates(Recipe(epochs=1, warmup_epochs=1, learning_rate=0.4), 4, 4)
    assert seen == pytest.approx([0, 0.4 / 3, 0.8 / 3, 0.4], abs=1e-6)


@pytest.mark.parametrize("name", recipe.OPTIMIZERS)
def test_weight_decay_shrinks_kernels_alone(name):
    layers = [keras.layers.Dense(2), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,)), *layers])
    made = recipe.optimizer(
        Recipe(epochs=1, optimizer=name, weight_decay=0.5, warmup_epochs=0, learning_rate=0.1), 9
    )
    made.build(model.trainable_variables)
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    zeros = [np.zeros(v.shape, np.float32) for v in model.trainable_variables]
    made.apply(zeros)
    after = {v.path.split("/")[-1]: float(np.mean(v.numpy())) for v in model.trainable_variables}
    assert after == pytest.approx({"kernel": 0.95, "bias": 1, "gamma": 1, "beta": 1})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer": "lamb"}, "`optimizer` should be one of"),
        ({"balance": "focal"}, "`balance` should be one of"),
        ({"augmentation": "huge"}, "`augmentation` should be one of"),
        ({"policies": ("auto_augment",)}, "`policies` should be among"),
        ({"preprocess": "vgg"}, "`preprocess` should be one of"),
        ({"precision": "float64"}, "`precision` should be one of"),
        ({"epochs": 0}, "`epochs` should be in 1"),
        ({"batch_size": 0}, "`batch_size` should be in 1"),
        ({"learning_rate": -1.0}, "`learning_rate` should be in 0"),
        ({"label_smoothing": 1.5}, "`label_smoothing` should be in 0 … 1"),
        ({"epochs": 3, "warmup_epochs": 4}, "`warmup_epochs` should be in 0 … 3"),
        ({"seed": -1}, "`seed` should be in 0"),
    ],
)
def test_a_recipe_says_what_is_wrong(given, said):
    with pytest.raises(ValueError, match=said):
        Recipe(**given)


def test_facts_survive_json():
    import json

    facts = Recipe(policies=["mix_up"]).facts()
    assert json.loads(json.dumps(facts)) == facts


def test_every_image_comes_once_an_epoch_in_a_keyed_order():
    rows, y = np.arange(10, 20), np.zeros(10, int)
    first, again = (sampling.order(rows, y, 1, 0) for _ in range(2))
    assert sorted(first) == list(rows) and (first == again).all()
    assert (first != sampling.order(rows, y, 1, 1)).any()
    assert (first != sampling.order(rows, y, 2, 0)).any()


def test_balanced_sampling_gives_classes_equal_shares():
    rows, y = np.arange(12), np.array([0] * 9 + [1] * 3)
    seen = sampling.order(rows, y, 0, 0, "sampling")
    assert np.bincount(y[seen]).tolist() == [6, 6]
    assert np.bincount(seen, minlength=12)[9:].tolist() == [2, 2, 2]  # the small class, twice
    assert np.bincount(seen, minlength=12)[:9].max() == 1


def test_half_the_power_takes_square_roots():
    y = np.array([0] * 16 + [1] * 4)
    seen = sampling.order(np.arange(20), y, 0, 0, "sampling", 0.5)
    assert sorted(np.bincount(y[seen]).tolist()) in ([6, 14], [7, 13])  # 4 : 2 of 20


def test_no_power_changes_nothing_but_the_order():
    y = np.array([0] * 6 + [1] * 2)
    assert sorted(sampling.order(np.arange(8), y, 0, 0, "sampling", 0.0)) == list(range(8))


def test_weights_make_classes_count_alike():
    weights = sampling.weights(np.array([0, 0, 0, 2]), 3)
    assert weights.tolist() == pytest.approx([2 / 3, 0, 2])
    assert sampling.weights(np.array([0, 0, 0, 2]), 3, 0.0).tolist() == [1, 0, 1]
