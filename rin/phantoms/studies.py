"""Phantom studies: report impressions, key images, a second reader's verdicts; no pixels."""

import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from rin import paths
from rin.phantoms import MARKER, NOTE
from rin.phantoms.draws import generator

SIDE = 256  # pixels a side of the images whose regions are marked
ABNORMAL = 0.55  # share of studies with a finding
MARKED = 0.9  # share of those whose finding a reader marked in the key images
TRAPPED = 0.3  # share of those whose impression holds "normal" or "unremarkable" all the same
SAID = 0.85  # share of normal studies whose impression says so in one of the two words

N_MARKED = (2, 6)  # key images of a study with a marked finding
N_WHOLE = (20, 42)  # images of a study taken whole; the paper's normal studies have 31 on average


class Site(NamedTuple):
    """What a report about one region may say."""

    exam: str
    calm: tuple  # structures that can be normal beside a finding
    findings: dict  # class name, as the release spells it -> phrases


SITES = {
    ("MR", "knee"): Site(
        "MRI of the knee",
        ("alignment", "extensor mechanism", "marrow signal"),
        {
            "acl_pathology": ("full-thickness ACL tear", "sprain of the ACL"),
            "meniscal_abnormality": ("bucket-handle tear of the medial meniscus", "torn meniscus"),
        },
    ),
    ("MR", "brain"): Site(
        "MRI of the brain",
        ("ventricular size", "flow voids", "posterior fossa"),
        {
            "acute_infarct": ("acute infarct of the left insula", "{mm} mm focus of infarction"),
            "white_matter_changes": ("patchy white matter changes", "confluent leukoaraiosis"),
        },
    ),
    ("MR", "spine"): Site(
        "MRI of the lumbar spine",
        ("conus", "vertebral height", "cord signal"),
        {
            "disc_pathology": ("disc protrusion at L4-L5", "{mm} mm disc extrusion"),
            "scoliosis": ("levoconvex scoliosis", "S-shaped scoliosis"),
        },
    ),
    ("CT", "lung"): Site(
        "CT of the chest",
        ("heart size", "airway", "mediastinum"),
        {
            "Nodule": ("{mm} mm lung nodule", "{mm} mm ground-glass nodule"),
            "Airspace_opacity": ("consolidation of the right lower lobe", "airspace opacity"),
        },
    ),
}
TEMPLATES = {
    "normal, said": (
        "Normal examination.",
        "Normal {exam}.",
        "Unremarkable {exam}.",
        "{Calm} unremarkable. No acute abnormality.",
        "{exam} within normal limits.",
    ),
    "normal, unsaid": (
        "No acute abnormality.",
        "Negative {exam}.",
        "No significant finding on this {exam}.",
    ),
    "abnormal, trapped": (
        "Normal {calm}. {Finding}.",
        "Otherwise unremarkable; {finding}.",
        "{Finding}. The {calm} is unremarkable.",
        "The {calm} is not normal: {finding}.",
        "{Finding}; remaining structures normal.",
    ),
    "abnormal, plain": (
        "{Finding}.",
        "Abnormal signal, in keeping with {finding}.",
        "Abnormal {calm}. {Finding}.",
        "Findings of {finding}.",
    ),
}


def write(root, n_studies, seed):
    """Write `studies.csv`, `key_images.csv` and `reviews.csv` below `root`.

    `studies.csv`: study, patient, modality, anatomy, impression; some patients have two studies.
    `key_images.csv`: study, image, x, y, width, height (pixels, from the upper left corner of
    256 × 256) and finding; region and finding are empty where no reader marked one.
    `reviews.csv`: study and normal, a second reader's verdict on every study.

    Args:
        root: folder to write; its parents are made.
        n_studies: int >= 1; a study does not depend on how many are written.
        seed: int >= 0.

    Returns:
        `pathlib.Path` of `root`, marked as phantoms (see `rin.datasets.is_phantom`).

    Raises:
        FileExistsError: `root` holds anything that is not a phantom.
    """
    root = Path(root)
    if root.is_dir() and any(root.iterdir()) and not (root / MARKER).is_file():
        raise FileExistsError(f"{root} holds no {MARKER}, so it may be real data. Choose another.")
    settings = {"task": "studies", "seed": seed, "n": n_studies, "note": NOTE}
    drawn = [_draw(number, seed) for number in range(n_studies)]
    tables = {
        "studies.csv": pd.DataFrame([study for study, _, _ in drawn]),
        "key_images.csv": pd.DataFrame([image for _, images, _ in drawn for image in images]),
        "reviews.csv": pd.DataFrame([verdict for _, _, verdict in drawn]),
    }
    _replace(root / MARKER, json.dumps(settings, indent=1) + "\n")
    for name, table in tables.items():
        _replace(root / name, table.to_csv(index=False))
    return root


def _draw(number, seed):
    """One study: its row, the rows of its images, and what the second reader says."""
    rng = generator(seed, "studies", number)
    (modality, anatomy), site = list(SITES.items())[rng.integers(len(SITES))]
    abnormal = rng.random() < ABNORMAL
    finding = str(rng.choice(list(site.findings))) if abnormal else None
    study = {
        "study": f"s{number:05d}",
        "patient": f"r{number * 3 // 4:05d}",  # of four studies, two are one patient's
        "modality": modality,
        "anatomy": anatomy,
        "impression": _impression(rng, site, finding),
    }
    marked = finding is not None and rng.random() < MARKED
    n_images = rng.integers(*(N_MARKED if marked else N_WHOLE), endpoint=True)
    names = [f"{anatomy}{number * 50 + k:06d}.png" for k in range(n_images)]
    regions = [_region(rng) | {"finding": finding} if marked else {} for _ in names]
    rows = [
        {"study": study["study"], "image": name} | dict.fromkeys(("x", "y", "width", "height"))
        | {"finding": None} | region
        for name, region in zip(names, regions, strict=True)
    ]  # fmt: skip
    return study, rows, {"study": study["study"], "normal": finding is None}


def _impression(rng, site, finding):
    if finding is None:
        kind = "normal, said" if rng.random() < SAID else "normal, unsaid"
    else:
        kind = "abnormal, trapped" if rng.random() < TRAPPED else "abnormal, plain"
    phrases = site.findings.get(finding, ("",))
    said = str(rng.choice(phrases)).format(mm=rng.integers(3, 15))
    calm = str(rng.choice(site.calm))
    words = {"exam": site.exam, "calm": calm, "finding": said}
    upper = {"Calm": _capital(calm), "Finding": _capital(said)}
    return str(rng.choice(TEMPLATES[kind])).format(**words, **upper)


def _region(rng):
    width, height = rng.integers(16, 64, 2)
    x, y = rng.integers(0, [SIDE - width, SIDE - height])
    return {"x": int(x), "y": int(y), "width": int(width), "height": int(height)}


def _capital(text):
    return text[:1].upper() + text[1:]


def _replace(file, text):
    with paths.replacing(file) as work:
        work.write_text(text, encoding="utf-8")
