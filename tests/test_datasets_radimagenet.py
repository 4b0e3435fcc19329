"""RadImageNet: the release's folders and lists, its 165 classes, and their phantoms."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from rin import audit, datasets, images, manifest, phantoms, published, splits
from rin.datasets import DatasetError, radimagenet

HOME = "radiology_ai"
FILES = {
    "CT/lung/Nodule/lung000001.png": "train",
    "CT/lung/Nodule/lung000002.png": "test",
    "MR/knee/normal/knee000003.png": "val",
    "US/liver/usn000004.png": "train",
    "US/thyroid_nodule/usn000005.png": "test",
}


def write_lists(root, sets, label=lambda name: name.split("/")[-2]):
    """The three lists; `sets` maps a path below `radiology_ai/` to its set."""
    for split in manifest.SPLITS:
        rows = [f"{HOME}/{name},{label(name)}" for name in sets if sets[name] == split]
        (root / f"RadiologyAI_{split}.csv").write_text("\n".join(["filename,label", *rows]) + "\n")


@pytest.fixture
def release(tmp_path, draw):
    """Five images in five sets and folders as released; returns the root."""
    for seed, name in enumerate(FILES):
        draw(tmp_path / HOME / name, seed)
    write_lists(tmp_path, FILES)
    return tmp_path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The default phantoms, a little smaller."""
    folder = tmp_path_factory.mktemp("phantoms") / "radimagenet"
    return phantoms.write("radimagenet", folder, n=240, size=64)


@pytest.fixture(scope="module")
def frame(root):
    return datasets.read("radimagenet", root, duplicates=False)


def read(root, **options):
    return datasets.read("radimagenet", root, duplicates=False, **options)


def excluded(frame):
    return {why: found["examples"] for why, found in frame.attrs["excluded"].items()}


# the reader


def test_every_class_is_modality_anatomy_and_name_as_released(release):
    found = read(release).set_index("image")
    assert list(found.index) == sorted(f"{HOME}/{name}" for name in FILES)
    keys = found[["label", "modality", "anatomy", "class", "split_0"]].drop_duplicates("label")
    assert keys.to_numpy().tolist() == [
        ["CT/lung/Nodule", "CT", "lung", "Nodule", "train"],
        ["MR/knee/normal", "MR", "knee", "normal", "val"],
        ["US/liver", "US", "liver", "liver", "train"],
        ["US/thyroid_nodule", "US", "thyroid", "thyroid_nodule", "test"],
    ]
    assert found["patient"].isna().all()


def test_both_keys_of_every_known_class_join_the_published_table():
    known = published.classes()
    facts = pd.DataFrame([radimagenet._facts(label) for label in known["label"]])
    assert facts[["label", *radimagenet.KEY]].equals(known[["label", *radimagenet.KEY]])


def test_the_folder_itself_may_be_the_root_with_its_lists_inside(release):
    frame = read(release / HOME)
    assert list(frame["image"]) == sorted(FILES) and "split_0" not in frame
    write_lists(release / HOME, FILES)
    assert dict(zip(*read(release / HOME)[["image", "split_0"]].T.to_numpy(), strict=True)) == FILES


def test_the_lists_can_be_left_alone_or_be_absent(release):
    assert "split_0" not in read(release, lists="none")
    for file in release.glob("*.csv"):
        file.unlink()
    frame = read(release)
    assert "split_0" not in frame and len(frame) == 5
    with pytest.raises(ValueError, match="`lists` should be one of .*lists='some'"):
        read(release, lists="some")


def test_the_official_split_is_that_of_the_lists(root):
    frame = read(root)
    with pytest.warns(splits.SmallSplitWarning, match="fewer than 10 images of a class"):
        split = splits.assign(frame, "official")
    assert split["split_0"].equals(frame["split_0"])


def test_what_lists_and_folders_do_not_share_is_left_out_and_counted(release, draw):
    draw(release / HOME / "CT/lung/Nodule/lung000009.png", 9)
    (release / HOME / "US/liver/usn000004.png").unlink()
    frame = read(release)
    assert len(frame) == 4 and not frame["label"].eq("US/liver").any()
    assert excluded(frame) == {
        "named by no list": [f"{HOME}/CT/lung/Nodule/lung000009.png"],
        "in a list, but not in its folder": [f"{HOME}/US/liver/usn000004.png"],
    }


def test_lists_of_quite_another_copy_are_refused(release):
    write_lists(release, {name.replace("0000", "9999"): split for name, split in FILES.items()})
    with pytest.raises(DatasetError, match="none of the 5 images in the lists is there, such as"):
        read(release)


@pytest.mark.parametrize("start", ["knee-", "MR/knee/", ""])
def test_labels_of_a_list_may_name_the_anatomy_too(release, start):
    write_lists(release, {"MR/knee/normal/knee000003.png": "val"}, lambda name: f"{start}normal")
    assert list(read(release)["label"]) == ["MR/knee/normal"]


NODULE, LIVER = f"{HOME}/CT/lung/Nodule/lung000001.png", f"{HOME}/US/liver/usn000004.png"
WRONG = {
    "another class": (
        f"filename,label\n{NODULE},normal\n{LIVER},liver\n",
        f"contradict the folders of 1 images, such as {NODULE}, labeled 'normal'",
    ),
    "another anatomy": (
        f"filename,label\n{HOME}/MR/knee/normal/knee000003.png,MR/hip/normal\n",
        "labeled 'MR/hip/normal'",
    ),
    "twice in a list": (
        f"filename,label\n{NODULE},Nodule\n./{NODULE},Nodule\n",
        f"1 images stand in the lists more than once, such as {NODULE} (train, train)",
    ),
    "twice in the lists": (
        f"filename,label\n{HOME}/MR/knee/normal/knee000003.png,normal\n",
        "knee000003.png (train, val)",
    ),
    "out of the root": ("filename,label\n../x.png,x\n", "RadiologyAI_train.csv: line 2 has no"),
    "an absolute path": (f"filename,label\n{NODULE},Nodule\n/x.png,x\n", "line 3 has no label, or"),
    "no label": (f"filename,label\n{NODULE},\n", f"no image inside the root: '{NODULE}' (1 such)"),
    "no name": ("filename,label\n,Nodule\n", "no image inside the root: '' (1 such)"),
    "other columns": (f"file,label\n{NODULE},x\n", "columns filename and label, found file, label"),
    "nothing": ("", "RadiologyAI_train.csv: can't be read as a csv"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_list_that_is_wrong_is_refused_with_the_reason(name, release):
    text, reason = WRONG[name]
    if name != "twice in the lists":
        write_lists(release, {})
    (release / "RadiologyAI_train.csv").write_text(text)
    with pytest.raises(DatasetError) as caught:
        read(release)
    assert reason in str(caught.value)


def test_one_or_two_lists_are_not_taken_for_all(release):
    (release / "RadiologyAI_val.csv").unlink()
    with pytest.raises(
        DatasetError, match="expected three lists, found only .*_train.csv, .*_test"
    ):
        read(release)


def test_images_outside_the_class_folders_are_counted_and_hidden_ones_passed_over(release, draw):
    home = release / HOME
    for seed, name in enumerate(["CT/lung/a.png", "MR/knee/normal/more/b.png", "US/c.PNG"]):
        draw(home / name, seed)
    draw(home / "US/liver/._usn000004.png", 8)
    draw(home / "US/.trash/d.png", 9)
    (home / "US/liver/Thumbs.db").write_bytes(b"of Windows")
    (home / "US/cbd").mkdir()
    frame = read(release, lists="none")
    assert len(frame) == 5
    stray = [f"{HOME}/CT/lung/a.png", f"{HOME}/MR/knee/normal/more/", f"{HOME}/US/c.PNG"]
    assert excluded(frame) == {"not in a class folder": stray}


def test_rows_are_in_order_of_their_paths_whatever_the_folders_are_called(tmp_path, draw):
    for seed, name in enumerate(["ca/1", "ca++_tendinosis/1", "ca+/1", "ca_/2.b", "ca/1.A"]):
        draw(tmp_path / HOME / "MR/shoulder" / f"{name}.png", seed)
    found = list(radimagenet.scan(tmp_path)["image"])
    assert found == sorted(found) and len(found) == 5


def test_links_count_under_their_own_name_and_dangling_ones_are_reported(release, tmp_path):
    liver = release / HOME / "US/liver"
    shutil.move(liver, tmp_path / "disk")
    liver.symlink_to(tmp_path / "disk")
    assert LIVER in list(read(release)["image"])
    (tmp_path / "disk/usn000004.png").unlink()
    (tmp_path / "disk/usn000004.png").symlink_to("nowhere.png")
    with pytest.raises(manifest.ManifestError, match="usn000004.png: no such file"):
        read(release)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetError, match=r"expected radiology_ai/ .*; found \['cat'\]"):
        read(tmp_path)
    (tmp_path / HOME / "CT").mkdir(parents=True)
    with pytest.raises(DatasetError, match="expected images like CT/lung/Nodule/.*, found none"):
        read(tmp_path)


def test_the_stand_in_of_real_images_has_its_known_counts(project_data):
    frame = read(project_data("mini_radimagenet"))
    counts = frame["label"].value_counts()
    assert counts.pop("CT/lung/benign_nodule") == 102 and set(counts) == {400} and len(counts) == 8
    assert frame["split_0"].value_counts().to_dict() == {"train": 2476, "test": 496, "val": 330}
    table = radimagenet.report(frame).query("found")
    assert list(table.loc[table["known"], "class"]) == ["normal", "normal"]


# classes found and known


def test_unknown_and_missing_classes_are_reported(release, draw):
    draw(release / HOME / "CT/lung/tumor/lung7.png", 7)
    table = radimagenet.report(read(release, lists="none"))
    assert list(table) == ["modality", "anatomy", "class", "n", "known", "found"]
    assert len(table) == 166 and table["known"].sum() == 165 and table["found"].sum() == 5
    assert table["n"].sum() == 6 and (table["n"].gt(0) == table["found"]).all()
    assert list(table.loc[~table["known"], "class"]) == ["tumor"]
    nodule = table[table["class"] == "Nodule"].iloc[0]
    assert nodule["n"] == 2 and nodule["known"] and nodule["found"]


def test_classes_are_counted_in_the_papers_groups(release, draw):
    for seed, name in enumerate(["MR/af/normal/1", "MR/af/hematoma/1", "XX/1", "US/gb/1"]):
        draw(release / HOME / f"{name}.png", seed)
    draw(release / HOME / "MR/wrist/normal/1.png", 9)
    table = radimagenet.by_group(read(release, lists="none"))
    assert table.to_numpy().tolist() == [
        ["CT", "lung", 1, 2, 2.0],
        ["US", "thyroid", 1, 1, 1.0],
        ["US", "abdomen/pelvis", 2, 2, 1.0],
        ["MR", "knee", 1, 1, 1.0],
        ["MR", "ankle/foot", 2, 2, 1.0],
        ["MR", "wrist", 1, 1, 1.0],
    ]
    columns = ["modality", "anatomy", "classes", "images", "average_class_size"]
    assert list(table) == columns


# the phantoms


def test_phantoms_have_known_classes_of_unequal_size_and_names_as_released(frame):
    assert len(frame) == 240 and frame.attrs["excluded"] == {}
    table = radimagenet.report(frame).query("found")
    assert len(table) == 14 and table["known"].all()
    assert table["n"].min() >= 8 and table["n"].max() >= 3 * table["n"].min()
    assert {"Plantar_plate_tear", "achilles_pathology_", "pituatary_lesion"} <= set(table["class"])
    stem = r"(lung|abd|abd-normal|knee|brain|foot|ankle|usn)\d{6}\.png"
    assert frame["image"].str.rsplit("/", n=1).str[-1].map(lambda n: re.fullmatch(stem, n)).all()
    shares = frame["split_0"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"train": 0.75, "val": 0.1, "test": 0.15}, abs=0.02)


def test_the_audit_finds_the_copies_and_the_blank_images(frame, root):
    pairs = audit.duplicates(frame, root)
    found = {tuple(sorted(pair)) for pair in pairs[["label_a", "label_b"]].to_numpy()}
    assert found == {
        ("CT/lung/Airspace_opacity", "CT/lung/Nodule"),
        ("MR/af/Plantar_plate_tear", "MR/af/achilles_pathology_"),
        ("MR/knee/normal", "US/kidney"),  # both blank
        ("US/gb", "US/gb"),
    }
    assert (pairs["kind"] == "exact").all()
    blank = [name for name in frame["image"] if not images.load(root / name).any()]
    assert set(frame.set_index("image").loc[blank, "label"]) == {"MR/knee/normal", "US/kidney"}
    assert len(audit.leaks(audit.group(frame, pairs))) >= 2  # the lists do not know of copies


def test_an_image_does_not_depend_on_how_many_are_written(tmp_path):
    for n in (14, 60):
        phantoms.write("radimagenet", tmp_path / str(n), n=n, size=32)
    few, many = (
        {f.relative_to(tmp_path / n) for f in (tmp_path / n).rglob("*.png")} for n in ("14", "60")
    )
    assert few < many and len(few) == 14
    for name in few:
        assert (tmp_path / "14" / name).read_bytes() == (tmp_path / "60" / name).read_bytes()
    with pytest.raises(ValueError, match="at least 14"):
        phantoms.write("radimagenet", tmp_path / "13", n=13, size=32)


def test_only_ultrasound_differs_in_size(frame, root):
    shapes = {modality: set() for modality in ("CT", "MR", "US")}
    for name, modality in zip(frame["image"], frame["modality"], strict=True):
        shapes[modality].add(images.load(root / name).shape)
    assert shapes["CT"] == shapes["MR"] == {(64, 64)} and len(shapes["US"]) > 20


def test_a_thumbnail_beats_chance_and_solves_not_everything(frame, root):
    frame = audit.group(frame, audit.duplicates(frame, root))
    pictures = [Image.fromarray(images.load(root / name)) for name in frame["image"]]
    thumbnails = [np.ravel(p.resize((16, 16), Image.Resampling.BOX)) for p in pictures]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    y_true, x = frame["label"], np.array(thumbnails, float)
    with threadpool_limits(1):  # threads that wait for each other take a hundred times as long
        y_pred = cross_val_predict(model, x, y_true, groups=frame["group"], cv=folds)
    assert 2 / y_true.nunique() < balanced_accuracy_score(y_true, y_pred) < 0.95
    organs = [labels.str.rsplit("/", n=1).str[0] for labels in (y_true, pd.Series(y_pred))]
    assert (organs[0] == organs[1]).mean() > 0.9  # what is hard is the finding


@pytest.mark.parametrize(
    "folder, said",
    [
        ("MR/af/soft_tissue_fluid", "af-soft tissue fluid"),
        ("MR/spine/dural_epidural_abn", "spine-dural/epidural abn"),
        ("US/thyroid_nodule", "thyroid-nodule"),
        ("MR/abd/normal", "mriabd-normal"),
        ("MR/mriabd/normal", "mriabd-normal"),
        ("CT/lung/ca++_tendinosis", "CT/lung/ca++_tendinosis"),
    ],
)
def test_lists_may_write_a_class_in_other_ways(folder, said, tmp_path, draw):
    name = f"{HOME}/{folder}/x000001.png"
    draw(tmp_path / name)
    for part in ("train", "val", "test"):
        rows = f"{name},{said}\n" if part == "train" else ""
        (tmp_path / f"RadiologyAI_{part}.csv").write_text(f"filename,label\n{rows}")
    frame = datasets.read("radimagenet", tmp_path)
    assert list(frame["split_0"]) == ["train"]
    assert frame["label"][0] == folder.replace("mriabd", "abd")


@pytest.mark.parametrize("said", ["hip-soft tissue fluid", "abnormal", "fluid", "af"])
def test_lists_that_mean_another_class_are_refused(said, tmp_path, draw):
    name = f"{HOME}/MR/af/{'normal' if said == 'abnormal' else 'soft_tissue_fluid'}/x000001.png"
    draw(tmp_path / name)
    for part in ("train", "val", "test"):
        rows = f"{name},{said}\n" if part == "train" else ""
        (tmp_path / f"RadiologyAI_{part}.csv").write_text(f"filename,label\n{rows}")
    with pytest.raises(DatasetError, match="contradict the folders of 1 images"):
        datasets.read("radimagenet", tmp_path)
