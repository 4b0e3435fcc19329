"""Prepare a task: from its folder to a split manifest, stored pixels and the arrays runs share."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from rin import datasets, images, manifest, paths, records, splits
from rin.datasets.layout import with_excluded, with_noted

STORE_FOLDER = "data/store"


@dataclass(frozen=True)
class Prepared:
    """A task ready to train on or to judge.

    Attributes:
        task: its row of `rin.datasets.TASKS`.
        root: folder of its images.
        manifest: split, readable images only, rows as in the store.
        store: a `rin.images.Store`.
        classes: (negative, positive).
        phantom: whether the images are phantoms.
    """

    task: datasets.Task
    root: Path
    manifest: pd.DataFrame
    store: images.Store
    classes: tuple
    phantom: bool

    @property
    def data(self):
        """The arrays runs share: a `Data`."""
        made = Data.from_manifest(self.manifest, self.store, self.classes)
        return replace(made, phantom=self.phantom)


def prepare(
    task,
    data_dir="",
    n_phantoms=None,
    image_size=256,
    interpolation="bilinear",
    protocol="",
    seed=0,
    on_bad_image="stop",
    positive="",
    options=None,
):
    """Locate, read, store and split a task's images; both pages of a task start here.

    Args:
        task: a key of `rin.datasets.TASKS`.
        data_dir: folder of the download; "" for phantoms.
        n_phantoms: how many, where they are used.
        image_size: pixels a side.
        interpolation: see `rin.images.resize`.
        protocol: see `rin.splits.assign`; "" for the task's own.
        seed: of the split.
        on_bad_image: "stop" or "skip".
        positive: the positive class of the reader's own images; "" for the last one by name.
        options: dict of options of the reader (see `rin.datasets.read`). Duplicates are joined
            as there; what is computed to find them is kept beside the stored images.

    Raises:
        rin.datasets.DatasetError: whatever the reader refuses, or a class without an image.
        ValueError: not exactly two classes, or `positive` is none of them.
        rin.images.ImageError: unreadable images, masks that do not fit their image or whose
            lesion can't be told; with "skip" such images, or such masks alone, are left out.
    """
    row = datasets.task(task)
    root = datasets.locate(task, data_dir, n_phantoms)
    options = {"duplicates": None, "clean": False} | (options or {})
    wanted, clean = options.pop("duplicates"), options.pop("clean")
    frame = datasets.read(task, root, on_bad_image=on_bad_image, duplicates=False, **options)
    names = _classes(row, frame, positive)
    keep = partial(
        images.store,
        root=root,
        size=image_size,
        folder=paths.root() / STORE_FOLDER,
        interpolation=interpolation,
        on_bad_image=on_bad_image,
    )
    store = keep(frame)
    frame = frame[~frame["image"].isin(store.bad)].reset_index(drop=True)
    frame = datasets.join_duplicates(task, frame, root, wanted, clean, on_bad_image, store)
    if len(frame) < len(store.index):  # of the clean arm
        names, store = _classes(row, frame, positive), keep(frame)
    frame = _fitting_masks(frame, root, store, on_bad_image)
    frame = splits.assign(frame, protocol or row.protocol, seed)
    return Prepared(row, root, frame, store, names, datasets.is_phantom(root) is not None)


def _fitting_masks(frame, root, store, on_bad_image):
    wrong = images.misfits(frame, root, store)
    if wrong and on_bad_image == "stop":
        raise images.ImageError({str(root / name): why for name, why in wrong.items()})
    frame = _without_masks(frame, wrong)
    empty, untold = images.look_at_masks(frame, root)
    if untold and on_bad_image == "stop":
        raise images.ImageError({str(root / name): why for name, why in untold.items()})
    frame = _without_masks(frame, untold)
    if empty:
        print(f"{len(empty)} images have a mask that marks nothing")
    frame = with_noted(frame, {datasets.EMPTY_MASKS: empty})
    reasons = {"mask of another size, left out": list(wrong)}
    return with_excluded(frame, reasons | {"mask that can't be used, left out": list(untold)})


def _without_masks(frame, names):
    """The frame without the masks of each row that has one of these."""
    bad = frame["mask"].map(lambda cell: any(m in names for m in manifest.masks(cell)))
    return frame.assign(mask=frame["mask"].mask(bad))


def _classes(row, frame, positive):
    row.require_classes(frame)
    found = manifest.classes(frame)
    if row.classes is not None:
        return row.classes
    if len(found) != 2:
        raise ValueError(f"two classes are expected, found {len(found)}: {', '.join(found[:8])}")
    if positive and positive not in found:
        raise ValueError(f"`positive` should be one of {found}. Received: positive={positive!r}")
    positive = positive or found[1]
    return (next(name for name in found if name != positive), positive)


@dataclass(frozen=True)
class Data:
    """Images of one task, in rows shared by all fields.

    Attributes:
        images: `(n, size, size)` uint8, usually memory-mapped.
        image_ids: `(n,)` hexadecimal strings.
        y: `(n,)` ints, the class index.
        patients, groups: `(n,)` strings; patients may be NA, an image alone is its own group.
        splits: `(n, n_folds)` of "train", "val", "test".
        fingerprint: 16 hex digits over all of it.
        phantom: whether the images are phantoms.
    """

    images: np.ndarray
    image_ids: np.ndarray
    y: np.ndarray
    patients: np.ndarray
    groups: np.ndarray
    splits: np.ndarray
    fingerprint: str = field(compare=False)
    phantom: bool = False

    @classmethod
    def from_manifest(cls, frame, store, class_names):
        """Join a split manifest with its image store.

        Raises:
            ValueError: the rows do not match, or a label is none of `class_names`.
        """
        if list(frame["image"]) != list(store.index["image"]):
            raise ValueError("the manifest's rows are not the store's: make the store from it")
        unknown = sorted(set(frame["label"]) - set(class_names))
        if unknown:
            raise ValueError(f"labels should be among {list(class_names)}. Received: {unknown}")
        y = frame["label"].map({name: i for i, name in enumerate(class_names)}).to_numpy(int)
        splits = frame[manifest.split_columns(frame)].to_numpy(str)
        ids = store.index["image_id"].to_numpy(str)
        groups = frame["group"].fillna(pd.Series(ids, frame.index)).to_numpy(str)
        facts = [store.fingerprint, y.tolist(), splits.tolist(), groups.tolist()]
        mark = records.fingerprint(facts)
        return cls(store.array, ids, y, frame["patient"].to_numpy(object), groups, splits, mark)
