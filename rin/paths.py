"""Where things are: the project's root and the folders under it, whatever the working directory."""

import contextlib
import os
import re
import uuid
from pathlib import Path

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}(\.\w+)?")  # what `replacing` calls its work


def root():
    """The project's root: the nearest folder that holds `_toc.yml` and `rin/`.

    papermill runs a page in the caller's folder, nbval in the page's own, so the search goes up
    from the working directory first and falls back to the checkout this file lies in.

    Raises:
        FileNotFoundError: neither the working directory nor this file lies in the project.
    """
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "_toc.yml").is_file() and (folder / "rin").is_dir():
                return folder
    raise FileNotFoundError(
        f"no RadImageNet Book around {Path.cwd()}: expected a folder with _toc.yml and rin/"
    )


def resolve(path):
    """An absolute `Path`; a relative one is taken from the project's root."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else root() / path


@contextlib.contextmanager
def replacing(path):
    """Write a file whole or not at all: yields a temporary path, moved onto `path` at the end.

    A crash or an error inside the block leaves what stood at `path` before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def tidy(folder):
    """Remove what a killed `replacing` left in a folder that no other process writes to."""
    for file in Path(folder).glob(".*"):
        if UNFINISHED.fullmatch(file.name):
            file.unlink(missing_ok=True)
