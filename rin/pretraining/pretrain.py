"""Pretrain: one network on one database, from the images to weights, tables and a record."""

from dataclasses import dataclass
from pathlib import Path

import filelock
import keras
import pandas as pd

from rin import paths, records
from rin.pretraining import card as cards
from rin.pretraining import checkpoint, export, scores
from rin.pretraining.fitting import Fit

TABLES = ("history", "predictions")


@dataclass(frozen=True)
class Pretrained:
    """A finished pretraining.

    Attributes:
        folder: where its tables and its `record.json` lie.
        record: that record: facts, result, files, versions, hardware.
        history: one row an epoch; see `rin.pretraining.fitting.Fit.train`.
        predictions: of val and test by the kept weights; see `rin.pretraining.scores.predictions`.
        card: a `rin.pretraining.card.Card`.
        weights: path of the legacy weight file, an init for `rin.weights.load`.
    """

    folder: Path
    record: dict
    history: pd.DataFrame
    predictions: pd.DataFrame
    card: cards.Card
    weights: Path


def pretrain(database, backbone, recipe, out_dir, name="Pretrained", *, devices=1, every_s=600):
    """Pretrain a network, or go on where it was stopped; a finished one is read again.

    Args:
        database: a `rin.pretraining.database.Database`.
        backbone: a key of `rin.backbones.BACKBONES`.
        recipe: a `rin.pretraining.recipe.Recipe`.
        out_dir: weights and card go there, tables, checkpoint and record to `out_dir/<backbone>`.
        name: what the weight files' names begin with.
        devices: how many share each batch.
        every_s: seconds between two checkpoints.

    Returns:
        A `Pretrained`.

    Raises:
        rin.pretraining.checkpoint.CheckpointError: the folder holds a pretraining of other
            parameters, stopped or finished; nothing is overwritten.
        rin.pretraining.fitting.FittingError: see there.
    """
    out_dir = paths.resolve(out_dir)
    folder = out_dir / backbone
    folder.mkdir(parents=True, exist_ok=True)
    data = database.data
    facts = facts_of(database, data, backbone, recipe)
    with filelock.FileLock(folder / ".lock"):
        if not _is_finished(folder, facts, out_dir):
            keras.backend.clear_session()
            fit = Fit(data, len(database.classes), backbone, recipe, devices)
            held = checkpoint.Checkpoint(folder, facts, every_s)
            history = fit.train(held, f"{backbone}, {len(fit.rows['train']):,} images")
            _finish(fit, history, database, facts, out_dir, name)
            held.remove()
    return read(out_dir, backbone)


def read(out_dir, backbone):
    """A finished pretraining as `Pretrained`.

    Raises:
        FileNotFoundError: there is none.
    """
    out_dir = paths.resolve(out_dir)
    record = records.read(out_dir / backbone)
    if record is None:
        raise FileNotFoundError(f"{out_dir / backbone}: no finished pretraining there")
    tables = [pd.read_parquet(out_dir / backbone / f"{table}.parquet") for table in TABLES]
    card = cards.read(out_dir / record["files"]["card"])
    weights = out_dir / record["files"]["legacy"]
    return Pretrained(out_dir / backbone, record, *tables, card, weights)


def facts_of(database, data, backbone, recipe):
    """All that the weights depend on, but for the code; a dict.

    Args:
        database: a `rin.pretraining.database.Database`.
        data: its `data`.
        backbone, recipe: as `pretrain` takes them.
    """
    return {
        "backbone": backbone,
        "image_size": int(data.images.shape[1]),
        "classes": list(database.classes),
        "data_fingerprint": data.fingerprint,
        "recipe": recipe.facts(),
        "backend": keras.backend.backend(),
    }


def _is_finished(folder, facts, out_dir):
    """Whether the same pretraining is there, whole.

    Raises:
        CheckpointError: another one is.
    """
    record = records.read(folder)
    if record is None:
        return False
    said = checkpoint.differences(record.get("facts"), facts)
    if said:
        raise checkpoint.CheckpointError(
            f"{folder}: a finished pretraining of other parameters ({'; '.join(said)}). Choose "
            "another folder, or remove this one"
        )
    return all((out_dir / file).is_file() for file in record["files"].values())


def _finish(fit, history, database, facts, out_dir, name):
    """Predict val and test, export, and write tables and, last, the record."""
    folder, ids = out_dir / facts["backbone"], fit.data.image_ids
    parts = []
    for split in ("val", "test"):
        rows = fit.rows[split]
        if len(rows):
            told = fit.predict(split), fit.data.y[rows], database.classes, ids[rows], split
            parts.append(scores.predictions(*told))
    predictions = pd.concat(parts, ignore_index=True)
    kept = {"epoch": fit.state.best["epoch"], "n_updates": len(history) * fit.n_steps}
    kept |= {"seconds": history["seconds"].sum(), "images_per_s": history["images_per_s"].median()}
    metrics = {split: _metrics(part, facts) for split, part in predictions.groupby("split")}
    card = cards.Card(
        backbone=facts["backbone"],
        classes=database.classes,
        preprocess=facts["recipe"]["preprocess"],
        image_size=facts["image_size"],
        data_fingerprint=facts["data_fingerprint"],
        protocol=database.protocol,
        n_images={split: len(rows) for split, rows in fit.rows.items()},
        recipe=facts["recipe"],
        metrics=metrics,
        phantom=database.phantom,
    )
    files = export.export(fit.network, facts["backbone"], out_dir, card, name)
    for table, frame in zip(TABLES, (history, predictions), strict=True):
        with paths.replacing(folder / f"{table}.parquet") as file:
            frame.to_parquet(file)
    record = {
        "kind": "pretraining",
        "fingerprint": records.fingerprint(facts),
        "facts": facts,
        "code": records.code_fingerprint(),
        "phantom": database.phantom,
        "protocol": database.protocol,
        "result": kept | {"metrics": metrics},
        "files": {kind: file.name for kind, file in files.items()},
    }
    records.write(folder, record)


def _metrics(predictions, facts):
    found = scores.report(predictions, n_classes=len(facts["classes"]))
    return found["estimate"].round(6).to_dict()
