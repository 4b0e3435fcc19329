"""Splits: train, val and test of each fold; no patient and no duplicate straddles two of them."""

import warnings
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from rin import manifest as manifests
from rin import published, sites

PROTOCOLS = ("5-fold", "75/10/15", "official", "site-held-out")
REFUSED_BELOW = 2  # images of a class in val or test: no AUC variance exists below
WARNED_BELOW = 10
MANY = 20_000  # groups above which they are dealt in quicker ways: each costs a millisecond
SHOWN = 20  # small classes a warning names


class SplitError(ValueError):
    """A split that can't be made, or that nothing could be learned from."""


class SmallSplitWarning(UserWarning):
    """A val or test set holds fewer than ten images of a class, of three or more: perhaps none."""


def assign(manifest, protocol, seed=0):
    """Add `split_0`, `split_1`, …: train, val or test in each fold.

    `5-fold` takes StratifiedGroupKFold(5) for the test sets and, within the rest, the first fold
    of StratifiedGroupKFold(10) for val. `75/10/15` deals groups into twenty folds: three for
    test, two for val. `official` takes the sets a dataset was released with (its `released`
    column), the published breast and thyroid folds, or else the split columns its csv files gave.
    `site-held-out` tests on one site after the other (see `rin.sites.hold_out`).
    Rows are sorted by image first, so the order of files does not matter; an image without a
    group is a group of its own. More than 20,000 of these are dealt by StratifiedKFold, apart
    from the larger groups.

    A class with fewer than two images in val or test has no AUC, which ends a task of two classes.
    With more classes the others can still be learned and judged, and a database to pretrain on
    may well hold classes of a few images (RadImageNet's differ a thousandfold): a warning says so.

    Args:
        manifest: a validated manifest.
        protocol: one of `PROTOCOLS`.
        seed: int; shuffles groups (not used by `official`).

    Returns:
        The manifest, sorted by image, with the split columns added (older ones replaced).

    Raises:
        SplitError: fewer than two images of a class in a val or test set (of two classes), an
            empty val or test set, official folds that do not cover these images, or no sites to
            hold out.

    Warns:
        SmallSplitWarning: fewer than ten images of a class in a val or test set; of three or more
            classes, perhaps none.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"`protocol` should be one of {PROTOCOLS}. Received: protocol={protocol!r}"
        )
    frame = manifest.sort_values("image", kind="stable", ignore_index=True)
    make = {
        "5-fold": _five_folds,
        "75/10/15": _single_split,
        "official": _official,
        "site-held-out": _site_held_out,
    }[protocol]
    splits = list(make(frame, seed))
    frame = frame.drop(columns=manifests.split_columns(frame))
    for fold, split in enumerate(splits):
        frame[f"split_{fold}"] = pd.array(split, dtype="string")
    _judge(frame)
    return frame


def counts(manifest):
    """Images, groups and images per class of every set: DataFrame, one row a fold and split."""
    rows, names = [], manifests.classes(manifest)
    group = pd.Series(pd.factorize(groups(manifest))[0], index=manifest.index)
    for fold, column in enumerate(manifests.split_columns(manifest)):
        per_class = pd.crosstab(manifest[column], manifest["label"])
        per_class = per_class.reindex(manifests.SPLITS, columns=names, fill_value=0)
        n_groups = group.groupby(manifest[column]).nunique().reindex(per_class.index, fill_value=0)
        for split, found in per_class.iterrows():
            row = {"fold": fold, "split": split, "n_images": int(found.sum())}
            row |= {"n_groups": int(n_groups[split])} | found.add_prefix("n_").to_dict()
            rows.append(row)
    return pd.DataFrame(rows)


def groups(manifest):
    """The group of every row; an image without one stands for itself."""
    return manifests.identifiers(manifest["group"]).fillna("image " + manifest["image"])


class _QuickDeal(StratifiedGroupKFold):
    """The same deal ten times as fast, for which this method is replaced.

    It is no public one: under another name in a later scikit-learn, deals were slow, not wrong.
    """

    def _find_best_fold(self, y_counts_per_fold, y_cnt, group_y_counts):
        """The fold in which a group leaves the smallest spread, over folds, of class shares.

        The group's own classes decide, as others stay as they are, and of equal folds the one
        that holds the fewest images.
        """
        own = np.flatnonzero(group_y_counts)
        share, added = y_counts_per_fold[:, own] / y_cnt[own], group_y_counts[own] / y_cnt[own]
        squares = ((share**2).sum(axis=0) + 2 * share * added + added**2) / self.n_splits
        variance = squares - ((share.sum(axis=0) + added) / self.n_splits) ** 2
        spread = np.sqrt(np.maximum(variance, 0)).sum(axis=1)
        best = spread <= spread.min() + 1e-8
        return np.where(best, y_counts_per_fold.sum(axis=1), np.inf).argmin()


def _deal(frame, n_folds, seed=None):
    """The fold number of each row, classes spread evenly; shuffled where a seed is given."""
    # numbered by first appearance, so that a group's name has no say in the split
    group = pd.factorize(groups(frame))[0]
    label = pd.factorize(frame["label"], sort=True)[0]
    number = pd.Series(-1, index=frame.index)
    with warnings.catch_warnings():
        # sparse classes are judged by `_judge`, with the counts that matter
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        try:
            for rows, parts in _heaps(group, label, n_folds, seed):
                for fold, (_, inside) in enumerate(parts):
                    number.iloc[rows[inside]] = fold
        except ValueError as error:
            raise SplitError(
                f"{len(frame)} images can't be dealt into {n_folds} folds: {error}"
            ) from error
    return number


def _heaps(group, label, n_folds, seed):
    """Rows and their deal: all at once, or a great many groups of one image apart.

    Each heap is dealt with its classes spread evenly, so their union is even too. Some groups of
    one image stay with the larger groups, which may be too few to be dealt alone: n_folds times
    the number of classes hold n_folds images of one class at least.
    """
    alone = np.bincount(group)[group] == 1
    kind = StratifiedGroupKFold if group.max() < MANY else _QuickDeal
    by_group = kind(n_folds, shuffle=seed is not None, random_state=seed)
    if alone.sum() <= MANY:
        rows = np.arange(len(group))
        return [(rows, by_group.split(rows, label, group))]
    singles = np.flatnonzero(alone)
    n_kept = 0 if alone.all() else min(n_folds * (label.max() + 1), len(singles) // 2)
    alone[singles[np.linspace(0, len(singles) - 1, n_kept, dtype=int)]] = False
    rest, apart = np.flatnonzero(~alone), np.flatnonzero(alone)
    # always shuffled: without, a fold takes neighbors in order of their names
    by_image = StratifiedKFold(n_folds, shuffle=True, random_state=seed or 0)
    deals = [(apart, by_image.split(apart, label[apart]))]
    return deals + ([(rest, by_group.split(rest, label[rest], group[rest]))] if len(rest) else [])


def _five_folds(frame, seed):
    outer = _deal(frame, 5, seed)
    for fold in range(5):
        split = pd.Series("train", index=frame.index).mask(outer == fold, "test")
        rest = frame[outer != fold]
        inner = _deal(rest, 10)  # not shuffled: sets of even size; the outer deal is seeded
        split[rest.index[inner == 0]] = "val"
        yield split


def _single_split(frame, seed):
    twentieths = _deal(frame, 20, seed)
    split = pd.Series("train", index=frame.index)
    yield split.mask(twentieths.isin([0, 1, 2]), "test").mask(twentieths.isin([3, 4]), "val")


def _official(frame, seed):
    if "released" in frame and frame["released"].notna().all():
        yield frame["released"]
        return
    if _anatomy(frame) in ("breast", "thyroid"):
        yield from _published_folds(frame, published.official_folds(_anatomy(frame)))
        return
    own = manifests.split_columns(frame)
    if not own:
        raise SplitError(
            "no official split is known for this dataset: breast and thyroid have published folds, "
            "other datasets need a `released` column or split columns of their own"
        )
    yield from (frame[column] for column in own)


def _site_held_out(frame, seed):
    try:
        for _, split in sites.hold_out(frame, seed):
            yield split
    except ValueError as error:
        raise SplitError(str(error)) from error


def _published_folds(frame, folds):
    name = frame["image"].map(lambda path: PurePosixPath(path).name)
    absent = sorted(set(folds["image"]) - set(name))
    if absent:
        raise SplitError(
            f"{len(absent)} images of the official folds are not in the manifest, "
            f"among them {', '.join(absent[:5])}{_dropped(folds, absent)}"
        )
    unknown = frame["image"][~name.isin(folds.loc[folds["split"] == "test", "image"])]
    if len(unknown):
        raise SplitError(
            f"{len(unknown)} images stand in no official test set, "
            f"among them {', '.join(unknown[:5])} "
            "(thyroid: the reader's published_only leaves them out)"
        )
    for _, rows in folds.groupby("fold"):
        yield name.map(rows.set_index("image")["split"]).fillna("train")


def _dropped(folds, absent):
    """What is left of the official folds' smallest set without the images with letters."""
    listed = set(published.burned_in()["image"]) & set(folds["image"])
    if not listed or listed != set(absent):
        return ""
    kept = folds[~folds["image"].isin(absent)]
    sizes = kept.groupby(["split", "fold", "label"]).size()
    split, fold, label = sizes.idxmin()
    return (
        f"; without those that show their TI-RADS in letters (burned_in: drop) {split} of fold "
        f"{fold} would keep {sizes.min()} {label}: burned_in: blank keeps every image"
    )


def _anatomy(frame):
    found = frame["anatomy"].dropna().unique()
    return found[0] if len(found) == 1 else None


def _judge(frame):
    table = counts(frame)
    names = manifests.classes(frame)
    held = table[table["split"].isin(["val", "test"])]
    small = []
    for row in held.to_dict("records"):
        where = f"{row['split']} of fold {row['fold']}"
        if not row["n_images"]:
            raise SplitError(f"{where} is empty")
        for name in names:
            n = row[f"n_{name}"]
            if n < REFUSED_BELOW and len(names) <= 2:
                raise SplitError(f"{where} holds {n} images of class {name!r}, at least 2 expected")
            if n < WARNED_BELOW:
                small.append(f"{n} {name} in {where}")
    if small:
        more = f"; and {len(small) - SHOWN} more" if len(small) > SHOWN else ""
        text = f"fewer than {WARNED_BELOW} images of a class: {'; '.join(small[:SHOWN])}{more}"
        warnings.warn(text, SmallSplitWarning, stacklevel=3)
