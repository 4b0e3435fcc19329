"""The audit: whether duplicates leak across splits, and what to leave out; their finders too."""

import numpy as np
import pandas as pd

from rin import manifest as manifests
from rin.duplicates import (
    NEAR_LIMIT,
    RULES,
    blank,
    duplicates,
    exact,
    fingerprints,
    rule_of,
    within,
)
from rin.groups import chains, group, joined, unchained

__all__ = [
    "NEAR_LIMIT",
    "RULES",
    "across",
    "blank",
    "chains",
    "clean",
    "duplicates",
    "exact",
    "fingerprints",
    "group",
    "leaks",
    "rule_of",
    "sample",
    "twins",
    "unchained",
]
CONFLICT = "duplicate with another label"


def clean(manifest, pairs):
    """The clean arm: without any image whose duplicate, exact or near, carries another label.

    Args:
        manifest: a validated manifest.
        pairs: what `duplicates` returned for it.

    Returns:
        The other rows of the manifest; `attrs["excluded"]` counts those left out.
    """
    pairs = within(pairs)
    conflicts = pairs[(pairs["label_a"] != pairs["label_b"]).to_numpy()]
    names = sorted({*conflicts["image_a"], *conflicts["image_b"]})
    kept = manifest[~manifest["image"].isin(names)].reset_index(drop=True)
    kept.attrs.update({key: dict(manifest.attrs.get(key, {})) for key in ("excluded", "noted")})
    if names:
        reason = {CONFLICT: {"n": len(names), "examples": names[:3]}}
        kept.attrs["excluded"] |= reason
    return kept


def across(pairs, manifest):
    """How many duplicate pairs stand in one set or across sets, with equal or unequal labels.

    Args:
        pairs: what `duplicates` returned for the manifest.
        manifest: with `split_0`, …

    Returns:
        DataFrame `fold`, `kind` (exact or near), `labels` (same or other), `one_set`,
        `across_sets` and, of these, `train_test`: counts of pairs, four rows a fold.
    """
    pairs = _present(pairs, manifest)
    other = (pairs["label_a"] != pairs["label_b"]).to_numpy()
    rows = []
    for fold, column in enumerate(manifests.split_columns(manifest)):
        a, b = _sides(pairs, manifest, column)
        ends = ((a == "train") & (b == "test")) | ((a == "test") & (b == "train"))
        for kind in ("exact", "near"):
            for name, labels in (("same", ~other), ("other", other)):
                part = labels & (pairs["kind"] == kind).to_numpy()
                n = {"one_set": a == b, "across_sets": a != b, "train_test": ends}
                n = {key: int((part & where).sum()) for key, where in n.items()}
                rows.append({"fold": fold, "kind": kind, "labels": name} | n)
    columns = ["fold", "kind", "labels", "one_set", "across_sets", "train_test"]
    return pd.DataFrame(rows, columns=columns)


def twins(pairs, manifest):
    """Test images with a duplicate, exact or near, in the same fold's training set.

    Returns:
        DataFrame `fold`, `n_test`, `n_twins`, `n_other_label` (of these, with a twin of another
        label), one row a fold.
    """
    pairs = _present(pairs, manifest)
    other, rows = (pairs["label_a"] != pairs["label_b"]).to_numpy(), []
    for fold, column in enumerate(manifests.split_columns(manifest)):
        a, b = _sides(pairs, manifest, column)
        here = ((a == "test") & (b == "train"), (b == "test") & (a == "train"))
        n_test = int((manifest[column] == "test").sum())
        row = {"fold": fold, "n_test": n_test}
        for name, also in (("n_twins", True), ("n_other_label", other)):
            sides = (pairs["image_a"][here[0] & also], pairs["image_b"][here[1] & also])
            row[name] = pd.concat(sides).nunique()
        rows.append(row)
    return pd.DataFrame(rows, columns=["fold", "n_test", "n_twins", "n_other_label"])


def leaks(manifest, by="group"):
    """Groups whose images stand in more than one split of a fold.

    A manifest need not be validated: names are compared as `rin.manifest.identifiers`, an image
    without a group goes with its patient, and groups that share a patient are one.

    Args:
        manifest: with `group` (or another column named by `by`) and `split_0`, ….

    Returns:
        DataFrame `fold`, `group`, `n_train`, `n_val`, `n_test`, `labels`; empty when none leaks.
    """
    found, by, manifest = [], "unit", manifest.assign(unit=_units(manifest, by))
    for fold, column in enumerate(manifests.split_columns(manifest)):
        counts = manifest.groupby([by, column]).size().unstack(fill_value=0)
        counts = counts.reindex(columns=list(manifests.SPLITS), fill_value=0)
        counts = counts[(counts > 0).sum(axis=1) > 1]
        rows = manifest[manifest[by].isin(counts.index)].groupby(by)["label"]
        labels = rows.agg(lambda names: " ".join(sorted(names.unique())))
        table = counts.add_prefix("n_").assign(fold=fold, labels=labels).rename_axis("group")
        found.append(table.reset_index())
    columns = ["fold", "group", "n_train", "n_val", "n_test", "labels"]
    found = [table for table in found if len(table)]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def _units(manifest, by):
    """What must not be torn: the names of a column, and for groups those that share a patient."""
    columns = [by, "patient"] if by == "group" else [by]
    names = [manifests.identifiers(manifest[c]) for c in columns if c in manifest]
    if len(names) < 2:
        return names[0]
    unit, patient = names
    unit = unit.fillna("patient " + patient)
    return unit.groupby(joined(unit, patient)).transform("first")


def sample(manifest, n, seed=0):
    """A random part of a manifest: whole patients where they are known, until `n` images.

    Args:
        manifest: a validated manifest.
        n: images wanted; 0 for all. The last patient drawn may bring a few more.
        seed: int.

    Returns:
        The rows drawn, in the manifest's order; `attrs` are kept.
    """
    if not n or n >= len(manifest):
        return manifest
    unit = pd.factorize(manifest["patient"].fillna("image " + manifest["image"]))[0]
    size = np.bincount(unit)
    drawn = np.random.default_rng(seed).permutation(len(size))
    drawn = drawn[: np.searchsorted(size[drawn].cumsum(), n) + 1]
    return manifest[np.isin(unit, drawn)].reset_index(drop=True)


def _present(pairs, manifest):
    """The pairs within the rule whose images are both in the manifest."""
    pairs = within(pairs)
    return pairs[pairs[["image_a", "image_b"]].isin(set(manifest["image"])).all(axis=1)]


def _sides(pairs, manifest, column):
    split = manifest.set_index("image")[column]
    return (split.reindex(pairs[side]).to_numpy(object) for side in ("image_a", "image_b"))
