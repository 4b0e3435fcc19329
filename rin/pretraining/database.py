"""The database: the images to pretrain on, of any number of classes, stored and split."""

from dataclasses import dataclass, field

import pandas as pd

from rin import audit, datasets, images, paths
from rin import manifest as manifests
from rin.prepare import STORE_FOLDER, Prepared
from rin.pretraining import protocols
from rin.pretraining.protocols import PROTOCOLS, DatabaseError

__all__ = ["PROTOCOLS", "Database", "DatabaseError", "prepare"]
PAIR_COLUMNS = ["image_a", "image_b", "label_a", "label_b", "kind"]


@dataclass(frozen=True)
class Database(Prepared):
    """Images to pretrain on: a `rin.prepare.Prepared` of any number of classes, by name.

    With "blocks" the manifest has the column `block` (see `rin.pretraining.protocols.join`).

    Attributes:
        protocol: one of `PROTOCOLS`.
        notes: sentences on the split that a page prints.
        pairs: its duplicates, `image_a`, `image_b`, `label_a`, `label_b`, `kind`, one row a pair;
            exact ones alone where near ones were not looked for.
    """

    protocol: str
    notes: tuple
    pairs: pd.DataFrame = field(repr=False)

    def counts(self):
        """Images of every class in every set: see `rin.pretraining.protocols.counts`."""
        return protocols.counts(self.manifest)

    def summary(self):
        """Images, groups and classes of every set: see `rin.pretraining.protocols.summary`."""
        return protocols.summary(self.manifest)


def prepare(
    data_dir="",
    n_phantoms=None,
    task="radimagenet",
    image_size=224,
    interpolation="bilinear",
    protocol="75/10/15",
    block_size=500,
    near_duplicates=True,
    seed=0,
    on_bad_image="stop",
    options=None,
):
    """Locate, read, store and split a database; the page *Pretrain a backbone* starts here.

    Args:
        data_dir: folder of the download; "" for phantoms.
        n_phantoms: how many, where they are used.
        task: a key of `rin.datasets.TASKS`; "folder" and "csv" take any images.
        image_size: pixels a side.
        interpolation: see `rin.images.resize`.
        protocol: one of `PROTOCOLS`; see `rin.pretraining.protocols.split`.
        block_size: images a block, with "blocks".
        near_duplicates: whether to look for near duplicates, by the rule of each modality. It
            decodes every image and compares all of a modality: seconds for thousands, hours for a
            million. Exact ones are known from the store.
        seed: of the split.
        on_bad_image: "stop" or "skip".
        options: dict of options of the reader (see `rin.datasets.read`) but `duplicates`.

    Returns:
        A `Database`.

    Raises:
        rin.datasets.DatasetError: whatever the reader refuses.
        rin.images.ImageError: unreadable images; with "skip" they are left out.
        DatabaseError: a split from which not every class could be learned.

    Warns:
        rin.splits.SmallSplitWarning: few images of a class in val or test, perhaps none.
    """
    _check(protocol, options or {})
    row = datasets.task(task)
    root = datasets.locate(task, data_dir, n_phantoms)
    reading = {"duplicates": False, "on_bad_image": on_bad_image} | (options or {})
    frame = datasets.read(task, root, **reading)
    row.require_classes(frame)
    folder = paths.root() / STORE_FOLDER
    store = images.store(
        frame, root, image_size, folder, interpolation=interpolation, on_bad_image=on_bad_image
    )
    frame = frame[~frame["image"].isin(store.bad)].reset_index(drop=True)
    pairs = duplicates(frame, root, store, near_duplicates)
    frame, notes = protocols.split(frame, pairs, protocol, block_size, seed)
    names = tuple(manifests.classes(frame))
    phantom = datasets.is_phantom(root) is not None
    return Database(row, root, frame, store, names, phantom, protocol, notes, pairs)


def duplicates(manifest, root, store, near=True):
    """Pairs of duplicates, near ones of each modality by its own rule.

    Args:
        manifest: rows as in the store.
        root: folder its paths start from.
        store: a `rin.images.Store`; it knows the exact ones, those across modalities included.
        near: whether to look for near ones.

    Returns:
        DataFrame with the columns of `Database.pairs`. Of the images of equal pixels, with `near`
        every pair within a modality; otherwise each with the first.
    """
    exact = audit.exact(manifest, root, store=store)
    if not near:
        return exact
    modality = manifest["modality"].fillna("").set_axis(manifest["image"])
    parts = [part.reset_index(drop=True) for _, part in manifest.groupby(modality.to_numpy())]
    found = [audit.duplicates(part, root)[PAIR_COLUMNS] for part in parts]
    apart = modality[exact["image_a"]].to_numpy() != modality[exact["image_b"]].to_numpy()
    return pd.concat([*found, exact[apart]], ignore_index=True)


def _check(protocol, options):
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"`protocol` should be one of {PROTOCOLS}. Received: protocol={protocol!r}"
        )
    if "duplicates" in options:
        raise ValueError("`options` should not hold duplicates: see `near_duplicates`")
