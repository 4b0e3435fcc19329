"""Datasets: one reader per raw layout, each from the download as it lies on disk to a manifest."""

import json
from dataclasses import dataclass
from pathlib import Path

import filelock

from rin import audit, paths, phantoms
from rin import manifest as manifests
from rin.datasets import breast, csv, folder, pediatric
from rin.datasets.layout import DatasetError

__all__ = ["PHANTOM_TASKS", "TASKS", "DatasetError", "Task", "is_phantom", "locate", "read", "task"]

PHANTOM_TASKS = phantoms.TASKS


@dataclass(frozen=True)
class Task:
    """A dataset and its question.

    Attributes:
        title: as it stands in a heading.
        classes: names in label order; index 1 is the positive class. None: those found, sorted.
        protocol: how the study splits it (see `rin.splits.PROTOCOLS`).
        augmentation: a key of `rin.augment.RANGES`: what the official script applies.
        scan: `root, options -> DataFrame`, the raw layout's reader.
        source: where the images come from.
        published: whether the paper has numbers for it.
        show_images: whether its terms allow pages to show its images.
    """

    title: str
    classes: tuple | None
    protocol: str
    augmentation: str
    scan: object
    source: str
    published: bool
    show_images: bool


TASKS = {
    "breast": Task(
        title="Breast lesion malignancy (ultrasound, BUSI)",
        classes=("benign", "malignant"),
        protocol="5-fold",
        augmentation="small",
        scan=breast.scan,
        source="Al-Dhabyani et al. 2020, Dataset of breast ultrasound images (CC BY 4.0)",
        published=True,
        show_images=True,
    ),
    "pediatric": Task(
        title="Pediatric pneumonia (chest radiographs, Kermany)",
        classes=("normal", "pneumonia"),
        protocol="5-fold",
        augmentation="large",
        scan=pediatric.scan,
        source="Kermany et al. 2018, Mendeley Data rscbjbr9sj (CC BY 4.0)",
        published=False,
        show_images=True,
    ),
    "folder": Task(
        title="Your own images, one folder a class",
        classes=None,
        protocol="5-fold",
        augmentation="large",
        scan=folder.scan,
        source="the reader's own images",
        published=False,
        show_images=True,
    ),
    "csv": Task(
        title="Your own images, named by a csv",
        classes=None,
        protocol="5-fold",
        augmentation="large",
        scan=csv.scan,
        source="the reader's own images",
        published=False,
        show_images=True,
    ),
}


def task(name):
    """The `Task` of that name.

    Raises:
        ValueError: listing the tasks there are.
    """
    if name not in TASKS:
        raise ValueError(f"`task` should be one of {sorted(TASKS)}. Received: task={name!r}")
    return TASKS[name]


def read(task, root, *, patients="number", duplicates=None, on_bad_image="stop", **options):
    """Read a raw dataset into a validated manifest.

    Args:
        task: a key of `TASKS`; `folder` and `csv` take the reader's own images.
        root: folder of the download; the manifest's paths start here.
        patients: "number" gives running numbers, "hash" keyed hashes (see `rin.manifest`).
        duplicates: whether exact and near duplicates join one group; default: where the
            dataset has no patient ids.
        on_bad_image: "stop" or "skip" unreadable images while duplicates are looked for.
        **options: the reader's own; see `rin.datasets.csv` and `rin.datasets.folder`.

    Returns:
        DataFrame with the columns of `rin.manifest.COLUMNS`, one row an image, sorted by path.

    Raises:
        DatasetError: the folder is missing or not in the layout expected.
        rin.manifest.ManifestError: rows that break the schema, all of them listed.
        rin.images.ImageError: unreadable images met while looking for duplicates.
    """
    hide = {"number": manifests.number_patients, "hash": manifests.hash_patients}
    if patients not in hide:
        raise ValueError(f"`patients` should be number or hash. Received: patients={patients!r}")
    scan, root = _task(task).scan, Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected the {task} dataset there")
    frame = scan(root, **options)
    if "patient" in frame:
        frame["patient"] = hide[patients](frame["patient"])
    frame = manifests.validate(frame, root, where=f"{task} in {root}")
    if duplicates is None:
        duplicates = frame["patient"].isna().any()
    if duplicates:
        frame = audit.group(frame, audit.duplicates(frame, root, on_bad_image=on_bad_image))
    return frame


def locate(name, data_dir="", n_phantoms=None, seed=0):
    """The folder of a task's images: the reader's own, or phantoms written when there is none.

    Args:
        name: a key of `TASKS`.
        data_dir: folder of the real download; "" writes (once) and takes phantoms, which lie
            under `data/phantoms/`.
        n_phantoms, seed: how many phantoms, and which.

    Raises:
        DatasetError: no folder is given, and there are no phantoms of this task.
    """
    if data_dir:
        return paths.resolve(data_dir)
    if name not in PHANTOM_TASKS:
        known = ", ".join(PHANTOM_TASKS)
        raise DatasetError(f"`data_dir` is empty, and phantoms exist for {known} only")
    home = paths.root() / "data" / "phantoms" / f"{name}-{n_phantoms or 'default'}-seed{seed}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(home.with_suffix(".lock")):
        return phantoms.write(name, home, n=n_phantoms, seed=seed)


def is_phantom(root):
    """The settings of the phantoms at `root` or around it; None when the images are not ours."""
    root = Path(root).resolve()
    for home in (root, *root.parents):
        marker = home / phantoms.MARKER
        if marker.is_file():
            return json.loads(marker.read_text())
    return None


_task = task  # `read` has an argument of that name
