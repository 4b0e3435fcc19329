"""Model facts: what a model card says of a finished run: record, images, test scores."""

from pathlib import Path

import pandas as pd

from rin import datasets, manifest, metrics, records, stats
from rin.model_card import CardError, plain
from rin.objectives import OFFICIAL

ENDS = ("low", "high")
SUBGROUPS = ("age", "sex", "scanner", "site")
INTENDED = "Research and teaching. Not a medical device: no decision on a patient may rest on it."
NOT_A_FINDING = "Trained on phantoms, synthetic images: no number here is a finding."
MEMORY = (
    "It may memorize training images: share it only if your data agreement allows. Removing names "
    "is not anonymization."
)
DOUBLED = (
    "Its probabilities are too sure: the objective `official` trains two sigmoids and reports a "
    "softmax, which about doubles the log odds. Ranks, and so the AUC, are not touched."
)
INIT_TERMS = {
    "random": "random weights, no terms",
    "imagenet": "ImageNet weights of keras.applications; ImageNet's terms apply",
    "radimagenet": "RadImageNet weights, obtained from their authors under a data agreement; "
    "the weights state no license of their own",
}
OWN_TERMS = "a file of the reader's; its own card and terms apply"


def make(run_folder, network, prepared=None, interpolation="bilinear"):
    """The card of a finished run.

    Args:
        run_folder: folder of the run, with its record and its predictions.
        network: its `keras.Model`, for size and number of parameters.
        prepared: the `rin.prepare.Prepared` it was trained on; without it, whatever only the
            images' manifest says is "not known".
        interpolation: how the images were resized; see `rin.images.resize`. Not known either
            without `prepared`.

    Returns:
        Dict of the `SECTIONS`, plain JSON values. `unlike` and `sha256` are empty: export fills
        them.

    Raises:
        CardError: no finished training run, one that diverged, or one of other data.
    """
    record = _record(run_folder)
    if prepared is not None and prepared.data.fingerprint != record["data_fingerprint"]:
        raise CardError(
            f"{Path(run_folder).name}: `prepared` should be the data and split of this run, "
            f"{record['data_fingerprint']}. Received: {prepared.data.fingerprint}"
        )
    row = datasets.task(record["run"]["task"])
    told = record.get("phantom")  # runs of before records said it have none
    phantom = told if prepared is None else prepared.phantom
    two_sigmoids = record["settings"]["objective"] == OFFICIAL
    doubled = two_sigmoids and record["run"]["classifier"] == "gap"
    card = {
        "use": _use(row, prepared, "not known" if phantom is None else phantom),
        "network": _network(record, network, prepared, interpolation),
        "data": _data(row, record, prepared),
        "test": _test(run_folder),
        "unlike": {},
        "limits": _limits(row, phantom, doubled),
        "versions": record.get("versions", {}),
        "sha256": {},
    }
    return plain(card)


def _record(folder):
    record = records.read(folder)
    if record is None or record.get("kind") != "training":
        raise CardError(f"{folder}: expected the folder of a finished training run")
    if record["result"]["diverged"]:
        raise CardError(f"{folder}: this run diverged; there is no network worth a card")
    if "objective" not in record.get("settings", {}):
        raise CardError(records.no_objective(folder, "this run is"))
    return record


def _use(row, prepared, phantom):
    classes = list((prepared.classes if prepared is not None else row.classes) or ())
    classes = classes or ["negative", "positive"]
    return {
        "title": row.title,
        "task": row.name,
        "question": row.card.question,
        "intended use": INTENDED,
        "classes": classes,
        "positive class": classes[1],
        "modality": _values(prepared, "modality") or _single(row.card.modality),
        "anatomy": _values(prepared, "anatomy") or "not known",
        "phantom": phantom,
    }


def _network(record, network, prepared, interpolation):
    run = record["run"]
    facts = {"backbone": run["backbone"], "classifier": run["classifier"]}
    facts |= {"parameters": int(network.count_params()), "init": run["init"]}
    facts |= {"init terms": INIT_TERMS.get(run["init"], OWN_TERMS)}
    facts |= {"init fingerprint": record.get("init_fingerprint")}
    facts |= {"preprocess": run["preprocess"], "fed": record["fed"]}
    how = "not known" if prepared is None else interpolation
    facts |= {"image_size": int(network.input_shape[1]), "interpolation": how}
    facts |= {"window": _window(prepared), "outside": _outside(prepared)}
    facts |= {"scenario": run["scenario"]}
    facts |= {name: run[name] for name in ("trainable", "learning_rate", "fold", "seed")}
    facts |= {"objective": record["settings"]["objective"], "batch_size": run["batch_size"]}
    return facts | {"best epoch": record["result"]["best_epoch"]}


def _data(row, record, prepared):
    facts = {"dataset": row.card.dataset, "source": row.source, "access": row.card.access}
    facts |= {"terms": row.card.terms, "cite": row.card.cited_as}
    facts |= {"images and split": record["data_fingerprint"], "labels": row.card.labels}
    if prepared is None:
        counts = {name: record["result"][f"n_{name}"] for name in manifest.SPLITS}
        return facts | {"images": counts, "subgroups": dict.fromkeys(SUBGROUPS, "not known")}
    data, frame = prepared.data, prepared.manifest
    for name in manifest.SPLITS:
        mine = data.splits[:, record["run"]["fold"]] == name
        facts[name] = {
            "images": int(mine.sum()),
            "patients": frame["patient"][mine].nunique() or "not known",
            "groups": len(set(data.groups[mine])),
            "positive images": int(data.y[mine].sum()),
        }
    return facts | {"subgroups": {name: _subgroup(frame, name) for name in SUBGROUPS}}


def _subgroup(frame, name):
    if name not in frame or frame[name].isna().all():
        return "not known"
    return f"recorded, {frame[name].nunique()} values; not judged one by one here"


def _test(run_folder):
    """The run's test predictions, judged; patients or groups are kept together."""
    rows = pd.read_parquet(Path(run_folder) / "predictions.parquet")
    rows = rows[rows["split"] == "test"]
    y_true, y_score, group = rows["y_true"], rows["y_score"], rows["group"]
    auc = stats.auc_ci(y_true, y_score, patients=group)
    facts = {"images": len(rows), "groups": group.nunique(), "AUC": auc.auc}
    facts |= {"AUC, 95% interval": [auc.low, auc.high], "calibration": _calibration(rows)}
    measured = metrics.report(y_true, y_score)
    facts |= {"Brier score": measured["brier"], "calibration error": measured["ece"]}
    rest = {name: measured[name] for name in measured if name not in metrics.OF_SCORES}
    return facts | {"at threshold 0.5": rest}


def _calibration(rows):
    try:
        found = stats.calibration(rows["y_true"], rows["y_score"], patients=rows["group"])
    except ValueError as error:  # classes that the scores separate have no slope
        return f"not measured: {error}"
    facts = {name: getattr(found, name) for name in ("slope", "intercept")}
    ends = {f"{n}, 95% interval": [getattr(found, f"{n}_{e}") for e in ENDS] for n in facts}
    return facts | ends


def _limits(row, phantom, doubled):
    known = [INTENDED, MEMORY, f"Images: {row.card.terms}"]
    known += [DOUBLED] if doubled else []
    known += [
        "Subgroups: whether it does as well for every age, sex, scanner and site is not known.",
        "Test images come from the same dataset as the training images: another hospital's were "
        "not tried.",
    ]
    return ([NOT_A_FINDING] if phantom is True else []) + known


def _values(prepared, column):
    """The distinct values of a manifest's column, sorted; empty where there is none."""
    return [] if prepared is None else sorted(prepared.manifest[column].dropna().unique())


def _single(modality):
    return [modality] if modality.isalpha() and modality.isupper() else []


def _window(prepared):
    """(level, width) of DICOM training images where all share one, else None."""
    if prepared is None or "window" not in prepared.manifest:
        return None
    named = prepared.manifest["window"].dropna().unique()
    return [float(n) for n in named[0].split("/")] if len(named) == 1 else None


def _outside(prepared):
    """What training images hold beside their scan: "black", or None for what their files hold."""
    if prepared is None or "outside" not in prepared.manifest:
        return None
    named = prepared.manifest["outside"].dropna().unique()
    return str(named[0]) if len(named) == 1 else None
