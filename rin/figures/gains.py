"""Figures of gains: every test's interval, backbones, size and anatomy, the verdict's forest."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rin.figures import PALETTE
from rin.figures.comparison import ARM_MARKERS
from rin.figures.forest import forest

NOT_RERUN = "not rerun"
POINTS = "gain in AUC (points)"


def procedures(gains, labels, level=0.95):
    """The intervals of several tests for every gain, one under another.

    Args:
        gains: of `rin.comparison.gains`.
        labels: dict from the tests' names to what they are called; four at most a figure, so the
            rows are the tests and a figure has at most four gains.
        level: coverage, for the label.

    Returns:
        The Figure.
    """
    rows = []
    for one in gains.itertuples():
        name = f"{one.task}: {one.a} − {one.b}"
        for test, label in labels.items():
            limits = {side: getattr(one, f"{test}_{side}") for side in ("low", "high")}
            gain = getattr(one, f"{test}_gain") if not np.isnan(limits["low"]) else np.nan
            rows.append(
                {"task": label.replace(" (", "\n("), "series": name, "gain": gain, **limits}
            )
    ax = _forest(pd.DataFrame(rows), level)
    if len(gains) == 1:  # a forest of one series has no legend
        ax.set_title(rows[0]["series"], loc="left")
    return ax.figure


def backbones(table, gains):
    """The gain of every backbone, with their mean and its interval.

    The mean over backbones is another one than the gain, the mean over scenarios, where backbones
    have unlike numbers of scenarios.

    Args:
        table: of `rin.comparison.backbone_gains`.
        gains: of `rin.comparison.gains`.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(7.6, 1.2 + 0.6 * len(gains)), layout="constrained")
    names = [f"{one.task}: {one.a} − {one.b}" for one in gains.itertuples()]
    for y, one in enumerate(gains.itertuples()):
        if not np.isnan(one.backbones_low):
            ax.hlines(y, one.backbones_low, one.backbones_high, color="0.5", linewidth=2)
        ax.plot(one.backbones_gain, y, "|", color="0.2", markersize=16)
    for color, marker, (name, part) in zip(
        PALETTE, ARM_MARKERS, table.groupby("backbone", sort=False), strict=False
    ):
        keys = part["task"] + ": " + part["a"] + " − " + part["b"]
        ax.plot(part["gain"], [names.index(key) for key in keys], marker, color=color, label=name)
    _zero(ax, names)
    ax.set(xlabel=f"{POINTS}: a marker a backbone, their mean and its interval")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    return figure


def against_context(table, relations):
    """Gains, published and measured, against dataset size and the tie to the pretraining database.

    Args:
        table: of `rin.comparison.context`.
        relations: the ties, in the order they are drawn.

    Returns:
        The Figure.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10.4, 4.8), sharey=True, layout="constrained"
    )
    ties, named = list(relations), {left: [], right: []}
    for color, marker, (source, part) in zip(
        PALETTE, ARM_MARKERS, table.groupby("source", sort=False), strict=False
    ):
        shift = {"published": -0.12}.get(source, 0.12)
        known = part[part["relation"].notna()]
        apart = 0.06 * known.groupby("relation").cumcount()  # so that none covers another
        beside = [ties.index(tie) + shift for tie in known["relation"]] + np.sign(shift) * apart
        pairs = ((left, part, part["n_images"]), (right, known, beside))
        for ax, rows, x in pairs:
            error = np.abs(rows[["low", "high"]].to_numpy().T - rows["gain"].to_numpy())
            face = "none" if source == "published" else color
            style = {"fmt": marker, "color": color, "mfc": face, "elinewidth": 0.8}
            ax.errorbar(x, rows["gain"], yerr=error, label=_said(source, part), **style)
        named[left] += zip(part["n_images"], part["gain"], part["task"], strict=True)
        named[right] += zip(beside, known["gain"], known["task"], strict=True)
    for ax in (left, right):
        ax.axhline(0, color="0.4", linewidth=1, linestyle="--", zorder=0)
    left.set(xscale="log", xlabel="images of the dataset", ylabel=POINTS)
    left.margins(x=0.25)  # room for the names
    wrapped = [tie.replace(", ", ",\n").replace(" and ", "\nand ") for tie in ties]
    right.set_xticks(range(len(ties)), wrapped)
    right.set(xlim=(-0.5, len(ties) - 0.5), xlabel="of the pretraining database")
    for ax, points in named.items():
        _name(ax, points)
    handles = left.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=2, frameon=False)
    return figure


def verdict(table, level=0.95):
    """A forest of gains: as printed, and measured; what was not run again says so.

    Args:
        table: of `rin.verdict.forest_rows`: task, series, gain, low, high (points; NaN where
            there is none) and rerun (False: nothing was run).
        level: coverage, for the label.

    Returns:
        The Figure.
    """
    ax = _forest(table, level)
    drawn = [one for _, part in table.groupby("series", sort=False) for one in part["rerun"]]
    for text, rerun in zip(ax.texts, drawn, strict=True):  # a forest writes series by series
        if not rerun:
            text.set(text=NOT_RERUN, color="0.45", style="italic")
    return ax.figure


def _forest(table, level):
    """`rin.figures.forest.forest` with room for long names and many rows."""
    n_rows, n_series = table["task"].nunique(), table["series"].nunique()
    size = (8.6, 1.0 + 0.25 * n_series + n_rows * max(0.42, 0.21 * n_series))
    ax = plt.subplots(figsize=size, layout="constrained")[1]
    ax = forest(table, xlabel=f"{POINTS}, {level:.0%} intervals", ax=ax)
    if ax.get_legend():
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return ax


def _name(ax, points):
    """Names (x, y, name) right of their points, or left where another point is in the way."""
    places = ax.transAxes.inverted().transform(ax.transData.transform([p[:2] for p in points]))
    for place, (x, y, name) in zip(places, points, strict=True):
        right, above = (places - place).T
        crowded = ((right > 0) & (right < 0.25) & (np.abs(above) < 0.06)).any()
        side = -1 if crowded else 1
        where = {"ha": "right" if crowded else "left", "va": "center", "fontsize": 8}
        ax.annotate(name, (x, y), (6 * side, 0), textcoords="offset points", **where)


def _zero(ax, names):
    ax.axvline(0, color="0.4", linewidth=1, linestyle="--", zorder=0)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


def _said(source, part):
    return f"{source}: {' or '.join(dict.fromkeys(part['a'] + ' − ' + part['b']))}"
