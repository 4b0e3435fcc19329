"""Figures: seaborn and matplotlib, one look, and a watermark on everything made of phantoms."""

import seaborn as sns

PALETTE = sns.color_palette("colorblind")
WATERMARK = "PHANTOM IMAGES: NOT A FINDING"


def watermark(figure, phantom=True):
    """Write across a figure that it shows phantoms; does nothing for real images.

    Args:
        figure: a matplotlib Figure.
        phantom: whether the images behind it are phantoms.

    Returns:
        The figure.
    """
    if phantom:
        style = {
            "fontsize": 26,
            "color": PALETTE[3],
            "alpha": 0.4,
            "weight": "bold",
            "rotation": 20,
        }
        figure.text(0.5, 0.5, WATERMARK, ha="center", va="center", zorder=100, **style)
    return figure
