"""Mean class maps of the study: where a network looks, in a table that holds no image."""

import numpy as np
import pandas as pd

from rin.gradcam import choices

RUN = ["arm", "scenario", "fold", "seed"]
SQUARES = ["y_true", "y", "x", "value", "n_images", "n_blank"]


def mean_maps(found, predictions):
    """The mean class map of the pneumonia unit, of children with and without pneumonia.

    Each image's map goes through ReLU and is divided by its own maximum, then averaged: no image
    can be made out of it. Diverged runs leave no maps.

    Args:
        found: of `runs`.
        predictions: the test rows of the same runs.

    Returns:
        DataFrame `arm`, `scenario`, `fold`, `seed`, then `y_true`, `y` and `x` (cell of the map
        from the top left), `value` (in [0, 1]), `n_images` and `n_blank` (maps that are 0).

    Raises:
        FileNotFoundError: a run that did not diverge kept no maps.
    """
    parts = []
    truth = predictions.set_index([*RUN, "row"])["y_true"]
    for run in found[~found["diverged"].astype(bool)].to_dict("records"):
        maps, rows = choices.load(run["folder"])
        signed = choices.signed(maps, which="positive", activation="sigmoid")
        cam = choices.to_cam(signed, signed.shape[1:]) / 255
        cell = [run[key] for key in RUN]
        y_true = truth.loc[tuple(cell)].loc[rows].to_numpy()
        for y in (0, 1):
            parts.append(_square(cam[y_true == y], dict(zip(RUN, cell, strict=True)), y))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=RUN + SQUARES)


def _square(cam, cell, y_true):
    """One run's mean map of one class, a row a cell of the map."""
    mean = cam.mean(axis=0) if len(cam) else np.full(cam.shape[1:], np.nan)
    y, x = np.indices(mean.shape).reshape(2, -1)
    blank = int((~cam.any(axis=(1, 2))).sum())
    facts = {"y_true": y_true, "y": y, "x": x, "value": mean.ravel()}
    return pd.DataFrame(cell | facts | {"n_images": len(cam), "n_blank": blank})
