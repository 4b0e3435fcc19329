"""Knee MR phantoms in the folders, volumes and label csvs of MRNet."""

import numpy as np

from rin.phantoms.draws import apportion, generator
from rin.phantoms.textures import bump, smooth_noise, soft_step, tone

# Layout: Bien et al. 2018, doi:10.1371/journal.pmed.1002699
FOLDER = "MRNet-v1.0"
SUBSETS = {"train": 85, "valid": 15}
FIRST = {"train": 0, "valid": 1130}  # the first exam number of each subset
PLANES = {"axial": 2, "coronal": 2, "sagittal": 1}  # how many times smaller than asked
PER_EXAM = 3  # images the reader takes of an exam: its middle slices
LEAST, MOST = 4, 3900  # images; more of them and train would reach the numbers of valid

# (ACL tear, meniscal tear) of four exams in a row, in an order drawn anew for each four
TEARS = ((0, 0), (0, 1), (1, 0), (1, 1))

# Mean and SD of how far a structure is torn, by label. They overlap: no exam is read off at once.
GAP = {0: (0.18, 0.22), 1: (0.68, 0.28)}  # share of the ligament's darkness that is lost
LINE = {0: (0.10, 0.18), 1: (0.82, 0.26)}  # brightness of a line through a meniscus


def write(root, n, seed, size):
    """Write the exams of `n` images below `root`: three planes, and csvs for three questions.

    The images are the three middle slices of each sagittal volume. When `n` is no multiple of
    three, the last train exam is cut to its one or two middle slices. Both tasks live in the same
    knees, as in the real download. Unlike there, every slice shows the menisci.

    Args:
        root: `pathlib.Path` of an existing folder.
        n: int, 4 to 3,900 images.
        seed: int >= 0.
        size: int, pixels a side of the sagittal slices; the other planes have half as many.

    Raises:
        ValueError: `n` is out of range.
    """
    if not LEAST <= n <= MOST:
        raise ValueError(f"`n` should be {LEAST} to {MOST}. Received: n={n!r}")
    missing = -n % PER_EXAM
    for subset, count in apportion((n + missing) // PER_EXAM, SUBSETS).items():
        for index in range(count):
            cut = (
                PER_EXAM - missing if missing and (subset, index) == ("train", count - 1) else None
            )
            _write_volumes(root / FOLDER / subset, subset, index, seed, size, cut)
        _write_labels(root / FOLDER, subset, count, seed)


write_acl = write_meniscus = write  # one download holds both tasks


def tears(subset, index, seed):
    """Whether one exam's anterior cruciate ligament and meniscus are torn.

    Args:
        subset: "train" or "valid".
        index: int from 0, the exam's place in its subset.
        seed: int >= 0.

    Returns:
        `(acl, meniscus)`, ints in {0, 1}; of every four exams two have each of them.
    """
    order = generator(seed, "mrnet", subset, "tears", index // len(TEARS)).permutation(len(TEARS))
    return TEARS[order[index % len(TEARS)]]


def draw(subset, index, plane, seed, size):
    """Draw one volume: the exam's knee, cut in one plane.

    Args:
        subset: "train" or "valid".
        index: int from 0, the exam's place in its subset.
        plane: "axial", "coronal" or "sagittal".
        seed: int >= 0.
        size: int, pixels a side.

    Returns:
        `(slices, size, size)` uint8, 8 to 10 slices.
    """
    anatomy = generator(seed, "mrnet", subset, index)
    scanner = generator(seed, "mrnet", subset, index, plane)
    acl, meniscus = tears(subset, index, seed)
    x, y, z = _coordinates(anatomy, plane, size)
    signal = _knee(anatomy, x, y, z)
    signal = signal + _ligament(anatomy, acl, x, y, z) + _menisci(anatomy, meniscus, x, y, z)
    signal = signal + 0.04 * smooth_noise(scanner, signal.shape, (0, 0.6, 0.6))
    return np.stack([tone(s, scanner.uniform(60, 95), scanner.uniform(38, 50)) for s in signal])


def _write_volumes(folder, subset, index, seed, size, cut):
    for plane, smaller in PLANES.items():
        (folder / plane).mkdir(parents=True, exist_ok=True)
        volume = draw(subset, index, plane, seed, size // smaller)
        if cut:
            volume = volume[(len(volume) - cut) // 2 :][:cut]
        np.save(folder / plane / f"{FIRST[subset] + index:04d}.npy", volume)


def _write_labels(folder, subset, count, seed):
    """One csv a question, without a header: `0000,1`; a knee with any tear is abnormal."""
    found = [tears(subset, index, seed) for index in range(count)]
    columns = {
        "acl": [acl for acl, _ in found],
        "meniscus": [meniscus for _, meniscus in found],
        "abnormal": [max(both) for both in found],
    }
    for task, labels in columns.items():
        lines = [f"{FIRST[subset] + k:04d},{label}\n" for k, label in enumerate(labels)]
        (folder / f"{subset}-{task}.csv").write_text("".join(lines), encoding="utf-8")


def _coordinates(rng, plane, size):
    """Knee coordinates that broadcast to `(slices, size, size)`.

    x runs from front to back, y from the thigh down, z from side to side, all about −1 to 1.
    """
    along = np.linspace(-0.55, 0.55, rng.integers(8, 11))[:, None, None]
    down, across = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j][:, None]
    x, y, z = {
        "sagittal": (across, down, along),
        "coronal": (along, down, across),
        "axial": (down, along, across),
    }[plane]
    angle, zoom = rng.normal(0, 0.04), rng.uniform(0.94, 1.06)
    x, y = zoom * (x + angle * y), zoom * (y - angle * x)
    return x - rng.normal(0, 0.03), y - rng.normal(0, 0.03), z


def _knee(rng, x, y, z):
    """Signal of leg, muscles, bones, cartilage, joint fluid and patellar tendon."""
    leg = 1 - np.hypot(x / 0.88, z / 0.95)
    thigh = soft_step(-0.3 - x, 0.06) * soft_step(-0.6 - y, 0.1)
    muscle = soft_step(x - 0.42 - 0.1 * y, 0.06) + thigh
    signal = 0.62 + 0.3 * soft_step(0.12 - leg, 0.03) - rng.uniform(0.25, 0.35) * muscle
    femur, tibia, patella = _bones(rng, x, y, z)
    for bone in (femur, tibia, patella):
        marrow = rng.uniform(0.68, 0.80) + 0.5 * bone - 0.55 * bump(bone, 0.025)  # dark cortex
        signal = signal + soft_step(bone + 0.04, 0.015) * (marrow - signal)
    cartilage = bump(np.maximum(femur, tibia) + 0.05, 0.03) * soft_step(0.35 - abs(y), 0.05)
    fluid = rng.uniform(0, 0.35) * bump(x + 0.42, 0.05) * bump(y + 0.55, 0.16)
    front = x + 0.66 - 0.45 * soft_step(y - 0.1, 0.25)
    tendon = (
        bump(front, 0.025) * soft_step(0.3 - abs(y - 0.1), 0.04) * soft_step(0.25 - abs(z), 0.05)
    )
    return soft_step(leg, 0.015) * (signal + 0.15 * cartilage + fluid - 0.5 * tendon)


def _bones(rng, x, y, z):
    """Signed distances to femur, tibia and patella, positive inside."""
    reach, waist = rng.uniform(0.36, 0.40), rng.uniform(0.22, 0.26)
    condyles = reach - np.sqrt((x - 0.08) ** 2 + (y + 0.25) ** 2 + (abs(z) - 0.40) ** 2)
    bridge = waist + 0.04 - np.sqrt((x - 0.04) ** 2 + (y + 0.52) ** 2 + (z / 1.6) ** 2)
    shaft = np.minimum(waist - np.hypot(x - 0.02, z / 1.4), -0.5 - y)
    plateau = rng.uniform(0.40, 0.45) - 0.18 * np.clip(y - 0.14, 0, 1)
    tibia = np.minimum(plateau - np.hypot(x - 0.04, z / 1.7), y - 0.16)
    kneecap = np.sqrt(((x + 0.6) / 0.5) ** 2 + (y + 0.32) ** 2 + (z / 1.3) ** 2)
    femur = np.maximum(np.maximum(condyles, bridge), shaft)
    return femur, tibia, 0.5 * (rng.uniform(0.19, 0.23) - kneecap)


def _ligament(rng, torn, x, y, z):
    """Signal that the anterior cruciate ligament takes away, and that its tear gives back."""
    gap, where = np.clip(rng.normal(*GAP[torn]), 0, 1.2), rng.uniform(0.35, 0.65)
    # from the femur, behind and above, to the tibia, in front and below
    place = ((0.20 - x) * 0.32 + (y + 0.20) * 0.34) / (0.32**2 + 0.34**2)
    aside = np.hypot(0.20 - x - 0.32 * place, y + 0.20 - 0.34 * place)
    within = soft_step(0.5 - abs(place - 0.5), 0.06) * soft_step(0.26 - abs(z), 0.05)
    kept = 1 - gap * bump(place - where, 0.28)
    return within * (0.25 * gap * bump(aside, 0.10) - 0.55 * kept * bump(aside, 0.045))


def _menisci(rng, torn, x, y, z):
    """Signal that the dark wedges on the tibia take away; a tear is a bright line behind."""
    line = np.clip(rng.normal(*LINE[torn]), 0, 1.2)
    slope, height = rng.uniform(-0.5, 0.5), rng.uniform(0.04, 0.07)
    out, up = np.hypot(x - 0.06, z / 1.7) - 0.14, 0.14 - y  # from the rim's centre, from the bone
    top = np.minimum(np.minimum(0.7 * out, 0.30 - out), 0.15)
    wedge = soft_step(top - up, 0.012) * soft_step(up, 0.012)
    streak = bump(up - height - slope * (out - 0.18), 0.02) * soft_step(x - 0.06, 0.02)
    return 0.5 * wedge * (1.5 * line * streak - 1)
