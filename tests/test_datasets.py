"""Datasets: every reader, from a raw folder to a validated manifest, and what it refuses."""

import shutil

import numpy as np
import pytest
from PIL import Image

from rin import (
    audit,
    augment,
    datasets,
    dicom,
    images,
    manifest,
    paths,
    phantoms,
    published,
    splits,
)
from rin.datasets import DatasetError

BUSI = "Dataset_BUSI_with_GT"


@pytest.fixture
def breast(tmp_path, breast_root):
    """A copy of the breast phantoms that a test may spoil."""
    return shutil.copytree(breast_root, tmp_path / "breast")


@pytest.fixture
def classes(tmp_path, draw):
    """One folder a class, two images each, the patient in the name."""
    for n, name in enumerate(["cat/p1_0.png", "cat/p1_1.png", "dog/p2_0.png", "dog/p3_0.png"]):
        draw(tmp_path / "mine" / name, seed=n)
    return tmp_path / "mine"


def names(frame):
    return list(frame["image"])


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# breast


def test_breast_phantoms_are_read_like_the_real_download(breast_root):
    frame = datasets.read("breast", breast_root)
    assert len(frame) == 60 and manifest.classes(frame) == ["benign", "malignant"]
    assert set(frame["modality"]) == {"US"} and set(frame["anatomy"]) == {"breast"}
    assert (frame.loc[frame["kind"] == "normal", "label"] == "benign").all()
    assert frame["patient"].isna().all() and frame["group"].notna().all()
    several = frame[frame["mask"].str.contains("|", regex=False)].iloc[0]
    stem = several["image"].removesuffix(".png")
    assert manifest.masks(several["mask"]) == [f"{stem}_mask.png", f"{stem}_mask_1.png"]
    union = images.load_mask(breast_root, several["mask"])
    parts = [images.load(breast_root / name) > 127 for name in manifest.masks(several["mask"])]
    assert union.sum() > max(part.sum() for part in parts)


def test_real_busi_has_its_known_counts(busi):
    assert busi["label"].value_counts().to_dict() == {"benign": 570, "malignant": 210}
    assert busi["kind"].value_counts().to_dict() == {"benign": 437, "malignant": 210, "normal": 133}
    assert busi["mask"].map(lambda cell: len(manifest.masks(cell))).sum() == 798
    twins = busi["image"].str.endswith(("/benign (433).png", "/malignant (145).png"))
    assert twins.sum() == 2 and busi.loc[twins, "group"].nunique() == 1


def test_the_breast_reader_takes_the_folder_itself_too(breast_root):
    frame = datasets.read("breast", breast_root / BUSI, duplicates=False)
    assert len(frame) == 60 and names(frame)[0] == "benign/benign (1).png"


def test_hidden_files_are_passed_over_and_upper_case_suffixes_are_not(breast):
    home = breast / BUSI / "benign"
    (home / "._benign (1).png").write_bytes(b"of a Mac")
    (home / "Thumbs.db").write_bytes(b"of Windows")
    (home / "benign (1).png").rename(home / "benign (1).PNG")
    (home / "benign (1)_mask.png").rename(home / "benign (1)_mask.PNG")
    frame = datasets.read("breast", breast, duplicates=False)
    assert len(frame) == 60
    row = frame[frame["image"].str.endswith("benign (1).PNG")].iloc[0]
    assert row["mask"].endswith("benign (1)_mask.PNG")


def test_two_images_of_one_stem_are_both_kept(breast):
    home = breast / BUSI / "benign"
    shutil.copy(home / "benign (1).png", home / "benign (1).PNG")
    assert len(datasets.read("breast", breast, duplicates=False)) == 61


def test_links_are_read_under_their_own_name_and_dangling_ones_reported(breast, tmp_path):
    home = breast / BUSI / "malignant"
    moved = shutil.move(home / "malignant (1).png", tmp_path / "elsewhere.png")
    (home / "malignant (1).png").symlink_to(moved)
    assert f"{BUSI}/malignant/malignant (1).png" in names(datasets.read("breast", breast))
    (tmp_path / "elsewhere.png").unlink()
    with pytest.raises(manifest.ManifestError, match=r"malignant \(1\).png: no such file"):
        datasets.read("breast", breast)


def test_masks_without_an_image_are_refused(breast):
    (breast / BUSI / "benign" / "benign (1).png").unlink()
    with pytest.raises(DatasetError, match=r"masks without an image: benign \(1\)"):
        datasets.read("breast", breast)


def test_an_empty_or_missing_class_folder_is_refused(breast):
    shutil.rmtree(breast / BUSI / "normal")
    with pytest.raises(DatasetError, match="expected Dataset_BUSI_with_GT/ with the folders"):
        datasets.read("breast", breast)
    (breast / BUSI / "normal").mkdir()
    with pytest.raises(DatasetError, match=r"images like 'normal \(1\).png', found none"):
        datasets.read("breast", breast)


def test_an_unreadable_image_stops_the_search_for_duplicates_or_is_skipped(breast):
    (breast / BUSI / "benign" / "benign (1).png").write_bytes(b"")
    with pytest.raises(images.ImageError, match=r"benign \(1\).png"):
        datasets.read("breast", breast)
    assert len(datasets.read("breast", breast, on_bad_image="skip")) == 60


# pediatric


def test_pediatric_phantoms_keep_their_patients_apart(pediatric_root):
    frame = datasets.read("pediatric", pediatric_root)
    assert len(frame) == 60 and manifest.classes(frame) == ["normal", "pneumonia"]
    assert frame["patient"].str.fullmatch(r"p\d{4}").all()
    assert (frame.groupby("patient")["group"].nunique() == 1).all()
    assert (frame.groupby("patient")["released"].nunique() == 1).all()


def test_real_kermany_has_its_known_counts(project_data):
    frame = datasets.read("pediatric", project_data("kermany"))
    found = frame.groupby("released")["label"].value_counts().unstack()
    assert found.loc["train"].to_list() == [400, 401]
    assert found.loc["val"].to_list() == [8, 8] and found.loc["test"].to_list() == [150, 150]
    assert (frame.groupby("patient")["released"].nunique() == 1).all()
    assert 0 < frame["patient"].nunique() < len(frame)


KERMANY = {
    "NORMAL/IM-0115-0001.jpeg": "a",
    "NORMAL/NORMAL2-IM-0115-0002.jpeg": "a",
    "NORMAL/NORMAL-28501-0001.jpeg": "b",
    "PNEUMONIA/person7_bacteria_20.jpeg": "c",
    "PNEUMONIA/person7_virus_21.JPEG": "c",
    "PNEUMONIA/person70_virus_21.jpeg": "d",
    "PNEUMONIA/BACTERIA-30629-0001.jpeg": "e",
}


def test_the_patient_is_read_from_every_style_of_name_within_its_set(tmp_path, draw):
    root = tmp_path / "chest_xray"
    for folder in ("train", "val", "test"):
        for seed, name in enumerate(KERMANY):
            draw(root / folder / name, seed)
    frame = datasets.read("pediatric", tmp_path)
    one = frame["image"].str.split("/", n=2).str[2].map(KERMANY) + frame["released"]
    assert frame["patient"].nunique() == one.nunique() == 3 * 5
    assert (one.groupby(frame["patient"]).nunique() == 1).all()
    draw(root / "val" / "NORMAL" / "IMG20.jpeg")
    with pytest.raises(DatasetError, match="1 file names hold no patient.*NORMAL/IMG20.jpeg"):
        datasets.read("pediatric", tmp_path)


# folder


def test_a_folder_a_class_is_read_with_duplicates_grouped(classes):
    shutil.copy(classes / "cat/p1_0.png", classes / "dog/copy.png")
    frame = datasets.read("folder", classes, modality="CT", anatomy="lung")
    assert list(frame["label"]) == ["cat", "cat", "dog", "dog", "dog"]
    assert frame["patient"].isna().all() and set(frame["anatomy"]) == {"lung"}
    group = frame.set_index("image")["group"]
    assert group["cat/p1_0.png"] == group["dog/copy.png"] and group.nunique() == 4


@pytest.mark.parametrize("pattern", [r"^(p\d+)_", r"_?(?P<patient>p\d+)", r"(x)?(?P<patient>p\d)"])
def test_patients_come_from_a_pattern(classes, pattern):
    frame = datasets.read("folder", classes, patient=pattern)
    assert list(frame["patient"]) == ["p0001", "p0001", "p0002", "p0003"]
    assert frame["group"].equals(frame["patient"])


def test_patients_can_be_keyed_hashes(classes, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    options = {"patient": r"(p\d+)_", "patients": "hash"}
    first, again = (datasets.read("folder", classes, **options) for _ in range(2))
    assert first.equals(again) and first["patient"].nunique() == 3
    assert first["patient"].str.fullmatch("[0-9a-f]{16}").all()


@pytest.mark.parametrize("pattern", [r"^(p1)_", r"^(p1|)"])
def test_names_that_hold_no_patient_are_refused(classes, pattern):
    with pytest.raises(DatasetError, match="does not match 2 of 4 images, among them dog/p2_0.png"):
        datasets.read("folder", classes, patient=pattern)


@pytest.mark.parametrize(("pattern", "reason"), [("(", "regular expression"), ("p1", "a group")])
def test_a_pattern_that_is_none_is_refused(classes, pattern, reason):
    with pytest.raises(ValueError, match=f"`patient` should .*{reason}"):
        datasets.read("folder", classes, patient=pattern)


def test_deeper_folders_and_links_to_folders_are_read_and_hidden_ones_are_not(classes, draw):
    draw(classes / "cat/scan/1.png", 10)
    draw(classes.parent / "disk/2.png", 11)
    draw(classes / "cat/.ipynb_checkpoints/p1_0-checkpoint.png", 12)
    draw(classes / ".git/3.png", 13)
    (classes / "cat/linked").symlink_to(classes.parent / "disk")
    (classes / "cat/loop").symlink_to(classes / "cat")
    frame = datasets.read("folder", classes)
    assert names(frame[frame["label"] == "cat"]) == [
        "cat/linked/2.png",
        "cat/p1_0.png",
        "cat/p1_1.png",
        "cat/scan/1.png",
    ]


def test_folders_without_two_classes_or_without_images_are_refused(classes):
    with pytest.raises(DatasetError, match=r"cat: expected one folder a class, found \[\]"):
        datasets.read("folder", classes / "cat")
    (classes / "empty").mkdir()
    write(classes / "empty" / "notes.txt", "no image")
    with pytest.raises(DatasetError, match=r"images of class 'empty' \(.*\.png.*\), found none"):
        datasets.read("folder", classes)


# csv


def test_a_csv_names_images_labels_patients_masks_and_folds(classes):
    rows = ["file,finding,who,seg,set"]
    rows += ["cat/p1_0.png,yes,MRN1,dog/p2_0.png,TRAIN", "cat/p1_1.png,no,MRN1,,test"]
    write(classes / "mine.csv", "\n".join(rows))
    columns = {"image": "file", "label": "finding", "patient": "who", "mask": "seg"}
    frame = datasets.read("csv", classes, csv="mine.csv", folds=["set"], **columns)
    assert frame[["label", "patient", "split_0"]].to_numpy().tolist() == [
        ["yes", "p0001", "train"],
        ["no", "p0001", "test"],
    ]
    assert frame["mask"].fillna("").to_list() == ["dog/p2_0.png", ""]


def test_known_columns_need_no_naming_and_others_do_no_harm(classes):
    write(classes / "mine.csv", "image,filename,label,fold\nx,cat/p1_0.png,yes,9\n")
    assert names(datasets.read("csv", classes, csv=classes / "mine.csv")) == ["cat/p1_0.png"]


ONE_CSV = {
    "a row without a file": ("img_dir,label\nno.png,yes", "no.png: no such file under"),
    "an absolute path": ("img_dir,label\n/etc/no.png,yes", "/etc/no.png: image is not a relative"),
    "a path out of the root": ("img_dir,label\n../no.png,yes", "../no.png: image is not a relat"),
    "one image under two labels": (
        "img_dir,label\ncat/p1_0.png,yes\n./cat//p1_0.png,no",
        "cat/p1_0.png: stands in the table more than once, with labels ['no', 'yes']",
    ),
    "an empty label": ("img_dir,label\ncat/p1_0.png,", "mine.csv: line 2 has no image or no label"),
    "an unknown column": ("img,label\ncat/p1_0.png,x", "expected a column of images named one of"),
    "no rows": ("img_dir,label\n", "no image was found"),
    "an empty file": ("", "mine.csv: can't be read as a csv"),
    "lines of different length": ("a,b\n1,2\n1,2,3,4\n", "mine.csv: can't be read as a csv"),
    "another encoding": ("img_dir,label\nb\udce9b\udce9.png,x", "mine.csv: can't be read as a csv"),
}


@pytest.mark.parametrize("name", ONE_CSV)
def test_a_csv_that_is_wrong_is_refused_with_the_reason(name, classes):
    text, reason = ONE_CSV[name]
    (classes / "mine.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError) as caught:
        datasets.read("csv", classes, csv="mine.csv")
    assert isinstance(caught.value, (DatasetError, manifest.ManifestError))
    assert reason in str(caught.value)


def test_a_csv_or_column_that_is_not_there_is_named(classes):
    with pytest.raises(DatasetError, match="no.csv: no such csv"):
        datasets.read("csv", classes, csv="no.csv")
    write(classes / "mine.csv", "img_dir,label\ncat/p1_0.png,yes")
    with pytest.raises(DatasetError, match="mine.csv: no column 'who'; found img_dir, label"):
        datasets.read("csv", classes, csv="mine.csv", patient="who")


@pytest.fixture
def folds(tmp_path, draw):
    """The official files of two folds of three images, ACL style; returns the root."""
    cells = [f"images/{n}_sagittal_10.000000.png" for n in (1046, 7, 311)]
    for seed, cell in enumerate(cells):
        draw(tmp_path / "acl" / cell, seed)
    for fold, order in (("1", [0, 1, 2]), ("2", [1, 2, 0])):
        for split, n in zip(("train", "val", "test"), order, strict=True):
            text = f"filename,acl_label\n{cells[n]},{'yes' if n else 'no'}\n"
            write(tmp_path / "acl" / "dataframe" / f"{split}_fold{fold}.csv", text)
    return tmp_path / "acl"


def test_official_fold_files_work_as_they_are(folds):
    frame = datasets.read("csv", folds, csv="dataframe/*.csv")
    found = frame.set_index("image")[["label", "split_0", "split_1"]]
    assert found.loc["images/1046_sagittal_10.000000.png"].to_list() == ["no", "train", "test"]
    assert found.loc["images/7_sagittal_10.000000.png"].to_list() == ["yes", "val", "train"]
    assert found.loc["images/311_sagittal_10.000000.png"].to_list() == ["yes", "test", "val"]


def test_files_of_a_single_split_need_no_fold_number(folds):
    for split in ("train", "val", "test"):
        (folds / f"dataframe/{split}_fold1.csv").rename(folds / f"{split}.csv")
    frame = datasets.read("csv", folds, csv="*.csv")
    assert manifest.split_columns(frame) == ["split_0"]


FOLDS = {
    "another label": ("val_fold2.csv", "images/311_sagittal_10.000000.png,no", "has 2 labels"),
    "an image twice in a fold": (
        "val_fold2.csv",
        "images/311_sagittal_10.000000.png,yes\nimages/7_sagittal_10.000000.png,yes",
        "7_sagittal_10.000000.png stands twice in fold 2",
    ),
    "an image in one fold only": (
        "val_fold2.csv",
        "images/1_sagittal_1.000000.png,yes",
        "is missing from a fold (2 such)",
    ),
    "a name that says no set": ("fold2.csv", "images/7.png,yes", "expected a name that ends in"),
}


@pytest.mark.parametrize("name", FOLDS)
def test_fold_files_that_disagree_are_refused(name, folds):
    file, rows, reason = FOLDS[name]
    write(folds / "dataframe" / file, f"filename,acl_label\n{rows}\n")
    with pytest.raises(DatasetError) as caught:
        datasets.read("csv", folds, csv="dataframe/*.csv")
    assert reason in str(caught.value)


def test_fold_columns_and_fold_files_exclude_each_other(folds):
    with pytest.raises(DatasetError, match="`folds` names columns of one csv, found 6 files"):
        datasets.read("csv", folds, csv="dataframe/*.csv", folds=["set"])


# all of them


def test_tasks_roots_and_patients_that_are_unknown_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`task` should be one of .*task='brest'"):
        datasets.read("brest", tmp_path / "no")
    with pytest.raises(DatasetError, match="no: no such folder; expected the breast dataset"):
        datasets.read("breast", tmp_path / "no")
    with pytest.raises(ValueError, match="`patients` should be number or hash"):
        datasets.read("breast", tmp_path, patients="raw")


@pytest.mark.parametrize("task", ["breast", "pediatric"])
def test_a_folder_of_something_else_is_refused_with_what_was_found(task, classes):
    with pytest.raises(DatasetError, match=r"expected \w+/ with the folders .*; found \['cat'"):
        datasets.read(task, classes)


def test_phantoms_are_known_by_their_marker(breast_root, tmp_path):
    assert datasets.is_phantom(breast_root)["task"] == "breast"
    assert datasets.is_phantom(tmp_path) is None


def test_every_task_names_a_known_protocol_and_augmentation_and_the_papers_classes():
    for name, row in datasets.TASKS.items():
        assert datasets.task(name) is row
        assert row.protocol in splits.PROTOCOLS and row.augmentation in augment.RANGES
    for paper in published.tasks().itertuples():
        assert datasets.task(paper.task).classes == (paper.negative, paper.positive)


def test_the_readers_own_folder_is_taken_and_phantoms_only_where_there_are_some(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    assert datasets.locate("breast", "data/busi") == tmp_path / "data/busi"
    home = datasets.locate("pediatric", n_phantoms=12, seed=1)
    assert home == tmp_path / "data/phantoms/pediatric-12-seed1"
    assert datasets.is_phantom(home)["seed"] == 1
    with pytest.raises(DatasetError, match="`data_dir` is empty, and phantoms exist for"):
        datasets.locate("folder")


def test_a_folder_inside_phantoms_counts_as_phantoms(tmp_path):
    root = phantoms.write("pediatric", tmp_path / "chest", n=12)
    assert datasets.is_phantom(root)["task"] == "pediatric"
    assert datasets.is_phantom(root / "chest_xray" / "train")["task"] == "pediatric"
    assert datasets.is_phantom(tmp_path) is None


@pytest.mark.parametrize("reader", ["folder", "csv"])
def test_the_readers_own_dicom_files_are_read_in_the_window_asked_for(reader, tmp_path):
    pixels = np.array([[0, 40, 80, 120]], np.uint16)
    for name in ("a/1.dcm", "b/2.dcm"):
        (tmp_path / name).parent.mkdir()
        dicom.write(tmp_path / name, pixels, name, bits=12, Modality="CT", PatientID="x")
    write(tmp_path / "list.csv", "image,label\na/1.dcm,a\nb/2.dcm,b\n")
    options = {"csv": "list.csv"} if reader == "csv" else {}
    frame = datasets.read(reader, tmp_path, window=(40, 80), duplicates=False, **options)
    assert list(frame["window"]) == ["40/80", "40/80"]
    seen = images.opener(frame, tmp_path)("a/1.dcm")
    assert seen.tolist() == [[0, 128, 255, 255]]
    with pytest.raises(ValueError, match="`window` should be"):
        datasets.read(reader, tmp_path, window=(40, 0), **options)


# identifiers, in every reader that takes them

WRITTEN = {
    "a space": ["P{}", "P{} "],
    "a float": ["{}", "{}.0"],
    "a composed sign": ["{}\u00e9", "{}e\u0301"],
}


@pytest.mark.parametrize("how", WRITTEN)
def test_ten_persons_written_in_two_ways_are_ten_patients(tmp_path, draw, how):
    rows = []
    for n in range(40):
        draw(tmp_path / f"imgs/{n:04d}.png", n)
        name = WRITTEN[how][n % 2].format(n // 4)
        rows.append(f"imgs/{n:04d}.png,{['malignant', 'benign'][n % 2]},{name}")
    text = "\n".join(["image,label,patient", *rows])
    (tmp_path / "all.csv").write_text(text + "\n", encoding="utf-8")
    frame = datasets.read("csv", tmp_path, csv="all.csv", patient="patient")
    assert len(frame) == 40 and frame["patient"].nunique() == frame["group"].nunique() == 10
    torn = frame.assign(split_0=["train", "test"] * 20)
    assert len(audit.leaks(torn)) == 10


def test_a_patient_in_file_names_has_one_form(tmp_path, draw):
    for n, name in enumerate(["cat/Zo\u00e9_1.png", "dog/Zoe\u0301_2.png", "dog/Zoe_3.png"]):
        draw(tmp_path / name, n)
    frame = datasets.read("folder", tmp_path, patient=r"^(\w+)_")
    assert frame["patient"].nunique() == 2
    named = frame.set_index("image")["patient"]
    assert named["cat/Zo\u00e9_1.png"] == named["dog/Zoe\u0301_2.png"] != named["dog/Zoe_3.png"]


def test_a_csv_and_the_disk_may_write_accents_in_two_ways(tmp_path, draw):
    names = ["Zoe\u0301", "Rene\u0301"]
    for n, name in enumerate(names):
        draw(tmp_path / f"{name}.png", n)
    text = "image,label\nZo\u00e9.png,x\nRen\u00e9.png,y\n"
    (tmp_path / "all.csv").write_text(text, encoding="utf-8")
    frame = datasets.read("csv", tmp_path, csv="all.csv")
    assert set(frame["image"]) == {f"{name}.png" for name in names}


# groups where patients are known


def test_patients_who_share_an_image_are_one_group(tmp_path, draw):
    for n in range(6):
        draw(tmp_path / f"cat/p{n}_a.png", seed=n)
        draw(tmp_path / f"dog/p{n + 6}_a.png", seed=n + 6)
    draw(tmp_path / "dog/p6_copy.png", seed=0)
    frame = datasets.read("folder", tmp_path, patient=r"(p\d+)_")
    group = frame.set_index("image")["group"]
    assert frame["patient"].nunique() == 12 and group.nunique() == 11
    assert group["cat/p0_a.png"] == group["dog/p6_copy.png"] == group["dog/p6_a.png"]
    alone = datasets.read("folder", tmp_path, patient=r"(p\d+)_", duplicates=False)
    assert alone["group"].equals(alone["patient"])


def test_above_the_limit_only_exact_duplicates_join_unless_asked(
    tmp_path, draw, monkeypatch, capsys
):
    for n in range(3):
        draw(tmp_path / f"cat/p{n}_a.png", seed=n)
        pixels = draw(tmp_path / f"dog/p{n + 3}_a.png", seed=n + 3)
    draw(tmp_path / "dog/p9_copy.png", seed=0)
    Image.fromarray((pixels * 0.9).astype(np.uint8)).save(tmp_path / "cat/p8_near.png")
    options = {"patient": r"(p\d)_"}
    assert datasets.read("folder", tmp_path, **options)["group"].nunique() == 6
    monkeypatch.setattr(audit, "NEAR_LIMIT", 7)
    capsys.readouterr()
    frame = datasets.read("folder", tmp_path, **options)
    group = frame.set_index("image")["group"]
    assert group.nunique() == 7 and group["cat/p0_a.png"] == group["dog/p9_copy.png"]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("folder: 8 images, more than 7: exact duplicates are joined")
    asked = datasets.read("folder", tmp_path, duplicates=True, **options)
    assert asked["group"].nunique() == 6
