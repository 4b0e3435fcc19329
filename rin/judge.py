"""Judge a task: from the predictions of all its runs to the tables its page shows."""

import numpy as np
import pandas as pd

from rin import published, records, stats

BATCH_SIZE = 256  # of the study, for most tasks


class JudgeError(ValueError):
    """Runs that can't be judged together."""


def gather(runs_dir, task):
    """The finished runs of a task and their test predictions.

    Args:
        runs_dir: folder that training wrote to.
        task: its name.

    Returns:
        (runs, predictions): one row a run, and one row a run and test image; both with `arm`
        (see `arms`).

    Raises:
        JudgeError: no finished run, or runs of different data, settings, classifiers or weights.
            Epochs may differ between head, top10 and all; `n_updates` says how many steps came of
            them.
    """
    runs = records.training_runs(runs_dir, task)
    if runs.empty:
        raise JudgeError(
            f"{runs_dir}: no finished run of task {task!r}; fine-tune a backbone first"
        )
    _same("data sets or splits", runs["data_fingerprint"], runs_dir)
    read = [records.read(folder) for folder in runs["folder"]]
    told = [_settings(record) for record in read]
    for free, several in runs.groupby("trainable"):  # a bank's settings say nothing of `all`
        settings = [str(told[i]) for i in several.index]
        _same(f"settings of {free} runs", settings, runs_dir)
    known = sorted(set.intersection(*map(set, told)) - {"epochs"})  # of all kinds of runs
    values = [str([one[name] for name in known]) for one in told]
    _same(f"settings ({', '.join(known)})", values, runs_dir)
    _same("classifiers", runs["classifier"], runs_dir)  # a scenario's name doesn't tell them apart
    files = pd.Series([str(record.get("init_fingerprint")) for record in read])
    for (init, backbone), several in files.groupby([runs["init"], runs["backbone"]]):
        _same(f"weight files of {init} {backbone}", several, runs_dir)
    predictions = records.predictions(runs)
    for frame in (runs, predictions):
        frame.insert(0, "arm", arms(frame))
    return runs, predictions


def arms(frame):
    """What is compared: a run's init, its preprocess, and its batch size where there are several.

    Args:
        frame: runs or predictions, with columns init, preprocess and batch_size.

    Returns:
        Series of names such as "imagenet, official" or "imagenet, official, batch 32".
    """
    names = frame["init"] + ", " + frame["preprocess"]
    if frame["batch_size"].nunique() > 1:
        names = names + ", batch " + frame["batch_size"].astype(str)
    return names


def scenarios(runs, predictions):
    """One row an arm and scenario: its AUC and what stands beside it.

    Returns:
        DataFrame arm, scenario, backbone, trainable, learning_rate, auc (mean of fold AUCs),
        pooled_auc (all folds' scores in one: a sensitivity column), n_folds, n_trainable
        (parameters), n_updates (mean over folds), n_diverged.
    """
    aucs = stats.scenario_aucs(predictions.drop(columns="init").rename(columns={"arm": "init"}))
    by = runs.groupby(["arm", "scenario"])
    facts = by.agg(
        backbone=("backbone", "first"),
        trainable=("trainable", "first"),
        learning_rate=("learning_rate", "first"),
        n_trainable=("n_trainable", "first"),
        n_updates=("n_updates", "mean"),
        n_diverged=("diverged", "sum"),
    )
    table = aucs.rename(columns={"init": "arm"}).merge(facts.reset_index(), on=["arm", "scenario"])
    order = ["arm", "scenario", "backbone", "trainable", "learning_rate", "auc", "pooled_auc"]
    return table[[*order, "n_folds", "n_trainable", "n_updates", "n_diverged"]]


def complete(table, n_folds):
    """Scenarios that count: every fold is there, in every arm.

    Args:
        table: of `scenarios`.
        n_folds: folds of the protocol that were run.

    Returns:
        The rows of `table` that may enter a mean.
    """
    whole = table[table["n_folds"] == n_folds]
    n_arms = table["arm"].nunique()
    everywhere = whole.groupby("scenario")["arm"].nunique() == n_arms
    return whole[whole["scenario"].isin(everywhere.index[everywhere])].reset_index(drop=True)


def summary(table, task=None, batch_sizes=(BATCH_SIZE,)):
    """Mean ± SD of the scenario AUCs of every arm, beside the published values where asked for.

    Args:
        table: of `complete`.
        task: name of the task, for real images; None for phantoms.
        batch_sizes: of the runs; published values stand beside the paper's alone.

    Returns:
        DataFrame arm, n_scenarios, mean_auc, sd_auc (SD over settings, ddof 1), and for a
        published task published_mean and published_sd (NaN for arms the paper does not have).
    """
    rows = []
    known = published.tasks().set_index("task")
    for arm, part in table.groupby("arm", sort=False):
        mean, sd = stats.mean_sd(part["auc"])
        row = {"arm": arm, "n_scenarios": len(part), "mean_auc": mean, "sd_auc": sd}
        if task in known.index:
            init = arm.split(", ")[0]
            has = f"auc_{init}" in known and as_published(arm, batch_sizes)
            row["published_mean"] = known.loc[task, f"auc_{init}"] if has else np.nan
            row["published_sd"] = known.loc[task, f"sd_{init}"] if has else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def as_published(arm, batch_sizes=(BATCH_SIZE,)):
    """Whether an arm has the paper's preprocess and batch size.

    Args:
        arm: its name; see `arms`.
        batch_sizes: of all runs: where there is one, names don't say it.

    >>> as_published("imagenet, official"), as_published("imagenet, official, batch 32")
    (True, False)
    """
    _, preprocess, *batch = arm.split(", ")
    sizes = batch or [f"batch {size}" for size in batch_sizes]
    return preprocess == "official" and set(sizes) == {f"batch {BATCH_SIZE}"}


def intervals(predictions, level=0.95):
    """AUC of every run with its DeLong interval, clustered by group (statistics.md, 2 and 3).

    Returns:
        DataFrame arm, scenario, fold, seed, auc, low, high, degenerate, n_images, n_groups,
        n_positive.
    """
    rows = []
    for (arm, scenario, fold, seed), part in predictions.groupby(
        ["arm", "scenario", "fold", "seed"]
    ):
        found = stats.auc_ci(part["y_true"], part["y_score"], level, patients=part["group"])
        rows.append(
            {
                "arm": arm,
                "scenario": scenario,
                "fold": fold,
                "seed": seed,
                "auc": found.auc,
                "low": found.low,
                "high": found.high,
                "degenerate": found.degenerate,
                "n_images": len(part),
                "n_groups": part["group"].nunique(),
                "n_positive": int(part["y_true"].sum()),
            }
        )
    return pd.DataFrame(rows)


def paired(predictions, arm_a, arm_b, level=0.95):
    """DeLong's test of two arms in every cell both have, clustered by group.

    Args:
        predictions: of `gather`.
        arm_a, arm_b: names of arms; the difference is a − b.

    Returns:
        DataFrame scenario, fold, seed, auc_a, auc_b, difference, low, high, p, degenerate (a
        difference without variance, hence P 0: not a finding), n_images, n_groups. One row is one
        pair of networks on one test set: not to be averaged, and no star belongs on it.
    """
    keys = ["scenario", "fold", "seed"]
    names = ["auc_a", "auc_b", "difference", "low", "high", "p", "degenerate"]
    a, b = (predictions[predictions["arm"] == arm] for arm in (arm_a, arm_b))
    joined = a.merge(b, on=[*keys, "row"], suffixes=("_a", "_b"), validate="one_to_one")
    rows = []
    for cell, part in joined.groupby(keys):
        scores = part["y_score_a"], part["y_score_b"]
        found = stats.delong_test(part["y_true_a"], *scores, patients=part["group_a"], level=level)
        facts = {name: getattr(found, name) for name in names}
        counts = {"n_images": found.n_images, "n_groups": found.n_patients}
        rows.append(dict(zip(keys, cell, strict=True)) | facts | counts)
    return pd.DataFrame(rows, columns=[*keys, *names, "n_images", "n_groups"])


def gain(table, arm_a, arm_b):
    """Mean gain of one arm over another over their common scenarios, in points.

    Args:
        table: of `scenarios` or `complete`.
        arm_a, arm_b: names of arms; a scenario counts when both have it, with every fold that
            either was run in.

    Returns:
        (points, n): 100 × the mean of AUC_a − AUC_b, and over how many scenarios.
    """
    both = table[table["arm"].isin([arm_a, arm_b])]
    whole = both[both["n_folds"] == both["n_folds"].max()]
    wide = whole.pivot(index="scenario", columns="arm", values="auc")
    wide = wide.reindex(columns=[arm_a, arm_b]).dropna()
    return 100 * float((wide[arm_a] - wide[arm_b]).mean()), len(wide)


def averaged_rocs(predictions, scenarios_that_count):
    """Mean ROC and SD over scenarios of every arm (statistics.md, section 10).

    Returns:
        DataFrame arm, fpr, tpr_mean, tpr_sd.
    """
    parts = []
    used = predictions[predictions["scenario"].isin(set(scenarios_that_count))]
    for arm, part in used.groupby("arm", sort=False):
        parts.append(stats.average_roc(part).assign(arm=arm))
    return pd.concat(parts, ignore_index=True)


def chosen(runs, arm=None):
    """The scenario with the lowest validation loss, averaged over folds: val chooses, never test.

    The loss is the one that was trained and that chose each run's epoch (`rin.objectives`).

    Args:
        runs: rows of `gather` or of `rin.records.training_runs` with `arm`.
        arm: only this one; None for the best of all arms.

    Returns:
        (arm, scenario), among those that have every fold that was run; one that diverged only
        where all of these did: its scores there are constant, with a loss of ln 2 either way.

    Raises:
        JudgeError: no scenario has all of its folds.
    """
    several = runs if arm is None else runs[runs["arm"] == arm]
    losses = several["val_loss"].astype(float)  # a diverged run has none
    keys = [several[key] for key in ("arm", "scenario", "fold")]
    mean = losses.fillna(np.log(2)).groupby(keys).mean().unstack()
    mean = mean.dropna().mean(axis=1)  # fewer folds may be the easy ones
    if mean.empty:
        named = "any arm" if arm is None else f"arm {arm!r}"
        raise JudgeError(f"no scenario of {named} has a val loss in all of its folds")
    diverged = losses.isna().groupby(keys[:2]).any()[mean.index]
    return (mean if diverged.all() else mean[~diverged]).idxmin()


def _settings(record):
    """What a run was told that changes its result."""
    told = record.get("settings") or {}
    return {name: value for name, value in told.items() if name != "keep_weights"}


def _same(name, values, runs_dir):
    if (several := len(set(values))) > 1:
        text = f"runs of {several} different {name}; remove or move the old ones"
        raise JudgeError(f"{runs_dir}: {text}")
