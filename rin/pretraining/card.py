"""Card: what a pretrained file is, kept beside it as JSON: classes, preprocess, data, metrics."""

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import pandas as pd

from rin import paths, records

ENDING = ".card.json"
FED = ("official", "signed_bgr", "unit", "caffe", "torch", "tf")  # what a network can be fed
SETS = ("train", "val", "test")
TERMS = (
    "Checkpoints may memorise training images: share them only if your data agreement allows it."
)
NOT_A_FINDING = "Pretrained on phantoms: this file is not a finding."
PLACE = re.compile(r"/|~|[A-Za-z]:[\\/]|file:")  # how an absolute path begins


class CardError(ValueError):
    """A card that can't be read, lacks a key, or holds what no card may hold."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything a reader of the weights must know, and nothing about a patient or a machine.

    Attributes:
        backbone: a key of `rin.backbones.BACKBONES`.
        classes: names, in the order of the classifier's units.
        preprocess: what the network was fed, one of `FED`; "native" is put into these words.
        image_size: pixels a side.
        data_fingerprint: hexadecimal, of the images, their labels and their sets.
        protocol: how they were split.
        n_images: {"train": n, "val": n, "test": n}.
        recipe: what training depended on, by name.
        metrics: what was measured, by name; may be nested. What is not finite is written as null.
        phantom: whether the images were phantoms.
        release: the backbone's name in the file names. `rin.pretraining.export` fills this and
            what follows.
        n_parameters: of the backbone, without classifier.
        sha256: of each file, by its name.
        versions: of Python and packages, by name.

    Raises:
        CardError: a value of another kind, or an absolute path.
    """

    backbone: str
    classes: tuple
    preprocess: str
    image_size: int
    data_fingerprint: str
    protocol: str
    n_images: dict
    recipe: dict
    metrics: dict
    phantom: bool
    release: str = ""
    n_parameters: int = 0
    sha256: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)

    def __post_init__(self):
        for one in fields(self):
            value = _plain(one.name, getattr(self, one.name))
            value = tuple(value) if one.type is tuple and isinstance(value, list) else value
            if type(value) is not one.type or (value == "" and one.name != "release"):
                raise CardError(_wrong(one.name, f"a filled {one.type.__name__}", value))
            object.__setattr__(self, one.name, value)
        if self.preprocess == "native":
            object.__setattr__(self, "preprocess", _native(self.backbone))
        if self.preprocess not in FED:
            raise CardError(_wrong("preprocess", f"one of {FED} or 'native'", self.preprocess))
        names = {name for name in self.classes if isinstance(name, str) and name}
        if len(names) != len(self.classes) or len(names) < 2:
            raise CardError(_wrong("classes", "two or more different names", self.classes))
        counts = self.n_images.values()
        if set(self.n_images) != set(SETS) or not all(type(n) is int and n >= 0 for n in counts):
            raise CardError(_wrong("n_images", f"a count for each of {SETS}", self.n_images))

    @property
    def terms(self):
        """What may be done with the files, in a sentence or two."""
        return f"{NOT_A_FINDING} {TERMS}" if self.phantom else TERMS


def write(card, file):
    """Write a card as JSON, whole or not at all."""
    facts = asdict(card) | {"terms": card.terms}
    with paths.replacing(file) as fresh:
        fresh.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read(file):
    """The card in a file.

    Raises:
        CardError: no such file, no JSON, a key missing, or a value of another kind.
    """
    file = Path(file)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CardError(f"{file.name}: can't be read ({error.strerror})") from error
    except ValueError as error:
        raise CardError(f"{file.name}: expected a card in JSON ({error})") from error
    names = [one.name for one in fields(Card)]
    missing = [name for name in names if name not in found] if isinstance(found, dict) else names
    if missing:
        raise CardError(f"{file.name}: not a whole card, it has no {', '.join(missing)}")
    try:
        return Card(**{name: found[name] for name in names})
    except CardError as error:
        raise CardError(f"{file.name}: {error}") from error


def verify(folder, card):
    """Which of a card's files are not what was exported.

    Returns:
        Dict from file name to "missing" or "changed"; empty where all are whole.

    Raises:
        CardError: the card names no files, so nothing can be said.
    """
    if not card.sha256:
        raise CardError("this card names no files: they are added when weights are exported")
    there = {name: Path(folder) / name for name in card.sha256}
    found = {n: records.sha256(file) if file.is_file() else None for n, file in there.items()}
    states = {name: "missing" if mark is None else "changed" for name, mark in found.items()}
    return {name: states[name] for name, mark in found.items() if mark != card.sha256[name]}


def table(card):
    """The card for a page.

    Returns:
        DataFrame of strings, columns `item` and `value`. Classes are counted, not listed.
    """
    facts = asdict(card) | {
        "classes": len(card.classes),
        "phantom": f"yes. {NOT_A_FINDING}" if card.phantom else "no",
        "terms": TERMS,
    }
    flat = pd.json_normalize(facts, sep=": ").to_dict("records")[0]
    rows = [(item, _text(value)) for item, value in flat.items()]
    return pd.DataFrame(rows, columns=["item", "value"])


def markdown(card):
    """A short model card in Markdown: a heading, the terms, the table, the classes."""
    lines = [f"## {card.release or card.backbone}, pretrained on {len(card.classes)} classes", ""]
    lines += [card.terms, "", "| item | value |", "| --- | --- |"]
    escaped = table(card).replace(r"\|", r"\\|", regex=True)
    lines += [f"| {item} | {value} |" for item, value in escaped.itertuples(index=False)]
    named = [f"`{name}`" for name in card.classes]
    return "\n".join([*lines, "", f"Classes, in order: {', '.join(named)}."]) + "\n"


def _plain(place, value):
    """A value as JSON holds it, numpy's numbers and tuples made plain."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):
        return {str(key): _plain(f"{place}: {key}", one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(place, one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON knows no NaN
    if isinstance(value, str) and PLACE.match(value):
        raise CardError(f"`{place}` should hold no path: a card is shared. Received one")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise CardError(f"`{place}` should be text, numbers, lists or dicts. Received: {type(value)}")


def _native(backbone):
    from rin.backbones import BACKBONES  # imports Keras: only where a network is at hand

    if backbone not in BACKBONES:
        raise CardError(_wrong("backbone", f"one of {tuple(BACKBONES)}", backbone))
    return BACKBONES[backbone].native


def _text(value):
    if value is None:
        return "not measured"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _wrong(name, expected, received):
    return f"`{name}` should be {expected}. Received: {name}={received!r}"
