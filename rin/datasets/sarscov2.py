"""CC-CCII, chest CT of pneumonia: `CP|NCP/<patient>/<scan>/<slice>.png` (some slices are jpg).

NCP is pneumonia by SARS-CoV-2, CP community-acquired pneumonia. The download's third folder,
`Normal`, is no part of this task.
"""

import pandas as pd

from rin.datasets import official
from rin.datasets.layout import DatasetError, list_paths, not_read, with_excluded

CLASSES = {"CP": "community-acquired pneumonia", "NCP": "SARS-CoV-2"}
# parts of the download may unpack as CP-1, NCP-12, …, and all of it may lie in one folder more
SLICE = r"^(?:[^/]+/)?(?P<kind>CP|NCP|Normal)(?:-\d+)?/(?P<patient>[^/]+)/(?P<scan>[^/]+)/[^/]+$"
NUMBER = r"(\d+)\.\w+$"  # of a slice


def scan(root, slices=0, files=None):
    """Rows of every slice; `scan` numbers each patient's scans (slices of one folder) from 1.

    The official form (images and csv lists) is read as `rin.datasets.official` does, with the
    patients of its column `pid`.

    Args:
        root: holds `CP/` and `NCP/`, or the official form.
        slices: how many slices to keep from the middle of each scan; 0 keeps all.
        files: glob of the official lists, where they are not alone.

    Raises:
        DatasetError: no slice of CP or none of NCP, or as `rin.datasets.official.scan`.
    """
    if slices < 0:
        raise ValueError(f"`slices` should be an int of at least 0. Received: slices={slices!r}")
    if files or official.found(root):
        frame = official.scan(root, CLASSES, patient_column="pid", files=files)
    else:
        frame = _download(root)
    folder = frame["image"].str.rsplit("/", n=1).str[0]
    number = frame.groupby([frame["patient"], folder]).ngroup()
    first = number.groupby(frame["patient"]).transform("min")
    frame = frame.assign(scan=number - first + 1, modality="CT", anatomy="chest")
    return _middle(frame, slices) if slices else frame


def _download(root):
    """Rows of the slices below `CP` and `NCP`."""
    images, others = list_paths(root)
    images = pd.Series(images, dtype="str")
    parts = images.str.extract(SLICE)
    kept = parts["kind"].isin(list(CLASSES))
    absent = [kind for kind in CLASSES if not (parts["kind"] == kind).any()]
    if absent:
        found = sorted(path.name for path in root.iterdir())[:8]
        raise DatasetError(
            f"{root}: expected slices in CP/<patient>/<scan>/ and NCP/<patient>/<scan>/, none of "
            f"{' and '.join(absent)}; found {found}"
        )
    frame = pd.DataFrame(
        {
            "image": images,
            "label": parts["kind"].map(CLASSES),
            "patient": parts["kind"] + "_" + parts["patient"],
        }
    )
    excluded = {
        "Normal, no part of this task": list(images[parts["kind"] == "Normal"]),
        "not in <patient>/<scan>/ of CP or NCP": list(images[parts["kind"].isna()]),
        **not_read(others),
    }
    return with_excluded(frame[kept].reset_index(drop=True), excluded)


def _middle(frame, slices):
    """The middle slices of each scan; the rest is added to what was left out."""
    number = frame["image"].str.extract(NUMBER)[0].astype(float)  # 9 comes before 10
    order = frame.assign(number=number).sort_values(["patient", "scan", "number", "image"])
    scans = order.groupby(["patient", "scan"])["image"]
    place = scans.cumcount() - (scans.transform("size") - slices).clip(lower=0) // 2
    kept = place.between(0, slices - 1).reindex(frame.index)
    before = frame.attrs["excluded"]
    rest = {f"not among the {slices} middle slices of a scan": list(frame.loc[~kept, "image"])}
    frame = with_excluded(frame[kept].reset_index(drop=True), rest)
    frame.attrs["excluded"] |= before
    return frame
