"""Duplicates: pairs of images that show the same thing, near misses, and images of nothing."""

from dataclasses import dataclass, fields, replace

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from rin import images, paths

THUMBNAIL = 64  # pixels a side of what is correlated
# No single threshold serves every modality: speckle defeats correlation, so ultrasound uses a
# coarse hash; elsewhere a fine hash must agree with the thumbnails.
RULES = {
    "US": {"hash_size": 8, "max_distance": 6, "min_correlation": None},
    "default": {"hash_size": 16, "max_distance": 32, "min_correlation": 0.95},
}
BETWEEN_PATIENTS = 0.95  # least correlation of near duplicates where patients are known
NEAR_LIMIT = 50_000  # images from which near duplicates are looked for only when asked
PRINTS_VERSION = 1  # raise it when the prints of the same pixels change
LOOSER = 0.1  # how far below the rule's correlation a near miss may lie
BLANK_SPAN, BLANK_TAILS = 4, 0.005  # grey levels; share of the pixels passed over at each end
BLOCK = 2048  # images compared with as many others at once
CHUNK = 2048  # pairs whose thumbnails are correlated at once


@dataclass(frozen=True)
class Prints:
    """What the audit keeps of every readable image: about 4.4 kB each.

    Attributes:
        image: `(n,)` names, in the manifest's order.
        image_id: `(n,)` hashes of the decoded pixels.
        bits: `(n, hash_size²)` bool, the difference hash.
        thumbnail: `(n, 4096)` uint8.
        span: `(n,)` grey levels between the 0.5th and the 99.5th percentile.
    """

    image: np.ndarray
    image_id: np.ndarray
    bits: np.ndarray
    thumbnail: np.ndarray
    span: np.ndarray

    @property
    def blank(self):
        """`(n,)` bool: the image shows nothing."""
        return self.span <= BLANK_SPAN


def fingerprints(manifest, root, rule=None, on_bad_image="stop", store=None):
    """Decode every image once and keep its `Prints`; `duplicates` and `blank` can share them.

    Args:
        manifest: a validated manifest.
        root: folder its paths start from.
        rule: one of `RULES`' values; default by the manifest's modality.
        on_bad_image: "stop", or "skip" to leave unreadable images out.
        store: a `rin.images.Store` of the same rows: the prints are kept in its folder, and taken
            from there the next time. Its name stands for the content of the files.

    Raises:
        rin.images.ImageError: unreadable images, all of them named.
    """
    images.check_on_bad_image(on_bad_image)
    hash_size = (rule or rule_of(manifest))["hash_size"]
    kept = store and store.folder / f"prints-{hash_size}-v{PRINTS_VERSION}.npz"
    prints = kept and _kept(kept, manifest)
    if prints is None:
        prints = _decoded(manifest, root, hash_size, on_bad_image)
        if kept:
            _keep(prints, kept)
    return prints


def _kept(file, manifest):
    """The prints of a file, or None where they are not there or of other images."""
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as found:
        prints = Prints(**{field.name: found[field.name] for field in fields(Prints)})
    names = prints.image.astype(object)
    if list(names) != list(manifest["image"]):
        return None
    return replace(prints, image=names)


def _keep(prints, file):
    """Whole or not at all."""
    values = {field.name: getattr(prints, field.name) for field in fields(Prints)}
    with paths.replacing(file) as fresh, open(fresh, "wb") as opened:
        np.savez(opened, **values | {"image": prints.image.astype(str)})


def _decoded(manifest, root, hash_size, on_bad_image):
    names, open_image = manifest["image"].to_numpy(object), images.opener(manifest, root)
    bits = np.empty((len(names), hash_size**2), bool)
    thumbnail = np.empty((len(names), THUMBNAIL**2), np.uint8)

    def one(row):
        try:
            image = open_image(names[row])
        except images.ImageError as error:
            return error
        bits[row] = imagehash.dhash(Image.fromarray(image), hash_size).hash.ravel()
        thumbnail[row] = images.resize(image, THUMBNAIL).ravel()
        return images.image_id(image), _span(image)

    found = images.each(one, range(len(names)), "Fingerprints")
    bad = [item for item in found if isinstance(item, images.ImageError)]
    _refuse(bad, found, on_bad_image)
    good = [row for row, item in enumerate(found) if not isinstance(item, images.ImageError)]
    if bad:
        names, bits, thumbnail = names[good], bits[good], thumbnail[good]
    ids, spans = zip(*(found[row] for row in good), strict=True)
    return Prints(names, np.array(ids), bits, thumbnail, np.array(spans))


def rule_of(manifest):
    """The duplicate rule for a manifest: by its modality where that has one of its own.

    Where patients are known, near duplicates must correlate at 0.95 or more, whatever the
    modality: a hash alone pairs images of different patients.
    """
    modalities = set(manifest["modality"].dropna())
    rule = RULES[modalities.pop()] if modalities == {"US"} else RULES["default"]
    if rule["min_correlation"] is None and manifest["patient"].notna().any():
        return rule | {"min_correlation": BETWEEN_PATIENTS}
    return rule


def duplicates(manifest, root, rule=None, on_bad_image="stop", slack=0, prints=None):
    """Pairs of images that show the same thing.

    Exact duplicates have equal decoded pixels; near ones a difference hash (dHash) within
    `max_distance` bits and, where the rule asks for it, thumbnails that correlate. A blank image
    (see `blank`) has exact duplicates only: what shows nothing resembles nothing.

    Args:
        manifest: a validated manifest.
        root: folder its paths start from.
        rule: one of `RULES`' values; default by the manifest's modality.
        on_bad_image: "stop", or "skip" to leave unreadable images out of the pairs.
        slack: bits; above 0 adds near misses, up to that many bits farther and 0.1 less
            correlated, whose `within` is False. Nothing in `rin.audit` counts them as duplicates.
        prints: what `fingerprints` returned for the same arguments, to decode images once.

    Returns:
        DataFrame `image_a`, `image_b`, `label_a`, `label_b`, `kind` (exact or near), `distance`
        (bits of the hash that differ), `correlation` (of 64-pixel thumbnails), and with slack
        `within` (the rule), one row a pair.

    Raises:
        rin.images.ImageError: unreadable images, all of them named.
    """
    rule = rule or rule_of(manifest)
    prints = prints or fingerprints(manifest, root, rule, on_bad_image)
    loose = rule["max_distance"] + slack
    least = rule["min_correlation"] or -np.inf
    first, second, distance, correlation = _similar(prints, loose, least - (slack > 0) * LOOSER)
    exact = prints.image_id[first] == prints.image_id[second]
    correlation[exact] = 1  # also where both are flat
    label = manifest.set_index("image")["label"].reindex(prints.image).to_numpy()
    table = pd.DataFrame(
        {
            "image_a": prints.image[first],
            "image_b": prints.image[second],
            "label_a": label[first],
            "label_b": label[second],
            "kind": np.where(exact, "exact", "near"),
            "distance": distance,
            "correlation": correlation.round(4),
        }
    )
    if not slack:
        return table
    return table.assign(within=exact | (distance <= rule["max_distance"]) & (correlation >= least))


def exact(manifest, root, on_bad_image="stop", store=None):
    """Exact duplicates alone: each image of equal pixels with the first of its kind.

    Enough to join them all, and cheap: nothing is compared, and a store knows them already.

    Args:
        manifest, root, on_bad_image: see `duplicates`.
        store: a `rin.images.Store` of the same rows; without it every image is decoded.

    Returns:
        DataFrame `image_a`, `image_b`, `label_a`, `label_b`, `kind`, one row a pair.

    Raises:
        rin.images.ImageError: unreadable images, all of them named.
    """
    table = manifest[["image", "label"]]
    if store is not None:
        table = table.assign(key=store.index["image_id"].to_numpy())
    else:
        table = table.assign(key=_image_ids(manifest, root, on_bad_image)).dropna(subset="key")
    first = table.groupby("key")[["image", "label"]].transform("first")
    again = (first["image"] != table["image"]).to_numpy()
    a, b = first[again].add_suffix("_a"), table.loc[again, ["image", "label"]].add_suffix("_b")
    found = pd.concat([a, b], axis=1).assign(kind="exact")
    return found[["image_a", "image_b", "label_a", "label_b", "kind"]].reset_index(drop=True)


def _image_ids(manifest, root, on_bad_image):
    """The hash of every image's pixels; None where it can't be read."""
    images.check_on_bad_image(on_bad_image)
    open_image = images.opener(manifest, root)

    def one(name):
        try:
            return images.image_id(open_image(name))
        except images.ImageError as error:
            return error

    found = images.each(one, list(manifest["image"]), "Hashing pixels")
    _refuse([item for item in found if isinstance(item, images.ImageError)], found, on_bad_image)
    return [None if isinstance(item, images.ImageError) else item for item in found]


def _refuse(bad, found, on_bad_image):
    if bad and (on_bad_image == "stop" or len(bad) == len(found)):
        raise images.ImageError({n: why for e in bad for n, why in e.problems.items()})


def within(pairs):
    """The pairs within the rule: without the near misses that `duplicates(slack=…)` adds."""
    return pairs[pairs["within"]] if "within" in pairs else pairs


def blank(manifest, root, on_bad_image="stop", prints=None):
    """Images that show nothing: all but 1 % of their pixels lie within four grey levels.

    The darkest and the brightest 0.5 % of the pixels are passed over, so that a burnt-in letter
    or a dead pixel does not hide an empty image.

    Args:
        manifest, root, on_bad_image, prints: see `duplicates`.

    Returns:
        DataFrame `image`, `image_id`, `label`, `span` (grey levels between the 0.5th and the
        99.5th percentile), `mean` (grey level), one row a blank image.
    """
    prints = prints or fingerprints(manifest, root, on_bad_image=on_bad_image)
    label = manifest.set_index("image")["label"].reindex(prints.image).to_numpy()
    mean = prints.thumbnail.mean(axis=1).round(1)
    table = {"image": prints.image, "image_id": prints.image_id, "label": label}
    table = pd.DataFrame(table | {"span": prints.span, "mean": mean})
    return table[prints.blank].reset_index(drop=True)


def _span(image):
    share = np.bincount(image.ravel(), minlength=256).cumsum() / image.size
    low, high = np.searchsorted(share, [BLANK_TAILS, 1 - BLANK_TAILS])
    return high - low


def _similar(prints, max_distance, min_correlation):
    """All pairs (i < j) that pass, with distance and correlation, in order of i, then j."""
    n, n_bits = prints.bits.shape
    starts = range(0, n, BLOCK)
    tiles = [(a, b) for a in starts for b in starts if a <= b]
    found = []
    for a, b in tqdm(tiles, "Comparing", unit="block", disable=len(tiles) < 100, mininterval=1):
        agreement = _signs(prints.bits, a) @ _signs(prints.bits, b).T
        i, j = np.nonzero(agreement >= n_bits - 2 * max_distance)
        distance = ((n_bits - agreement[i, j]) / 2).round().astype(int)
        i, j = i + a, j + b
        keep = _wanted(prints, i, j)
        i, j, distance = i[keep], j[keep], distance[keep]
        correlation = _correlation(prints.thumbnail, i, j)
        keep = (correlation >= min_correlation) | (prints.image_id[i] == prints.image_id[j])
        found.append((i[keep], j[keep], distance[keep], correlation[keep]))
    found = [np.concatenate(part) for part in zip(*found, strict=True)]
    order = np.lexsort((found[1], found[0]))
    return tuple(part[order] for part in found)


def _signs(bits, start):
    # ±1 as floats: the matrix product then counts, exactly, and in all threads
    return np.where(bits[start : start + BLOCK], np.float32(1), np.float32(-1))


def _wanted(prints, i, j):
    """Each pair once, and blank images only where they are exactly equal."""
    blank = prints.blank[i] | prints.blank[j]
    return (i < j) & (~blank | (prints.image_id[i] == prints.image_id[j]))


def _correlation(thumbnails, i, j):
    """Pearson correlation of the thumbnails of each pair; 0 where one is flat."""
    values = np.empty(len(i), np.float32)
    for start in range(0, len(i), CHUNK):
        part = slice(start, start + CHUNK)
        a, b = (_unit(thumbnails[rows[part]]) for rows in (i, j))
        values[part] = np.einsum("ij,ij->i", a, b)
    return values


def _unit(thumbnails):
    centred = thumbnails - thumbnails.mean(axis=1, dtype=np.float32, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
