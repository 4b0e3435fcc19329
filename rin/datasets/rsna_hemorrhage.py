"""RSNA 2019 head CT: `stage_2_train/ID_….dcm` and `stage_2_train.csv`.

A slice counts as hemorrhage where its row `any` says so. The patient stands in the DICOM header
alone, so every header is read. The official repository's form (`images/*.png` and lists of train,
val, test with a column `pid`) is read too.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from tqdm import tqdm

from rin import dicom
from rin.datasets import official
from rin.datasets.layout import DatasetError, find_home, window_text, with_excluded, with_noted
from rin.datasets.rsna import SUFFIX, check_names, check_values, read_table, with_files

HOME = "rsna-intracranial-hemorrhage-detection"
IMAGES, LABELS = "stage_2_train", "stage_2_train.csv"
SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
OFFICIAL = {"no": "no hemorrhage", "yes": "hemorrhage"}
WRAPPED = "repaired: intercept 0 on 12 bits that wrapped, put right when decoded"
WINDOW = (40, 80)  # brain: level and width in Hounsfield units
BATCH = 1000  # headers a thread reads before it reports


def scan(root, window=WINDOW):
    """Rows of every slice, to be seen in one window.

    `kind` holds the subtypes of hemorrhage, joined by spaces, or "none". Left out and counted:
    rows without a file, files without a row, slices whose `any` disagrees with their subtypes, and
    those whose header can't be read or names no patient. Damaged pixels show later, when images
    are decoded. Slices whose values wrapped, a known defect of this release, are put right then
    (see `rin.dicom.may_wrap`) and counted in `attrs["noted"]`.

    Args:
        root: folder of the download.
        window: (level, width) in Hounsfield units; the column `window` carries it. The official
            form's pictures have theirs already.

    Raises:
        DatasetError: files missing, unknown or contradictory labels, or no slice left.
        ValueError: `window` is none.
    """
    dicom.check_window(window)
    if official.found(root):
        frame = official.scan(root, OFFICIAL, patient_column="pid")
        return frame.assign(modality="CT", anatomy="head")
    home = find_home(root, HOME, [IMAGES])
    table = _labels(home / LABELS)
    names, excluded = with_files(table.index, home / IMAGES)
    frame = table.loc[names].reset_index(names="name")
    frame["patient"], frame["wrapped"] = _headers(home / IMAGES, names)
    out = {
        "`any` disagrees with the subtypes": (frame["kind"] != "none") != frame["any"],
        "a header that can't be read": frame["patient"].isna(),
        "a header without a patient": frame["patient"] == "",
    }
    excluded |= {why: list(frame.loc[rows, "name"]) for why, rows in out.items()}
    frame = frame[~np.logical_or.reduce(list(out.values()))].reset_index(drop=True)
    if frame.empty:
        raise DatasetError(f"{home / IMAGES}: not one slice with a patient and a sound label")
    prefix = (home / IMAGES).relative_to(root).as_posix() + "/"
    frame["image"] = prefix + frame["name"] + SUFFIX
    frame["label"] = np.where(frame["any"], OFFICIAL["yes"], OFFICIAL["no"])
    frame["window"] = window_text(window)
    noted = {WRAPPED: list(frame.loc[frame["wrapped"], "name"])}
    frame = frame.assign(modality="CT", anatomy="head").drop(columns=["name", "any", "wrapped"])
    return with_noted(with_excluded(frame, excluded), noted)


def _labels(file):
    """Table indexed by image name: `any` (bool) and `kind` (text), from one row a subtype."""
    frame = read_table(file, ["ID", "Label"]).drop_duplicates(ignore_index=True)  # some repeat
    ids, label = frame["ID"], frame["Label"]
    check_values(file, label, ids, ("0", "1"))
    names = ids.str.replace("_[^_]*$", "", regex=True)
    kinds = ids.str.replace("^.*_", "", regex=True).rename("the end of an ID")
    check_names(file, names)
    check_values(file, kinds, ids, (*SUBTYPES, "any"))
    twice = ids[ids.duplicated()]
    if len(twice):
        raise DatasetError(f"{file}: {twice.iloc[0]} is both 0 and 1 ({len(twice)} such)")
    keys = pd.MultiIndex.from_arrays([names, kinds])
    wide = pd.Series((label == "1").to_numpy(), index=keys).unstack()
    wide = wide.reindex(columns=[*SUBTYPES, "any"])
    lacking = wide.index[wide.isna().any(axis=1)]
    if len(lacking):
        raise DatasetError(
            f"{file}: {lacking[0]} has not all of {', '.join(wide)} ({len(lacking)} such)"
        )
    return pd.DataFrame({"any": wide["any"].astype(bool), "kind": _kinds(wide[list(SUBTYPES)])})


def _kinds(flags):
    """The names of the columns that are true in each row, joined; 32 combinations at most."""
    code = flags.to_numpy(bool) @ (1 << np.arange(len(SUBTYPES)))
    present = [[s for bit, s in enumerate(SUBTYPES) if n >> bit & 1] for n in range(32)]
    return np.array([" ".join(names) or "none" for names in present])[code]


def _headers(folder, names):
    """The PatientID of each file, NA where the header can't be read; and whether it may wrap."""
    batches = np.array_split(names.to_numpy(object), -(-len(names) // BATCH))

    def one(batch):
        return [_header(os.path.join(folder, name + SUFFIX)) for name in batch]

    found = []
    bar = tqdm(desc="Reading headers", total=len(names), unit="file", mininterval=1)
    with bar, ThreadPoolExecutor() as pool:
        for batch in pool.map(one, batches):
            found += batch
            bar.update(len(batch))
    patients, wrapped = zip(*found, strict=True)
    return pd.array(patients, dtype="str"), np.array(wrapped)


def _header(file):
    try:
        header = dicom.tags(file, ["PatientID", *dicom.WRAP_TAGS])
    except (OSError, dicom.DicomError):
        return None, False
    return header["PatientID"], dicom.may_wrap(header)
