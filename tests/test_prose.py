"""Numbers of the prose that come from a table of results: each is read from its table again."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
LOGISTIC, FOREST = "16×16 thumbnail, logistic regression", "image facts, forest"


def prose(page):
    """The text of a page as one line: of a notebook, its Markdown cells."""
    file = ROOT / page
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"\s+", " ", text)


def table(name):
    return pd.read_csv(RESULTS / name)


def grouped(folder, baseline, column=-1):
    """A baseline's AUC in the audit; the last column groups as far as the set allows."""
    scores = table(f"{folder}/audit_grouped.csv").set_index("baseline")
    return f"{scores.loc[baseline].iloc[column]:.2f}"


def images(folder):
    size = table(f"{folder}/audit_size.csv").set_index("what")["number"]
    return f"{int(size['images']):,}"


def baselines_without_anatomy():
    return grouped("kermany_subset", LOGISTIC), grouped("busi", LOGISTIC)


def forest_on_busi():
    return grouped("busi", FOREST, 0), grouped("busi", FOREST)


def twins():
    folds = table("busi/audit_official.csv")
    (size,) = folds["n_test"].unique()
    least, most = folds["n_twins"].min(), folds["n_twins"].max()
    return folds["n_twins"].sum(), folds["n_test"].sum(), least, most, size


def pediatric_runs():
    runs = table("pediatric/runs.csv")
    (size,) = runs["image_size"].unique()
    (n,) = runs[runs["protocol"] == "5-fold"][["n_train", "n_val", "n_test"]].sum(axis=1).unique()
    return f"{n:,}", size


def pediatric_val():
    (n,) = table("pediatric/runs.csv").query("protocol == 'official'")["n_val"].unique()
    return (n,)


def pretraining_size():
    process = table("pretraining/process.csv")
    (size,) = process[process["step"] == "pretraining"]["image_size"].unique()
    return (f"{size:.0f}",)


def files():
    n = int(table("scan_the_database.csv")["run"][0].removeprefix("rin, ").replace(",", ""))
    return (f"{n / 1e6:.2f}",)


def breast_bill():
    bill = table("costs/bill.csv").query("task == 'breast'")
    return bill["epochs"].iloc[0], bill["images"].iloc[0]


def dice_of_marks():
    dice = table("busi/dice_ladder.csv").set_index("baseline")["mean_dice"]
    marks = dice[["whole image", "another image's mask", "centered disc, 30 %"]]
    ideal = dice[["ideal map, 8×8", "ideal map, 6×6"]]
    n = table("busi/dice_ladder.csv")["n_images"].iloc[0]
    return f"{marks.iloc[0]:.3f}", n, *[f"{d:.3f}" for d in marks[1:]], *[f"{d:.2f}" for d in ideal]


PATTERNS = [
    (
        "book/errata.md",
        r"scores ([\d.]+) on the (\d+) BUSI lesion .*? images ([\d.]+), a centered disc of 30% of "
        r"the area ([\d.]+); .*? ([\d.]+) for 8 × 8 cells and ([\d.]+) for 6 × 6",
        dice_of_marks,
    ),
    (
        "book/errata.md",
        r"regression has AUC ([\d.]+) on a subset of these radiographs and ([\d.]+) on BUSI",
        baselines_without_anatomy,
    ),
    ("book/errata.md", r"with a forest ([\d.]+) on BUSI by image, ([\d.]+) with", forest_on_busi),
    (
        "book/errata.md",
        r"(\d+) of (\d+) test images have a near twin .*?\((\d+) to (\d+) of (\d+) a fold",
        twins,
    ),
    ("book/errata.md", r"the released validation set has (\d+) images", pediatric_val),
    ("book/cards.md", r"a validation set of (\d+) images", pediatric_val),
    (
        "book/cards.md",
        r"with logistic regression reaches AUC ([\d.]+) on a subset",
        lambda: (grouped("kermany_subset", LOGISTIC),),
    ),
    *[
        (page, r"we had ([\d,]+) of 5,856", lambda: (images("kermany_subset"),))
        for page in ("book/07_see_what_we_measured.ipynb", "book/checklists.md")
    ],
    ("book/07_see_what_we_measured.ipynb", r"database of ([\d.]+) million files", files),
    (
        "book/09_what_it_costs.ipynb",
        r"the published (\d+) epochs and all (\d+) images",
        breast_bill,
    ),
    (
        "book/09_what_it_costs.ipynb",
        r"([\d,]+) images through a real backbone",
        lambda: (f"{table('costs/memory.csv')['n_images'].max():,}",),
    ),
    ("book/17_the_pediatric_study.ipynb", r"validation set has (\d+) images", pediatric_val),
    (
        "results/pediatric/about.md",
        r"on ([\d,]+) of the 5,856 radiographs at (\d+)",
        pediatric_runs,
    ),
    ("results/pediatric/about.md", r"trained at (\d+) px on nine classes", pretraining_size),
]


@pytest.mark.parametrize(("page", "pattern", "expected"), PATTERNS)
def test_a_number_in_prose_is_that_of_its_table(page, pattern, expected):
    found = re.findall(pattern, prose(page))
    assert found, f"{page}: the sentence is gone or has other words; its row here should follow it"
    wanted = tuple(str(value) for value in expected())
    for numbers in found:
        assert (numbers if isinstance(numbers, tuple) else (numbers,)) == wanted
