"""Own images: which files a reader means, of which modality they are, and their pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rin import dicom, images, paths
from rin.datasets.layout import list_files

# DICOM's words, and those readers say; CR and DX are both plain radiographs
MODALITIES = {"DX": "CR", "RADIOGRAPH": "CR", "X-RAY": "CR", "XRAY": "CR"}
MODALITIES |= {"ULTRASOUND": "US", "MRI": "MR"}


class PredictError(ValueError):
    """A model folder, images or a modality that can't be used; says what was expected."""


@dataclass(frozen=True)
class Read:
    """Images as decoded from the reader's files, in their order.

    Attributes:
        files: paths, or `volume.npy#12` for a slice.
        pixels: `(n, size, size)` uint8.
        sizes: list of (width, height) as decoded.
        image_ids: 16 hexadecimal digits each.
        bad: dict from an unreadable file to the reason.
    """

    files: list
    pixels: np.ndarray
    sizes: list
    image_ids: list
    bad: dict


def listed(files):
    """The images meant by a file, a list of files or a folder: paths, a volume slice by slice.

    Of a folder every file is meant, but those that are hidden or that an operating system leaves.

    Raises:
        PredictError: there are none.
    """
    several = files if isinstance(files, list | tuple) else [files]
    found = []
    for file in map(paths.resolve, several):
        inside = sorted(sum(list_files(file, deep=True), [])) if file.is_dir() else [file]
        for one in inside:
            found += _slices(one) if one.suffix.lower() == ".npy" else [one]
    if not found:
        raise PredictError("`files` should be a file, a list of files or a folder that holds some")
    return list(dict.fromkeys(found))


def check_modality(names, expected, stated=None):
    """Refuse images of another modality than the card's.

    Args:
        names: of `listed`.
        expected: modalities of the card, such as ["US"]; empty: the card says none.
        stated: what the caller says the images are; None for what the headers say.

    Raises:
        PredictError: the first file that is of another modality, or of none that is known, whether
            or not it can be read.
    """
    expected = [code(one) for one in expected]
    meant = " or ".join(expected)
    if expected and stated and code(stated) not in expected:
        raise PredictError(
            f"`modality` should be {meant}: this network was trained on {meant} alone. "
            f"Received: modality={stated!r}"
        )
    for name in names if expected else ():
        found = _header(name)
        if not found and not stated:
            raise PredictError(
                f"{name.name}: the file does not say its modality; expected {meant}: state it with "
                f'modality="{expected[0]}" if that is what it is'
            )
        if found and code(found) not in expected:
            raise PredictError(f"{name.name}: expected modality {meant}, found {found}")


def read(names, card):
    """Decode images as the training images were; unreadable ones are named, not raised.

    Args:
        names: of `listed`.
        card: of the network.

    Raises:
        PredictError: none of them can be read.
    """
    facts, good, bad = card["network"], [], {}
    # a run that was not exported does not say how its images were resized
    how = facts["interpolation"] if facts["interpolation"] in images.INTERPOLATIONS else "bilinear"
    for name in names:
        try:
            image = images.load(name, window=facts["window"], outside=facts.get("outside"))
        except images.ImageError as error:
            reason = next(iter(error.problems.values()))
            for known in (str(name), name.name):  # tables and pages hold no file names
                reason = reason.replace(known, "this file")
            bad[name] = reason
            continue
        small = images.resize(image, facts["image_size"], how)
        good.append((name, small, image.shape[::-1], images.image_id(image)))
    if not good:
        lines = [f"{name.name}: {reason}" for name, reason in bad.items()]
        raise PredictError("\n".join(["no image can be read", *lines]))
    files, pixels, sizes, ids = zip(*good, strict=True)
    return Read(list(files), np.stack(pixels), list(sizes), list(ids), bad)


def _slices(file):
    """The slices of a volume; the file itself where it is none, for `read` to name."""
    try:
        volume = np.lib.format.open_memmap(file, mode="r")  # np.load would take a renamed .npz too
    except (OSError, ValueError):
        return [file]
    return [Path(f"{file}#{n}") for n in range(len(volume))] if volume.ndim == 3 else [file]


def _header(name):
    """The modality that a DICOM header says; "" where there is none, or no such file."""
    try:
        return dicom.tag(name, "Modality") if dicom.is_dicom(name) else ""
    except (OSError, dicom.DicomError):
        return ""  # `read` names it


def code(modality):
    """DICOM's word for a modality: "US" for "ultrasound", "CR" for "X-ray" and "DX"."""
    word = str(modality).strip().upper()
    return MODALITIES.get(word, word)
