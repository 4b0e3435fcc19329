"""Tables of Grad-CAM: from the kept maps of runs to Dice by image, arm, class and threshold."""

from itertools import product

import numpy as np
import pandas as pd

from rin import images, judge
from rin.gradcam import choices
from rin.gradcam.overlap import LEVELS, THRESHOLD, chance, coverage, dice, dice_curve, pointing

THRESHOLDS = (128, THRESHOLD, 205)  # half, the paper's and four fifths of the maximum
ACTIVATION = {"gap": "softmax", "flatten": "sigmoid"}  # of each classifier
RUN = ["task", "init", "preprocess", "backbone", "trainable", "learning_rate", "scenario"]
RUN += ["fold", "seed", "batch_size"]
PIECE = 1000  # images of a run that are looked at together: 65 MB of maps at 256 px
IMAGE = ["row", "image_id", "group", "y_true"]
CELL = ["scenario", "fold", "seed", "row"]
ALSO = ["chance", "pointing", "coverage"]  # beside Dice, for images with a lesion
SAME_SIZE = "same size, anywhere"  # the arm of `against_chance`
CHOICES = ["which", "of", "resize", "threshold"]  # made after training


def masks(manifest, root, size):
    """The lesion masks of a whole manifest at one size.

    Args:
        manifest: a validated manifest; several masks of an image are united.
        root: folder its paths start from.
        size: pixels a side; nearest neighbor.

    Returns:
        (masks, has): `(n, size, size)` bools in the manifest's order, all false where an image
        has no mask, and `(n,)` bools: whether there is a lesion. Without any mask the first is
        read-only and takes no memory.

    Raises:
        rin.images.ImageError: a mask can't be read.
    """
    cells = list(manifest["mask"])
    if manifest["mask"].isna().all():
        return np.broadcast_to(np.False_, (len(cells), size, size)), np.zeros(len(cells), bool)
    drawn = np.zeros((len(cells), size, size), bool)
    open_mask = images.mask_opener(manifest, root, size)

    def one(row):
        drawn[row] = open_mask(cells[row])

    images.each(one, [row for row, cell in enumerate(cells) if not pd.isna(cell)], "Masks")
    return drawn, drawn.any(axis=(1, 2))


def overlaps(
    runs,
    masks,
    has,
    predictions,
    which="predicted",
    of="probability",
    threshold=THRESHOLD,
    resize="bilinear",
):
    """Where every run's map of every test image looks.

    Args:
        runs: rows of `rin.judge.gather` or `rin.records.training_runs` whose folders hold maps.
        masks, has: of `masks`, rows as in the runs' data; maps are enlarged to their size.
        predictions: the test rows of the same runs.
        which, of: see `rin.gradcam.choices.signed`.
        threshold: in 0..255.
        resize: see `rin.gradcam.choices.to_cam`.

    Returns:
        DataFrame, one row a run and test image: `arm`, the run's columns, `row`, `image_id`,
        `group`, `y_true`; `correct`, `confidence` (score of the predicted class), `true_score`
        (of the right one); `has_mask`, `blank` (the map is 0 everywhere), `dice`, `chance` (Dice
        to expect of a mark of the same size put anywhere) and `pointing`, all NaN without a
        lesion; `coverage` (share of the image above the threshold).

    Raises:
        FileNotFoundError: a run kept no maps.
        ValueError: a choice is unknown, or maps, masks and predictions do not fit together.
    """
    parts = []
    for _, part, cam in cams(runs, predictions, masks.shape[1], which, of, resize):
        rows = _rows(part, masks)
        lesion = masks[rows]
        found = {"has_mask": has[rows], "blank": ~cam.any(axis=(1, 2))}
        found |= {"dice": dice(cam, lesion, threshold), "chance": chance(cam, lesion, threshold)}
        found |= {"pointing": pointing(cam, lesion), "coverage": coverage(cam, threshold)}
        facts = [key for key in ("arm", *RUN, *IMAGE) if key in part]
        facts += ["correct", "confidence", "true_score"]
        parts.append(part[facts].assign(**found))
    return pd.concat(parts, ignore_index=True)


def curve(runs, masks, has, predictions, which="predicted", of="probability", resize="bilinear"):
    """Mean Dice of every arm at every threshold.

    Args:
        runs, masks, has, predictions, which, of, resize: as for `overlaps`.

    Returns:
        DataFrame `arm`, `threshold` (0 to 255), `mean_dice` (over images, then scenarios),
        `sd_dice` (over scenarios, ddof 1; NaN with one), `n_scenarios`.

    Raises:
        FileNotFoundError, ValueError: see `overlaps`.
    """
    found = _means(runs, masks, has, predictions, range(LEVELS), which, of, resize)
    by = found.groupby(["arm", "threshold"], sort=False)["dice"]
    return by.agg(mean_dice="mean", sd_dice="std", n_scenarios="count").reset_index()


def sensitivity(runs, masks, has, predictions, thresholds=THRESHOLDS):
    """Mean Dice under every choice that is made after training.

    Args:
        runs, masks, has, predictions: as for `overlaps`.
        thresholds: ints in 0..255.

    Returns:
        DataFrame `which`, `of`, `resize`, `threshold` (`CHOICES`), then a column an arm with its
        mean Dice (over images, then scenarios).

    Raises:
        FileNotFoundError, ValueError: see `overlaps`.
    """
    parts = []
    for chosen in product(choices.WHICH, choices.TARGETS, choices.RESIZES):
        found = _means(runs, masks, has, predictions, thresholds, *chosen)
        wide = found.pivot_table("dice", "threshold", "arm", sort=False)
        wide = wide.rename_axis(columns=None).reset_index()
        parts.append(wide.assign(**dict(zip(CHOICES, chosen, strict=False))))
    table = pd.concat(parts, ignore_index=True)
    return table[[*CHOICES, *table.columns.drop(CHOICES)]]


def summary(table, by=("arm",)):
    """Mean Dice of every arm, with both of its spreads and what it rests on.

    Args:
        table: of `overlaps`, or a kept one; neither images nor masks are needed.
        by: columns that tell the rows of the result apart, such as arm and trainable.

    Returns:
        DataFrame of the columns `by`, `mean_dice` (over images, then scenarios),
        `sd_over_scenarios` (of their means), `sd_over_groups` (of the groups' means, each image
        averaged over scenarios first; both ddof 1), `chance`, `pointing`, `coverage`, `n_images`
        and `n_groups` with a lesion, `n_scenarios`, `n_without` (images without a lesion, which
        have no Dice), `n_blank` (blank maps of images with one, which count as 0) and `right` (the
        share of all predictions that are).
    """
    rows = []
    for names, part in table.groupby([*by], sort=False):
        lesion = part[part["has_mask"]]
        means = lesion.groupby("scenario")[["dice", *ALSO]].mean()
        image = lesion.groupby(["group", "row"])["dice"].mean()
        group = image.groupby("group").mean()
        row = dict(zip(by, names, strict=True)) | {"mean_dice": means["dice"].mean()}
        row |= {"sd_over_scenarios": means["dice"].std(), "sd_over_groups": group.std()}
        row |= {key: means[key].mean() for key in ALSO}
        row |= {"n_images": len(image), "n_groups": len(group), "n_scenarios": len(means)}
        without = part.loc[~part["has_mask"], "row"].nunique()
        row |= {"n_without": without, "n_blank": int(lesion["blank"].sum())}
        rows.append(row | {"right": part["correct"].mean()})
    return pd.DataFrame(rows)


def paired_dice(table, a, b, by="arm", correct_only=False, less_chance=False):
    """Dice of two arms side by side, as `rin.stats.dice_test` takes it.

    Args:
        table: of `overlaps`, or a kept one.
        a, b: the arms.
        by: column that holds their names.
        correct_only: leave out an image of a cell where either arm is wrong.
        less_chance: take from each Dice what a mark of its size is worth anywhere. Arms that mark
            different shares of the image are then comparable.

    Returns:
        DataFrame, one row a `scenario`, `fold`, `seed` and test image (`row`) that both arms have:
        `image_id`, `group`, `dice_a`, `dice_b`, both NaN without a lesion.

    Raises:
        ValueError: an arm is not there, or has several rows of one image in one cell.
    """
    if less_chance:
        table = table.assign(dice=table["dice"] - table["chance"])
    sides = [_side(table, arm, by) for arm in (a, b)]
    joined = sides[0].merge(sides[1], on=[*CELL, "image_id", "group"], suffixes=("_a", "_b"))
    if correct_only:
        joined = joined[joined["correct_a"] & joined["correct_b"]]
    return joined.drop(columns=["correct_a", "correct_b"]).reset_index(drop=True)


def against(table, ladder, baseline):
    """A table with one baseline of the ladder as a further arm, for `paired_dice`.

    Args:
        table: of `overlaps`, or a kept one.
        ladder: of `rin.gradcam.ladder.ladder`, made of the same masks and splits.
        baseline: its name; that arm has the same Dice in every scenario and is always right.

    Returns:
        `table` with one row more for each scenario, fold, seed and image in it.

    Raises:
        ValueError: the ladder has no such baseline, or lacks an image with a lesion.
    """
    marks = ladder.loc[ladder["baseline"] == baseline, ["fold", "row", "dice", "pointing"]]
    cells = table.drop_duplicates(CELL)[[*CELL, "image_id", "group", "has_mask"]]
    rows = cells.merge(marks, on=["fold", "row"], how="left")
    absent = int((rows["has_mask"] & rows["dice"].isna()).sum())
    if absent or marks.empty:
        names = sorted(ladder["baseline"].unique())
        raise ValueError(
            f"`ladder` should hold {baseline!r} for every lesion. "
            f"Received: {names}, {absent} absent"
        )
    rows = rows.assign(arm=baseline, correct=True, blank=False)
    return pd.concat([table, rows], ignore_index=True)


def against_chance(table, arm):
    """A table with one arm's marks, put anywhere, as the further arm `SAME_SIZE`.

    Args:
        table: of `overlaps`, or a kept one.
        arm: its name.

    Returns:
        `table` with one row more for each of the arm's: its `chance` in place of its Dice.
    """
    rows = table[table["arm"] == arm]
    rows = rows.assign(arm=SAME_SIZE, dice=rows["chance"], correct=True, blank=False)
    return pd.concat([table, rows], ignore_index=True)


def cams(runs, predictions, size, which="predicted", of="probability", resize="bilinear"):
    """Each run's maps at image size, beside its predictions, `PIECE` images at a time.

    Args:
        runs, predictions, which, of, resize: as for `overlaps`.
        size: pixels a side.

    Yields:
        (run, part, cam): dict; some of its predictions in the maps' order, with `arm`, `correct`,
        `confidence` and `true_score`; `(n, size, size)` uint8 of the same images.
    """
    if runs.empty:
        raise ValueError("`runs` should hold at least one finished run. Received none")
    scored = _scored(predictions)
    # runs of before there was a batch size have none
    keys = [key for key in RUN if key in runs and key in scored and runs[key].notna().all()]
    parts = dict(list(scored.groupby(keys, sort=False)))
    for run in runs.to_dict("records"):
        maps, rows = choices.load(run["folder"])
        part = _aligned(parts.get(tuple(run[key] for key in keys)), rows, run)
        column = ["y_score_negative", "y_score"] if which == "predicted" else "y_true"
        activation = ACTIVATION[run.get("classifier", "gap")]
        signed = choices.signed(maps, part[column].to_numpy(), which, of, activation)
        for start in range(0, len(part), PIECE):
            piece = slice(start, start + PIECE)
            yield run, part.iloc[piece], choices.to_cam(signed[piece], size, resize)


def shared(runs):
    """The runs of the scenarios, folds and seeds that every arm has: arms stand on the same images.

    Args:
        runs: with `arm`, diverged ones left out.

    Returns:
        Some rows of `runs`, none where the arms share nothing.
    """
    keys = ["scenario", "fold", "seed"]
    n_arms = runs.groupby(keys)["arm"].transform("nunique")
    return runs[n_arms == runs["arm"].nunique()]


def _means(runs, masks, has, predictions, thresholds, which, of, resize):
    """DataFrame arm, scenario, threshold, dice: mean over the lesion images of all folds."""
    parts = []
    for _, part, cam in cams(runs, predictions, masks.shape[1], which, of, resize):
        rows = _rows(part, masks)
        lesion = has[rows]
        found = dice_curve(cam[lesion], masks[rows[lesion]], thresholds)
        facts = {"arm": part["arm"].iloc[0], "scenario": part["scenario"].iloc[0]}
        facts |= {"threshold": list(thresholds), "total": found.sum(axis=0), "n": len(found)}
        parts.append(pd.DataFrame(facts))
    by = pd.concat(parts).groupby(["arm", "scenario", "threshold"], sort=False)
    sums = by[["total", "n"]].sum().reset_index()
    return sums.assign(dice=sums["total"] / sums["n"].where(sums["n"] > 0))


def _scored(predictions):
    """Predictions with their arm, whether they are right, and how sure the network was."""
    y, positive, negative = (predictions[key] for key in ("y_true", "y_score", "y_score_negative"))
    says = (positive > negative).astype(int)  # equal scores say negative, as in `choices.signed`
    found = {"correct": says == y, "confidence": np.maximum(positive, negative)}
    found |= {"true_score": positive.where(y == 1, negative)}
    arm = predictions["arm"] if "arm" in predictions else judge.arms(predictions)
    return predictions.assign(**found, arm=arm)


def _aligned(part, rows, run):
    """One run's predictions in the order of its maps."""
    have = [] if part is None else sorted(part["row"])
    if have != sorted(rows.tolist()):
        raise ValueError(
            f"`predictions` should hold the {len(rows)} images that {run['folder']} keeps maps of. "
            f"Received: {len(have)}, {len(set(have) & set(rows.tolist()))} of them"
        )
    return part.set_index("row", drop=False).rename_axis(None).loc[rows].reset_index(drop=True)


def _rows(part, masks):
    rows = part["row"].to_numpy()
    if len(rows) and rows.max() >= len(masks):
        raise ValueError(
            f"`masks` should be of the runs' data, which has a row {rows.max()}. "
            f"Received: {len(masks)} masks"
        )
    return rows


def _side(table, arm, by):
    mine = table[table[by] == arm]
    if mine.empty or mine.duplicated(CELL).any():
        said = "several rows an image" if len(mine) else f"only {sorted(table[by].unique())}"
        raise ValueError(f"`table` should hold {by} {arm!r} once an image and cell. Found: {said}")
    return mine[[*CELL, "image_id", "group", "dice", "correct"]]
