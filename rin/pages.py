"""What pages put between their cells: the phantom banner, tables with a csv link, sources."""

import base64
import html
import re
from functools import partial
from pathlib import Path

from IPython.display import HTML, Markdown

from rin import paths

BANNER = """<div class="admonition warning"><p class="admonition-title">Phantom images</p>
<p>{} synthetic images that only look like the real ones. It shows that the way from the files to
the statistics works. No number from them is a finding about any weights or any
disease.</p></div>"""
ABOUT = "about.md"


def banner(phantom, begins="This page ran on"):
    """The phantom banner as HTML; nothing for real images. `begins` its first sentence."""
    return HTML(BANNER.format(begins) if phantom else "")


def about(folder):
    """What stands in `<folder>/about.md`: what kept tables are of. Nothing without the file.

    Args:
        folder: of kept tables; "" for none.

    Returns:
        Markdown, or empty HTML: empty Markdown would show as the name of its class.
    """
    file = paths.resolve(folder) / ABOUT
    known = bool(folder) and file.is_file()
    return Markdown(file.read_text(encoding="utf-8")) if known else HTML("")


def table(frame, name, folder=None, digits=3, caption="", shown=None, rows=None):
    """A table on the page, itself as a csv behind a link, and as a file where one is asked for.

    Args:
        frame: DataFrame; shown without its index.
        name: of the csv, without suffix; the anchor is `table-<name>`, as a heading may have it.
        folder: where `<name>.csv` is written; None for the page alone.
        digits: of floats on the page, more where a small one would read as 0; the csv keeps all.
        caption: a sentence under the table.
        shown: the columns that stand on the page; default all. The csv holds all of them.
        rows: a slice of the rows that stand on the page; default all.

    Returns:
        HTML; one sentence in place of a table without rows.
    """
    if folder is not None:
        keep(frame, name, folder)
    link = base64.b64encode(frame.to_csv(index=False).encode()).decode()
    part = frame if rows is None else frame.iloc[rows]
    part = part if shown is None else part[shown]
    body = part.to_html(
        index=False,
        border=0,
        formatters=[_formatter(part.iloc[:, n], digits) for n in range(part.shape[1])],
        float_format=lambda value: _number(value, digits),
        na_rep="n/a",
        classes="dataframe",
    )
    body = body if len(part) else "<p>No rows yet.</p>"
    said = f"{html.escape(caption)} " if caption else ""
    name = html.escape(name)
    anchor = f'<a download="{name}.csv" href="data:text/csv;base64,{link}">{name}.csv</a>'
    return HTML(f'<div id="table-{name}">{body}<p><small>{said}{anchor}</small></p></div>')


def bullets(*lines):
    """Sentences as a Markdown list, numbers filled in by the caller."""
    return Markdown("\n".join(f"- {line}" for line in lines))


def keep(frame, name, folder):
    """Write a table as `<folder>/<name>.csv`, whole or not at all; the path.

    Whatever is no plain character becomes "-": the names of arms may stand in the name.
    """
    file = Path(folder) / f"{re.sub(r'[^A-Za-z0-9_.+-]+', '-', name)}.csv"
    with paths.replacing(file) as work:
        work.write_text(frame.to_csv(index=False), encoding="utf-8")
    return file


def _formatter(column, digits):
    """What writes the numbers of a column of floats; None for others.

    Whole numbers alone are counts, or means of them, but 0 and 1 alone may be scores.
    """
    if column.dtype.kind != "f":
        return None
    known = column.dropna()
    are_counts = bool((known == known.round()).all()) and known.max() >= 2
    return partial(_number, digits=0 if are_counts else digits)


def _number(value, digits):
    text = f"{value:.{digits}f}"
    reads_as_zero = value != 0 and float(text) == 0  # a learning rate, a P value
    return f"{value:.{digits}g}" if reads_as_zero else text
