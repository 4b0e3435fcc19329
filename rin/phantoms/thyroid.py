"""Thyroid ultrasound phantoms in the xml and image files of DDTI."""

import json
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from rin.phantoms.draws import apportion, generator, image_shape
from rin.phantoms.textures import bump, smooth_noise, soft_step, speckle, tone

# The study's DDTI has 61 benign and 288 malignant images. More benign ones here: val, 8 % of the
# images in a five-fold split, should hold two of them from 80 images on, patients kept together.
SHARES = {"benign": 1, "malignant": 2}
# The TI-RADS of cases 1 to 13, 14 to 26, … One has none, as some real ones do; the reader leaves
# it out.
TIRADS = ("4a", "2", None, "4b", "5", "3", "4c", "4a", "2", "4b", "3", "5", "4c")
LABELS = {"2": "benign", "3": "benign"}  # the others are malignant
IMAGES_A_CASE = (0.65, 0.25, 0.10)  # shares of cases with one, two and three images
FIELDS = ("number", "age", "sex", "composition", "echogenicity", "margins", "calcifications")
REPORTS = ("reportbacaf", "reporteco")

# Mean of each trait at TI-RADS 2 and 5, in between for the others, and its SD. They overlap on
# purpose: one trait alone must not decide.
SUSPICION = {"2": 0.0, "3": 0.3, "4a": 0.6, "4b": 0.75, "4c": 0.9, "5": 1.0}
TRAITS = {
    "log_aspect": (-0.40, 0.16, 0.18),  # log of height / width: malignant ones taller than wide
    "roughness": (0.02, 0.11, 0.03),  # relative swing of the outline
    "echo": (-0.40, -1.40, 0.30),  # log echo inside, relative to the gland
    "specks": (0.5, 6.0, 2.0),  # microcalcifications
}
N_POINTS = 48  # of an outline
INSET = 0.4  # pixels: an outline runs along the nodule's outermost pixels, not around them


class Nodule(NamedTuple):
    """One nodule; lengths in units of the image's width, angles in radians."""

    x: float
    y: float
    width: float  # half-axis across
    height: float  # half-axis in depth
    roughness: float
    phases: np.ndarray  # (6,), one per harmonic of the outline
    echo: float
    specks: np.ndarray  # (k, 2), polar: share of the radius, angle


def write(root, n, seed, size):
    """Write `n` images of cases with a TI-RADS below `root`, some without, and every case's xml.

    A case's xml is the same however many images are written, so the last case of a class may mark
    one that is not there.

    Args:
        root: `pathlib.Path` of an existing folder.
        n: int >= 2, images with a TI-RADS; those without come on top.
        seed: int >= 0.
        size: int, typical longest side in pixels.
    """
    left, case = apportion(n, SHARES), 0
    while any(left.values()):
        case += 1
        tirads, drawn = tirads_of(case), images_of(case, seed)
        label = tirads and LABELS.get(tirads, "malignant")
        wanted = min(drawn, left[label]) if label else drawn
        if wanted:
            _write_case(root, case, drawn, wanted, seed, size)
        if label:
            left[label] -= wanted


def tirads_of(case):
    """The TI-RADS of a case, None for one without."""
    return TIRADS[(case - 1) % len(TIRADS)]


def images_of(case, seed):
    """How many images a case has: one to three."""
    return int(generator(seed, "thyroid", case, "images").choice([1, 2, 3], p=IMAGES_A_CASE))


def draw(case, number, seed, size):
    """Draw one image of a case with its nodules.

    Args:
        case: int from 1; images of one case share the nodules' traits.
        number: int from 1, the image's own.
        seed: int >= 0.
        size: int, typical longest side in pixels.

    Returns:
        `(image, masks, outlines)`: `(height, width)` uint8, and of each of one or two nodules a
        bool array of the same shape and `(48, 2)` ints, x and y in pixels.
    """
    patient, pose = generator(seed, "thyroid", case), generator(seed, "thyroid", case, number)
    shape = image_shape(pose, size)
    nodules = _draw_nodules(patient, pose, case, shape[0] / shape[1])
    image, masks = _scan(pose, shape, nodules)
    return image, masks, [_outline(nodule, shape) for nodule in nodules]


def _write_case(root, case, drawn, wanted, seed, size):
    images = {k: draw(case, k, seed, size) for k in range(1, drawn + 1)}
    outlines = {number: lines for number, (_, _, lines) in images.items()}
    (root / f"{case}.xml").write_bytes(_xml(case, outlines))
    for number in range(1, wanted + 1):
        image = Image.fromarray(images[number][0])
        image.save(root / f"{case}_{number}.jpg", quality=90)


def _xml(case, outlines):
    """A case's xml; what phantoms have no say on stays empty."""
    tree, tirads = ElementTree.Element("case"), tirads_of(case)
    fields = dict.fromkeys((*FIELDS, "tirads", *REPORTS)) | {"number": str(case), "tirads": tirads}
    if tirads is None and case % 2:
        del fields["tirads"]  # the element is missing or empty, both occur
    for name, text in fields.items():
        ElementTree.SubElement(tree, name).text = text
    for number, lines in outlines.items():
        mark = ElementTree.SubElement(tree, "mark")
        ElementTree.SubElement(mark, "image").text = str(number)
        ElementTree.SubElement(mark, "svg").text = json.dumps([_region(line) for line in lines])
    return ElementTree.tostring(tree, encoding="utf-8", xml_declaration=True)


def _region(line):
    points = [{"x": x, "y": y} for x, y in line.tolist()]
    return {"points": points, "annotation": {}, "regionType": "freehand"}


def _draw_nodules(patient, pose, case, depth):
    """One or two nodules of one case; `depth` is the image's height over its width."""
    suspicion = SUSPICION.get(tirads_of(case), patient.uniform())
    places = (0.33, 0.68) if patient.random() < 0.12 else (0.5,)
    scale = 0.8 if len(places) == 2 else 1.0
    return [_draw_nodule(patient, pose, suspicion, x, depth, scale) for x in places]


def _draw_nodule(patient, pose, suspicion, x, depth, scale):
    trait = {
        name: patient.normal(benign + suspicion * (malignant - benign), sd)
        for name, (benign, malignant, sd) in TRAITS.items()
    }
    radius = scale * np.clip(0.14 * np.exp(patient.normal(0, 0.2)), 0.10, 0.19)
    stretch = np.exp(trait["log_aspect"] / 2)
    n_specks = max(0, round(trait["specks"]))
    return Nodule(
        x=x + scale**2 * pose.uniform(-0.08, 0.08),
        y=depth * pose.uniform(0.42, 0.58),
        width=radius / stretch,
        height=radius * stretch,
        roughness=abs(trait["roughness"]),
        phases=patient.uniform(0, 2 * np.pi, 6),
        echo=trait["echo"],
        specks=pose.uniform((0.1, 0), (0.7, 2 * np.pi), (n_specks, 2)),
    )


def _scan(rng, shape, nodules):
    """The image of a neck with nodules in its gland, and one mask a nodule."""
    height, width = shape
    y, x = np.mgrid[:height, :width] / width
    echo, masks = _neck(rng, x, y), []
    for nodule in nodules:
        across, down = (x - nodule.x) / nodule.width, (y - nodule.y) / nodule.height
        inside = _radius(nodule, np.arctan2(down, across)) - np.hypot(across, down)
        masks.append(inside > 0)
        echo = echo + nodule.echo * soft_step(inside, 0.06 + nodule.roughness / 2)
        echo = echo + _specks(nodule, x, y)
    grain = speckle(rng, shape, (0.004 * width, 0.007 * width))
    signal = np.sqrt(np.exp(echo) * (0.35 + 0.65 * grain))
    return tone(signal, mean=rng.uniform(65, 105), sd=rng.uniform(38, 52)), masks


def _radius(nodule, angle):
    """How far the outline lies at an angle, relative to a smooth ellipse's."""
    waves = [np.cos(k * angle + phase) for k, phase in enumerate(nodule.phases, start=2)]
    return np.maximum(1 + nodule.roughness * np.sum(waves, axis=0) / np.sqrt(3), 0.4)


def _outline(nodule, shape):
    """The points of a nodule's outline in whole pixels, as a reader's mouse gives them."""
    angle = np.linspace(0, 2 * np.pi, N_POINTS, endpoint=False)
    radius = _radius(nodule, angle)
    across, down = nodule.width * np.cos(angle), nodule.height * np.sin(angle)
    offset = shape[1] * radius[:, None] * np.stack([across, down], axis=1)
    offset *= 1 - INSET / np.hypot(*offset.T)[:, None]
    return np.rint(offset + np.multiply((nodule.x, nodule.y), shape[1])).astype(int)


def _specks(nodule, x, y):
    """Log echo of microcalcifications: bright dots a pixel or two wide."""
    total = np.zeros(x.shape)
    for share, angle in nodule.specks:
        across = x - nodule.x - share * nodule.width * np.cos(angle)
        down = y - nodule.y - share * nodule.height * np.sin(angle)
        total += 2.2 * bump(np.hypot(across, down), 0.008)
    return total


def _neck(rng, x, y):
    """Log echo of muscles, the gland, the windpipe and the carotid artery, in a transverse view."""
    depth, side = y / y.max(), x if rng.random() < 0.5 else 1 - x
    wave = 0.02 * smooth_noise(rng, x.shape, 0.12 * x.shape[1])
    echo = 0.7 - 0.9 * soft_step(depth - 0.08 + wave, 0.02) - 0.4 * depth
    lobe = np.hypot((side - 0.52) / 0.44, (depth - 0.50) / rng.uniform(0.34, 0.42)) + 2 * wave
    echo = echo + rng.uniform(0.5, 0.8) * soft_step(1 - lobe, 0.06)
    ring = np.hypot(side + rng.uniform(0.02, 0.08), (depth - 0.45) * y.max()) - 0.16
    echo = echo + 0.9 * bump(ring, 0.012) - 1.5 * soft_step(-ring, 0.02)
    artery = np.hypot(side - rng.uniform(0.92, 0.98), (depth - 0.55) * y.max()) - 0.07
    echo = echo + 0.6 * bump(artery, 0.01) - 1.8 * soft_step(-artery, 0.015)
    return echo + 0.12 * smooth_noise(rng, x.shape, 0.05 * x.shape[1])
