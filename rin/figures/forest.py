"""Forest plot: one row per task, one interval per series, zero marked."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

MARKERS = ["o", "s", "D", "^"]  # series differ by shape too, not by color alone
ROW_HEIGHT = 0.36  # inches per interval


def forest(
    table,
    *,
    row="task",
    series="series",
    estimate="gain",
    low="low",
    high="high",
    xlabel="Gain in AUC, RadImageNet − ImageNet (points)",
    ax=None,
):
    """Draw estimates with their intervals, and print them at the right edge.

    Args:
        table: long DataFrame, one row per interval. Rows and series keep their order of first
            appearance, rows from the top. NaN limits draw the estimate alone; a NaN estimate is
            written out as "not available".
        row: column that names the row.
        series: column that tells the intervals of a row apart; at most four values.
        estimate: column of the estimates.
        low: column of the lower limits, same unit.
        high: column of the upper limits, same unit.
        xlabel: label of the value axis, with its unit.
        ax: matplotlib Axes; by default a new figure is made.

    Returns:
        The Axes.

    Raises:
        ValueError: more series than markers, or two intervals for one row and series.
    """
    rows, kinds = list(table[row].unique()), list(table[series].unique())
    if len(kinds) > len(MARKERS):
        raise ValueError(f"`series` should hold at most {len(MARKERS)} values. Received: {kinds}")
    if table.duplicated([row, series]).any():
        raise ValueError("`table` should hold one interval per row and series.")
    if ax is None:
        height = 1.1 + ROW_HEIGHT * len(rows) * max(len(kinds), 1.5)
        ax = plt.subplots(figsize=(8.0, height), layout="constrained")[1]
    offsets = np.linspace(-0.2, 0.2, len(kinds)) if len(kinds) > 1 else [0.0]
    colors = sns.color_palette("colorblind", len(kinds))
    for kind, offset, color, marker in zip(kinds, offsets, colors, MARKERS, strict=False):
        part = table[table[series] == kind]
        y = np.array([rows.index(name) for name in part[row]]) + offset
        _draw(ax, part[[estimate, low, high]].to_numpy(float), y, kind, color, marker)
    ax.axvline(0, color="0.4", linewidth=1, linestyle="--", zorder=0)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(xlabel)
    sns.despine(ax=ax, left=True)
    if len(kinds) > 1:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(kinds), frameon=False)
    return ax


def _draw(ax, values, y, label, color, marker):
    center, low, high = values.T
    ax.hlines(y, low, high, color=color, linewidth=2)
    ax.plot(center, y, marker, color=color, markeredgecolor="white", markersize=7, label=label)
    for numbers, height in zip(values, y, strict=True):
        ax.annotate(
            _words(*numbers),
            xy=(1.02, height),
            xycoords=("axes fraction", "data"),
            color="0.2",
            fontsize="small",
            va="center",
        )


def _words(center, low, high):
    if np.isnan(center):
        return "not available"
    if np.isnan(low) or np.isnan(high):
        return f"{center:.1f}"
    return f"{center:.1f} ({low:.1f} to {high:.1f})".replace("-", "−")
