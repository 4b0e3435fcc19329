"""What a reader raises, and what readers share: finding the dataset and listing its images."""

import os
from pathlib import Path

from rin import dicom

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm"})


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
    said = {
        why: {"n": len(names), "examples": [str(name) for name in names[:3]]}
        for why, names in excluded.items()
        if len(names)
    }
    frame.attrs["excluded"] = frame.attrs.get("excluded", {}) | said
    return frame


def window_text(window):
    """A manifest's `window` cell, "40/80", of (level, width).

    Raises:
        ValueError: `window` is none.
    """
    level, width = dicom.check_window(window)
    return f"{level:g}/{width:g}"


def list_images(folder, deep=False):
    """Image files of a folder, in order of their paths; hidden files and folders are left out.

    A link counts under its own name; one that leads nowhere is listed too, so that it is reported
    as missing and not passed over.

    Args:
        folder: where to look.
        deep: whether to look into folders below as well, links to folders included.
    """
    found, seen = [], set()
    for home, below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(home)  # a link may lead back up
        go_on = deep and real not in seen
        below[:] = sorted(n for n in below if go_on and not n.startswith("."))
        if real not in seen:
            found += [Path(home, n) for n in names if not n.startswith(".")]
        seen.add(real)
    return sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)


def relative(path, root):
    """A path under `root` as the manifest writes it: with forward slashes."""
    return Path(path).relative_to(root).as_posix()
