"""Figures of the pediatric study: metrics side by side, calibration, and mean class maps."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np

from rin.figures import PALETTE, watermark
from rin.figures.gradcam import HEAT
from rin.metrics import N_BINS
from rin.pediatric import NO_RULE

MARKERS = ("o", "s", "D", "^", "v", "P")


def metrics(table, names, phantom):
    """Each metric of every run and the mean of its folds: a panel a protocol and rule.

    Args:
        table: DataFrame `protocol`, `rule`, `arm`, `fold`, `metric`, `value` (of
            `rin.pediatric.scores`). A metric that needs no rule stands in each panel.
        names: dict from metric to what it is called, in the order drawn.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    is_free = table["rule"] == NO_RULE
    free, panels = table[is_free], table[~is_free].groupby(["protocol", "rule"], sort=False)
    arms = list(table["arm"].unique())
    columns = table["protocol"].nunique()
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.9 * columns, 3.4 * rows), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    # a column a protocol, so that one rule's panels stand in one row
    for ax, ((protocol, rule), part) in zip(axes.T.flat, panels, strict=False):
        both = [part, free[free["protocol"] == protocol]]
        for place, arm in enumerate(arms):
            _dots(ax, [frame[frame["arm"] == arm] for frame in both], names, place, len(arms), arm)
        ax.set_title(f"{protocol} split, {rule}", fontsize=10, loc="left")
        ax.set_yticks(range(len(names)), names.values())
        ax.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
        ax.grid(axis="y", color="0.93")
    for ax in axes[-1]:
        ax.set_xlabel("on test images; bar: mean of folds")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return watermark(figure, phantom)


def reliability(curves, phantom):
    """Observed against predicted share of disease by init, and how many images each bin holds.

    Args:
        curves: of `rin.pediatric.reliability`.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    protocols, arms = curves["protocol"].unique(), list(curves["arm"].unique())
    figure, axes = plt.subplots(
        2, len(protocols), figsize=(4.8 * len(protocols), 5.6), sharex=True, sharey="row",
        squeeze=False, layout="constrained", height_ratios=[3, 1],
    )  # fmt: skip
    for (top, bottom), protocol in zip(axes.T, protocols, strict=True):
        top.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
        for place, (arm, color, marker) in enumerate(
            zip(arms, cycle(PALETTE), cycle(MARKERS), strict=False)
        ):
            part = curves[(curves["protocol"] == protocol) & (curves["arm"] == arm)]
            error = np.abs(part[["low", "high"]].to_numpy().T - part["observed"].to_numpy())
            look = {"color": color, "marker": marker, "markersize": 5, "capsize": 2}
            top.errorbar(part["predicted"], part["observed"], error, label=arm, **look)
            width = 0.9 / N_BINS / len(arms)
            left = part["bin"] / N_BINS + 0.05 / N_BINS + place * width
            bottom.bar(left, part["n_images"], width, align="edge", color=color)
        top.set(title=f"{protocol} split", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        bottom.set(xlabel="probability of pneumonia")
    axes[0, 0].set_ylabel("observed share of pneumonia")
    axes[1, 0].set_ylabel("images")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return watermark(figure, phantom)


def mean_maps(maps, classes, phantom):
    """The mean class map of the pneumonia unit: a row an arm, a column a protocol and true class.

    Args:
        maps: of a `rin.pediatric.Study`, one scenario an arm; folds are averaged by images.
        classes: (negative, positive), as they are called.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    arms = list(maps["arm"].unique())
    columns = list(maps.groupby(["protocol", "y_true"], sort=False).groups)
    figure, axes = plt.subplots(
        len(arms), len(columns), figsize=(2.3 * len(columns) + 0.8, 2.5 * len(arms)),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for line, arm in zip(axes, arms, strict=True):
        for ax, (protocol, y_true) in zip(line, columns, strict=True):
            keys = ["arm", "protocol", "y_true"]
            part = maps[(maps[keys] == [arm, protocol, y_true]).all(axis=1)]
            ax.set(xticks=[], yticks=[])
            if part["n_images"].sum():
                drawn = ax.imshow(_mean(part), cmap=HEAT, vmin=0, vmax=1)
            ax.set_title(f"{protocol} split\n{classes[y_true]}" if arm == arms[0] else "",
                         fontsize=9)  # fmt: skip
        line[0].set_ylabel(arm, fontsize=9)
    figure.colorbar(drawn, ax=axes, shrink=0.7, pad=0.02, label="share of each map's maximum")
    return watermark(figure, phantom)


def _dots(ax, frames, names, place, n_arms, arm):
    """One arm's metrics in one panel: a dot a run, a bar at their mean."""
    color = PALETTE[place % len(PALETTE)]
    shift = (place - (n_arms - 1) / 2) * 0.7 / n_arms
    label = arm
    for y, metric in enumerate(names):
        values = np.concatenate([f.loc[f["metric"] == metric, "value"] for f in frames])
        values = values[~np.isnan(values)]
        look = {"color": color, "alpha": 0.7, "linestyle": "none"}
        marker = MARKERS[place % len(MARKERS)]
        ax.plot(values, np.full(len(values), y + shift), marker, ms=5, label=label, **look)
        if len(values):
            ax.plot(values.mean(), y + shift, "|", color="0.2", markersize=11)
        label = None  # once in the legend


def _mean(part):
    """`(h, w)`: mean of the folds' maps, every image counted alike."""
    weighted = part.assign(value=part["value"] * part["n_images"])
    sums = weighted[weighted["n_images"] > 0].groupby(["y", "x"])[["value", "n_images"]].sum()
    return (sums["value"] / sums["n_images"]).unstack("x").to_numpy()
