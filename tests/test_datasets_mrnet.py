"""MRNet: exams to slices, the official lists, what is refused; and its phantoms."""

import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rin import datasets, images, manifest, phantoms, splits
from rin.datasets import DatasetError
from rin.phantoms import mrnet

HOME = "MRNet-v1.0"
TASKS = ("acl", "meniscus")
N_SLICES = {"train/{}/0000": 5, "train/{}/0001": 4, "train/{}/0002": 2, "valid/{}/1130": 3}
LABELS = {
    "train-acl": "0000,0\n0001,1\n0002,0\n",
    "valid-acl": "1130,1\n",
    "train-meniscus": "0000,1\n0001,1\n0002,0\n",
    "valid-meniscus": "1130,0\n",
    "train-abnormal": "0000,1\n0001,1\n0002,1\n",
    "valid-abnormal": "1130,1\n",
}


@pytest.fixture
def root(tmp_path):
    """Four exams; every pixel of slice k is k."""
    for name, n in N_SLICES.items():
        for plane in ("axial", "coronal", "sagittal"):
            path = tmp_path / "mrnet" / HOME / f"{name.format(plane)}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.arange(n, dtype=np.uint8)[:, None, None] + np.zeros((8, 8), np.uint8))
    for name, lines in LABELS.items():
        (tmp_path / "mrnet" / HOME / f"{name}.csv").write_text(lines)
    return tmp_path / "mrnet"


def slices(frame):
    """`{"0000": [1, 2, 3], …}`: the slices read of each exam."""
    parts = frame["image"].str.extract(r"/(\d{4})\.npy#(\d+)$")
    return parts[1].astype(int).groupby(parts[0]).agg(sorted).to_dict()


def labels(frame):
    """`{"0000": "tear", …}`, one label an exam."""
    exams = frame["image"].str.extract(r"/(\d{4})\.npy")[0]
    assert (frame.groupby(exams)["label"].nunique() == 1).all()
    return frame["label"].groupby(exams).first().to_dict()


# the middle slices


def test_the_three_middle_slices_of_every_exam_are_read(root):
    frame = datasets.read("acl", root)
    found = {"0000": [1, 2, 3], "0001": [0, 1, 2], "0002": [0, 1], "1130": [0, 1, 2]}
    assert slices(frame) == found
    assert frame["image"].iloc[0] == f"{HOME}/train/sagittal/0000.npy#1"
    pixels = images.opener(frame, root)
    assert [pixels(name).max() for name in frame["image"][:3]] == [1, 2, 3]


def test_the_number_of_slices_and_the_plane_can_be_chosen(root):
    frame = datasets.read("acl", root, slices=1, plane="coronal")
    assert slices(frame) == {"0000": [2], "0001": [1], "0002": [0], "1130": [1]}
    assert frame["image"].str.contains("/coronal/").all()
    assert len(datasets.read("acl", root, slices=99)) == sum(N_SLICES.values())


def test_the_exam_is_the_patient_and_its_subset_is_no_released_split(root):
    frame = datasets.read("acl", root, duplicates=False)  # these slices share their pixels
    assert frame["patient"].str.fullmatch(r"p000[1-4]").all()
    assert frame["group"].equals(frame["patient"]) and frame["patient"].nunique() == 4
    assert set(frame["modality"]) == {"MR"} and set(frame["anatomy"]) == {"knee"}
    assert "released" not in frame and manifest.split_columns(frame) == []
    assert (frame["subset"] == frame["image"].str.split("/").str[1]).all()
    assert set(frame["subset"]) == {"train", "valid"} and frame.attrs["excluded"] == {}


def test_the_folder_itself_can_be_the_root(root):
    frame = datasets.read("acl", root / HOME)
    assert frame["image"].iloc[0] == "train/sagittal/0000.npy#1" and len(frame) == 11


TORN = {"acl": {"0001", "1130"}, "meniscus": {"0000", "0001"}}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("spoilt", ["garbage", "absent"])
def test_only_the_csv_files_of_the_task_are_read(task, spoilt, root):
    for file in (root / HOME).glob("*.csv"):
        if not file.stem.endswith(task):
            file.unlink()
            if spoilt == "garbage":
                file.write_bytes(b"\xff\x00 no csv")
    found = labels(datasets.read(task, root))
    assert {exam for exam, label in found.items() if label == "tear"} == TORN[task]


@pytest.mark.parametrize("task", TASKS)
def test_a_changed_label_of_the_task_changes_its_exam_and_no_other(task, root):
    before = labels(datasets.read(task, root))
    file = root / HOME / f"train-{task}.csv"
    file.write_text(file.read_text().replace("0002,0", "0002,1"))
    assert labels(datasets.read(task, root)) == before | {"0002": "tear"}


def test_exams_without_a_label_or_a_volume_are_left_out_and_counted(root):
    (root / HOME / "train/sagittal/0000.npy").unlink()
    (root / HOME / "valid-acl.csv").write_text("1131,1\n1132,0\n")
    (root / HOME / "train/sagittal/._0001.npy").write_bytes(b"of a Mac")
    frame = datasets.read("acl", root)
    assert slices(frame) == {"0001": [0, 1, 2], "0002": [0, 1]}
    absent = [f"{s}.npy" for s in ("train/sagittal/0000", "valid/sagittal/1131")]
    assert frame.attrs["excluded"] == {
        "no sagittal volume": {"n": 3, "examples": [*absent, "valid/sagittal/1132.npy"]},
        "no label of acl": {"n": 1, "examples": ["valid/sagittal/1130.npy"]},
    }


# what is refused


def test_a_plane_that_is_not_there_and_a_folder_without_exams_are_refused(root):
    shutil.rmtree(root / HOME / "valid" / "axial")
    with pytest.raises(DatasetError, match="MRNet-v1.0/ with the folders train/axial, valid/axial"):
        datasets.read("acl", root, plane="axial")
    for file in (root / HOME).glob("*/sagittal/*.npy"):
        file.unlink()
    with pytest.raises(DatasetError, match=r"no exam has a label \(4 of acl\) and a volume \(0 sa"):
        datasets.read("acl", root)


WRONG = [{"plane": "oblique"}, {"slices": 0}, {"slices": 2.0}, {"slices": True}]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_setting_out_of_range_is_named(wrong, root):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` should be .*Received"):
        datasets.read("acl", root, **wrong)


def test_the_question_of_any_abnormality_is_no_task(root):
    with pytest.raises(ValueError, match="`task` should be one of .*task='abnormal'"):
        datasets.mrnet.scan(root, "abnormal")


CSVS = {
    "an empty file": (b"", "expected a csv of lines like 0000,1"),
    "another encoding": (b"0000,\xe9", "expected a csv of lines like 0000,1"),
    "uneven lines": (b"0000,1\n0001,1,2,3\n", "expected a csv of lines like 0000,1"),
    "a header": (b"exam,label\n0000,1\n", r"found exam,label \(1 such\)"),
    "a third column": (b"0000,1,0\n0001,1,0\n", "lines like 0000,1, found 3 columns"),
    "another label": (b"0000,1\n0001,2\n0002,\n", r"found 0001,2 \(2 such\)"),
    "zeros lost": (b"0,1\n", r"found 0,1 \(1 such\)"),
    "an exam twice": (b"0000,1\n0000,0\n", r"1 exams stand twice in \*-acl.csv, such as 0000"),
    "an exam of valid": (b"0000,1\n1130,0\n", "1 exams stand twice .*, such as 1130"),
}


@pytest.mark.parametrize("name", CSVS)
def test_a_csv_that_is_wrong_is_refused_with_the_reason(name, root):
    content, reason = CSVS[name]
    (root / HOME / "train-acl.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        datasets.read("acl", root)


def test_a_csv_that_is_not_there_is_named(root):
    (root / HOME / "valid-acl.csv").unlink()
    with pytest.raises(DatasetError, match="valid-acl.csv: expected a csv of lines .*No such file"):
        datasets.read("acl", root)


class Trap:
    """A pickle of it makes a file where it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def trapped(path, trap):
    np.save(path, np.array([Trap(trap)], dtype=object), allow_pickle=True)


VOLUMES = {
    "an array of pickles": (trapped, "can't be read as a volume .*Python objects"),
    "a pickle": (lambda p, trap: p.write_bytes(pickle.dumps(Trap(trap))), "can't be read as a vol"),
    "nothing": (lambda p, trap: p.write_bytes(b""), "can't be read as a volume"),
    "a truncated file": (lambda p, trap: p.write_bytes(p.read_bytes()[:-1]), "can't be read as a"),
    "a broken header": (lambda p, trap: p.write_bytes(p.read_bytes()[:40]), "can't be read as a"),
    "floats": (lambda p, trap: np.save(p, np.zeros((3, 8, 8))), "an array of float64"),
    "one slice": (
        lambda p, trap: np.save(p, np.zeros((8, 8), "u1")),
        r"an array of uint8 \(8, 8\)",
    ),
    "no slice": (
        lambda p, trap: np.save(p, np.zeros((0, 8, 8), "u1")),
        r"an array of uint8 \(0, 8, 8\)",
    ),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_a_volume_that_is_none_is_refused_by_name_and_no_pickle_is_opened(name, root, tmp_path):
    spoil, reason = VOLUMES[name]
    spoil(root / HOME / "train/sagittal/0001.npy", tmp_path / "trap")
    with pytest.raises(DatasetError, match=f"train/sagittal/0001.npy: {reason}"):
        datasets.read("acl", root)
    assert not (tmp_path / "trap").exists()


def test_the_trap_would_have_been_sprung(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "trap")))
    assert (tmp_path / "trap").exists()


# the official lists

LISTS = {
    "acl": ("filename,acl_label", {"0000": "no", "0001": "yes", "1130": "yes"}),
    "meniscus": ("img_dir,label", {"0000": "p", "0001": "p", "1130": "n"}),
}


@pytest.fixture
def official_list(root):
    """`official_list(task, rows)`: the file, its rows "0000 4" (exam, slice), maybe a label."""

    def write(task, rows, name="list.csv"):
        header, words = LISTS[task]
        lines = [header]
        for exam, number, *label in map(str.split, rows):
            word = label[0] if label else words[exam]
            lines.append(f"images/{exam}_sagittal_{number}.000000.png,{word}")
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("\n".join(lines))
        return root / name

    return write


@pytest.mark.parametrize("task", TASKS)
def test_an_official_list_picks_its_slices_counted_from_zero(task, root, official_list):
    file = official_list(task, ["0000 0", "0000 4", "0001 3", "1130 1"])
    frame = datasets.read(task, root, slice_list=file, slices=1)
    assert slices(frame) == {"0000": [0, 4], "0001": [3], "1130": [1]}
    assert {exam for exam, label in labels(frame).items() if label == "tear"} == TORN[task]
    pixels = images.opener(frame, root)
    assert [pixels(name).max() for name in frame["image"]] == [0, 4, 3, 1]
    assert frame["patient"].nunique() == 3 and set(frame["subset"]) == {"train", "valid"}


def test_official_fold_files_give_their_splits(root, official_list):
    rows = {"train": ["0000 1", "0000 2"], "val": ["0001 1"], "test": ["1130 2"]}
    turned = {"train": rows["test"], "val": rows["train"], "test": rows["val"]}
    for fold, sets in (("1", rows), ("2", turned)):
        for split, part in sets.items():
            official_list("meniscus", part, f"lists/meniscus_{split}_fold{fold}.csv")
    frame = datasets.read("meniscus", root, slice_list="lists/*.csv")
    assert frame[["split_0", "split_1"]].to_numpy().tolist() == [
        ["train", "val"],
        ["train", "val"],
        ["val", "test"],
        ["test", "train"],
    ]


REFUSED = {
    "another label than MRNet's": (
        ["0000 1 yes", "0001 1"],
        "own csv; 1 images differ, such as im",
    ),
    "a slice outside its volume": (
        ["0000 4", "0000 5", "0001 4"],
        "have; 2 images .*0000_sagittal_5",
    ),
    "an unknown label": (["0000 1 n"], "expected the labels no and yes; 1 images"),
    "another name": (["x0000 1 no"], "names like 0000_sagittal_12.000000.png; 1 .*/x0000_"),
    "no exam that is there": (["0007 1 no"], "none of its 1 images is of an exam here"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_list_that_contradicts_mrnet_is_refused(name, root, official_list):
    rows, reason = REFUSED[name]
    with pytest.raises(DatasetError, match=f"list.csv: .*{reason}"):
        datasets.read("acl", root, slice_list=official_list("acl", rows))


def test_a_list_of_another_plane_is_refused(root, official_list):
    with pytest.raises(DatasetError, match="expected names like 0000_axial_12.000000.png; 1 image"):
        datasets.read("acl", root, plane="axial", slice_list=official_list("acl", ["0000 1"]))


def test_listed_exams_that_are_not_there_are_left_out_and_counted(root, official_list):
    (root / HOME / "train/sagittal/0001.npy").unlink()
    file = official_list("acl", ["0001 1", "0007 1 no", "0000 1"])
    frame = datasets.read("acl", root, slice_list=file)
    assert slices(frame) == {"0000": [1]}
    assert frame.attrs["excluded"]["listed, but without a volume or a label"]["n"] == 2


@pytest.mark.parametrize(("task", "label"), [("acl", "yes"), ("meniscus", "p")])
def test_the_official_images_are_read_as_they_are(task, label, tmp_path, draw):
    column, words = LISTS[task]
    for split, exam in (("train", "0000"), ("val", "0001"), ("test", "1130")):
        name = f"images/{exam}_sagittal_10.000000.png"
        draw(tmp_path / name, seed=int(exam))
        (tmp_path / f"{split}_fold1.csv").write_text(f"{column}\n{name},{words[exam]}\n")
    frame = datasets.read(task, tmp_path)
    torn = [words[exam] == label for exam in ("0000", "0001", "1130")]
    assert list(frame["label"] == "tear") == torn and set(frame["anatomy"]) == {"knee"}
    assert list(frame["split_0"]) == ["train", "val", "test"] and frame["patient"].nunique() == 3
    with pytest.raises(DatasetError, match="the official images are sagittal, asked was axial"):
        datasets.read(task, tmp_path, plane="axial")


# phantoms


@pytest.fixture(scope="module")
def phantom_root(tmp_path_factory):
    """The default phantoms, small."""
    return phantoms.write("acl", tmp_path_factory.mktemp("phantoms") / "p", n=120, size=32)


@pytest.mark.parametrize("n", [4, 60, 61, 62])
def test_the_reader_finds_as_many_phantoms_as_were_asked_for(n, tmp_path):
    for task in TASKS:
        root = phantoms.write(task, tmp_path / task, n=n, size=32)
        for plane in ("sagittal", "axial", "coronal"):
            assert len(datasets.read(task, root, plane=plane)) == n


def test_phantoms_have_the_exam_numbers_and_volumes_of_mrnet(phantom_root):
    home = phantom_root / HOME
    exams = {s: sorted(f.stem for f in (home / s / "sagittal").iterdir()) for s in mrnet.SUBSETS}
    assert exams["train"] == [f"{k:04d}" for k in range(34)]
    assert exams["valid"] == [f"{k:04d}" for k in range(1130, 1136)]
    for plane, size in {"axial": 16, "coronal": 16, "sagittal": 32}.items():
        volumes = [np.load(file) for file in home.glob(f"*/{plane}/*.npy")]
        assert {v.shape[1:] for v in volumes} == {(size, size)} and volumes[0].dtype == np.uint8
        assert {len(v) for v in volumes} == {8, 9, 10}


def test_either_tear_is_half_of_the_phantoms_and_says_nothing_of_the_other(phantom_root):
    found = [labels(datasets.read(task, phantom_root)) for task in TASKS]
    pairs = [(found[0][exam], found[1][exam]) for exam in found[0]]
    assert [pairs.count((a, m)) for a in ("no tear", "tear") for m in ("no tear", "tear")] == [
        pytest.approx(10, abs=1)
    ] * 4
    abnormal = "".join(
        (phantom_root / HOME / f"{s}-abnormal.csv").read_text() for s in mrnet.SUBSETS
    )
    either = {exam for exam in found[0] if "tear" in (found[0][exam], found[1][exam])}
    assert {line[:4] for line in abnormal.split() if line.endswith(",1")} == either


@pytest.mark.parametrize("task", TASKS)
def test_phantoms_of_the_demo_size_can_be_split_by_patient(task, phantom_root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", splits.SmallSplitWarning)
        frame = splits.assign(datasets.read(task, phantom_root), "5-fold", seed=0)
    assert (frame.groupby("patient")["split_0"].nunique() == 1).all()


def test_a_phantom_exam_does_not_depend_on_how_many_are_written(tmp_path):
    few, many = (phantoms.write("acl", tmp_path / str(n), n=n, size=32) for n in (12, 24))
    for file in few.rglob("*.npy"):
        assert file.read_bytes() == (many / file.relative_to(few)).read_bytes()


@pytest.mark.parametrize("n", [3, 3901])
def test_a_number_of_phantoms_that_mrnet_could_not_hold_is_refused(n, tmp_path):
    with pytest.raises(ValueError, match=f"`n` should be 4 to 3900. Received: n={n}"):
        phantoms.write("meniscus", tmp_path / "p", n=n)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """360 phantoms: one download, read by both tasks."""
    return phantoms.write("acl", tmp_path_factory.mktemp("measured") / "p", n=360, size=80)


@pytest.mark.parametrize("task", TASKS)
def test_a_tear_is_seen_in_the_knee_and_not_in_trivial_facts(task, measured):
    frame = datasets.read(task, measured)
    pictures = [images.opener(frame, measured)(name) for name in frame["image"]]
    y_true = (frame["label"] == "tear").to_numpy(int)
    facts = np.array([(*p.shape, p.mean(), p.std()) for p in pictures])
    small = [Image.fromarray(p).resize((16, 16), Image.Resampling.BOX) for p in pictures]
    thumbnails = np.array([np.asarray(p, float).ravel() for p in small])
    assert 0.65 < auc(thumbnails, y_true, frame["group"]) < 0.95
    assert 0.35 < auc(facts, y_true, frame["group"]) < 0.65
    for fact in facts.T:
        assert 0.38 < roc_auc_score(y_true, fact) < 0.62


def auc(features, y_true, groups):
    """Cross-validated AUC of a logistic regression, exams kept together."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    y_score = cross_val_predict(
        model, features, y_true, groups=groups, cv=folds, method="decision_function"
    )
    return roc_auc_score(y_true, y_score)
