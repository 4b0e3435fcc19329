"""Figures of the why: gaps and levels by input shrinkage, and what batch norm keeps."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np

from rin.figures import PALETTE, watermark

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
APART = 1.6  # factor between backbones that share one shrinkage, or they would cover each other
WIDTH = 1.35  # factor that the series of one backbone spread over
NEAR = 1.4  # factor between numbers of updates below which tasks share a label


def gaps(table, factors, a, b, level=0.95):
    """The gap of every backbone with its interval, in the order of input shrinkage.

    For real images alone: phantoms have levels, and no gaps.

    Args:
        table: of `rin.why.gaps`.
        factors: of `rin.why.shrinkage`.
        a, b: the inits, for the label.
        level: coverage of the intervals, for the label.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(9.4, 4.6), layout="constrained")
    place = _places(table, factors)
    for shift, color, marker, ((preprocess, batch), part) in _looks(_series(table)):
        error = np.abs(part[["low", "high"]].to_numpy(float).T - part["difference"].to_numpy(float))
        x = part["backbone"].map(place) * shift
        style = {"fmt": marker, "color": color, "capsize": 3}
        ax.errorbar(x, part["difference"], error, label=f"{preprocess}, batch {batch}", **style)
    ax.axhline(0, color="0.4", linewidth=1, linestyle="--", zorder=0)
    ax.set_ylabel(f"gap in AUC, {a} − {b}\n(points, {level:.0%} intervals)")
    return _finished(figure, ax, place, factors)


def levels(table, factors, phantom):
    """Mean AUC of every init, preprocess and batch size, backbones by input shrinkage.

    Args:
        table: of `rin.why.levels`.
        factors: of `rin.why.shrinkage`.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(9.4, 4.6), layout="constrained")
    place, inits = _places(table, factors), list(table["init"].unique())
    for shift, color, _, ((preprocess, batch), part) in _looks(_series(table)):
        for init, one in part.groupby("init"):
            look = {"color": color, "marker": MARKERS[inits.index(init) % len(MARKERS)]}
            label = f"{init}, {preprocess}, batch {batch}"
            x = one["backbone"].map(place) * shift
            ax.plot(x, one["mean_auc"], linestyle="", label=label, **look)
    ax.axhline(0.5, color="0.6", linewidth=1, linestyle=":")
    ax.set_ylabel("mean AUC over scenarios")
    return watermark(_finished(figure, ax, place, factors), phantom)


def updates(table, own, phantom, momentum=0.99):
    """The share of its start statistics that batch norm keeps, against the number of updates.

    Args:
        table: of `rin.why.published_updates`; tasks of unknown size are left out.
        own: `(n,)` numbers of updates of the page's own runs in which a batch norm trains, so no
            `head` runs; may be empty.
        phantom: whether the own runs are of phantoms, and to watermark.
        momentum: of batch norm.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(7.8, 4.2), layout="constrained")
    known, own = table.dropna(subset="n_updates"), np.unique(own)
    most = max([*known["n_updates"], *own])
    x = np.geomspace(1, most, 400)
    ax.plot(x, momentum**x, color="0.6", linewidth=1, zorder=0)
    sizes = list(known.groupby("batch_size", sort=False))  # the first one labeled above
    for _, color, marker, (size, part) in _looks(sizes):
        label = f"published tasks, batch {size}"
        ax.plot(part["n_updates"], part["kept"], marker, color=color, label=label)
        side = 1 if size == sizes[0][0] else -1
        for several in _near(part):
            where = {"textcoords": "offset points", "fontsize": 8, "rotation": 45 * side}
            where |= {"color": color, "va": "bottom" if side == 1 else "top"}
            at = several[["n_updates", "kept"]].iloc[0]
            ax.annotate(", ".join(several["task"]), at, (3, 4 * side), **where)
    if len(own):
        look = {"color": "0.1", "markersize": 9, "label": "the runs of this page that train it"}
        ax.plot(own, momentum**own, "x", **look)
    ax.set(
        xscale="log", xlim=(0.8, 2.5 * most), xlabel="weight updates of a run", ylim=(-0.45, 1.05)
    )
    ax.set_ylabel("share of start statistics\nthat a training batch norm keeps")
    ax.set_yticks(np.linspace(0, 1, 5))
    ax.legend(loc="upper right", frameon=False)
    return watermark(figure, phantom)


def _near(part):
    """The rows of a table in lists of nearly equal numbers of updates."""
    rows = part.sort_values("n_updates")
    apart = rows["n_updates"] > NEAR * rows["n_updates"].shift()
    return [several for _, several in rows.groupby(apart.cumsum())]


def _places(table, factors):
    """x of every backbone of a table: its factor, those with one factor side by side."""
    shown = factors[factors["backbone"].isin(table["backbone"])]
    rank = shown.groupby("factor").cumcount()
    center = (shown.groupby("factor")["factor"].transform("size") - 1) / 2
    return dict(zip(shown["backbone"], shown["factor"] * APART ** (center - rank), strict=True))


def _series(table):
    """A table's parts by preprocess and batch size: the official one and the largest first."""
    parts = table.groupby(["preprocess", "batch_size"])
    return sorted(parts, key=lambda one: (one[0][0] != "official", one[0][0], -one[0][1]))


def _looks(series):
    """Yield `(shift, color, marker, one)`: series of one backbone stand a little apart."""
    shifts = WIDTH ** np.linspace(0.5, -0.5, len(series)) if len(series) > 1 else [1.0]
    return zip(shifts, cycle(PALETTE), cycle(MARKERS), series, strict=False)


def _finished(figure, ax, place, factors):
    """A log axis that falls from the most shrunken backbone, with its names."""
    factor = factors.set_index("backbone")["factor"]
    ax.set_xscale("log")
    names = [name.replace("_", "_\n", 1) + f"\n{factor[name]:.3g} ×" for name in place]
    if len(names) > 2:  # neighbors would overlap
        names = [("\n" * 3 if n % 2 else "") + name for n, name in enumerate(names)]
    ax.set_xticks(list(place.values()), names, fontsize=9)
    ax.set_xticks([], minor=True)
    ends = max(place.values()) * 1.6, min(place.values()) / 1.6
    ax.set_xlim(*ends)  # the most shrunken first, as in the prediction
    ax.set_xlabel("backbone; ×: input scale its ImageNet weights expect, over the official one")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure
