"""Breast ultrasound phantoms in the folders and file names of BUSI."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from rin.phantoms.draws import apportion, generator, image_shape
from rin.phantoms.textures import bump, smooth_noise, soft_step, speckle, tone

# Layout and class counts: Al-Dhabyani et al. 2020, doi:10.1016/j.dib.2019.104863
FOLDER = "Dataset_BUSI_with_GT"
IMAGES = {"benign": 437, "malignant": 210, "normal": 133}

# Mean and SD of each lesion trait. They overlap on purpose: one trait alone must not decide.
TRAITS = {
    "benign": {
        "log_aspect": (-0.36, 0.25),  # log of height / width: wider than tall
        "roughness": (0.04, 0.05),  # relative swing of the outline
        "posterior": (0.40, 0.40),  # log gain below the lesion: enhancement
        "echo": (-1.20, 0.35),  # log echo inside, relative to the tissue
    },
    "malignant": {
        "log_aspect": (0.04, 0.25),
        "roughness": (0.13, 0.07),
        "posterior": (-0.80, 0.45),
        "echo": (-1.55, 0.35),
    },
}
REPEAT_EVERY, REPEAT_BACK = 16, 7  # image 16 nearly repeats image 9, 32 repeats 25, ...
TWO_LESIONS_EVERY, TWO_LESIONS_AT = 12, 4  # images 4, 16, 28, ... hold two lesions
RGB_EVERY, RGB_AT = 10, 3  # images 3, 13, 23, ... are saved as RGB


class Lesion(NamedTuple):
    """One lesion; lengths in units of the image's width, angles in radians."""

    x: float
    y: float
    width: float  # half-axis across
    height: float  # half-axis in depth
    tilt: float
    roughness: float
    phases: np.ndarray  # (8,), one per harmonic of the outline
    posterior: float
    echo: float


def write(root, n, seed, size):
    """Write `n` images and their masks below `root`.

    Args:
        root: `pathlib.Path` of an existing folder.
        n: int >= 3, images in all; masks come on top.
        seed: int >= 0.
        size: int, typical longest side in pixels.
    """
    for label, count in apportion(n, IMAGES).items():
        folder = root / FOLDER / label
        folder.mkdir(parents=True)
        for index in range(1, count + 1):
            image, masks = draw(label, index, seed, size)
            mode = "RGB" if index % RGB_EVERY == RGB_AT else "L"
            Image.fromarray(image).convert(mode).save(folder / f"{label} ({index}).png")
            for number, mask in enumerate(masks):
                suffix = f"_{number}" if number else ""
                path = folder / f"{label} ({index})_mask{suffix}.png"
                Image.fromarray(mask).convert("1").save(path)


def draw(label, index, seed, size):
    """Draw one image with its lesion masks.

    Args:
        label: "benign", "malignant" or "normal".
        index: int from 1, the number in the file name.
        seed: int >= 0.
        size: int, typical longest side in pixels.

    Returns:
        `(image, masks)`: `(height, width)` uint8 and a list of one or two bool arrays of the
        same shape, all false for a normal image.
    """
    repeated = index % REPEAT_EVERY == 0
    source = index - REPEAT_BACK if repeated else index
    rng = generator(seed, "breast", label, source)
    shape = image_shape(rng, size)
    lesions = _draw_lesions(rng, label, source, shape[0] / shape[1])
    image, masks = _scan(rng, shape, lesions)
    if repeated:
        return _recrop(generator(seed, "breast", label, index), image, masks)
    return image, masks


def _draw_lesions(rng, label, index, depth):
    """Zero, one or two lesions; `depth` is the image's height over its width."""
    if label == "normal":
        return []
    if index % TWO_LESIONS_EVERY == TWO_LESIONS_AT:
        return [_draw_lesion(rng, label, x, depth, 0.7) for x in (0.27, 0.72)]
    return [_draw_lesion(rng, label, 0.5, depth, 1.0)]


def _draw_lesion(rng, label, x, depth, scale):
    trait = {name: rng.normal(*moments) for name, moments in TRAITS[label].items()}
    radius = scale * np.clip(0.135 * np.exp(rng.normal(0, 0.25)), 0.08, 0.20)
    stretch = np.exp(trait["log_aspect"] / 2)
    return Lesion(
        x=x + scale**2 * rng.uniform(-0.2, 0.2),
        y=depth * rng.uniform(0.34, 0.58),
        width=radius / stretch,
        height=radius * stretch,
        tilt=rng.normal(0, 0.15),
        roughness=abs(trait["roughness"]),
        phases=rng.uniform(0, 2 * np.pi, 8),
        posterior=trait["posterior"],
        echo=trait["echo"],
    )


def _scan(rng, shape, lesions):
    """The image of a tissue with lesions in it, and one mask a lesion (or one empty mask)."""
    height, width = shape
    y, x = np.mgrid[:height, :width] / width
    echo = _tissue(rng, x, y) + _stray_shadow(rng, x, y)
    for lesion in lesions:
        echo = echo + lesion.posterior * _shade(lesion, x, y)
    masks = [np.zeros(shape, bool)] if not lesions else []
    for lesion in lesions:
        inside = _distance(lesion, x, y)
        masks.append(inside > 0)
        blend = soft_step(inside, 0.06 + lesion.roughness)
        core = lesion.echo + echo[masks[-1]].mean() + 0.3 * (echo - echo[masks[-1]].mean())
        echo = echo + blend * (core - echo)
    grain = speckle(rng, shape, (0.004 * width, 0.007 * width))
    signal = np.sqrt(np.exp(echo) * (0.35 + 0.65 * grain))
    return tone(signal, mean=rng.uniform(65, 105), sd=rng.uniform(38, 52)), masks


def _tissue(rng, x, y):
    """Log echo of skin, fat, gland and muscle, fading with depth."""
    width = x.shape[1]
    depth = y / y.max() + 0.025 * smooth_noise(rng, x.shape, 0.12 * width)
    echo = rng.normal([0.6, -0.5, 0.4, 0.0], 0.2)
    edges = rng.uniform([0.03, 0.18, 0.62], [0.05, 0.30, 0.75])
    layers = np.full(x.shape, echo[0])
    for edge, change in zip(edges, np.diff(echo), strict=True):
        layers += change * soft_step(depth - edge, 0.02)
    fibres = 0.35 * smooth_noise(rng, x.shape, (0.012 * width, 0.07 * width))
    sheets = bump(smooth_noise(rng, x.shape, (0.025 * width, 0.13 * width)), 0.12)
    sheets *= soft_step(smooth_noise(rng, x.shape, 0.06 * width), 0.8)
    return layers + fibres + 1.3 * sheets - rng.uniform(1.2, 3.2) * depth


def _stray_shadow(rng, x, y):
    """A shadow or bright column that says nothing about the class."""
    column = bump(x - rng.uniform(0.05, 0.95), rng.uniform(0.04, 0.10))
    return rng.normal(0, 0.6) * column * soft_step(y / y.max() - rng.uniform(0.1, 0.5), 0.15)


def _shade(lesion, x, y):
    """Where sound that crossed the lesion arrives: 0 to 1, below it and as wide."""
    across = soft_step(0.9 * lesion.width - abs(x - lesion.x), 0.35 * lesion.width)
    return across * soft_step(y - lesion.y - 0.8 * lesion.height, 0.04)


def _distance(lesion, x, y):
    """Relative distance to the outline: 1 at the centre, 0 on it, negative outside."""
    dx, dy = x - lesion.x, y - lesion.y
    cos, sin = np.cos(lesion.tilt), np.sin(lesion.tilt)
    across, down = (cos * dx + sin * dy) / lesion.width, (cos * dy - sin * dx) / lesion.height
    angle = np.arctan2(down, across)
    waves = [np.cos(k * angle + phase) for k, phase in enumerate(lesion.phases, start=2)]
    outline = 1 + lesion.roughness * np.sum(waves, axis=0) * np.sqrt(2 / len(waves))
    return np.maximum(outline, 0.3) - np.hypot(across, down)


def _recrop(rng, image, masks):
    """A near duplicate: 1 or 2 pixels off each edge, a little brighter or darker, new noise."""
    top, left, bottom, right = rng.integers(1, 3, 4)
    window = np.s_[top : image.shape[0] - bottom, left : image.shape[1] - right]
    noise = rng.normal(0, 1.5, image.shape)
    changed = np.clip(np.rint(image + rng.choice([-4, 4]) + noise), 0, 255).astype(np.uint8)
    return changed[window], [mask[window] for mask in masks]
