"""Checkpoints: where a group of runs stood, so that a killed job goes on from there."""

import json
import time
import zipfile
from pathlib import Path

import numpy as np

from rin import paths
from rin.outcomes import Outcome

EVERY_S = 300  # seconds between two checkpoints


class Checkpoint:
    """The state of a group of runs in one file, replaced whole.

    Args:
        file: its path.
        marks: dict from run name to the run's fingerprint: another mark is another run.
        every_s: seconds that must pass before the next is written.
    """

    def __init__(self, file, marks, every_s=EVERY_S):
        self.file, self.marks, self.every_s = Path(file), marks, every_s
        self._last = time.monotonic()

    def offer(self, epoch, states):
        """Write where these `rin.epochwise.State`s stand, if enough time has passed."""
        if time.monotonic() - self._last < self.every_s:
            return
        arrays, facts = {}, {"epoch": epoch, "runs": {}}
        for state in states:
            name, outcome = state.run.name, state.outcome
            facts["runs"][name] = {"mark": self.marks[name]} | {
                "history": outcome.history,
                "diverged": outcome.diverged,
                "seconds": outcome.seconds,
                "best": {key: outcome.best.get(key) for key in ("val_loss", "epoch")},
            }
            arrays |= {f"{name}/values/{i}": v for i, v in enumerate(state.values)}
            arrays |= {f"{name}/best/{i}": v for i, v in enumerate(outcome.best.get("state", []))}
            arrays |= {f"{name}/val/0": outcome.best["val"]} if outcome.best else {}
        with paths.replacing(self.file) as work, open(work, "wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)
        self._last = time.monotonic()

    def restore(self, states):
        """Set the states to where they stood.

        Returns:
            The epoch to begin with; 0 without a file, or if it does not hold all of these runs.
        """
        if not self.file.is_file():
            return 0
        try:
            with open(self.file, "rb") as file, np.load(file) as held:
                return self._restore(held, states)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            print(f"{self.file.name}: not usable ({error}); these runs begin anew", flush=True)
            return 0

    def remove(self):
        """Forget it: the runs are finished."""
        self.file.unlink(missing_ok=True)

    def forget(self):
        """Remove it if it holds none but these runs; another process may be at others."""
        try:
            with open(self.file, "rb") as file, np.load(file) as held:
                found = json.loads(str(held["facts"]))["runs"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return  # none, or not usable, which `restore` says where it matters
        if all(self.marks.get(name) == run["mark"] for name, run in found.items()):
            self.remove()

    def _restore(self, held, states):
        facts = json.loads(str(held["facts"]))
        known = {name: found["mark"] for name, found in facts["runs"].items()}
        if any(known.get(s.run.name) != self.marks[s.run.name] for s in states):
            return 0
        read = {name: held[name] for name in held.files if name != "facts"}  # all, or an error
        for state in states:
            found, name = facts["runs"][state.run.name], state.run.name
            best = found["best"]
            if best["epoch"] is not None:
                best |= {"val": read[f"{name}/val/0"], "state": _several(read, f"{name}/best/")}
            state.values = _several(read, f"{name}/values/")
            state.outcome = Outcome(
                found["history"],
                best if best["epoch"] is not None else {},
                found["diverged"],
                found["seconds"],
            )
        return facts["epoch"]


def _several(arrays, prefix):
    n = sum(name.startswith(prefix) for name in arrays)
    return [arrays[f"{prefix}{i}"] for i in range(n)]
