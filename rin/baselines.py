"""Trivial baselines: how well image facts alone, or a 16×16 thumbnail, predict the label.

A network's score means little beside a model that sees nothing of the anatomy. Each is trained on
the networks' own training images and tested on their test images.
"""

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rin import images
from rin import manifest as manifests

THUMBNAIL = 16  # pixels a side
BORDER = 0.05  # share of the side that counts as border


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


def scores(manifest, store, positive, seed=0):
    """Test AUC of every trivial baseline in every fold.

    Args:
        manifest: with split columns; rows as in the store.
        store: a `rin.images.Store`.
        positive: the class that counts as 1.
        seed: int, of the forest.

    Returns:
        DataFrame `baseline`, `fold`, `auc`.

    Raises:
        ValueError: the rows do not match, or `positive` is none of the labels.
    """
    if list(manifest["image"]) != list(store.index["image"]):
        raise ValueError("the manifest's rows are not the store's: make the store from it")
    if positive not in set(manifest["label"]):
        choices = manifests.classes(manifest)
        raise ValueError(f"`positive` should be one of {choices}. Received: positive={positive!r}")
    y = (manifest["label"] == positive).to_numpy(int)
    known, small = facts(store).to_numpy(), thumbnails(store)
    forest = RandomForestClassifier(300, min_samples_leaf=5, random_state=seed)
    models = {
        "image facts, logistic regression": (known, _logistic(1.0)),
        "image facts, forest": (known, forest),
        "16×16 thumbnail, logistic regression": (small, _logistic(0.01)),
    }
    rows = []
    for fold, column in enumerate(manifests.split_columns(manifest)):
        train, test = (manifest[column] == name for name in ("train", "test"))
        for name, (x, model) in models.items():
            model.fit(x[train], y[train])
            auc = roc_auc_score(y[test], model.predict_proba(x[test])[:, 1])
            rows.append({"baseline": name, "fold": fold, "auc": auc})
    return pd.DataFrame(rows)


def _logistic(c):
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))


def _brightness(image):
    image = np.asarray(image)
    edge = max(1, round(BORDER * image.shape[0]))
    inner = np.zeros(image.shape, bool)
    inner[edge:-edge, edge:-edge] = True
    return {
        "mean": image.mean(),
        "sd": image.std(),
        "border": image[~inner].mean(),
        "black": (image == 0).mean(),
        "white": (image >= 250).mean(),
    }
