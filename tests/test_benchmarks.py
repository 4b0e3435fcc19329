"""The benchmarks: they start, count right, and measure against an honest opponent."""

import importlib
import re
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

from rin import backbones, datasets, images, phantoms, scenarios, splits, views
from rin.prepare import Data

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def module(name):
    """A benchmark as a module: they lie outside any package."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def breast(tmp_path_factory):
    """The manifest of 150 small phantoms with its folds, and their root."""
    folder = tmp_path_factory.mktemp("phantoms") / "breast"
    root = phantoms.write("breast", folder, n=150, size=32)
    frame = datasets.read("breast", root, duplicates=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", splits.SmallSplitWarning)
        return splits.assign(frame, "5-fold"), root


@pytest.mark.parametrize(
    "name",
    [
        "passes",
        "sweep_against_official",
        "loader",
        "memory",
        "seeded_faults",
        "train_all_on_gpu",
        "times_of_runs",
    ],
)
def test_a_benchmark_says_what_it_asks(name, capsys):
    script = module(name)
    with pytest.raises(SystemExit) as ended:
        script.main(["--help"])
    assert ended.value.code == 0
    assert script.__doc__.splitlines()[0] in " ".join(capsys.readouterr().out.split())


def test_twenty_official_runs_make_484_passes_and_the_bank_31():
    passes = module("passes")
    folds = passes.SPLITS["5-fold"]
    # 30 epochs of 72 % train and 8 % val, then 20 % test: 24.2 a run
    assert passes.official(20, 30, folds) == pytest.approx(20 * 24.2)
    assert passes.bank(30, folds) == 31
    assert passes.cap(4, 30, folds) == pytest.approx(484 / 31)
    # the cap the released scripts have, which predict no test image
    assert passes.cap(4, 30, folds, tested=False) == pytest.approx(480 / 31)


def test_a_single_split_augments_its_training_images_alone():
    passes = module("passes")
    single = passes.SPLITS["75/10/15"]
    assert passes.bank(30, single) == 0.25 + 30 * 0.75
    assert passes.official(1, 30, single) == pytest.approx(30 * 0.85 + 0.15)


def test_without_augmentation_one_pass_serves_all_epochs():
    passes = module("passes")
    for split in passes.SPLITS.values():
        assert passes.bank(30, split, augmented=False) == 1


def test_the_shares_are_those_the_splits_have(breast):
    passes = module("passes")
    frame = breast[0]
    columns = [f"split_{fold}" for fold in range(5)]
    counted = frame[columns].stack().value_counts(normalize=True)
    expected = passes.SPLITS["5-fold"]
    for name in ("train", "val", "test"):
        assert counted[name] == pytest.approx(getattr(expected, name), abs=0.01)
    trained = (frame[columns] == "train").any(axis=1).mean()
    assert trained == pytest.approx(expected.ever_train, abs=0.02)  # one is val four times
    assert (frame[columns] == "test").any(axis=1).mean() == expected.ever_held


def test_the_bill_holds_all_24_scenarios_of_all_tasks():
    bill = module("passes").bill()
    assert bill.groupby("task").runs.sum().to_dict() == {
        **dict.fromkeys(["thyroid", "breast", "acl", "meniscus"], 120),
        **dict.fromkeys(["covid19", "pneumonia", "sarscov2", "hemorrhage"], 24),
    }
    assert (bill.bank <= bill.streamed).all() and (bill.streamed <= bill.official).all()
    frozen = bill[(bill.task == "breast") & (bill.kind == "frozen")].iloc[0]
    assert frozen.bank == 780 * 4 * 31  # four backbones


def flow(breast, split, augmentation="small"):
    recipe = module("official_recipe").Recipe(32, 8, augmentation=augmentation)
    return breast[0], module("official_recipe").flow(*breast, 0, split, recipe)


def test_the_official_loop_feeds_what_rin_feeds(breast, tmp_path):
    """Test images, their order, values and classes: files on one side, the store on the other."""
    frame, batches = flow(breast, "test")
    store = images.store(frame, breast[1], 32, tmp_path, interpolation="nearest")
    rows = np.flatnonzero(frame.split_0 == "test")
    ours = backbones.preprocess(store.array[rows][..., None], "official", "resnet50")
    x, y = (
        np.concatenate(parts)
        for parts in zip(*map(batches.__getitem__, range(len(batches))), strict=True)
    )
    assert len(x) == len(rows)
    assert np.allclose(x, keras.ops.convert_to_numpy(ours), atol=1e-6)
    assert list(y.argmax(axis=1)) == list((frame.label[rows] == "malignant").astype(int))


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # Keras's use of scipy
def test_the_official_loop_augments_training_images_anew_each_time(breast):
    frame, batches = flow(breast, "train")
    assert batches.n == (frame.split_0 == "train").sum()
    first, again = batches[0][0], batches[0][0]
    assert first.shape == (8, 32, 32, 3) and first.dtype == np.float32
    assert not np.allclose(first, again)
    _, still = flow(breast, "train", augmentation="none")
    assert np.array_equal(still[0][0], still[0][0])


def test_every_loader_gives_the_same_batches(breast, tmp_path):
    """The three ways in the loader's table end in the same pixels, classes and order."""
    loader, (frame, root) = module("loader"), breast
    store = images.store(frame, root, 32, tmp_path, interpolation="nearest")
    data = Data.from_manifest(frame, store, ("benign", "malignant"))
    ways = [
        loader.from_store(data, None, 64),
        loader.from_generator(frame, root, 32, "none", 64),
        loader.from_generator(frame, root, 32, "none", 64, workers=3),
        loader.from_files(frame, root, 32, 64),
    ]
    shown = []
    for way in ways:
        x, y = (np.concatenate(parts) for parts in zip(*way(0), strict=True))
        assert x.shape == (150, 32, 32, 3) and x.dtype == np.float32
        assert list(y.argmax(axis=1)) == list(data.y)
        shown.append(x)
    ours, *generators, files = shown
    assert all(np.allclose(ours, theirs, atol=1e-6) for theirs in generators)
    # tf.data picks other neighbors where it makes an image smaller
    assert np.corrcoef(ours.ravel(), files.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("trainable", backbones.TRAINABLES)
def test_the_official_network_trains_what_rin_trains(trainable):
    recipe = module("official_recipe")
    scenario = scenarios.Scenario("resnet50", trainable, 1e-3)
    theirs = recipe.build(scenario, recipe.Recipe(image_size=32))
    ours = backbones.build("resnet50", trainable=trainable, image_size=32)
    shapes = [[v.shape for v in model.trainable_variables] for model in (theirs, ours)]
    assert shapes[0] == shapes[1]
    assert theirs.count_params() == ours.count_params()


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # Keras's use of scipy
@pytest.mark.slow
def test_an_official_run_ends_with_a_score_for_every_test_image(breast, tmp_path):
    recipe, (frame, root) = module("official_recipe"), breast
    scenario = scenarios.Scenario("resnet50", "head", 1e-2)
    run = recipe.train(frame, root, 0, scenario, recipe.Recipe(32, 64, epochs=3), tmp_path)
    assert run.scores.shape == ((frame.split_0 == "test").sum(), 2)
    assert np.allclose(run.scores.sum(axis=1), 1, atol=1e-5)
    assert len(run.val_loss) == len(run.epoch_ends) == 3
    assert 0 < run.epoch_s < run.seconds
    assert run.fixed_s + 3 * run.epoch_s == pytest.approx(run.seconds)


def test_an_official_run_of_one_epoch_is_refused(breast, tmp_path):
    recipe = module("official_recipe")
    scenario = scenarios.Scenario("resnet50", "head", 1e-2)
    with pytest.raises(ValueError, match="`epochs` should be at least 2. Received: epochs=1"):
        recipe.train(*breast, 0, scenario, recipe.Recipe(epochs=1), tmp_path)


@pytest.mark.slow
def test_our_epochs_are_timed_one_by_one_like_theirs(breast, tmp_path):
    sweep = module("sweep_against_official")
    grid = scenarios.grid(["resnet50"], {"head": (1e-2,)})
    cost = sweep.ours(*breast, grid, 32, 2, "small", tmp_path)
    assert cost.fixed > 0 and cost.epoch_s > 0
    assert len(list(tmp_path.glob("runs/breast/*/record.json"))) == 5


def test_one_epoch_is_too_few_to_time_a_usual_one():
    with pytest.raises(SystemExit, match="`--epochs` should be at least 2"):
        module("sweep_against_official").main(["--images", "nowhere", "--epochs", "1"])


def test_extrapolated_times_are_against_us():
    """Ours grows with the images altogether, theirs only by the epochs."""
    sweep = module("sweep_against_official")
    theirs, mine = sweep.Cost(100, 50), sweep.Cost(20, 5)
    row = sweep.compare(theirs, mine, 4.0, 4, 390, 3, augmented=True)
    assert row["official_s"] == 250 and row["bank_s"] == 35
    assert row["official_study_s"] == 100 + 30 * 50 * 2
    assert row["bank_study_s"] == (20 + 30 * 5) * 2
    assert row["ratio_study"] == pytest.approx(3100 / 340)
    assert row["cap_study"] == pytest.approx(484 / 31)
    assert row["per_view"] == pytest.approx(35 / (4 * 4.0))
    assert row["per_view_study"] == pytest.approx(340 / (31 * 8.0))
    assert row["floor_images_per_s"] == 97.5


def test_the_stand_in_hands_on_what_resnet50_hands_on():
    memory = module("memory")
    memory.register()
    try:
        for trainable in ("head", "top10"):
            cuts = [
                [t.shape for t in views.frontier(backbones.build(name, trainable=trainable))]
                for name in (memory.STAND_IN, "resnet50")
            ]
            assert cuts[0] == cuts[1]
    finally:
        del backbones.BACKBONES[memory.STAND_IN]


def test_only_memory_that_no_file_holds_counts(tmp_path):
    memory = module("memory")
    mapped = views.View([keras.Input((2**20,))], 64, tmp_path)  # 256 MiB
    with memory.Peak(every_s=0.001) as peak:
        mapped.arrays[0][:] = 1
        mapped_only = memory.anonymous_gib()
        own = np.ones(64 * 2**20, dtype=np.float32)  # 256 MiB
        both = memory.anonymous_gib()
    assert mapped_only - peak.before < 0.05
    assert both - mapped_only == pytest.approx(own.nbytes / 2**30, abs=0.05)
    assert peak.anon == pytest.approx(both, abs=0.05) and peak.bank == pytest.approx(0.25, abs=0.01)


def test_noise_is_split_as_five_folds_are(tmp_path):
    data = module("memory").noise(100, 8, 5, tmp_path)
    assert data.images.shape == (100, 8, 8) and data.images.dtype == np.uint8
    assert data.splits.shape == (100, 5)
    for fold in data.splits.T:
        assert [(fold == name).sum() for name in ("train", "val", "test")] == [72, 8, 20]


def test_plain_fit_gets_what_rin_feeds():
    gpu = module("train_all_on_gpu")
    data = gpu.noise(4, 32)
    ours = backbones.preprocess(data.images[..., None], "official", "resnet50")
    theirs = gpu.prepared(data.images)
    assert np.allclose(theirs, keras.ops.convert_to_numpy(ours), atol=1e-6)
    assert (data.splits == "train").sum() == 4


def test_a_card_without_room_leaves_a_row_without_a_rate(monkeypatch, capsys):
    gpu = module("train_all_on_gpu")

    def full(*args):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setitem(gpu.WAYS, "fit", full)
    assert np.isnan(gpu.rate("fit", "resnet50", "float32", None, 1, 256))
    assert "do not fit" in capsys.readouterr().out


def test_a_measured_row_replaces_its_older_self(tmp_path):
    measured, file = module("measured"), tmp_path / "costs" / "t.csv"
    for n, seconds in ((1, 5.0), (2, 6.0), (1, 4.0)):
        measured.keep({"n": n, "seconds": seconds}, file, ["n"])
    table = pd.read_csv(file)
    assert table[["n", "seconds"]].to_numpy().tolist() == [[2, 6.0], [1, 4.0]]
    assert table.measured.notna().all() and table.hardware.str.contains("cores").all()


def test_thinned_images_keep_the_shares_of_the_classes(breast):
    frame = module("measured").thin(breast[0], 20)
    share = (breast[0].label == "malignant").mean()
    assert len(frame) == 20 and frame.image.is_unique
    assert (frame.label == "malignant").mean() == pytest.approx(share, abs=0.05)
    with pytest.raises(ValueError, match="`--n-images` should be 1 to 150. Received: 151"):
        module("measured").thin(breast[0], 151)


def test_the_errata_print_what_the_official_breast_folds_hold(project_data):
    found = module("official_breast_folds").counts(project_data("busi"))
    page = (FOLDER.parent / "book" / "errata.md").read_text(encoding="utf-8")
    twins = re.search(
        r"(\d+) of (\d+) test images have a near twin .*? \((\d+) to (\d+) of 156 a fold", page
    )
    names = ("twins", "images", "twins_least", "twins_most")
    assert tuple(map(int, twins.groups())) == tuple(found[name] for name in names)
    alike = re.search(
        r"of (\d+) pairs whose .*? (\d+) stand in different test folds and (\d+) carry", page
    )
    names = ("alike", "alike_in_other_test_folds", "alike_of_other_label")
    assert tuple(map(int, alike.groups())) == tuple(found[name] for name in names)


DOUBLE = "tests/test_double.py::test_double"


@pytest.fixture
def seeded(tmp_path, monkeypatch):
    """`seeded(find, …)`: the benchmark on a tiny project, a fault for each text of one line."""
    script = module("seeded_faults")
    (tmp_path / "rin").mkdir()
    (tmp_path / "rin" / "double.py").write_text("def double(x):\n    y = 2 * x\n    return y\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_double.py").write_text(
        "from rin.double import double\n\n\ndef test_double():\n    assert double(2) == 4\n"
        "\n\ndef test_wrong():\n    assert double(2) == 5\n"
    )
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "FAULTS", tmp_path / "faults.yaml")

    def play(*faults, tests=(DOUBLE,)):
        names = ("name", "find", "replace")
        listed = [dict(zip(names, fault, strict=True)) | {"tests": [*tests]} for fault in faults]
        script.FAULTS.write_text(yaml.safe_dump(listed))
        return script.main([])

    return play


def test_a_seeded_fault_is_caught_by_its_tests_or_missed(seeded, capsys):
    assert seeded(("dropped", "2 * x", "x"), ("same", "2 * x", "x * 2")) == 1
    said = capsys.readouterr().out
    assert "caught dropped" in said
    assert "MISSED same" in said
    assert "1 of 2 faults caught" in said


@pytest.mark.parametrize(
    ("fault", "tests", "reason"),
    [
        (("absent", "3 * x", "x"), [DOUBLE], "stands 0 times in rin, not once"),
        (("twice", "y", "z"), [DOUBLE], "stands 2 times in rin, not once"),
        (("nothing", "2 * x", "2 * x"), [DOUBLE], "and change something"),
        (("no_test", "2 * x", "x"), ["tests/test_half.py"], "could not run"),
        (("wrong", "2 * x", "x"), ["tests/test_double.py"], "test_wrong fails without any fault"),
    ],
)
def test_a_seeded_fault_that_cannot_be_played_is_named(seeded, capsys, fault, tests, reason):
    assert seeded(fault, tests=tests) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert reason in line


def test_every_seeded_fault_stands_once_in_rin_and_its_tests_are_there():
    script = module("seeded_faults")
    faults = script.read(script.FAULTS)
    assert len(faults) >= 40
    for fault in faults:
        script.locate(fault, script.ROOT)
        for test in fault["tests"]:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (script.ROOT / file).read_text()
