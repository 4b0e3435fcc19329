"""Protocols: how a database of many classes is split, and sentences on what that split is."""

import pandas as pd

from rin import audit, splits
from rin import manifest as manifests
from rin.duplicates import within
from rin.pretraining.blocks import join, listed
from rin.pretraining.dealing import deal

PROTOCOLS = ("75/10/15", "released", "blocks")
SHARES = {"train": 0.75, "val": 0.10, "test": 0.15}  # Mei et al. 2022


class DatabaseError(ValueError):
    """A database that nothing could be learned from, or whose split is not there."""


def split(manifest, pairs, protocol, block_size=500, seed=0):
    """Split a manifest of many classes, and say what the split is.

    `75/10/15` keeps patients together where there are ids. `released` takes the sets a database
    came with (of RadImageNet, its three lists). `blocks` is for a database without ids: see
    `rin.pretraining.blocks.join` and
    `rin.pretraining.dealing.deal`. Duplicates join one group; only `released` may part a group.

    Args:
        manifest: a validated manifest.
        pairs: its duplicates (see `rin.audit.duplicates`).
        protocol: one of `PROTOCOLS`.
        block_size: images a block, with "blocks".
        seed: int; not used by `released`.

    Returns:
        (manifest, notes): sorted by image with `group` and `split_0`, and of blocks `block`;
        a tuple of sentences for a page.

    Raises:
        DatabaseError: fewer than two classes, a class in val or test and not in train, no
            released sets, or blocks of a database with patient ids.
        rin.splits.SplitError: an empty val or test set.

    Warns:
        rin.splits.SmallSplitWarning: few images of a class in val or test, perhaps none.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"`protocol` should be one of {PROTOCOLS}. Received: protocol={protocol!r}"
        )
    names = manifests.classes(manifest)
    if len(names) < 2:
        raise DatabaseError(f"two classes or more are expected, found {', '.join(names)} alone")
    if protocol == "75/10/15":
        frame, notes = _by_patient(manifest, pairs, seed)
    elif protocol == "released":
        frame, notes = _released(manifest, pairs)
    else:
        frame, notes = _by_block(manifest, pairs, block_size, seed)
    table = counts(frame)
    _refuse_unlearned(table)
    return frame, (*notes, *_on_groups(frame, pairs), *_unjudged(table))


def counts(manifest):
    """DataFrame `label`, `n_train`, `n_val`, `n_test`, `n`: images, one row a class."""
    table = pd.crosstab(manifest["label"], manifest["split_0"])
    table = table.reindex(columns=manifests.SPLITS, fill_value=0).add_prefix("n_")
    return table.assign(n=table.sum(axis=1)).rename_axis(columns=None).reset_index()


def summary(manifest):
    """DataFrame `split`, `n_images`, `share`, `nominal`, `n_groups`, `n_classes`, a row a set.

    `share` is of all images, `nominal` what the paper states.
    """
    sets = manifest.assign(group=splits.groups(manifest)).groupby("split_0")
    table = sets.agg(
        n_images=("image", "size"), n_groups=("group", "nunique"), n_classes=("label", "nunique")
    ).reindex(manifests.SPLITS, fill_value=0)
    table.insert(1, "share", table["n_images"] / len(manifest))
    table.insert(2, "nominal", table.index.map(SHARES))
    return table.rename_axis("split").reset_index()


def _by_patient(manifest, pairs, seed):
    grouped = audit.group(manifest, pairs, on_chain="report")
    n = int(grouped["patient"].isna().sum())
    unknown = (
        f"This is not a patient split: {n:,} of {len(grouped):,} images have no patient id, and "
        "two of one patient that do not look alike may stand in two sets.",
    )
    return splits.assign(grouped, "75/10/15", seed), unknown if n else ()


def _released(manifest, pairs):
    columns = manifests.split_columns(manifest)
    if "released" not in manifest and len(columns) != 1:
        raise DatabaseError(
            "no released sets: expected the three lists of the release, or a csv with one split "
            f"column, found {len(columns)} split columns; take another protocol"
        )
    if "released" not in manifest:
        manifest = manifest.assign(released=manifest[columns[0]])
    grouped = audit.group(manifest, pairs, on_chain="report")
    frame = splits.assign(grouped, "official").drop(columns="released")
    return frame, (_beside_nominal(frame), _leaking(frame, pairs))


def _by_block(manifest, pairs, block_size, seed):
    if manifest["patient"].notna().any():
        raise DatabaseError(
            "blocks are for a database without patient ids, and this one has some: take the "
            "protocol 75/10/15, which keeps patients together"
        )
    frame, notes = join(manifest, pairs, block_size)
    # judged as a split that was given
    frame = splits.assign(frame.assign(released=deal(frame, SHARES, seed)), "official")
    note = (
        "This is not a patient split: the database has no patient ids. Within a class, blocks of "
        f"{block_size} images that follow each other were kept together."
    )
    return frame.drop(columns="released"), (note, *notes)


def _refuse_unlearned(table):
    absent = table[table["n_train"] == 0]
    if len(absent):
        first = absent.iloc[0]
        raise DatabaseError(
            f"{len(absent)} of {len(table)} classes have images in val or test and none in train: "
            f"{listed(list(absent['label']))} ({first['label']}: {first['n_val']} in val, "
            f"{first['n_test']} in test). A class that is not trained on can't be recognized: take "
            "another protocol or seed, or leave the class out"
        )


def _on_groups(frame, pairs):
    """Sentences on what the groups hold."""
    sizes = splits.groups(frame).value_counts()
    yield (
        f"{len(within(pairs)):,} pairs of duplicates were found; the largest of {len(sizes):,} "
        f"groups holds {sizes.iloc[0]:,} images."
    )
    for chain in frame.attrs.get("chains", []):
        if chain["n_near"]:
            yield (
                f"Near duplicates of {chain['n_images']:,} images form one chain, which can't be "
                f"believed, and were not joined ({chain['labels']})."
            )


def _unjudged(table):
    """Sentences on classes of too few groups for three sets."""
    for name in ("val", "test"):
        absent = list(table["label"][table[f"n_{name}"] == 0])
        if absent:
            yield (
                f"Learned, but not judged in {name}, for want of images there: {listed(absent)}."
            )


def _beside_nominal(frame):
    rows = summary(frame).itertuples()
    said = [f"{r.n_images:,} {r.split} ({r.share:.1%}; paper {r.nominal:.0%})" for r in rows]
    unknown = frame["patient"].isna().any()
    doubt = " Without patient ids nobody can check that this is a patient split." if unknown else ""
    return f"The sets as released: {', '.join(said)}.{doubt}"


def _leaking(frame, pairs):
    row = audit.twins(pairs, frame).iloc[0]
    return (
        f"{row['n_twins']:,} of {row['n_test']:,} test images have a duplicate in train: the "
        "released sets are taken as they are."
    )
