"""Figures of the audit: pairs at the threshold, trivial baselines, and sites against labels."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from rin import duplicates, images
from rin.figures import PALETTE, watermark

FEWEST = 100  # images of a mean that may be shown
DIM = 48  # gray level of a mean shown as white: writing in a few images is faint in the mean
GAP = 6  # white pixels between the two images of a pair


def pairs_grid(pairs, manifest, root, phantom, n=4, height=140):
    """Pairs of images on both sides of the threshold: the last ones in, the first ones out.

    Args:
        pairs: what `rin.audit.duplicates` returned with `slack`.
        manifest: a validated manifest.
        root: folder its paths start from.
        phantom: whether to watermark.
        n: pairs a row.
        height: pixels a side an image is shown at.

    Returns:
        The Figure.
    """
    excess, open_image = _excess(pairs, duplicates.rule_of(manifest)), images.opener(manifest, root)
    near = pairs.assign(excess=excess)[(pairs["kind"] == "near").to_numpy()]
    inside = near[near["within"]].sort_values("excess", ascending=False, kind="stable")
    outside = near[~near["within"]].sort_values("excess", kind="stable")
    figure, axes = plt.subplots(
        2, n, figsize=(2.6 * n, 4.0), squeeze=False, layout="constrained"
    )  # fmt: skip
    rows = (
        ("just within: counted as duplicates", inside),
        ("just outside: counted as different", outside),
    )
    for row, (title, part) in zip(axes, rows, strict=True):
        for ax in row:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        row[0].set_title(title if len(part) else f"{title} (no such pair)", loc="left")
        for ax, pair in zip(row, part.head(n).itertuples(), strict=False):
            sides = [images.resize(open_image(x), height) for x in (pair.image_a, pair.image_b)]
            white = np.full((height, GAP), 255, np.uint8)
            ax.imshow(np.hstack([sides[0], white, sides[1]]), cmap="gray", vmin=0, vmax=255)
            said = f"{pair.distance} bits, r {pair.correlation:.3f}"
            other = "" if pair.label_a == pair.label_b else f"\n{pair.label_a} | {pair.label_b}"
            ax.set_xlabel(said + other, fontsize=9)
    return watermark(figure, phantom)


def bars(scores, phantom):
    """Trivial baselines: a bar for the mean of fold AUCs, a point a fold.

    Args:
        scores: DataFrame baseline, fold, auc (of `rin.baselines.scores`), and split where several
            splits stand side by side.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    names = list(scores["baseline"].unique())
    arms = list(scores["split"].unique()) if "split" in scores else [None]
    height = 1.1 + len(names) * (0.25 + 0.22 * len(arms))
    figure, ax = plt.subplots(figsize=(7.4, height), layout="constrained")
    step = 0.8 / len(arms)
    for place, arm in enumerate(arms):
        part = scores if arm is None else scores[scores["split"] == arm]
        mean = part.groupby("baseline", sort=False)["auc"].mean().reindex(names)
        y = np.arange(len(names)) + (place - (len(arms) - 1) / 2) * step
        color = PALETTE[place % len(PALETTE)]
        ax.barh(y, mean - 0.5, 0.9 * step, left=0.5, color=color, alpha=0.55, label=arm)
        at = part["baseline"].map(dict(zip(names, y, strict=True)))
        ax.plot(part["auc"], at, "o", color="0.2", markersize=3, alpha=0.8)
    ax.axvline(0.5, color="0.4", linewidth=1, linestyle=":")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="test AUC: mean of folds, a point a fold (0.5 is chance)", xlim=_limits(scores))
    ax.invert_yaxis()
    if arms != [None]:
        figure.legend(loc="outside lower center", ncols=len(arms), frameon=False)
    return watermark(figure, phantom)


def mean_images(arms, phantom):
    """The mean of all images of an arm, side by side: what stands in one place shows, no patient.

    Args:
        arms: dict from a name to `(n, size, size)` uint8.
        phantom: whether to watermark.

    Returns:
        The Figure.

    Raises:
        ValueError: an arm of fewer than `FEWEST` images, whose mean could show one of them.
    """
    for name, array in arms.items():
        if len(array) < FEWEST:
            raise ValueError(f"{name}: at least {FEWEST} images expected, received {len(array)}")
    size = (3.4 * len(arms), 3.4)
    figure, axes = plt.subplots(1, len(arms), figsize=size, squeeze=False, layout="constrained")
    for ax, (name, array) in zip(axes.flat, arms.items(), strict=True):
        ax.imshow(np.mean(array, axis=0), cmap="gray", vmin=0, vmax=DIM)
        ax.set(title=name, xticks=[], yticks=[])
    return watermark(figure, phantom)


def sites_heat(table, phantom):
    """Images by site and class.

    Args:
        table: what `rin.sites.table` returned: `site`, and `n_<class>` and `share_<class>` a class.
        phantom: whether to watermark.

    Returns:
        The Figure.
    """
    names = [c.removeprefix("share_") for c in table if c.startswith("share_")]
    counts = table.set_index("site")[[f"n_{name}" for name in names]].set_axis(names, axis=1)
    size = (2.6 + 1.4 * counts.shape[1], 1.0 + 0.42 * len(counts))
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    share = counts / counts.to_numpy().sum()
    sns.heatmap(
        share, annot=counts, fmt="d", cmap="Blues", vmin=0, linewidths=1, ax=ax,
        cbar_kws={"label": "share of all images"},
    )  # fmt: skip
    ax.set(xlabel="", ylabel="site")
    ax.tick_params(rotation=0)
    return watermark(figure, phantom)


def _excess(pairs, rule):
    """How far beyond the rule a pair lies: at most 0 within; 1 is as far again, or r 0.1 less."""
    excess = (pairs["distance"] - rule["max_distance"]) / rule["max_distance"]
    if rule["min_correlation"] is None:
        return excess
    lacking = (rule["min_correlation"] - pairs["correlation"]) / duplicates.LOOSER
    return np.maximum(excess, lacking)


def _limits(scores):
    return (min(0.45, scores["auc"].min() - 0.02), max(0.75, scores["auc"].max() + 0.02))
