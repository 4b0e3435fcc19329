"""What is exported answers as the run did, without this book, in Keras and in ONNX."""

import json
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tiny_export
import tiny_network

from rin import backbones, export, kept, model_card, records, served, unlike

needs_onnx = pytest.mark.skipif(bool(served.without_onnx()), reason=served.without_onnx())
# what a user without this book writes; a classifier's probabilities go to a file
PLAIN = """
import sys
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
grey = np.load(sys.argv[2]).astype("float32")[..., None]
np.save(sys.argv[3], model.predict(grey, verbose=0))
assert "rin" not in sys.modules
"""


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)
        yield


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    return tiny_export.prepared(tmp_path_factory.mktemp("breast"))


@pytest.fixture(scope="module")
def runs(ready, tmp_path_factory):
    """A folder of two runs: one that learns, one that hardly moves."""
    home = tmp_path_factory.mktemp("runs")
    for rate in (1e-2, 1e-6):
        tiny_export.train(ready, home, rate=rate)
    return home


@pytest.fixture(scope="module")
def run(runs):
    return next(folder for folder in (runs / "breast").iterdir() if "1e-02" in folder.name)


@pytest.fixture(scope="module")
def out(run, ready, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    return folder, export.export(run, folder, ready)


def of_the_test_set(run, ready):
    """(pixels, probabilities) of a run's test images, as its own table has them."""
    table = pd.read_parquet(run / "predictions.parquet")
    test = table[table["split"] == "test"]
    scores = test[["y_score_negative", "y_score"]].to_numpy()
    return np.asarray(ready.store.array[test["row"]]), scores


def unsaturated(backbone, size, mode="official"):
    """A network whose probabilities lie well inside 0 and 1 and differ between images."""
    keras.utils.set_random_seed(0)
    network = backbones.build(backbone, None, image_size=size)
    last = network.get_layer("classifier")
    features = keras.Model(network.input, network.layers[-2].input)
    fed = backbones.preprocess(some_pixels(size)[..., None], mode, backbone)
    kernel = keras.ops.convert_to_numpy(last.kernel)
    odds = np.asarray(features(fed)) @ (kernel[:, 1] - kernel[:, 0])
    last.set_weights([kernel / odds.std(), np.array([0, -odds.mean() / odds.std()])])
    return network


def some_pixels(size, n=6):
    """Images of different brightness and grain."""
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, 30 + 45 * i, (size, size)) for i in range(n)]).astype(np.uint8)


def test_all_files_are_there_and_the_card_knows_each(out):
    folder, files = out
    kinds = {"keras", "statistics", "markdown", "card"}
    assert set(files) == kinds | (set() if served.without_onnx() else {"onnx"})
    assert {file.name for file in folder.iterdir()} == {file.name for file in files.values()}
    card = model_card.read(folder)
    assert files["keras"].name == "breast-tiny.keras"
    assert set(card["sha256"]) == {files[k].name for k in set(files) - {"markdown", "card"}}
    assert model_card.verify(folder, card) == {}
    assert card["unlike"]["images"]["train"] == unlike.load(files["statistics"]).n_train
    assert 0 <= card["unlike"]["share of test images called unlike"] < 0.5


def test_plain_keras_gives_the_run_s_own_probabilities_from_grey_images(out, run, ready, tmp_path):
    pixels, expected = of_the_test_set(run, ready)
    np.save(tmp_path / "grey.npy", pixels)
    files = [out[1]["keras"], tmp_path / "grey.npy", tmp_path / "scores.npy"]
    (tmp_path / "plain.py").write_text(PLAIN)
    # -I: neither the working directory nor any path variable leads to this book
    command = [sys.executable, "-I", "plain.py", *map(str, files)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.allclose(np.load(files[2]), expected, atol=1e-5)
    assert np.ptp(expected[:, 1]) > 0.01


@pytest.mark.parametrize("mode", ["official", "caffe", "torch", "tf", "signed_bgr", "unit"])
def test_the_preprocess_inside_is_the_one_the_network_was_trained_with(mode):
    network = unsaturated("tiny", 32, mode)
    whole = served.with_preprocess(network, mode, "tiny")
    grey = some_pixels(32)[..., None].astype("float32")
    expected = network(backbones.preprocess(grey, mode, "tiny"))
    assert np.allclose(whole(grey), expected, atol=1e-5) and np.ptp(expected) > 0.2
    assert not any(layer.__module__.startswith("rin") for layer in whole.layers)


@needs_onnx
@pytest.mark.parametrize(("backbone", "size"), [("tiny", 32), ("resnet50", 64)])
def test_onnx_answers_as_keras_does(backbone, size, tmp_path):
    whole = served.with_preprocess(unsaturated(backbone, size), "official", backbone)
    served.to_onnx(whole, tmp_path / "network.onnx")
    pixels = some_pixels(size)
    scores = np.asarray(whole(pixels[..., None].astype("float32")))
    assert np.ptp(scores[:, 1]) > 0.05 and 0.02 < scores.min() < scores.max() < 0.98
    assert served.difference(whole, tmp_path / "network.onnx", pixels) < 1e-4


@needs_onnx
def test_an_onnx_file_that_answers_otherwise_is_not_exported(run, ready, tmp_path, monkeypatch):
    before = export.export(run, tmp_path, ready)["card"].read_bytes()
    monkeypatch.setattr(served, "difference", lambda *_: 0.01)
    with pytest.raises(export.ExportError, match="ONNX and Keras differ by 0.01"):
        export.export(run, tmp_path, ready)
    assert (tmp_path / "card.json").read_bytes() == before
    assert not list(tmp_path.glob(".export-*"))


def test_without_its_packages_onnx_alone_is_left_out(run, ready, tmp_path, monkeypatch):
    (tmp_path / "breast-tiny.onnx").write_text("of an earlier export")
    monkeypatch.setattr(served, "ONNX", ("no_such_package",))
    files = export.export(run, tmp_path, ready)
    assert "onnx" not in files and not (tmp_path / "breast-tiny.onnx").exists()
    assert model_card.read(tmp_path)["network"]["onnx"] == "not written"
    with pytest.raises(served.OnnxError, match=r"requirements-onnx\.lock\. Missing: no_such"):
        served.to_onnx(None, tmp_path / "x.onnx")


def test_a_failed_export_leaves_the_earlier_one_whole(run, ready, tmp_path, monkeypatch):
    export.export(run, tmp_path, ready)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr(unlike, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        export.export(run, tmp_path, ready)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_folder_holds_one_network(run, ready, tmp_path):
    export.export(run, tmp_path, ready)
    export.export(run, tmp_path, ready)  # again, in its own place
    with pytest.raises(export.ExportError, match=r"breast-tiny\.keras is there, another network"):
        export.export(run, tmp_path, ready, name="second")
    with pytest.raises(export.ExportError, match="`name` should be a file name"):
        export.export(run, tmp_path, ready, name="../out")


def test_the_best_run_is_the_one_with_the_lowest_validation_loss(runs, run):
    losses = {
        folder: pd.read_parquet(folder / "history.parquet")["val_loss"].min()
        for folder in (runs / "breast").iterdir()
        if (folder / "record.json").is_file()
    }
    assert len(losses) == 2 and min(losses, key=losses.get) == run
    assert export.best(runs, "breast") == run


def written(home, scenario, fold, losses, diverged=False):
    """The folder of a run as `best` reads it, without a network."""
    folder = home / "breast" / f"{scenario}-fold{fold}"
    folder.mkdir(parents=True)
    run = {"task": "breast", "init": "random", "preprocess": "official", "backbone": "resnet50"}
    run |= {"trainable": "head", "learning_rate": 1e-3, "scenario": scenario, "fold": fold}
    run |= {"seed": 0, "classifier": "gap", "batch_size": 8}
    record = {"kind": "training", "fingerprint": folder.name, "run": run}
    record |= {"settings": {"objective": "official"}}
    record |= {"data_fingerprint": "d", "init_fingerprint": "random"}
    val_loss = None if diverged else min(losses)
    records.write(folder, record | {"result": {"diverged": diverged, "val_loss": val_loss}})
    rows = {"split": "test", "row": [0, 1], "image_id": list("ab"), "group": list("ab")}
    rows |= {"patient": None, "y_true": [0, 1], "y_score": [0.2, 0.9], "y_score_negative": 0.5}
    pd.DataFrame(rows).to_parquet(folder / "predictions.parquet")
    (folder / kept.FILE).touch()
    return folder


def test_the_best_is_a_mean_over_folds_of_those_that_have_them_all(tmp_path):
    first = written(tmp_path, "a", 0, [0.5, 0.9])
    written(tmp_path, "a", 1, [0.3, 0.4])
    for fold, loss in enumerate([0.2, 0.7]):
        written(tmp_path, "b", fold, [loss])
    written(tmp_path, "c", 0, [0.1])  # one fold alone
    written(tmp_path, "d", 0, [0.0], diverged=True)
    written(tmp_path, "d", 1, [0.0])
    assert export.best(tmp_path, "breast") == first


def test_a_scenario_that_diverged_is_not_exported_by_what_is_left_of_it(tmp_path):
    written(tmp_path, "d", 0, [0.1])
    (written(tmp_path, "d", 1, [0.1], diverged=True) / kept.FILE).unlink()  # keeps none
    with pytest.raises(export.ExportError, match="a scenario that diverged in no run"):
        export.best(tmp_path, "breast")
    first = written(tmp_path, "a", 0, [0.5])
    assert export.best(tmp_path, "breast") == first


def test_runs_that_kept_no_weights_can_t_be_the_best(ready, tmp_path):
    home = tiny_export.train(ready, tmp_path, keep_weights=False, epochs=1)
    with pytest.raises(export.ExportError, match="no run of task 'breast' kept its weights"):
        export.best(tmp_path, "breast")
    with pytest.raises(kept.KeptError, match=r"no weights\.npz"):
        export.export(home, tmp_path / "out", ready)
    assert not (tmp_path / "out").exists()


def test_no_image_and_no_place_is_written(out, ready):
    folder, _ = out
    text = (folder / "card.json").read_text() + (folder / "card.md").read_text()
    assert str(ready.root) not in text
    assert not any(mark in text for mark in ready.store.index["image_id"])
    assert json.loads((folder / "card.json").read_text())["use"]["phantom"] is True
    assert records.read(folder) is None
