"""The verdict: every task's published gain, what was measured again, and the answer by rule."""

import math

import numpy as np
import pandas as pd

from rin import published, stats
from rin.comparison import COUNTS, PAIR, STUDY_PAIR, official

NOT_RERUN = "not rerun"
QUESTION = " − ".join(STUDY_PAIR)  # the study's: radiology against photographs
PUBLISHED = {"gain_points": "published_gain", "gain_ci_low": "published_low"}
PUBLISHED |= {"gain_ci_high": "published_high"}
MEASURED = {"gain": "gain", "contrast_low": "low", "contrast_high": "high"}
MEASURED |= {"contrast_p": "contrast_p", "holm_p": "holm_p"}
PARTS = ("gain", "low", "high", "p")
MEASURED |= {f"training_{part}": f"training_{part}" for part in PARTS}
MEASURED |= {f"backbones_{part}": f"backbones_{part}" for part in PARTS}
INTERVAL = ["gain", "low", "high"]
COLUMNS = ["task", "question", "source", *PUBLISHED.values(), *MEASURED.values(), "answer"]
COLUMNS += ["exploratory", "reason", "caution", *COUNTS]
TEXTS = ["reason", "caution"]


def table(gains, level=0.95):
    """What is claimed, what was found and what may be said, a row a task and question.

    The study's own question has a row for each of its eight tasks, run again or not. Other
    questions have rows where they were run; the paper printed nothing to put beside them.

    Args:
        gains: of `rin.comparison.gains`.
        level: a test counts when its P is below 1 − level.

    Returns:
        DataFrame task, question (two inits), source ("not rerun" where there is no run),
        published_gain, published_low, published_high, gain, low, high (points; interval of the
        contrast), contrast_p, holm_p, training_* and backbones_* (estimates, intervals and P of
        sections 5 and 6 of the statistics), answer (see `rin.stats.verdict`; a test whose own
        estimate has not the sign of the gain shows nothing), exploratory (outside Holm's family;
        the answer then rests on an unadjusted P), reason (why the contrast has no interval),
        caution, n_scenarios, n_folds, n_backbones, n_images and n_groups (NA without runs).
    """
    rows = [_answered(one, level) for one in gains.to_dict("records")]
    own = {row["task"] for row in rows if row["question"] == QUESTION and not row["exploratory"]}
    printed = published.tasks().rename(columns=PUBLISHED)
    printed = printed.set_index("task")[list(PUBLISHED.values())].to_dict("index")
    lacking = {"question": QUESTION, "source": NOT_RERUN, "answer": NOT_RERUN}
    rows += [{"task": task} | lacking for task in printed if task not in own]
    for row in rows:
        row |= printed.get(row["task"], {}) if row["question"] == QUESTION else {}
    order = [*printed, *sorted({row["task"] for row in rows} - set(printed))]
    rows.sort(key=lambda row: (row["question"] != QUESTION, order.index(row["task"])))
    found = pd.DataFrame(rows).reindex(columns=COLUMNS)
    found[TEXTS] = found[TEXTS].astype(object).where(found[TEXTS].notna(), "")
    found["exploratory"] = found["exploratory"].astype("boolean").fillna(False).astype(bool)
    return found.astype(dict.fromkeys(COUNTS, "Int64"))


def answers(verdicts):
    """How many of the study's eight tasks got which answer to the study's question.

    Returns:
        Series of counts indexed by answer.
    """
    asked = (verdicts["question"] == QUESTION) & ~verdicts["exploratory"]
    return verdicts[asked]["answer"].value_counts()


def direction(row):
    """What the sign of a difference is called, shown or not: "gain", "loss", or "" for neither.

    Args:
        row: of `table`; anything with `gain`.
    """
    return "" if math.isnan(row.gain) or row.gain == 0 else "gain" if row.gain > 0 else "loss"


def measured(row):
    """The difference in words, or why there is none.

    Args:
        row: of `table`; anything with `gain` and `reason`.
    """
    if math.isnan(row.gain):
        return f"no gain ({row.reason})" if row.reason else "no gain"
    return f"{direction(row) or 'difference'} of {abs(row.gain):.1f} points"


def forest_rows(verdicts):
    """The rows of the forest: a printed and a measured interval a task, and which is missing.

    Args:
        verdicts: of `table`.

    Returns:
        DataFrame task, series, gain, low, high (points; NaN: none) and rerun (False: nothing was
        run), tasks in the paper's order, then the others.
    """
    study = verdicts[verdicts["question"] == QUESTION]
    printed = study[["task", *PUBLISHED.values()]].set_axis(["task", *INTERVAL], axis=1)
    printed = printed.dropna().assign(series=f"published: {QUESTION}")  # the paper's tasks only
    series = verdicts["source"].replace(NOT_RERUN, "own run") + ": " + verdicts["question"]
    strange = (verdicts["source"] == "own run") & (verdicts["question"] != QUESTION)
    if series[strange].nunique() > 1:  # a forest has room for few
        series = series.mask(strange, "own run: other pairs")
    ours = verdicts.assign(series=series, rerun=verdicts["answer"] != NOT_RERUN)
    both = pd.concat([printed.assign(rerun=True), ours], ignore_index=True)
    return both[["task", "series", *INTERVAL, "rerun"]]


def _answered(one, level):
    """A row of `table` about one measured gain."""
    arms = [one[side].partition(", ")[0] if official(one[side]) else one[side] for side in "ab"]
    p = one["contrast_p"] if one["exploratory"] else one["holm_p"]
    tests = (_p(one, test) for test in ("training", "backbones"))
    said = stats.verdict(p, *tests, degenerate=bool(one["degenerate"]), level=level)
    kept = [*PAIR, "exploratory", "caution", *COUNTS]
    row = {name: one[name] for name in kept} | {new: one[old] for old, new in MEASURED.items()}
    row["reason"] = one["contrast_reason"]
    return row | {"question": " − ".join(arms), "answer": said}


def _p(one, test):
    """P of a test of a gain's row; 1 where what it tests points elsewhere: it is no support."""
    p, signs = one[f"{test}_p"], (one["gain"], one[f"{test}_gain"])
    return p if math.isnan(p) or np.sign(signs[0]) == np.sign(signs[1]) else 1.0
