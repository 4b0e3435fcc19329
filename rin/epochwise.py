"""Epoch by epoch: all head and top10 runs of one network side by side, from one view bank.

The runs of a group share init, preprocess and seed, so they share what the frozen layers give. The
bank holds it for the plain view and for the current epoch's augmented view; every run trains one
epoch on it, then the next epoch's view takes its place. When the views do not fit the budget, each
fold's epoch is streamed through the bank in chunks of whole batches: the same results, with one
pass a fold in place of one for all folds.
"""

import math
import shutil
import time
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from rin import augment, feed, kept, objectives, views
from rin.gradcam import closed_form
from rin.objectives import one_hot
from rin.outcomes import Outcome, order, rows_of

FORWARD_BATCH = 64  # images a pass through the frozen layers
IDENTITY = np.array([1, 0, 0, 0, 1, 0, 0, 0], dtype=np.float32)
FREE_SHARE = 0.8  # of the disk's free space that a bank may take


@dataclass(frozen=True)
class Plan:
    """How a group's views are held.

    Attributes:
        mode: "stored" (whole views), "streamed" (in chunks) or "none" (not one batch fits).
        n_plain, n_seen: images that the plain and the augmented view hold; streamed, one view
            of `n_seen` serves as both.
        image_bytes: of one image's tensors.
    """

    mode: str
    n_plain: int
    n_seen: int
    image_bytes: int

    def __str__(self):
        size = (self.n_plain + self.n_seen) * self.image_bytes / 2**30
        return f"views {self.mode}: {self.image_bytes / 1024:.0f} KiB an image, {size:.2f} GiB"


@dataclass
class State:
    """One run of a group.

    Attributes:
        run: its `rin.scenarios.Run`.
        values: of the variables that training changes, as `rin.banked.Top.values` gives them.
        outcome: a `rin.outcomes.Outcome`.
    """

    run: object
    values: list
    outcome: Outcome = field(default_factory=Outcome)


def plan(runs, data, settings, image_bytes, folder):
    """Choose how to hold the views of these runs within the budget and the disk's free space.

    Args:
        runs: `rin.scenarios.Run`s of one group.
        data: a `rin.prepare.Data`.
        settings: a `rin.runs.Settings`; its `bank_gib` is the budget.
        image_bytes: of one image's tensors.
        folder: where the bank will lie; see `rin.views.scratch`.
    """
    plain, seen = (set(_union(runs, data, names)) for names in (("val", "test"), ("train",)))
    if augment.RANGES[settings.augmentation] is None:
        plain, seen = plain | seen, set()
    free = shutil.disk_usage(views.scratch(folder)).free
    budget = min(settings.bank_gib * 2**30, FREE_SHARE * free)
    if (len(plain) + len(seen)) * image_bytes <= budget:
        return Plan("stored", len(plain), len(seen), image_bytes)
    step = math.lcm(*(run.batch_size for run in runs))  # chunks end where batches end
    n_chunk = int(budget // image_bytes) // step * step
    return Plan("streamed" if n_chunk else "none", 0, n_chunk, image_bytes)


class Group:
    """Runs that share their network's frozen part, and the views they train on.

    Attributes:
        left: dict from each finished run to a `rin.kept.Left`; a diverged run has none.

    Args:
        networks: a `rin.banked.Networks`.
        runs: `rin.scenarios.Run`s of one init, preprocess and seed.
        data: a `rin.prepare.Data`.
        settings: a `rin.runs.Settings`.
        chosen: a `Plan` that holds at least a batch.
        folder: where the bank's files lie while they are open.
    """

    def __init__(self, networks, runs, data, settings, chosen, folder):
        self.networks, self.data, self.settings, self.chosen = networks, data, settings, chosen
        self.ranges = augment.RANGES[settings.augmentation]
        self.n_forward, self.forward_s, self.left = 0, 0.0, {}
        networks.reset(runs[0])
        self.states = []
        for run in runs:
            first, rate = networks.first[run.scenario.trainable], run.scenario.learning_rate
            self.states.append(State(run, self._top(run).fresh(first, rate)))
        self._make_views(folder)

    def train(self, checkpoint=None):
        """Train all runs to the end.

        Args:
            checkpoint: a `rin.checkpoints.Checkpoint` to go on from and to write to, or None.

        Returns:
            List of (predictions, history, result), as `rin.outcomes.Outcome.tables` gives them,
            in the order of the runs.
        """
        first = checkpoint.restore(self.states) if checkpoint else 0
        epochs = range(self.settings.epochs)
        bar = tqdm(epochs, self._name(), initial=first, unit="epoch", mininterval=2)
        for epoch in epochs[first:]:
            if all(state.outcome.diverged for state in self.states):
                break
            self._epoch(epoch)
            bar.update()
            if checkpoint and epoch + 1 < self.settings.epochs:
                checkpoint.offer(epoch + 1, self.states)
        bar.close()
        return self._tables()

    def _epoch(self, epoch):
        alive = [state for state in self.states if not state.outcome.diverged]
        if self.chosen.mode == "stored":
            runs = [state.run for state in alive]
            self._fill(self.seen, _union(runs, self.data, ["train"]), epoch)
        for several in _streams(alive):
            losses = self._train(several, epoch)
            values = [state.values for state in several]
            logits, y = self._predict(several, values, "val")
            for state, loss, found in zip(several, losses, logits, strict=True):
                n_weights, scores = len(self._top(state.run).weights), self._scores(state, found)
                val_loss = objectives.mean_loss(self.networks.loss, y, found)
                best_weights = lambda s=state, n=n_weights: s.values[:n]  # noqa: E731
                state.outcome.add(loss, val_loss, scores, best_weights)

    def _train(self, several, epoch):
        """One epoch of runs that see the same batches; the mean loss of each."""
        run = several[0].run
        rows = order(rows_of(self.data, run.fold)["train"], run.seed, epoch)
        losses = np.zeros(len(several))
        for chunk in self._chunks(rows):
            self._fill(self.seen, chunk, epoch)
            for i, state in enumerate(several):
                started, top = time.perf_counter(), self._top(state.run)
                top.assign(state.values)
                for batch in _parts(chunk, run.batch_size):
                    x = self.seen.take(batch, self.networks.which[state.run.scenario.trainable])
                    losses[i] += top.train(x, one_hot(self.data.y[batch])) * len(batch)
                state.values = top.values()
                state.outcome.seconds += time.perf_counter() - started
        return losses / len(rows)

    def _predict(self, several, values, split, maps=None):
        """Logits of runs of one fold with the values given for each; and the classes.

        `maps`, a dict from run to a list, gets the class maps of the images batch by batch.
        """
        rows = rows_of(self.data, several[0].run.fold)[split]
        logits = [[] for _ in several]
        for chunk in self._chunks(rows):
            self._fill(self.plain, chunk, None)
            for state, value, found in zip(several, values, logits, strict=True):
                started, top = time.perf_counter(), self._top(state.run)
                top.assign(value)
                which = self.networks.which[state.run.scenario.trainable]
                for batch in _parts(chunk, state.run.batch_size):
                    found.append(top.predict(self.plain.take(batch, which)))
                state.outcome.seconds += time.perf_counter() - started
            for batch in [] if maps is None else _parts(chunk, FORWARD_BATCH):
                for run, found in self._class_maps(several, values, batch):
                    maps[run].append(found)
        return [np.concatenate(found) for found in logits], self.data.y[rows]

    def _tables(self):
        good = [state for state in self.states if not state.outcome.diverged]
        test = {}
        for fold in sorted({state.run.fold for state in good}):  # one pass for all batch sizes
            several = [state for state in good if state.run.fold == fold]
            best, maps = [s.outcome.best["state"] for s in several], {s.run: [] for s in several}
            logits, _ = self._predict(several, best, "test", maps)
            for state, found in zip(several, logits, strict=True):
                test[state.run] = self._scores(state, found)
            for state, values in zip(several, best, strict=True):
                self.left[state.run] = self._left(
                    state.run, values, np.concatenate(maps[state.run])
                )
        tables = []
        for state in self.states:
            state.outcome.seconds += self.forward_s / len(self.states)
            *frames, result = state.outcome.tables(state.run, self.data, test.get(state.run))
            facts = {"n_trainable": self._top(state.run).n_trainable, "bank": self.chosen.mode}
            tables.append((*frames, result | facts | {"n_forward": self.n_forward}))
        return tables

    def _scores(self, state, logits):
        return objectives.probabilities(logits, state.run.classifier)

    def _class_maps(self, several, values, batch):
        """(run, class maps) of images that the plain view holds; heads share the features."""
        tensors = self.plain.take(batch, range(len(self.plain.arrays)))
        images, maps = self.data.images[batch], self._maps(batch, None)
        found = {}
        for state, value in zip(several, values, strict=True):
            self._assign(state.run, value)
            key = "head" if state.run.scenario.trainable == "head" else state.run
            if key not in found:
                found = {key: self.networks.features(tensors, images, maps)}
            yield state.run, closed_form.class_maps(found[key], self.networks.kernel())

    def _left(self, run, values, maps):
        """A `rin.kept.Left` of a finished run."""
        self._assign(run, values)
        kind, network = run.scenario.trainable, self.networks.network
        weights = kept.weights(network, kind) if self.settings.keep_weights else None
        return kept.Left(maps, rows_of(self.data, run.fold)["test"], weights)

    def _assign(self, run, values):
        """The whole network as this run left it, its frozen layers included."""
        self.networks.rest()
        self._top(run).assign(values)

    def _make_views(self, folder):
        def view(n):
            return views.View(self.networks.tensors, n, folder)

        if self.chosen.mode == "streamed":
            self.plain = self.seen = view(self.chosen.n_seen)
            return
        self.plain = view(self.chosen.n_plain)
        self.seen = self.plain if self.ranges is None else view(self.chosen.n_seen)
        names = ["val", "test"] + (["train"] if self.ranges is None else [])
        self._fill(self.plain, _union([s.run for s in self.states], self.data, names), None)

    def _fill(self, view, rows, epoch):
        started = time.perf_counter()
        key = None if self.ranges is None else epoch  # not augmented, all epochs look the same
        self.n_forward += view.fill(rows, key, lambda r: self._forward(r, key))
        self.forward_s += time.perf_counter() - started

    def _forward(self, rows, epoch):
        self.networks.rest()
        for batch in _parts(rows, FORWARD_BATCH):
            yield self.networks.forward(self.data.images[batch], self._maps(batch, epoch))

    def _maps(self, rows, epoch):
        """Affine maps of these images; where some views are augmented, plain ones get the identity.

        It leaves every pixel as it is, and so one compiled network serves both views.
        """
        if self.ranges is None:
            return None
        if epoch is None:
            return np.tile(IDENTITY, (len(rows), 1))
        ids, seed = self.data.image_ids[rows], self.states[0].run.seed
        return feed.maps(self.ranges, ids, epoch, seed, self.data.images.shape[1])

    def _chunks(self, rows):
        whole = self.chosen.mode == "stored"
        return [rows] if whole else _parts(rows, self.chosen.n_seen)

    def _top(self, run):
        return self.networks.tops[run.scenario.trainable]

    def _name(self):
        run, free = self.states[0].run, sorted({s.run.scenario.trainable for s in self.states})
        return f"{run.task} {run.scenario.backbone} {run.init_name} {'+'.join(free)}"


def _streams(states):
    """States grouped by what they see, batch by batch: fold and batch size."""
    keys = sorted({(state.run.fold, state.run.batch_size) for state in states})
    return [[s for s in states if (s.run.fold, s.run.batch_size) == key] for key in keys]


def _union(runs, data, names):
    """Sorted rows that stand in one of these sets of one of these runs' folds."""
    folds = sorted({run.fold for run in runs})
    return np.unique(np.concatenate([rows_of(data, f)[name] for f in folds for name in names]))


def _parts(rows, n):
    return [rows[start : start + n] for start in range(0, len(rows), n)]
