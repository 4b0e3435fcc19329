"""Phantoms of the RadImageNet release: CT, MR and ultrasound of many classes, and its lists."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from rin.phantoms.draws import apportion, generator, image_shape
from rin.phantoms.textures import bump, smooth_noise, soft_step, speckle, tone

# Layout, class and file names: BMEII-AI/RadImageNet, issue 17, and public code that reads them
FOLDER = "radiology_ai"
SHARES = {
    "CT/lung/normal": 24,
    "CT/lung/Airspace_opacity": 14,
    "CT/lung/Nodule": 10,
    "CT/abd/normal": 30,
    "CT/abd/liver_lesion": 12,
    "MR/knee/normal": 16,
    "MR/knee/meniscal_abnormality": 34,
    "MR/brain/normal": 20,
    "MR/brain/pituatary_lesion": 10,
    "MR/af/Plantar_plate_tear": 10,
    "MR/af/achilles_pathology_": 16,
    "US/gb": 20,
    "US/kidney": 14,
    "US/thyroid": 18,
}
STEMS = {"CT/lung": "lung", "CT/abd": "abd", "MR/knee": "knee", "MR/brain": "brain", "US": "usn"}
# Of twenty images of a class, those in val and test; the rest is train, as in the study's 75/10/15
SETS = {"val": (3, 14), "test": (5, 12, 18)}
# As in the release, one image stands under two labels or twice under one, and some are blank
REPEATS = {
    ("CT/lung/Nodule", 5): ("CT/lung/Airspace_opacity", 2),
    ("MR/af/achilles_pathology_", 3): ("MR/af/Plantar_plate_tear", 1),
    ("US/gb", 5): ("US/gb", 4),
}
BLANK = {("MR/knee/normal", 4), ("US/kidney", 4)}


class Finding(NamedTuple):
    """A spot on one side or the other; lengths in halves of the image."""

    x: tuple  # where, least and most
    y: tuple
    width: tuple
    height: tuple
    change: tuple  # of the signal: mean and SD; they overlap with none on purpose


FINDINGS = {
    "CT/lung/Airspace_opacity": Finding(
        (0.3, 0.5), (-0.2, 0.4), (0.15, 0.25), (0.1, 0.2), (0.3, 0.12)
    ),
    "CT/lung/Nodule": Finding((0.25, 0.55), (-0.3, 0.4), (0.05, 0.09), (0.05, 0.09), (0.6, 0.2)),
    "CT/abd/liver_lesion": Finding(
        (0.3, 0.5), (-0.3, 0.1), (0.08, 0.14), (0.08, 0.14), (-0.25, 0.1)
    ),
    "MR/knee/meniscal_abnormality": Finding(
        (0.1, 0.4), (0.0, 0.08), (0.15, 0.25), (0.04, 0.06), (0.5, 0.2)
    ),
    "MR/brain/pituatary_lesion": Finding(
        (0.0, 0.05), (0.3, 0.4), (0.08, 0.14), (0.07, 0.11), (0.6, 0.2)
    ),
    "MR/af/Plantar_plate_tear": Finding(
        (0.3, 0.5), (0.68, 0.78), (0.1, 0.16), (0.04, 0.07), (0.6, 0.2)
    ),
    "MR/af/achilles_pathology_": Finding(
        (0.45, 0.55), (-0.4, 0.1), (0.05, 0.08), (0.15, 0.25), (0.5, 0.2)
    ),
}


def write(root, n, seed, size):
    """Write `n` images and the lists of train, val and test below `root`.

    Args:
        root: `pathlib.Path` of an existing folder.
        n: int >= 14, images in all classes together.
        seed: int >= 0.
        size: int, pixels a side of CT and MR, typical longest side of ultrasound.
    """
    rows = []
    for label, count in apportion(n, SHARES).items():
        folder = root / FOLDER / label
        folder.mkdir(parents=True)
        for index in range(count):
            path = folder / f"{_stem(label, index)}.png"
            Image.fromarray(draw(label, index, seed, size)).save(path)
            listed = {"filename": path.relative_to(root).as_posix(), "label": folder.name}
            rows.append(listed | {"set": set_of(index)})
    table = pd.DataFrame(rows)
    for name in ("train", *SETS):
        inside = table[table["set"] == name].drop(columns="set")
        inside.to_csv(root / f"RadiologyAI_{name}.csv", index=False, lineterminator="\n")


def set_of(index):
    """The list that names image `index` of a class: train, val or test."""
    return next((name for name, places in SETS.items() if index % 20 in places), "train")


def draw(label, index, seed, size):
    """Draw one image.

    Args:
        label: a key of `SHARES`.
        index: int from 0, the image's number in its class.
        seed: int >= 0.
        size: int, see `write`.

    Returns:
        `(height, width)` uint8.
    """
    if (label, index) in BLANK:
        return np.zeros((size, size), np.uint8)
    label, index = REPEATS.get((label, index), (label, index))
    rng = generator(seed, "radimagenet", label, index)
    sound = label.startswith("US")
    shape = image_shape(rng, size) if sound else (size, size)
    x, y = _coordinates(rng, shape)
    signal = _organ(label)(rng, x, y) + _finding(rng, label, x, y)
    signal = signal + 0.06 * smooth_noise(rng, shape, 0.03 * size)
    if sound:
        grain = speckle(rng, shape, (0.004 * size, 0.008 * size))
        signal = np.sqrt(np.exp(2 * signal) * (0.3 + 0.7 * grain))
    else:
        signal = signal + 0.05 * smooth_noise(rng, shape, 0.6)
    return tone(signal, mean=rng.uniform(60, 100), sd=rng.uniform(40, 55))


def _stem(label, index):
    """File names as released; of two labels of one image, the name may be the same or not."""
    if label.startswith("MR/af"):
        start = "foot" if "Plantar" in label else "ankle"
    else:
        start = next(stem for place, stem in STEMS.items() if label.startswith(place))
    if label == "CT/abd/normal":
        start = "abd-normal"
    if label == "CT/lung/Nodule":
        label, index = REPEATS.get((label, index), (label, index))
    return f"{start}{10_000 * list(SHARES).index(label) + index + 1:06d}"


def _coordinates(rng, shape):
    """x and y from -1 to 1, turned, zoomed and shifted a little."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(float)
    x, y = 2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1
    angle, zoom = rng.normal(0, 0.08), rng.uniform(0.9, 1.15)
    x, y = x - rng.normal(0, 0.05), y - rng.normal(0, 0.05)
    return zoom * (x + angle * y), zoom * (y - angle * x)


def _organ(label):
    organs = {
        "CT/lung": _lungs,
        "CT/abd": _belly,
        "MR/knee": _knee,
        "MR/brain": _brain,
        "MR/af": _ankle,
        "US/gb": _gallbladder,
        "US/kidney": _kidney,
        "US/thyroid": _thyroid,
    }
    return next(organ for place, organ in organs.items() if label.startswith(place))


def _finding(rng, label, x, y):
    if label not in FINDINGS:
        return 0
    spot = FINDINGS[label]
    side = rng.choice([-1, 1]) if label.startswith("CT/lung") else 1
    across = (side * x - rng.uniform(*spot.x)) / rng.uniform(*spot.width)
    down = (y - rng.uniform(*spot.y)) / rng.uniform(*spot.height)
    cloud = 1 + 0.3 * smooth_noise(rng, x.shape, 0.03 * x.shape[1])
    return rng.normal(*spot.change) * bump(np.hypot(across, down), 0.7) * cloud


def _oval(x, y, at, radii, edge=0.12):
    """1 inside, 0 outside, soft in between."""
    return soft_step(1 - ((x - at[0]) / radii[0]) ** 2 - ((y - at[1]) / radii[1]) ** 2, edge)


def _lungs(rng, x, y):
    body = _oval(x, y, (0, 0), (0.92, rng.uniform(0.68, 0.78)))
    size = rng.uniform(0.28, 0.34), rng.uniform(0.44, 0.54)
    air = _oval(x, y, (-0.42, 0), size) + _oval(x, y, (0.42, 0), size)
    heart = _oval(x, y, (0.15, rng.uniform(-0.15, 0.05)), (0.3, 0.3))
    vessels = bump(smooth_noise(rng, x.shape, 0.03 * x.shape[1]), 0.25)
    spine = _oval(x, y, (0, 0.5), (0.12, 0.14))
    return body * (0.6 + 0.4 * spine) - air * (1 - heart) * (0.5 - 0.2 * vessels)


def _belly(rng, x, y):
    body = _oval(x, y, (0, 0), (0.94, rng.uniform(0.64, 0.76)))
    liver = _oval(x, y, (0.42, -0.1), (rng.uniform(0.36, 0.44), rng.uniform(0.38, 0.46)))
    spleen = _oval(x, y, (-0.6, 0.1), (0.18, rng.uniform(0.22, 0.3)))
    bowel = bump(smooth_noise(rng, x.shape, 0.05 * x.shape[1]), 0.4)
    gut = _oval(x, y, (-0.2, -0.3), (0.4, 0.3))
    spine = _oval(x, y, (0, 0.4), (0.14, 0.14))
    return 0.45 * body + 0.25 * liver + 0.2 * spleen + 0.25 * gut * bowel + 0.5 * spine


def _knee(rng, x, y):
    leg = soft_step(rng.uniform(0.7, 0.8) - abs(x), 0.08)
    femur = _oval(x, y, (0.05, -0.55), (rng.uniform(0.42, 0.52), 0.52))
    tibia = _oval(x, y, (0.1, 0.68), (rng.uniform(0.40, 0.48), 0.58))
    patella = _oval(x, y, (-0.58, -0.3), (0.12, 0.24))
    fibres = smooth_noise(rng, x.shape, (0.06 * x.shape[1], 0.015 * x.shape[1]))
    return leg * (0.35 + 0.06 * fibres) + 0.45 * np.maximum(femur, tibia) + 0.4 * patella


def _brain(rng, x, y):
    head = _oval(x, y, (0, 0), (rng.uniform(0.70, 0.78), 0.9))
    inside = _oval(x, y, (0, 0), (0.64, 0.8))
    folds = bump(smooth_noise(rng, x.shape, 0.025 * x.shape[1]), 0.3)
    gap = rng.uniform(0.10, 0.16)
    horns = _oval(abs(x), y, (gap, -0.1), (0.09, rng.uniform(0.22, 0.34)))
    return 0.9 * head - 0.45 * inside - 0.4 * horns + 0.15 * inside * folds


def _ankle(rng, x, y):
    foot = np.maximum(_oval(x, y, (0.1, -0.5), (0.48, 0.9)), _oval(x, y, (-0.1, 0.5), (0.85, 0.35)))
    tibia = _oval(x, y, (0, -0.75), (rng.uniform(0.2, 0.26), 0.6))
    talus = _oval(x, y, (0, 0.15), (0.3, rng.uniform(0.18, 0.24)))
    heel = _oval(x, y, (0.4, 0.45), (rng.uniform(0.26, 0.32), 0.22))
    tendon = bump(x - 0.5, 0.04) * soft_step(0.2 - y, 0.1)
    return foot * 0.4 + 0.45 * np.maximum(np.maximum(tibia, talus), heel) - 0.35 * tendon


def _tissue(rng, x, y):
    """Log echo of tissue that fades with depth."""
    layers = smooth_noise(rng, x.shape, (0.02 * x.shape[1], 0.1 * x.shape[1]))
    return 0.15 * layers - rng.uniform(0.3, 0.7) * y


def _gallbladder(rng, x, y):
    at, radii = rng.uniform(-0.25, 0.25, 2), (rng.uniform(0.3, 0.5), rng.uniform(0.16, 0.28))
    sac = _oval(x, y, at, radii)
    behind = bump(x - at[0], 0.7 * radii[0]) * soft_step(y - at[1] - radii[1], 0.1)
    return _tissue(rng, x, y) - 1.6 * sac + 0.5 * behind


def _kidney(rng, x, y):
    at, radii = rng.uniform(-0.25, 0.25, 2), (rng.uniform(0.45, 0.6), rng.uniform(0.26, 0.36))
    rind = _oval(x, y, at, radii)
    core = _oval(x, y, at, (0.6 * radii[0], 0.4 * radii[1]), 0.4)
    return _tissue(rng, x, y) - 0.8 * rind + 1.2 * core


def _thyroid(rng, x, y):
    across, down = rng.uniform(0.38, 0.5), rng.uniform(-0.2, 0.1)
    lobes = _oval(abs(x), y, (across, down), (rng.uniform(0.24, 0.32), rng.uniform(0.22, 0.3)))
    windpipe = _oval(x, y, (0, down + 0.2), (0.2, 0.3)) * (1 + 0.4 * np.cos(12 * y))
    return _tissue(rng, x, y) + 0.7 * lobes - 1.0 * windpipe
