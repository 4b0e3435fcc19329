"""A prediction comes with what speaks against it, and never for the wrong modality."""

import shutil

import numpy as np
import pandas as pd
import pytest
import tiny_export
import tiny_network
from PIL import Image

from rin import backbones, dicom, export, images, own_images, pages, predict
from rin.own_images import PredictError


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)
        yield


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    return tiny_export.prepared(tmp_path_factory.mktemp("breast"))


@pytest.fixture(scope="module")
def run(ready, tmp_path_factory):
    return tiny_export.train(ready, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def exported(run, ready, tmp_path_factory):
    """The folder of an exported network."""
    folder = tmp_path_factory.mktemp("export")
    export.export(run, folder, ready)
    return folder


@pytest.fixture(scope="module")
def model(exported):
    return predict.load(exported)


@pytest.fixture(scope="module")
def test_rows(run):
    rows = pd.read_parquet(run / "predictions.parquet")
    return rows[rows["split"] == "test"].reset_index(drop=True)


@pytest.fixture
def some(ready, test_rows, tmp_path):
    """A folder of five test images."""
    folder = tmp_path / "some"
    folder.mkdir()
    for i, row in enumerate(test_rows["row"].head(5)):
        shutil.copy(ready.root / ready.manifest["image"][row], folder / f"secret {i}.png")
    return folder


def volume(file, n=3):
    pixels = np.random.default_rng(0).integers(0, 200, (n, 40, 40), dtype=np.uint8)
    np.save(file, pixels)
    return pixels


def test_an_exported_network_gives_the_run_s_probabilities_again(model, some, test_rows):
    found = predict.predict(model, some, "ultrasound")
    assert list(found.columns) == list(predict.COLUMNS)
    assert list(found["image_id"]) == list(test_rows["image_id"].head(5))
    assert np.allclose(found["probability"], test_rows["y_score"].head(5), atol=1e-5)
    assert found["distance"].notna().all() and found["quantile"].between(0, 1).all()


def test_a_run_that_was_not_exported_predicts_too_and_says_what_is_missing(run, some, test_rows):
    found = predict.predict(run, some, "US")
    assert np.allclose(found["probability"], test_rows["y_score"].head(5), atol=1e-5)
    assert found["distance"].isna().all() and found["unlike"].isna().all()
    assert (found["warnings"] == predict.UNCOMPARED).all()


def test_the_threshold_decides_the_class(model, some):
    scores = predict.predict(model, some, "US")["probability"]
    middle = float(scores.median())
    found = predict.predict(model, some, "US", threshold=middle)
    assert list(found["predicted"] == "malignant") == list(scores >= middle)
    with pytest.raises(PredictError, match="`threshold` should be 0 to 1"):
        predict.predict(model, some, "US", threshold=50)


def test_names_of_files_are_for_the_screen_and_in_no_table_on_disk(model, some, tmp_path):
    found = predict.predict(model, some, "US")
    assert list(found.index) == [f"secret {i}" for i in range(5)]
    page = pages.table(found, "predictions", tmp_path).data
    assert "secret" not in (tmp_path / "predictions.csv").read_text() + page


def test_another_modality_is_refused_whoever_says_it(model, some, tmp_path):
    with pytest.raises(PredictError, match=r"`modality` should be US.*Received: modality='CT'"):
        predict.predict(model, some, "CT")
    header = {"Modality": "CT", "PatientID": "p"}
    slice_ = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    dicom.write(tmp_path / "head.dcm", slice_, "k", **header)
    with pytest.raises(PredictError, match=r"head\.dcm: expected modality US, found CT"):
        predict.predict(model, tmp_path / "head.dcm")
    with pytest.raises(PredictError, match=r"head\.dcm: expected modality US, found CT"):
        predict.predict(model, tmp_path / "head.dcm", "US")  # the header is believed


def test_a_file_that_does_not_say_its_modality_needs_someone_who_does(model, some):
    with pytest.raises(PredictError, match=r"secret 0\.png: the file does not say.*expected US"):
        predict.predict(model, some)


def test_both_words_for_a_plain_radiograph_are_one(some):
    names = predict.listed(some)
    for stated in ("DX", "x-ray", "CR"):
        predict.check_modality(names, ["CR"], stated)
    with pytest.raises(PredictError, match="should be CR"):
        predict.check_modality(names, ["CR"], "MRI")


def test_a_card_without_a_modality_refuses_nothing_and_warns(model, some):
    card = model.card | {"use": model.card["use"] | {"modality": []}}
    open_to_all = predict.opened(model.network, card, model.statistics)
    found = predict.predict(open_to_all, some)
    assert found["warnings"].str.startswith("modality not checked").all()


def test_unreadable_files_are_named_and_the_others_go_on(model, some):
    (some / "a note.txt").write_text("not an image")
    (some / "secret 2.png").write_bytes(b"")
    (some / ".hidden").write_text("passed over")
    found = predict.predict(model, some, "US")
    assert len(found) == 6 and found["probability"].notna().sum() == 4
    bad = found.loc[["a note", "secret 2"]]
    assert bad["image_id"].isna().all()
    assert (bad["warnings"] == f"can't be read: is empty, or no {images.ACCEPTED}").all()
    pixels, maps = predict.explain(model, some)
    assert len(pixels) == len(maps) == 4


def test_no_reason_holds_a_files_name(model, some, monkeypatch):
    def refuse(path, *_):
        if path.name == "secret 2.png":
            raise PermissionError(13, "Permission denied", str(path))
        return decode(path, *_)

    decode = images._decode
    monkeypatch.setattr(images, "_decode", refuse)
    said = predict.predict(model, some, "US").loc["secret 2", "warnings"]
    assert said == "can't be read: [Errno 13] Permission denied: 'this file'"


@pytest.mark.parametrize("content", [b"", b"no array", "npz"])
def test_a_broken_volume_is_named_and_the_others_go_on(model, some, content):
    file = some / "volume.npy"
    if content == "npz":
        np.savez(some / "volume", np.zeros((2, 4, 4), np.uint8))
        (some / "volume.npz").rename(file)
    else:
        file.write_bytes(content)
    found = predict.predict(model, some, "US")
    assert found["probability"].notna().sum() == len(found) - 1 == 5
    assert found.loc["volume", "warnings"].startswith("can't be read: ")


def test_images_go_black_beside_their_scan_where_those_of_training_did(tmp_path):
    picture = np.zeros((40, 50), np.uint8)
    picture[2:32, 4:46], picture[35:38, 10:30:3] = 120, 255  # a scan, and writing below it
    Image.fromarray(picture).save(tmp_path / "a.png")
    facts = {"interpolation": "nearest", "window": None, "image_size": 40}
    plain, black = (
        own_images.read([tmp_path / "a.png"], {"network": facts | more}).pixels[0]
        for more in ({}, {"outside": "black"})
    )
    assert plain[33:].max() == 255 and black[33:].max() == 0
    assert (plain[2:32] == black[2:32]).all()


def test_where_nothing_can_be_read_the_error_names_every_file(model, tmp_path):
    with pytest.raises(PredictError, match="`files` should be a file"):
        predict.predict(model, tmp_path, "US")
    (tmp_path / "one.png").write_bytes(b"x")
    files = [tmp_path / "one.png", tmp_path / "two.png"]
    with pytest.raises(PredictError, match=r"(?s)one\.png: is empty.*two\.png: no such file"):
        predict.predict(model, files, "US")


def test_a_volume_is_read_slice_by_slice(model, tmp_path):
    pixels = volume(tmp_path / "exam.npy")
    found = predict.predict(model, tmp_path / "exam.npy", "US")
    assert list(found.index) == ["exam.npy#0", "exam.npy#1", "exam.npy#2"]
    assert list(found["image_id"]) == [images.image_id(one) for one in pixels]
    np.save(tmp_path / "flat.npy", pixels[0])
    assert list(predict.predict(model, tmp_path / "flat.npy", "US").index) == ["flat"]
    np.save(tmp_path / "deep.npy", pixels[None])
    with pytest.raises(PredictError, match=r"deep\.npy"):
        predict.predict(model, tmp_path / "deep.npy", "US")


def test_an_image_unlike_the_training_images_is_flagged_with_the_reason(model, some, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (45, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    found = predict.predict(model, [tmp_path / "noise.png", *sorted(some.iterdir())], "US")
    assert list(found["unlike"])[0] and found["unlike"][1:].sum() <= 1
    assert "unlike the training images" in found["warnings"].iloc[0]
    assert "saturation" in found["warnings"].iloc[0]


def test_maps_are_those_of_the_network_at_its_size(model, some):
    pixels, maps = predict.explain(model, some)
    assert maps.shape == pixels.shape == (5, tiny_export.SIZE, tiny_export.SIZE)
    assert maps.dtype == np.uint8
    likely = (predict.predict(model, some, "US")["probability"] >= 0.5).to_numpy(int)
    each = np.stack([predict.explain(model, some, class_index=k)[1] for k in (0, 1)])
    assert np.array_equal(maps, each[likely, np.arange(5)])
    assert not np.array_equal(each[0], each[1])


@pytest.fixture
def flat(model):
    """Two sigmoids upon flat features: both units above 0.5, the negative one the higher."""
    network = backbones.build("tiny", image_size=tiny_export.SIZE, classifier="flatten")
    kernel, _ = network.layers[-1].get_weights()
    network.layers[-1].set_weights([kernel * 1e-3, np.float32([2, 1])])
    return predict.opened(network, model.card, model.statistics)


@pytest.mark.parametrize(("threshold", "named"), [(0.5, 1), (0.9, 0)])
def test_the_map_is_of_the_class_that_is_named(flat, some, threshold, named):
    found = predict.predict(flat, some, "US", threshold)
    pixels, maps = predict.explain(flat, some, threshold=threshold)
    scores = flat(pixels)[1]
    assert (scores[:, 0] > scores[:, 1]).all() and (scores[:, 1] > 0.5).all()
    assert set(found["predicted"]) == {flat.card["use"]["classes"][named]}
    each = [predict.explain(flat, some, class_index=k)[1] for k in (0, 1)]
    assert np.array_equal(maps, each[named])
    assert not np.array_equal(maps, each[1 - named])
    with pytest.raises(PredictError, match="`threshold` should be 0 to 1"):
        predict.explain(flat, some, threshold=2)


def test_a_folder_that_is_no_network_or_was_changed_is_refused(exported, tmp_path):
    with pytest.raises(PredictError, match=r"expected a folder with card\.json"):
        predict.load(tmp_path)
    shutil.copytree(exported, tmp_path / "copy")
    with open(tmp_path / "copy" / "breast-tiny.keras", "ab") as file:
        file.write(b"x")
    with pytest.raises(PredictError, match=r"'breast-tiny.keras': 'changed'"):
        predict.load(tmp_path / "copy")
