"""Records: what a finished run leaves, how it is told apart, and how all runs are read again."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

import pandas as pd
import psutil

from rin import paths

RECORD = "record.json"
RUN_KEYS = ["init", "preprocess", "scenario", "fold", "seed", "batch_size"]  # within a task
PACKAGES = (
    "rin",
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "numpy",
    "pandas",
    "scikit-learn",
    "pillow",
)


def fingerprint(facts):
    """16 hex digits that stand for a JSON-like object, whatever the order of its keys."""
    text = json.dumps(facts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def code_fingerprint(*modules):
    """16 hex digits over the source of these modules and packages of `rin`; default all of it."""
    package = Path(__file__).parent
    named = [f"{name}.py" if (package / f"{name}.py").is_file() else name for name in modules]
    files = sorted(file for name in named or [""] for file in _sources(package / name))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _sources(place):
    """A module's file, or all files of a package.

    Raises:
        FileNotFoundError: there is neither.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: neither a module nor a package of rin")
    return place.rglob("*.py")


def folder_fingerprint(folder):
    """16 hex digits over names, sizes and times of all files below a folder; "" without one."""
    folder = Path(folder)
    if not folder.is_dir():
        return ""
    facts = []
    for home, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(home, name)
            stat = os.stat(file) if os.path.exists(file) else os.lstat(file)  # a dangling link
            place = os.path.relpath(file, folder)
            facts.append((place, stat.st_size, stat.st_mtime_ns))
    return fingerprint(sorted(facts))


def sha256(file):
    """64 hex digits over what a file holds."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def file_fingerprint(file):
    """16 hex digits over a file's size and time; "" without one."""
    file = Path(file)
    if not file.is_file():
        return ""
    stat = file.stat()
    return fingerprint([stat.st_size, stat.st_mtime_ns])


def runs_fingerprint(folder):
    """16 hex digits over the fingerprints of all finished training runs of a folder.

    Records of pages are left out: a page that reads runs may write its own beside them.
    """
    found = [read(file.parent) for file in _records(folder)]
    marks = [record["fingerprint"] for record in found if record.get("kind") == "training"]
    return fingerprint(sorted(marks))


def write(folder, facts):
    """Write `record.json`, whole and last: it is the mark of a finished run."""
    with paths.replacing(Path(folder) / RECORD) as file:
        file.write_text(json.dumps(facts | environment(), indent=1, default=str) + "\n")


def read(folder):
    """The record of one run folder as a dict; None when there is none.

    Raises:
        ValueError: the file is no record.
    """
    file = Path(folder) / RECORD
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: expected a JSON record; remove it to run again") from error
    if not isinstance(record, dict) or "fingerprint" not in record:
        raise ValueError(f"{file}: expected a record with a fingerprint; remove it to run again")
    return record


def is_finished(folder, expected_fingerprint):
    """Whether the folder holds a finished run of exactly these settings, data and code."""
    record = read(folder)
    return record is not None and record["fingerprint"] == expected_fingerprint


def environment():
    """Package versions, hardware and git commit; no name of the machine, its user or its paths."""
    return {"versions": _versions(), "hardware": _hardware(), "git_commit": _git_commit()}


def training_runs(runs_dir, task=None):
    """The finished training runs of a folder.

    Args:
        runs_dir: folder of `<task>/<run>/`, as `rin.runs.train_all` takes it.
        task: only this task's.

    Returns:
        DataFrame, one row a run: the columns of `rin.scenarios.Run.facts()`, the counts of the
        record (n_updates, n_trainable, val_loss, …), `objective` (see `rin.objectives`), `fed`
        (what the preprocess came down to; see `rin.backbones.fed`), `data_fingerprint`, `phantom`
        and `folder`; empty without runs.

    Raises:
        ValueError: runs of before the objective was part of a run are among them.
    """
    rows = []
    for file in _records(runs_dir):
        record = read(file.parent)
        if record.get("kind") == "training" and task in (None, record["run"]["task"]):
            place = {key: record.get(key) for key in ("fed", "data_fingerprint", "phantom")}
            place |= {"folder": str(file.parent)}
            place |= {"objective": record.get("settings", {}).get("objective")}
            rows.append(record["run"] | record["result"] | place)
    if old := [row["folder"] for row in rows if row["objective"] is None]:
        names = [Path(folder).relative_to(runs_dir).as_posix() for folder in old]
        some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise ValueError(no_objective(runs_dir, f"{len(old)} of {len(rows)} runs ({some})"))
    frame = pd.DataFrame(rows)
    return frame.sort_values(["task", *RUN_KEYS], ignore_index=True) if rows else frame


def no_objective(place, what):
    """Why runs or tables without an objective are refused, and what to delete.

    Args:
        place: their folder.
        what: which runs or tables.
    """
    return (
        f"{place}: {what} without a record of the objective that was trained; the kept epoch was "
        "chosen by another rule, so this is another experiment. Delete these and train again"
    )


def predictions(runs, split="test", table="predictions"):
    """The predictions of several runs in one long table.

    Args:
        runs: rows of `training_runs`.
        split: "test", "val", or None for both.
        table: "predictions" or "history".

    Returns:
        DataFrame with the run's columns (task, init, preprocess, backbone, trainable,
        learning_rate, scenario, fold, seed, batch_size) before the table's own.

    Raises:
        ValueError: there are no runs.
    """
    if runs.empty:
        raise ValueError("`runs` should hold at least one finished run. Received none")
    keys = ["task", "init", "preprocess", "backbone", "trainable", "learning_rate", "scenario"]
    parts = []
    for row in runs.to_dict("records"):
        part = pd.read_parquet(Path(row["folder"]) / f"{table}.parquet").reset_index(drop=True)
        facts = {key: row[key] for key in [*keys, "fold", "seed", "batch_size"]}
        parts.append(pd.DataFrame(facts, index=part.index).join(part))
    long = pd.concat(parts, ignore_index=True)
    if split is None or "split" not in long:
        return long
    return long[long["split"] == split].reset_index(drop=True)


def _records(folder):
    """Of `<task>/<run>/`; a folder of runs may lie within another, and is not of it."""
    return sorted(Path(folder).glob(f"*/*/{RECORD}"))


def _versions():
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def _hardware():
    return {
        "processor": _processor(),
        "n_cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "accelerators": _accelerators(),
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _accelerators():
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return found.stdout.split("\n")[:-1]
    except (OSError, subprocess.SubprocessError):
        return []


@functools.cache
def _git_commit():
    try:
        at = {"cwd": paths.root(), "capture_output": True, "text": True, "check": True}
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **at).stdout.strip()
        dirty = subprocess.run(["git", "status", "--porcelain"], **at).stdout.strip()
        return commit + ("+changes" if dirty else "")
    except (OSError, subprocess.SubprocessError):
        return None
