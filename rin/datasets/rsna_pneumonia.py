"""RSNA 2018 chest radiographs: `stage_2_train_images/<patientId>.dcm` and csv files.

Labels are those of the official code: pneumonia where a box was drawn (`Target` 1). A patientId
names one image, so patients are as the challenge tells them; the radiographs were taken from NIH's
ChestX-ray14, which has several of many patients. The official repository's form (`images/*.png`
and lists of train, val, test) is read too.
"""

import pandas as pd

from rin.datasets import official
from rin.datasets.layout import DatasetError, find_home, with_excluded
from rin.datasets.rsna import SUFFIX, check_names, check_values, read_table, with_files

HOME = "rsna-pneumonia-detection-challenge"
IMAGES, LABELS = "stage_2_train_images", "stage_2_train_labels.csv"
KINDS = "stage_2_detailed_class_info.csv"
TARGETS = {"0": "no pneumonia", "1": "pneumonia"}
OFFICIAL = {"no": "no pneumonia", "yes": "pneumonia"}


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
