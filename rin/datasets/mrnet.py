"""MRNet's knee exams: `{train,valid}/{axial,coronal,sagittal}/0000.npy`, labels in csv files.

A label belongs to an exam: every slice read of it carries it. The published images, 1,022 of ACL
and 4,201 of meniscus, were picked slice by slice and need the official list (`slice_list`) or the
official images themselves; the middle slices, read without it, are another dataset of the same
exams. They cross the ligament, while the menisci lie to both sides, where the official list picks
its slices. MRNet has exam numbers only, so the exam stands for the patient: whether two exams
are of one person can't be known.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from rin.datasets import csv, official
from rin.datasets.layout import (
    DatasetError,
    find_home,
    list_files,
    not_read,
    relative,
    with_excluded,
)

HOME = "MRNet-v1.0"
SUBSETS = ("train", "valid")
PLANES = ("axial", "coronal", "sagittal")
CLASSES = {"0": "no tear", "1": "tear"}
# the tasks, and how the official lists write the same two classes
LISTED = {"acl": {"no": "no tear", "yes": "tear"}, "meniscus": {"n": "no tear", "p": "tear"}}
LISTED_NAME = r"(?:^|/)(?P<exam>[0-9]{4})_(?P<plane>[a-z]+)_(?P<slice>[0-9]{1,4})(?:\.0+)?\.png$"


class Exam(NamedTuple):
    """One knee that has a label and a volume."""

    number: str  # as the csv has it, four digits
    subset: str
    label: str
    file: Path


def scan(root, task, plane="sagittal", slices=3, slice_list=None):
    """Rows of slices, such as `train/sagittal/0000.npy#12`; `subset` keeps train or valid.

    Where the official images (`images/0000_sagittal_12.000000.png` and their csv files) lie, and
    no `slice_list` is given, these are read as they are.

    Args:
        root: folder of the download, or its MRNet-v1.0 folder.
        task: "acl" or "meniscus"; only the csv files of that name are opened.
        plane: "axial", "coronal" or "sagittal".
        slices: int >= 1, the middle slices of each exam; all of them where it has fewer.
        slice_list: path or glob pattern of the official lists (see `rin.datasets.csv`), taken
            instead of the middle slices; fold files become `split_0`, …. Slices count from 0.

    Raises:
        DatasetError: folders, csv files or exams missing, a csv or volume that is none, or a list
            that contradicts MRNet.
    """
    _check(task, plane, slices)
    if slice_list is None and official.found(root):
        if plane != "sagittal":
            raise DatasetError(f"{root}: the official images are sagittal, asked was {plane}")
        frame = official.scan(root, classes=LISTED[task], patient=r"^(\d+)_")
        return frame.assign(modality="MR", anatomy="knee")
    home = find_home(root, HOME, [f"{subset}/{plane}" for subset in SUBSETS])
    exams, excluded = _exams(home, task, plane)
    if slice_list is None:
        frame = _middle(exams, root, slices)
    else:
        frame, excluded = _listed(exams, root, LISTED[task], plane, slice_list)
    folders = [list_files(home / subset / plane) for subset in SUBSETS]
    there = [file for images, others in folders for file in (*images, *others)]
    others = [relative(file, root) for file in there if file.suffix != ".npy"]
    frame = frame.assign(modality="MR", anatomy="knee")
    return with_excluded(frame, excluded | not_read(others))


def _check(task, plane, slices):
    if task not in LISTED:
        raise ValueError(f"`task` should be one of {tuple(LISTED)}. Received: task={task!r}")
    if plane not in PLANES:
        raise ValueError(f"`plane` should be one of {PLANES}. Received: plane={plane!r}")
    if type(slices) is not int or slices < 1:
        raise ValueError(f"`slices` should be an int of at least 1. Received: slices={slices!r}")


def _exams(home, task, plane):
    """Exams with a label and a volume, by number; and those that lack one of them, by reason."""
    labels = _labels(home, task)
    found = [f for s in SUBSETS for f in sorted((home / s / plane).glob("[!.]*.npy"))]
    files = {(file.parent.parent.name, file.stem): file for file in found}
    exams = [Exam(n, s, labels[s, n], files[s, n]) for s, n in labels if (s, n) in files]
    if not exams:
        raise DatasetError(
            f"{home}: no exam has a label ({len(labels)} of {task}) and a volume "
            f"({len(files)} {plane}), expected */{plane}/0000.npy, …"
        )
    excluded = {
        f"no {plane} volume": [f"{s}/{plane}/{n}.npy" for s, n in labels if (s, n) not in files],
        f"no label of {task}": [relative(files[key], home) for key in files if key not in labels],
    }
    return {exam.number: exam for exam in exams}, excluded


def _labels(home, task):
    """The class of every exam, by subset and number."""
    parts = [_table(home / f"{subset}-{task}.csv").assign(subset=subset) for subset in SUBSETS]
    table = pd.concat(parts)
    twice = table.loc[table["exam"].duplicated(), "exam"]
    if len(twice):
        raise DatasetError(
            f"{home}: {len(twice)} exams stand twice in *-{task}.csv, such as {twice.iloc[0]}"
        )
    return {(row.subset, row.exam): CLASSES[row.label] for row in table.itertuples()}


def _table(file):
    try:
        table = pd.read_csv(file, header=None, dtype="string", keep_default_na=False).fillna("")
    except (OSError, ValueError) as error:  # absent, empty, not UTF-8, uneven lines
        raise DatasetError(f"{file}: expected a csv of lines like 0000,1 ({error})") from error
    if table.shape[1] != 2:
        raise DatasetError(f"{file}: expected lines like 0000,1, found {table.shape[1]} columns")
    table.columns = ["exam", "label"]
    bad = table[~(table["exam"].str.fullmatch("[0-9]{4}") & table["label"].isin(CLASSES))]
    if len(bad):
        raise DatasetError(
            f"{file}: expected lines like 0000,1, the label 0 or 1; "
            f"found {','.join(bad.iloc[0])} ({len(bad)} such)"
        )
    return table


def _middle(exams, root, slices):
    rows = []
    for exam in exams.values():
        n = _n_slices(exam.file)
        first = max(0, (n - slices) // 2)
        rows += [_row(exam, root, number) for number in range(first, min(n, first + slices))]
    return pd.DataFrame(rows)


def _listed(exams, root, classes, plane, slice_list):
    """Rows of the slices a list names; and those of exams that are not there, by reason."""
    frame = _list(root, classes, plane, slice_list)
    absent = ~frame["exam"].isin(exams)
    excluded = {"listed, but without a volume or a label": list(frame.loc[absent, "image"])}
    frame = frame[~absent]
    if frame.empty:
        raise DatasetError(f"{slice_list}: none of its {len(absent)} images is of an exam here")
    _agree(frame, exams, slice_list)
    pairs = zip(frame["exam"], frame["slice"], strict=True)
    rows = [_row(exams[number], root, place) for number, place in pairs]
    splits = frame.filter(regex=r"^split_\d+$")
    return pd.DataFrame(rows, index=frame.index).join(splits), excluded


def _list(root, classes, plane, slice_list):
    """The official list with its names taken apart: `exam`, `slice`, and the label as a class."""
    frame = csv.scan(root, slice_list)
    frame = frame.join(frame["image"].str.extract(LISTED_NAME))
    odd = frame["plane"].fillna("") != plane
    _refuse(frame, odd, f"{slice_list}: expected names like 0000_{plane}_12.000000.png")
    odd = ~frame["label"].isin(list(classes))
    _refuse(frame, odd, f"{slice_list}: expected the labels {' and '.join(classes)}")
    return frame.assign(slice=frame["slice"].astype(int), label=frame["label"].map(classes))


def _agree(frame, exams, slice_list):
    """Refuse a list that says anything else than MRNet's csv and volumes."""
    truth = frame["exam"].map(lambda number: exams[number].label)
    _refuse(frame, frame["label"] != truth, f"{slice_list}: expected the labels of MRNet's own csv")
    depth = {number: _n_slices(exams[number].file) for number in frame["exam"].unique()}
    outside = frame["slice"] >= frame["exam"].map(depth)
    _refuse(frame, outside, f"{slice_list}: expected slices that their volumes have")


def _refuse(frame, bad, expected):
    if bad.any():
        name = frame.loc[bad, "image"].iloc[0]
        raise DatasetError(f"{expected}; {bad.sum()} images differ, such as {name}")


def _row(exam, root, number):
    return {
        "image": f"{relative(exam.file, root)}#{number}",
        "label": exam.label,
        "patient": exam.number,
        "subset": exam.subset,
    }


def _n_slices(file):
    """Slices of a volume, from its header and size: pixels are not read, pickles not opened."""
    try:
        volume = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # whatever the header holds, it names the file
        raise DatasetError(f"{file}: can't be read as a volume ({error})") from error
    if volume.dtype != np.uint8 or volume.ndim != 3 or volume.size == 0:
        raise DatasetError(
            f"{file}: an array of {volume.dtype} {volume.shape}, "
            "uint8 (slices, rows, columns) expected"
        )
    return len(volume)
