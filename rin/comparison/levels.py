"""Levels: means and SDs by init, by what trains and by backbone; where the paper's words hold."""

import math

import pandas as pd

from rin import datasets, experiment, paths, published, stats
from rin.comparison.gathered import PAIR, STUDY_PAIR, sides

SPREAD = [*PAIR, "a", "b", "sd_a", "sd_b", "n_scenarios", "p"]
ARM = [*PAIR, "phantom", "arm"]
LEVEL = ["mean_auc", "sd_auc", "trivial_auc"]
BASIS = ["n_scenarios", "scenarios", "folds", "n_images", "n_groups", "n_trainable", "n_updates"]
BASIS += ["n_diverged"]
CLAIMS = ["claim", *PAIR, "arm", "holds", "found", "n", "n_over"]
TIED = 1e-9  # AUCs nearer than this are one
N_SCENARIOS, FIVE = 24, "5-fold"  # of the study; of its protocols


def overview(table, runs, predictions, trivial=None):
    """One row a task, source and arm: its level, and everything that belongs beside it.

    Args:
        table: of `scenarios`.
        runs, predictions: of `gather`.
        trivial: dict from (task, source) to the AUC of the best trivial baseline.

    Returns:
        DataFrame task, source, phantom, arm, mean_auc, sd_auc (over settings, ddof 1), trivial_auc
        (NaN where unknown), n_scenarios, scenarios ("n of 24"), folds ("k of K"), n_images and
        n_groups (of the test sets), n_trainable and n_updates (least to most), n_diverged.
    """
    rows = []
    for key, part in table.groupby(ARM, sort=False):
        task, source, _, arm = key
        mine, tested = (
            frame[(frame[[*PAIR, "arm"]] == [task, source, arm]).all(axis=1)]
            for frame in (runs, predictions)
        )
        best = (trivial or {}).get((task, source), math.nan)
        level = dict(zip(LEVEL, [*stats.mean_sd(part["auc"]), best], strict=True))
        rows.append(dict(zip(ARM, key, strict=True)) | level | _basis(task, part, mine, tested))
    return pd.DataFrame(rows, columns=[*ARM, *LEVEL, *BASIS])


def kept_trivial(table, results_dir):
    """What the audit's best trivial baseline scores on the images of the kept results.

    Returns:
        Dict from (task, source) to an AUC, as `overview` takes it. For own runs the page *Judge a
        task* has it.
    """
    kept = table[table["source"] == "kept result"]["task"].unique()
    home = paths.resolve(results_dir)
    return {(task, "kept result"): experiment.trivial(home, task)["auc"] for task in kept}


def means(table, by):
    """Mean AUC of every arm by what was varied.

    Args:
        table: of `scenarios`.
        by: a column of it, such as "trainable", or a list of them.

    Returns:
        DataFrame task, source, phantom, arm, the columns `by`, mean_auc, sd_auc, n_scenarios.
    """
    by = [by] if isinstance(by, str) else list(by)
    groups = table.groupby([*ARM, *by], sort=False)["auc"]
    return groups.agg(mean_auc="mean", sd_auc="std", n_scenarios="size").reset_index()


def with_setting(table):
    """`table` with `setting`: what trains and the learning rate, such as "all, 0.0001"."""
    both = zip(table["trainable"], table["learning_rate"], strict=True)
    return table.assign(setting=[f"{trainable}, {rate:g}" for trainable, rate in both])


def claims(table):
    """Whether two statements of the paper hold: all layers at 1e-4 best, InceptionV3 weakest.

    They are about means; which of two close means is larger can be chance. Means are taken over
    what every one of the compared settings, or backbones, has: that can be a single backbone.
    Batch sizes and numbers of updates may differ between the compared.

    Args:
        table: of `scenarios`, of real images.

    Returns:
        DataFrame claim, task, source, arm, holds ("yes", "no" or "not run"; one that ties is not
        the best), found (the best setting or the weakest backbone of those that ran; all that
        tie), n (how many were compared), n_over (over how many backbones, or settings, each of
        their means is).
    """
    table = with_setting(table)
    asked = (
        ("all layers at 1e-4 are best", "setting", "backbone", "all, 0.0001", "max"),
        ("inception_v3 is weakest", "backbone", "setting", "inception_v3", "min"),
    )
    rows = []
    for claim, what, over, expected, extreme in asked:
        for key, part in table.groupby([*PAIR, "arm"], sort=False):
            wide = part.pivot(index=over, columns=what, values="auc").dropna()
            level = wide.mean()
            found = list(level.index[(level - getattr(level, extreme)()).abs() < TIED])
            ran = expected in wide and wide.shape[1] > 1 and len(wide)
            holds = ("yes" if found == [expected] else "no") if ran else "not run"
            said = [holds, " and ".join(found) or "n/a", wide.shape[1], len(wide)]
            rows.append(dict(zip(CLAIMS, [claim, *key, *said], strict=True)))
    return pd.DataFrame(rows, columns=CLAIMS)


def spread(table):
    """SD over settings of the two arms that are compared: the paper's claim of stability.

    Pitman and Morgan's test of two variances in pairs is exploratory: settings share test images
    and pretrained weights, so they are no independent pairs.

    Args:
        table: of `scenarios`, of real images.

    Returns:
        DataFrame task, source, a, b (names of the arms), sd_a, sd_b, n_scenarios, p (NaN with a
        spread that can't be tested).
    """
    rows = []
    for key, part in table.groupby(PAIR, sort=False):
        if (arms := sides(part)) is None:
            continue
        wide = part.pivot(index="scenario", columns="arm", values="auc")[list(arms)].dropna()
        sds = {f"sd_{side}": wide[arm].std(ddof=1) for side, arm in zip("ab", arms, strict=True)}
        p = stats.pitman_morgan(*(wide[arm] for arm in arms)).p if len(wide) > 2 else math.nan
        names = dict(zip([*PAIR, "a", "b"], [*key, *arms], strict=True))
        rows.append(names | sds | {"n_scenarios": len(wide), "p": p})
    return pd.DataFrame(rows, columns=SPREAD)


def printed_spread():
    """The printed SDs of the paper's eight tasks, in the columns of `spread`; it has no test."""
    named = {"sd_radimagenet": "sd_a", "sd_imagenet": "sd_b"}
    theirs = published.tasks().rename(columns=named)[["task", *named.values()]]
    pair_of = dict(zip("ab", STUDY_PAIR, strict=True))
    theirs = theirs.assign(source="published", **pair_of, n_scenarios=N_SCENARIOS, p=math.nan)
    return theirs[SPREAD]


def _basis(task, part, runs, tested):
    """What a level rests on."""
    n_folds, images = runs["fold"].nunique(), tested.drop_duplicates("row")
    return {
        "n_scenarios": len(part),
        "scenarios": f"{len(part)} of {N_SCENARIOS}",
        "folds": f"{n_folds} of {max(n_folds, _planned(task))}",
        "n_images": len(images),
        "n_groups": images["group"].nunique(),
        "n_trainable": _range(part["n_trainable"]),
        "n_updates": _range(part["n_updates"]),
        "n_diverged": int(part["n_diverged"].sum()),
    }


def _planned(task):
    return 5 if datasets.task(task).protocol == FIVE else 1


def _range(numbers):
    low, high = numbers.min(), numbers.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
