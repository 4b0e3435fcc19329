"""Training: the official recipe, one fresh state a run, predictions and losses on disk.

Adam, binary cross-entropy over both columns, the checkpoint with the lowest validation loss. A
model is compiled once per (backbone, trainable, classifier, size) and every run gets its weights,
seeds and optimizer assigned anew, so that nothing of one fold reaches another.
"""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from rin import augment, backbones, manifest, paths, records, weights

CODE = (
    "training",
    "augment",
    "backbones",
    "weights",
    "images",
    "scenarios",
)  # what results rest on
CONSTANT_SCORE = 0.5  # of a diverged run: AUC 0.5, counted and named, never dropped


@dataclass(frozen=True)
class Settings:
    """How runs are trained; the defaults are the published protocol.

    Attributes:
        epochs: passes over the training set.
        batch_size: images an update; the last batch of an epoch may be smaller, as officially.
        augmentation: a key of `rin.augment.RANGES`.
    """

    epochs: int = 30
    batch_size: int = 256
    augmentation: str = "small"


class Batches(keras.utils.PyDataset):
    """One epoch of prepared batches.

    Args:
        data: a `rin.prepare.Data`.
        rows: `(n,)` ints, which images, in their order.
        prepare: `(m, h, w, 1)` float32 0–255 -> model input.
        batch_size: images a batch.
        ranges: a `rin.augment.Ranges`, or None for the plain view.
        epoch, seed: key of the augmentation and, with `shuffle`, of the order.
        shuffle: whether rows are permuted.
    """

    def __init__(
        self, data, rows, prepare, batch_size, ranges=None, epoch=0, seed=0, shuffle=False
    ):
        super().__init__()
        self.data, self.prepare, self.batch_size = data, prepare, batch_size
        self.ranges, self.epoch, self.seed = ranges, epoch, seed
        self.rows = np.asarray(rows)
        if shuffle:
            self.rows = np.random.default_rng([seed, epoch]).permutation(self.rows)

    def __len__(self):
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, index):
        rows = self.rows[index * self.batch_size : (index + 1) * self.batch_size]
        x = self.data.images[rows][..., None].astype(np.float32)
        if self.ranges is not None:
            drawn = augment.draw(self.ranges, self.data.image_ids[rows], self.epoch, self.seed)
            x = augment.apply(x, augment.matrices(drawn, *x.shape[1:3]))
        return keras.ops.convert_to_numpy(self.prepare(x)), one_hot(self.data.y[rows])


class Trainer:
    """A model compiled once and given a fresh state for every run.

    Args:
        backbone, trainable, classifier, image_size: as `rin.backbones.build` takes them.
    """

    def __init__(self, backbone, trainable, classifier="gap", image_size=256):
        self.shape = {
            "backbone": backbone,
            "trainable": trainable,
            "classifier": classifier,
            "image_size": image_size,
        }
        self.model = backbones.build(**self.shape)
        self.model.compile(
            keras.optimizers.Adam(), "binary_crossentropy", jit_compile=jit_compile()
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self._optimizer = [variable.numpy() for variable in self.model.optimizer.variables]
        self._states = {}

    def reset(self, init, seed, learning_rate):
        """Assign the state a new model would have: weights, dropout seeds, optimizer, rate."""
        key = (init, seed)
        if key not in self._states:
            self._states = {key: self._state(init, seed)}  # one is held: they are large
        for variable, value in zip(self.model.variables, self._states[key], strict=True):
            variable.assign(value)
        for variable, value in zip(self.model.optimizer.variables, self._optimizer, strict=True):
            variable.assign(value)
        self.model.optimizer.learning_rate = learning_rate

    def train(self, run, data, settings):
        """Train one run and predict val and test with its best epoch.

        Args:
            run: a `rin.scenarios.Run` of this trainer's backbone, trainable and classifier.
            data: a `rin.prepare.Data`.
            settings: a `Settings`.

        Returns:
            (predictions, history, result): DataFrames of `predictions.parquet` and
            `history.parquet`, and a dict of counts.
        """
        started = time.perf_counter()
        self.reset(run.init, run.seed, run.scenario.learning_rate)
        rows = {name: np.flatnonzero(data.splits[:, run.fold] == name) for name in manifest.SPLITS}

        def batches(split, **options):
            return Batches(data, rows[split], self._prepare(run), settings.batch_size, **options)

        ranges = augment.RANGES[settings.augmentation]
        history, best, diverged = [], {"val_loss": math.inf}, False
        for epoch in tqdm(
            range(settings.epochs), run.name, unit="epoch", mininterval=2, leave=False
        ):
            seen = batches("train", ranges=ranges, epoch=epoch, seed=run.seed, shuffle=True)
            # Batches has the order; Keras would shuffle the batches once more, unkeyed
            loss = float(self.model.fit(seen, shuffle=False, verbose=0).history["loss"][-1])
            scores = self.model.predict(batches("val"), verbose=0)
            val_loss = bce(data.y[rows["val"]], scores)
            history.append({"epoch": epoch, "loss": loss, "val_loss": val_loss})
            diverged = not (math.isfinite(loss) and math.isfinite(val_loss))
            if diverged:
                break
            if val_loss < best["val_loss"]:
                state = [variable.numpy() for variable in self._moving]
                best = {"val_loss": val_loss, "epoch": epoch, "val": scores, "state": state}
        if diverged:
            best = {name: np.full((len(rows[name]), 2), CONSTANT_SCORE) for name in ("val", "test")}
        else:
            for variable, value in zip(self._moving, best["state"], strict=True):
                variable.assign(value)
            best["test"] = self.model.predict(batches("test"), verbose=0)
        tables = [_table(data, rows[name], name, best[name]) for name in ("val", "test")]
        result = {
            "diverged": diverged,
            "best_epoch": best.get("epoch"),
            "n_epochs": len(history),
            "n_updates": len(history) * math.ceil(len(rows["train"]) / settings.batch_size),
            "n_trainable": self.n_trainable,
            "seconds": round(time.perf_counter() - started, 2),
            **{f"n_{name}": len(rows[name]) for name in rows},
        }
        return pd.concat(tables, ignore_index=True), pd.DataFrame(history), result

    @property
    def n_trainable(self):
        """Trainable parameters, the classifier's included."""
        return int(sum(np.prod(v.shape) for v in self.model.trainable_variables))

    @property
    def _moving(self):
        """All variables that training can change; a frozen batch norm's are not among them."""
        return [v for layer in self.model.layers if layer.trainable for v in layer.weights]

    def _state(self, init, seed):
        keras.utils.set_random_seed(seed)
        fresh = backbones.build(init=init, **self.shape)
        return [variable.numpy() for variable in fresh.variables]

    def _prepare(self, run):
        return lambda x: backbones.preprocess(x, run.preprocess, run.scenario.backbone)


def train_all(runs, data, settings, folder):
    """Train runs that are not finished yet; each leaves its folder complete or not at all.

    Args:
        runs: `rin.scenarios.Run`s of any shape.
        data: a `rin.prepare.Data`.
        settings: a `Settings`.
        folder: a run's files go to `folder/<task>/<run name>/`: `predictions.parquet`,
            `history.parquet` and, last, `record.json`.

    Returns:
        The run folders, in the order of `runs`. A line a run is printed as it ends.
    """
    deterministic()
    size = data.images.shape[1]
    ordered = sorted(runs, key=lambda run: (_shape(run, size), run.init, run.seed))
    trainer, shape = None, None
    for number, run in enumerate(ordered, start=1):
        home = Path(folder) / run.task / run.name
        mark = run_fingerprint(run, data, settings)
        home.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(home / ".lock"):
            if records.is_finished(home, mark):
                print(f"[{number}/{len(ordered)}] {run.name}: finished before, skipped", flush=True)
                continue
            if _shape(run, size) != shape:
                keras.backend.clear_session()
                shape = _shape(run, size)
                trainer = Trainer(*shape)
            predictions, history, result = trainer.train(run, data, settings)
            _save(home, run, settings, data, mark, predictions, history, result)
        print(f"[{number}/{len(ordered)}] {run.name}: {_said(result, history)}", flush=True)
    return [Path(folder) / run.task / run.name for run in runs]


def run_fingerprint(run, data, settings):
    """What makes a training run the same: its facts, data, settings, weight file, backend, code."""
    init = weights.fingerprint(run.init, run.scenario.backbone)
    code = records.code_fingerprint(*CODE)
    facts = [run.facts(), init, data.fingerprint, asdict(settings), keras.backend.backend(), code]
    return records.fingerprint(facts)


def deterministic():
    """Make TensorFlow repeat itself bit for bit; call it before any model is built."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()


def jit_compile():
    """XLA only where it is faster: on an accelerator, or where the backend knows nothing else."""
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow

    return "auto" if tensorflow.config.list_physical_devices("GPU") else False


def one_hot(y):
    """`(n,)` ints -> `(n, 2)` float32."""
    return np.eye(2, dtype=np.float32)[y]


def bce(y, scores):
    """Binary cross-entropy over both one-hot columns, as Keras's validation loss has it.

    Args:
        y: `(n,)` ints.
        scores: `(n, 2)` probabilities.
    """
    target = one_hot(y)
    scores = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(target * np.log(scores) + (1 - target) * np.log1p(-scores)))


def _shape(run, size):
    return run.scenario.backbone, run.scenario.trainable, run.classifier, size


def _table(data, rows, split, scores):
    columns = {
        "row": rows,
        "image_id": data.image_ids[rows],
        "patient": pd.array(data.patients[rows], dtype="string"),
        "group": data.groups[rows],
        "split": split,
        "y_true": data.y[rows],
        "y_score": scores[:, 1].astype(np.float64),
        "y_score_negative": scores[:, 0].astype(np.float64),
    }
    return pd.DataFrame(columns)


def _save(home, run, settings, data, mark, predictions, history, result):
    for name, table in (("predictions", predictions), ("history", history)):
        with paths.replacing(home / f"{name}.parquet") as file:
            table.to_parquet(file)
    facts = {
        "kind": "training",
        "fingerprint": mark,
        "run": run.facts(),
        "settings": asdict(settings),
        "data_fingerprint": data.fingerprint,
        "init_fingerprint": weights.fingerprint(run.init, run.scenario.backbone),
        "backend": keras.backend.backend(),
        "result": result,
    }
    records.write(home, facts)


def _said(result, history):
    if result["diverged"]:
        return f"diverged after {result['n_epochs']} epochs, {result['seconds']:.0f} s"
    best = history["val_loss"].min()
    return f"val loss {best:.3f} in epoch {result['best_epoch']}, {result['seconds']:.0f} s"
