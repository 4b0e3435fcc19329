"""Figures of Grad-CAM: cases, Dice by threshold, the ladder beside the arms, the sanity check."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from rin import datasets
from rin.figures import PALETTE, watermark
from rin.gradcam.overlap import LEVELS, THRESHOLD

HEAT = "inferno"
OPACITY = 0.75  # of a map at its maximum; 0 where it is 0, so the image shows through
LINES = ["-", "--", "-.", ":"]  # arms differ by line too, not by color alone


def cases(chosen, images, masks, maps, facts, task, phantom, show_images=True):
    """A row an image: the image with its lesion's outline, then each arm's map over it.

    Args:
        chosen: DataFrame `rule`, `row` (of `rin.gradcam.cases.choose`).
        images: `(n, size, size)` uint8 of the whole dataset, as in its store.
        masks: `(n, size, size)` bools, or None.
        maps: dict from arm to `(n_chosen, size, size)` uint8 (of `rin.gradcam.cases.maps`).
        facts: DataFrame `arm`, `row`, `dice`, `correct`, `confidence`, `y_true`: the same runs'
            rows of `rin.gradcam.tables.overlaps`.
        task: name of the task; its registry entry says whether its images may be shown.
        phantom: whether the images are phantoms, which may always be shown; watermarks them.
        show_images: False keeps the reader's own images out of the page; what the registry
            forbids it can't allow.

    Returns:
        The Figure.

    Raises:
        ValueError: images of this dataset may not be shown, or `facts` of several scenarios.
    """
    row_of_task = datasets.task(task)
    _require_shown(row_of_task, phantom, show_images)
    if facts.duplicated(["arm", "row"]).any():
        raise ValueError("`facts` should hold one row an arm and image: those of one scenario")
    facts = facts.set_index(["arm", "row"])
    size = (2.2 * (1 + len(maps)), 2.55 * len(chosen))
    figure, axes = plt.subplots(
        len(chosen), 1 + len(maps), figsize=size, squeeze=False, layout="constrained"
    )
    for place, (line, case) in enumerate(zip(axes, chosen.itertuples(), strict=True)):
        mask = None if masks is None else masks[case.row]
        for ax in line:
            _show(ax, images[case.row], mask)
        line[0].set_title(f"{case.rule}\n{_true_class(facts, case.row, row_of_task)}", fontsize=9)
        for ax, (arm, cams) in zip(line[1:], maps.items(), strict=True):
            cam = cams[place]
            ax.imshow(cam, cmap=HEAT, alpha=OPACITY * cam / 255, vmin=0, vmax=255)
            head = f"{arm}\n" if place == 0 else ""
            ax.set_title(head + _words(facts, arm, case.row, row_of_task), fontsize=9)
    return watermark(figure, phantom)


def dice_by_threshold(curve, levels, phantom):
    """Mean Dice over every threshold, a line an arm, with the paper's threshold marked.

    Args:
        curve: DataFrame `arm`, `threshold`, `mean_dice`, `sd_dice` (of `rin.gradcam.tables.curve`);
            the band is one SD over scenarios.
        levels: DataFrame `baseline`, `mean_dice` (of `rin.gradcam.ladder.levels`): horizontal
            lines; None leaves them out.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(7.6, 4.6), layout="constrained")
    looks = zip(cycle(PALETTE), cycle(LINES), curve.groupby("arm", sort=False), strict=False)
    for color, line, (arm, part) in looks:
        ax.plot(part["threshold"], part["mean_dice"], line, color=color, label=arm)
        low, high = part["mean_dice"] - part["sd_dice"], part["mean_dice"] + part["sd_dice"]
        band = {"color": color, "alpha": 0.2, "linewidth": 0}
        ax.fill_between(part["threshold"], low.clip(0, 1), high.clip(0, 1), **band)
    ax.axvline(THRESHOLD, color="0.4", linewidth=1, linestyle="--")
    ax.annotate(f"{THRESHOLD}", (THRESHOLD + 2, 0.99), color="0.3", fontsize=9, va="top",
                xycoords=("data", "axes fraction"))  # fmt: skip
    top = 1.05 * max(frame["mean_dice"].max() for frame in (curve, levels) if frame is not None)
    if levels is not None:
        _draw_levels(ax, levels, top)
    ax.set(xlabel="threshold (0 to 255); pixels above it are positive", ylabel="mean Dice")
    ax.set(xlim=(0, LEVELS - 1), ylim=(0, top))
    figure.legend(loc="outside lower center", ncols=min(3, curve["arm"].nunique()), frameon=False)
    return watermark(figure, phantom)


def ladder(summary, levels, phantom, measure="mean_dice"):
    """Arms between the baselines: a bar each, the lowest first.

    Args:
        summary: DataFrame `arm`, `mean_dice`, `sd_over_scenarios`, `chance`, `pointing` (of
            `rin.gradcam.tables.summary`).
        levels: DataFrame `baseline`, `mean_dice`, `pointing` (of `rin.gradcam.ladder.levels`).
        phantom: whether to watermark.
        measure: "mean_dice" or "pointing". The SD over scenarios, and as a tick what marks of an
            arm's size score anywhere, are drawn for Dice alone.

    Returns:
        The Figure.

    Raises:
        ValueError: `measure` is neither.
    """
    labels = {"mean_dice": "mean Dice; tick: marks of the same size, put anywhere"}
    labels |= {"pointing": "pointing game: share of maxima in the lesion"}
    if measure not in labels:
        raise ValueError(f"`measure` should be one of {[*labels]}. Received: measure={measure!r}")
    of_dice = measure == "mean_dice"
    bars = [(row["baseline"], row[measure], np.nan, np.nan, None) for _, row in levels.iterrows()]
    for color, (_, row) in zip(cycle(PALETTE), summary.iterrows(), strict=False):
        spread, chance = row[["sd_over_scenarios", "chance"]] if of_dice else (np.nan, np.nan)
        bars.append((row["arm"], row[measure], spread, chance, color))
    bars.sort(key=lambda bar: bar[1])
    figure, ax = plt.subplots(figsize=(7.6, 1.0 + 0.36 * len(bars)), layout="constrained")
    for y, (_, value, spread, chance, color) in enumerate(bars):
        ax.barh(y, value, 0.7, color="0.75" if color is None else color)
        end = value + (0 if np.isnan(spread) else spread)
        if end > value:
            ax.errorbar(value, y, xerr=spread, color="0.2", capsize=3)
        if not np.isnan(chance):
            ax.plot([chance, chance], [y - 0.42, y + 0.42], color="black", linewidth=2)
        ax.annotate(f" {value:.2f}", (end, y), va="center", color="0.2", fontsize=9)
    ax.set_yticks(range(len(bars)), [name for name, *_ in bars])
    ax.set(xlim=(0, 1), xlabel=labels[measure])
    sns.despine(ax=ax)
    return watermark(figure, phantom)


def sanity(table, phantom):
    """How like the original a map stays while weights are lost from the top down.

    Args:
        table: DataFrame `step`, `n_layers`, `similarity` (of `rin.gradcam.sanity.randomized`), and
            `arm` where there are several.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    figure, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    named = table if "arm" in table else table.assign(arm="")
    looks = zip(cycle(PALETTE), cycle(LINES), named.groupby("arm", sort=False), strict=False)
    for color, line, (arm, part) in looks:
        ax.plot(part["step"], part["similarity"], line, color=color, marker="o", label=arm)
    ax.axhline(0, color="0.6", linewidth=1, linestyle=":")
    steps = named.drop_duplicates("step").sort_values("step")
    ticks = [_step_name(row) for row in steps.itertuples()]
    ax.set_xticks(steps["step"], ticks)
    ax.set(xlabel="step: layers initialized anew, from the classifier down")
    ax.set(ylabel="rank correlation with the original map")
    ax.set(ylim=(min(-0.3, named["similarity"].min() - 0.05), 1.05))
    if "arm" in table:
        ax.legend(frameon=False)
    return watermark(figure, phantom)


def _step_name(row):
    if row.n_layers == 0:
        return f"{row.step}\nas trained"
    return f"{row.step}\n{row.n_layers} layer{'s' * (row.n_layers != 1)}"


def _require_shown(task, phantom, show_images):
    if not (phantom or task.show_images and show_images):
        why = "kept out by `show_images`" if task.show_images else "whose registry entry says no"
        raise ValueError(
            f"`task` should be one whose images may be shown, or of phantoms. "
            f"Received: task={task.name!r}, {why}"
        )


def _show(ax, image, mask):
    ax.set_axis_off()
    ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    if mask is not None and mask.any():
        ax.contour(mask, levels=[0.5], colors=[PALETTE[9]], linewidths=1)


def _true_class(facts, row, task):
    found = facts.xs(row, level="row")["y_true"]
    return _class_name(task, int(found.iloc[0]))


def _words(facts, arm, row, task):
    """Dice, and what the network said with which probability."""
    if (arm, row) not in facts.index:
        return "no map"
    one = facts.loc[(arm, row)]
    says = _class_name(task, int(one["y_true"]) if one["correct"] else 1 - int(one["y_true"]))
    overlap = "" if np.isnan(one["dice"]) else f"Dice {one['dice']:.2f}\n"
    return f"{overlap}{says} {one['confidence']:.2f}"


def _class_name(task, index):
    return task.classes[index] if task.classes else ("negative", "positive")[index]


def _draw_levels(ax, levels, top):
    """Horizontal lines with their names at the right edge, those of near lines moved apart."""
    gap, last = 0.045 * top, -1.0
    for row in levels.sort_values("mean_dice").itertuples():
        ax.axhline(row.mean_dice, color="0.6", linewidth=0.8, linestyle=":")
        last = max(row.mean_dice, last + gap)
        ax.annotate(
            f"{row.baseline}, {row.mean_dice:.2f}", (1, row.mean_dice), (1.02, last),
            xycoords=("axes fraction", "data"), textcoords=("axes fraction", "data"),
            fontsize=8, color="0.3", va="center", annotation_clip=False,
        )  # fmt: skip
