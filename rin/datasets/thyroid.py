"""DDTI, the thyroid ultrasound images: `<case>.xml` and `<case>_<k>.jpg` in one folder.

The label comes from the case's TI-RADS: 2 and 3 are benign; 4a, 4b, 4c and 5 malignant. Cases
without one are left out and counted. Users of DDTI differ here: some draw the line elsewhere, and
some published work lets a missing TI-RADS fall to benign by default, which its scores can't
show. Of the xml only TI-RADS and the outlines are read: no age, sex or report.
"""

import re
from collections import defaultdict
from typing import NamedTuple

import pandas as pd

from rin import polygons, published
from rin.datasets import official
from rin.datasets.layout import DatasetError, list_images, relative, with_excluded

FOLDERS = ("", "images", "thyroid", "DDTI")  # tried in this order
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
    """What one xml says: `path` under the root, `tirads` ("" if there is none), `regions`."""

    path: str
    tirads: str
    regions: dict


def scan(root, published_only=False):
    """Rows of every image with a label; `patient` is the case, `tirads` its value.

    `mask` names every outline drawn on the image: `12.xml#1.0|12.xml#1.1`. A folder in the form
    of the official repository (images and csv lists) is read as `rin.datasets.official` does.

    Args:
        root: folder of the download.
        published_only: whether to keep only the 349 images of the official folds, which the
            split protocol "official" needs; the others are counted.

    Raises:
        DatasetError: no xml, one that is malformed or refused, two files of one image, or not
            one image with a label.
    """
    if official.found(root):
        classes = {"benign": "benign", "malignant": "malignant"}
        frame = official.scan(root, classes=classes, patient=r"^(\d+)_")
        return frame.assign(modality="US", anatomy="thyroid")
    home, cases = _cases(root)
    rows = pd.DataFrame([_row(file, cases, root) for file in list_images(home)])
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
    excluded = rows.groupby("reason")["image"].agg(list).to_dict() | _unused(cases, rows["stem"])
    kept = rows[rows["reason"].isna()].drop(columns=["reason", "stem"])
    return with_excluded(kept.reset_index(drop=True), excluded)


def _cases(root):
    for home in (root / name for name in FOLDERS):
        files = sorted(home.glob("*.[xX][mM][lL]")) if home.is_dir() else []
        files = [file for file in files if file.stem.isdecimal()]
        if files:
            return home, {file.stem: _case(file, root) for file in files}
    found = sorted(path.name for path in root.iterdir())[:8]
    raise DatasetError(
        f"{root}: expected DDTI's 12.xml and 12_1.jpg, …, there or in images/, thyroid/ or DDTI/; "
        f"found {found}"
    )


def _case(file, root):
    try:
        tirads = (polygons.read(file).findtext("tirads") or "").strip().lower()
        return Case(relative(file, root), tirads, polygons.regions(file))
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
        "mask": "|".join(_masks(case, int(match["number"]))) or None,
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


def _masks(case, number):
    outlines = enumerate(case.regions.get(number, []))
    return [f"{case.path}#{number}.{k}" for k, line in outlines if not polygons.problem(line)]


def _refuse_twins(rows, home):
    twins = sorted(rows.loc[rows.duplicated("stem", keep=False), "image"])
    if twins:
        raise DatasetError(f"{home}: one image lies there in two files: {', '.join(twins[:2])}")


def _unused(cases, stems):
    """What the xml files hold and no row carries: reason -> paths."""
    there, left_out = set(stems), defaultdict(list)
    with_images = {stem.split("_")[0] for stem in there}
    for name, case in cases.items():
        if name not in with_images:
            left_out["xml without an image"].append(case.path)
        for number, outlines in case.regions.items():
            if f"{name}_{number}" not in there:
                left_out["mark on an image that is not there"].append(f"{case.path}#{number}")
            for k, outline in enumerate(outlines):
                if reason := polygons.problem(outline):
                    left_out[reason].append(f"{case.path}#{number}.{k}")
    return left_out
