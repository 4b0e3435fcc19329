"""Figures: seaborn and matplotlib, one look, and a watermark on everything made of phantoms."""

import math

import seaborn as sns

PALETTE = sns.color_palette("colorblind")
WATERMARK = "PHANTOM IMAGES: NOT A FINDING"
SLANT = math.radians(20)  # of the watermark's line
LENGTH = 0.75 * len(WATERMARK) / 72  # inches of that line for each point of its font


def watermark(figure, phantom=True):
    """Write across a figure that it shows phantoms; does nothing for real images.

    Args:
        figure: a matplotlib Figure.
        phantom: whether the images behind it are phantoms.

    Returns:
        The figure.
    """
    if phantom:
        width, height = figure.get_size_inches()
        # a longer line would be cut off, or widen the figure where its edges are drawn tight
        fitting = 0.9 * min(width / math.cos(SLANT), height / math.sin(SLANT)) / LENGTH
        style = {
            "fontsize": min(26, fitting),
            "color": PALETTE[3],
            "alpha": 0.4,
            "weight": "bold",
            "rotation": math.degrees(SLANT),
        }
        figure.text(0.5, 0.5, WATERMARK, ha="center", va="center", zorder=100, **style)
    return figure
