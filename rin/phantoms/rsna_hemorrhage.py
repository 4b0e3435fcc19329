"""Head CT phantoms as DICOM files and the long csv of the RSNA 2019 challenge."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from rin import dicom
from rin.phantoms.draws import generator
from rin.phantoms.textures import bump, smooth_noise, soft_step, tone

# Layout: Flanders et al. 2020, doi:10.1148/ryai.2020190211. The paper this book reruns counts
# 107,933 of 573,604 slices with hemorrhage; here three patients of five bleed, in about a third of
# their slices, so that every set of a small split holds some.
HOME = "rsna-intracranial-hemorrhage-detection"
FOLDER, LABELS = "stage_2_train", "stage_2_train.csv"
SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
RESEMBLING = ("infarct", "calcification")  # in two slices of five, of either class
BLEEDS_EVERY, BLEEDS_AT = 5, (0, 2, 3)  # patients 0, 2, 3, 5, 7, 8, ... bleed
SLICES = (2, 6)  # of a patient; few are more frequent
LEAST = SLICES[1]  # images: the first patient whole, who bleeds in some
REPEAT_EVERY, REPEAT_AT = 40, 7  # the rows of slices 7, 47, ... stand twice, as a few real ones do
RLE_EVERY, RLE_AT = 10, 3  # slices 3, 13, 23, ... are compressed
SIGNED_EVERY, SIGNED_AT = 3, 2  # patients 2, 5, ... come from a scanner that stores 16 bits
BRAIN = (32, 9)  # mean and SD of what the skull holds, in Hounsfield units, in either class
SHOWN = 80  # Hounsfield units from black to white in the brain window


class Head(NamedTuple):
    """One patient's head; lengths in half image widths."""

    width: float  # half-axis across
    length: float  # half-axis from front to back
    skull: float  # thickness
    bone: float  # Hounsfield units
    ventricles: float  # size, 1 is usual
    gap: float  # width of the space around the brain
    tilt: float  # radians
    x: float
    y: float


class Lesion(NamedTuple):
    """Blood, or what resembles it, at a place that a patient's slices share."""

    kind: str  # of `SUBTYPES` or `RESEMBLING`
    angle: float  # radians from the front
    depth: float  # 0 in the midline, 1 at the skull
    size: float
    strength: float  # Hounsfield units above the brain


def write(root, n, seed, size):
    """Write `n` slices and their labels below `root`.

    Args:
        root: `pathlib.Path` of an existing folder.
        n: int >= 6, slices in all; a patient has two to six, the last one what is left.
        seed: int >= 0.
        size: int, pixels a side.
    """
    if n < LEAST:
        raise ValueError(f"`n` should be at least {LEAST}. Received: n={n!r}")
    folder, rows = root / HOME / FOLDER, []
    folder.mkdir(parents=True)
    for number, (patient, index, present) in enumerate(slices(n, seed)):
        name, values, bits = draw(patient, index, present, seed, size)
        _save(folder / f"{name}.dcm", values, bits, name, patient, seed, number)
        flags = {kind: int(kind in present) for kind in SUBTYPES} | {"any": int(bool(present))}
        lines = [(f"{name}_{kind}", flag) for kind, flag in flags.items()]
        rows += lines * (2 if number % REPEAT_EVERY == REPEAT_AT else 1)
    table = pd.DataFrame(rows, columns=["ID", "Label"])
    table.to_csv(root / HOME / LABELS, index=False)


def slices(n, seed):
    """The first `n` slices, patient by patient.

    Returns:
        List of `(patient, index, present)`: ints from 0, and the tuple of subtypes seen there.
    """
    rows, patient = [], 0
    while len(rows) < n:
        rng = generator(seed, "rsna_hemorrhage", patient, "slices")
        count = int(rng.integers(SLICES[0], SLICES[1] + 1, 2).min())
        n_kinds = 1 + (rng.random() < 0.3)
        kinds = tuple(sorted(rng.choice(SUBTYPES, n_kinds, replace=False).tolist()))
        first = int(rng.integers(0, count - round(count / 3) + 1))
        bleeds = patient % BLEEDS_EVERY in BLEEDS_AT
        for index in range(count):
            seen = bleeds and first <= index < first + round(count / 3)
            rows.append((patient, index, kinds if seen else ()))
        patient += 1
    return rows[:n]


def draw(patient, index, present, seed, size):
    """Draw one slice in Hounsfield units.

    Args:
        patient: int; its slices share a head and a place for each lesion.
        index: int, the slice.
        present: subtypes of hemorrhage to be seen.
        seed: int >= 0.
        size: int, pixels a side.

    Returns:
        `(name, values, bits)`: the file's name, `(size, size)` stored values (Hounsfield units
        plus 1024), uint16 with 12 bits or int16 with 16, and those bits.
    """
    anatomy = generator(seed, "rsna_hemorrhage", patient)
    rng = generator(seed, "rsna_hemorrhage", patient, index)
    name = f"ID_{rng.integers(16**9):09x}"
    head = _head(anatomy, rng)
    lesions = [_lesion(anatomy, kind) for kind in SUBTYPES + RESEMBLING]
    seen = [
        lesion._replace(strength=lesion.strength * rng.uniform(0.7, 1.2))
        for lesion in lesions
        if lesion.kind in present or (lesion.kind in RESEMBLING and rng.random() < 0.4)
    ]
    values = _scan(rng, head, seen, size)
    if patient % SIGNED_EVERY != SIGNED_AT:
        return name, (values + 1024).astype(np.uint16), 12
    y, x = np.mgrid[:size, :size] * 2 / (size - 1) - 1
    values[np.hypot(x, y) > 1] = -2000 - 1024  # outside the round field of view
    return name, (values + 1024).astype(np.int16), 16


def _head(anatomy, rng):
    """The patient's head as this slice cuts it."""
    cut = rng.uniform(0.92, 1.04)
    return Head(
        width=cut * anatomy.uniform(0.62, 0.70),
        length=cut * anatomy.uniform(0.78, 0.86),
        skull=anatomy.uniform(0.05, 0.08),
        bone=anatomy.uniform(800, 1400),
        ventricles=rng.uniform(0.7, 1.1) * anatomy.uniform(0.8, 1.3),
        gap=anatomy.uniform(0.01, 0.04),
        tilt=anatomy.normal(0, 0.06),
        x=anatomy.normal(0, 0.03),
        y=anatomy.normal(0, 0.03),
    )


def _lesion(rng, kind):
    return Lesion(
        kind=kind,
        angle=rng.choice([-1, 1]) * rng.uniform(0.3, 0.8) * np.pi,
        depth=rng.uniform(0.35, 0.7),
        size=rng.uniform(0.07, 0.15),
        strength=rng.uniform(14, 34),
    )


def _scan(rng, head, lesions, size):
    """Hounsfield units of one slice, whole numbers `(size, size)`."""
    y, x = np.mgrid[:size, :size] * 2 / (size - 1) - 1
    x, y = x - head.x, y - head.y
    cos, sin = np.cos(head.tilt), np.sin(head.tilt)
    x, y = cos * x + sin * y, cos * y - sin * x
    radius = np.hypot(x / head.width, y / head.length)
    inside = (1 - radius) * head.width - head.skull  # distance to the inner table, about
    angle = np.arctan2(x, -y)
    brain = _brain(rng, head, x, y, inside)
    for lesion in lesions:
        brain = brain + _seen(rng, lesion, head, x, y, inside, angle)
    held = inside > 0
    mean, sd = rng.normal(BRAIN[0], 1.5), rng.normal(BRAIN[1], 0.7)
    grey = tone(brain[held], mean * 255 / SHOWN, sd * 255 / SHOWN)
    values = np.full(x.shape, -1000.0)
    values[inside > -head.skull - 0.06] = 20  # scalp
    values[inside > -head.skull] = head.bone
    values[held] = grey * (SHOWN / 255)
    return np.rint(values + rng.normal(0, 2.5, x.shape)).clip(-1024, 3000)


def _brain(rng, head, x, y, inside):
    """Brain and the fluid in and around it."""
    size = x.shape[1]
    tissue = 34 + 1.5 * smooth_noise(rng, x.shape, 0.03 * size)
    tissue += 4 * soft_step(0.12 - inside, 0.03) + 6 * bump(x, 0.012)  # cortex, falx
    furrows = soft_step(smooth_noise(rng, x.shape, 0.02 * size), 0.5)
    fluid = soft_step(head.gap - inside, 0.02) * furrows
    fluid = np.maximum(fluid, _ventricles(head, x, y))
    return tissue + fluid * (8 - tissue)


def _ventricles(head, x, y):
    """Where the two lateral ventricles lie, 0 to 1."""
    bow = abs(x) - 0.07 - 0.25 * (y - 0.02) ** 2
    across, along = bow / (0.05 * head.ventricles), (y - 0.02) / (0.28 * head.ventricles)
    return soft_step(1 - np.hypot(across, along), 0.2)


def _seen(rng, lesion, head, x, y, inside, angle):
    """What a lesion adds to the brain, in Hounsfield units."""
    turn = np.angle(np.exp(1j * (angle - lesion.angle)))
    middle_x = lesion.depth * head.width * np.sin(lesion.angle)
    middle_y = -lesion.depth * head.length * np.cos(lesion.angle)
    away = np.hypot(x - middle_x, (y - middle_y) / 1.2)
    ragged = 1 + 0.2 * smooth_noise(rng, x.shape, 0.04 * x.shape[1])
    match lesion.kind:
        case "epidural":  # a lens
            where = soft_step(lesion.size * (1 - (turn / 0.5) ** 2) - inside, 0.015)
        case "subdural":  # a sickle
            where = soft_step(0.5 * lesion.size * (1 - (turn / 1.3) ** 2) - inside, 0.015)
        case "intraparenchymal":
            where = soft_step(lesion.size * ragged - away, 0.02)
            where = where - 0.3 * bump(away - 1.3 * lesion.size, 0.05)  # edema
        case "intraventricular":  # sinks to the back
            where = _ventricles(head, x, y) * soft_step(y + 0.1, 0.05) * 1.6
        case "subarachnoid":  # in the furrows
            furrows = soft_step(smooth_noise(rng, x.shape, 0.02 * x.shape[1]), 0.3)
            where = furrows * bump(turn, 0.9) * soft_step(0.25 - inside, 0.05)
        case "infarct":
            return -12 * soft_step(1.3 * lesion.size * ragged - away, 0.04)
        case "calcification":  # of both choroid plexuses
            return 40 * bump(abs(x) - 0.13, 0.02) * bump(y - 0.2, 0.02)
    return lesion.strength * where


def _save(path, values, bits, name, patient, seed, number):
    rng = generator(seed, "rsna_hemorrhage", patient, "id")
    dicom.write(
        path,
        values,
        key=name,
        bits=bits,
        rle=number % RLE_EVERY == RLE_AT,
        Modality="CT",
        PatientID=f"ID_{rng.integers(16**8):08x}",
        PatientName="PHANTOM^NOBODY",
        BodyPartExamined="HEAD",
        RescaleIntercept=-1024,
        RescaleSlope=1,
        WindowCenter=[36, 600],
        WindowWidth=[80, 2800],
    )
