"""Estimates: passes, rates and bytes that can be checked by hand."""

import numpy as np
import pandas as pd
import pytest

from rin import estimate
from rin.scenarios import BACKBONES

PARAMS = {
    "task": "pneumonia",
    "data_dir": "",
    "n_phantoms": 100,
    "protocol": "",  # 75/10/15, the task's own
    "image_size": 256,
    "backbones": ["resnet50"],
    "classifier": "gap",
    "inits": ["random"],
    "preprocesses": ["official"],
    "trainables": ["head"],
    "learning_rates": {"head": [1e-2]},
    "batch_sizes": [16],
    "folds": [0],
    "seeds": [0],
    "epochs": 2,
    "augmentation": "official",
    "bank_gib": 16.0,
}
ROWS = [
    ("2 CPU cores", "resnet50", 256, "forward", 10.0),
    ("2 CPU cores", "resnet50", 64, "forward", 100.0),
    ("2 CPU cores", "inception_v3", 256, "forward", 7.0),
    ("2 CPU cores", "resnet50", 256, "train_all", 2.0),
    ("2 CPU cores", "resnet50", 256, "head", 1000.0),
    ("2 CPU cores", "resnet50", 256, "top10", 100.0),
    ("NVIDIA A", "resnet50", 256, "forward", 900.0),
    ("NVIDIA B", "resnet50", 256, "forward", 2000.0),
]
TABLE = pd.DataFrame(
    ROWS, columns=["hardware", "backbone", "image_size", "kind", "images_per_second"]
)
CPU = estimate.Rates(TABLE)


START_S = estimate.START_S + estimate.TRACE_S["head"]


def cost(**changed):
    params = PARAMS | changed
    return estimate.cost(params, estimate.runs(params), estimate.n_images(params), CPU)


def test_a_rate_grows_as_pixels_shrink_from_the_nearest_size_measured():
    assert CPU.per_second("forward", "resnet50", 256) == 10
    assert CPU.per_second("forward", "resnet50", 512) == pytest.approx(2.5)
    assert CPU.per_second("forward", "resnet50", 96) == pytest.approx(100 * (64 / 96) ** 2)


def test_a_backbone_that_was_not_measured_is_resnet50_by_its_multiply_adds():
    assert CPU.per_second("forward", "densenet121", 256) == pytest.approx(10 * 5036 / 3700)
    assert CPU.per_second("forward", "inception_v3", 256) == 7  # its own row
    assert CPU.per_second("head", "densenet121", 256) == pytest.approx(2000)  # half the features
    flat = CPU.per_second("head", "resnet50", 256, classifier="flatten")
    assert flat == pytest.approx(1000 / 64)  # 8 x 8 positions in place of their mean


def test_rates_come_from_the_hardware_that_is_most_like_ours():
    assert estimate.Rates(TABLE).hardware == "2 CPU cores"
    assert estimate.Rates(TABLE, ["NVIDIA B"]).hardware == "NVIDIA B"
    assert estimate.Rates(TABLE, ["NVIDIA C"]).hardware == "NVIDIA A"  # any is nearer than a CPU
    assert estimate.Rates(TABLE[:6], ["NVIDIA C"]).hardware == "2 CPU cores"


def test_a_rate_nobody_measured_is_an_error_that_says_how_to_measure_it():
    with pytest.raises(ValueError, match="head rate of resnet50.*'NVIDIA A'.*measure_rates.py"):
        estimate.Rates(TABLE, ["NVIDIA A"]).per_second("head", "resnet50", 256)


def test_a_bank_makes_one_pass_for_the_plain_view_and_one_an_epoch():
    # 25 held-out images once, 75 training images twice; then the head: 2 x 85 + 15 images
    seconds = START_S + (25 + 2 * 75) / 10 + (2 * 85 + 15) / 1000
    assert cost().seconds == pytest.approx(seconds)
    # a second learning rate adds a head, not a pass
    two = cost(learning_rates={"head": [1e-2, 1e-3]}).seconds
    assert two - cost().seconds == pytest.approx(185 / 1000)


def test_without_augmentation_one_pass_serves_all_epochs():
    seconds = START_S + 100 / 10 + 185 / 1000
    assert cost(augmentation="none").seconds == pytest.approx(seconds)


def test_five_folds_share_the_passes():
    # every image is held out in one fold and trains in another: 1 + 2 passes of 100 images
    shown = 2 * (72 + 8) + 20
    seconds = START_S + 300 / 10 + 5 * shown / 1000
    assert cost(protocol="5-fold", folds=[0, 1, 2, 3, 4]).seconds == pytest.approx(seconds)


def test_a_bank_over_its_budget_is_streamed_fold_by_fold_and_without_one_run_by_run():
    both = {"folds": [0, 1], "protocol": "5-fold", "learning_rates": {"head": [1e-2, 1e-3]}}
    shown = 2 * (72 + 8) + 20
    heads = 4 * shown / 1000
    streamed = cost(**both, bank_gib=100 * 8192 / 2**30)
    assert streamed.seconds == pytest.approx(START_S + 2 * shown / 10 + heads)
    assert streamed.bank_bytes == 100 * 8192
    alone = cost(**both, bank_gib=0.0)
    assert alone.seconds == pytest.approx(START_S + 4 * shown / 10 + heads)
    assert alone.bank_bytes == 0


def test_runs_that_train_all_layers_pay_each_epoch_anew():
    found = cost(trainables=["all"], learning_rates={"all": [1e-3, 1e-4]})
    one = 2 * 75 / 2 + (2 * 10 + 15) / 10
    start = estimate.START_S + estimate.TRACE_S["all"]
    assert found.seconds == pytest.approx(start + 2 * one)
    assert found.bank_bytes == 0


def test_the_disk_holds_predictions_and_for_a_while_both_views():
    found = cost(trainables=["head", "top10"], learning_rates={"head": [1e-2], "top10": [1e-2]})
    assert found.kept_bytes == 2 * (25 * estimate.ROW_BYTES + estimate.RUN_BYTES)
    assert found.bank_bytes == 100 * (8192 + 655_360)  # 25 plain, 75 augmented images
    assert cost().bank_bytes == 100 * 8192
    assert estimate.store_bytes(PARAMS, 100) == 100 * 256 * 256


def test_nothing_left_to_train_takes_a_start_only():
    assert estimate.cost(PARAMS, [], 100, CPU) == estimate.Cost(estimate.START_S, 0, 0)


def test_images_are_counted_from_the_settings_or_the_registry_never_read(tmp_path):
    assert estimate.n_images(PARAMS) == 100
    real = PARAMS | {"data_dir": str(tmp_path), "task": "breast"}
    assert estimate.n_images(real) == 780
    assert estimate.n_images(real | {"task": "pediatric"}) == 5856
    assert estimate.n_images(real | {"task": "folder"}) is None


def test_the_study_has_six_scenarios_a_backbone_in_every_fold_and_init():
    params = PARAMS | {"trainables": ["head", "top10", "all"], "learning_rates": {}}
    params |= {"folds": [0, 1, 2, 3, 4], "inits": ["radimagenet", "imagenet", "random"]}
    names = [one.name for one in estimate.runs(params)]
    assert len(names) == 6 * 5 * 3 == len(set(names))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", estimate.KINDS)
def test_the_rates_that_ship_serve_every_backbone_and_kind(kind, backbone):
    assert 0 < estimate.rates().per_second(kind, backbone, 224) < 1e6


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_work_of_a_backbone_is_what_its_graph_says(backbone):
    import keras

    from rin import backbones, views

    keras.backend.clear_session()
    network = backbones.build(backbone, trainable="top10")
    layers = [layer for layer in network.layers if hasattr(layer, "kernel")]
    # a convolution meets its kernel at every position of its output, a dense layer once
    n = sum(int(np.prod(la.kernel.shape)) * int(np.prod(la.output.shape[1:-1])) for la in layers)
    last = backbones.build(backbone, classifier="flatten").get_layer("flatten").input.shape
    cut = views.n_bytes(views.frontier(network))
    found = estimate.Work(round(n / 1e6), last[-1], last[1] * last[2], cut)
    assert found == estimate.WORK[backbone]
