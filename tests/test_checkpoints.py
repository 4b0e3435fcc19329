"""Checkpoints: a killed group goes on where it stood, and never from another's state."""

import numpy as np
import pytest
from tiny import make_run

from rin.checkpoints import Checkpoint
from rin.epochwise import State
from rin.outcomes import Outcome


def make_state(run, value=1.0):
    best = {"val_loss": 0.5, "epoch": 1, "val": np.full((3, 2), value), "state": [np.ones(2)]}
    history = [
        {"epoch": 0, "loss": 0.7, "val_loss": 0.6},
        {"epoch": 1, "loss": 0.6, "val_loss": 0.5},
    ]
    return State(run, [np.full((2, 2), value), np.array(7)], Outcome(history, best, False, 3.5))


RUNS = [make_run(fold=0), make_run(fold=1)]
MARKS = {run.name: f"mark of {run.fold}" for run in RUNS}


def blank(runs=RUNS):
    return [State(run, [np.zeros((2, 2)), np.array(0)]) for run in runs]


@pytest.fixture
def written(tmp_path):
    file = tmp_path / "runs" / ".checkpoint.npz"
    Checkpoint(file, MARKS, every_s=0).offer(
        2, [make_state(RUNS[0], 1.0), make_state(RUNS[1], 2.0)]
    )
    return file


def test_everything_comes_back(written):
    states = blank()
    assert Checkpoint(written, MARKS).restore(states) == 2
    for state, value in zip(states, (1.0, 2.0), strict=True):
        expected = make_state(state.run, value)
        assert all(np.array_equal(a, b) for a, b in zip(state.values, expected.values, strict=True))
        assert state.outcome.history == expected.outcome.history
        assert state.outcome.seconds == 3.5 and not state.outcome.diverged
        assert np.array_equal(state.outcome.best["val"], expected.outcome.best["val"])
        assert np.array_equal(state.outcome.best["state"][0], np.ones(2))


def test_it_is_forgotten_only_with_all_runs_it_holds(written):
    Checkpoint(written, {RUNS[0].name: MARKS[RUNS[0].name]}).forget()
    Checkpoint(written, dict.fromkeys(MARKS, "another mark")).forget()
    assert written.is_file(), "it holds a run that another process may be at"
    Checkpoint(written, MARKS).forget()
    assert not written.exists()
    Checkpoint(written, MARKS).forget()


def test_a_part_of_the_runs_can_go_on_alone(written):
    states = blank(RUNS[1:])
    assert Checkpoint(written, MARKS).restore(states) == 2
    assert states[0].values[0][0, 0] == 2.0


def test_a_run_before_its_first_good_epoch_has_no_best(tmp_path):
    file, state = tmp_path / "c.npz", State(RUNS[0], [np.ones(1)])
    Checkpoint(file, MARKS, every_s=0).offer(1, [state])
    states = blank(RUNS[:1])
    assert Checkpoint(file, MARKS).restore(states) == 1 and states[0].outcome.best == {}


@pytest.mark.parametrize("spoil", ["mark", "run", "absent", "cut off", "text"])
def test_what_is_not_these_runs_state_is_left_alone(written, spoil, capsys):
    marks, states = dict(MARKS), blank()
    if spoil == "mark":
        marks[RUNS[0].name] = "other settings"
    elif spoil == "run":
        states.append(State(make_run(fold=0, seed=5), [np.zeros(1)]))
        marks[states[-1].run.name] = "new"
    elif spoil == "absent":
        written.unlink()
    else:
        written.write_bytes(written.read_bytes()[:200] if spoil == "cut off" else b"no archive")
    assert Checkpoint(written, marks).restore(states) == 0
    assert not states[0].values[0].any() and not states[0].outcome.history
    said = capsys.readouterr().out
    assert ("these runs begin anew" in said) == (spoil in ("cut off", "text"))


def test_it_is_not_written_more_often_than_asked(tmp_path):
    file = tmp_path / "c.npz"
    Checkpoint(file, MARKS, every_s=3600).offer(1, [make_state(RUNS[0])])
    assert not file.exists()


def test_it_goes_when_the_runs_are_finished(written):
    Checkpoint(written, MARKS).remove()
    assert not written.exists()
    Checkpoint(written, MARKS).remove()
