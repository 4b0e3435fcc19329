"""What the two RSNA readers share: their csv files, and the DICOM files these name."""

import os

import pandas as pd

from rin.datasets.layout import DatasetError, is_hidden, not_read

FILE_NAME = r"[\w-]+"  # of ids: nothing that leads to another folder
SUFFIX = ".dcm"


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
    there = [name for name in os.listdir(folder) if not is_hidden(name)]
    found = [n.removesuffix(SUFFIX) for n in there if n.endswith(SUFFIX)]
    named, files = pd.Index(names), pd.Index(found, dtype="str")
    both = named.intersection(files)
    if both.empty:
        raise DatasetError(
            f"{folder}: expected files like {named[0] if len(named) else '<id>'}{SUFFIX}; "
            f"none of the {len(named)} images of the csv is among its {len(files)} files"
        )
    excluded = {
        "a row without a file": list(named.difference(files)),
        "a file without a row": list(files.difference(named)),
        **not_read(name for name in there if not name.endswith(SUFFIX)),
    }
    return pd.Series(both.sort_values(), dtype="str"), excluded
