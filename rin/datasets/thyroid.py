"""DDTI, the thyroid ultrasound images: `<case>.xml` and `<case>_<k>.jpg` in one folder.

The label comes from the case's TI-RADS: 2 and 3 are benign; 4a, 4b, 4c and 5 malignant. Cases
without one are left out and counted. Users of DDTI differ here: some draw the line elsewhere, and
some published work lets a missing TI-RADS fall to benign by default, which its scores can't
show. Of the xml only TI-RADS and the outlines are read: no age, sex or report.

Below some scans the grade itself is written: `rin.published.burned_in` lists these images.
"""

import re
from collections import defaultdict
from pathlib import PurePosixPath
from typing import NamedTuple

import pandas as pd
from PIL import Image

from rin import polygons, published
from rin.datasets import official
from rin.datasets.layout import (
    DatasetError,
    list_files,
    not_read,
    relative,
    with_excluded,
    with_noted,
)

FOLDERS = ("", "native", "images", "thyroid", "DDTI")  # tried in this order
LETTERS = "image shows its TI-RADS in letters"
OVER_THE_EDGE = "part of an outline beyond its image's edge"
MENDED = (polygons.MENDED, OVER_THE_EDGE)  # their outlines are used
LEFT_ASIDE = "list of a split, left aside for the xml files"
BURNED_IN = ("keep", "blank", "drop")
LABELS = {
    "2": "benign",
    "3": "benign",
    "4a": "malignant",
    "4b": "malignant",
    "4c": "malignant",
    "5": "malignant",
}
IMAGE = re.compile(r"^(?P<case>[0-9]+)_(?P<number>[1-9][0-9]*)$")


class Case(NamedTuple):
    """What one xml says: `path` under the root, `tirads` ("" if there is none), `drawings`."""

    path: str
    tirads: str
    drawings: dict


def scan(root, published_only=False, burned_in="keep"):
    """Rows of every image with a label; `patient` is the case, `tirads` its value.

    `mask` names every outline drawn on the image: `12.xml#1.0|12.xml#1.1`. A folder in the form
    of the official repository (images and csv lists) is read as `rin.datasets.official` does; with
    the xml files beside them these are read, for their outlines, and the lists are counted.

    Args:
        root: folder of the download.
        published_only: whether to keep only the 349 images of the official folds, which the
            split protocol "official" needs; the others are counted.
        burned_in: what to do about grades written below the scan: "keep" the pictures as they
            are; "blank": every picture gets black outside its scan (`rin.scans`), the column
            `outside` says so; "drop" leaves the listed pictures out, counted.

    Raises:
        DatasetError: no xml, one that is malformed or refused, two files of one image, or not
            one image with a label.
        ValueError: `burned_in` is none of the three.
    """
    if burned_in not in BURNED_IN:
        raise ValueError(
            f"`burned_in` should be one of {BURNED_IN}. Received: burned_in={burned_in!r}"
        )
    lists = official.all_lists(root)
    if lists and _home(root) is None:
        classes = {"benign": "benign", "malignant": "malignant"}
        frame = official.scan(root, classes=classes, patient=r"^(\d+)_")
        frame = frame.assign(modality="US", anatomy="thyroid")
    else:
        frame = _native(root, published_only)
        frame = with_excluded(frame, {LEFT_ASIDE: [relative(file, root) for file in lists]})
    return _without_letters(frame, burned_in, root)


def shows_letters(names):
    """Which images show their TI-RADS in letters, by `rin.published.burned_in`.

    Args:
        names: Series of paths; folders and suffixes do not matter, as copies may be PNG.

    Returns:
        Series of bool.
    """
    listed = {PurePosixPath(name).stem for name in published.burned_in()["image"]}
    return names.map(lambda name: PurePosixPath(name).stem in listed).astype(bool)


def _without_letters(frame, burned_in, root):
    """The frame with the column `outside`, or without the pictures that show their grade."""
    if burned_in == "blank":
        return frame.assign(outside="black")
    if burned_in == "keep":
        return frame
    listed = shows_letters(frame["image"])
    if listed.all():
        raise DatasetError(f"{root}: every image shows its TI-RADS in letters, none is left")
    kept = frame[~listed].reset_index(drop=True)
    kept.attrs = dict(frame.attrs)
    return with_excluded(kept, {LETTERS: list(frame.loc[listed, "image"])})


def _native(root, published_only):
    """Rows of the download itself: xml files and pictures."""
    home, cases = _cases(root)
    files, rest = list_files(home)
    rows = pd.DataFrame([_row(file, cases, root) for file in files])
    if rows.empty or rows["reason"].notna().all():
        found = "no image" if rows.empty else rows["reason"].value_counts().to_dict()
        raise DatasetError(
            f"{home}: expected images like 12_1.jpg beside a 12.xml with a TI-RADS, found {found}"
        )
    _refuse_twins(rows, home)
    if published_only:
        named = set(published.official_folds("thyroid")["image"])
        others = ~rows["image"].str.rsplit("/", n=1).str[-1].isin(named) & rows["reason"].isna()
        rows.loc[others, "reason"] = "in no official fold"
        if rows["reason"].notna().all():
            raise DatasetError(f"{home}: expected images of the official folds, found none")
    excluded = rows.groupby("reason")["image"].agg(list).to_dict()
    unused = _unused(cases, dict(zip(rows["stem"], files, strict=True)))
    noted = {why: unused.pop(why) for why in MENDED if why in unused}
    excluded |= unused
    excluded |= not_read(relative(f, root) for f in rest if f.suffix.lower() != ".xml")
    kept = rows[rows["reason"].isna()].drop(columns=["reason", "stem"])
    return with_noted(with_excluded(kept.reset_index(drop=True), excluded), noted)


def _home(root):
    """The first folder with xml files of cases; None when there is none."""
    return next((root / name for name in FOLDERS if _xml_files(root / name)), None)


def _xml_files(home):
    files = sorted(home.glob("*.[xX][mM][lL]")) if home.is_dir() else []
    return [file for file in files if file.stem.isdecimal()]


def _cases(root):
    home = _home(root)
    if home is not None:
        return home, {file.stem: _case(file, root) for file in _xml_files(home)}
    found = sorted(path.name for path in root.iterdir())[:8]
    raise DatasetError(
        f"{root}: expected DDTI's 12.xml and 12_1.jpg, …, there or in native/, images/, thyroid/ "
        f"or DDTI/; found {found}"
    )


def _case(file, root):
    try:
        tirads = (polygons.read(file).findtext("tirads") or "").strip().lower()
        return Case(relative(file, root), tirads, polygons.drawings(file))
    except ValueError as error:
        raise DatasetError(f"{file}: {error}") from error


def _row(file, cases, root):
    match = IMAGE.match(file.stem)
    case = cases.get(match["case"]) if match else None
    row = {"image": relative(file, root), "stem": file.stem, "reason": _reason(case)}
    if row["reason"] is not None:
        return row
    return row | {
        "label": LABELS[case.tirads],
        "patient": match["case"],
        "mask": "|".join(_masks(case, int(match["number"]), _size(file))) or None,
        "modality": "US",
        "anatomy": "thyroid",
        "tirads": case.tirads,
    }


def _reason(case):
    """Why the images of a case are left out; None when they are kept."""
    if case is None:
        return "image without an xml"
    if case.tirads in LABELS:
        return None
    return f"TI-RADS {case.tirads[:20]!r}" if case.tirads else "no TI-RADS"


def _masks(case, number, size):
    drawing = case.drawings.get(number)
    lines = enumerate(drawing.outlines if drawing else [])
    return [f"{case.path}#{number}.{k}" for k, line in lines if not polygons.problem(line, size)]


def _size(file):
    """(width, height) of an image; None where it can't be read, which others report."""
    try:
        with Image.open(file, formats=("JPEG", "PNG")) as picture:
            return picture.size
    except (OSError, ValueError):
        return None


def _refuse_twins(rows, home):
    twins = sorted(rows.loc[rows.duplicated("stem", keep=False), "image"])
    if twins:
        raise DatasetError(f"{home}: one image lies there in two files: {', '.join(twins[:2])}")


def _unused(cases, files):
    """What the xml files hold and no mask carries whole: reason -> paths.

    Args:
        cases: dict from a case's number to its `Case`.
        files: dict from an image's stem to its file.
    """
    left_out, with_images = defaultdict(list), {stem.split("_")[0] for stem in files}
    for name, case in cases.items():
        if name not in with_images:
            left_out["xml without an image"].append(case.path)
        for number, drawing in case.drawings.items():
            mark, file = f"{case.path}#{number}", files.get(f"{name}_{number}")
            if file is None:
                left_out["mark on an image that is not there"].append(mark)
            for reason in _shortfalls(drawing):
                left_out[reason].append(mark)
            for k, outline in enumerate(drawing.outlines):
                size = None if file is None else _size(file)
                if reason := polygons.problem(outline, size):
                    left_out[reason].append(f"{mark}.{k}")
                elif size and polygons.crosses(outline, size):
                    left_out[OVER_THE_EDGE].append(f"{mark}.{k}")
    return left_out


def _shortfalls(drawing):
    """What a mark does not show, or not as a whole."""
    empty = not drawing.outlines and not drawing.lost
    return [*drawing.lost, *(["mark without an outline"] if empty else [])]
