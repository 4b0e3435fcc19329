"""Chest CT phantoms in the folders of CC-CCII; `draw` serves the COVID-19 cohort's too."""

import itertools
from typing import NamedTuple

import numpy as np
from PIL import Image

from rin.phantoms.draws import generator
from rin.phantoms.textures import bump, smooth_noise, soft_step, tone

# Class mix: Mei et al. 2022, 21,872 slices of NCP (SARS-CoV-2) and 36,894 of CP
NCP_SHARE = 21872 / 58766
FIRST_PATIENT = {"CP": 1063, "NCP": 81}
SLICES = (3, 6)  # of a scan; a small set takes fewer, so that it has patients enough to split
N_PATIENTS = 60  # about as many, at least
LEAST = 6  # images; fewer would be of one class
TWO_SCANS_EVERY, TWO_SCANS_AT = 5, 2  # patients 2, 7, 12, … have two scans
JPG_EVERY, JPG_AT = 7, 3  # the slices of patients 3, 10, 17, … are jpg


class Pattern(NamedTuple):
    """How opacities lie in the lungs: means and SDs, which overlap on purpose."""

    n: tuple  # fewest and most opacities
    rim: tuple  # 0 in the middle of a lung, 1 at its rim
    strength: tuple  # added density; soft tissue has 0.6, lung 0.1
    radius: tuple  # the image is 2 wide, a lung about 0.6


PATTERNS = {
    "peripheral": Pattern(n=(2, 5), rim=(0.80, 0.15), strength=(0.23, 0.07), radius=(0.12, 0.03)),
    "lobar": Pattern(n=(1, 3), rim=(0.40, 0.20), strength=(0.36, 0.10), radius=(0.16, 0.05)),
    "clear": Pattern(n=(0, 4), rim=(0.65, 0.25), strength=(0.11, 0.06), radius=(0.12, 0.04)),
}
SEEN = {"CP": "lobar", "NCP": "peripheral"}


def write(root, n, seed, size):
    """Write `n` slices below `root`, patient after patient.

    Args:
        root: `pathlib.Path` of an existing folder.
        n: int >= 6, slices in all; the last patient may have fewer.
        seed: int >= 0.
        size: int, pixels a side.
    """
    for kind, patient, scan, number, suffix in names(n, seed):
        folder = root / kind / str(patient) / str(scan)
        folder.mkdir(parents=True, exist_ok=True)
        key = ("sarscov2", kind, patient)
        image = draw(seed, key, f"{scan}/{number}", SEEN[kind], number / 100, size)
        Image.fromarray(image).save(folder / f"{number:04d}.{suffix}")


def names(n, seed):
    """The folders and numbers of `n` slices.

    Args:
        n: int >= 6, slices in all.
        seed: int >= 0.

    Returns:
        List of `(kind, patient, scan, number, suffix)`: "CP" or "NCP", three ints, "png" or "jpg".
        A scan has about a hundred slices, of which a few were released.

    Raises:
        ValueError: `n` is too small.
    """
    if n < LEAST:
        raise ValueError(f"`n` should be at least {LEAST}. Received: n={n!r}")
    most = min(max(n // N_PATIENTS, 1), SLICES[1])
    rows = (row for scan in _scans(seed) for row in scan[:most])
    return list(itertools.islice(rows, n))


def _scans(seed):
    """Scan after scan without end, each a list of rows; a patient's scans follow one another."""
    patients = dict(FIRST_PATIENT)
    for index in itertools.count():
        rng = generator(seed, "sarscov2", "names", index)
        kind = "NCP" if int((index + 1) * NCP_SHARE) > int(index * NCP_SHARE) else "CP"
        patients[kind] += int(rng.integers(1, 4))
        suffix = "jpg" if index % JPG_EVERY == JPG_AT else "png"
        n_scans = 2 if index % TWO_SCANS_EVERY == TWO_SCANS_AT else 1
        for scan in 1000 + rng.choice(9000, n_scans, replace=False):
            numbers = 20 + rng.choice(60, rng.integers(SLICES[0], SLICES[1] + 1), replace=False)
            yield [(kind, patients[kind], int(scan), int(k), suffix) for k in numbers]


def draw(seed, key, name, pattern, level, size):
    """Draw one axial slice in a lung window.

    Args:
        seed: int >= 0.
        key: strings or ints naming the patient, who keeps anatomy and opacities in every slice.
        name: the slice's own key.
        pattern: a key of `PATTERNS`.
        level: float, 0 at the top of the lungs, 1 at their base.
        size: int, pixels a side.

    Returns:
        `(size, size)` uint8.
    """
    patient, image = generator(seed, *key, "anatomy"), generator(seed, *key, "slice", name)
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    x, y = x - patient.normal(0, 0.03), y - patient.normal(0, 0.03)
    density, lungs, frames = _thorax(patient, x, y, level)
    air = 0.1 + 0.45 * _vessels(image, x, y)
    air = air + _opacities(patient, image, PATTERNS[pattern], frames, x, y, level)
    density = density + lungs * (np.minimum(air, 0.62) - density)
    density = density + 0.02 * smooth_noise(image, x.shape, 0.6)
    return tone(density, mean=image.uniform(75, 100), sd=image.uniform(62, 74))


def _thorax(rng, x, y, level):
    """Density of body and bones, the lungs' map in [0, 1], and each lung's center and half-axes."""
    wide, deep = rng.uniform(0.82, 0.92), rng.uniform(0.60, 0.70)
    ring = np.hypot(x / wide, y / deep)
    density = 0.62 * soft_step(1 - ring, 0.02) - 0.22 * bump(ring - 0.94, 0.035)
    density = density + _bones(rng, x, y, ring, deep)
    grow = 0.78 + 0.22 * np.sin(np.pi * (0.1 + 0.8 * level))
    half = np.array([0.36 * wide, 0.72 * deep]) * grow * rng.uniform(0.95, 1.02)
    frames = [(side * 0.46 * wide, 0.0, *half) for side in (-1, 1)]
    lungs = sum(soft_step(1 - np.hypot((x - a) / w, (y - b) / h), 0.05) for a, b, w, h in frames)
    reach = 0.20 + 0.14 * level
    heart = 1 - np.hypot((x - 0.10) / reach, (y + 0.10) / (reach + 0.04))
    return density, lungs * (1 - soft_step(heart, 0.08)), frames


def _bones(rng, x, y, ring, deep):
    """Added density of the spine, the sternum and the ribs."""
    spine = soft_step(1 - np.hypot(x / 0.13, (y - 0.62 * deep) / 0.12), 0.12)
    canal = bump(np.hypot(x, y - 0.62 * deep - 0.14), 0.03)
    sternum = bump(x, 0.10) * bump(y + 0.84 * deep, 0.035)
    angle = np.arctan2(y, x)
    ribs = bump(ring - 0.86, 0.022) * soft_step(np.cos(9 * angle + rng.uniform(0, 6.28)), 0.3)
    return 0.33 * (np.clip(spine + sternum + ribs, 0, 1) - 0.8 * canal)


def _vessels(rng, x, y):
    """Vessels cut across, densest toward the hila."""
    cut = soft_step(smooth_noise(rng, x.shape, 0.011 * x.shape[1]) - 1.3, 0.25)
    return cut * (0.3 + 0.7 * bump(abs(x) - 0.22, 0.14) * bump(y, 0.35))


def _opacities(patient, image, pattern, frames, x, y, level):
    """Added density; where is the patient's, texture the slice's."""
    cloud = np.maximum(1 + 0.35 * smooth_noise(image, x.shape, 0.025 * x.shape[1]), 0)
    total = np.zeros(x.shape)
    for _ in range(patient.integers(pattern.n[0], pattern.n[1] + 1)):
        a, b, half_x, half_y = frames[patient.integers(2)]
        angle = patient.uniform(-0.35, 0.45) * np.pi  # from the side; down is the back
        rim, strength = patient.normal(*pattern.rim), max(patient.normal(*pattern.strength), 0)
        radius = max(patient.normal(*pattern.radius), 0.05)
        across = x - a - np.sign(a) * rim * half_x * np.cos(angle)
        down = y - b - rim * half_y * np.sin(angle)
        seen = bump(level - patient.uniform(0.25, 0.75), 0.3)
        total += strength * seen * bump(np.hypot(across, down), radius)
    return total * cloud
