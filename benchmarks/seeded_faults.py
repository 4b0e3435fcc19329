"""Do the tests notice when `rin` is wrong? Small faults, seeded one by one into a copy.

    python benchmarks/seeded_faults.py [--only NAME …]

`seeded_faults.yaml` lists them: `find` is a text that stands once in the files of `rin`, wherever
that is, `replace` what a hand that slips might have written, and `tests` those that must fail with
it and pass without it. Prints a line a fault; ends with 1 unless every one was caught. Takes five
to ten minutes on two cores.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
FAULTS = Path(__file__).with_suffix(".yaml")
KEYS = ["name", "find", "replace", "tests"]
LEFT_OUT = {".git", ".venv", "data", "runs", "_build", "_executed"}  # of the top folder
PYTEST = ["-x", "-q", "-p", "no:cacheprovider", "-n", "0"]
PASSED, FAILED = 0, 1  # exit codes of pytest; others say that the tests could not run


class FaultError(Exception):
    """A list of faults that can't be played; says why in one sentence."""


def read(file, only=()):
    """The faults of a file, all of them or those named.

    Args:
        file: YAML, a list of mappings with the keys `KEYS`; `tests` is a list of what pytest
            takes.
        only: names.

    Raises:
        FaultError: an entry lacks a key or changes nothing, a name stands twice, or is unknown.
    """
    faults = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    for number, fault in enumerate(faults, start=1):
        if sorted(fault) != sorted(KEYS) or fault["find"] == fault["replace"]:
            raise FaultError(f"{file}: fault {number} should have {KEYS}, and change something")
    names = [fault["name"] for fault in faults]
    if len(set(names)) < len(names):
        raise FaultError(f"{file}: {max(names, key=names.count)} stands there twice")
    if unknown := set(only) - set(names):
        raise FaultError(f"`--only` should name faults of {file}. Received: {sorted(unknown)}")
    return [fault for fault in faults if not only or fault["name"] in only]


def locate(fault, root):
    """The one file below `rin` that holds the text of a fault.

    Raises:
        FaultError: no file holds it, or it stands there more than once.
    """
    texts = {file: file.read_text(encoding="utf-8") for file in (root / "rin").rglob("*.py")}
    counts = {file: n for file, text in texts.items() if (n := text.count(fault["find"]))}
    if (n := sum(counts.values())) != 1:
        raise FaultError(f"{fault['name']}: {fault['find']!r} stands {n} times in rin, not once")
    return next(iter(counts))


def copy(root, to):
    """Copy the project, without its history, data, runs and environment."""

    def skipped(folder, names):
        top = LEFT_OUT if Path(folder) == root else set()
        return [name for name in names if name in top or name == "__pycache__"]

    shutil.copytree(root, to, ignore=skipped)


def failing(tests, root):
    """The first of these tests of a copy that fails, or "" where all pass.

    Raises:
        FaultError: they could not run.
    """
    command = [sys.executable, "-m", "pytest", *PYTEST, *tests]
    # bytecode is known by its second and size, which a fault may keep
    env = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    if done.returncode == PASSED:
        return ""
    said = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode != FAILED:
        raise FaultError(f"the tests {' '.join(tests)} could not run: {' '.join(said[-1:])}")
    return next(line.split()[1] for line in said if line.startswith(("FAILED ", "ERROR ")))


def play(fault, file, root):
    """Whether the tests of a fault fail with it; the file of the copy is put right again."""
    right = file.read_text(encoding="utf-8")
    file.write_text(right.replace(fault["find"], fault["replace"]), encoding="utf-8")
    try:
        return failing(fault["tests"], root) != ""
    finally:
        file.write_text(right, encoding="utf-8")


def main(arguments=None):
    """Play them and print a line each; 0 when all were caught."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="of these faults")
    asked = parser.parse_args(arguments)
    try:
        faults = read(FAULTS, asked.only)
        with tempfile.TemporaryDirectory(prefix="rin-faults-") as folder:
            return _play_all(faults, Path(folder) / "book")
    except FaultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _play_all(faults, root):
    copy(ROOT, root)
    places = [locate(fault, root) for fault in faults]  # all are sought before any is played
    tests = list(dict.fromkeys(test for fault in faults for test in fault["tests"]))
    print(f"{len(faults)} faults; first their {len(tests)} tests without any …", flush=True)
    if test := failing(tests, root):
        raise FaultError(f"{test} fails without any fault")
    missed = []
    for number, (fault, file) in enumerate(zip(faults, places, strict=True), start=1):
        started = time.perf_counter()
        caught = play(fault, file, root)
        said, seconds = "caught" if caught else "MISSED", time.perf_counter() - started
        print(f"[{number}/{len(faults)}] {said} {fault['name']}, {seconds:.0f} s", flush=True)
        missed += [] if caught else [fault["name"]]
    print(f"{len(faults) - len(missed)} of {len(faults)} faults caught", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
