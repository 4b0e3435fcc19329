"""Golden values: what the code gave on 2026-12-01, kept so that a rebuilding changes no number.

    python tests/golden.py [folds] [runs] [tables]     # write them anew; the commit says why

`golden/folds.json`: hashes of manifests and folds of real images, which lie beside the project.
`golden/phantoms`: phantom images; `golden/runs`: what training on them gave. `golden/tables`: every
table that pages compute from `results/` and from the package's own data.
"""

import base64
import hashlib
import html
import json
import re
import shutil
import sys
import tempfile
from io import StringIO
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

HOME = Path(__file__).resolve().parent / "golden"
ROOT = HOME.parents[1]
DATA = ROOT.parent / "shared" / "data"
# task, folder of its real images below DATA, protocols, options of the reader
REAL = [
    ("breast", "busi", ("5-fold", "75/10/15", "official"), {}),
    ("thyroid", "ddti", ("5-fold", "official"), {}),
    ("thyroid", "ddti", ("5-fold",), {"burned_in": "drop"}),
    ("pediatric", "kermany", ("5-fold", "official"), {}),
    ("radimagenet", "mini_radimagenet", ("75/10/15",), {}),
]
# pages that read no runs: name here, page, parameters
PAGES = {
    "published": ("01_read_the_published_statistics_again", {}),
    "datasets": ("02_meet_the_datasets", {}),
    "measured": ("07_see_what_we_measured", {}),
    "costs": ("09_what_it_costs", {}),
    "inits": ("14_compare_the_inits", {"runs_dir": "runs/none"}),
    "verdict": ("16_verdict", {"runs_dir": "runs/none"}),
    "pediatric": ("17_the_pediatric_study", {"kept_dir": "results/pediatric"}),
}
LINK = re.compile(r'download="([^"]+)\.csv" href="data:text/csv;base64,([^"]+)"')


def folds(task, folder, protocols, options):
    """Hashes of a real manifest and of its folds, whatever its groups are called."""
    from rin import datasets, splits

    frame = datasets.read(task, DATA / folder, **options)
    plain = frame[["image", "label", "mask"]].fillna("").astype(str)
    for name in ("patient", "group"):
        plain[name] = pd.factorize(frame[name])[0]
    found = {"images": len(frame), "manifest": _hash(plain)}
    for protocol in protocols:
        assigned = splits.assign(frame, protocol)
        columns = [name for name in assigned if str(name).startswith("split_")]
        found[protocol] = _hash(assigned[["image", *columns]].astype(str))
    return found


def key(task, folder, protocols, options):
    """A row of `REAL` as text."""
    return " ".join([task, folder, *(f"{name}={value}" for name, value in options.items())])


def train(folder):
    """Runs on the kept phantoms: a head and the last layers of ResNet50, both objectives.

    Returns:
        DataFrame of predictions, one of histories, and a dict of class maps by run.
    """
    from rin import runs
    from rin.gradcam import choices
    from rin.prepare import prepare
    from rin.scenarios import Run, Scenario

    data = prepare("breast", str(HOME / "phantoms"), image_size=32).data
    kinds = [("head", "official"), ("top10", "official"), ("head", "stated")]
    parts = {"predictions": [], "history": []}
    maps = {}
    for trainable, objective in kinds:
        scenario = Scenario("resnet50", trainable, 1e-2)
        wanted = [Run("breast", "random", "official", scenario, f, batch_size=8) for f in (0, 1)]
        how = runs.Settings(epochs=3, objective=objective)
        for run, home in zip(
            wanted, runs.train_all(wanted, data, how, Path(folder) / objective), strict=True
        ):
            name = f"{trainable} {objective} fold {run.fold}"
            for table, several in parts.items():
                several.append(pd.read_parquet(home / f"{table}.parquet").assign(run=name))
            maps[name] = choices.load(home)[0]
    columns = ["run", "split", "row", "y_true", "y_score", "y_score_negative"]
    predictions = pd.concat(parts["predictions"], ignore_index=True)[columns]
    history = pd.concat(parts["history"], ignore_index=True)
    return predictions, history[["run", "epoch", "loss", "val_loss"]], maps


def tables(name, folder):
    """Every table that a page shows, from the link under it.

    Args:
        name: a key of `PAGES`.
        folder: where the page is executed.

    Returns:
        dict from the table's name to a DataFrame; a table of many rows is a hash of its text.
    """
    from rin import run

    page, params = PAGES[name]
    page, out = ROOT / f"book/{page}.ipynb", Path(folder) / name
    params = params | {"out_dir": str(out / "tables")}
    known = run.parameters(page)
    file = run.run(page, {k: v for k, v in params.items() if k in known}, out)
    found = {}
    for cell in nbformat.read(file, 4).cells:
        for output in cell.get("outputs", []):
            shown = "".join(output.get("data", {}).get("text/html", ""))
            for title, code in LINK.findall(shown):
                text = base64.b64decode(code).decode()
                found[html.unescape(title)] = pd.read_csv(StringIO(text), keep_default_na=False)
    return found


def _hash(frame):
    return hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()[:16]


def write(*what):
    """Write the golden values anew."""
    if "folds" in what:
        found = {key(*row): folds(*row) for row in REAL}
        (HOME / "folds.json").write_text(json.dumps(found, indent=1) + "\n")
    with tempfile.TemporaryDirectory() as work:
        if "runs" in what:
            if not (HOME / "phantoms").is_dir():
                from rin import phantoms

                phantoms.write("breast", HOME / "phantoms", n=80, size=40)
            predictions, history, maps = train(work)
            (HOME / "runs").mkdir(exist_ok=True)
            predictions.to_parquet(HOME / "runs/predictions.parquet")
            history.to_parquet(HOME / "runs/history.parquet")
            np.savez_compressed(HOME / "runs/maps.npz", **maps)
        if "tables" in what:
            shutil.rmtree(HOME / "tables", ignore_errors=True)
            for name in PAGES:
                for title, frame in tables(name, work).items():
                    file = HOME / "tables" / name / f"{title}.csv"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    frame.to_csv(file, index=False)


if __name__ == "__main__":
    write(*(sys.argv[1:] or ("folds", "runs", "tables")))
