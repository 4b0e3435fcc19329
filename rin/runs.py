"""Runs: train those that are not finished; each leaves its folder complete or not at all.

Runs that free the classifier or the last layers alone share a view bank with their like; runs that
free all layers train one by one.
"""

import contextlib
import itertools
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import keras
from tqdm import tqdm

from rin import (
    backbones,
    banked,
    checkpoints,
    epochwise,
    kept,
    objectives,
    paths,
    records,
    training,
    views,
    weights,
)

CODE = (  # what results rest on
    "augment",
    "backbones",
    "banked",
    "devices",
    "epochwise",
    "feed",
    "gradcam",
    "images",
    "kept",
    "micro",
    "objectives",
    "outcomes",
    "runs",
    "scenarios",
    "training",
    "views",
    "weights",
)
WHOLE_ONLY = ("precision", "micro_batch", "devices")


@dataclass(frozen=True)
class Settings:
    """How runs are trained; the defaults are the published protocol.

    Attributes:
        epochs: passes over the training set.
        augmentation: a key of `rin.augment.RANGES`.
        objective: the loss that is trained and watched: "official" or "stated"; see
            `rin.objectives.loss`.
        precision: of `all` runs: "float32" or "mixed_bfloat16".
        micro_batch: of `all` runs: images that go through the network at once; 0 for the whole
            batch. Batch norm then sees that many images at a time.
        devices: of `all` runs: how many of this machine's accelerators share a batch.
        bank_gib: GiB that a view bank may take on the disk; 0 trains every run by itself.
        keep_weights: whether each run keeps the weights it trained (`weights.npz`: 20 KB for
            `head`, up to 16 MB for `top10`, the whole network for `all`).
    """

    epochs: int = 30
    augmentation: str = "small"
    objective: str = objectives.OFFICIAL
    precision: str = "float32"
    micro_batch: int = 0
    devices: int = 1
    bank_gib: float = 16.0
    keep_weights: bool = False

    def facts(self, trainable):
        """What the results of a run with this `trainable` rest on, as a dict."""
        beside = (*WHOLE_ONLY, "bank_gib") if trainable in banked.TRAINABLES else ("bank_gib",)
        return {k: v for k, v in asdict(self).items() if k not in beside}


def train_all(runs, data, settings, folder):
    """Train the runs that are not finished yet.

    Args:
        runs: `rin.scenarios.Run`s of any shape.
        data: a `rin.prepare.Data`.
        settings: a `Settings`.
        folder: a run's files go to `folder/<task>/<run name>/`: `predictions.parquet`,
            `history.parquet`, `cams.npz` (signed class maps of the test images, for Grad-CAM),
            `weights.npz` where asked for and, last, `record.json`.

    Returns:
        The run folders, in the order of `runs`. A line a run is printed as it ends.
    """
    training.deterministic()
    work = _Work(runs, data, settings, Path(folder))
    for _, several in itertools.groupby(sorted(work.marks, key=work.group), key=work.group):
        work.train(list(several))
    return [work.home(run) for run in runs]


def run_fingerprint(run, data, settings):
    """What makes a training run the same: its facts, data, settings, weight file, backend, code."""
    init = weights.fingerprint(run.init, run.scenario.backbone)
    code = records.code_fingerprint(*CODE)
    said = settings.facts(run.scenario.trainable) | {"fed": _fed(run)}
    facts = [run.facts(), init, data.fingerprint, said, keras.backend.backend(), code]
    return records.fingerprint(facts)


class _Work:
    """What is to be trained, the network that is compiled, and how far it got."""

    def __init__(self, runs, data, settings, folder):
        self.data, self.settings, self.folder = data, settings, folder
        self.marks = {run: run_fingerprint(run, data, settings) for run in runs}
        self._compiled, self._n_done = (None, None), 0

    def home(self, run):
        """The folder of a run."""
        return self.folder / run.task / run.name

    def group(self, run):
        """Runs with the same key share a view bank; those of one shape follow each other."""
        shape = (run.scenario.backbone, run.classifier, run.task)
        if self._banked(run):
            return True, *shape, run.init, run.preprocess, run.seed
        return False, *shape, run.scenario.trainable, run.init, run.seed, run

    def train(self, runs):
        """Train the runs of one group, unless they are finished."""
        with contextlib.ExitStack() as stack:
            for run in sorted(runs):  # in one order, so that two processes can't block each other
                self.home(run).mkdir(parents=True, exist_ok=True)
                stack.enter_context(self._lock(run))
            pending = [run for run in runs if not self._is_finished(run)]
            if not pending:  # a kill may have come between the last run and its checkpoint's end
                self._held(runs).forget()
            for run in pending:
                paths.tidy(self.home(run))
            for run in set(runs) - set(pending):
                self._say(run, "finished before, skipped")
            if pending and not (self._banked(pending[0]) and self._train_together(pending)):
                for run in pending:
                    self._train_alone(run)

    def _banked(self, run):
        return self.settings.bank_gib > 0 and run.scenario.trainable in banked.TRAINABLES

    def _is_finished(self, run):
        return records.is_finished(self.home(run), self.marks[run])

    def _lock(self, run):
        lock = filelock.FileLock(self.home(run) / ".lock")
        try:
            return lock.acquire(timeout=0)
        except filelock.Timeout:
            tqdm.write(f"{run.name}: another process trains it; waiting", file=sys.stderr)
            return lock.acquire()

    def _train_together(self, runs):
        """Train runs on one bank; False, said aloud, where the bank's budget is too small."""
        run = runs[0]
        free = tuple(t for t in banked.TRAINABLES if any(t == r.scenario.trainable for r in runs))
        shape, variant = (run.scenario.backbone, free, run.classifier), _variant(run)
        options = {"variant": variant, "objective": self.settings.objective}
        networks = self._network(banked.Networks, *shape, **options)
        image_bytes = views.n_bytes(networks.tensors)
        plan = epochwise.plan(runs, self.data, self.settings, image_bytes, self.folder)
        if plan.mode == "none":
            tqdm.write(f"{plan}: not one batch fits bank_gib or the disk; trained one by one")
            return False
        tqdm.write(f"{run.scenario.backbone} {run.init_name}, {len(runs)} runs on one bank, {plan}")
        held = self._held(runs)
        group = epochwise.Group(networks, runs, self.data, self.settings, plan, self.folder)
        for run, tables in zip(runs, group.train(held), strict=True):
            self._save(run, *tables, group.left.get(run))
        held.remove()
        return True

    def _train_alone(self, run):
        scenario = run.scenario
        options = {"variant": _variant(run), "objective": self.settings.objective}
        if scenario.trainable not in banked.TRAINABLES:
            options |= {name: getattr(self.settings, name) for name in WHOLE_ONLY}
        shape = (scenario.backbone, scenario.trainable, run.classifier)
        trainer = self._network(training.Trainer, *shape, **options)
        label = f"{run.task} {scenario.backbone} {run.init_name} {scenario.trainable}"
        with tqdm(total=self.settings.epochs, desc=label, unit="epoch", mininterval=2) as bar:
            tables = trainer.train(run, self.data, self.settings, lambda n: bar.update())
        self._save(run, *tables, trainer.left)

    def _network(self, kind, *shape, **options):
        """The network of this shape: the one that is compiled, or a new one in its place."""
        key = (kind, shape, self.data.images.shape[1], *options.items())
        if self._compiled[0] != key:
            self._compiled = (None, None)
            keras.backend.clear_session()
            self._compiled = (key, kind(*shape, image_size=self.data.images.shape[1], **options))
        return self._compiled[1]

    def _held(self, runs):
        """The checkpoint of these runs of one group."""
        key = records.fingerprint([str(part) for part in self.group(runs[0])])
        file = self.folder / runs[0].task / f".checkpoint-{key}.npz"
        return checkpoints.Checkpoint(file, {run.name: self.marks[run] for run in runs})

    def _save(self, run, predictions, history, result, left):
        home, settings = self.home(run), self.settings
        (home / records.RECORD).unlink(missing_ok=True)  # it speaks of what is replaced now
        for name, table in (("predictions", predictions), ("history", history)):
            with paths.replacing(home / f"{name}.parquet") as file:
                table.to_parquet(file)
        kept.save(home, left, self.data.images.shape[1])
        facts = {
            "kind": "training",
            "fingerprint": self.marks[run],
            "run": run.facts(),
            "settings": settings.facts(run.scenario.trainable),
            "data_fingerprint": self.data.fingerprint,
            "phantom": self.data.phantom,
            "fed": _fed(run),
            "init_fingerprint": weights.fingerprint(run.init, run.scenario.backbone),
            "backend": keras.backend.backend(),
            "result": result,
        }
        records.write(home, facts)
        self._say(run, _said(result, history))

    def _say(self, run, text):
        self._n_done += 1
        tqdm.write(f"[{self._n_done}/{len(self.marks)}] {run.name}: {text}")


def _variant(run):
    return weights.variant(run.init, run.scenario.backbone)


def _fed(run):
    return backbones.fed(run.preprocess, run.scenario.backbone, run.init)


def _said(result, history):
    if result["diverged"]:
        return f"diverged after {result['n_epochs']} epochs, {result['seconds']:.0f} s"
    best = history["val_loss"].min()
    return f"val loss {best:.3f} in epoch {result['best_epoch']}, {result['seconds']:.0f} s"
