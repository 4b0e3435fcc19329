"""What the benchmarks share: the images they measure on, the hardware, the tables they leave."""

import datetime
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from rin import paths, records


def thin(frame, n):
    """`n` rows spread evenly over a manifest, all of them without `n`: classes keep their shares.

    Raises:
        ValueError: there are fewer.
    """
    if n is None:
        return frame
    if not 1 <= n <= len(frame):
        raise ValueError(f"`--n-images` should be 1 to {len(frame)}. Received: {n}")
    rows = np.linspace(0, len(frame) - 1, n).round().astype(int)
    return frame.iloc[rows].reset_index(drop=True)


def hardware():
    """One line: processor, cores, memory and accelerators; no name of the machine."""
    found = records.environment()["hardware"]
    parts = [f"{found['n_cores']} cores {found['processor']}", f"{found['memory_gib']:.0f} GiB"]
    return ", ".join([*parts, *found["accelerators"]])


def keep(row, file, key):
    """Add a measured row to a csv, with date and hardware; it replaces the row of the same key.

    Args:
        row: dict from column to value.
        file: the csv; None keeps nothing.
        key: the columns that say what was measured. The hardware is always one of them.
    """
    if file is None:
        return
    new = pd.DataFrame([row | {"measured": str(datetime.date.today()), "hardware": hardware()}])
    key = [*key, "hardware"]
    if Path(file).is_file():
        old = pd.read_csv(file)
        same = old[key].astype(str).apply(tuple, axis=1).isin(new[key].astype(str).apply(tuple, 1))
        new = pd.concat([old[~same], new], ignore_index=True)
    write(new, file)


def write(frame, file):
    """A csv, whole or not at all."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with paths.replacing(Path(file)) as work:
        work.write_text(frame.to_csv(index=False))


@contextmanager
def scratch(folder=None):
    """A temporary folder, below `folder` where one is given, that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        yield Path(home)
