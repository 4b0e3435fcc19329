"""Tables: several of them in one folder, kept whole or not at all."""

import os
import tempfile
from pathlib import Path

import pandas as pd

from rin import paths


def write(frames, folder):
    """Write tables: all of them are complete before the first one is replaced.

    Args:
        frames: dict from file name to DataFrame; ".csv" (six digits) or ".parquet", no index.
        folder: made if it is not there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".keep-") as work:
        for name, frame in frames.items():
            fresh = Path(work) / name
            if fresh.suffix == ".csv":
                fresh.write_text(frame.to_csv(index=False, float_format="%.6g"), encoding="utf-8")
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
