"""Chest radiograph phantoms as DICOM files and csv lists of the RSNA 2018 challenge."""

import uuid

import numpy as np
import pandas as pd
from PIL import Image

from rin import dicom
from rin.phantoms import pediatric
from rin.phantoms.draws import apportion, generator
from rin.phantoms.textures import bump, smooth_noise, tone

# Layout and class mix: Shih et al. 2019, doi:10.1148/ryai.2019180041
FOLDER, LABELS = "stage_2_train_images", "stage_2_train_labels.csv"
KINDS = "stage_2_detailed_class_info.csv"
IMAGES = {"Normal": 8851, "No Lung Opacity / Not Normal": 11821, "Lung Opacity": 6012}
PNEUMONIA = "Lung Opacity"
BOX = ["x", "y", "width", "height"]

# Mean and SD of an opacity's strength, in SDs of the image's grey levels, and how flat it is
STRENGTH = {"Normal": (0.1, 0.1), "No Lung Opacity / Not Normal": (0.5, 0.3), PNEUMONIA: (1.1, 0.4)}
FLATNESS = {"Normal": 1.0, "No Lung Opacity / Not Normal": 0.25, PNEUMONIA: 0.8}  # bands are flat
RLE_EVERY, RLE_AT = 10, 3  # images 3, 13, 23, ... of a kind are compressed
INVERTED_EVERY, INVERTED_AT = 10, 7  # images 7, 17, 27, ... are MONOCHROME1


def write(root, n, seed, size):
    """Write `n` images, one a patient, and the two lists below `root`.

    Args:
        root: `pathlib.Path` of an existing folder.
        n: int >= 3, images in all.
        seed: int >= 0.
        size: int, pixels a side; all images are square, as the real ones.
    """
    (root / FOLDER).mkdir()
    rows = []
    for kind, count in apportion(n, IMAGES).items():
        for index in range(1, count + 1):
            name, image, boxes = draw(kind, index, seed, size)
            _save(root / FOLDER / f"{name}.dcm", name, image, index)
            cells = {"patientId": name, "class": kind, "Target": int(kind == PNEUMONIA)}
            rows += [cells | dict(zip(BOX, box, strict=True)) for box in boxes or [[None] * 4]]
    table = pd.DataFrame(rows).sort_values("patientId", kind="stable")
    table[["patientId", *BOX, "Target"]].to_csv(root / LABELS, index=False)
    table[["patientId", "class"]].to_csv(root / KINDS, index=False)


def draw(kind, index, seed, size):
    """Draw one radiograph: a chest with opacities, boxed where they are pneumonia.

    Args:
        kind: a key of `IMAGES`.
        index: int from 1, the image's number among its kind.
        seed: int >= 0.
        size: int, pixels a side.

    Returns:
        `(name, image, boxes)`: the patientId, `(size, size)` uint8, and a list of
        `(x, y, width, height)` floats in pixels, empty without pneumonia.
    """
    rng = generator(seed, "rsna_pneumonia", kind, index)
    name = str(uuid.UUID(bytes=rng.bytes(16), version=4))
    chest = pediatric.draw(kind, "NORMAL", index, name, seed, size)
    image = np.asarray(Image.fromarray(chest).resize((size, size)), float)
    added, boxes = _opacities(rng, kind, size)
    image = image + image.std() * added
    boxes = boxes if kind == PNEUMONIA else []
    return name, tone(image, mean=rng.uniform(105, 140), sd=rng.uniform(48, 62)), boxes


def _opacities(rng, kind, size):
    """What one or two opacities add, in SDs, and the box of each."""
    y, x = np.mgrid[:size, :size] / size
    cloud = 1 + 0.3 * smooth_noise(rng, x.shape, 0.03 * size)
    added, boxes = np.zeros(x.shape), []
    for side in rng.permutation([-1, 1])[: rng.integers(1, 3)]:
        strength = max(0, rng.normal(*STRENGTH[kind]))
        width = rng.uniform(0.05, 0.11)
        height = width * FLATNESS[kind]
        left = 0.5 + side * rng.uniform(0.16, 0.26)
        top = rng.uniform(0.32, 0.66)
        added += strength * bump(x - left, width) * bump(y - top, height) * cloud
        box = np.array([left - 1.5 * width, top - 1.5 * height, 3 * width, 3 * height]) * size
        boxes.append([round(float(edge), 1) for edge in box])
    return added, boxes


def _save(path, name, image, index):
    inverted = index % INVERTED_EVERY == INVERTED_AT
    dicom.write(
        path,
        255 - image if inverted else image,
        key=name,
        rle=index % RLE_EVERY == RLE_AT,
        Modality="CR",
        PatientID=name,
        PatientName="PHANTOM^NOBODY",
        BodyPartExamined="CHEST",
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
    )
