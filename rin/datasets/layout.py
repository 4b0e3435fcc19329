"""What a reader raises, and what readers share: finding the dataset and listing its images."""

import os
import re
from pathlib import Path

from rin import dicom, images, phantoms
from rin import manifest as manifests

IMAGE_SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .tif .tiff .bmp .webp .pgm .ppm .pbm .pnm .npy .dcm .dicom".split()
)
# how images begin; a name without suffix, or one that ends in a number, does not say what it is
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", images.NUMPY)
START = re.compile(rb"P[1-6]\s|BM.{4}\0{4}|RIFF.{4}WEBP", re.S)
SUFFIX = re.compile(r"\.[a-z0-9]{1,5}|no suffix")
SYSTEM = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}
SYSTEM |= {phantoms.MARKER.lower()}  # and what says that images are phantoms


class DatasetError(ValueError):
    """A raw dataset that is missing or not in the layout its reader expects."""


def find_home(root, name, folders):
    """The folder that holds `folders`: `root/name`, or `root` itself.

    Raises:
        DatasetError: neither holds all of them; says what was expected and what is there.
    """
    for home in (root / name, root):
        if all((home / folder).is_dir() for folder in folders):
            return home
    found = sorted(path.name for path in root.iterdir())[:8]
    raise DatasetError(
        f"{root}: expected {name}/ with the folders {', '.join(folders)}; found {found}"
    )


def with_excluded(frame, excluded):
    """The frame, with what was left out of it added to `frame.attrs["excluded"]`.

    Args:
        frame: rows of a reader.
        excluded: dict from a reason, a phrase such as "no TI-RADS", to the list of what was left
            out for it: paths or names. Reasons with an empty list are dropped.

    Returns:
        The frame; `attrs["excluded"]` maps each reason to `{"n": count, "examples": first three}`.
    """
    frame.attrs["excluded"] = frame.attrs.get("excluded", {}) | _counted(excluded)
    return frame


def with_noted(frame, noted):
    """The frame, with what stays but is worth knowing added to `frame.attrs["noted"]`.

    Args:
        frame, noted: as in `with_excluded`; a reason is such as "repaired: …" or "empty masks".
    """
    frame.attrs["noted"] = frame.attrs.get("noted", {}) | _counted(noted)
    return frame


def _counted(reasons):
    return {
        why: {"n": len(names), "examples": [str(name) for name in names[:3]]}
        for why, names in reasons.items()
        if len(names)
    }


def with_unnamed(frame, root):
    """A csv's frame, with what lies beside its images and is in none of its rows counted."""
    named = {*frame["image"].dropna()}
    named |= {m for cell in frame.get("mask", ()) for m in manifests.masks(cell)}
    folders = {name.rpartition("/")[0] for name in named if not re.search(manifests.OUTSIDE, name)}
    images, others = [], []
    for folder in sorted(folders):
        for found, kind in zip(list_files(Path(root) / folder), (images, others), strict=True):
            kind += [relative(file, root) for file in found]
    excluded = {"images in no row of the csv": sorted({*images} - named)}
    others = {n for n in others if not n.lower().endswith(".csv")} - named
    return with_excluded(frame, excluded | not_read(others))


def not_read(names):
    """Files that are no images by suffix, for `with_excluded`: reason -> names.

    What is no plain suffix may be a part of a name, as in `ward 3.Jane Doe`, and is not told.
    """
    found = {}
    for name in sorted(map(str, names)):
        suffix = _suffix(name) or "no suffix"
        suffix = suffix if SUFFIX.fullmatch(suffix) else "other suffix"
        found.setdefault(f"files not read: {suffix}", []).append(name)
    return found


def window_text(window):
    """A manifest's `window` cell, "40/80", of (level, width).

    Raises:
        ValueError: `window` is none.
    """
    level, width = dicom.check_window(window)
    return f"{level:g}/{width:g}"


def is_hidden(name):
    """Whether a file or folder is hidden, or one that an operating system leaves behind."""
    return name.startswith(".") or name.lower() in SYSTEM


def is_image(path):
    """Whether a file is an image: by its suffix, or by its first bytes where it has none."""
    suffix = _suffix(path)
    if suffix:
        return suffix in IMAGE_SUFFIXES
    try:
        with open(path, "rb") as file:
            start = file.read(132)
    except OSError:  # a link that leads nowhere, or a pipe
        return False
    return start[128:] == b"DICM" or start.startswith(STARTS) or bool(START.match(start))


def list_files(folder, deep=False):
    """Files of a folder, in order of their paths: its images, and those that are none.

    Hidden files and folders, and those of an operating system, are passed over. A link counts
    under its own name; one that leads nowhere is listed too, so that it is reported as missing
    and not passed over.

    Args:
        folder: where to look.
        deep: whether to look into folders below as well, links to folders included.

    Returns:
        `(images, others)`: two lists of paths.
    """
    found = {True: [], False: []}
    for home, names in _walk(folder, deep):
        for name in names:
            path = os.path.join(home, name)
            found[is_image(path)].append(Path(path))
    return sorted(found[True]), sorted(found[False])


def list_images(folder, deep=False):
    """The images of `list_files`."""
    return list_files(folder, deep)[0]


def list_paths(root):
    """As `list_files`, of every folder below: two sorted lists of paths under `root`, as text.

    No object a file: the large tasks have half a million.
    """
    found = {True: [], False: []}
    for home, names in _walk(root, deep=True):
        prefix = "" if home == str(root) else Path(home).relative_to(root).as_posix() + "/"
        for name in names:
            found[is_image(os.path.join(home, name))].append(prefix + name)
    return sorted(found[True]), sorted(found[False])


def _walk(folder, deep):
    """Each folder with the names of its files."""
    seen = set()
    for home, below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(home)  # a link may lead back up
        below[:] = sorted(n for n in below if deep and real not in seen and not is_hidden(n))
        if real not in seen:
            yield home, [name for name in names if not is_hidden(name)]
        seen.add(real)


def _suffix(path):
    """A file's suffix in lower case; "" for none, and for a number as in a DICOM UID."""
    suffix = os.path.splitext(path)[1].lower()
    return "" if suffix[1:].isdigit() else suffix


def relative(path, root):
    """A path under `root` as the manifest writes it: with forward slashes."""
    return Path(path).relative_to(root).as_posix()
