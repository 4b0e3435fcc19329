"""What is expected before any result: how small the input is, how few the updates, what follows."""

import math

import numpy as np
import pandas as pd

from rin import published

# The default of most official scripts, and a smaller batch; covid19's is 1024, hemorrhage has none.
EPOCHS, BATCH_SIZES = 30, (256, 32)
MOMENTUM = 0.99  # of Keras's batch norm, which all four backbones use
# Training images of the released lists of fold 0. Source: BMEII-AI/RadImageNet, `*/dataframe/`.
TRAINED_ON = {
    "acl": (726, "about: 1,022 images less the test and val lists, whose length was read"),
    "covid19": (5340, "9,050 images less the rows of the released test and val lists"),
    "pneumonia": (20412, "rows of the released training list"),
    "sarscov2": (44644, "rows of the released training list"),
}
NOT_READ = "not known: the released training list was not read"


def shrinkage():
    """How many times smaller the official input is than the one the ImageNet weights expect.

    Only the scale is compared, its mean over the channels; centers and channel order differ too.

    Returns:
        DataFrame, one row a backbone, the smallest input first: `backbone`, `native` (what its
        ImageNet weights expect, in Keras's words), `factor` (≥ 1).

    Source: the official scripts; `keras.applications.imagenet_utils`
    """
    from rin import backbones  # loads a backend

    rows = []
    for name, one in backbones.BACKBONES.items():
        modes = ("official", "native")
        scales = [backbones.center_and_scale(mode, name, "imagenet")[1] for mode in modes]
        factor = float(np.mean(scales[0].astype(float) / scales[1]))
        rows.append({"backbone": name, "native": one.native, "factor": factor})
    table = pd.DataFrame(rows).round({"factor": 6})  # the scales are float32
    return table.sort_values("factor", ascending=False, kind="stable", ignore_index=True)


def updates(n_train, batch_size, epochs, momentum=MOMENTUM):
    """How often the weights change in a run, and what batch norm keeps of its start.

    Args:
        n_train: training images.
        batch_size: images an update; the last batch of an epoch may be smaller.
        epochs: passes over the training images.
        momentum: of batch norm's running statistics, between 0 and 1.

    Returns:
        `(n_updates, kept)`: int, and the share in [0, 1] of its start statistics that a batch
        norm that trains still has at the end. A frozen one keeps all.

    Raises:
        ValueError: a count below 1, or a momentum outside [0, 1].

    >>> n, kept = updates(247, 256, 30)
    >>> n, round(kept, 2)
    (30, 0.74)
    """
    counts = {"n_train": n_train, "batch_size": batch_size, "epochs": epochs}
    if wrong := [f"{name}={value!r}" for name, value in counts.items() if not value >= 1]:
        raise ValueError(f"counts should be ≥ 1. Received: {', '.join(wrong)}")
    if not 0 <= momentum <= 1:
        raise ValueError(f"`momentum` should be in [0, 1]. Received: momentum={momentum!r}")
    n = math.ceil(n_train / batch_size) * epochs
    return n, momentum**n


def published_updates(batch_sizes=BATCH_SIZES, epochs=EPOCHS):
    """`updates` of the published tasks, as their released lists train them.

    Args:
        batch_sizes: the batch sizes to compare.
        epochs: passes over the training images.

    Returns:
        DataFrame, one row a published task and batch size: `task`, `n_train` (fold 0; NaN where
        it is not known), `batch_size`, `n_updates`, `kept`, `source` of `n_train`.
    """
    rows = []
    for task in published.tasks()["task"]:
        n_train, source = _trained_on(task)
        for size in batch_sizes:
            found = (math.nan, math.nan) if n_train is None else updates(n_train, size, epochs)
            rows.append((task, n_train, size, *found, source))
    columns = ["task", "n_train", "batch_size", "n_updates", "kept", "source"]
    return pd.DataFrame(rows, columns=columns).astype({"n_train": float, "n_updates": float})


def predictions(factors):
    """What each explanation says the gap RadImageNet − ImageNet will do: written before a result.

    Args:
        factors: of `shrinkage`.

    Returns:
        DataFrame `explanation`, `backbone`, `factor` (NaN where it plays no part), `order` (text:
        "1" is the largest gap under official, equal factors share one; "none"), `then`.
    """
    order = factors["factor"].rank(method="min", ascending=False).astype(int)
    rows = [
        ("preprocessing", row.backbone, row.factor, str(place), _then(row.factor))
        for row, place in zip(factors.itertuples(), order, strict=True)
    ]
    more = "the gap is smaller at the smaller batch, whatever the preprocess"
    rows.append(("updates", "each", math.nan, "none", more))
    return pd.DataFrame(rows, columns=["explanation", "backbone", "factor", "order", "then"])


def _trained_on(task):
    """`(n_train, source)` of a published task; `n_train` is None where it is not known."""
    row = published.tasks().set_index("task").loc[task]
    if task in ("breast", "thyroid"):
        held = published.official_folds(task).query("fold == 0")
        return int(row["n_positive"] + row["n_negative"] - len(held)), "released list of fold 0"
    return TRAINED_ON.get(task, (None, NOT_READ))


def _then(factor):
    if factor == 1:
        return "no part of the gap comes from the scale, so native changes nothing"
    return "the gap is smaller with native, whatever the batch"
