"""The runs behind the answer: gathered from a folder of runs, kept in two tables, read again."""

from rin import judge, kept_tables, paths, records

RUN = ["task", "init", "preprocess", "batch_size", "backbone", "trainable", "learning_rate"]
RUN += ["scenario", "fold", "seed"]
COUNTS = ["objective", "fed", "n_train", "n_trainable", "n_updates", "diverged"]
TESTED = ["row", "group", "y_true", "y_score"]
FILES = {"runs": "runs.csv", "predictions": "predictions.parquet"}


class WhyError(ValueError):
    """Tables that are not there, or that hold something else."""


def gather(runs_dir, task):
    """The finished runs of a task with all their preprocesses and batch sizes.

    Args:
        runs_dir: folder that training wrote to.
        task: its name.

    Returns:
        (runs, predictions): one row a run (`RUN` and `COUNTS`), and one row a run and test image
        (`RUN` and `TESTED`).

    Raises:
        rin.judge.JudgeError: no run, or runs that can't be judged together.
    """
    return needed(*judge.gather(paths.resolve(runs_dir), task))


def needed(runs, predictions):
    """What this question needs of the two tables of `rin.judge.gather`, as `gather` returns it."""
    return runs.reindex(columns=RUN + COUNTS), predictions[RUN + TESTED]


def fed(runs):
    """What every preprocess came down to: for some inits `native` is the official one itself.

    Args:
        runs: of `gather` or `read`.

    Returns:
        DataFrame, one row an init and backbone: `init`, `backbone`, a column for each preprocess
        (a word of `rin.backbones.fed`, NaN where it was not run), and `changes`: whether the
        network saw more than one kind of input.
    """
    names = runs.drop_duplicates(["init", "backbone", "preprocess"])
    wide = names.pivot(index=["init", "backbone"], columns="preprocess", values="fed")
    wide = wide.rename_axis(columns=None)
    return wide.assign(changes=wide.nunique(axis=1) > 1).reset_index()


def write(runs, predictions, folder):
    """Keep both tables: both are complete before the first one is replaced.

    Args:
        runs, predictions: as `gather` has them; groups under running names that say nothing.
        folder: where they go.

    Raises:
        WhyError: a column is missing, or the tables are not about the same runs.
    """
    _check(runs, predictions, folder)
    frames = (runs[RUN + COUNTS], predictions[RUN + TESTED])
    kept_tables.write(dict(zip(FILES.values(), frames, strict=True)), folder)


def read(folder, task):
    """The kept tables of a task.

    Args:
        folder: where `write` put them.
        task: its name.

    Returns:
        (runs, predictions), as of `gather`.

    Raises:
        WhyError: a table or the task is not there, or the two are not about the same runs.
    """
    maker = "benchmarks/keep_why.py"
    runs, predictions = kept_tables.read(folder, FILES.values(), WhyError, maker)
    _check(runs, predictions, folder)
    if task not in set(runs["task"]):
        known = ", ".join(sorted(set(runs["task"])))
        raise WhyError(f"{folder}: `task` should be one of: {known}. Received: task={task!r}")
    tables = (frame[frame["task"] == task] for frame in (runs, predictions))
    return tuple(frame.reset_index(drop=True) for frame in tables)


def _check(runs, predictions, folder):
    for name, frame, columns in (
        ("runs", runs, RUN + COUNTS),
        ("predictions", predictions, RUN + TESTED),
    ):
        if name == "runs" and "objective" not in frame:
            raise WhyError(records.no_objective(folder, "these tables are"))
        if missing := [column for column in columns if column not in frame]:
            raise WhyError(f"{folder}: `{name}` should have {columns}. It lacks: {missing}")
    told = (set(map(tuple, frame[RUN].drop_duplicates().values)) for frame in (runs, predictions))
    if strange := len(set.symmetric_difference(*told)):
        raise WhyError(f"{folder}: {strange} runs are in one of {list(FILES)} alone")
