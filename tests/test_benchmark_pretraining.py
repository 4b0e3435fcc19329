"""The pretraining benchmark: every way shows the same images to the same network."""

import importlib.util
from concurrent.futures import Future

import keras
import numpy as np
import pandas as pd
import pytest
import tiny_network
from test_benchmarks import module

from rin import augment, backbones, phantoms
from rin.pretraining.recipe import Recipe

SIZE, BATCH, CLASSES = 32, 4, ("CT_lung_Nodule", "CT_lung_normal", "US_gb")
throughput, ways = module("pretraining_throughput"), module("pretraining_ways")
needs_tf_data = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs tf.data, which TensorFlow brings"
)
EVERY = [pytest.param(n, marks=needs_tf_data if n in ("map", "model") else ()) for n in ways.WAYS]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)


@pytest.fixture
def folder(draw, tmp_path):
    """24 images of noise in three class folders: too few for val are refused by the split."""
    for i in range(24):
        draw(tmp_path / "classes" / CLASSES[i % 3] / f"{i}.png", i, (SIZE, SIZE))
    return tmp_path / "classes"


@pytest.fixture
def make(folder, tmp_path):
    """`make("rin")`: a way to feed these images, or to train on them."""

    def one(name, backbone=ways.LOADER, **given):
        recipe = Recipe(**{"batch_size": BATCH, "augmentation": "none"} | given)
        return ways.WAYS[name](ways.Job(folder, tmp_path, backbone, SIZE, 24, 3, 2, recipe))

    return one


def shown(batches):
    """`(mean, class)` of every image, sorted; batches as any way hands them over."""
    if isinstance(batches, keras.utils.PyDataset):
        batches = [batches[i] for i in range(len(batches))]
    found = []
    for x, y in batches:
        x = x[0] if isinstance(x, tuple) else x
        assert x.shape[:3] == (BATCH, SIZE, SIZE)
        means = np.asarray(x, dtype=float).reshape(BATCH, -1).mean(axis=1)
        found += [*zip(means.round(3).tolist(), np.asarray(y).argmax(axis=1).tolist(), strict=True)]
    return sorted(found)


def test_it_says_what_it_asks(capsys):
    with pytest.raises(SystemExit) as ended:
        throughput.main(["--help"])
    assert ended.value.code == 0
    assert throughput.__doc__.splitlines()[0] in " ".join(capsys.readouterr().out.split())


def test_links_give_each_class_one_folder_and_lead_to_the_images(tmp_path):
    root = phantoms.write("radimagenet", tmp_path / "raw", n=50, size=SIZE)
    frame = throughput.link("radimagenet", root, None, 8, tmp_path / "classes")
    assert len(frame) == 48  # whole batches
    homes = {path.name: path for path in (tmp_path / "classes").iterdir()}
    assert set(homes) == set(frame.label.str.replace("/", "_")) and "CT_lung_Nodule" in homes
    linked = {link.resolve() for home in homes.values() for link in home.iterdir()}
    assert linked == {(root / name).resolve() for name in frame.image}
    sizes = frame.label.str.replace("/", "_").value_counts().to_dict()
    assert {name: len(list(home.iterdir())) for name, home in homes.items()} == sizes


def test_links_are_as_many_as_asked(folder, tmp_path):
    assert len(throughput.link("folder", folder, 9, 4, tmp_path / "links")) == 8


@pytest.mark.parametrize(
    ("name", "batch_size", "said"),
    [
        ("US_gb/25.png", 26, "`--batch-size` should be at most the 25 images. Received: 26"),
        ("US_gb/25.tiff", 25, r"should hold .png, .jpg, .jpeg, .bmp files. Found: \['.tiff'\]"),
    ],
)
def test_images_that_not_every_way_could_show_are_refused(
    draw, folder, tmp_path, name, batch_size, said
):
    draw(folder / name)
    with pytest.raises(ValueError, match=said):
        throughput.link("folder", folder, None, batch_size, tmp_path / "links")
    assert not (tmp_path / "links").exists()


def test_classes_that_would_share_a_folder_are_refused(draw, tmp_path):
    for i, name in enumerate(["MR/knee/a_b", "MR/knee_a/b"]):
        draw(tmp_path / "radiology_ai" / name / "1.png", i)
    with pytest.raises(ValueError, match="should differ by more than / and _"):
        throughput.link("radimagenet", tmp_path, None, 2, tmp_path / "links")


@pytest.mark.core
@pytest.mark.parametrize("name", EVERY)
def test_every_way_shows_every_image_with_its_class(make, name):
    rin, way = make("rin"), make(name)
    expected = shown(rin.batches(6, 1))
    assert len(set(expected)) == 24 and [c for _, c in expected].count(2) == 8
    assert shown(way.batches(6, 1)) == expected
    assert len(shown(way.batches(7, 1))) == 28  # images come again


@pytest.mark.core
@pytest.mark.parametrize("name", EVERY)
def test_networks_of_every_way_are_fed_the_same_values(make, name):
    values = [
        np.sort(way.front.predict(way.batches(6, 1), verbose=0))
        for way in (make("rin"), make(name))
    ]
    assert values[0].shape == (24,) and np.ptp(values[0]) > 0
    assert np.allclose(*values, atol=1e-5)


@pytest.mark.core
@pytest.mark.parametrize("name", EVERY)
def test_every_way_augments_anew_each_time(make, name):
    way, still = make(name, augmentation="small"), make(name)
    values = [np.sort(way.front.predict(way.batches(6, epoch), verbose=0)) for epoch in (1, 2)]
    assert not np.allclose(*values, atol=1e-5)
    unmoved = np.sort(still.front.predict(still.batches(6, 1), verbose=0))
    assert not np.allclose(values[0], unmoved, atol=1e-5)
    # only `map` does it before the batch is handed over
    assert (shown(way.batches(6, 1)) == shown(still.batches(6, 1))) == (name != "map")


def test_keras_is_given_the_ranges_of_rin():
    small, large = (ways.random_layers(augment.RANGES[name], 0) for name in ("small", "large"))
    names = [[type(layer).__name__ for layer in made] for made in (small, large)]
    assert names[0] == ["RandomRotation", "RandomTranslation", "RandomZoom", "RandomFlip"]
    assert names[1] == ["RandomTranslation", "RandomZoom"]
    assert small[0].get_config()["factor"] == (-10 / 360, 10 / 360)
    assert ways.random_layers(None, 0) == []


@pytest.mark.core
@pytest.mark.parametrize("name", EVERY)
def test_every_way_trains_the_same_network_and_traces_it_once(make, name, monkeypatch):
    way = make(name, backbone="tiny", augmentation="small")
    ours = make("rin", backbone="tiny")
    shapes = [[v.shape for v in w.model.trainable_variables] for w in (way, ours)]
    assert shapes[0] == shapes[1]
    configs = [
        (w.model.optimizer.get_config() | {"name": ""}, w.model.loss.get_config())
        for w in (way, ours)
    ]
    assert configs[0] == configs[1]
    assert way.model.jit_compile == ours.model.jit_compile
    step, traces = way.model.train_step, []
    monkeypatch.setattr(way.model, "train_step", lambda *a, **k: traces.append(1) or step(*a, **k))
    way.warm_up()
    before, traced = weights(way.model), len(traces)
    way.measure(ways.TRAINING, 1)
    assert int(way.model.optimizer.iterations) == 3  # one to warm up, two steps
    assert len(traces) == traced > 0
    assert not all(np.array_equal(*pair) for pair in zip(before, weights(way.model), strict=True))


def weights(model):
    return [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]


@pytest.mark.core
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("what", [ways.FIRST, ways.LATER, ways.HANDED])
def test_an_epoch_shows_every_image_once(make, name, what, monkeypatch):
    way, asked = make(name), []
    whole = way.batches
    monkeypatch.setattr(way, "batches", lambda n, epoch: asked.append(n) or whole(n, epoch))
    way.measure(what, 1)
    assert asked == [6] and way.job.n_shown(what) == 24


def test_a_first_epoch_writes_a_store_and_a_later_one_reads_it(make, tmp_path):
    way = make("rin")
    stores = set(tmp_path.glob("**/index.*"))
    way.measure(ways.LATER, 1)
    assert set(tmp_path.glob("**/index.*")) == stores and len(stores) == 1
    way.measure(ways.FIRST, 2)
    assert len(set(tmp_path.glob("**/index.*"))) == 2


def test_policies_change_what_rin_hands_over(make):
    pytest.importorskip("keras_cv", reason="policies need KerasCV")
    assert shown(make("rin", policies=("cut_mix",)).batches(6, 1)) != shown(
        make("rin").batches(6, 1)
    )


def job(tmp_path, backbone="tiny"):
    recipe = Recipe(batch_size=BATCH)
    return ways.Job(tmp_path, tmp_path, backbone, SIZE, 12, 3, 2, recipe)


def test_rates_are_compared_with_the_fastest_plain_way_in_the_same_round(tmp_path):
    found = {
        ("training", ("rin", "none")): (9.0, [1.0, 2.0, 4.0]),
        ("training", ("map", "none")): (8.0, [2.0, 3.0, 4.0]),  # 2, 1.5 and 1 times as long
        ("training", ("model", "none")): (8.0, [5.0, 5.0, 5.0]),
        ("training", ("files", "none")): "no room",
    }
    rin, fastest, model, absent = throughput.rows(found, job(tmp_path))
    assert (rin["images_per_s"], rin["times"], rin["warm_up_s"]) == (4.0, 1.5, 9.0)  # 8 images
    assert fastest["times"] == 1 and model["times"] == 0.6
    assert absent["note"] == "no room" and np.isnan(absent["images_per_s"])
    alone = throughput.rows(dict([*found.items()][:1]), job(tmp_path))
    assert np.isnan(alone[0]["times"]) and alone[0]["images_per_s"] == 4.0


class Pool:
    """Stands in for a process: notes who was asked for what, and when."""

    calls = []

    def __init__(self, warm_up=None):
        self.fails = warm_up

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    shutdown = __exit__

    def submit(self, task, *given):
        done = Future()
        if task is ways.begin:
            self.name = given[0]
        elif given[0] is None and self.fails:
            done.set_exception(RuntimeError(self.fails))
            return done
        else:
            self.calls.append((self.name, *given))
        done.set_result(1.0)
        return done


def test_ways_take_turns_and_every_other_round_goes_backwards(tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "_process", Pool)
    monkeypatch.setattr(Pool, "calls", [])
    plain = [("rin", "none"), ("files", "none")]
    found = throughput.measure(job(tmp_path), plain, 2)
    assert [name for name, what, _ in Pool.calls if what] == ["rin", "files", "files", "rin"]
    assert found == {("training", way): (1.0, [1.0, 1.0]) for way in plain}


def test_a_way_without_room_on_the_device_is_a_reason_and_other_errors_are_raised(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(throughput, "_process", lambda: Pool("RESOURCE_EXHAUSTED: 3 GiB"))
    found = throughput.measure(job(tmp_path), [("rin", "none")], 2)
    assert found == {("training", ("rin", "none")): "the device has no room for it"}
    monkeypatch.setattr(throughput, "_process", lambda: Pool("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        throughput.measure(job(tmp_path), [("rin", "none")], 2)


def test_without_tensorflow_its_ways_are_rows_that_say_so(monkeypatch, tmp_path, capsys):
    there = importlib.util.find_spec
    absent = ("tensorflow", "keras_cv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n in absent else there(n))
    monkeypatch.setattr(throughput, "_process", Pool)
    given = ["--image-size", "32", "--batch-size", "8", "--n-images", "24", "--steps", "2"]
    given += ["--backbones", "resnet50", "--policies", "cut_mix", "--csv", str(tmp_path)]
    for _ in range(2):  # a second measurement replaces the rows of the first
        throughput.main(given)
    table = pd.read_csv(tmp_path / "pretraining_throughput.csv")
    assert len(table) == 4 * 5 and table.phantom.all() and (table.n_images == 24).all()
    measured = table[table.note.isna()]
    assert set(measured.way) == {"rin", "files"} and (measured.policies == "none").all()
    assert measured[measured.what == "training"].images_per_s.tolist() == [16, 16]
    said = table.dropna(subset="note").groupby(["way", "policies"]).note.unique()
    assert said["map", "none"].tolist() == [
        "image_dataset_from_directory needs tensorflow: not installed here"
    ]
    assert said["rin", "cut_mix"].tolist() == [
        "the policy cut_mix needs tensorflow and keras_cv: not installed here"
    ]
    assert table.dropna(subset="note").images_per_s.isna().all()


@pytest.mark.slow
def test_every_way_is_measured_in_a_process_of_its_own(folder, tmp_path):
    given = ["--data", str(folder), "--task", "folder", "--image-size", "32", "--batch-size", "4"]
    given += ["--backbones", "--ways", "rin", "files", "--repeats", "1", "--csv", str(tmp_path)]
    throughput.main(given)
    table = pd.read_csv(tmp_path / "pretraining_throughput.csv")
    assert len(table) == 6 and (table.images_per_s > 0).all() and not table.phantom.any()
    assert (table[table.way == "files"].times == 1).all()
