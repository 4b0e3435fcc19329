"""Scores of a classifier of many classes: its predictions, and what is measured from them.

Everything reads the predictions table of one split; no model and no backend is needed. The table
has no patients, so intervals count images as independent and are too narrow where patients have
several.
"""

import numpy as np
import pandas as pd

from rin import manifest, published

N_PUBLISHED = 165  # classes behind the published top-1 and top-5
TOP = 5
EPSILON = 1e-7  # least probability the log loss sees: Keras's own
UNKNOWN = "unknown"  # modality and anatomy of labels not spelled as in the release
COLUMNS = ["image_id", "split", "y_true", "y_pred", "score", "true_score", "true_rank"]
KINDS = ("group", "class")


def predictions(probabilities, y, classes, image_ids, split):
    """The predictions table of one split.

    Args:
        probabilities: `(n, k)` floats in [0, 1], each row summing to 1.
        y: `(n,)` ints, the true class's place in `classes`.
        classes: the k labels, in the order of the columns.
        image_ids: `(n,)` ids; not paths.
        split: "train", "val" or "test".

    Returns:
        DataFrame, one row an image: `image_id`, `split`, `y_true` and `y_pred` (labels), `score`
        and `true_score` (their probabilities), `true_rank` (0: the true class is the top one). Of
        classes with equal probabilities the one that comes first in `classes` ranks higher.

    Raises:
        ValueError: shapes, lengths, classes, split or values are not as said.
    """
    p, y, names = np.asarray(probabilities), np.asarray(y), np.asarray(classes, dtype=object)
    if split not in manifest.SPLITS:
        raise ValueError(f"`split` should be one of {manifest.SPLITS}. Received: {split!r}")
    _check_probabilities(p, y, names, image_ids)
    rows, top = np.arange(len(p)), p.argmax(axis=1)
    own = p[rows, y][:, None]
    ahead = (p > own) | ((p == own) & (np.arange(len(names)) < y[:, None]))
    found = (
        np.asarray(image_ids),
        split,
        names[y],
        names[top],
        p[rows, top],
        own[:, 0],
        ahead.sum(axis=1),
    )
    return pd.DataFrame(dict(zip(COLUMNS, found, strict=True)), columns=COLUMNS)


def report(predictions, level=0.95, n_classes=None):
    """The scores of one split.

    top1 and top5 have Wilson intervals, top5 none with five classes or fewer, where it is always 1.
    That of balanced accuracy is normal, with the variance of each class's recall taken at
    (right + 1) / (n + 2): a class with every image right is not free of error. In simulations of 2
    to 165 classes it covered 93 to 99.7% at a level of 95%. Macro F1 and log loss have none.

    Args:
        predictions: as `predictions` returns it.
        level: coverage of the intervals, between 0 and 1.
        n_classes: of the classifier; None takes what the table shows: labels or ranks.

    Returns:
        DataFrame indexed by `metric`: `top1`, `top5`, `balanced_accuracy` (mean recall of the
        classes with images), `macro_f1` (over the classes with images or predictions) and
        `log_loss` (nats; lower is better), each with `estimate`, `low`, `high`, `n` (images) and
        `note`, text.

    Raises:
        ValueError: not a predictions table of one split, or `level` is unusable.
    """
    from sklearn.metrics import f1_score

    _check(predictions)
    if not 0 < level < 1:
        raise ValueError(f"`level` should be between 0 and 1. Received: level={level!r}")
    truth, rank, n = predictions["y_true"], predictions["true_rank"], len(predictions)
    n_seen = max(len(set(truth) | set(predictions["y_pred"])), rank.max() + 1)
    n_classes = max(n_classes or 0, n_seen)
    top5 = (*_share((rank < TOP).sum(), n, level), "")
    if n_classes <= TOP:
        top5 = (1.0, np.nan, np.nan, f"always 1 with {n_classes} classes")
    macro_f1 = f1_score(truth, predictions["y_pred"], average="macro")
    loss = -np.log(predictions["true_score"].clip(EPSILON, 1)).mean()
    rows = {
        "top1": (*_share((rank < 1).sum(), n, level), ""),
        "top5": top5,
        "balanced_accuracy": (*_mean_recall(rank < 1, truth, level), ""),
        "macro_f1": (macro_f1, np.nan, np.nan, ""),
        "log_loss": (loss, np.nan, np.nan, ""),
    }
    table = pd.DataFrame.from_dict(rows, "index", columns=["estimate", "low", "high", "note"])
    table.insert(3, "n", n)
    table.loc["balanced_accuracy", "note"] = f"mean recall of {truth.nunique()} classes"
    return table.rename_axis("metric")


def per_class(predictions, sizes, level=0.95):
    """Every class: how many images it was learned from, and how well it is found.

    Args:
        predictions: as `predictions` returns it.
        sizes: Series of training images by label, each > 0.
        level: coverage of the Wilson intervals.

    Returns:
        DataFrame, one row a class of `sizes`, largest first: `label`, `modality`, `anatomy` (as
        `place` gives them), `n_train`, `n` (images in this split), `recall` with `recall_low` and
        `recall_high`, `precision`, `top5_recall`. What can't be told is NaN: recall of a class
        without images, precision of a class that was never predicted.

    Raises:
        ValueError: not a predictions table of one split, or a class in it that nothing was
            trained on.
    """
    _check(predictions)
    seen = set(predictions["y_true"]) | set(predictions["y_pred"])
    untrained = sorted(seen - set(sizes.index[sizes > 0]))
    if untrained:
        raise ValueError(
            f"`sizes` should give the training images, at least one, of every class in "
            f"`predictions`. Received: none for {len(untrained)}, such as {untrained[0]!r}"
        )
    sizes = sizes.sort_values(ascending=False, kind="stable")
    rank, truth = predictions["true_rank"], predictions["y_true"]
    counted = (truth, predictions["y_pred"], truth[rank < 1], truth[rank < TOP])
    n, n_said, right, right_of_five = (
        column.value_counts().reindex(sizes.index, fill_value=0) for column in counted
    )
    recall, low, high = _share(right, n.where(n > 0), level)
    places = [place(label) for label in sizes.index]
    facts = {
        "label": sizes.index,
        "modality": [modality for modality, _ in places],
        "anatomy": [anatomy for _, anatomy in places],
        "n_train": sizes,
        "n": n,
        "recall": recall,
        "recall_low": low,
        "recall_high": high,
        "precision": right / n_said,
        "top5_recall": right_of_five / n,
    }
    return pd.DataFrame(facts).reset_index(drop=True)


def place(label):
    """Modality and the paper's name of the anatomy of a class; "unknown" of another spelling.

    Args:
        label: as `rin.datasets.radimagenet` writes it.

    >>> place("MR/af/normal"), place("US/liver"), place("benign")
    (('MR', 'ankle/foot'), ('US', 'abdomen/pelvis'), ('unknown', 'unknown'))
    """
    match label.split("/"):
        case ["US", name]:
            anatomy = "thyroid" if name.startswith("thyroid") else name
            return "US", published.anatomy_group("US", anatomy)
        case [("CT" | "MR") as modality, anatomy, _]:
            return modality, published.anatomy_group(modality, anatomy)
    return UNKNOWN, UNKNOWN


def confusion(predictions, by="group"):
    """Where the images of each group, or class, were put.

    Args:
        predictions: as `predictions` returns it.
        by: "group" (modality and anatomy, such as "CT lung") or "class" (labels).

    Returns:
        Square DataFrame, index `y_true` and columns `y_pred` in one order, of shares: each row
        sums to 1, and is NaN where a name has no images. Classes of a group stand together.

    Raises:
        ValueError: not a predictions table of one split, or `by` is not one of its choices.
    """
    _check(predictions)
    if by not in KINDS:
        raise ValueError(f"`by` should be one of {KINDS}. Received: by={by!r}")
    both = predictions[["y_true", "y_pred"]]
    labels = _in_order(set(both.to_numpy().ravel()))
    if by == "group":
        names = {label: " ".join(dict.fromkeys(place(label))) for label in labels}
        both = both.apply(lambda column: column.map(names))
        labels = list(dict.fromkeys(names.values()))
    counts = pd.crosstab(both["y_true"], both["y_pred"])
    counts = counts.reindex(index=labels, columns=labels, fill_value=0)
    return counts.div(counts.sum(axis=1), axis=0)


def confused(predictions, n=10):
    """The pairs of classes most often confused.

    Args:
        predictions: as `predictions` returns it.
        n: pairs at most.

    Returns:
        DataFrame `y_true`, `y_pred`, `n` (images of the first taken for the second), `n_true` (all
        images of the first), `share` (n / n_true); most images first, ties by label.
    """
    _check(predictions)
    wrong = predictions[predictions["y_true"] != predictions["y_pred"]]
    table = wrong.groupby(["y_true", "y_pred"]).size().rename("n").reset_index()
    table = table.sort_values("n", ascending=False, kind="stable", ignore_index=True).head(n)
    n_true = table["y_true"].map(predictions["y_true"].value_counts()).astype(int)
    return table.assign(n_true=n_true, share=table["n"] / n_true)


def beside_published(report, backbone, *, phantom, n_classes):
    """Our top-1 and top-5 beside the published ones, where they may stand beside each other.

    Even then they were measured on other images: the published ones have no n and no interval.

    Args:
        report: as `report` returns it.
        backbone: a row of `rin.published.pretraining()`.
        phantom: whether the images were phantoms.
        n_classes: classes of the classifier.

    Returns:
        DataFrame indexed by `metric` (top1, top5): `estimate`, `low`, `high`, `n`; and `published`
        and `difference` (estimate − published), which are left out of phantom results and of any
        other number of classes than 165.

    Raises:
        ValueError: no published row for this backbone.
    """
    theirs = published.pretraining().set_index("backbone")
    if backbone not in theirs.index:
        raise ValueError(
            f"`backbone` should be one of {tuple(theirs.index)}. Received: {backbone!r}"
        )
    ours = report.loc[["top1", "top5"], ["estimate", "low", "high", "n"]]
    if phantom or n_classes != N_PUBLISHED:
        return ours
    numbers = theirs.loc[backbone, ["top1", "top5"]].astype(float)
    return ours.assign(published=numbers, difference=ours["estimate"] - numbers)


def _check_probabilities(p, y, names, image_ids):
    n, k = len(y), len(names)
    if p.shape != (n, k) or len(image_ids) != n:
        raise ValueError(
            f"`probabilities` should be (n, k) = ({n}, {k}), with an `image_ids` each. "
            f"Received: {p.shape} and {len(image_ids)} ids"
        )
    if len(set(names)) != k:
        raise ValueError("`classes` should hold every label once")
    if n and (y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= k):
        raise ValueError(f"`y` should be ints from 0 to {k - 1}. Received: {np.unique(y)[:5]}")
    if not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(axis=1), 1, atol=1e-3)):
        raise ValueError("`probabilities` should be in [0, 1] and each row should sum to 1")


def _check(table):
    absent = [column for column in COLUMNS if column not in table]
    if absent or table.empty or table["split"].nunique() != 1:
        found = f"splits {sorted(set(table['split']))}" if not absent else f"no column {absent[0]}"
        raise ValueError(f"`predictions` should hold images of one split. Received: {found}")


def _share(n_right, n, level):
    from statsmodels.stats.proportion import proportion_confint  # takes seconds to import

    low, high = proportion_confint(n_right, n, alpha=1 - level, method="wilson")
    # at the ends rounding would leave 6e-17 in place of 0
    return n_right / n, low * np.greater(n_right, 0), high


def _mean_recall(right, truth, level):
    from scipy.stats import norm

    counts = right.groupby(truth).agg(["sum", "size"])
    n, estimate = counts["size"], (counts["sum"] / counts["size"]).mean()
    smoothed = (counts["sum"] + 1) / (n + 2)
    variance = (smoothed * (1 - smoothed) / n).sum() / len(n) ** 2
    half = norm.ppf((1 + level) / 2) * np.sqrt(variance)
    return estimate, max(estimate - half, 0.0), min(estimate + half, 1.0)


def _in_order(labels):
    """Classes by group, in the paper's order and then others, and by label."""
    known = list(published.database()[["modality", "anatomy"]].itertuples(index=False, name=None))

    def position(label):
        group = place(label)
        return known.index(group) if group in known else len(known), group, label

    return sorted(labels, key=position)
