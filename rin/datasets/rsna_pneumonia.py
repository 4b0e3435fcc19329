"""RSNA 2018 chest radiographs: `stage_2_train_images/<patientId>.dcm` and csv files.

Labels are those of the official code: pneumonia where a box was drawn (`Target` 1). A patientId
names one image, so patients are as the challenge tells them; the radiographs were taken from NIH's
ChestX-ray14, which has several of many patients. The official repository's form (`images/*.png`
and lists of train, val, test) is read too.
"""

import os

import pandas as pd

from rin.datasets import official
from rin.datasets.layout import DatasetError, find_home, with_excluded

HOME = "rsna-pneumonia-detection-challenge"
IMAGES, LABELS = "stage_2_train_images", "stage_2_train_labels.csv"
KINDS = "stage_2_detailed_class_info.csv"
TARGETS = {"0": "no pneumonia", "1": "pneumonia"}
OFFICIAL = {"no": "no pneumonia", "yes": "pneumonia"}
FILE_NAME = r"[\w-]+"  # of ids: nothing that leads to another folder
SUFFIX = ".dcm"


def scan(root):
    """Rows of every radiograph; `kind` keeps the class of the detailed list, where there is one.

    Rows without a file and files without a row are left out and counted.

    Raises:
        DatasetError: files missing, a `Target` other than 0 and 1 or two of them for one patient.
    """
    if official.found(root):
        frame = official.scan(root, OFFICIAL, patient=r"^(.+)\.\w+$")
        return frame.assign(modality="CR", anatomy="chest")
    home = find_home(root, HOME, [IMAGES])
    target = _one_each(home / LABELS, "Target")
    check_values(home / LABELS, target, target.index.to_series(), TARGETS)
    names, excluded = with_files(target.index, home / IMAGES)
    prefix = (home / IMAGES).relative_to(root).as_posix() + "/"
    frame = pd.DataFrame({"image": prefix + names + SUFFIX, "patient": names})
    frame["label"] = names.map(target).map(TARGETS)
    if (home / KINDS).is_file():
        frame["kind"] = names.map(_one_each(home / KINDS, "class"))
    return with_excluded(frame.assign(modality="CR", anatomy="chest"), excluded)


def read_table(file, columns):
    """Columns of a csv as text; cells are never empty values but "".

    Raises:
        DatasetError: no such file or column, or no csv.
    """
    if not file.is_file():
        raise DatasetError(f"{file}: no such file; expected a csv with {', '.join(columns)}")
    try:
        frame = pd.read_csv(file, dtype="str", keep_default_na=False)
    except ValueError as error:  # not UTF-8, empty, or lines of different lengths
        raise DatasetError(f"{file}: can't be read as a csv ({error})") from error
    absent = [name for name in columns if name not in frame]
    if absent:
        found = ", ".join(frame.columns)
        raise DatasetError(f"{file}: no column {', '.join(absent)}; found {found}")
    return frame[columns]


def check_names(file, names):
    """Refuse ids that are no plain file names, such as `../x`."""
    wrong = names[~names.str.fullmatch(FILE_NAME)]
    if len(wrong):
        raise DatasetError(
            f"{file}: line {wrong.index[0] + 2}: {wrong.iloc[0]!r} is no id ({len(wrong)} such)"
        )


def check_values(file, values, ids, known):
    """Refuse values that are not among the known ones; `ids` says whose they are."""
    wrong = ~values.isin(list(known))
    if wrong.any():
        raise DatasetError(
            f"{file}: {ids[wrong].iloc[0]}: {values.name} should be one of {', '.join(known)}, "
            f"found {values[wrong].iloc[0]!r} ({wrong.sum()} such)"
        )


def with_files(names, folder):
    """The names that have a DICOM file in a folder, and what is left out on either side.

    Returns:
        `(names, excluded)`: a sorted Series of text, and a dict for `layout.with_excluded`.

    Raises:
        DatasetError: not one of the names has a file.
    """
    found = [n.removesuffix(SUFFIX) for n in os.listdir(folder) if n.endswith(SUFFIX)]
    named, files = pd.Index(names), pd.Index([n for n in found if n[:1] != "."], dtype="str")
    both = named.intersection(files)
    if both.empty:
        raise DatasetError(
            f"{folder}: expected files like {named[0] if len(named) else '<id>'}{SUFFIX}; "
            f"none of the {len(named)} images of the csv is among its {len(files)} files"
        )
    excluded = {
        "a row without a file": list(named.difference(files)),
        "a file without a row": list(files.difference(named)),
    }
    return pd.Series(both.sort_values(), dtype="str"), excluded


def _one_each(file, column):
    """A column as a Series indexed by patientId, which may stand in several equal rows."""
    frame = read_table(file, ["patientId", column])
    check_names(file, frame["patientId"])
    frame = frame.drop_duplicates()
    twice = frame.loc[frame["patientId"].duplicated(), "patientId"]
    if len(twice):
        raise DatasetError(
            f"{file}: {twice.iloc[0]} stands in several rows with different {column} "
            f"({twice.nunique()} such)"
        )
    return frame.set_index("patientId")[column]
