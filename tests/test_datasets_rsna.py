"""The two RSNA challenges: labels, patients and what is refused, by hand and on phantoms."""

import numpy as np
import pandas as pd
import pydicom
import pytest

from rin import datasets, dicom, images, manifest, phantoms
from rin.datasets import DatasetError, rsna_hemorrhage, rsna_pneumonia
from rin.phantoms import rsna_hemorrhage as ct_phantoms
from rin.phantoms import rsna_pneumonia as cr_phantoms

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


@pytest.fixture(scope="module")
def pneumonia_root(tmp_path_factory):
    return phantoms.write("pneumonia", tmp_path_factory.mktemp("rsna") / "cr", n=48, size=48)


@pytest.fixture(scope="module")
def hemorrhage_root(tmp_path_factory):
    return phantoms.write("hemorrhage", tmp_path_factory.mktemp("rsna") / "ct", n=60, size=48)


def put(path, patient="p", modality="CR"):
    """A DICOM file of 4x4 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    dicom.write(path, pixels, key=path.name, Modality=modality, PatientID=patient)


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def excluded(frame):
    return {why: said["n"] for why, said in frame.attrs["excluded"].items()}


# pneumonia

BOXES = "patientId,x,y,width,height,Target"
CHESTS = [BOXES, "a,,,,,0", "b,1.0,1.0,2.0,2.0,1", "b,3.0,1.0,2.0,2.0,1", "c,,,,,0"]


@pytest.fixture
def chests(tmp_path):
    """`chests(lines)`: three images a, b, c and the rows of the labels."""

    def one(lines=CHESTS, home=tmp_path):
        for name in "abc":
            put(home / "stage_2_train_images" / f"{name}.dcm")
        text(home / "stage_2_train_labels.csv", lines)
        return tmp_path

    return one


def test_several_boxes_of_a_patient_are_one_image(chests):
    frame = datasets.read("pneumonia", chests())
    assert frame[["image", "label", "patient"]].to_numpy().tolist() == [
        ["stage_2_train_images/a.dcm", "no pneumonia", "p0001"],
        ["stage_2_train_images/b.dcm", "pneumonia", "p0002"],
        ["stage_2_train_images/c.dcm", "no pneumonia", "p0003"],
    ]
    assert set(frame["modality"]) == {"CR"} and set(frame["anatomy"]) == {"chest"}
    assert "kind" not in frame and excluded(frame) == {}


def test_the_detailed_classes_become_the_kind(chests, tmp_path):
    lines = ["patientId,class", "a,Normal", "b,Lung Opacity", "b,Lung Opacity"]
    text(tmp_path / "stage_2_detailed_class_info.csv", lines)
    frame = datasets.read("pneumonia", chests())
    assert frame["kind"].fillna("").to_list() == ["Normal", "Lung Opacity", ""]


def test_the_folder_around_the_download_is_taken_too(chests, tmp_path):
    home = "rsna-pneumonia-detection-challenge"
    frame = datasets.read("pneumonia", chests(home=tmp_path / home))
    assert frame["image"].iloc[0] == f"{home}/stage_2_train_images/a.dcm"


def test_rows_without_a_file_and_files_without_a_row_are_left_out_and_counted(chests):
    frame = datasets.read("pneumonia", chests([*CHESTS[:-1], "d,,,,,0", "e,,,,,1"]))
    assert frame["image"].str[-5:].to_list() == ["a.dcm", "b.dcm"]
    assert excluded(frame) == {"a row without a file": 2, "a file without a row": 1}
    assert frame.attrs["excluded"]["a row without a file"]["examples"] == ["d", "e"]


WRONG_CHESTS = {
    "two targets": ([*CHESTS, "a,,,,,1"], "a stands in several rows with different Target"),
    "another target": ([*CHESTS, "d,,,,,2"], "d: Target should be one of 0, 1, found '2'"),
    "an empty target": ([*CHESTS, "d,,,,,"], "d: Target should be one of 0, 1, found ''"),
    "a way out": ([*CHESTS, "../d,,,,,0"], "line 6: '../d' is no id"),
    "an absolute way out": ([*CHESTS, "/d,,,,,0"], "line 6: '/d' is no id"),
    "no id": ([*CHESTS, ",,,,,0"], "line 6: '' is no id"),
    "another column": (["id,Target", "a,0"], "no column patientId; found id, Target"),
    "another csv": (["a,b", "1,2,3", "1,2,3,4,5"], "can't be read as a csv"),
    "no file of them": ([BOXES, "x,,,,,0"], "like x.dcm; none of the 1 images of the csv"),
    "no rows": ([BOXES], "none of the 0 images of the csv is among its 3 files"),
}


@pytest.mark.parametrize("name", WRONG_CHESTS)
def test_pneumonia_labels_that_are_wrong_are_refused(chests, name):
    lines, reason = WRONG_CHESTS[name]
    with pytest.raises(DatasetError) as caught:
        datasets.read("pneumonia", chests(lines))
    assert reason in str(caught.value)


def test_a_missing_folder_or_csv_is_named(chests, tmp_path):
    with pytest.raises(DatasetError, match="expected rsna-pneumonia.*stage_2_train_images"):
        datasets.read("pneumonia", tmp_path)
    (chests() / "stage_2_train_labels.csv").unlink()
    with pytest.raises(DatasetError, match="stage_2_train_labels.csv: no such file"):
        datasets.read("pneumonia", tmp_path)


# hemorrhage


def slice_rows(name, present=(), any_of=None):
    flags = {kind: int(kind in present) for kind in SUBTYPES}
    flags["any"] = max(flags.values()) if any_of is None else any_of
    return [f"{name}_{kind},{flag}" for kind, flag in flags.items()]


BRAINS = slice_rows("ID_1") + slice_rows("ID_2", ["subdural", "epidural"]) + slice_rows("ID_3")


@pytest.fixture
def brains(tmp_path):
    """`brains(lines)`: three slices of two patients and the rows of the labels."""

    def one(lines=BRAINS, home=tmp_path):
        for name, patient in {"ID_1": "ID_b", "ID_2": "ID_a", "ID_3": "ID_b"}.items():
            put(home / "stage_2_train" / f"{name}.dcm", patient, "CT")
        text(home / "stage_2_train.csv", ["ID,Label", *lines])
        return tmp_path

    return one


def test_the_label_is_any_and_the_patient_stands_in_the_header(brains):
    frame = datasets.read("hemorrhage", brains())
    assert frame[["image", "label", "patient", "kind", "window"]].to_numpy().tolist() == [
        ["stage_2_train/ID_1.dcm", "no hemorrhage", "p0002", "none", "40/80"],
        ["stage_2_train/ID_2.dcm", "hemorrhage", "p0001", "epidural subdural", "40/80"],
        ["stage_2_train/ID_3.dcm", "no hemorrhage", "p0002", "none", "40/80"],
    ]
    assert set(frame["modality"]) == {"CT"} and set(frame["anatomy"]) == {"head"}
    assert excluded(frame) == {}


def test_every_combination_of_subtypes_has_its_name(tmp_path, brains):
    lines = [row for kind in SUBTYPES for row in slice_rows(f"ID_{kind}", [kind])]
    lines += slice_rows("ID_all", SUBTYPES)
    root = brains(BRAINS + lines)
    for name in (*SUBTYPES, "all"):
        put(root / f"stage_2_train/ID_{name}.dcm", "ID_c", "CT")
    kind = datasets.read("hemorrhage", root).set_index("image")["kind"]
    assert all(kind[f"stage_2_train/ID_{name}.dcm"] == name for name in SUBTYPES)
    assert kind["stage_2_train/ID_all.dcm"] == " ".join(SUBTYPES)


def test_the_top_folder_and_another_window_are_taken_too(brains, tmp_path):
    home = "rsna-intracranial-hemorrhage-detection"
    frame = datasets.read("hemorrhage", brains(home=tmp_path / home), window=(35.5, 200))
    assert frame["image"].iloc[0] == f"{home}/stage_2_train/ID_1.dcm"
    assert set(frame["window"]) == {"35.5/200"}
    for window in ((40, 0), (40,), "brain"):
        with pytest.raises(ValueError, match="`window` should be"):
            datasets.read("hemorrhage", tmp_path, window=window)


def test_rows_that_repeat_are_taken_once_in_any_order(brains):
    frame = datasets.read("hemorrhage", brains())
    again = datasets.read("hemorrhage", brains([*BRAINS[::-1], *BRAINS[6:12]]))
    pd.testing.assert_frame_equal(frame, again)


def test_what_has_no_file_row_or_readable_header_is_left_out_and_counted(brains):
    root = brains(BRAINS + slice_rows("ID_4") + slice_rows("ID_5") + slice_rows("ID_6", (), 1))
    put(root / "stage_2_train/ID_5.dcm", "", "CT")
    put(root / "stage_2_train/ID_6.dcm", "ID_a", "CT")
    put(root / "stage_2_train/ID_7.dcm", "ID_a", "CT")
    (root / "stage_2_train/ID_3.dcm").write_bytes(b"no DICOM")
    frame = datasets.read("hemorrhage", root)
    assert frame["image"].str[-8:].to_list() == ["ID_1.dcm", "ID_2.dcm"]
    assert excluded(frame) == {
        "a row without a file": 1,
        "a file without a row": 1,
        "`any` disagrees with the subtypes": 1,
        "a header that can't be read": 1,
        "a header without a patient": 1,
    }
    assert frame.attrs["excluded"]["a header that can't be read"]["examples"] == ["ID_3"]


def test_truncated_pixels_are_met_when_the_image_is_decoded(brains):
    path = brains() / "stage_2_train/ID_2.dcm"
    path.write_bytes(path.read_bytes()[:-4])
    frame = datasets.read("hemorrhage", path.parents[1], duplicates=False)
    assert len(frame) == 3
    with pytest.raises(images.ImageError, match="ID_2.dcm"):
        images.opener(frame, path.parents[1])("stage_2_train/ID_2.dcm")


WRONG_BRAINS = {
    "both labels": ([*BRAINS, "ID_1_any,1"], "ID_1_any is both 0 and 1 (1 such)"),
    "another label": ([*BRAINS, "ID_4_any,0.5"], "ID_4_any: Label should be one of 0, 1"),
    "another subtype": ([*BRAINS, "ID_4_chronic,0"], "ID_4_chronic: the end of an ID should be"),
    "no subtype": ([*BRAINS, "ID4,0"], "ID4: the end of an ID should be one of epidural"),
    "a missing row": (BRAINS[:-1], "ID_3 has not all of epidural, intraparenchymal,"),
    "a way out": (slice_rows("../ID_1"), "line 2: '../ID_1' is no id (6 such)"),
    "no rows": ([], "none of the 0 images of the csv is among its 3 files"),
}


@pytest.mark.parametrize("name", WRONG_BRAINS)
def test_hemorrhage_labels_that_are_wrong_are_refused(brains, name):
    lines, reason = WRONG_BRAINS[name]
    with pytest.raises(DatasetError) as caught:
        datasets.read("hemorrhage", brains(lines))
    assert reason in str(caught.value)


def test_a_folder_without_one_sound_slice_is_refused(brains):
    root = brains()
    for file in (root / "stage_2_train").iterdir():
        file.write_bytes(b"no DICOM")
    with pytest.raises(DatasetError, match="not one slice with a patient"):
        datasets.read("hemorrhage", root)


# the official form


@pytest.mark.parametrize("home", ["dataframe", "."])
def test_the_official_lists_of_both_tasks_are_read(home, tmp_path, draw):
    for n in range(1, 7):
        draw(tmp_path / f"cr/images/uuid-{n}.png", n)
        draw(tmp_path / f"ct/images/ID_{n}.png", n)
    for split, pair in {"train": (1, 2), "val": (3, 4), "test": (5, 6)}.items():
        chests = [f"images/uuid-{n}.png,{'yes' if n % 2 else 'no'}" for n in pair]
        text(tmp_path / "cr" / home / f"pneumonia_{split}.csv", ["filename,label", *chests])
        brains = [f"images/ID_{n}.png,{'no' if n % 2 else 'yes'},{split}" for n in pair]
        text(tmp_path / "ct" / home / f"hemorrhage_{split}.csv", ["dir,label,pid", *brains])
    chest = datasets.read("pneumonia", tmp_path / "cr")
    assert chest["label"].to_list() == ["pneumonia", "no pneumonia"] * 3
    assert chest["patient"].nunique() == 6 and set(chest["modality"]) == {"CR"}
    head = datasets.read("hemorrhage", tmp_path / "ct")
    assert head["label"].to_list() == ["no hemorrhage", "hemorrhage"] * 3
    assert head["patient"].nunique() == 3 and set(head["anatomy"]) == {"head"}
    assert head["split_0"].to_list() == ["train", "train", "val", "val", "test", "test"]


# phantoms


def test_chest_phantoms_are_read_like_the_real_download(pneumonia_root):
    frame = datasets.read("pneumonia", pneumonia_root)
    counts = frame["kind"].value_counts()
    assert (counts[list(cr_phantoms.IMAGES)] == [16, 21, 11]).all() and excluded(frame) == {}
    assert ((frame["kind"] == "Lung Opacity") == (frame["label"] == "pneumonia")).all()
    boxes = pd.read_csv(pneumonia_root / rsna_pneumonia.LABELS)
    assert boxes["x"].notna().equals(boxes["Target"] == 1)
    found = boxes[boxes["Target"] == 1]
    assert len(found) > found["patientId"].nunique() == 11
    assert (found["x"] >= 0).all() and (found["x"] + found["width"] <= 48).all()
    assert (found["y"] >= 0).all() and (found["y"] + found["height"] <= 48).all()


def test_chest_phantoms_are_bright_inside_their_boxes():
    inside, mirrored = [], []
    for index in range(1, 25):
        _, image, boxes = cr_phantoms.draw("Lung Opacity", index, seed=0, size=96)
        if len(boxes) == 1:
            x, y, width, height = (round(edge) for edge in boxes[0])
            box = np.s_[y : y + height, x : x + width]
            inside.append(image[box].mean())
            mirrored.append(image[:, ::-1][box].mean())
    assert len(inside) > 5 and np.mean(np.subtract(inside, mirrored) > 0) > 0.7


def test_head_phantoms_are_read_like_the_real_download(hemorrhage_root):
    frame = datasets.read("hemorrhage", hemorrhage_root)
    assert len(frame) == 60 and excluded(frame) == {}
    share = (frame["label"] == "hemorrhage").mean()
    assert 0.15 <= share <= 0.30 and frame["kind"].nunique() > 3
    assert frame.groupby("patient").size().between(1, 6).all()
    mixed = frame.groupby("patient")["label"].nunique()
    assert (mixed == 2).sum() > 3  # bleeding patients have slices without blood
    rows = pd.read_csv(hemorrhage_root / rsna_hemorrhage.HOME / rsna_hemorrhage.LABELS)
    assert rows.duplicated().sum() == 12  # as in the real csv, a few rows are repeated


def test_head_phantoms_show_skull_brain_and_blood(hemorrhage_root):
    frame = datasets.read("hemorrhage", hemorrhage_root)
    path = hemorrhage_root / frame["image"].iloc[0]
    assert images.load(path, window=(600, 200)).max() == 255  # bone
    name, dry, _ = ct_phantoms.draw(1, 0, (), seed=0, size=96)
    same, wet, _ = ct_phantoms.draw(1, 0, ("epidural",), seed=0, size=96)
    assert name == same and (wet.astype(int) - dry).max() > 10  # blood
    assert 25 < np.median(dry[20:76, 30:66]) - 1024 < 40  # brain, in Hounsfield units


@pytest.mark.parametrize("task", ["pneumonia", "hemorrhage"])
def test_phantoms_come_in_the_kinds_of_files_that_scanners_write(
    task, pneumonia_root, hemorrhage_root
):
    root = {"pneumonia": pneumonia_root, "hemorrhage": hemorrhage_root}[task]
    files = [pydicom.dcmread(path) for path in sorted(root.rglob("*.dcm"))]
    syntaxes = {file.file_meta.TransferSyntaxUID.name for file in files}
    assert syntaxes == {"Explicit VR Little Endian", "RLE Lossless"}
    assert len({file.SOPInstanceUID for file in files}) == len(files)
    assert {str(file.PatientName) for file in files} == {"PHANTOM^NOBODY"}
    kinds = {
        (f.Modality, f.BitsStored, f.PixelRepresentation, f.PhotometricInterpretation)
        for f in files
    }
    if task == "pneumonia":
        assert kinds == {("CR", 8, 0, "MONOCHROME2"), ("CR", 8, 0, "MONOCHROME1")}
    else:
        assert kinds == {("CT", 12, 0, "MONOCHROME2"), ("CT", 16, 1, "MONOCHROME2")}
        assert {int(file.RescaleIntercept) for file in files} == {-1024}
        assert len({f.StudyInstanceUID for f in files}) == len({f.PatientID for f in files})


def test_an_inverted_phantom_looks_like_the_others(pneumonia_root):
    for path in sorted(pneumonia_root.rglob("*.dcm")):
        grey = dicom.read(path)
        assert grey[-1].mean() > 100 > grey[16:20, 10:16].mean() - 60  # belly, lung
        assert 95 < grey.mean() < 150


@pytest.mark.parametrize("task", ["pneumonia", "hemorrhage"])
def test_no_header_text_reaches_the_manifest(task, pneumonia_root, hemorrhage_root):
    root = {"pneumonia": pneumonia_root, "hemorrhage": hemorrhage_root}[task]
    frame = datasets.read(task, root)
    assert "NOBODY" not in frame.to_csv() + str(frame.attrs)
    if task == "hemorrhage":
        raw = {str(pydicom.dcmread(p).PatientID) for p in root.rglob("*.dcm")}
        assert not any(patient in frame.to_csv() for patient in raw)


def test_a_phantom_slice_does_not_depend_on_how_many_are_written(tmp_path, hemorrhage_root):
    few = phantoms.write("hemorrhage", tmp_path / "few", n=24, size=48)
    for path in few.rglob("*.dcm"):
        assert path.read_bytes() == (hemorrhage_root / path.relative_to(few)).read_bytes()
    with pytest.raises(ValueError, match="`n` should be at least 6"):
        phantoms.write("hemorrhage", tmp_path / "none", n=5)


@pytest.mark.parametrize("task", ["pneumonia", "hemorrhage"])
def test_phantoms_go_into_the_image_store(task, tmp_path, pneumonia_root, hemorrhage_root):
    root = {"pneumonia": pneumonia_root, "hemorrhage": hemorrhage_root}[task]
    frame = datasets.read(task, root)
    kept = images.store(frame, root, 32, tmp_path)
    assert kept.array.shape == (len(frame), 32, 32) and kept.bad == {}
    assert manifest.classes(frame) == sorted(datasets.TASKS[task].classes)
