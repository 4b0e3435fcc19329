"""Reference pages: write the tables of `book/checklists.md`, `cards.md` and `cite.md` from data.

`python -m rin.reference_pages` after a change to the data; a test says when it was forgotten.
"""

import re
from functools import partial

import pandas as pd

from rin import checklists, paths
from rin.datasets import registry

BEGIN, END = "<!-- made from data: {} -->", "<!-- end: {} -->"
OWN = "results/pretraining"  # the two networks we pretrained


def write(root):
    """Fill the marked places of the three pages anew; the paths of those that changed.

    Raises:
        ValueError: a page lacks a marked place, or has it twice.
    """
    filled = {}
    for name, marked in blocks(root).items():
        file = root / "book" / name
        made = {key: make() for key, make in marked.items()}
        filled[file] = fill(file.read_text(encoding="utf-8"), made, name)
    changed = [file for file, text in filled.items() if text != file.read_text(encoding="utf-8")]
    for file in changed:  # only now: a page without its marks leaves all three as they are
        with paths.replacing(file) as fresh:
            fresh.write_text(filled[file], encoding="utf-8")
    return changed


def blocks(root):
    """What makes the marked places: page -> key -> function without arguments."""
    lists = {name: partial(checklists.markdown, name) for name in checklists.CHECKLISTS}
    cards = {"data cards": data_cards, "own networks": partial(own_networks, root)}
    cite = {"datasets": datasets_to_cite}
    return {"checklists.md": lists, "cards.md": cards, "cite.md": cite}


def fill(text, made, name="page"):
    """A page with what stands between its marks replaced.

    Args:
        text: of the page, with a line `<!-- made from data: KEY -->` and, below it, one
            `<!-- end: KEY -->` for each key.
        made: dict from key to Markdown.
        name: of the page, for the error.

    Raises:
        ValueError: the marks of a block are missing or there twice.
    """
    for key, block in made.items():
        begin, end = re.escape(BEGIN.format(key)), re.escape(END.format(key))
        place = re.compile(f"({begin}\n).*?({end})", re.S)
        if len(place.findall(text)) != 1:
            raise ValueError(f"{name}: expected one place marked {BEGIN.format(key)!r}")
        text = place.sub(lambda found, new=block: f"{found[1]}\n{new}\n\n{found[2]}", text)
    return text


def data_cards():
    """A heading and a short table for each public dataset, from the registry."""
    cards = [card for card in registry.cards().values() if card.citation]
    return "\n\n".join(f"### {card.title}\n\n{_data_card(card)}" for card in cards)


def datasets_to_cite():
    """Which work to cite for which dataset."""
    works = {}
    for card in registry.cards().values():
        if card.citation:
            works.setdefault((card.dataset, card.citation), []).append(f"`{card.name}`")
    rows = [(", ".join(names), name, f"{{cite:t}}`{key}`") for (name, key), names in works.items()]
    return _table(("task", "dataset", "cite"), rows)


def own_networks(root):
    """What was measured of the networks we pretrained, from `results/pretraining`."""
    folder = root / OWN
    process = pd.read_csv(folder / "process.csv").query("step == 'pretraining'")
    found = pd.read_csv(folder / "pretraining_metrics.csv").query("split == 'test'")
    classes = pd.read_csv(folder / "pretraining_classes.csv")
    rows = []
    for one in process.sort_values("backbones").itertuples():
        metrics = found[found.backbone == one.backbones].set_index("metric")
        worst = classes[classes.backbone == one.backbones].sort_values("recall").iloc[0]
        rows.append(
            (
                f"`{one.backbones}`",
                f"{one.n_images:,} at {one.image_size} px",
                f"{one.epochs} epochs, {one.n_updates:,} updates",
                f"{int(metrics.n['top1'])}",
                _with_interval(metrics.loc["top1"]),
                _with_interval(metrics.loc["balanced_accuracy"]),
                f"`{worst.label}`: {worst.recall:.2f} of {worst.n}",
            )
        )
    head = ("backbone", "images", "trained for", "test images", "top-1", "balanced accuracy")
    return _table((*head, "lowest recall"), rows)


def _data_card(card):
    facts = {
        "source": f"{card.source}.",
        "terms": card.terms,
        "images shown here": "yes" if card.show_images else "no",
        "what it holds": card.card["composition"],
        "how it came about": card.card["collection"],
        f"ids of {card.patient['unit']}": card.patient["text"],
        "labels": card.labels,
        "known problems": " ".join(card.card["problems"]),
        "cite": f"{{cite:t}}`{card.citation}`",
    }
    return _table(("", card.dataset), facts.items())


def _with_interval(metric):
    return f"{metric.estimate:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text):
    return " ".join(text.split()).replace("|", r"\|")


if __name__ == "__main__":
    for page in write(paths.root()):
        print(f"{page.name}: written")
