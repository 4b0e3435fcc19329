"""Model card: what a trained network is, for which images, and what is not known of it.

JSON for programs, Markdown for readers. It names no patient, no file and no place on a machine.
"""

import json
import math
from pathlib import Path

import pandas as pd

from rin import paths, records
from rin.pretraining.card import PLACE

FILE, MARKDOWN = "card.json", "card.md"
SECTIONS = ("use", "network", "data", "test", "unlike", "limits", "versions", "sha256")


class CardError(ValueError):
    """A card that can't be made or read."""


def write(card, folder):
    """Write `card.json` and `card.md`, each whole or not at all."""
    for name, text in ((MARKDOWN, markdown(card)), (FILE, json.dumps(card, indent=1) + "\n")):
        with paths.replacing(Path(folder) / name) as fresh:
            fresh.write_text(text, encoding="utf-8")


def read(folder):
    """The card in a folder.

    Raises:
        CardError: none there, or not whole.
    """
    file = Path(folder) / FILE
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(f"{file}: expected a model card in JSON ({type(error).__name__})") from None
    missing = [name for name in SECTIONS if not isinstance(card, dict) or name not in card]
    if missing:
        raise CardError(f"{file}: not a whole model card, it has no {', '.join(missing)}")
    return card


def verify(folder, card):
    """Which of a card's files are not what was exported: dict to "missing" or "changed"."""
    there = {name: Path(folder) / name for name in card["sha256"]}
    found = {n: records.sha256(file) if file.is_file() else None for n, file in there.items()}
    states = {name: "missing" if mark is None else "changed" for name, mark in found.items()}
    return {name: states[name] for name, mark in found.items() if mark != card["sha256"][name]}


def table(card, *sections):
    """Sections of a card for a page.

    Args:
        card: of `make` or `read`.
        *sections: names among `SECTIONS`; default all but the limits, which are sentences.

    Returns:
        DataFrame of strings `section`, `item`, `value`.
    """
    rows = []
    for section in sections or [name for name in SECTIONS if name != "limits"]:
        flat = pd.json_normalize(card[section], sep=": ").to_dict("records")[:1]
        rows += [(section, item, _text(value)) for one in flat for item, value in one.items()]
    return pd.DataFrame(rows, columns=["section", "item", "value"])


def markdown(card):
    """The card for a reader: a heading, what it is not for, and a table a section."""
    lines = [f"# Model card: {card['use']['title']}", ""]
    lines += [f"- {sentence}" for sentence in card["limits"]]
    for section in SECTIONS:
        rows = table(card, section) if section != "limits" else ()
        if len(rows):
            lines += ["", f"## {section.capitalize()}", "", "| item | value |", "| --- | --- |"]
            escaped = rows.replace(r"\|", r"\\|", regex=True)
            lines += [f"| {row.item} | {row.value} |" for row in escaped.itertuples()]
    return "\n".join(lines) + "\n"


def plain(value, place="card"):
    """A value as JSON holds it; what is not finite becomes None.

    Raises:
        CardError: an absolute path stands in it.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):
        return {str(key): plain(one, f"{place}: {key}") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, place) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and PLACE.match(value):
        raise CardError(f"`{place}` should hold no path: a card is shared. Received one")
    return value


def _text(value):
    if value is None:
        return "not available"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
