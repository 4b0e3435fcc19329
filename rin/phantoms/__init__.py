"""Phantoms: synthetic images written exactly as a real download lies on disk."""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rin.phantoms import (
    breast,
    covid19,
    mrnet,
    pediatric,
    radimagenet,
    rsna_hemorrhage,
    rsna_pneumonia,
    sarscov2,
    thyroid,
)

MARKER = "PHANTOM.json"
NOTE = "These are synthetic images. No finding can rest on them."
VERSION = 1  # raise it when the same settings give other bytes, so old folders are replaced


class Writer(NamedTuple):
    """How one task is written, and its defaults."""

    write: Callable  # (root, n, seed, size)
    n: int  # images
    size: int  # longest side in pixels


WRITERS = {
    "breast": Writer(breast.write, n=120, size=160),
    "pediatric": Writer(pediatric.write, n=120, size=160),
    "thyroid": Writer(thyroid.write, n=120, size=160),
    "acl": Writer(mrnet.write_acl, n=120, size=96),
    "meniscus": Writer(mrnet.write_meniscus, n=120, size=96),
    "pneumonia": Writer(rsna_pneumonia.write, n=120, size=160),
    "hemorrhage": Writer(rsna_hemorrhage.write, n=120, size=128),
    "sarscov2": Writer(sarscov2.write, n=120, size=128),
    "covid19": Writer(covid19.write, n=120, size=128),
    "radimagenet": Writer(radimagenet.write, n=240, size=96),
}
TASKS = tuple(WRITERS)


def write(task, root, n=None, seed=0, size=None):
    """Write a task's phantoms in the real dataset's own layout.

    The folder appears complete or not at all. Asked again with the same settings, nothing
    happens; with other settings the old phantoms are replaced.

    Args:
        task: one of `TASKS`.
        root: folder to write; its parents are made.
        n: int, images in all; None means the task's own default.
        seed: int >= 0; the same seed gives the same bytes.
        size: int >= 32, typical longest side in pixels; None means the task's own default.

    Returns:
        `pathlib.Path` of `root`.

    Raises:
        ValueError: unknown task, or a setting out of range.
        FileExistsError: `root` holds anything that is not a phantom.
    """
    settings, folder = _settings(task, n, seed, size), Path(root).resolve()
    if _holds(folder, settings):
        return Path(root)
    fresh = _sibling(folder)
    try:
        fresh.mkdir(parents=True)
        WRITERS[task].write(fresh, settings["n"], seed, settings["size"])
        marker = settings | {"note": NOTE, "files": _files(fresh)}
        (fresh / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
        _swap(fresh, folder, settings)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Path(root)


def _settings(task, n, seed, size):
    """The settings as the marker stores them, checked."""
    if task not in WRITERS:
        raise ValueError(f"`task` should be one of {TASKS}. Received: task={task!r}")
    n = WRITERS[task].n if n is None else n
    size = WRITERS[task].size if size is None else size
    for name, value, least in (("n", n, 1), ("seed", seed, 0), ("size", size, 32)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` should be an int >= {least}. Received: {name}={value!r}")
    return {"task": task, "seed": seed, "n": n, "size": size, "version": VERSION}


def _holds(root, settings):
    """True if `root` is complete with these settings; refuses a folder of anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    if not (root / MARKER).is_file():
        raise FileExistsError(f"{root} holds no {MARKER}, so it may be real data. Choose another.")
    marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
    written, found = set(marker.get("files", [])), set(_files(root))
    foreign = sorted(found - written - {MARKER})
    if foreign:
        raise FileExistsError(f"{root} holds files that are no phantoms, such as {foreign[0]}.")
    return written <= found and all(marker.get(name) == value for name, value in settings.items())


def _files(root):
    """Sorted paths below `root`, with forward slashes; hidden files do not count."""
    paths = [path for path in root.rglob("*") if path.is_file() and path.name[0] != "."]
    return sorted(path.relative_to(root).as_posix() for path in paths)


def _swap(fresh, root, settings):
    """Put `fresh` in the place of `root`; another process may have done the same meanwhile."""
    if _holds(root, settings):
        return
    old = _sibling(root)
    try:
        if root.exists():
            os.replace(root, old)
        os.replace(fresh, root)
    except OSError:
        if not _holds(root, settings):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _sibling(root):
    return root.parent / f".{root.name}.{uuid.uuid4().hex}"
