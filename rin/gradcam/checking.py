"""Checking: the randomization check of a finished run, on some of its test images."""

import numpy as np
import pandas as pd

from rin import backbones, kept
from rin.gradcam import choices, sanity

N_IMAGES = 16  # spread over the test set; each step runs them through the whole network


def first(runs, ready, init=None):
    """`check` of the first of some runs whose network can be built again.

    Args:
        runs: rows of `rin.records.training_runs`.
        ready, init: as for `check`.

    Returns:
        (table, reason): the table, or an empty one and why there is none.
    """
    reason = "no run kept its weights (`keep_weights: true`)"
    for _, run in runs.iterrows():
        try:
            return check(run, ready, init), ""
        except kept.KeptError as error:
            reason = str(error)
    return pd.DataFrame(), reason


def check(run, ready, init=None, n_images=N_IMAGES, steps=4):
    """How like a run's maps are to those of its network with ever more random layers.

    Args:
        run: row of `rin.records.training_runs` whose folder kept its weights.
        ready: the `rin.prepare.Prepared` it was trained on.
        init: the weight file the run started from, if it was a file.
        n_images: at most this many of its test images.
        steps: see `rin.gradcam.sanity.randomized`.

    Returns:
        DataFrame of `rin.gradcam.sanity.randomized`, with `scenario`, `init` and `fold` first. The
        maps are those of the class that the trained network says.

    Raises:
        rin.kept.KeptError: its network can't be built again.
    """
    network = kept.load(run.folder, init)
    _, rows = choices.load(run.folder)
    some = rows[np.unique(np.linspace(0, len(rows) - 1, n_images).astype(int))]
    images = backbones.preprocess(
        ready.data.images[some][..., None], run.preprocess, run.backbone, init or run.init
    )
    said = np.asarray(network.predict(images, verbose=0)).argmax(axis=1)
    table = sanity.randomized(network, images, said, steps)
    table.insert(0, "fold", run.fold)
    table.insert(0, "init", run.init)
    table.insert(0, "scenario", run.scenario)
    return table
