"""The steps of the pretraining experiment: what ran, how long, on what, and by which command."""

import json
import shlex

from rin import paths, run, scenarios, splits

PAGES = {"pretraining": "11_pretrain_a_backbone", "fine-tuning": "05_fine_tune_a_backbone"}
HOME = "runs/nine"  # where the commands that are quoted write to
TRAINABLES = {"head": 0, "top10": 1, "all": 2}  # in the order of the tables
SAID = ("task", "backbones", "trainables", "epochs", "batch_size", "batch_sizes", "protocol")
SETTINGS = ("epochs", "precision", "micro_batch", "devices", "objective")  # named as on the page


def pretraining(record, base, block_size):
    """The row of one pretraining.

    Args:
        record: its `record.json` as a dict.
        base: the `rin.pretraining.database.Database` it saw.
        block_size: of its split.
    """
    facts, recipe = record["facts"], record["facts"]["recipe"]
    params = {name: recipe[name] for name in recipe if name != "policies"}
    params |= {"augmentation_policies": recipe["policies"], "backbones": [facts["backbone"]]}
    params |= {"data_dir": "IMAGES", "image_size": facts["image_size"]}
    params |= {"protocol": record["protocol"], "out_dir": f"{HOME}/pretraining"}
    params["weights_name"] = record["files"]["legacy"].rsplit("-", 1)[0]
    if record["protocol"] == "blocks":
        params["block_size"] = block_size
    return {
        "step": "pretraining",
        "what": f"{len(facts['classes'])} classes",
        "backbones": facts["backbone"],
        "trainable": "all",
        "n_runs": 1,
        **_images(base.manifest),
        "image_size": facts["image_size"],
        "folds": None,
        "epochs": recipe["epochs"],
        "batch_size": recipe["batch_size"],
        "n_updates": record["result"]["n_updates"],
        "hours": record["result"]["seconds"] / 3600,
        **_machines([record]),
        "split": " ".join([f"Protocol {record['protocol']}.", *base.notes]),
        "command": command("pretraining", params, f"pretraining-{facts['backbone']}"),
    }


def fine_tuning(runs, ready, done, image_size):
    """The rows of a task, one for each call of the page that it takes.

    Args:
        runs: as `keep_experiment.chosen` gives them.
        ready: the task's `rin.prepare.Prepared`.
        done: the pretrainings' records by backbone.
        image_size: pixels a side.
    """
    keys = ["backbone", "trainable", "batch_size"]
    rates = runs.groupby(keys)["learning_rate"].agg(lambda several: tuple(sorted(set(several))))
    runs = runs.join(rates.rename("rates"), on=keys)
    calls = runs.groupby(["trainable", "batch_size", "rates"])
    in_order = sorted(calls, key=lambda call: (TRAINABLES[call[0][0]], *call[0][1:]))
    return [
        _call(part, ready, done, image_size, number)
        for number, (_, part) in enumerate(in_order, start=1)
    ]


def command(step, params, name):
    """The line that runs a page with these parameters.

    Those with the page's defaults are left out, but for `SAID`.

    Args:
        step: a key of `PAGES`.
        params: dict of the page's parameters.
        name: of the folder below `HOME` for the executed page.

    Raises:
        rin.run.PageError: a parameter the page does not have.
    """
    page = f"book/{PAGES[step]}.ipynb"
    defaults = run.parameters(paths.root() / page)
    run.check(params, defaults, page)
    given = {k: v for k, v in params.items() if k in SAID or v != defaults[k]}
    pairs = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in given.items()]
    said = " ".join(f"-p {shlex.quote(pair)}" for pair in pairs)
    return f"python -m rin.run {page} {said} --out {HOME}/pages/{name}"


def _call(runs, ready, done, image_size, number):
    """The row of runs that share a trainable, a batch size and the learning rates."""
    first, record = runs.iloc[0], runs["record"].iloc[0]
    settings, trainable = record["settings"], first["trainable"]
    backbones, folds = (sorted(set(runs[name])) for name in ("backbone", "fold"))
    files = {name: f"{HOME}/pretraining/{done[name]['files']['legacy']}" for name in backbones}
    params = {name: settings[name] for name in SETTINGS if name in settings}
    params |= {"task": ready.task.name, "data_dir": "IMAGES", "image_size": image_size}
    params |= {"backbones": backbones, "weight_files": files, "trainables": [trainable]}
    if first["rates"] != tuple(sorted(scenarios.LEARNING_RATES[trainable])):
        params["learning_rates"] = {trainable: list(first["rates"])}
    if settings["augmentation"] != ready.task.augmentation:
        params["augmentation"] = "none"
    params |= {"preprocesses": [first["preprocess"]], "classifier": first["classifier"]}
    params |= {"batch_sizes": [int(first["batch_size"])], "seeds": [int(first["seed"])]}
    params |= {"folds": [int(k) for k in folds], "out_dir": HOME}
    return {
        "step": "fine-tuning",
        "what": ready.task.name,
        "backbones": ", ".join(backbones),
        "trainable": trainable,
        "n_runs": len(runs),
        **_images(ready.manifest),
        "image_size": image_size,
        "folds": ", ".join(map(str, folds)),
        "epochs": settings["epochs"],
        "batch_size": first["batch_size"],
        "n_updates": runs["n_updates"].sum(),
        "hours": runs["seconds"].sum() / 3600,
        **_machines(runs["record"]),
        "split": f"Protocol {ready.task.protocol}.",
        "command": command("fine-tuning", params, f"{ready.task.name}-{number}"),
    }


def _images(manifest):
    """How many there are; `n_patients` is None where one is not known."""
    patients = manifest["patient"]
    known = patients.nunique() if patients.notna().all() else None
    groups = splits.groups(manifest).nunique()
    return {"n_images": len(manifest), "n_patients": known, "n_groups": groups}


def _machines(several):
    """Hardware and versions in words; no name of a machine."""
    hardware, versions = {}, {}  # as ordered sets
    for record in several:
        found, backend = record["hardware"], (record.get("facts") or record)["backend"]
        words = [f"{found['n_cores']} cores {found['processor']}", *found["accelerators"]]
        hardware[", ".join(words)] = None
        said = [f"{name} {record['versions'][name]}" for name in ("python", "keras", backend)]
        versions[", ".join(said)] = None
    return {"hardware": "; ".join(hardware), "versions": "; ".join(versions)}
