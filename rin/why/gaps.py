"""Gaps between two inits by backbone, preprocess and batch size, and the levels behind them."""

import math

import pandas as pd

from rin import comparison, judge, stats

SETTING = ["preprocess", "batch_size"]
COUNTS = ["n_scenarios", "n_folds", "n_images", "n_groups"]
FOUND = ["low", "high", "p", "degenerate", "reason", *COUNTS]


def pair(runs):
    """The two inits that are compared: the first of `rin.comparison.pairs` that ran together.

    Args:
        runs: of `rin.why.gather` or `rin.why.read`.

    Returns:
        (a, b), which share a scenario under one preprocess and batch size; None when no two do.
    """
    ran = runs.assign(arm=judge.arms(runs)).groupby("arm")["scenario"].agg(set)
    for a, b in comparison.pairs(ran.index):
        if ran[a] & ran[b]:
            return a.partition(", ")[0], b.partition(", ")[0]
    return None


def levels(runs, predictions):
    """Mean AUC by init, preprocess, batch size and backbone; an AUC is the mean of fold AUCs.

    Args:
        runs, predictions: of `rin.why.gather` or `rin.why.read`.

    Returns:
        DataFrame `backbone`, `init`, `preprocess`, `batch_size`, `mean_auc` (over the scenarios
        that every init of this backbone and setting has, with every fold that was run),
        `n_scenarios`, `n_folds`, `n_updates` (mean of the runs).
    """
    keys, rows = ["backbone", "init", *SETTING], []
    n_folds, n_updates = predictions["fold"].nunique(), runs.groupby(keys)["n_updates"].mean()
    for (backbone, *setting), part in predictions.groupby(["backbone", *SETTING]):
        aucs = stats.scenario_aucs(part).query("n_folds == @n_folds")
        by_all = aucs.groupby("scenario")["init"].transform("nunique") == part["init"].nunique()
        for init in part["init"].unique():
            mine = aucs.loc[by_all & (aucs["init"] == init), "auc"]
            key = (backbone, init, *setting)
            rows.append((*key, mine.mean(skipna=False), len(mine), n_folds, n_updates[key]))
    columns = [*keys, "mean_auc", "n_scenarios", "n_folds", "n_updates"]
    return pd.DataFrame(rows, columns=columns).sort_values(keys, ignore_index=True)


def gaps(runs, predictions, a, b, level=0.95):
    """The gap a − b of every backbone, preprocess and batch size: `rin.stats.contrast` of each.

    It speaks of new patients, for these trained networks; training again is not in it. The rows
    share test images and several are looked at, so P is exploratory.

    Args:
        runs, predictions: of `rin.why.gather` or `rin.why.read`.
        a, b: names of inits.
        level: coverage of the intervals, between 0 and 1.

    Returns:
        DataFrame `backbone`, `preprocess`, `batch_size`, `difference`, `low`, `high` (points), `p`
        (NaN where the difference has no variance: `degenerate`, no finding), `reason`,
        `n_scenarios` (those both inits have with every fold), `n_folds`, `n_images`, `n_groups`,
        `n_updates` (mean of both inits' runs). No row where one of the inits did not run.

    Raises:
        ValueError: see `rin.stats.contrast`; or `a` and `b` ran together nowhere.
    """
    keys, rows = ["backbone", *SETTING], []
    n_updates = runs[runs["init"].isin([a, b])].groupby(keys)["n_updates"].mean()
    for key, part in predictions.groupby(keys):
        if {a, b} <= set(part["init"]):
            found = as_row(stats.contrast(part, a, b, level=level), "difference", 100)
            rows.append(dict(zip(keys, key, strict=True)) | found | {"n_updates": n_updates[key]})
    if not rows:
        known = sorted(predictions["init"].unique())
        text = f"should have run with one preprocess and batch size. Inits that ran: {known}"
        raise ValueError(f"`a` and `b` {text}. Received: a={a!r}, b={b!r}")
    return pd.DataFrame(rows)


def rank_correlations(table, factors):
    """Whether gaps rise with the shrinkage of the input: a description of few backbones, no test.

    Args:
        table: of `gaps`.
        factors: of `rin.why.shrinkage`.

    Returns:
        DataFrame `preprocess`, `batch_size`, `rho` (Spearman's, of gap and factor; NaN below three
        backbones), `n_backbones` (that have a gap).
    """
    joined = table.merge(factors[["backbone", "factor"]], on="backbone", validate="many_to_one")
    rows = []
    for key, part in joined.groupby(SETTING):
        part = part.dropna(subset=["difference", "factor"])
        several = len(part) > 2
        rho = part["difference"].corr(part["factor"], method="spearman") if several else math.nan
        rows.append((*key, rho, len(part)))
    return pd.DataFrame(rows, columns=[*SETTING, "rho", "n_backbones"])


def as_row(found, name, unit):
    """A contrast as a dict: `name`, `low` and `high` times `unit`, then P and counts.

    Args:
        found: a `rin.stats.Contrast`.
        name: of its difference.
        unit: 100 for points; 200 where the difference is half of what is meant.
    """
    numbers = (unit * value for value in (found.difference, found.low, found.high))
    p = math.nan if found.degenerate else found.p
    row = dict(zip((name, "low", "high"), numbers, strict=True)) | {"p": p}
    row |= {"degenerate": found.degenerate}
    row["reason"] = "; ".join(text for text in (found.reason, found.caution) if text)
    return row | {count: getattr(found, count) for count in COUNTS}
