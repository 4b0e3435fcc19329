"""Checklists: where the items of CLAIM, TRIPOD+AI and MI-CLAIM stand in this book."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import nbformat
import yaml

FILE = "checklists.yaml"
CHECKLISTS = {"claim": "CLAIM 2024", "tripod_ai": "TRIPOD+AI", "mi_claim": "MI-CLAIM"}
STATUSES = ("here", "partly", "not done", "not applicable")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item of a checklist, and where the book answers it.

    Attributes:
        section: of the checklist.
        number: as printed, text; "" where the checklist prints none, or no longer has the item.
        before: number of the item on this topic in the CLAIM of 2020; "" elsewhere.
        topic: the item in a few words of ours.
        status: one of `STATUSES`.
        where: `(page, heading)` pairs; the heading is None for a whole page.
        why: a sentence, "" where the link says all.

    Raises:
        ValueError: an unknown status; nowhere to look and no reason; or no reason for a status
            other than "here".
    """

    section: str
    topic: str
    status: str
    number: str = ""
    before: str = ""
    where: tuple = ()
    why: str = ""

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(
                f"{FILE}, {self.topic!r}: `status` should be one of {STATUSES}. "
                f"Received: status={self.status!r}"
            )
        if not self.why and (self.status != "here" or not self.where):
            raise ValueError(f"{FILE}, {self.topic!r}: {self.status} needs a `why`")


@cache
def items(checklist):
    """The items of a checklist, in its order.

    Args:
        checklist: a key of `CHECKLISTS`.

    Returns:
        Tuple of `Item`.

    Raises:
        ValueError: no such checklist, or an `Item` that can't be.

    Source: CLAIM: Mongan et al. 2020, doi:10.1148/ryai.2020200029, and Tejani et al. 2024,
    doi:10.1148/ryai.240300; TRIPOD+AI: Collins et al. 2024, doi:10.1136/bmj-2023-078378; MI-CLAIM:
    Norgeot et al. 2020, doi:10.1038/s41591-020-1041-y. Topics are in our words.

    >>> items("claim")[0].number, items("tripod_ai")[-1].number
    ('1', '27c')
    """
    if checklist not in CHECKLISTS:
        known = tuple(CHECKLISTS)
        raise ValueError(f"`checklist` should be one of {known}. Received: {checklist!r}")
    sections = _file()[checklist]
    return tuple(_item(section, row) for section, rows in sections.items() for row in rows)


def pages():
    """Title of each page that an item may point to, by file name under `book/`."""
    return dict(_file()["pages"])


def missing(root):
    """What the checklists point to and the book does not have.

    Args:
        root: of the project.

    Returns:
        Sorted sentences, one a page, title or heading; empty where every link leads somewhere.
    """
    book, titles, lost = Path(root) / "book", pages(), set()
    for page, heading in {place for name in CHECKLISTS for i in items(name) for place in i.where}:
        if page not in titles:
            lost.add(f"{page}: not among the `pages` of {FILE}")
        elif (book / page).is_file() and heading not in (None, *headings(book / page)):
            lost.add(f"{page}: no section {heading!r}")
    for page, title in titles.items():
        found = headings(book / page, level=1) if (book / page).is_file() else "no such page"
        if found != [title]:
            lost.add(f"{page}: expected the title {title!r}, found {found}")
    return sorted(lost)


def headings(file, level=2):
    """The headings of a page, in order, without those inside code blocks.

    Args:
        file: a notebook, or Markdown.
        level: 1 for the title, 2 for sections, which alone have anchors.
    """
    file = Path(file)
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = re.sub(r"^(`{3,}|~{3,}).*?^\1`*$", "", text, flags=re.M | re.S)
    return re.findall(rf"^#{{{level}}} +(.+?) *$", text, flags=re.M)


def markdown(checklist):
    """A checklist for a page: how many rows have each status, then a table a section."""
    found, parts = items(checklist), [counts(checklist)]
    columns = ["2024", "2020"] if checklist == "claim" else ["item"]
    columns = [] if checklist == "mi_claim" else columns
    for section in dict.fromkeys(item.section for item in found):
        head = [*columns, "topic", "status", "where, and why"]
        rows = [_cells(item, columns) for item in found if item.section == section]
        rule = [":---:"] * len(columns) + ["---"] * 3
        lines = [f"| {' | '.join(cells)} |" for cells in [head, rule, *rows]]
        parts.append(f"### {section}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def counts(checklist):
    """How many items have each status, as a sentence."""
    statuses = [item.status for item in items(checklist)]
    said = ", ".join(f"{statuses.count(status)} {status}" for status in STATUSES)
    return f"Of {len(statuses)} rows: {said}."


def link(page, heading=None):
    """A Markdown link to a page or to one of its sections."""
    if heading is None:
        return f"[{pages()[page]}]({page})"
    from myst_parser.mdit_to_docutils.base import default_slugify  # what names the anchors

    return f"[{heading}]({page}#{default_slugify(heading)})"


def _cells(item, columns):
    numbers = {"2024": item.number, "2020": item.before, "item": item.number}
    said = " ".join(part for part in (_places(item.where), item.why) if part)
    return [*(numbers[name] or "–" for name in columns), item.topic, item.status, said]


def _places(where):
    """Links to pages, each followed by those to its sections."""
    said = []
    for page in dict.fromkeys(page for page, _ in where):
        sections = [link(page, heading) for name, heading in where if name == page and heading]
        said.append(link(page) + (f" ({', '.join(sections)})" if sections else ""))
    return "; ".join(said) + ("." if said else "")


def _item(section, row):
    where = [_place(entry) for entry in row.get("where", [])]
    numbers = {key: str(row.get(key, "")) for key in ("number", "before")}
    return Item(**row | numbers | {"section": section, "where": sum(where, ())})


def _place(entry):
    if isinstance(entry, str):
        return ((entry, None),)
    return tuple((page, heading) for page, several in entry.items() for heading in several)


@cache
def _file():
    text = resources.files("rin").joinpath("data", FILE).read_text(encoding="utf-8")
    return yaml.load(text, yaml.CSafeLoader)
