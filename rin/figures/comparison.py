"""Figures of levels over all tasks: by init, by setting, their spread, parameters that train."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np

from rin.figures import PALETTE, watermark
from rin.figures.task import MARKERS

ROW = ["task", "source", "arm"]
ARM_MARKERS = ("o", "s", "D", "^", "v", "P")


def levels(overview, table, phantom):
    """Every scenario's AUC and mean ± SD of every arm, a row a task and arm.

    Args:
        overview: of `rin.comparison.overview`: task, source, arm, mean_auc, sd_auc, trivial_auc.
        table: of `rin.comparison.scenarios`.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(7.6, 1.2 + 0.36 * len(overview)), layout="constrained")
    arms = list(overview["arm"].unique())
    names = []
    for y, row in enumerate(overview.itertuples()):
        color = PALETTE[arms.index(row.arm) % len(PALETTE)]
        part = table[(table[ROW] == [row.task, row.source, row.arm]).all(axis=1)]
        ax.plot(part["auc"], np.full(len(part), y), ".", color=color, alpha=0.5, zorder=1)
        spread = 0 if np.isnan(row.sd_auc) else row.sd_auc
        marker = ARM_MARKERS[arms.index(row.arm) % len(ARM_MARKERS)]
        ax.errorbar(row.mean_auc, y, xerr=spread, fmt=marker, color=color, mec="0.2", capsize=3)
        if not np.isnan(row.trivial_auc):
            ax.plot(row.trivial_auc, y, "|", color="0.2", markersize=13)
        names.append(f"{row.task}: {row.arm}")
    ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":")
    ax.set_yticks(range(len(names)), names)
    barred = "; bar: best trivial baseline" if overview["trivial_auc"].notna().any() else ""
    ax.set(xlabel=f"AUC: scenarios, mean ± SD over them{barred}")
    ax.set_ylim(len(names) - 0.5, -0.5)
    return watermark(figure, phantom)


def settings(by_setting, by_backbone, phantom):
    """Mean AUC of every arm by what trains and by backbone, a row a task and arm.

    Args:
        by_setting, by_backbone: of `rin.comparison.means`; task, source, arm, mean_auc, and
            `setting` in the one, `backbone` in the other.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    keys = by_setting[ROW].drop_duplicates()
    rows = {tuple(key): y for y, key in enumerate(keys.values)}
    figure, axes = plt.subplots(
        1, 2, figsize=(10.4, 1.9 + 0.3 * len(rows)), sharey=True, layout="constrained"
    )
    pairs = ((by_setting, "setting"), (by_backbone, "backbone"))
    for ax, (table, what) in zip(axes, pairs, strict=True):
        looks = zip(cycle(PALETTE), cycle(ARM_MARKERS), sorted(table[what].unique()), strict=False)
        for color, marker, name in looks:
            part = table[table[what] == name]
            y = [rows[tuple(key)] for key in part[ROW].values]
            ax.plot(part["mean_auc"], y, marker, color=color, alpha=0.8, label=name)
        ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":")
        ax.grid(axis="y", color="0.92")
        ax.set(xlabel=f"mean AUC, by {what}", axisbelow=True)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    axes[0].set_yticks(range(len(rows)), [f"{task}: {arm}" for task, _, arm in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return watermark(figure, phantom)


def spreads(table):
    """SD over settings of two arms, a line a task: to the left of the dot the first is steadier.

    Args:
        table: DataFrame task, series, sd_a, sd_b.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(7.6, 1.4 + 0.32 * len(table)), layout="constrained")
    names = list(table["series"] + ": " + table["task"])
    for y, one in enumerate(table.itertuples()):
        ax.plot([one.sd_a, one.sd_b], [y, y], color="0.7", zorder=0)
    ax.plot(table["sd_a"], range(len(table)), "o", color=PALETTE[0], label="first of the pair")
    ax.plot(
        table["sd_b"], range(len(table)), "s", color=PALETTE[1], mfc="none", label="second of it"
    )
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set(xlabel="SD of AUC over settings", xlim=(0, None))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return figure


def parameters(table, phantom):
    """AUC against the number of parameters that train, a panel a task and source.

    Args:
        table: of `rin.comparison.scenarios`.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    tasks = list(table[["task", "source"]].drop_duplicates().itertuples(index=False, name=None))
    arms = list(table["arm"].unique())
    columns = min(len(tasks), 3)
    rows = -(-len(tasks) // columns)
    named = table.groupby(["trainable", "arm"]).ngroups  # lines of the legend, two abreast
    size = (1.6 + 3.1 * columns, 0.6 + 0.12 * named + 2.7 * rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    for ax in axes.flat[len(tasks) :]:
        ax.set_axis_off()
    for task, ax in zip(tasks, axes.flat, strict=False):
        for kind, marker in MARKERS.items():
            for arm, color in zip(arms, cycle(PALETTE), strict=False):
                wanted = [*task, arm, kind]
                mine = (table[[*ROW, "trainable"]] == wanted).all(axis=1)
                look = {"color": color, "alpha": 0.7, "label": f"{kind}, {arm}"}
                if mine.any():
                    ax.plot(*table.loc[mine, ["n_trainable", "auc"]].T.values, marker, **look)
        ax.axhline(0.5, color="0.6", linewidth=1, linestyle=":")
        ax.set(title=", ".join(task), xscale="log", xlabel="parameters that train")
    for ax in axes[:, 0]:
        ax.set_ylabel("AUC")
    found = {}
    for ax in axes.flat:
        found |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=2, frameon=False)
    return watermark(figure, phantom)
