"""Anybody's images, one folder a class: `root/<class>/…/<file>`."""

import re

import pandas as pd

from rin.datasets.layout import (
    IMAGE_SUFFIXES,
    DatasetError,
    is_hidden,
    list_files,
    not_read,
    relative,
    window_text,
    with_excluded,
)
from rin.manifest import normal_form

# folders that hold sets, or the kinds of a segmentation dataset, and no class
SETS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
KINDS = {"images", "imgs", "masks", "labels", "annotations", "segmentations", "ground_truth"}


def scan(root, patient=None, modality=None, anatomy=None, window=None):
    r"""Rows of every image below each class folder.

    Files that are no images, and images in no class folder, are left out and counted.

    Args:
        root: holds one folder a class; images may lie deeper.
        patient: regular expression searched in the path below the class folder; its group named
            `patient`, or its first group, is the patient, such as `r"^(\d+)_"`. Without it
            duplicates alone are grouped.
        modality, anatomy: the same for every image, or None.
        window: (level, width) of DICOM images (see `rin.dicom.read`), or None for their own.

    Raises:
        DatasetError: fewer than two class folders, or folders of sets (train, test) in their
            place; an empty one, or names the expression does not match, all counted.
    """
    pattern = _compile(patient)
    homes = sorted(p for p in root.iterdir() if p.is_dir() and not is_hidden(p.name))
    if len(homes) < 2:
        raise DatasetError(f"{root}: expected one folder a class, found {[p.name for p in homes]}")
    _refuse_no_classes(homes, root)
    rows, others = [], []
    for home in homes:
        files, rest = list_files(home, deep=True)
        others += [relative(file, root) for file in rest]
        if not files:
            raise DatasetError(
                f"{home}: expected images of class {home.name!r} "
                f"({' '.join(sorted(IMAGE_SUFFIXES))}), found none"
            )
        rows += [_row(file, home, root, pattern) for file in files]
    frame = pd.DataFrame(rows).assign(modality=modality, anatomy=anatomy)
    if window is not None:
        frame["window"] = window_text(window)
    outside = [relative(file, root) for file in list_files(root)[0]]
    excluded = {"images in no class folder": outside} | not_read(others)
    return with_excluded(_with_patients(frame, patient), excluded)


def _refuse_no_classes(homes, root):
    """Refuse folders named as sets, or as images and masks: they would pass for classes."""
    for known, what in ((SETS, "sets"), (KINDS, "kinds of files")):
        named = [home for home in homes if home.name.lower() in known]
        if len(named) < 2:
            continue
        below = sorted({p.name for h in named for p in h.iterdir() if p.is_dir()})
        below = [name for name in below if not is_hidden(name)]
        level = f"; its classes lie one level down ({', '.join(below[:8])})" if below else ""
        raise DatasetError(
            f"{root}: expected one folder a class, found folders of {what}: "
            f"{', '.join(home.name for home in named)}{level}. Give a folder whose folders are "
            "classes, or a csv that names image, label and set (reader csv, option `folds`)"
        )


def _row(file, home, root, pattern):
    # composed: \w matches é as one sign, but not an accent that stands alone
    match = pattern.search(normal_form(relative(file, home))) if pattern else None
    name = (match[_group(pattern)] or None) if match else None
    return {"image": relative(file, root), "label": home.name, "patient": name}


def _compile(patient):
    if patient is None:
        return None
    try:
        pattern = re.compile(patient)
    except re.error as error:
        raise ValueError(
            f"`patient` should be a regular expression. Received: {patient!r} ({error})"
        ) from error
    if not pattern.groups:
        raise ValueError(
            f"`patient` should hold a group, as in '(\\d+)_'. Received: patient={patient!r}"
        )
    return pattern


def _group(pattern):
    return "patient" if "patient" in pattern.groupindex else 1


def _with_patients(frame, patient):
    nameless = frame.loc[frame["patient"].isna(), "image"]
    if patient is None:
        return frame.drop(columns="patient")
    if len(nameless):
        raise DatasetError(
            f"`patient`={patient!r} does not match {len(nameless)} of {len(frame)} images, "
            f"among them {nameless.iloc[0]}"
        )
    return frame
