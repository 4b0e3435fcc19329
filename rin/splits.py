"""Splits: train, val and test of each fold; no patient and no duplicate straddles two of them."""

import warnings
from pathlib import PurePosixPath

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from rin import manifest as manifests
from rin import published

PROTOCOLS = ("5-fold", "75/10/15", "official")
REFUSED_BELOW = 2  # images of a class in val or test: no AUC variance exists below
WARNED_BELOW = 10


class SplitError(ValueError):
    """A split that can't be made, or that nothing could be learned from."""


class SmallSplitWarning(UserWarning):
    """A val or test set holds fewer than ten images of a class."""


def assign(manifest, protocol, seed=0):
    """Add `split_0`, `split_1`, …: train, val or test in each fold.

    `5-fold` takes StratifiedGroupKFold(5) for the test sets and, within the rest, the first fold
    of StratifiedGroupKFold(10) for val. `75/10/15` deals groups into twenty folds: three for
    test, two for val. `official` takes the sets a dataset was released with (its `released`
    column), the published breast and thyroid folds, or else the split columns its csv files gave.
    Rows are sorted by image first, so the order of files does not matter; an image without a
    group is a group of its own.

    Args:
        manifest: a validated manifest.
        protocol: one of `PROTOCOLS`.
        seed: int; shuffles groups (not used by `official`).

    Returns:
        The manifest, sorted by image, with the split columns added (older ones replaced).

    Raises:
        SplitError: fewer than two images of a class in a val or test set, or official folds that
            do not cover these images.

    Warns:
        SmallSplitWarning: fewer than ten images of a class in a val or test set.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"`protocol` should be one of {PROTOCOLS}. Received: protocol={protocol!r}"
        )
    frame = manifest.sort_values("image", kind="stable", ignore_index=True)
    make = {"5-fold": _five_folds, "75/10/15": _single_split, "official": _official}[protocol]
    splits = list(make(frame, seed))
    frame = frame.drop(columns=manifests.split_columns(frame))
    for fold, split in enumerate(splits):
        frame[f"split_{fold}"] = pd.array(split, dtype="string")
    _judge(frame)
    return frame


def counts(manifest):
    """Images, groups and images per class of every set: DataFrame, one row a fold and split."""
    rows = []
    for fold, column in enumerate(manifests.split_columns(manifest)):
        for split in manifests.SPLITS:
            part = manifest[manifest[column] == split]
            per_class = {
                f"n_{c}": int((part["label"] == c).sum()) for c in manifests.classes(manifest)
            }
            row = {"fold": fold, "split": split, "n_images": len(part)}
            rows.append(row | {"n_groups": groups(part).nunique()} | per_class)
    return pd.DataFrame(rows)


def groups(manifest):
    """The group of every row; an image without one stands for itself."""
    return manifest["group"].fillna("image " + manifest["image"])


def _deal(frame, n_folds, seed=None):
    """The fold number of each row under StratifiedGroupKFold; shuffled where a seed is given."""
    folder = StratifiedGroupKFold(n_folds, shuffle=seed is not None, random_state=seed)
    number = pd.Series(-1, index=frame.index)
    with warnings.catch_warnings():
        # sparse classes are judged by `_judge`, with the counts that matter
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        try:
            # numbered by first appearance, so that a group's name has no say in the split
            number_of_group = pd.factorize(groups(frame))[0]
            parts = list(folder.split(frame, frame["label"], number_of_group))
        except ValueError as error:
            raise SplitError(
                f"{len(frame)} images can't be dealt into {n_folds} folds: {error}"
            ) from error
    for fold, (_, inside) in enumerate(parts):
        number.iloc[inside] = fold
    return number


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


def _published_folds(frame, folds):
    name = frame["image"].map(lambda path: PurePosixPath(path).name)
    absent = sorted(set(folds["image"]) - set(name))
    if absent:
        raise SplitError(
            f"{len(absent)} images of the official folds are not in the manifest, "
            f"among them {', '.join(absent[:5])}"
        )
    unknown = frame["image"][~name.isin(folds.loc[folds["split"] == "test", "image"])]
    if len(unknown):
        raise SplitError(
            f"{len(unknown)} images stand in no official test set, "
            f"among them {', '.join(unknown[:5])}"
        )
    for _, rows in folds.groupby("fold"):
        yield name.map(rows.set_index("image")["split"]).fillna("train")


def _anatomy(frame):
    found = frame["anatomy"].dropna().unique()
    return found[0] if len(found) == 1 else None


def _judge(frame):
    table = counts(frame)
    names = manifests.classes(frame)
    held = table[table["split"].isin(["val", "test"])]
    small = []
    for row in held.to_dict("records"):
        for name in names:
            n, where = row[f"n_{name}"], f"{row['split']} of fold {row['fold']}"
            if n < REFUSED_BELOW:
                raise SplitError(f"{where} holds {n} images of class {name!r}, at least 2 expected")
            if n < WARNED_BELOW:
                small.append(f"{n} {name} in {where}")
    if small:
        text = f"fewer than {WARNED_BELOW} images of a class: {'; '.join(small)}"
        warnings.warn(text, SmallSplitWarning, stacklevel=3)
