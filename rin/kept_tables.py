"""Tables: several of them in one folder, all of them written before the first one is replaced."""

import os
import tempfile
from pathlib import Path

import pandas as pd

from rin import paths

KEYS = ("learning_rate",)  # runs are told apart by these: every digit counts


def write(frames, folder):
    """Write tables: all of them are complete before the first one is replaced.

    Each is replaced whole. A process that is killed between two replacements leaves new tables
    beside old ones; running it again mends that.

    Args:
        frames: dict from file name to DataFrame; ".csv" (six digits, but counts and the columns
            `KEYS` have all of theirs) or ".parquet", no index.
        folder: from the project's root, unless absolute; made if it is not there.
    """
    folder = paths.resolve(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".keep-") as work:
        for name, frame in frames.items():
            fresh = Path(work) / name
            if fresh.suffix == ".csv":
                text = _with_whole_keys(frame).to_csv(index=False, float_format=_six_digits)
                fresh.write_text(text, encoding="utf-8")
            else:
                frame.to_parquet(fresh, index=False)
        for name in frames:
            os.replace(Path(work) / name, folder / name)


def read(folder, names, error=FileNotFoundError, maker="its benchmark"):
    """Read tables that `write` kept.

    Args:
        folder: from the project's root, unless absolute.
        names: file names.
        error: raised, naming the files, where one is not there.
        maker: what writes these tables, for that message.

    Returns:
        List of DataFrames in the order of `names`.
    """
    folder = paths.resolve(folder)
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise error(f"{folder}: no {', '.join(absent)}; {maker} writes these tables")
    files = [folder / name for name in names]
    return [pd.read_csv(f) if f.suffix == ".csv" else pd.read_parquet(f) for f in files]


def _with_whole_keys(frame):
    """The table with its keys as text: short, or with all digits where short is another number."""
    keys = [name for name in KEYS if name in frame]
    return frame.assign(**{name: [_whole(value) for value in frame[name]] for name in keys})


def _whole(value):
    if pd.isna(value):
        return None
    short = _six_digits(float(value))
    return short if float(short) == value else repr(float(value))


def _six_digits(value):
    """Six digits of what was measured; a whole number, as a count is, in full."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 2**53 else f"{value:.6g}"
