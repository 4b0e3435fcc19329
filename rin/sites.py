"""Sites: which hospital gave which class, and splits that hold one hospital out at a time."""

import warnings

import numpy as np
import pandas as pd
from scipy.stats.contingency import association
from sklearn.model_selection import StratifiedGroupKFold

from rin import manifest as manifests


class SiteWarning(UserWarning):
    """A class lives in one site only, so that site can't be held out for it."""


def table(manifest, by="site"):
    """How many images and groups (patients) of each class a site gave.

    Returns:
        DataFrame, one row a site: the site, `n_images`, `n_groups`, and for each class
        `n_<class>` (images), `n_groups_<class>` and `share_<class>` of the site's images, 0–1.

    Raises:
        ValueError: no column of sites, an image without one, or one site only.
    """
    names = _sites(manifest, by)
    frame = manifest.assign(group=_groups(manifest))
    rows = [_counts(frame[frame[by] == name], manifests.classes(manifest)) for name in names]
    return pd.DataFrame(rows).set_axis(pd.Index(names, name=by)).reset_index()


def associated(manifest, by="site"):
    """How far the site tells the class: Cramér's V over images, 0 (not at all) to 1 (always).

    Raises:
        ValueError: as `table`, or one class only.

    Source: Cramér 1946, Mathematical Methods of Statistics, ch. 21
    """
    _sites(manifest, by)
    counts = pd.crosstab(manifest[by], manifest["label"])
    if counts.shape[1] < 2:
        raise ValueError(f"all images are {counts.columns[0]!r}, at least 2 classes expected")
    return float(association(counts.to_numpy(), method="cramer"))


def hold_out(manifest, seed=0, by="site"):
    """One fold a site: its images are the test set, and no group straddles.

    A class that lives in one site only can't be held out, since training would have none of it:
    its groups are dealt into as many parts as there are sites, and each test set takes a part.
    A class that a site lacks joins its test set in the same way, so that each test set has all
    classes. A group whose images come from several sites is tested as a whole with each of them.
    Val is the first fold of StratifiedGroupKFold(10) in the rest (of fewer folds where a class has
    fewer than ten groups left).

    Args:
        manifest: a validated manifest with a column of sites.
        seed: int; shuffles the groups that are dealt.
        by: name of that column.

    Returns:
        Iterator of `(site, split)`, sites in order of their names; `split` is a Series of train,
        val or test with the manifest's index.

    Raises:
        ValueError: as `table`, or, while iterating, a class has fewer groups than there are sites
            to deal it to, or fewer than two are left for train and val.

    Warns:
        SiteWarning: naming the classes that live in one site only.
    """
    names = _sites(manifest, by)
    frame = manifest.sort_values("image", kind="stable")  # the order of rows has no say
    frame = frame.assign(group=_groups(frame))
    lonely = _lonely(frame, by)
    if lonely:
        said = ", ".join(f"{label!r} ({site} only)" for label, site in lonely.items())
        warnings.warn(
            f"held out by {by}, but dealt at random across the test sets: {said}",
            SiteWarning,
            stacklevel=2,
        )
    dealt = set(frame.loc[frame["label"].isin(list(lonely)), "group"])
    folds = ((name, _fold(frame, name, names, by, dealt, seed)) for name in names)
    return ((name, split.reindex(manifest.index)) for name, split in folds)


def _sites(manifest, by):
    """The sites' names, sorted."""
    if by not in manifest:
        raise ValueError(f"`by` should be a column of the manifest. Received: by={by!r}")
    if manifest[by].isna().any():
        raise ValueError(f"{manifest[by].isna().sum()} images have no {by}")
    names = sorted(manifest[by].unique())
    if len(names) < 2:
        raise ValueError(f"every image is of {by} {names}, at least 2 expected")
    return names


def _groups(manifest):
    from rin import splits  # which imports this module

    return splits.groups(manifest)


def _counts(part, classes):
    row = {"n_images": len(part), "n_groups": part["group"].nunique()}
    for name in classes:
        of_class = part[part["label"] == name]
        row[f"n_{name}"] = len(of_class)
        row[f"n_groups_{name}"] = of_class["group"].nunique()
        row[f"share_{name}"] = len(of_class) / len(part)
    return row


def _lonely(frame, by):
    """The classes that live in one site only, and that site."""
    homes = frame.groupby("label")[by].agg(["nunique", "first"])
    return homes.loc[homes["nunique"] == 1, "first"].to_dict()


def _fold(frame, name, names, by, dealt, seed):
    """Train, val or test of each row in the fold that holds one site out."""
    held = set(frame.loc[frame[by] == name, "group"]) - dealt
    present = set(frame.loc[frame["group"].isin(held), "label"])
    for number, label in enumerate(manifests.classes(frame)):
        if label not in present:
            groups = frame.loc[frame["label"] == label, "group"].unique()
            held |= _part(groups, names, seed, number)[name]
    split = pd.Series("train", index=frame.index).mask(frame["group"].isin(held), "test")
    rest = frame[split == "train"]
    left = rest.groupby("label")["group"].nunique()
    left = left.reindex(manifests.classes(frame), fill_value=0)
    if left.min() < 2:
        raise ValueError(
            f"with {name} held out, {left.min()} groups of {left.idxmin()!r} are left for train "
            "and val, at least 2 expected"
        )
    split[rest.index[_first_fold(rest, min(10, left.min()))]] = "val"
    return split


def _part(groups, names, seed, number):
    """The groups of one class, shuffled and dealt evenly: those that each site's test set takes."""
    if len(groups) < len(names):
        raise ValueError(
            f"a class of {len(groups)} groups can't be dealt into the test sets of {len(names)} "
            "sites"
        )
    shuffled = np.random.default_rng([seed, number]).permutation(groups)
    return dict(zip(names, map(set, np.array_split(shuffled, len(names))), strict=True))


def _first_fold(frame, n_folds):
    """Positions of the first fold of StratifiedGroupKFold."""
    groups = pd.factorize(frame["group"])[0]  # a group's name has no say
    with warnings.catch_warnings():
        # sparse classes are judged where splits are assigned, with the counts that matter
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return next(StratifiedGroupKFold(n_folds).split(frame, frame["label"], groups))[1]
