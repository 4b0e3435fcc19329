"""Watch: where steps stand, what progress and the report say of them, from files alone."""

import io
import json
import time

import pytest

from rin import records, steps, watch


@pytest.fixture
def state(tmp_path):
    """Three steps, of which nothing is known yet: two jobs and a page that waits for both."""
    listed = [{"name": n, "out": f"runs/{n}", "after": []} for n in ("one", "two")]
    listed.append({"name": "page", "out": "runs/page", "after": ["runs/one", "runs/two"]})
    for step in listed:
        folder = tmp_path / step["out"]
        folder.mkdir(parents=True)
        facts = {"params": {"n": 1}, "code_fingerprint": "c", "data_fingerprint": {"data_dir": "d"}}
        (folder / steps.INPUTS).write_text(json.dumps(facts))
    return watch.State(tmp_path, listed, time.time() - 1, "runs/sweep.log")


def ends(state, name, **changed):
    facts = {"fingerprint": "x", "params": {"n": 1}, "code_fingerprint": "c"}
    data = {"data_fingerprint": {"data_dir": "d", "runs_dir": "r"}}
    records.write(state.root / "runs" / name, facts | data | changed)


def says(state, name, text):
    (state.root / "runs" / name / watch.LOG).write_text(text)


def test_records_and_logs_tell_where_a_step_stands(state):
    says(state, "one", "")  # made by Snakemake before the job begins
    assert list(state.now().values()) == ["waiting"] * 3
    says(state, "one", "page: running\n 3/9\r 4/9")
    ends(state, "two")
    assert list(state.now().values()) == ["running", "done", "waiting"]
    says(state, "one", "page: running\nerror: it broke\n")
    assert state.now()["runs/one"] == "failed"
    ends(state, "page")  # of an earlier sweep: what it waits for is not done again yet
    assert state.now()["runs/page"] == "waiting"
    ends(state, "one")
    assert state.all_done()


def test_a_record_of_other_code_is_no_end_and_the_report_says_so(state):
    says(state, "one", "page: done in 3 s")
    ends(state, "one", code_fingerprint="other")
    assert state.now()["runs/one"] == "failed"
    assert "code_fingerprint changed while it ran: start the sweep again" in watch.report(state)[1]


def test_the_report_names_what_failed_why_and_what_was_not_begun_because_of_it(state):
    says(state, "one", "noise\nerror: book/05: cell 9 failed\nWeightsError: no weights\n")
    says(state, "two", "page: running\n 3/9\r 4/9 epochs")
    assert watch.report(state) == [
        "done: 0 of 3 steps",
        "failed: one: error: book/05: cell 9 failed | WeightsError: no weights (runs/one/log.txt)",
        "failed: two: it ended without an error, killed perhaps; its log ends with: 4/9 epochs "
        "(runs/two/log.txt)",
        "not begun: page: because of one, two",
    ]
    says(state, "two", "")
    assert watch.report(state)[2] == "not begun: two: see runs/sweep.log"


def test_a_progress_bars_last_state_is_the_last_line(tmp_path):
    log = tmp_path / "log.txt"
    assert watch.last_line(log) == ""
    log.write_bytes(
        b"x" * 20_000 + b"\nfirst\n\x1b[32m a: 1/3\r a: 2/3\r\xff\r a: 3/3 [09:00]\r\n\n"
    )
    assert watch.last_line(log) == "a: 3/3 [09:00]"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_line_for_each_running_step_and_a_total_rewritten_on_a_terminal(state):
    says(state, "one", "a: 1/3\r a: 2/3")
    shown = watch.Progress(state, Terminal())
    assert shown.lines() == ["  one: a: 2/3", "0 of 3 steps done, 1 running"]
    shown._show(shown.lines())
    shown._show(["0 of 3 steps done, 0 running"])
    text = shown.stream.getvalue()
    assert "\x1b[2A\x1b[J" in text  # two lines back, and gone
    plain = watch.Progress(state, io.StringIO())
    for _ in range(3):
        plain._show(plain.lines())
    assert plain.stream.getvalue().count("a: 2/3") == 1  # said again only when it changed


def test_training_runs_are_counted_beside_the_steps(state):
    state.homes = [state.root / "runs/one", state.root / "runs/two"]
    ends(state, "two")
    assert watch.Progress(state, io.StringIO()).lines()[-1].endswith("; 1 of 2 training runs")
