"""Gather what is compared: own runs, phantom runs and the kept real results, in one form."""

import pandas as pd

from rin import datasets, experiment, judge, paths, records
from rin.scenarios import Scenario

KEPT_FOLDER = "pretraining"  # of the kept results
STUDY_PAIR = ("radimagenet", "imagenet")  # the study's question: radiology against photographs
PAIR = ["task", "source"]  # what one comparison is about
FACTS = ["backbone", "trainable", "learning_rate", "scenario"]
RUNS = ["phantom", "arm", "init", *FACTS, "fold", "seed", "batch_size"]
COUNTS = ["n_train", "n_val", "n_test", "n_trainable", "n_updates", "diverged"]
AUCS = ["auc", "pooled_auc", "n_folds", "n_trainable", "n_updates", "n_diverged"]
SCENARIOS = [*PAIR, "phantom", "init", "arm", "scenario", *FACTS[:3], *AUCS]  # when there are none
TESTED = ["row", "image_id", "patient", "group", "y_true", "y_score"]


def gather(runs_dir, results_dir, roots=None):
    """All finished runs of all tasks, and the kept real results beside them.

    Args:
        runs_dir: folder that training wrote to; it need not exist.
        results_dir: folder of the kept tables; without `pretraining` in it there are none.
        roots: dict from task to the folder of its real images, for runs whose records don't say
            that theirs were real: those are taken for phantoms'.

    Returns:
        (runs, predictions): one row a run, and one row a run and test image; both with `task`,
        `source` ("own run", "kept result" or "phantom run"), `phantom` and `arm` (see
        `rin.judge.arms`; the init alone for kept results). Empty where there is nothing.

    Raises:
        rin.judge.JudgeError: runs of one task that can't be judged together.
    """
    found = [_own(runs_dir, task, (roots or {}).get(task)) for task in _tasks(runs_dir)]
    folder = paths.resolve(results_dir) / KEPT_FOLDER
    found += [_kept(folder)] if folder.is_dir() else []
    empty = (pd.DataFrame(columns=[*PAIR, *RUNS, *names]) for names in (COUNTS, TESTED))
    if not found:
        return tuple(empty)
    return tuple(pd.concat(parts, ignore_index=True) for parts in zip(*found, strict=True))


def pair(arms):
    """The two arms that are compared, or None.

    RadImageNet against ImageNet where both ran; else pretrained against random weights. Both have
    the same preprocess and batch size: the official ones where there is a choice.

    Args:
        arms: names of arms of one task.

    >>> pair(["imagenet, official", "radimagenet, native", "radimagenet, official"])
    ('radimagenet, official', 'imagenet, official')
    >>> pair(["random", "pretrained"])
    ('pretrained', 'random')
    """
    named = {}
    for arm in dict.fromkeys(arms):
        init, comma, rest = arm.partition(", ")
        named.setdefault(comma + rest, {})[init] = arm
    settings = [named[rest] for rest in sorted(named, key=_officially)]
    for arms_of in settings:
        if set(STUDY_PAIR) <= set(arms_of):
            return tuple(arms_of[init] for init in STUDY_PAIR)
    for arms_of in settings:
        others = sorted(set(arms_of) - {"random"}, key=lambda name: (name not in STUDY_PAIR, name))
        if "random" in arms_of and others:
            return arms_of[others[0]], arms_of["random"]
    return None


def official(arm):
    """Whether an arm has the study's preprocess and batch size, as far as its name says."""
    init, comma, rest = arm.partition(", ")
    return not comma or _officially(comma + rest)[:2] == (False, False)


def scenarios(runs, predictions):
    """The scenarios that count, with their AUCs: one row a task, source, arm and scenario.

    A scenario has every fold that was run. In the two arms that are compared (see `pair`) it
    counts when both have it; an arm that is compared with none stands by itself.

    Args:
        runs, predictions: of `gather`.

    Returns:
        DataFrame task, source, phantom, init, then as `rin.judge.scenarios` has it.
    """
    parts = []
    for key, mine in runs.groupby(PAIR, sort=False):
        table = judge.scenarios(mine, _of(predictions, *key))
        table.insert(0, "init", table["arm"].str.partition(", ")[0])
        table.insert(0, "phantom", mine["phantom"].any())
        for position, name in enumerate(PAIR):
            table.insert(position, name, key[position])
        compared = [] if mine["phantom"].any() else list(pair(mine["arm"]) or [])
        alone = [[arm] for arm in table["arm"].unique() if arm not in compared]
        for arms in [compared, *alone]:
            n_folds = mine.loc[mine["arm"].isin(arms), "fold"].nunique()
            part = judge.complete(table[table["arm"].isin(arms)], n_folds)
            parts += [part] if len(part) else []
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SCENARIOS)


def _tasks(runs_dir):
    runs = records.training_runs(paths.resolve(runs_dir))
    ran = set() if runs.empty else set(runs["task"])
    return [task for task in datasets.TASKS if task in ran]


def _own(runs_dir, task, root):
    try:
        runs, predictions = judge.gather(paths.resolve(runs_dir), task)
    except judge.JudgeError as error:
        raise judge.JudgeError(f"task {task}: {error}") from error
    real = not runs["phantom"].astype(object).fillna(True).any()  # older records don't say
    real = real or (bool(root) and datasets.is_phantom(paths.resolve(root)) is None)
    source = {"source": "own run" if real else "phantom run", "phantom": not real}
    return (
        runs.assign(**source)[[*PAIR, *RUNS, *COUNTS]],
        predictions.assign(**source)[[*PAIR, *RUNS, *TESTED]],
    )


def _kept(folder):
    """The kept tables; pretrained and random weights met the same preprocess and batches there."""
    kept, source = experiment.read(folder), {"source": "kept result", "phantom": False}
    tables = []
    for frame, names in ((kept.runs, COUNTS), (kept.predictions, TESTED)):
        keys = frame[experiment.SCENARIO].drop_duplicates()
        keys["scenario"] = [str(Scenario(*row)) for row in keys.itertuples(index=False)]
        if "batch_size" not in frame:
            sizes = kept.runs[[*experiment.RUN, "batch_size"]]
            frame = frame.merge(sizes, on=experiment.RUN, validate="many_to_one")
        frame = frame.merge(keys, on=experiment.SCENARIO).assign(arm=frame["init"], **source)
        tables.append(frame[[*PAIR, *RUNS, *names]])
    return tuple(tables)


def _of(frame, task, source):
    return frame[(frame["task"] == task) & (frame["source"] == source)]


def _officially(rest):
    batch = rest.partition(", batch ")[2]
    return not rest.startswith(", official"), batch not in ("", "256"), rest
