"""Unlike: how far an image lies from the training images, in pooled features and in plain facts.

Features: the Mahalanobis distance to the training images' mean, with the covariance shrunk towards
a sphere; beyond the first `MOST_DIRECTIONS` directions one variance stands for all. Means and
variances are kept, no image's own features. Facts: brightness, grain, size and color, each with
the range that the training images show.

Source: Mahalanobis distance of features: Lee et al. 2018, arXiv:1807.03888 (here one mean, not one
a class); shrinkage: Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4
"""

import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.covariance import ledoit_wolf_shrinkage

from rin import images, paths

FACTS = ("mean", "sd", "black", "white", "roughness", "aspect", "side", "saturation")
MOST_DIRECTIONS = 64
BEYOND = 0.99  # quantile of the val images' distances from which an image is called unlike
MARGIN = 0.1  # of a fact's training range, added at both ends: a few images show it too narrow
GREY = ("1", "L", "LA", "F")  # modes of Pillow without color, as is every one that starts with I


class UnlikeError(ValueError):
    """Statistics that can't be made or read."""


@dataclass(frozen=True)
class Training:
    """What is kept of the training images.

    Attributes:
        mean: `(d,)`, of their pooled features.
        directions: `(r, d)`, orthonormal, of the largest variance.
        variances: `(r,)`, shrunk, along these.
        rest: float, the variance along all other directions.
        reference: `(n,)`, sorted distances of the val images.
        low, high: `(len(FACTS),)`, the facts' range with its margin.
        n_train: int, how many images these are from.
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float
    reference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_train: int

    @property
    def limit(self):
        """The distance beyond which an image is called unlike."""
        return float(np.quantile(self.reference, BEYOND))


def fit(train, val, facts):
    """The statistics of a training set.

    Args:
        train: `(n, d)`, pooled features of training images, n ≥ 2.
        val: `(m, d)`, of held-out images of the same task, m ≥ 1.
        facts: DataFrame with the columns `FACTS`, one row a training image.

    Returns:
        A `Training`.

    Raises:
        UnlikeError: too few images, or features that do not differ between them.
    """
    train = np.asarray(train, np.float64)
    if len(train) < 2 or len(val) < 1:
        raise UnlikeError(
            "`train` should hold two images or more, `val` one or more. "
            f"Received: {len(train)} and {len(val)}"
        )
    mean = train.mean(axis=0)
    shape = directions, variances, rest = _covariance(train - mean)
    if not (np.isfinite(rest) and rest > 0):
        raise UnlikeError("the network's features do not differ between the training images")
    reference = np.sort(_distances(np.asarray(val, np.float64), mean, *shape))
    low, high = facts[list(FACTS)].min().to_numpy(), facts[list(FACTS)].max().to_numpy()
    margin = MARGIN * (high - low)
    low, high = low - margin, high + margin
    return Training(mean, directions, variances, rest, reference, low, high, len(train))


def judge(training, features, facts):
    """How unlike the training images each image is.

    Args:
        training: a `Training`.
        features: `(n, d)`, pooled features of the images.
        facts: DataFrame with the columns `FACTS`, one row an image.

    Returns:
        DataFrame `distance`, `quantile` (share of the val images that lie nearer, 0–1), `outside`
        (facts out of the training range, joined by ", ") and `unlike`: distance beyond the val
        images' 99th percentile, or a fact outside.
    """
    shape = training.mean, training.directions, training.variances, training.rest
    distance = _distances(np.asarray(features, np.float64), *shape)
    values = facts[list(FACTS)].to_numpy(np.float64)
    out = (values < training.low - 1e-9) | (values > training.high + 1e-9)
    outside = [", ".join(np.array(FACTS)[row]) for row in out]
    nearer = np.searchsorted(training.reference, distance) / len(training.reference)
    unlike = (distance > training.limit) | out.any(axis=1)
    columns = {"distance": distance, "quantile": nearer, "outside": outside, "unlike": unlike}
    return pd.DataFrame(columns)


def facts(files, pixels, sizes):
    """Plain facts of images, each told without any network.

    Args:
        files: their paths; color is looked for in them.
        pixels: `(n, size, size)` uint8, resized as the network takes them.
        sizes: `(n, 2)`, width and height as decoded.

    Returns:
        DataFrame `mean`, `sd` (grey levels), `black` (share of 0), `white` (share ≥ 250),
        `roughness` (mean step between neighboring pixels), `aspect` (width / height), `side` (root
        of width × height) and `saturation` (see `saturation`).
    """
    frame = pd.DataFrame([_brightness(np.asarray(image)) for image in pixels])
    width, height = np.asarray(sizes, float).T
    colors = images.each(saturation, list(files), "Colors")
    return frame.assign(aspect=width / height, side=np.sqrt(width * height), saturation=colors)


def saturation(file):
    """Mean difference of the largest and the smallest color channel, 0–1.

    0 for DICOM files and arrays, which are read as grey.
    """
    if images.SLICE.match(str(file)) or images.kind(file) != "picture":
        return 0.0
    with Image.open(file, formats=images.FORMATS) as picture:
        if picture.mode in GREY or picture.mode.startswith("I"):
            return 0.0
        colors = np.asarray(picture.convert("RGB"))
    return float((colors.max(axis=-1) - colors.min(axis=-1)).mean() / 255)


def save(training, file):
    """Write a `Training` as `.npz`, whole or not at all; directions in float32."""
    arrays = {name: np.asarray(value) for name, value in asdict(training).items()}
    arrays["directions"] = arrays["directions"].astype(np.float32)
    with paths.replacing(file) as fresh:
        np.savez_compressed(fresh, facts=np.array(FACTS), **arrays)


def load(file):
    """The `Training` in a file.

    Raises:
        UnlikeError: the file can't be read, or holds other facts.
    """
    try:
        # opened here, for NumPy leaves a broken file open
        with Path(file).open("rb") as raw, np.load(raw, allow_pickle=False) as held:
            found = {name: held[name] for name in held.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise UnlikeError(f"{file}: training statistics can't be read") from error
    if tuple(found.pop("facts", ())) != FACTS:
        raise UnlikeError(f"{file}: expected statistics of the facts {FACTS}; export the run again")
    return Training(**found | {"rest": float(found["rest"]), "n_train": int(found["n_train"])})


def _covariance(centered):
    """Directions, shrunk variances along them, and one variance for the rest."""
    n, d = centered.shape
    shrinkage = ledoit_wolf_shrinkage(centered, assume_centered=True)
    _, singular, directions = np.linalg.svd(centered, full_matrices=False)
    spread = singular**2 / n
    r = min(MOST_DIRECTIONS, n - 1, d)
    variances = (1 - shrinkage) * spread[:r] + shrinkage * spread.sum() / d
    # shrinking keeps the sum of variances, so what the first leave is the others'
    rest = (spread.sum() - variances.sum()) / (d - r) if d > r else variances[-1]
    return directions[:r], variances, float(rest)


def _distances(features, mean, directions, variances, rest):
    away = features - mean
    along = away @ directions.T
    left = np.clip((away**2).sum(axis=1) - (along**2).sum(axis=1), 0, None)
    return np.sqrt((along**2 / variances).sum(axis=1) + left / rest)


def _brightness(image):
    x = image.astype(np.float64)
    steps = np.abs(np.diff(x, axis=0)).mean() + np.abs(np.diff(x, axis=1)).mean()
    return {
        "mean": x.mean(),
        "sd": x.std(),
        "black": (image == 0).mean(),
        "white": (image >= 250).mean(),
        "roughness": steps / 2,
    }
