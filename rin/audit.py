"""The audit: exact and near duplicates, and whether they leak across splits."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from rin import images
from rin import manifest as manifests

THUMBNAIL = 64  # pixels a side of what is correlated
# No single threshold serves every modality: speckle defeats correlation, so ultrasound uses a
# coarse hash; elsewhere a fine hash must agree with the thumbnails.
RULES = {
    "US": {"hash_size": 8, "max_distance": 6, "min_correlation": None},
    "default": {"hash_size": 16, "max_distance": 32, "min_correlation": 0.95},
}
BLOCK = 1024  # rows of the distance matrix held at once


def duplicates(manifest, root, rule=None, on_bad_image="stop"):
    """Pairs of images that show the same thing.

    Exact duplicates have equal decoded pixels; near ones a difference hash (dHash) within
    `max_distance` bits and, where the rule asks for it, thumbnails that correlate.

    Args:
        manifest: a validated manifest.
        root: folder its paths start from.
        rule: one of `RULES`' values; default by the manifest's modality.
        on_bad_image: "stop", or "skip" to leave unreadable images out of the pairs.

    Returns:
        DataFrame `image_a`, `image_b`, `label_a`, `label_b`, `kind` (exact or near), `distance`
        (bits of the hash that differ), `correlation` (of 64-pixel thumbnails), one row a pair.

    Raises:
        rin.images.ImageError: unreadable images, all of them named.
    """
    images.check_on_bad_image(on_bad_image)
    rule = rule or rule_of(manifest)
    prints = _fingerprints(list(manifest["image"]), Path(root), rule, on_bad_image)
    first, second, distance = _close_pairs(prints["hash"], rule["max_distance"])
    correlation = np.einsum("ij,ij->i", prints["thumb"][first], prints["thumb"][second])
    exact = prints["id"][first] == prints["id"][second]
    keep = exact | (correlation >= (rule["min_correlation"] or -np.inf))
    label = manifest.set_index("image")["label"].reindex(prints["image"]).to_numpy()
    table = pd.DataFrame(
        {
            "image_a": prints["image"][first],
            "image_b": prints["image"][second],
            "label_a": label[first],
            "label_b": label[second],
            "kind": np.where(exact, "exact", "near"),
            "distance": distance,
            "correlation": correlation.round(4),
        }
    )
    return table[keep].reset_index(drop=True)


def rule_of(manifest):
    """The duplicate rule for a manifest: by its modality where that has one of its own."""
    modalities = set(manifest["modality"].dropna())
    return RULES[modalities.pop()] if modalities == {"US"} else RULES["default"]


def group(manifest, pairs):
    """Put duplicates, and patients that share one, into one `group`.

    Args:
        manifest: a validated manifest.
        pairs: what `duplicates` returned for it.

    Returns:
        A copy of the manifest with `group` filled: running numbers `g0001`, … in row order.

    Raises:
        ValueError: a chain of duplicates joins more than max(20, 2 %) of the images: the
            threshold does not fit these images.
    """
    position = pd.Series(range(len(manifest)), index=manifest["image"])
    patient = pd.factorize(manifest["patient"])[0]
    known = np.flatnonzero(patient >= 0)
    first_of = pd.Series(known).groupby(patient[known]).transform("first").to_numpy()
    links = (position[pairs["image_a"]].to_numpy(), position[pairs["image_b"]].to_numpy())
    _refuse_chain(manifest, _components(len(manifest), *links))
    everything = (np.r_[links[0], known], np.r_[links[1], first_of])
    number = _components(len(manifest), *everything)
    order = pd.factorize(number)[0]  # numbered by first appearance
    return manifest.assign(group=pd.array([f"g{n + 1:04d}" for n in order], dtype="string"))


def leaks(manifest, by="group"):
    """Groups whose images stand in more than one split of a fold.

    Args:
        manifest: with `group` (or another column named by `by`) and `split_0`, ….

    Returns:
        DataFrame `fold`, `group`, `n_train`, `n_val`, `n_test`, `labels`; empty when none leaks.
    """
    rows = []
    for fold, column in enumerate(manifests.split_columns(manifest)):
        counts = manifest.groupby([by, column]).size().unstack(fill_value=0)
        counts = counts.reindex(columns=list(manifests.SPLITS), fill_value=0)
        for name, row in counts[(counts > 0).sum(axis=1) > 1].iterrows():
            labels = " ".join(sorted(manifest.loc[manifest[by] == name, "label"].unique()))
            rows.append(
                {"fold": fold, "group": name, "labels": labels} | row.add_prefix("n_").to_dict()
            )
    columns = ["fold", "group", "n_train", "n_val", "n_test", "labels"]
    return pd.DataFrame(rows, columns=columns)


def _fingerprints(names, root, rule, on_bad_image):
    """Hash bits, unit-length thumbnails, image ids and names of every readable image."""

    def one(name):
        try:
            image = images.load(root / name)
        except images.ImageError as error:
            return error
        thumb = images.resize(image, THUMBNAIL).astype(np.float32).ravel()
        thumb -= thumb.mean()
        bits = imagehash.dhash(Image.fromarray(image), rule["hash_size"]).hash.ravel()
        return bits, thumb, images.image_id(image), name

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(one, names)
        found = list(tqdm(found, "Fingerprints", total=len(names), unit="image", mininterval=1))
    bad = [error.problems for error in found if isinstance(error, images.ImageError)]
    found = [item for item in found if not isinstance(item, images.ImageError)]
    if bad and (on_bad_image == "stop" or not found):
        raise images.ImageError({name: why for problem in bad for name, why in problem.items()})
    bits, thumbs, ids, kept = zip(*found, strict=True)
    thumbs = np.stack(thumbs)
    thumbs /= np.maximum(np.linalg.norm(thumbs, axis=1, keepdims=True), 1e-9)
    return {"hash": np.stack(bits), "thumb": thumbs, "id": np.array(ids), "image": np.array(kept)}


def _close_pairs(bits, max_distance):
    """All pairs (i < j) within `max_distance` differing bits, in blocks of rows."""
    signs = np.where(bits, 1, -1).astype(np.float32)
    n_bits = bits.shape[1]
    found = []
    for start in range(0, len(signs), BLOCK):
        block = signs[start : start + BLOCK]
        distance = ((n_bits - block @ signs.T) / 2).round().astype(np.int32)
        i, j = np.nonzero(distance <= max_distance)
        later = j > i + start
        found.append((i[later] + start, j[later], distance[i[later], j[later]]))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def _components(n, first, second):
    graph = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _refuse_chain(manifest, number):
    limit = max(20, int(0.02 * len(manifest)))
    sizes = np.bincount(number)
    if sizes.max() > limit:
        example = manifest["image"].to_numpy()[np.flatnonzero(number == sizes.argmax())[:3]]
        raise ValueError(
            f"{sizes.max()} of {len(manifest)} images are joined by chains of near duplicates, at "
            f"most {limit} expected, among them {', '.join(example)}: the threshold does not fit "
            "these images (`rin.datasets.read` takes duplicates=False)"
        )
