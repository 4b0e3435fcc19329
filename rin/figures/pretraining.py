"""Figures of pretraining: learning curves, recall beside class size, confusion, examples."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import PowerNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from rin.figures import PALETTE, watermark
from rin.figures.database import MODALITIES
from rin.pretraining.scores import place

PANELS = {
    "loss: cross-entropy": {"loss": "-", "val_loss": "--"},
    "top-1": {"val_top1": "--"},
    "balanced accuracy": {"val_balanced_accuracy": "--"},
}
LINES = {"training": "-", "validation": "--"}
N_SMALLEST, N_WORST = 3, 5  # classes that are named beside the points
GAP = 0.05  # least distance of two names, as a share of the axis
MOST_WRITTEN, MOST_NAMED = 20, 45  # rows whose shares are written, and that are named one by one
COLUMNS = 6  # of a grid


def curves(histories, phantom):
    """Loss of training and validation, top-1 and balanced accuracy of validation by epoch.

    Args:
        histories: dict of history tables (epoch, loss, val_loss, val_top1,
            val_balanced_accuracy) by the name to show, one a backbone.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    figure, axes = plt.subplots(1, len(PANELS), figsize=(10.0, 3.7), layout="constrained")
    look = {"marker": ".", "markersize": 4, "linewidth": 1.4}  # one epoch makes no line
    for ax, (title, columns) in zip(axes, PANELS.items(), strict=True):
        for color, history in zip(cycle(PALETTE), histories.values(), strict=False):
            for column, line in columns.items():
                ax.plot(history["epoch"], history[column], line, color=color, **look)
        ax.set(title=title, xlabel="epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in axes[1:]:
        ax.set_ylim(0, 1)
    colors = dict(zip(histories, cycle(PALETTE), strict=False))
    handles = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
    handles += [Line2D([], [], color="0.4", ls=line, label=name) for name, line in LINES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return watermark(figure, phantom)


def recall_by_size(per_class, phantom):
    """Recall of every class beside its training images; the smallest and the worst are named.

    Of equally bad classes the largest are named.

    Args:
        per_class: as `rin.pretraining.scores.per_class` returns it; classes without recall are
            left out.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    table = per_class.dropna(subset="recall")
    figure, ax = plt.subplots(figsize=(9.0, 4.8), layout="constrained")
    for modality, part in table.groupby("modality"):
        color = MODALITIES.get(modality, "0.4")
        ax.plot(part["n_train"], part["recall"], "o", color=color, ms=5, alpha=0.8, label=modality)
    mean = table["recall"].mean()
    ax.axhline(mean, color="0.4", ls="--", lw=1, label=f"mean: {mean:.2f}")
    ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel="training images of the class", ylabel="recall")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_minor_formatter(NullFormatter())
    few = table.nsmallest(N_SMALLEST, "n_train").index
    bad = table.sort_values(["recall", "n_train"], ascending=[True, False]).index[:N_WORST]
    _name_beside(ax, table.loc[few.union(bad)])
    figure.legend(loc="outside lower center", ncols=len(MODALITIES) + 2, frameon=False)
    return watermark(figure, phantom)


def confusion(table, phantom):
    """Where the images of each group or class were put; a darker field is a larger share.

    Shares are written up to 20 rows. Of more than 45, groups are named instead of classes, and
    lines divide them.

    Args:
        table: as `rin.pretraining.scores.confusion` returns it; gray rows have no images.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    n = len(table)
    side = 2.6 + min(max(0.42 * n, 2.4), 6.4)
    figure, ax = plt.subplots(figsize=(1.15 * side, side), layout="constrained")
    ax.set_facecolor("0.85")
    written = table.map(lambda share: f"{share:.2f}" if share >= 0.005 else "")
    sns.heatmap(
        table, ax=ax, square=True, cmap="Blues", norm=PowerNorm(0.5, 0, 1), fmt="",
        annot=written if n <= MOST_WRITTEN else None, annot_kws={"fontsize": 8},
        linewidths=0.5 if n <= MOST_WRITTEN else 0,
        cbar_kws={"label": "share of the row's images", "shrink": 0.8},
    )  # fmt: skip
    if n > MOST_NAMED:
        _name_groups(ax, list(table.index))
    else:
        ticks = np.arange(n) + 0.5
        ax.set_xticks(ticks, table.columns, rotation=90, fontsize=8)
        ax.set_yticks(ticks, table.index, rotation=0, fontsize=8)
    ax.set(xlabel="predicted", ylabel="true")
    return watermark(figure, phantom)


def example_grid(images, titles, phantom):
    """A grid of images, six a row at most, drawn by Keras's own gallery.

    The gallery needs a Keras backend, which is imported here and nowhere else.

    Args:
        images: `(n, h, w, 1)` or `(n, h, w, 3)` numbers, 0 to 255.
        titles: n texts; a label such as "MR/knee/normal" is broken before its last part.
        phantom: whether to watermark.

    Returns:
        The Figure.

    Raises:
        ValueError: not such an array, no image, or another number of titles.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            f"`images` should be (n, h, w, 1) or (n, h, w, 3), n > 0. Received: {images.shape}"
        )
    if len(titles) != len(images):
        raise ValueError(f"`titles` should be {len(images)} texts. Received: {len(titles)}")
    from keras.visualization import plot_image_gallery

    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    # the gallery colors gray images, wraps around what is above 255 and needs every tile filled
    shown = np.broadcast_to(np.clip(images, 0, 255), (*images.shape[:3], 3))
    blank = np.full((rows * columns - len(images), *shown.shape[1:]), 255)
    shown = np.concatenate([shown, blank])
    plot_image_gallery(shown, rows=rows, cols=columns, show=False, data_format="channels_last")
    figure = plt.gcf()
    figure.set_frameon(True)  # titles could not be read on a dark page
    for ax, title in zip(figure.axes, titles, strict=False):
        before, slash, last = title.rpartition("/")
        ax.set_title(f"{before}\n{last}" if slash else title, fontsize=8)
    return watermark(figure, phantom)


def _name_beside(ax, table):
    """Names right of the axes in the order of their points, a line to each."""
    table = table.sort_values(["recall", "n_train"], ascending=[True, False])  # no line crosses
    at = np.clip(table["recall"].to_numpy(), 0, 1)
    for i in range(1, len(at)):  # up from the lowest, then down again from the top
        at[i] = max(at[i], at[i - 1] + GAP)
    for i in range(len(at) - 1, -1, -1):
        at[i] = min(at[i], 1 - GAP * (len(at) - 1 - i))
    for y, row in zip(at, table.itertuples(), strict=True):
        ax.annotate(
            f"{row.label} ({row.n_train:,})", (row.n_train, row.recall), (1.03, y),
            textcoords=ax.get_yaxis_transform(), va="center", fontsize=8, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "relpos": (0, 0.5)},
        )  # fmt: skip


def _name_groups(ax, labels):
    """Ticks in the middle of each run of classes of one group, and lines between them."""
    groups = np.array([" ".join(dict.fromkeys(place(label))) for label in labels])
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    ends = np.r_[starts[1:], len(groups)]
    middles = (starts + ends) / 2
    ax.set_xticks(middles, groups[starts], rotation=90, fontsize=8)
    ax.set_yticks(middles, groups[starts], rotation=0, fontsize=8)
    for line in starts[1:]:
        ax.axhline(line, color="0.5", linewidth=0.5)
        ax.axvline(line, color="0.5", linewidth=0.5)
