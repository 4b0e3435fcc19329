"""The verdict: published and measured side by side, and only what the rule allows."""

import math

import pandas as pd
import pytest

from rin import comparison, published, verdict

RIN, IMN = "radimagenet, official", "imagenet, official"
NAN = float("nan")


def gain(task="breast", a=RIN, b=IMN, source="own run", **over):
    """A row of `rin.comparison.gains`: every test passes unless said otherwise."""
    official = comparison.official(a) and comparison.official(b)
    row = {"task": task, "source": source, "a": a, "b": b, "gain": 3.0, "degenerate": False}
    row |= {"study": (a, b) == (RIN, IMN), "caution": ""}
    row |= {"exploratory": task == "pediatric" or not official, "holm_p": 0.01}
    for test, p in (("contrast", 0.001), ("training", 0.03), ("backbones", 0.04)):
        row |= {f"{test}_low": 1.0, f"{test}_high": 5.0, f"{test}_p": p, f"{test}_reason": ""}
        row[f"{test}_gain"] = over.get("gain", row["gain"])
    return row | dict.fromkeys(comparison.COUNTS, 4) | over


def table(*rows):
    columns = list(gain())
    return verdict.table(pd.DataFrame(rows, columns=columns))


def of(found, task):
    return found[(found["task"] == task) & (found["question"] == verdict.QUESTION)].iloc[0]


def test_without_runs_all_eight_tasks_read_not_rerun():
    found = table()
    assert list(found["task"]) == list(published.tasks()["task"])
    assert (found["answer"] == "not rerun").all() and found["gain"].isna().all()
    assert found["n_images"].isna().all() and not found["exploratory"].any()
    assert of(found, "thyroid")["published_gain"] == 9.4
    assert verdict.answers(found).to_dict() == {"not rerun": 8}


def test_a_task_that_was_run_is_answered_by_rule():
    found = of(table(gain()), "breast")
    assert found["answer"].startswith("shown for these networks") and found["gain"] == 3
    assert found["published_gain"] == 4.0 and found["n_scenarios"] == 4
    assert "other backbones" in found["answer"]


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ({"holm_p": 0.2}, "not shown"),
        ({"training_p": 0.2}, "shown for these networks; not shown for other training sets"),
        ({"training_p": NAN}, "not available for other training sets"),
        ({"degenerate": True, "contrast_p": 0.0, "holm_p": 1.0}, "no finding"),
        (
            {"backbones_gain": -1.0},
            "these networks; suggested for other training sets; not shown for other backbones",
        ),
        (
            {"training_gain": -1.0},
            "shown for these networks; not shown for other training sets and other backbones",
        ),
        (
            {"gain": -3.0},
            "these networks; suggested for other training sets and other backbones",
        ),
        ({"backbones_p": NAN}, "suggested for other training sets; not available for other backb"),
    ],
)
def test_what_fails_and_what_does_not_exist_is_said(over, expected):
    assert expected in of(table(gain(**over)), "breast")["answer"]


def test_another_question_leaves_the_studys_own_not_rerun():
    found = table(gain(a="pretrained", b="random", source="kept result"))
    assert of(found, "breast")["answer"] == "not rerun"
    other = found[found["question"] == "pretrained − random"].iloc[0]
    assert other["gain"] == 3 and math.isnan(other["published_gain"])
    assert len(found) == 9 and verdict.answers(found).to_dict() == {"not rerun": 8}


def test_other_tasks_and_arms_are_exploratory_and_rest_on_an_unadjusted_p():
    rows = gain("pediatric", holm_p=NAN), gain(a="radimagenet, native", b="imagenet, native")
    found = table(*rows)
    others = found[found["exploratory"]]
    assert set(others["task"]) == {"pediatric", "breast"}
    assert others["answer"].str.startswith("shown").all()  # contrast_p is .001
    assert of(found, "breast")["answer"] == "not rerun"  # native inputs are another question
    assert set(others["question"]) == {verdict.QUESTION, "radimagenet, native − imagenet, native"}
    assert "pediatric" in list(verdict.forest_rows(found)["task"])


def test_a_loss_is_called_one():
    (row,) = table(gain(gain=-2.0)).query("task == 'breast'").itertuples()
    assert verdict.direction(row) == "loss"
    assert verdict.measured(row) == "loss of 2.0 points"
    (row,) = table(gain()).query("task == 'breast'").itertuples()
    assert verdict.direction(row) == "gain" and verdict.measured(row) == "gain of 3.0 points"
    (row,) = table(gain(gain=0.0)).query("task == 'breast'").itertuples()
    assert verdict.direction(row) == "" and verdict.measured(row) == "difference of 0.0 points"


def test_a_rerun_task_without_a_gain_says_why():
    nothing = {f"contrast_{part}": NAN for part in ("low", "high", "p")} | {"holm_p": NAN}
    found = table(gain(gain=NAN, contrast_reason="fold 0: too few groups", **nothing))
    row = of(found, "breast")
    assert row["answer"] == "not available" and math.isnan(row["gain"])
    assert verdict.measured(row) == "no gain (fold 0: too few groups)"
    rows = verdict.forest_rows(found)
    (ours,) = rows[rows["gain"].isna() & rows["rerun"]].itertuples()
    assert ours.task == "breast" and (rows["rerun"] == False).sum() == 7  # noqa: E712


def test_the_forest_has_each_task_as_printed_and_as_run_or_not():
    rows = verdict.forest_rows(table(gain(a="pretrained", b="random", source="kept result")))
    assert not rows.duplicated(["task", "series"]).any()
    per_series = rows.groupby("series", sort=False)["gain"].agg(["size", "count"])
    assert per_series.loc[f"published: {verdict.QUESTION}"].tolist() == [8, 8]
    assert per_series.loc[f"own run: {verdict.QUESTION}"].tolist() == [8, 0]
    assert per_series.loc["kept result: pretrained − random"].tolist() == [1, 1]


def test_a_task_the_paper_lacks_has_no_printed_row():
    rows = verdict.forest_rows(table(gain("pediatric", holm_p=NAN)))
    assert rows[rows["task"] == "pediatric"]["series"].tolist() == [f"own run: {verdict.QUESTION}"]


def test_a_forest_of_many_inits_stays_readable():
    files = [
        gain(task, f"{task}-1a2b3c, official", "random, official") for task in ("acl", "breast")
    ]
    rows = verdict.forest_rows(table(*files))
    assert rows["series"].nunique() == 3 and "own run: other pairs" in set(rows["series"])
