"""The 24 scenarios, and the names and facts of a run."""

import json
import re

import pytest

from rin import scenarios
from rin.scenarios import Run, Scenario

# Source: the paper's Methods and the official README; written out, not derived
RATES = [
    ("all", "1e-03"),
    ("all", "1e-04"),
    ("head", "1e-02"),
    ("head", "1e-03"),
    ("top10", "1e-02"),
    ("top10", "1e-03"),
]
BACKBONES = ["inception_resnet_v2", "resnet50", "densenet121", "inception_v3"]


def all_runs():
    return [
        Run(task, init, preprocess, scenario, fold, seed, classifier)
        for task in ("breast",)
        for init in ("radimagenet", "imagenet", "random", "weights/mine.v2.h5")
        for preprocess in ("official", "native")
        for scenario in scenarios.grid()
        for fold in range(5)
        for seed in (0, 1)
        for classifier in ("gap", "flatten")
    ]


def test_the_grid_is_the_24_scenarios_of_the_study():
    expected = {f"{backbone}-{t}-{rate}" for backbone in BACKBONES for t, rate in RATES}
    found = [str(scenario) for scenario in scenarios.grid()]
    assert len(found) == 24 and set(found) == expected


@pytest.mark.parametrize("trainable", ["all", "head", "top10"])
def test_layers_that_all_train_get_smaller_steps(trainable):
    found = {s.learning_rate for s in scenarios.grid() if s.trainable == trainable}
    assert found == ({1e-3, 1e-4} if trainable == "all" else {1e-2, 1e-3})


def test_a_part_of_the_grid_can_be_asked_for():
    assert scenarios.grid(["resnet50"], {"head": [1e-2], "all": [1]}) == [
        Scenario("resnet50", "head", 0.01),
        Scenario("resnet50", "all", 1.0),
    ]


@pytest.mark.parametrize(
    ("backbones", "rates", "named"),
    [
        (["resnet50", "vgg16"], None, "vgg16"),
        (["ResNet50"], None, "ResNet50"),
        (["resnet50"], {"top5": [1e-3]}, "top5"),
    ],
)
def test_unknown_names_are_refused(backbones, rates, named):
    with pytest.raises(ValueError, match=rf"should be among .*Received: \['{named}'\]"):
        scenarios.grid(backbones, rates)


def test_every_run_has_a_name_of_its_own():
    names = [run.name for run in all_runs()]
    assert len(set(names)) == len(names) == 4 * 2 * 24 * 5 * 2 * 2


def test_a_run_name_is_safe_as_a_folder_name():
    for run in all_runs():
        assert re.fullmatch(r"[a-z0-9_-]+", run.name) and len(run.name) < 100


@pytest.mark.parametrize("init", ["/home/me/weights/mine.h5", r"C:\me\mine.weights.h5", "mine.h5"])
def test_the_path_of_an_init_stays_out_of_names_and_tables(init):
    run = Run("breast", init, "official", scenarios.grid()[0], 0)
    rest = "official-inception_resnet_v2-all-1e-03-gap-fold0-seed0-batch256"
    assert re.fullmatch(rf"mine-[0-9a-f]{{6}}-{rest}", run.name)
    assert run.name.startswith(run.facts()["init"])
    elsewhere = Run("breast", f"other/{init}", "official", scenarios.grid()[0], 0)
    assert elsewhere.name != run.name


def test_files_of_several_backbones_in_one_folder_are_one_init():
    names = [
        Run("breast", f"w/Pretrained-{network}_notop.h5", "official", None, 0).init_name
        for network in ("ResNet50", "DenseNet121", "InceptionV3", "IRV2")
    ]
    assert len(set(names)) == 1 and re.fullmatch(r"Pretrained-[0-9a-f]{6}", names[0])
    elsewhere = Run("breast", "v/Pretrained-ResNet50_notop.h5", "official", None, 0)
    assert elsewhere.init_name != names[0]


def test_a_weight_file_is_one_more_init_of_its_backbone():
    files = {"resnet50": "w.h5"}
    assert scenarios.inits_of("resnet50", ["random"], files) == ["random", "w.h5"]
    assert scenarios.inits_of("densenet121", ["random"], files) == ["random"]


def test_rates_that_round_to_the_same_digit_keep_names_of_their_own():
    names = {str(scenarios.Scenario("resnet50", "head", rate)) for rate in (1.5e-3, 2e-3, 1e-3)}
    assert names == {f"resnet50-head-{rate}" for rate in ("0.0015", "2e-03", "1e-03")}


def test_facts_survive_json_and_give_the_run_again():
    for scenario in scenarios.grid():
        run = Run("breast", "radimagenet", "official", scenario, 3, seed=7, classifier="flatten")
        facts = json.loads(json.dumps(run.facts()))
        assert facts == run.facts() and facts.pop("scenario") == str(scenario)
        parts = [facts.pop(name) for name in ("backbone", "trainable", "learning_rate")]
        assert Run(**facts, scenario=Scenario(*parts)) == run


def test_runs_are_told_apart_and_can_be_sorted():
    runs = all_runs()
    assert len(set(runs)) == len(runs) and sorted(runs[::-1]) == sorted(runs)
