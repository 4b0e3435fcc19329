"""Figure of blocks: how the rate of duplicates falls with their distance, and the block size."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from rin.figures import PALETTE, watermark


def duplicate_rate(table, block_size, phantom):
    """The share of image pairs that are duplicates, by distance within a class, on log axes.

    A block size fits where the points to its right lie low and flat. Points that are flat all
    along say that files were not numbered as they were collected.

    Args:
        table: what `rin.pretraining.blocks.duplicate_rate` returned.
        block_size: images a block, marked by a line.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(7.4, 4.4), layout="constrained")
    rate, low, high = (table[name].to_numpy(float) for name in ("rate", "low", "high"))
    found = rate > 0
    least = rate[found].min() if found.any() else (1 / table["n_pairs"]).min()
    floor, top = least / 4, max(rate.max(), least) * 4
    style = {"color": PALETTE[0], "linewidth": 2.5, "zorder": 2}
    ax.hlines(rate[found], low[found], high[found] + 1, label="distances of a bin", **style)
    middle = np.sqrt(low * (high + 1))
    ax.plot(middle[found], rate[found], "o", color=PALETTE[0], zorder=3)
    for x, y, n in zip(middle[found], rate[found], table["n_duplicates"][found], strict=True):
        place = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
        ax.annotate(f"{n:,}", (x, y), (0, 7), **place)
    if not found.all():
        empty = np.full((~found).sum(), floor)
        hollow = {"color": PALETTE[0], "fillstyle": "none", "linestyle": "none", "clip_on": False}
        ax.plot(middle[~found], empty, "v", label="no duplicate found", **hollow)
    ax.axvline(block_size, color=PALETTE[1], linestyle="--", label=f"blocks of {block_size:,}")
    ax.set(xscale="log", yscale="log", ylim=(floor, top))
    ax.set_xlim(0.9, max(high.max() + 1, block_size) * 1.15)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(
        xlabel="distance within the class, in files", ylabel="share of pairs that are duplicates"
    )
    ax.set_title("Duplicates by distance; their number at each point", loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return watermark(figure, phantom)
