"""Figures of the database: the four phases, its composition, its imbalance, one image a class."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from rin import images
from rin.figures import PALETTE, watermark

# Our reading of Figure 1 of Mei et al. 2022, doi:10.1148/ryai.210315, numbers from its text:
# title, what is done, numbers, what is handed on.
PHASES = (
    (
        "Collect key images",
        "Readers choose key images in clinical\nreading, mark a region and name a finding",
        "1,091,874 images\n(total less phase 2)",
        "images with a region and a finding",
    ),
    (
        "Add normals, sort into classes",
        "Reports that say normal or unremarkable\nadd whole studies; all images are grouped\n"
        "by modality, anatomy and pathology",
        "+ 263,039 images of\n8,528 normal studies",
        "1,354,913 images, 131,872 patients, 165 classes",
    ),
    (
        "Pretrain four backbones",
        "InceptionResNetV2, ResNet50, DenseNet121\nand InceptionV3 from random weights",
        "224 × 224 pixels\n75/10/15 by patient",
        "four backbones with their weights",
    ),
    (
        "Fine-tune and compare",
        "Each backbone meets new tasks and is\ncompared with its ImageNet twin",
        "8 tasks\n24 scenarios",
        "",
    ),
)
MODALITIES = {"CT": PALETTE[0], "MR": PALETTE[1], "US": PALETTE[2]}
MEASURES = {"images": "images", "classes": "classes", "average_class_size": "images a class"}
MOST = 24  # images of a grid


def phases():
    """The four phases of the study as boxes, an arrow from each to the next.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(8.0, 6.4), layout="constrained")
    ax.set(xlim=(0, 10), ylim=(0.62, 4.38))
    ax.set_axis_off()
    for number, (title, what, numbers, handed) in enumerate(PHASES, start=1):
        y, color = 5 - number, PALETTE[number - 1]
        box = plt.Rectangle((0.1, y - 0.36), 9.8, 0.72, facecolor=(*color, 0.12), edgecolor=color)
        ax.add_patch(box)
        middle = {"va": "center", "linespacing": 1.25}
        ax.text(
            0.55, y, str(number), fontsize=24, weight="bold", color=color, ha="center", **middle
        )
        ax.text(1.1, y + 0.22, title, fontsize=12, weight="bold", **middle)
        ax.text(1.1, y - 0.09, what, fontsize=11, **middle)
        ax.text(9.7, y, numbers, fontsize=11, ha="right", **middle)
        if handed:
            arrow = {"arrowstyle": "-|>", "color": "0.3", "linewidth": 1.6}
            ax.annotate("", (5, y - 0.66), (5, y - 0.34), arrowprops=arrow)
            ax.text(5.2, y - 0.5, handed, fontsize=10, color="0.25", style="italic", **middle)
    return figure


def composition(found=None, published=None, phantom=False):
    """Images, classes and images a class of every modality and anatomy.

    Args:
        found, published: DataFrames modality, anatomy, classes, images, average_class_size; one of
            them or both. Both of one group are drawn on one line, and their ratio is written.
        phantom: whether `found` holds phantoms; then nothing published may stand beside it.

    Returns:
        The Figure.

    Raises:
        ValueError: no table, or phantoms beside published numbers.
    """
    tables = {"published": published, "found": found}
    tables = {name: table for name, table in tables.items() if table is not None}
    if not tables:
        raise ValueError("`found` or `published` should be a table. Received: None for both")
    if phantom and published is not None:
        raise ValueError("phantoms should not stand beside published numbers")
    tables = {name: table.set_index(["modality", "anatomy"]) for name, table in tables.items()}
    groups = _ordered(tables)
    height = 1.4 + 0.36 * len(groups)
    figure, axes = plt.subplots(1, 3, figsize=(10.5, height), sharey=True, layout="constrained")
    for ax, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        _bars(ax, groups, {name: table[measure].reindex(groups) for name, table in tables.items()})
        ax.set(title=label, ylim=(len(groups) - 0.4, -0.6))
    axes[0].set_yticks(range(len(groups)), [" ".join(group) for group in groups])
    if len(tables) == 2:
        handles = [plt.Rectangle((0, 0), 1, 1, **_style(name, "0.4")) for name in tables]
        title = "beside the bars: found / published (their ratio)"
        figure.legend(
            handles, [*tables], loc="outside lower center", ncols=2, frameon=False, title=title
        )
    return watermark(figure, phantom)


def imbalance(counts, phantom):
    """The sizes of all classes, largest first, on a log axis.

    Args:
        counts: Series of images by class, each > 0; a class begins with its modality and "/".
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    sizes = counts.sort_values(ascending=False, kind="stable")
    figure, ax = plt.subplots(figsize=(8.0, 4.4), layout="constrained")
    rank, modality = np.arange(1, len(sizes) + 1), sizes.index.str.split("/").str[0]
    for name in sorted(set(modality)):
        here = modality == name
        color = MODALITIES.get(name, "0.4")
        ax.plot(rank[here], sizes[here], "o", color=color, label=name, markersize=5)
    # the largest is named above its point, the smallest below: no other point lies there
    for position, shift, across, up in ((0, 7, "left", "bottom"), (-1, -7, "right", "top")):
        ax.annotate(
            f"{sizes.index[position]}: {sizes.iloc[position]:,}",
            (rank[position], sizes.iloc[position]), (-shift / 2, shift),
            textcoords="offset points", ha=across, va=up,
        )  # fmt: skip
    ratio = sizes.iloc[0] / sizes.iloc[-1]
    ax.set_title(f"{len(sizes)} classes; the largest is {ratio:,.0f} times the smallest")
    ax.set(xlabel="rank of the class", ylabel="images", yscale="log")
    ax.set_ylim(sizes.iloc[-1] / 2.5, sizes.iloc[0] * 2.5)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(frameon=False, loc="outside right upper", title="modality")
    return watermark(figure, phantom)


def grid(manifest, root, phantom, height=128):
    """One image of each class; of many classes, 24 spread evenly over their sorted names.

    Args:
        manifest: a validated manifest; the first image of each class by path is shown.
        root: folder its paths start from.
        phantom: whether to watermark.
        height: pixels a side they are shown at.

    Returns:
        The Figure.
    """
    first = manifest.sort_values("image").drop_duplicates("label").sort_values("label")
    chosen = np.unique(np.linspace(0, len(first) - 1, min(MOST, len(first))).round().astype(int))
    columns = min(6, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.8 * columns, 2.15 * rows), squeeze=False, layout="constrained"
    )
    open_image = images.opener(manifest, root)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, row in zip(axes.flat, first.iloc[chosen].itertuples(), strict=False):
        ax.imshow(images.resize(open_image(row.image), height), cmap="gray", vmin=0, vmax=255)
        place, _, name = row.label.rpartition("/")
        ax.set_title(f"{place}\n{name}", fontsize=8)
    return watermark(figure, phantom)


def _ordered(tables):
    """All groups: by modality, the largest of each first as the first table has it."""
    first = next(iter(tables.values()))["images"]
    groups = list(dict.fromkeys(group for table in tables.values() for group in table.index))
    return sorted(groups, key=lambda group: (group[0], -first.get(group, 0), group))


def _bars(ax, groups, values):
    """One line a group: a bar a table, one inside the other, and its numbers at their end."""
    colors = [MODALITIES.get(modality, "0.4") for modality, _ in groups]
    for y, color in enumerate(colors):
        numbers = {name: series.iloc[y] for name, series in values.items()}
        for name, number in numbers.items():
            narrow = 0.4 if name == "found" and len(values) == 2 else 0.7
            ax.barh(y, np.nan_to_num(number), height=narrow, **_style(name, color))
        text = {"textcoords": "offset points", "va": "center", "fontsize": 8}
        end = (np.nanmax([*numbers.values()]), y)
        ax.annotate(_said([*reversed(numbers.values())]), end, (4, 0), **text)
    widest = max(series.max() for series in values.values())
    ax.set_xlim(0, widest * (1.3 if len(values) == 1 else 1.9))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.tick_params(left=False)
    ax.spines[["top", "right"]].set_visible(False)


def _style(name, color):
    return {"facecolor": to_rgba(color, 0.2 if name == "published" else 1), "edgecolor": color}


def _said(numbers):
    """`found / published (ratio)`, or the one number there is; "none" where a group is absent."""
    exact = [n < 100 and n % 1 != 0 for n in numbers]  # a mean of few
    texts = [f"{n:.1f}" if e else f"{n:,.0f}" for n, e in zip(numbers, exact, strict=True)]
    texts = [text.replace("nan", "none") for text in texts]
    ratio = numbers[0] / numbers[-1] if len(numbers) == 2 else float("nan")
    return " / ".join(texts) + ("" if np.isnan(ratio) else f" ({ratio:.2g})")
