"""Figure of predictions: each image beside its Grad-CAM map, with what the network says of it."""

import matplotlib.pyplot as plt
import pandas as pd

from rin.figures import PALETTE, watermark
from rin.figures.gradcam import HEAT, OPACITY

MOST = 6


def answers(table, pixels, maps, positive, phantom):
    """The first images in two rows: as the network sees them, and with their map.

    Args:
        table: rows of `rin.predict.predict` of the readable images.
        pixels, maps: `(n, size, size)` uint8 of `rin.predict.explain`, of the same images.
        positive: name of the positive class, whose probability it is.
        phantom: whether to watermark: images or training images are phantoms.

    Returns:
        The Figure.

    Raises:
        ValueError: not one row an image.
    """
    if not len(table) == len(pixels) == len(maps):
        counts = f"{len(table)} rows, {len(pixels)} images, {len(maps)} maps"
        raise ValueError(f"`table` should have one row an image. Received: {counts}")
    n = min(MOST, len(table))
    size = (max(3.4, 1.7 * n), 4.2)  # narrower, a watermark could not be read
    figure, axes = plt.subplots(2, n, figsize=size, squeeze=False, layout="constrained")
    for row, image, cam, (top, bottom) in zip(
        table.head(n).itertuples(), pixels, maps, axes.T, strict=False
    ):
        for ax in (top, bottom):
            ax.imshow(image, cmap="gray", vmin=0, vmax=255)
            ax.set_axis_off()
        bottom.imshow(cam, cmap=HEAT, alpha=OPACITY * cam / 255, vmin=0, vmax=255)
        said = "unlike" if pd.notna(row.unlike) and row.unlike else ""
        top.set_title(f"{row.predicted}\nP({positive}) {row.probability:.2f}\n{said}", fontsize=9)
        if said:
            top.title.set_color(PALETTE[3])
    return watermark(figure, phantom)
