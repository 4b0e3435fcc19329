"""Trivial baselines: how well image facts, a 16×16 thumbnail or the surroundings tell the label.

A network's score means little beside a model that sees nothing of the anatomy. Each is trained on
the networks' own training images and tested on their test images.
"""

import contextlib
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from rin import images, scans
from rin import manifest as manifests

THUMBNAIL = 16  # pixels a side
BORDER = 0.05  # share of the side that counts as border
OUTSIDE = "outside the scan, logistic regression"
MEMORY = "16×16 thumbnail, nearest neighbor"
MANY = 2000  # images from which a forest grows faster in threads; its numbers are the same


class Best(NamedTuple):
    """The best trivial baseline and its mean of fold AUCs."""

    baseline: str
    auc: float


def facts(store):
    """What a file shows without its anatomy: size of the file and of the picture, and brightness.

    Args:
        store: a `rin.images.Store`.

    Returns:
        DataFrame, one row an image: width, height, aspect, n_bytes (before resizing); of the
        stored pixels mean, sd, border (mean of the outer 5 %), black (share of 0), white (≥ 250).
    """
    table = store.index[["width", "height", "n_bytes"]].astype(float)
    table["aspect"] = table["width"] / table["height"]
    rows = [_brightness(image) for image in store.array]
    return table.join(pd.DataFrame(rows, index=table.index))


def thumbnails(store):
    """`(n, 256)` float64: every image at 16×16 pixels, 0–255."""
    small = [images.resize(np.asarray(image), THUMBNAIL).ravel() for image in store.array]
    return np.stack(small).astype(float)


def surroundings(store):
    """`(n, 256)` float64: what is beside the scan, at 16×16 pixels, 0–255; the scan itself is 0.

    Where the scan fills the picture, or none is found in it, this is the outer 5 %.
    """
    small = [images.resize(_without_scan(image), THUMBNAIL).ravel() for image in store.array]
    return np.stack(small).astype(float)


def scores(manifest, store, positive=None, seed=0):
    """Test AUC of every trivial baseline in every fold.

    Args:
        manifest: with split columns; rows as in the store. Where it has a column `site`, the
            site alone is a baseline too; a site that is only in the test set says nothing.
        store: a `rin.images.Store`.
        positive: the class that counts as 1; None for more than two classes, where the AUC is the
            mean of the one-versus-rest AUCs of the classes present in the fold's training and
            test sets.
        seed: int, of the forest.

    Returns:
        DataFrame `baseline`, `fold`, `auc` (NaN where the training or the test set of a fold
        holds one class only).

    Raises:
        ValueError: the rows do not match, or `positive` is none of the labels.
    """
    truth = _truth(manifest, store, positive)
    known, small = facts(store).to_numpy(), thumbnails(store)
    forest = RandomForestClassifier(300, min_samples_leaf=5, random_state=seed)
    models = {
        "image facts, logistic regression": (known, _logistic(1.0)),
        "image facts, forest": (known, forest),
        "16×16 thumbnail, logistic regression": (small, _logistic(0.01)),
        OUTSIDE: (surroundings(store), _logistic(0.01)),
    }
    if "site" in manifest and manifest["site"].notna().any():
        site = manifest[["site"]].fillna("").to_numpy(object)
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        models["site, logistic regression"] = (site, make_pipeline(encoder, _logistic(1.0)))
    return _score(manifest, truth, models)


def memory(manifest, store, positive=None):
    """Test AUC of a model that only remembers: the label of the most similar training thumbnail.

    It learns nothing about disease, so what it scores above other baselines it owes to test
    images that resemble training images; it falls when duplicates are kept in one set.

    Args:
        manifest, store, positive: see `scores`.

    Returns:
        DataFrame as of `scores`, for the one baseline `MEMORY`.
    """
    truth = _truth(manifest, store, positive)
    return _score(manifest, truth, {MEMORY: (thumbnails(store), KNeighborsClassifier(1))})


def best(scores):
    """The baseline with the highest mean of fold AUCs: a `Best`.

    Raises:
        ValueError: no baseline has a score.
    """
    mean = scores.groupby("baseline", sort=False)["auc"].mean()
    if mean.isna().all():
        raise ValueError("no baseline has a score: every fold holds one class only")
    return Best(mean.idxmax(), float(mean.max()))


def rows(store, manifest):
    """The store of a part of its images: those of the manifest, in its order.

    Args:
        store: a `rin.images.Store`; the pixels of the part are copied into memory.
        manifest: its images are all in the store.
    """
    position = pd.Series(range(len(store.index)), index=store.index["image"])
    wanted = position[manifest["image"]].to_numpy()
    index = store.index.iloc[wanted].reset_index(drop=True)
    return images.Store(np.asarray(store.array[wanted]), index, {}, store.folder)


def _truth(manifest, store, positive):
    """Class of each row, after the checks: names, or 0 and 1 where there is a positive class."""
    if list(manifest["image"]) != list(store.index["image"]):
        raise ValueError("the manifest's rows are not the store's: make the store from it")
    label = manifest["label"].to_numpy(object)
    if positive is None:
        return label
    if positive not in set(label):
        choices = manifests.classes(manifest)
        raise ValueError(f"`positive` should be one of {choices}. Received: positive={positive!r}")
    return (label == positive).astype(int)


def _score(manifest, truth, models):
    found = []
    for fold, column in enumerate(manifests.split_columns(manifest)):
        train, test = ((manifest[column] == name).to_numpy() for name in ("train", "test"))
        for name, (x, model) in models.items():
            auc = _auc(model, x[train], truth[train], x[test], truth[test])
            found.append({"baseline": name, "fold": fold, "auc": auc})
    return pd.DataFrame(found, columns=["baseline", "fold", "auc"])


def _auc(model, x_train, y_train, x_test, y_test):
    if len(set(y_train)) < 2 or len(set(y_test)) < 2:
        return np.nan
    # only the fit: predicting threads add up their trees in any order, which moves the last digits
    with joblib.parallel_config("threading", n_jobs=-1 if len(x_train) > MANY else 1):
        model.fit(x_train, y_train)
    share = model.predict_proba(x_test)
    places = [n for n, name in enumerate(model.classes_) if name in set(y_test)]
    if len({*y_train, *y_test}) == 2:
        places = places[-1:]  # the AUC of one of two classes is the other's
    each = [roc_auc_score(y_test == model.classes_[n], share[:, n]) for n in places]
    return float(np.mean(each)) if each else np.nan


def _logistic(c):
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))


def _without_scan(image):
    """A copy with 0 in the scan, and in a pixel around it, over which resizing smears its edge."""
    image = np.array(image)
    (height, width), edge = image.shape, _border(image)
    top, bottom, left, right = edge, height - edge, edge, width - edge
    with contextlib.suppress(ValueError):  # no scan is found
        found = scans.rectangle(image)
        if max(found[0], height - found[1], found[2], width - found[3]) > edge:
            top, bottom, left, right = np.add(found, (-1, 1, -1, 1)).clip(0)
    image[top:bottom, left:right] = 0
    return image


def _border(image):
    """How many pixels count as border."""
    return max(1, round(BORDER * image.shape[0]))


def _brightness(image):
    image = np.asarray(image)
    edge = _border(image)
    inner = np.zeros(image.shape, bool)
    inner[edge:-edge, edge:-edge] = True
    return {
        "mean": image.mean(),
        "sd": image.std(),
        "border": image[~inner].mean(),
        "black": (image == 0).mean(),
        "white": (image >= 250).mean(),
    }
