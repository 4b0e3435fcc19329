"""Paediatric chest radiograph phantoms in the folders and file names of Kermany's set."""

import numpy as np
from PIL import Image

from rin.phantoms.draws import apportion, generator, image_shape
from rin.phantoms.textures import bump, smooth_noise, soft_step, tone

# Layout and class mix: Kermany et al. 2018, doi:10.17632/rscbjbr9sj.3
FOLDER = "chest_xray"
SPLITS = {"train": 70, "val": 8, "test": 22}
IMAGES = {
    "train": {"NORMAL": 1341, "PNEUMONIA": 3875},
    "val": {"NORMAL": 8, "PNEUMONIA": 8},
    "test": {"NORMAL": 234, "PNEUMONIA": 390},
}
# The first patient number of each split. Numbering restarts: train and test share numbers.
FIRST_NORMAL = {"train": 115, "val": 1427, "test": 1}
FIRST_PERSON = {"train": 1, "val": 1946, "test": 1}
LEAST = 2  # images of each class in each split

# Mean and SD of an opacity's strength. Both classes have opacities; most normal ones are faint.
STRENGTH = {"NORMAL": (0.06, 0.06), "PNEUMONIA": (0.22, 0.08)}


def write(root, n, seed, size):
    """Write `n` images below `root`.

    Args:
        root: `pathlib.Path` of an existing folder.
        n: int >= 12, images in all splits together.
        seed: int >= 0.
        size: int, typical longest side in pixels.
    """
    for split, total in apportion(n, SPLITS, least=2 * LEAST).items():
        for label, count in apportion(total, IMAGES[split], least=LEAST).items():
            folder = root / FOLDER / split / label
            folder.mkdir(parents=True)
            for patient, name in names(split, label, count, seed):
                image = draw(split, label, patient, name, seed, size)
                Image.fromarray(image).save(folder / f"{name}.jpeg", quality=90)


def names(split, label, count, seed):
    """The patients and file names of one folder.

    Args:
        split: "train", "val" or "test".
        label: "NORMAL" or "PNEUMONIA".
        count: int, images in the folder.
        seed: int >= 0.

    Returns:
        List of `count` pairs `(patient, name)`: int and file name without its ending.
    """
    rng = generator(seed, "pediatric", split, label)
    found = _normal_names if label == "NORMAL" else _person_names
    return found(rng, split, count)


def _normal_names(rng, split, count):
    """One image a patient; one patient in eight has two, told apart by a third number."""
    pairs, patient = [], FIRST_NORMAL[split]
    while len(pairs) < count:
        second = split == "val" or rng.random() < 0.5
        stem = f"{'NORMAL2-' * second}IM-{patient:04d}-0001"
        twice = split != "val" and rng.random() < 0.125
        pairs += [(patient, f"{stem}-{k:04d}") for k in (1, 2)] if twice else [(patient, stem)]
        patient += int(rng.integers(1, 4))
    return pairs[:count]


def _person_names(rng, split, count):
    """One to four images a patient, some of both kinds; each kind numbers its images through."""
    pairs, patient = [], FIRST_PERSON[split]
    numbers = {"bacteria": int(rng.integers(1, 9)), "virus": int(rng.integers(1, 9))}
    while len(pairs) < count:
        viral = 0 if split == "val" else rng.choice([0, 0.5, 1], p=[0.55, 0.1, 0.35])
        for _ in range(rng.integers(1, 5)):
            kind = "virus" if rng.random() < viral else "bacteria"
            pairs.append((patient, f"person{patient}_{kind}_{numbers[kind]}"))
            numbers[kind] += 1
        patient += int(rng.integers(1, 4))
    return pairs[:count]


def draw(split, label, patient, name, seed, size):
    """Draw one radiograph: the patient's anatomy in this image's pose and exposure.

    Args:
        split: "train", "val" or "test"; numbers restart, so it is part of the patient's key.
        label: "NORMAL" or "PNEUMONIA".
        patient: int; images of one patient share anatomy and opacities.
        name: str, the image's own key.
        seed: int >= 0.
        size: int, typical longest side in pixels.

    Returns:
        `(height, width)` uint8.
    """
    anatomy = generator(seed, "pediatric", split, label, patient)
    pose = generator(seed, "pediatric", split, label, patient, name)
    shape = image_shape(pose, size)
    x, y = _coordinates(pose, shape)
    density, lungs = _chest(anatomy, x, y)
    density = density + lungs * _opacities(anatomy, pose, label, x, y)
    density = density + 0.012 * smooth_noise(pose, shape, 0.5)
    return tone(density, mean=pose.uniform(105, 140), sd=pose.uniform(48, 62))


def _coordinates(rng, shape):
    """Chest coordinates: x from -1 to 1 across, y from 0 to 1 down, slightly misplaced."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(float)
    x, y = 2 * x / (width - 1) - 1, y / (height - 1)
    angle, zoom = rng.normal(0, 0.03), rng.uniform(0.94, 1.06)
    x, y = x * zoom - rng.normal(0, 0.03), y * zoom - rng.normal(0, 0.015)
    return x + 2 * angle * (y - 0.5), y - angle / 2 * x


def _chest(rng, x, y):
    """Density of a chest and its lung map, both `(height, width)`; the map is 0 to 1."""
    side = abs(x)
    reach = rng.uniform(0.80, 0.92) + 0.25 * soft_step(0.22 - y, 0.08)
    shoulders = y - 0.02 - 0.14 * np.maximum(side - 0.2, 0)
    body = soft_step(reach - side, 0.03) * soft_step(shoulders, 0.02)
    lungs, heart, belly = _organs(rng, x, y)
    spine = bump(x, 0.08) * (1 + 0.2 * np.cos(2 * np.pi * y * rng.uniform(15, 18)))
    density = 0.55 + 0.10 * belly + 0.03 * heart + 0.14 * spine + _bones(rng, x, y)
    air = rng.uniform(0.32, 0.40) * lungs * (1 - 0.2 * _vessels(rng, x, y))
    return body * (density - air - 0.12 * side), lungs


def _organs(rng, x, y):
    """Maps of lungs, heart and belly in [0, 1]."""
    side = abs(x)
    centre, width = rng.uniform(0.37, 0.41), rng.uniform(0.25, 0.29)
    lift = rng.uniform(0.70, 0.76) + 0.03 * (x > 0)
    below = y - lift - 0.9 * (side - 0.28) ** 2
    oval = 1 - ((side - centre - 0.05 * (y - 0.5)) / width) ** 2 - ((y - 0.56) / 0.44) ** 2
    bulge = ((x - 0.14) / rng.uniform(0.25, 0.32)) ** 2 + ((y - 0.60) / 0.20) ** 2
    heart, belly = soft_step(1 - bulge, 0.25), soft_step(below, 0.015)
    return soft_step(oval, 0.12) * (1 - belly) * (1 - heart), heart * (1 - belly), belly


def _bones(rng, x, y):
    """Density of ribs and clavicles."""
    side, spacing = abs(x), rng.uniform(0.075, 0.09)
    fall = y - 0.30 * side + 0.55 * side**2 - rng.uniform(0, spacing)
    cage = soft_step(0.74 - side, 0.04) * soft_step(y - 0.12, 0.03) * soft_step(0.85 - y, 0.05)
    ribs = np.maximum(np.cos(2 * np.pi * fall / spacing), 0) ** 2 * cage * (0.5 + side)
    collar = bump(y - 0.17 + 0.10 * side, 0.012) * soft_step(side - 0.08, 0.02)
    return rng.uniform(0.09, 0.15) * ribs + 0.14 * collar * soft_step(0.65 - side, 0.05)


def _vessels(rng, x, y):
    """Branching markings, densest near the hila."""
    width = x.shape[1]
    lines = bump(smooth_noise(rng, x.shape, 0.02 * width), 0.25)
    return lines * bump(abs(x) - 0.15, 0.16) * bump(y - 0.48, 0.16)


def _opacities(anatomy, pose, label, x, y):
    """Added density of one or two soft opacities; where is the patient's, texture the image's."""
    cloud = 1 + 0.3 * smooth_noise(pose, x.shape, 0.03 * x.shape[1])
    total = np.zeros(x.shape)
    for _ in range(anatomy.integers(1, 3)):
        strength = max(0, anatomy.normal(*STRENGTH[label]))
        across = x - anatomy.choice([-1, 1]) * anatomy.uniform(0.28, 0.50)
        down = y - anatomy.uniform(0.32, 0.66)
        width = anatomy.uniform(0.10, 0.20)
        total += strength * bump(across, width) * bump(down, 0.7 * width) * cloud
    return total
