"""Export: a trained network as one folder that works without this book.

`<name>.keras` and `<name>.onnx` take grey images as they are, float32 0–255, `(n, size, size, 1)`:
what a backbone is fed stands in the network itself, so nobody can feed it wrongly. Only Keras's own
layers are inside. Beside them lie `card.json` and `card.md` (what the network is) and
`training.npz` (how its training images look on average; see `rin.unlike`).
"""

import os
import re
import tempfile
from pathlib import Path

import numpy as np

from rin import judge, kept, model_card, model_facts, paths, predict, records, served, unlike

TOLERANCE = 1e-4  # most that a probability may differ between Keras and ONNX
MOST_IMAGES = 2000  # of a set that its statistics are made from


class ExportError(ValueError):
    """A run that can't be exported, or a file that would not be what its card says."""


def export(run_folder, out_folder, prepared, name=None, init=None):
    """Write a run's network, its card and its training statistics.

    All files are complete before the first is moved to its place; the card comes last. Without the
    packages for ONNX (see `rin.served.without_onnx`) that file alone is left out, and the card
    says so.

    Args:
        run_folder: of a finished run that kept its weights.
        out_folder: where to write; made if it is not there.
        prepared: the `rin.prepare.Prepared` that the run was trained on.
        name: of the two network files, without suffix; default task and backbone.
        init: the weight file that the run started from, if it was a file.

    Returns:
        Dict from "keras", "onnx", "statistics", "markdown" and "card" to paths.

    Raises:
        ExportError: `name` is no file name, the folder holds another network, or the ONNX file's
            probabilities differ from Keras's by more than 1e-4.
        rin.kept.KeptError: the run kept no weights, or started from another file.
        rin.model_card.CardError: no finished run, one that diverged, or one of other data.
    """
    run_folder, out_folder = paths.resolve(run_folder), paths.resolve(out_folder)
    network, resized = kept.load(run_folder, init), _interpolation(prepared)
    card = model_facts.make(run_folder, network, prepared, resized)
    name = name or f"{card['use']['task']}-{card['network']['backbone']}"
    _check_name(name, out_folder)
    model = predict.opened(network, card)
    statistics, seen = _statistics(model, prepared)
    card["unlike"], card["network"] = seen, card["network"] | _interface(network)
    whole = served.with_preprocess(network, model.fed, model.backbone)
    out_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_folder, prefix=".export-") as work:
        fresh = _write(whole, Path(work), name, _few(prepared), card)
        unlike.save(statistics, fresh["statistics"])
        card["sha256"] = {file.name: records.sha256(file) for file in fresh.values()}
        model_card.write(card, work)
        fresh |= {"markdown": Path(work) / model_card.MARKDOWN}
        fresh |= {"card": Path(work) / model_card.FILE}
        for file in fresh.values():  # in the same folder: each is replaced whole
            os.replace(file, out_folder / file.name)
    if "onnx" not in fresh:
        (out_folder / f"{name}.onnx").unlink(missing_ok=True)  # an earlier export's
    return {kind: out_folder / file.name for kind, file in fresh.items()}


def best(runs_dir, task):
    """The run to export: chosen on val, never on test.

    Among the runs that kept their weights, of scenarios that diverged in no run: the init and
    scenario that `rin.judge.chosen` gives; of it the first fold and seed.

    Args:
        runs_dir: folder that training wrote to.
        task: its name.

    Returns:
        The run's folder.

    Raises:
        ExportError: none of these is there.
        rin.judge.JudgeError: no run, runs that can't be judged together, or no scenario with all
            folds.
    """
    runs, _ = judge.gather(runs_dir, task)
    kept_some = runs["folder"].map(lambda folder: (Path(folder) / kept.FILE).is_file())
    unstable = runs["diverged"].groupby([runs["arm"], runs["scenario"]]).transform("any")
    runs = runs[kept_some & ~unstable]
    if runs.empty:
        raise ExportError(
            f"{runs_dir}: no run of task {task!r} kept its weights ({kept.FILE}), of a scenario "
            "that diverged in no run: train with keep_weights: true"
        )
    arm, scenario = judge.chosen(runs)
    mine = runs[(runs["arm"] == arm) & (runs["scenario"] == scenario)]
    return Path(mine.sort_values(["fold", "seed"])["folder"].iloc[0])


def _check_name(name, folder):
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ExportError(f"`name` should be a file name without suffix. Received: name={name!r}")
    file, other = f"{name}{predict.ENDING}", sorted(folder.glob(f"*{predict.ENDING}"))
    known = model_card.read(folder)["sha256"] if (folder / model_card.FILE).exists() else {}
    if strange := [one.name for one in other if one.name not in known or one.name != file]:
        raise ExportError(f"{folder}: {strange[0]} is there, another network: choose a new folder")


def _write(whole, work, name, pixels, card):
    """The network's files in a folder of work; the card learns how far ONNX lies from Keras."""
    fresh = {"keras": work / f"{name}{predict.ENDING}", "statistics": work / predict.STATISTICS}
    whole.save(fresh["keras"])
    card["network"]["onnx"] = "not written" if served.without_onnx() else "equal to Keras"
    if not served.without_onnx():
        fresh["onnx"] = work / f"{name}.onnx"
        served.to_onnx(whole, fresh["onnx"])
        gap = served.difference(whole, fresh["onnx"], pixels)
        if not gap <= TOLERANCE:
            raise ExportError(f"ONNX and Keras differ by {gap:.2g}, at most {TOLERANCE} expected")
        card["network"]["onnx, largest difference"] = gap
    return fresh


def _interface(network):
    size = network.input_shape[1]
    taken = f"(n, {size}, {size}, 1) float32, grey levels 0 to 255; the preprocess is inside"
    return {"input": taken, "output": "(n, 2) probabilities, classes in order"}


def _statistics(model, prepared):
    """Training statistics, and how they do on test images: a `Training` and a dict."""
    fold = model.card["network"]["fold"]
    seen = {name: _sample(prepared, fold, name) for name in ("train", "val", "test")}
    features = {name: model(prepared.data.images[rows])[0] for name, rows in seen.items()}
    facts = {name: _facts(prepared, seen[name]) for name in ("train", "test")}
    made = unlike.fit(features["train"], features["val"], facts["train"])
    judged = unlike.judge(made, features["test"], facts["test"])
    ranges = {n: [*ends] for n, *ends in zip(unlike.FACTS, made.low, made.high, strict=True)}
    said = {"method": "Mahalanobis distance of pooled features, shrunk covariance; plain facts"}
    said |= {"images": {name: len(rows) for name, rows in seen.items()}, "limit": made.limit}
    said |= {"share of test images called unlike": float(judged["unlike"].mean())}
    return made, model_card.plain(said | {"range": ranges})


def _sample(prepared, fold, name):
    """Row numbers of a set, at most `MOST_IMAGES`, evenly over it."""
    rows = np.flatnonzero(prepared.data.splits[:, fold] == name)
    return rows[np.unique(np.linspace(0, len(rows) - 1, MOST_IMAGES).astype(int))]


def _facts(prepared, rows):
    index = prepared.store.index.iloc[rows]
    files = [prepared.root / name for name in index["image"]]
    return unlike.facts(files, prepared.store.array[rows], index[["width", "height"]])


def _few(prepared):
    return prepared.store.array[: min(8, len(prepared.store.array))]


def _interpolation(prepared):
    """As the store's folder says it: `256px-bilinear-…`."""
    return prepared.store.folder.name.split("-")[1]
