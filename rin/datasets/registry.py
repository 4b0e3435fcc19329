"""The registry: what is known of each dataset, and how what was found compares with it."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import pandas as pd
import yaml

from rin import published

FILE = "datasets.yaml"
SHOWN_CLASSES = 12  # a dataset with more is counted by modality instead


@dataclass(frozen=True)
class Card:
    """What is known of one task's dataset; every field but `name` is a key of `datasets.yaml`.

    Attributes:
        name: a key of `rin.datasets.TASKS`.
        title: as it stands in a heading.
        question, dataset, modality, labels: one line each; `labels` says how a class is decided.
        source, access: who made it, and where it is to be had.
        terms, terms_short: in plain words; "not stated" where we could not read them.
        show_images: whether pages may show its images.
        layout: `download` as it lies on disk, and `official`, the form of the study's files.
        citation, cited_as: key in `references.bib`, and author with year; None for own images.
        patient: `unit` (patients, exams or cases), whether ids are `known`, and `text`: how.
        expected: counts of the `download` and of the images `published`, each None or with
            `images`, `patients` and `classes`: images of each, or of a large database their
            number, with `modalities` and `unknown` (classes not of the release) beside it.
            `source` says whose counts. None for own images.
        card: the datasheet: `motivation`, `composition`, `collection`, `problems` (a list).
        published: whether the paper has numbers for this task.
    """

    name: str
    title: str
    question: str
    dataset: str
    modality: str
    source: str
    access: str
    terms: str
    terms_short: str
    show_images: bool
    layout: dict
    citation: str | None
    cited_as: str | None
    patient: dict
    labels: str
    expected: dict | None
    card: dict
    published: bool


@cache
def cards():
    """Every `Card` by task, in the order of the file."""
    text = resources.files("rin").joinpath("data", FILE).read_text(encoding="utf-8")
    return {name: Card(name, **entry) for name, entry in yaml.load(text, yaml.CSafeLoader).items()}


def compare(frame, card, phantom=False):
    """What a manifest holds, beside what its dataset should hold.

    Args:
        frame: a validated manifest; `attrs["excluded"]` says what its reader left out, and
            `attrs["noted"]` what it repaired or is worth knowing.
        card: of its dataset.
        phantom: whether the images are ours; then there is nothing to compare with.

    Returns:
        DataFrame `what`, `found` and, for real images of a known dataset, `expected` (of the whole
        download), `published` (of the images the study used) and `agrees`: "yes" with either of
        them, "no" with none, "n/a" where the download's number is not known.
    """
    found = _rows(_found(frame, card), card)
    excluded = frame.attrs.get("excluded", {})
    found |= {f"left out: {why}": left["n"] for why, left in excluded.items()}
    found |= {why: noted["n"] for why, noted in frame.attrs.get("noted", {}).items()}
    table = pd.DataFrame({"what": list(found), "found": _integers(found.values())})
    if phantom or card.expected is None:
        return table
    for column, key in (("expected", "download"), ("published", "published")):
        table[column] = _integers(_numbers(card.expected[key], found, card))
    columns = table[["found", "expected", "published"]]
    return table.assign(agrees=[_agrees(*row) for row in columns.itertuples(index=False)])


def text(table, card):
    """A table of `compare` for the terminal, aligned, with the words to read it by."""
    said = f"{'phantoms' if card.expected else 'your own images'}: nothing to compare with"
    if "agrees" in table:
        said = "expected: the whole download; published: the images of the study; n/a: not known"
    shown = table.set_index("what").rename_axis(None)
    for column in shown.columns.drop("agrees", errors="ignore"):
        shown[column] = [f"{n:,}" if pd.notna(n) else "n/a" for n in shown[column]]
    return f"{card.title}\n{shown.to_string()}\n{said}"


def prose(card):
    """A card as Markdown, without a heading: the page it stands on has its own."""
    shown = "may be shown" if card.show_images else "are not shown"
    parts = [
        f"**Question.** {card.question}",
        f"**Source.** {card.source}. {card.access}",
        f"**Terms.** {card.terms} Its images {shown} on these pages.",
        f"**Layout**, as downloaded:\n\n```text\n{card.layout['download'].rstrip()}\n```",
    ]
    if "\n" in card.layout["official"]:
        parts.append(
            f"and as the study's files:\n\n```text\n{card.layout['official'].rstrip()}\n```"
        )
    parts += [f"**Patients.** {card.patient['text']}", f"**Labels.** {card.labels}"]
    if card.expected is not None:
        parts.append(f"**Counts.** {card.expected['source']}")
    parts += [f"**{key.capitalize()}.** {card.card[key]}" for key in list(card.card)[:3]]
    parts.append("**Known problems.**\n\n" + "\n".join(f"- {p}" for p in card.card["problems"]))
    return "\n\n".join(parts + ([f"**Cite.** {card.cited_as}."] if card.cited_as else []))


def _found(frame, card):
    """The counts of a manifest, keyed as `expected` is."""
    known = _known(card)
    counts = {"images": len(frame), "patients": frame["patient"].nunique() or None}
    if "modalities" in known or frame["label"].nunique() > SHOWN_CLASSES:
        counts["modalities"] = frame["modality"].dropna().value_counts().sort_index().to_dict()
        counts["classes"] = frame["label"].nunique()
        if "unknown" in known:
            counts["unknown"] = len(set(frame["label"]) - set(published.classes()["label"]))
        return counts
    absent = dict.fromkeys(known.get("classes") or {}, 0)
    return counts | {"classes": absent | frame["label"].value_counts().sort_index().to_dict()}


def _known(card):
    """The fullest counts on record: of the study's images where those of the download are not."""
    expected = card.expected or {}
    whole = expected.get("download") or {}
    return whole if whole.get("classes") else expected.get("published") or {}


def _rows(counts, card):
    """Counts as the table's rows: what -> number, or None where it is not known."""
    classes = counts.get("classes")
    rows = {"images": counts.get("images")}
    rows |= {f"modality: {name}": n for name, n in counts.get("modalities", {}).items()}
    if isinstance(classes, dict):
        rows |= {f"class: {name}": n for name, n in classes.items()}
    else:
        rows["classes"] = classes
    rows |= {"unknown classes": counts["unknown"]} if "unknown" in counts else {}
    return rows | {card.patient["unit"]: counts.get("patients")}


def _numbers(counts, found, card):
    rows = _rows(counts or {}, card)
    kinds = {what.split(":")[0] for what in rows if ":" in what}
    # a class that the dataset does not have should hold no images
    return [rows.get(what, 0 if what.split(":")[0] in kinds else None) for what in found]


def _agrees(found, expected, published):
    if pd.isna(found):
        return "n/a"
    if any(pd.notna(n) and found == n for n in (expected, published)):
        return "yes"
    return "n/a" if pd.isna(expected) else "no"


def _integers(numbers):
    return pd.array(list(numbers), dtype="Int64")
