"""Gains: one arm over another in every task, by every test that statistics has for it."""

import math

import pandas as pd

from rin import published, stats
from rin.comparison.gathered import BATCH_SIZE, PAIR, STUDY_PAIR, official, sides

N_TASKS = 8  # of the study: its family stays eight, however few have been run
ARMS = [*PAIR, "a", "b"]
COUNTS = ["n_scenarios", "n_folds", "n_backbones", "n_images", "n_groups"]
# what each test is about, in the order of its columns
TESTS = {
    "contrast": "new patients, these networks (DeLong's contrast, clustered)",
    "bootstrap": "the same, by resampling patients",
    "training": "other training sets too (corrected t over folds; if folds do not err alike)",
    "backbones": "other backbones and pretrainings too (t over backbones; never evidence alone)",
    "as_published": "the paper's procedure (unpaired t over scenarios; not evidence)",
}
_PARTS = [f"{name}_{part}" for name in TESTS for part in ("gain", "low", "high", "p", "reason")]
COLUMNS = [*ARMS, "study", "exploratory", "gain", "degenerate", *_PARTS, "caution", *COUNTS]


def gains(runs, predictions, table, level=0.95, n_resamples=2000, seed=0):
    """The gain of one arm over another in every real task where two arms ran.

    Args:
        runs, predictions: of `gather`; phantoms are left out.
        table: of `scenarios`: only its scenarios enter.
        level: coverage of all intervals, 0 to 1.
        n_resamples, seed: of the bootstrap by patient.

    Returns:
        DataFrame, one row a task and source: task, source, a, b (arms; the gain is a − b),
        `study` (whether they are RadImageNet and ImageNet as in the paper), `exploratory` (not of
        the paper's eight tasks, or another preprocess or batch size in any run, kept results
        among them), `gain` (points, of the contrast), `degenerate` (no variance: not a finding);
        for every key of `TESTS` `<test>_gain` (what its interval is around: a mean over backbones
        is not one over scenarios), `<test>_low`, `<test>_high` (points, never clipped),
        `<test>_p` and `<test>_reason` (why it is NaN); `caution` (why a variance is too small);
        the columns `COUNTS`; and `holm_p`, the contrast's within the eight tasks of its question,
        NaN for exploratory ones.
    """
    rows = []
    for key, a, b, cells in compared(predictions, table):
        mine = runs[(runs[PAIR] == list(key)).all(axis=1) & runs["arm"].isin([a, b])]
        mine = mine[mine["scenario"].isin(cells["scenario"])]
        by_cell = stats.scenario_gains(cells, a, b, by="arm")
        folds = stats.paired_folds(cells, a, b, by="arm")
        found = stats.contrast_of(folds, level)
        tests = {
            "contrast": found,
            "bootstrap": stats.bootstrap_of(folds, n_resamples, level, seed),
            "training": stats.nadeau_bengio(_mean(by_cell, "fold"), ratio(mine, cells), level),
            "backbones": stats.over_backbones(_mean(by_cell, "backbone"), level),
            "as_published": _as_published(table, key, a, b, level),
        }
        row = dict(zip(ARMS, [*key, a, b], strict=True)) | _kind(key[0], a, b, mine["batch_size"])
        row |= {"gain": 100 * found.difference, "degenerate": found.degenerate}
        for name in TESTS:
            row |= _columns(name, tests[name])
        row |= {"caution": found.caution, "n_backbones": by_cell["backbone"].nunique()}
        for name in ("n_scenarios", "n_folds", "n_images", "n_groups"):
            row[name] = getattr(found, name)
        rows.append(row)
    return _with_holm(pd.DataFrame(rows, columns=None if rows else COLUMNS))


def compared(predictions, table):
    """Every pair of arms that is compared, with the cells that count.

    Yields:
        (task, source), a, b, predictions of both arms in the scenarios of `table`.
    """
    for key, part in table[~table["phantom"].astype(bool)].groupby(PAIR, sort=False):
        if (arms := sides(part)) is not None:
            both = set(part.loc[part["arm"].isin(arms), "scenario"])
            mine = (predictions[PAIR] == list(key)).all(axis=1)
            mine &= predictions["arm"].isin(arms) & predictions["scenario"].isin(both)
            yield key, *arms, predictions[mine]


def ratio(runs, cells):
    """Test over training patients, the mean of folds: what the corrected t needs.

    The tables hold the groups of test images. Those of other folds are the groups that are not
    tested; training has its share of them by images. Where folds are missing, images are counted.

    Args:
        runs: rows with fold, n_train, n_val, n_test (images).
        cells: predictions of these runs, with fold and group.
    """
    size = runs.groupby("fold")[["n_train", "n_val", "n_test"]].first()
    if size["n_test"].sum() < size.iloc[0].sum():  # not every image is tested: folds are missing
        return float((size["n_test"] / size["n_train"]).mean())
    tested = cells.groupby("fold")["group"].nunique()
    share = size["n_train"] / (size["n_train"] + size["n_val"])
    return float((tested / ((tested.sum() - tested) * share)).mean())


def backbone_gains(predictions, table):
    """The mean gain of every backbone's scenarios, in points.

    Returns:
        DataFrame task, source, a, b, backbone, gain.
    """
    return _collected(predictions, table, _by_backbone, ["backbone", "gain"])


def gain_by(table, by):
    """The mean gain by what was varied, such as what trains, in points.

    Args:
        table: of `scenarios`, of real images.
        by: a column of it.

    Returns:
        DataFrame task, source, a, b, the column `by`, gain, n_scenarios.
    """
    parts = []
    for key, part in table.groupby(PAIR, sort=False):
        if (arms := sides(part)) is not None:
            wide = part.pivot(index=["scenario", by], columns="arm", values="auc")
            gain = (100 * (wide[arms[0]] - wide[arms[1]])).dropna()
            found = gain.groupby(by).agg(gain="mean", n_scenarios="size").reset_index()
            parts.append(found.assign(**dict(zip(ARMS, [*key, *arms], strict=True))))
    names = [*ARMS, by, "gain", "n_scenarios"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def variance_shares(predictions, table):
    """Where the gains of single cells vary: by backbone, scenario, fold, or none of them.

    Returns:
        DataFrame task, source, a, b, then as `rin.stats.variance_shares` has it.
    """
    return _collected(predictions, table, _shares, ["component", "variance", "share"])


def _collected(predictions, table, about, columns):
    parts = []
    for key, a, b, cells in compared(predictions, table):
        found = about(stats.scenario_gains(cells, a, b, by="arm"))
        parts.append(found.assign(**dict(zip(ARMS, [*key, a, b], strict=True))))
    names = [*ARMS, *columns]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def _by_backbone(by_cell):
    return (100 * _mean(by_cell, "backbone")).rename("gain").reset_index()


def _shares(by_cell):
    few = len(by_cell) < 3  # nothing to divide
    empty = pd.DataFrame(columns=["component", "variance", "share"])
    return empty if few else stats.variance_shares(by_cell)


def _mean(by_cell, what):
    return by_cell.groupby(what)["difference"].mean(skipna=False)


def _as_published(table, key, a, b, level):
    part = table[(table[PAIR] == list(key)).all(axis=1)]
    sides = [part.loc[part["arm"] == arm, "auc"] for arm in (a, b)]
    n = len(sides[0])
    if n < 2:
        return None
    (mean_a, sd_a), (mean_b, sd_b) = map(stats.mean_sd, sides)
    return stats.unpaired_t_interval(mean_a, sd_a, mean_b, sd_b, n, level=level)


def _columns(name, test):
    """A test's estimate and interval in points and its P, as columns."""
    if test is None:
        bare = {f"{name}_{part}": math.nan for part in ("gain", "low", "high", "p")}
        return bare | {f"{name}_reason": "one scenario"}
    points = {"gain": test.difference, "low": test.low, "high": test.high}
    found = {f"{name}_{part}": 100 * value for part, value in points.items()}
    return found | {f"{name}_p": test.p, f"{name}_reason": getattr(test, "reason", "")}


def _with_holm(table):
    """Holm's P, each question and source apart; a degenerate P is no finding and enters as 1."""
    table["holm_p"] = math.nan
    inside = table[~table["exploratory"].astype(bool)]
    inits = [inside[side].str.partition(", ")[0] for side in ("a", "b")] if len(inside) else []
    for _, part in inside.groupby(["source", *inits]):
        p = part["contrast_p"].mask(part["degenerate"].astype(bool), 1.0)
        table.loc[part.index, "holm_p"] = stats.holm(p, m=N_TASKS)
    return table


def _kind(task, a, b, batch_sizes):
    """Whether this is the study's own question, and whether it is outside the paper's family."""
    inits = tuple(arm.partition(", ")[0] for arm in (a, b))
    usual = official(a) and official(b) and set(batch_sizes) == {BATCH_SIZE}
    outside = task not in set(published.tasks()["task"]) or not usual
    return {"study": inits == STUDY_PAIR and usual, "exploratory": outside}
