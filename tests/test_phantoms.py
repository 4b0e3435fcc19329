"""Phantoms: the same bytes for the same seed, real names, honest masks, a learnable signal."""

import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rin import datasets, images, phantoms, splits
from rin.phantoms import breast, draws, pediatric, textures

TASKS = phantoms.TASKS
BINARY = [task for task in TASKS if datasets.TASKS[task].classes]
SMALL = {"n": 60, "size": 48}
# every file of a task's phantoms matches its pattern; the real downloads' own names
NAMES = {
    "breast": r"Dataset_BUSI_with_GT/(benign|malignant|normal)/\1 \(\d+\)(_mask(_1)?)?\.png",
    "pediatric": r"chest_xray/(train|val|test)/("
    r"NORMAL/(NORMAL2-)?IM-\d{4}-\d{4}(-\d{4})?|PNEUMONIA/person\d+_(bacteria|virus)_\d+)\.jpeg",
    "thyroid": r"(.+/)?\d+(\.xml|_\d+\.jpg)",
    "acl": r"(MRNet-v1\.0/)?((train|valid)/(axial|coronal|sagittal)/\d{4}\.npy"
    r"|(train|valid)-(acl|meniscus|abnormal)\.csv)",
    "meniscus": r"(MRNet-v1\.0/)?((train|valid)/(axial|coronal|sagittal)/\d{4}\.npy"
    r"|(train|valid)-(acl|meniscus|abnormal)\.csv)",
    "pneumonia": r"stage_2_train_images/[0-9a-f-]{36}\.dcm"
    r"|stage_2_(train_labels|detailed_class_info)\.csv",
    "hemorrhage": r"(rsna-intracranial-hemorrhage-detection/)?"
    r"(stage_2_train/ID_[0-9a-f]{9}\.dcm|stage_2_train\.csv)",
    "sarscov2": r"(CP|NCP)/\d+/\d+/\d+\.(png|jpg)",
    "covid19": r"images/(Bozhou|Fuyang|Guangxi|WCH|WH)_[PN]\d+-0\d_\d+\.png"
    r"|dataframe/\w+_(train|val|test)\.csv",
    "radimagenet": r"radiology_ai/((CT|MR)/\w+/[\w+ -]+|US/\w+)/[a-z-]+\d{6}\.png"
    r"|RadiologyAI_(train|val|test)\.csv",
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """One default folder of each task."""
    folder = tmp_path_factory.mktemp("phantoms")
    return {task: phantoms.write(task, folder / task) for task in TASKS}


def tree(root):
    """sha256 of every file below `root`, by its relative path."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def opened(path):
    """The image of a file that is closed again."""
    with Image.open(path) as image:
        return image.copy()


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_bytes_in_any_process(task, tmp_path):
    here = phantoms.write(task, tmp_path / "here", seed=3, **SMALL)
    code = f"from rin import phantoms; phantoms.write({task!r}, 'there', seed=3, **{SMALL})"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert tree(here) == tree(tmp_path / "there")


@pytest.mark.parametrize("task", TASKS)
def test_another_seed_gives_other_images(task, tmp_path):
    first, second = (
        tree(phantoms.write(task, tmp_path / str(seed), seed=seed, **SMALL)) for seed in (0, 1)
    )
    pixels = [{d for name, d in files.items() if is_image(name)} for files in (first, second)]
    assert pixels[0].isdisjoint(pixels[1])


def is_image(name):
    """Whether a file holds the pixels of an image: lists, outlines and masks do not."""
    return "_mask" not in name and not name.endswith((".csv", ".xml", ".json"))


@pytest.mark.parametrize("task", TASKS)
def test_an_image_does_not_depend_on_how_many_are_written(task, tmp_path):
    few = tree(phantoms.write(task, tmp_path / "few", n=60, size=48))
    many = tree(phantoms.write(task, tmp_path / "many", n=120, size=48))
    same = {name for name in few if is_image(name) and few[name] == many.get(name)}
    # lists grow, and so may the last patient; a larger set may deal other shares to its folders
    assert len(same) >= 0.7 * sum(map(is_image, few))


@pytest.mark.parametrize("task", TASKS)
def test_names_are_those_of_the_real_download(task, roots):
    names = set(tree(roots[task])) - {phantoms.MARKER}
    assert [name for name in names if not re.fullmatch(NAMES[task], name)] == []


@pytest.mark.parametrize("task", TASKS)
def test_the_reader_counts_as_many_images_as_were_asked_for(task, roots):
    frame = datasets.read(task, roots[task], duplicates=False)
    assert len(frame) == phantoms.WRITERS[task].n
    expected = datasets.TASKS[task].classes
    assert expected is None or set(frame["label"]) == set(expected)


def test_breast_classes_come_in_the_real_mix(roots):
    counts = {
        label: len(list(roots["breast"].glob(f"*/{label}/*).png"))) for label in breast.IMAGES
    }
    assert counts == {"benign": 67, "malignant": 32, "normal": 21}


def test_every_image_has_a_one_bit_mask_of_its_own_size(roots):
    images = sorted(roots["breast"].glob("*/*/*).png"))
    for path in images:
        mask = opened(path.with_name(f"{path.stem}_mask.png"))
        assert mask.mode == "1" and mask.size == opened(path).size
        assert np.asarray(mask).any() == ("normal" not in path.name)
    assert {opened(path).mode for path in images} == {"L", "RGB"}
    assert len({opened(path).size for path in images}) > 30


def test_some_images_have_two_lesions_and_two_masks(roots):
    seconds = sorted(roots["breast"].glob("*/*/*_mask_1.png"))
    assert len(seconds) >= 3
    for path in seconds:
        assert np.asarray(opened(path)).any()
        assert path.with_name(path.name.replace("_mask_1", "_mask")).exists()


def test_near_duplicates_share_a_label_and_nearly_all_their_pixels():
    for label, index in (("benign", 16), ("benign", 32), ("malignant", 16), ("normal", 16)):
        copy, _ = breast.draw(label, index, seed=0, size=160)
        source, _ = breast.draw(label, index - breast.REPEAT_BACK, seed=0, size=160)
        missing = np.subtract(source.shape, copy.shape)
        assert missing.min() >= 2 and missing.max() <= 4
        assert best_correlation(source, copy) > 0.98


def best_correlation(source, copy):
    """The best correlation of `copy` with any window of `source` of its size."""
    height, width = copy.shape
    tops, lefts = source.shape[0] - height + 1, source.shape[1] - width + 1
    windows = (source[t : t + height, k : k + width] for t in range(tops) for k in range(lefts))
    return max(np.corrcoef(window.ravel(), copy.ravel())[0, 1] for window in windows)


def test_pediatric_splits_hold_both_classes_and_restart_their_numbering(roots):
    folder = roots["pediatric"] / pediatric.FOLDER
    counts = {split: len(list(folder.glob(f"{split}/*/*"))) for split in pediatric.SPLITS}
    assert counts == {"train": 84, "val": 10, "test": 26}
    persons = {split: patients(folder / split / "PNEUMONIA") for split in counts}
    assert persons["train"] & persons["test"]
    assert all(len(list(folder.glob(f"val/{label}/*"))) >= 2 for label in ("NORMAL", "PNEUMONIA"))
    assert len(persons["train"]) < len(list((folder / "train" / "PNEUMONIA").iterdir()))


def patients(folder):
    return {patient_of(path) for path in folder.iterdir()}


def patient_of(path):
    return re.match(r"person\d+|(NORMAL2-)?IM-\d+", path.name).group()


@pytest.mark.parametrize("task", TASKS)
def test_the_marker_says_that_the_images_are_synthetic(task, roots):
    marker = json.loads((roots[task] / phantoms.MARKER).read_text(encoding="utf-8"))
    default = phantoms.WRITERS[task]
    asked = (marker["task"], marker["seed"], marker["n"], marker["size"])
    assert asked == (task, 0, default.n, default.size)
    assert "synthetic" in marker["note"] and "No finding" in marker["note"]


def test_the_same_settings_write_nothing_again(tmp_path):
    root = phantoms.write("breast", tmp_path / "p", **SMALL)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    phantoms.write("breast", root, **SMALL)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_other_settings_replace_the_folder_and_leave_nothing_behind(tmp_path):
    phantoms.write("breast", tmp_path / "p", **SMALL)
    phantoms.write("pediatric", tmp_path / "p", **SMALL)
    fresh = phantoms.write("pediatric", tmp_path / "q", **SMALL)
    assert tree(tmp_path / "p") == tree(fresh)
    assert {path.name for path in tmp_path.iterdir()} == {"p", "q"}


def test_a_lost_image_is_written_again(tmp_path):
    root = phantoms.write("breast", tmp_path / "p", **SMALL)
    before = tree(root)
    (root / breast.FOLDER / "benign" / "benign (1).png").unlink()
    assert tree(phantoms.write("breast", root, **SMALL)) == before


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "benign (1).png").write_bytes(b"real")
    with pytest.raises(FileExistsError, match="may be real data"):
        phantoms.write("breast", tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["benign (1).png"]


def test_a_real_image_among_phantoms_is_never_deleted(tmp_path):
    root = phantoms.write("breast", tmp_path / "p", **SMALL)
    real = root / breast.FOLDER / "benign" / "benign (999).png"
    real.write_bytes(b"real")
    with pytest.raises(FileExistsError, match=r"benign \(999\)"):
        phantoms.write("breast", root, seed=1, **SMALL)
    assert real.exists()


def test_an_empty_folder_is_filled(tmp_path):
    assert (phantoms.write("breast", tmp_path, **SMALL) / phantoms.MARKER).exists()


def test_a_failed_write_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="at least 12"):
        phantoms.write("pediatric", tmp_path / "p", n=11, size=48)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 2.5}, {"seed": -1}, {"size": 31}])
def test_a_setting_out_of_range_is_named(wrong, tmp_path):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` should be"):
        phantoms.write("breast", tmp_path / "p", **wrong)


def test_an_unknown_task_is_told_the_choices(tmp_path):
    with pytest.raises(ValueError, match=r"`task` should be one of .*breast.*task='brest'"):
        phantoms.write("brest", tmp_path / "p")


def test_counts_follow_the_shares():
    assert draws.apportion(10, {"a": 2, "b": 1}) == {"a": 7, "b": 3}
    assert draws.apportion(5, {"a": 100, "b": 1}, least=2) == {"a": 3, "b": 2}


def test_tone_reaches_the_wanted_brightness_and_contrast():
    image = textures.tone(np.random.default_rng(0).exponential(size=(60, 60)), mean=90, sd=45)
    assert image.dtype == np.uint8
    assert (image.mean(), image.std()) == (pytest.approx(90, abs=2), pytest.approx(45, abs=2))


@pytest.mark.parametrize("task", BINARY)
def test_the_classes_differ_in_what_is_seen_and_not_in_trivial_facts(task, tmp_path):
    root = phantoms.write(task, tmp_path / "p", n=360, size=80)
    frame = datasets.read(task, root)
    grey = [Image.fromarray(images.opener(frame, root)(name)) for name in frame["image"]]
    facts = np.array([(*im.size, np.mean(im), np.std(im)) for im in grey])
    small = [np.asarray(im.resize((16, 16), Image.Resampling.BOX)).ravel() for im in grey]
    y_true = (frame["label"] == datasets.TASKS[task].classes[1]).to_numpy(int)
    assert 0.65 < auc(np.array(small, float), y_true, splits.groups(frame)) < 0.95
    assert 0.35 < auc(facts, y_true, splits.groups(frame)) < 0.65
    for fact in facts.T:
        assert 0.38 < roc_auc_score(y_true, fact) < 0.62


def auc(features, y_true, groups):
    """Cross-validated AUC of a logistic regression, groups kept together."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    labels = np.unique(groups, return_inverse=True)[1]
    y_score = cross_val_predict(
        model, features, y_true, groups=labels, cv=folds, method="decision_function"
    )
    return roc_auc_score(y_true, y_score)
