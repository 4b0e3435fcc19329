"""Cases: the images a figure shows, chosen by rule, and their maps."""

import numpy as np
import pandas as pd

from rin.gradcam import tables

RULES = ("best", "median", "worst")


def choose(table, k=2):
    """The best, median and worst images by mean Dice over arms, or by the right class's score.

    Every arm counts alike: an image's Dice is averaged over an arm's scenarios, then over arms.
    Without a lesion anywhere, the score of the right class takes the place of Dice. Of images
    that tie the first by `image_id` is taken; of a group (a patient, or near twins) one image.

    Args:
        table: of `rin.gradcam.tables.overlaps`, or a kept one.
        k: int ≥ 1, images a rule; fewer where there are no more groups.

    Returns:
        DataFrame `rule` ("best", "median", "worst", in this order), `measure` ("dice" or
        "true_score"), `value` (its mean), `row`, `image_id`, `group`, `fold`.

    Raises:
        ValueError: `k` is no int of at least 1, or no image is in every arm.
    """
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"`k` should be an int of at least 1. Received: k={k!r}")
    measure = "dice" if table["has_mask"].any() else "true_score"
    left, parts = _values(table, measure), []
    middle = left["value"].median()
    order = {"best": -left["value"], "worst": left["value"], "median": abs(left["value"] - middle)}
    for rule, key in order.items():  # the median takes what the ends leave
        ranked = left.assign(key=key.reindex(left.index)).sort_values(["key", "image_id"])
        taken = ranked.drop_duplicates("group").head(k).drop(columns="key")
        left = left[~left["group"].isin(taken["group"])]
        parts.append(taken.assign(rule=rule, measure=measure))
    chosen = pd.concat(parts)
    chosen["rule"] = pd.Categorical(chosen["rule"], RULES, ordered=True)
    chosen = chosen.sort_values("rule", kind="stable", ignore_index=True).astype({"rule": str})
    return chosen[["rule", "measure", "value", "row", "image_id", "group", "fold"]]


def maps(runs, predictions, chosen, size, which="predicted", of="probability", resize="bilinear"):
    """The map of every chosen image in every arm, of one scenario.

    Args:
        runs: of one scenario and seed, whose folders hold maps; leave diverged ones out.
        predictions: the test rows of the same runs.
        chosen: DataFrame with `row`, as of `choose`.
        size: pixels a side.
        which, of: see `rin.gradcam.choices.signed`.
        resize: see `rin.gradcam.choices.to_cam`.

    Returns:
        dict from arm to `(n, size, size)` uint8 in the order of `chosen`; an image that an arm
        has no map of is left blank.

    Raises:
        ValueError: runs of several scenarios or seeds, or see `rin.gradcam.tables.overlaps`.
    """
    if len(runs[["scenario", "seed"]].drop_duplicates()) > 1:
        names = sorted(runs["scenario"].unique())
        raise ValueError(f"`runs` should be of one scenario and seed. Received: {names}")
    found = {}
    for _, part, cam in tables.cams(runs, predictions, size, which, of, resize):
        arm = part["arm"].iloc[0]
        mine = found.setdefault(arm, np.zeros((len(chosen), size, size), np.uint8))
        at = {row: place for place, row in enumerate(part["row"])}
        for place, row in enumerate(chosen["row"]):
            if row in at:
                mine[place] = cam[at[row]]
    return found


def _values(table, measure):
    """One row an image that every arm has: its mean over scenarios, then arms."""
    known = table.dropna(subset=[measure])
    by_arm = known.groupby(["row", "arm"])[measure].mean().unstack("arm").dropna()
    if by_arm.empty:
        raise ValueError(f"`table` should hold an image with {measure} in every arm. Received none")
    facts = known.drop_duplicates("row").set_index("row")[["image_id", "group", "fold"]]
    return facts.join(by_arm.mean(axis=1).rename("value"), how="inner").reset_index()
