"""Bad input, for every reader: one clear error, or an exclusion that is counted and reported."""

import functools
import io
import pickle
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rin import datasets, images, phantoms, prepare
from rin.datasets import DatasetError
from rin.manifest import ManifestError

pytestmark = pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")
BUSI = "Dataset_BUSI_with_GT"
NIH = "stage_2_train_images"
ICH = "stage_2_train"
EVERY = sorted(set(datasets.TASKS) - {"folder", "csv"})


@pytest.fixture(scope="session")
def clean_copies(tmp_path_factory):
    """`clean_copies(task)`: a folder of small phantoms of a task, written once."""
    home = tmp_path_factory.mktemp("clean")

    @functools.cache
    def one(task):
        if task in ("folder", "csv"):
            return own(home / task)
        return phantoms.write(task, home / task, n=60, size=40)

    return one


def own(root):
    """Forty images in two class folders, and the csv that names them."""
    rows = []
    for n in range(40):
        name = f"{'ab'[n % 2]}/p{n // 4}_{n}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(n).integers(0, 256, (20, 20), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
        rows.append({"image": name, "label": "ab"[n % 2], "patient": f"p{n // 4}"})
    pd.DataFrame(rows).to_csv(root / "list.csv", index=False)
    return root


# What goes wrong. Each takes the root of a copy and spoils it.


def pick(root, pattern):
    """The first file of a pattern, by path."""
    return sorted(root.glob(pattern))[0]


def empties(pattern):
    def spoil(root):
        for folder in root.glob(pattern):
            for file in folder.rglob("*"):
                file.unlink() if file.is_file() else None

    return spoil


def removes(pattern):
    return lambda root: pick(root, pattern).unlink()


def truncates(pattern):
    def spoil(root):
        file = pick(root, pattern)
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])

    return spoil


def writes(pattern, content):
    return lambda root: pick(root, pattern).write_bytes(content)


def copies(pattern, name):
    """A second copy under another name, beside the file or one or more folders up."""

    def spoil(root):
        file = pick(root, pattern)
        shutil.copy(file, (file.parent / name).resolve())

    return spoil


def adds_line(pattern, line):
    def spoil(root):
        file = pick(root, pattern)
        text = file.read_text()
        file.write_text(text + ("" if text.endswith("\n") else "\n") + line + "\n")

    return spoil


def repeats_line(pattern, old, new, where=lambda line: True):
    """Say of one line's image the other thing as well."""

    def spoil(root):
        file = pick(root, pattern)
        line = next(x for x in file.read_text().splitlines()[1:] if x.endswith(old) and where(x))
        adds_line(pattern, line.removesuffix(old) + new)(root)

    return spoil


def resizes(pattern):
    def spoil(root):
        file = pick(root, pattern)
        with Image.open(file) as picture:
            bigger = picture.resize((picture.width + 3, picture.height + 5))
        bigger.save(file)

    return spoil


def pickles(pattern):
    """A `.npy` that runs code when it is unpickled."""

    class Bomb:
        def __reduce__(self):
            return exec, ("raise SystemExit('the pickle was opened')",)

    bytes_io = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    np.lib.format.write_array_header_1_0(bytes_io, header)
    return writes(pattern, bytes_io.getvalue() + pickle.dumps(Bomb()))


def only(pattern, old, new):
    """Give every line of the files the same label, or every case the same grade."""

    def spoil(root):
        for file in root.glob(pattern):
            file.write_text(re.sub(old, new, file.read_text()))

    return spoil


BOMB = b"""<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><case><tirads>&b;</tirads></case>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<case><tirads>&a;</tirads></case>"""

# (task, what is wrong, spoil, what comes of it): an exception and what it says, or the reason
# under which `attrs["excluded"]` counts it. Errors name the file or the folder.
CASES = [
    ("breast", "empty class", empties(f"{BUSI}/malignant"), DatasetError, "malignant: expected"),
    ("breast", "mask without image", removes(f"{BUSI}/benign/benign (1).png"), DatasetError,
     r"masks without an image: benign \(1\)"),
    ("breast", "truncated image", truncates(f"{BUSI}/benign/benign (1).png"), images.ImageError,
     r"benign \(1\).png"),
    ("breast", "wrong-size mask", resizes(f"{BUSI}/benign/benign (2)_mask.png"),
     images.ImageError, r"benign \(2\)_mask.png: mask is \d+×\d+, its image"),
    ("pediatric", "empty class", empties("chest_xray/test/NORMAL"), DatasetError,
     "test/NORMAL: expected JPEG images"),
    ("pediatric", "truncated image", truncates("chest_xray/train/NORMAL/*"), images.ImageError,
     r"train/NORMAL/.*jpeg"),
    ("pediatric", "name without patient",
     copies("chest_xray/val/NORMAL/*", "x.jpeg"),
     DatasetError, "1 file names hold no patient"),
    ("thyroid", "image without xml", removes("**/*.xml"), None, "image without an xml"),
    ("thyroid", "xml bomb", writes("**/*.xml", BOMB), DatasetError, r"\d+\.xml"),
    ("thyroid", "external entity", writes("**/*.xml", OUTSIDE), DatasetError, r"\d+\.xml"),
    ("thyroid", "malformed xml", truncates("**/*.xml"), DatasetError, r"\d+\.xml"),
    ("thyroid", "truncated image", truncates("**/*_1.jpg"), images.ImageError, r"_1\.jpg"),
    ("acl", "csv row without file", removes("**/train/sagittal/*.npy"), None,
     "no sagittal volume"),
    ("acl", "file without row",
     copies("**/train/sagittal/*.npy", "0999.npy"), None,
     "no label of acl"),
    ("acl", "pickle in .npy", pickles("**/train/sagittal/*.npy"), DatasetError, r"\d{4}\.npy"),
    ("acl", "truncated image", truncates("**/train/sagittal/*.npy"), DatasetError, r"\d{4}\.npy"),
    ("acl", "same exam, two labels", adds_line("**/train-acl.csv", "0000,1\n0000,0"),
     DatasetError, "stand twice in .*acl.csv|expected lines"),
    ("meniscus", "csv row without file", removes("**/train/sagittal/*.npy"), None,
     "no sagittal volume"),
    ("meniscus", "pickle in .npy", pickles("**/valid/sagittal/*.npy"), DatasetError,
     r"\d{4}\.npy"),
    ("meniscus", "path that leaves the root", adds_line("**/train-meniscus.csv", "../x,1"),
     DatasetError, "train-meniscus.csv: expected lines like 0000,1"),
    ("pneumonia", "csv row without file", removes(f"{NIH}/*.dcm"), None, "a row without a file"),
    ("pneumonia", "file without row",
     copies(f"{NIH}/*.dcm", "stray.dcm"), None,
     "a file without a row"),
    ("pneumonia", "truncated image", truncates(f"{NIH}/*.dcm"), images.ImageError, r"\.dcm"),
    ("pneumonia", "path that leaves the root",
     adds_line("stage_2_train_labels.csv", "../../x,,,,,0"), DatasetError, "is no id"),
    ("pneumonia", "same image, two labels",
     repeats_line("stage_2_train_labels.csv", ",0", ",1"), DatasetError,
     "stands in several rows with different Target"),
    ("hemorrhage", "csv row without file", removes(f"**/{ICH}/*.dcm"), None,
     "a row without a file"),
    ("hemorrhage", "file without row",
     copies(f"**/{ICH}/*.dcm", "ID_fffffffff.dcm"),
     None, "a file without a row"),
    ("hemorrhage", "truncated image", truncates(f"**/{ICH}/*.dcm"), images.ImageError, r"\.dcm"),
    ("hemorrhage", "path that leaves the root",
     adds_line("**/stage_2_train.csv", "ID_../x_any,0"), DatasetError, "stage_2_train.csv"),
    ("hemorrhage", "same image, two labels",
     repeats_line("**/stage_2_train.csv", "_any,0", "_any,1"), DatasetError,
     "stage_2_train.csv"),
    ("sarscov2", "empty class", empties("NCP"), DatasetError, "none of NCP"),
    ("sarscov2", "stray image", copies("NCP/*/*/*.png", "../../stray.png"),
     None, "not in <patient>/<scan>/ of CP or NCP"),
    ("sarscov2", "truncated image", truncates("CP/*/*/*.png"), images.ImageError, r"CP/.*png"),
    ("covid19", "csv row without file", removes("images/*.png"), ManifestError,
     r"_\d+\.png: no such file"),
    ("covid19", "file without row",
     copies("images/*.png", "WH_P999-00_1.png"), None,
     "named by no csv"),
    ("covid19", "path that leaves the root",
     adds_line("dataframe/*train.csv", "../WH_P999-00_1.png,positive"), DatasetError,
     "paths of the lists leave it"),
    ("covid19", "same image, two labels",
     repeats_line("dataframe/*train.csv", "positive", "negative"), DatasetError, "images"),
    ("covid19", "truncated image", truncates("images/*.png"), images.ImageError, r"images/.*png"),
    ("radimagenet", "csv row without file", removes("radiology_ai/CT/lung/*/*.png"), None,
     "in a list, but not in its folder"),
    ("radimagenet", "file without row",
     copies("radiology_ai/CT/lung/*/*.png", "z999999.png"),
     None, "named by no list"),
    ("radimagenet", "path that leaves the root",
     adds_line("RadiologyAI_train.csv", "../x.png,normal"), DatasetError,
     "RadiologyAI_train.csv: line"),
    ("radimagenet", "same image, two labels",
     lambda root: adds_line("RadiologyAI_train.csv", (root / "RadiologyAI_train.csv")
                            .read_text().splitlines()[1].split(",")[0] + ",other")(root),
     DatasetError, "stand in the lists more than once"),
    ("radimagenet", "truncated image", truncates("radiology_ai/CT/lung/*/*.png"),
     images.ImageError, r"radiology_ai/CT/lung/.*png"),
    ("thyroid", "empty class", only("**/*.xml", "<tirads>[45].?</tirads>", "<tirads>2</tirads>"),
     DatasetError, "thyroid: no image of class 'malignant'"),
    ("acl", "empty class", only("**/*-acl.csv", r",\d\b", ",0"), DatasetError,
     "acl: no image of class 'tear'"),
    ("meniscus", "empty class", only("**/*-meniscus.csv", r",\d\b", ",1"), DatasetError,
     "meniscus: no image of class 'no tear'"),
    ("pneumonia", "empty class", only("stage_2_train_labels.csv", r",1\n", ",0\n"), DatasetError,
     "pneumonia: no image of class 'pneumonia'"),
    ("hemorrhage", "empty class", only("**/stage_2_train.csv", r",1\n", ",0\n"), DatasetError,
     "hemorrhage: no image of class 'hemorrhage'"),
    ("covid19", "empty class", only("dataframe/*.csv", r"\n\w+_N[^\n]*", ""), DatasetError,
     "covid19: no image of class 'no COVID-19'"),
    ("folder", "empty class", lambda root: (root / "c").mkdir(), DatasetError,
     "c: expected images of class 'c'"),
    ("folder", "truncated image", truncates("a/*.png"), images.ImageError, r"a/p.*png"),
    ("csv", "csv row without file", removes("a/*.png"), ManifestError, "no such file"),
    ("csv", "path that leaves the root", adds_line("list.csv", "../x.png,a,p99"), ManifestError,
     "is not a relative path inside the root"),
    ("csv", "same image, two labels", repeats_line("list.csv", ",b,p0", ",a,p0"), ManifestError,
     r"stands in the table more than once, with labels \['a', 'b'\]"),
    ("csv", "truncated image", truncates("b/*.png"), images.ImageError, r"b/p.*png"),
]  # fmt: skip
OPTIONS = {"csv": {"csv": "list.csv", "patient": "patient"}, "folder": {"patient": r"^(p\d+)_"}}


@pytest.mark.parametrize(
    "task, spoil, error, said",
    [(c[0], *c[2:]) for c in CASES],
    ids=[f"{c[0]}: {c[1]}" for c in CASES],
)
def test_bad_input_is_one_clear_error_or_a_counted_exclusion(
    task, spoil, error, said, clean_copies, tmp_path
):
    source = clean_copies(task)
    before = read(task, source)
    root = shutil.copytree(source, tmp_path / "spoilt")
    spoil(root)
    there = sorted(p for p in root.rglob("*"))
    if error is None:
        old = before.attrs["excluded"].get(said, {"n": 0})["n"]
        after = read(task, root).attrs["excluded"]
        assert after[said]["n"] > old and len(after[said]["examples"]) > 0
    else:
        with pytest.raises(error, match=said) as caught:
            all_the_way(task, root, tmp_path)
        assert root.name in str(caught.value) or str(caught.value).startswith(f"{task}: ")
        assert "Traceback" not in str(caught.value)
    assert sorted(p for p in root.rglob("*")) == there  # nothing of the reader's is lost


@pytest.mark.parametrize("task", EVERY)
def test_a_missing_folder_is_named(task, tmp_path):
    with pytest.raises(DatasetError, match="nowhere: no such folder; expected the"):
        datasets.read(task, tmp_path / "nowhere")


@pytest.mark.parametrize("task", EVERY)
def test_an_empty_folder_is_told_what_was_expected(task, tmp_path):
    with pytest.raises(DatasetError, match="expected") as caught:
        datasets.read(task, tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_every_reader_is_spoilt_in_three_ways_at_least():
    for task in datasets.TASKS:
        assert sum(case[0] == task for case in CASES) >= 2 + (task in EVERY), task


def read(task, root):
    return datasets.read(task, root, duplicates=False, **OPTIONS.get(task, {}))


def all_the_way(task, root, tmp_path):
    """Read the manifest, decode every image and look at the masks, as `rin.prepare` does."""
    frame = read(task, root)
    store = images.store(frame, root, 16, tmp_path / "store")
    prepare._fitting_masks(frame, root, store, "stop")
    datasets.task(task).require_classes(frame)
