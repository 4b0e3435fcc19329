"""Checkpoint: where a pretraining stood, in one file, so that it goes on after any kill."""

import json
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rin import paths

FILE = "checkpoint.npz"
EVERY_S = 600  # seconds between two: InceptionResNetV2 and its optimizer take 0.9 GB a time


class CheckpointError(ValueError):
    """A checkpoint of other parameters, or one that can't be read."""


@dataclass
class State:
    """How far a pretraining got.

    Attributes:
        epoch: the one under way, from 0.
        step: batches of it that were seen.
        loss: mean training loss of these.
        seconds: spent on it.
        history: one dict a finished epoch.
        best: epoch, val_loss and values (the network's variables) of the epoch that is kept.
        values: the variables of network and optimizer; filled when a checkpoint is read.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    history: list = field(default_factory=list)
    best: dict = field(default_factory=dict)
    values: list = field(default_factory=list)


class Checkpoint:
    """The state of a pretraining in one file, replaced whole.

    Args:
        folder: its home.
        facts: dict of all that the weights depend on but the code: what is read back must have
            the same.
        every_s: seconds that must pass before the next is written; 0 writes after every batch.
    """

    def __init__(self, folder, facts, every_s=EVERY_S):
        self.file, self.every_s = Path(folder) / FILE, every_s
        self.facts = json.loads(json.dumps(facts))  # as they come back: tuples become lists
        self._last = time.monotonic()

    @property
    def is_due(self):
        """Whether enough time has passed."""
        return time.monotonic() - self._last >= self.every_s

    def write(self, state, values):
        """Replace the file.

        Args:
            state: a `State`; its own `values` are ignored.
            values: list of arrays, the variables of network and optimizer.
        """
        best = {k: v for k, v in state.best.items() if k != "values"}
        told = {"epoch": state.epoch, "step": state.step, "loss": state.loss}
        told |= {"seconds": state.seconds, "history": state.history, "best": best}
        arrays = {f"values/{i}": v for i, v in enumerate(values)}
        arrays |= {f"best/{i}": v for i, v in enumerate(state.best.get("values", []))}
        text = json.dumps({"facts": self.facts, "state": told})
        with paths.replacing(self.file) as work, open(work, "wb") as file:
            np.savez(file, told=np.array(text), **arrays)
        self._last = time.monotonic()

    def read(self):
        """The `State` to go on from; None without a file.

        Raises:
            CheckpointError: the file is of other parameters (each one is named with both values),
                damaged, or something else. It is left as it is.
        """
        if not self.file.is_file():
            return None
        try:
            with open(self.file, "rb") as file, np.load(file) as held:
                arrays = {name: held[name] for name in held.files}
            told = json.loads(str(arrays.pop("told")))
            facts, state = told["facts"], told["state"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"{self.file}: damaged, or no checkpoint of a pretraining ({error}); remove it to "
                "begin anew"
            ) from error
        self._refuse_other(facts)
        best = state.pop("best")
        best |= {"values": _several(arrays, "best/")} if best else {}
        return State(**state, best=best, values=_several(arrays, "values/"))

    def remove(self):
        """Forget it: the pretraining is finished."""
        self.file.unlink(missing_ok=True)

    def _refuse_other(self, facts):
        said = differences(facts, self.facts)
        if said:
            raise CheckpointError(
                f"{self.file}: a checkpoint of other parameters ({'; '.join(said)}). Go on with "
                "those, choose another folder, or remove it to begin anew"
            )


def differences(theirs, ours, name=""):
    """Sentences on where two nested dicts differ: `learning_rate: 0.001 there, 0.01 here`."""
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        return [] if theirs == ours else [f"{name}: {_short(theirs)} there, {_short(ours)} here"]
    keys = sorted({*theirs, *ours})
    return [said for k in keys for said in differences(theirs.get(k), ours.get(k), k)]


def _several(arrays, prefix):
    n = sum(name.startswith(prefix) for name in arrays)
    return [arrays[f"{prefix}{i}"] for i in range(n)]


def _short(value, limit=60):
    text = str(value)
    return text if len(text) <= limit else f"{text[:limit]} …"
