"""Blocks: runs of neighboring files, kept together where a database has no patient ids."""

import re
from numbers import Integral

import numpy as np
import pandas as pd

from rin import audit, groups
from rin.duplicates import within

# the digits at the end of a file's name; of a slice (`a.npy#12`) those of the slice
NUMBER = r"(\d+)(?:\.[A-Za-z]\w*)?$"
BINS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
LARGEST = 0.15  # of a class: what a group of several blocks may hold, the share of a test set


def blocks(manifest, block_size):
    """Cut every class, in order of its file numbers, into blocks of consecutive images.

    A database numbered as it was collected holds the images of one study side by side, so a block
    keeps most of a study together. It is no patient: a study may straddle two blocks, and a
    patient come back later.

    Args:
        manifest: a validated manifest.
        block_size: images a block, 1 or more; the last block of a class holds the rest.

    Returns:
        Series of block names such as "MR/knee/normal block 0003", indexed as the manifest.

    Raises:
        ValueError: `block_size` is no whole number above 0.
    """
    whole = isinstance(block_size, Integral) and not isinstance(block_size, bool)
    if not whole or block_size < 1:
        raise ValueError(
            f"`block_size` should be a whole number above 0. Received: block_size={block_size!r}"
        )
    number = positions(manifest) // block_size + 1
    names = manifest["label"] + " block " + number.astype(str).str.zfill(4)
    return names.astype("string").rename("block")


def positions(manifest):
    """Where each image stands within its class, counted from 0: by folder, then file number.

    Files without a number at the end of their name follow in natural order of their paths, in
    which 2 comes before 10.

    Returns:
        Series of ints, indexed as the manifest.
    """
    image, label = manifest["image"], pd.factorize(manifest["label"])[0]
    digits = image.astype("string").str.extract(NUMBER)[0]
    unnumbered = _natural_rank(image.where(digits.isna(), ""))
    number = digits.astype("Float64").to_numpy(float, na_value=np.inf)  # without a number: last
    folder = _natural_rank(image.str.rpartition("/")[0])
    order = np.lexsort((pd.factorize(image, sort=True)[0], unnumbered, number, folder, label))
    first = np.searchsorted(label[order], np.arange(label.max() + 1))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - first[label[order]]
    return pd.Series(place, index=manifest.index)


def join(manifest, pairs, block_size):
    """Group blocks that share duplicates, as long as that leaves groups which can be dealt out.

    A few duplicates across blocks can chain all blocks of a class into one group, which then fits
    into no set. Where a group of several blocks holds more than 15 % of a class (the share of a
    test set), its blocks stay apart, and images with a duplicate in another block leave theirs:
    they and their duplicates are a group alone. Duplicates stand in one group either way.

    Args:
        manifest: a validated manifest without patient ids.
        pairs: its duplicates.
        block_size: see `blocks`.

    Returns:
        (manifest, notes): with `group`, and `block`, NA where an image left it; sentences.
    """
    block = blocks(manifest, block_size)
    twins = audit.group(manifest, pairs, on_chain="report")
    # a block is joined with its duplicates as a patient would be
    joined = pd.Series(groups.joined(block, twins["group"]), index=manifest.index)
    chained = joined.isin(_too_large(manifest["label"], joined, block))
    leaving = chained & (block.groupby(twins["group"]).transform("nunique") > 1)
    joined = joined.astype("string").radd("g")
    together = joined.mask(chained, block).mask(leaving, "alone " + twins["group"])
    frame = twins.assign(group=together.astype("string"), block=block.mask(leaving))
    if not chained.any():
        return frame, ()
    return frame, (
        f"Duplicates join the blocks of {listed(sorted(manifest['label'][chained].unique()))} "
        f"into groups too large for a set: {leaving.sum():,} images there left their blocks, to "
        "stay with their duplicates alone.",
    )


def duplicate_rate(manifest, pairs, bins=BINS):
    """How often two images of a class are duplicates, by how far apart they stand in it.

    The distance is that of `positions`: 1 for neighbors. A block size is justified where the rate
    has fallen to that of images far apart. Pairs of images are counted by arithmetic, never listed.

    Args:
        manifest: a validated manifest.
        pairs: what `rin.audit.duplicates` returned for it; pairs across classes have no distance
            and are passed over.
        bins: first distance of every bin, ascending from 1; the last bin is open.

    Returns:
        DataFrame `low`, `high` (distances, both inside the bin), `n_pairs` (pairs of images of
        one class), `n_duplicates` and `rate`, one row a bin that holds a pair.

    Raises:
        ValueError: `bins` do not ascend from 1.
    """
    low = np.asarray(bins, dtype=np.int64)
    if not len(low) or low[0] != 1 or (np.diff(low) <= 0).any():
        raise ValueError(f"`bins` should ascend from 1. Received: bins={tuple(bins)!r}")
    sizes = manifest["label"].value_counts().to_numpy(np.int64)
    high = np.r_[low[1:] - 1, max(sizes.max() - 1, low[-1])]
    high = np.minimum(high, max(sizes.max() - 1, 1))
    distance = _distances(manifest, pairs)
    found = np.bincount(np.searchsorted(low, distance, side="right") - 1, minlength=len(low))
    n_pairs = _n_pairs_within(sizes, high) - _n_pairs_within(sizes, low - 1)
    table = pd.DataFrame({"low": low, "high": high, "n_pairs": n_pairs, "n_duplicates": found})
    table = table[table["n_pairs"] > 0].reset_index(drop=True)
    return table.assign(rate=table["n_duplicates"] / table["n_pairs"])


def listed(names, shown=10):
    """Names in a sentence, ten at most."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _too_large(label, joined, block):
    """Groups of several blocks that hold more of a class than a test set."""
    share = label.groupby([joined, label]).size() / label.value_counts().rename_axis("label")
    largest = share.groupby(level=0).max()
    several = block.groupby(joined).nunique() > 1
    return largest.index[several.reindex(largest.index) & (largest > LARGEST)]


def _natural_rank(texts):
    """The rank of each text, numbers in it compared as numbers."""
    codes, values = pd.factorize(texts)
    order = sorted(range(len(values)), key=lambda i: _natural(values[i]))
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    return rank[codes]


def _natural(text):
    parts = re.split(r"(\d+)", text)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _distances(manifest, pairs):
    """Of every pair of one class."""
    pairs = within(pairs)
    pairs = pairs[(pairs["label_a"] == pairs["label_b"]).to_numpy(bool)]
    place = pd.Series(positions(manifest).to_numpy(), index=manifest["image"])
    a, b = (place.loc[pairs[side]].to_numpy() for side in ("image_a", "image_b"))
    return np.abs(a - b)


def _n_pairs_within(sizes, distance):
    """Pairs of one class up to each distance: n - 1 neighbors, n - 2 next to them, …"""
    reach = np.minimum(np.asarray(distance)[:, None], sizes[None] - 1)
    return (reach * sizes - reach * (reach + 1) // 2).sum(axis=1)
