"""COVID-19 chest CT phantoms in the names and lists of the official release."""

import itertools

from PIL import Image

from rin.phantoms.draws import generator
from rin.phantoms.sarscov2 import draw

# Site and class stand together as in the released names: negatives come from one site alone.
# Nothing in the pixels tells the sites apart.
SITES = {"P": ("Bozhou", "Fuyang", "Guangxi", "WCH", "WH"), "N": ("WCH",)}
POSITIVE_SHARE = 4190 / 9050  # Mei et al. 2022
SLICES = 10  # of a patient; a small set takes fewer, so that it has patients enough to split
N_PATIENTS = 40  # about as many, at least
LEAST = 14  # images; fewer would leave a list without a class
LISTS = ("train", "test", "val", "train", "train", "train", "test", "train")  # dealt in turn
SEEN = {"P": "peripheral", "N": "clear"}
LABELS = {"P": "positive", "N": "negative"}


def write(root, n, seed, size):
    """Write `n` slices and the lists of train, val and test below `root`.

    Args:
        root: `pathlib.Path` of an existing folder.
        n: int >= 14, slices in all; the last patient may have fewer.
        seed: int >= 0.
        size: int, pixels a side.
    """
    (root / "images").mkdir()
    (root / "dataframe").mkdir()
    lines = {name: ["filename,label"] for name in LISTS}
    for site, sign, patient, slot, number, released in names(n, seed):
        key = ("covid19", site, sign, patient)
        name = f"{site}_{sign}{patient}-{slot:02d}_{number}.png"
        image = draw(seed, key, slot, SEEN[sign], number / 100, size)
        Image.fromarray(image).save(root / "images" / name)
        lines[released].append(f"{name},{LABELS[sign]}")
    for name, rows in lines.items():
        text = "\n".join(rows) + "\n"
        (root / "dataframe" / f"covid_{name}.csv").write_text(text, encoding="utf-8")


def names(n, seed):
    """What stands in the names of `n` slices, and their list.

    Args:
        n: int >= 14, slices in all.
        seed: int >= 0.

    Returns:
        List of `(site, sign, patient, slot, number, list)`: the site, "P" or "N", the patient's
        number within both, 0–9, the slice's number from 20 to 79, "train", "val" or "test".

    Raises:
        ValueError: `n` is too small.
    """
    if n < LEAST:
        raise ValueError(f"`n` should be at least {LEAST}. Received: n={n!r}")
    n_slices = min(max(n // N_PATIENTS, 2), SLICES)
    rows = (row for slots in _patients(seed) for row in slots[:n_slices])
    return list(itertools.islice(rows, n))


def _patients(seed):
    """Patient after patient without end, each a list of ten rows; every class fills every list."""
    seen = {"P": 0, "N": 0}
    for index in itertools.count():
        sign = "P" if int((index + 1) * POSITIVE_SHARE) > int(index * POSITIVE_SHARE) else "N"
        sites, count = SITES[sign], seen[sign]
        rng = generator(seed, "covid19", "names", index)
        numbers = sorted(int(k) for k in 20 + rng.choice(60, SLICES, replace=False))
        row = (sites[count % len(sites)], sign, 1 + count // len(sites))
        yield [(*row, k, number, LISTS[count % len(LISTS)]) for k, number in enumerate(numbers)]
        seen[sign] += 1
