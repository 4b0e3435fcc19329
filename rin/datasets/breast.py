"""BUSI, the breast ultrasound images: `Dataset_BUSI_with_GT/{benign,malignant,normal}/`.

BUSI carries no patient ids, so images of one woman can't be kept together; exact and near
duplicates are grouped instead. `normal` images count as benign, as in the paper.
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

HOME = "Dataset_BUSI_with_GT"
FOLDERS = {"benign": "benign", "malignant": "malignant", "normal": "benign"}
MASK = re.compile(r"^(?P<image>.+)_mask(_\d+)?$")


def scan(root):
    """Rows of every image, its masks joined by "|"; `kind` keeps the folder (benign, …, normal).

    Raises:
        DatasetError: folders missing or empty, or a mask without its image.
    """
    home = find_home(root, HOME, FOLDERS)
    rows, others = [], []
    for kind in FOLDERS:
        files, rest = list_files(home / kind)
        rows += _rows(home / kind, files, root)
        others += [relative(file, root) for file in rest]
    return with_excluded(pd.DataFrame(rows), not_read(others))


def _rows(folder, files, root):
    masks = {}
    for file in files:
        if match := MASK.match(file.stem):
            masks.setdefault(match["image"], []).append(relative(file, root))
    pictures = [file for file in files if not MASK.match(file.stem)]
    if not pictures:
        raise DatasetError(f"{folder}: expected images like '{folder.name} (1).png', found none")
    orphans = sorted(set(masks) - {file.stem for file in pictures})
    if orphans:
        raise DatasetError(f"{folder}: masks without an image: {', '.join(orphans[:5])}")
    for file in pictures:
        yield {
            "image": relative(file, root),
            "label": FOLDERS[folder.name],
            "mask": "|".join(sorted(masks.get(file.stem, []))) or None,
            "modality": "US",
            "anatomy": "breast",
            "kind": folder.name,
        }
