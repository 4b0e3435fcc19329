"""Kermany's pediatric chest radiographs: `chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/`.

The patient stands in the file name (`person12_bacteria_47.jpeg`, `IM-0115-0001.jpeg`,
`NORMAL2-IM-0441-0001.jpeg`); numbering restarts in every released set, so a patient is known
only within one.
"""

import re

import pandas as pd

from rin.datasets.layout import (
    DatasetError,
    find_home,
    list_files,
    not_read,
    relative,
    with_excluded,
)

HOME = "chest_xray"
SETS = ("train", "val", "test")
CLASSES = {"NORMAL": "normal", "PNEUMONIA": "pneumonia"}
PATIENT = re.compile(
    r"^(?P<person>person\d+)_|^(?:NORMAL\d*-)?(?P<study>IM-\d+)-|^(?P<other>[A-Z]+-\d+)-", re.I
)


def scan(root):
    """Rows of every radiograph; `released` keeps the set it was published in.

    Raises:
        DatasetError: folders missing or empty, or names that hold no patient, all counted.
    """
    home = find_home(root, HOME, [f"{s}/{c}" for s in SETS for c in CLASSES])
    rows, others = [], []
    for released in SETS:
        for folder in (home / released / name for name in CLASSES):
            files, rest = list_files(folder)
            rows += _rows(folder, files, released, root)
            others += [relative(file, root) for file in rest]
    nameless = [row["image"] for row in rows if row["patient"] is None]
    if nameless:
        raise DatasetError(
            f"{home}: {len(nameless)} file names hold no patient, among them {nameless[0]}; "
            "expected person<N>_… or IM-<N>-…"
        )
    return with_excluded(pd.DataFrame(rows), not_read(others))


def _rows(folder, files, released, root):
    if not files:
        raise DatasetError(f"{folder}: expected JPEG images, found none")
    for file in files:
        match = PATIENT.match(file.name)
        yield {
            "image": relative(file, root),
            "label": CLASSES[folder.name],
            "patient": f"{released}/{match[match.lastgroup].upper()}" if match else None,
            "modality": "CR",
            "anatomy": "chest",
            "released": released,
        }
