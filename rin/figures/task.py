"""Figures of one task: example images, loss curves, the scenarios' swarm, the averaged ROC."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from rin import images
from rin.figures import PALETTE, watermark

MARKERS = {"head": "o", "top10": "s", "all": "D"}


def examples(manifest, root, phantom, per_class=4, height=160):
    """A row of images a class, lesion outlines drawn where masks exist.

    Args:
        manifest: a validated manifest; the first images of each class by path are shown.
        root: folder its paths start from.
        phantom: whether to watermark.
        per_class: images a row.
        height: pixels a side they are shown at.

    Returns:
        The Figure.
    """
    names, open_image = sorted(manifest["label"].unique()), images.opener(manifest, root)
    open_mask = images.mask_opener(manifest, root, height)
    figure, axes = plt.subplots(
        len(names), per_class, figsize=(2.0 * per_class, 2.15 * len(names)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, name in zip(axes, names, strict=True):
        part = manifest[manifest["label"] == name].head(per_class)
        for ax in row:
            ax.set_axis_off()
        row[0].set_title(name, loc="left")
        for ax, item in zip(row, part.itertuples(), strict=False):
            ax.imshow(images.resize(open_image(item.image), height), cmap="gray")
            if isinstance(item.mask, str):
                mask = open_mask(item.mask)
                if mask.any():
                    ax.contour(mask, levels=[0.5], colors=[PALETTE[1]], linewidths=1)
    return watermark(figure, phantom)


def losses(history, phantom):
    """Training and validation loss over epochs, one panel a scenario, a line a run.

    Args:
        history: DataFrame scenario, fold, epoch, loss, val_loss, and init, preprocess, seed
            and batch_size where runs differ in them.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    names = list(history["scenario"].unique())
    one_backbone = len({name.split("-")[0] for name in names}) == 1
    run = [key for key in ("init", "preprocess", "fold", "seed", "batch_size") if key in history]
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns, 2.6 * rows), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, names, strict=False):
        part = history[history["scenario"] == name]
        for _, one in part.groupby(run):
            look = {"alpha": 0.8, "marker": ".", "markersize": 3}  # one epoch makes no line
            ax.plot(one["epoch"], one["loss"], color=PALETTE[0], **look)
            ax.plot(one["epoch"], one["val_loss"], color=PALETTE[1], linestyle="--", **look)
        ax.set_title(name.split("-", 1)[1] if one_backbone else name, fontsize=10)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel("binary cross-entropy")
    handles = axes[0, 0].get_lines()[:2]
    figure.legend(handles, ["training", "validation"], loc="outside lower center", ncols=2)
    return watermark(figure, phantom)


def swarm(table, summary, phantom, baseline=None):
    """Every scenario's AUC by arm, with mean ± SD beside the points.

    Args:
        table: DataFrame arm, trainable, auc (of `rin.judge.complete`).
        summary: DataFrame arm, mean_auc, sd_auc.
        phantom: whether to watermark.
        baseline: AUC of the best trivial baseline, drawn as a line; None leaves it out.

    Returns:
        The Figure.
    """
    arms = list(summary["arm"])
    figure, ax = plt.subplots(figsize=(3.2 + 1.9 * len(arms), 4.2), layout="constrained")
    kinds = [kind for kind in MARKERS if kind in set(table["trainable"])]
    for position, kind in enumerate(kinds):
        sns.swarmplot(
            table[table["trainable"] == kind], x="arm", y="auc", order=arms, ax=ax, size=7,
            marker=MARKERS[kind], color=PALETTE[position], label=kind,
        )  # fmt: skip
    for x, row in enumerate(summary.itertuples()):
        alone = np.isnan(row.sd_auc)  # one scenario has no SD
        spread, words = (0, "") if alone else (row.sd_auc, f" ± {row.sd_auc:.2f}")
        ax.errorbar(x + 0.28, row.mean_auc, spread, fmt="_", color="0.2", capsize=4, markersize=14)
        ax.annotate(f"{row.mean_auc:.2f}{words}", (x + 0.34, row.mean_auc), va="center")
    ax.axhline(0.5, color="0.6", linewidth=1, linestyle=":")
    if baseline is not None:
        ax.axhline(baseline, color="0.4", linewidth=1, linestyle="--")
        ax.annotate("trivial baseline", (-0.48, baseline), va="bottom", fontsize=9, color="0.3")
    ax.set(xlabel="", ylabel="AUC, mean of folds", xlim=(-0.5, len(arms) - 0.2), ylim=(None, 1.02))
    _legend_once(ax, "trainable")
    return watermark(figure, phantom)


def roc_band(curves, summary, phantom):
    """Averaged ROC of every arm with a band of one SD over scenarios.

    Args:
        curves: DataFrame arm, fpr, tpr_mean, tpr_sd (of `rin.judge.averaged_rocs`).
        summary: DataFrame arm, mean_auc: the legend's mean of AUCs.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(4.8, 4.6), layout="constrained")
    means = summary.set_index("arm")["mean_auc"]
    for color, (arm, part) in zip(cycle(PALETTE), curves.groupby("arm", sort=False), strict=False):
        ax.plot(part["fpr"], part["tpr_mean"], color=color, label=f"{arm}: AUC {means[arm]:.2f}")
        low = (part["tpr_mean"] - part["tpr_sd"]).clip(0, 1)
        high = (part["tpr_mean"] + part["tpr_sd"]).clip(0, 1)
        ax.fill_between(part["fpr"], low, high, color=color, alpha=0.2, linewidth=0)
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
    ax.set(xlabel="1 − specificity", ylabel="sensitivity", aspect="equal")
    ax.legend(loc="lower right", frameon=False)
    return watermark(figure, phantom)


def auc_rows(table, phantom, level=0.95):
    """One line a run: AUC with its interval, folds of a scenario under each other.

    Args:
        table: DataFrame scenario, fold, auc, low, high (of `rin.judge.intervals`, one arm).
        phantom: whether to watermark.
        level: coverage the intervals were made with, for the label.

    Returns:
        The Figure.
    """
    names = list(table["scenario"].unique())
    height = 0.8 + len(names) * (0.2 + 0.11 * table["fold"].nunique())
    figure, ax = plt.subplots(figsize=(7.0, height), layout="constrained")
    folds = sorted(table["fold"].unique())
    shift = np.linspace(-0.28, 0.28, len(folds)) if len(folds) > 1 else [0.0]
    for offset, fold, color in zip(shift, folds, PALETTE, strict=False):
        part = table[table["fold"] == fold]
        y = np.array([names.index(name) for name in part["scenario"]]) + offset
        error = np.abs(part[["low", "high"]].to_numpy().T - part["auc"].to_numpy())
        ax.errorbar(
            part["auc"], y, xerr=error, fmt="o", markersize=4, color=color, label=f"fold {fold}"
        )
    ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":")
    ax.set(xlabel=f"test AUC, {100 * level:g} % interval (DeLong, clustered)", xlim=(-0.02, 1.02))
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return watermark(figure, phantom)


def _legend_once(ax, title):
    found = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    ax.legend(
        found.values(),
        found.keys(),
        title=title,
        loc="upper left",
        bbox_to_anchor=(1, 1),
        frameon=False,
    )
