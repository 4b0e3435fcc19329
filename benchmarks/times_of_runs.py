"""How long the runs of a folder took, summed from their records: one row a task, backbone and init.

    python benchmarks/times_of_runs.py runs/reduced-data [--csv FILE]

A run on a view bank counts its own training and its share of the bank's passes, so the sum is what
a group took from its first image to its last prediction, but for building the networks.
"""

import argparse
from pathlib import Path

import measured

from rin import records


def times(folder):
    """DataFrame task, backbone, init, n_runs, hours, n_forward (images through the frozen part,
    largest of its groups), n_updates, hardware."""
    found = records.training_runs(folder)
    if found.empty:
        raise SystemExit(f"error: no finished training run below {folder}")
    hardware = [records.read(home)["hardware"] for home in found.folder]
    found = found.assign(hardware=[f"{h['n_cores']} cores {h['processor']}" for h in hardware])
    found["n_forward"] = found["n_forward"] if "n_forward" in found else float("nan")
    by = found.groupby(["task", "backbone", "init", "hardware"], as_index=False)
    table = by.agg(
        n_runs=("scenario", "size"),
        seconds=("seconds", "sum"),
        n_forward=("n_forward", "max"),
        n_updates=("n_updates", "sum"),
    )
    return table.assign(hours=table.pop("seconds") / 3600)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of run folders")
    parser.add_argument("--csv", type=Path, help="file to write")
    asked = parser.parse_args(arguments)
    table = times(asked.folder)
    print(table.to_string(index=False))
    if asked.csv:
        measured.write(table, asked.csv)


if __name__ == "__main__":
    main()
