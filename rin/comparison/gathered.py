"""Gather what is compared: own runs, phantom runs and the kept real results, in one form."""

import pandas as pd

from rin import datasets, experiment, judge, paths, records
from rin.judge import BATCH_SIZE
from rin.scenarios import Scenario

KEPT_FOLDER = "pretraining"  # of the kept results
STUDY_PAIR = ("radimagenet", "imagenet")  # the study's question: radiology against photographs
PAIR = ["task", "source"]  # what one comparison is about
FACTS = ["backbone", "trainable", "learning_rate", "scenario"]
RUNS = ["phantom", "arm", "init", *FACTS, "fold", "seed", "batch_size"]
COUNTS = ["n_train", "n_val", "n_test", "n_trainable", "n_updates", "diverged"]
AUCS = ["auc", "pooled_auc", "n_folds", "n_trainable", "n_updates", "n_diverged"]
SCENARIOS = [*PAIR, "phantom", "init", "side", "arm", "scenario", *FACTS[:3], *AUCS]  # if none
TESTED = ["row", "image_id", "patient", "group", "y_true", "y_score"]


def gather(runs_dir, results_dir, roots=None):
    """All finished runs of all tasks, and the kept real results beside them.

    Args:
        runs_dir: folder that training wrote to; it need not exist.
        results_dir: folder of the kept tables; without runs in its `pretraining` there are none.
        roots: dict from task to the folder of its real images, for runs whose records don't say
            that theirs were real: those are taken for phantoms'. No folder overrules a record
            that says the images were phantoms.

    Returns:
        (runs, predictions): one row a run, and one row a run and test image; both with `task`,
        `source` ("own run", "kept result" or "phantom run"), `phantom` and `arm` (see
        `rin.judge.arms`, and a batch size other than the study's is always in it; the init alone
        for kept results). Empty where there is nothing.

    Raises:
        rin.judge.JudgeError: runs of one task that can't be judged together, or tasks of two
            objectives.
    """
    found = [_own(runs_dir, task, (roots or {}).get(task)) for task in _tasks(runs_dir)]
    folder = paths.resolve(results_dir) / KEPT_FOLDER
    kept = experiment.read(folder) if folder.is_dir() else None
    found += [_kept(kept)] if kept is not None and len(kept.runs) else []
    empty = (pd.DataFrame(columns=[*PAIR, *RUNS, *names]) for names in (COUNTS, TESTED))
    if not found:
        return tuple(empty)
    return tuple(pd.concat(parts, ignore_index=True) for parts in zip(*found, strict=True))


def pair(arms):
    """The two arms that are compared, or None: the first of `pairs`.

    >>> pair(["imagenet, official", "radimagenet, native", "radimagenet, official"])
    ('radimagenet, official', 'imagenet, official')
    >>> pair(["random", "pretrained"])
    ('pretrained', 'random')
    """
    return next(pairs(arms), None)


def pairs(arms):
    """Two arms each that could be compared, the most wanted first.

    RadImageNet against ImageNet where both ran; else pretrained against random weights. Both have
    the same preprocess and batch size: the official ones where there is a choice.

    Args:
        arms: names of arms of one task.

    Yields:
        (a, b): two of the names.
    """
    named = {}
    for arm in dict.fromkeys(arms):
        init, comma, rest = arm.partition(", ")
        named.setdefault(comma + rest, {})[init] = arm
    settings = [named[rest] for rest in sorted(named, key=_officially)]
    for arms_of in settings:
        if set(STUDY_PAIR) <= set(arms_of):
            yield tuple(arms_of[init] for init in STUDY_PAIR)
    for arms_of in settings:
        others = sorted(set(arms_of) - {"random"}, key=lambda name: (name not in STUDY_PAIR, name))
        yield from ((arms_of[one], arms_of["random"]) for one in others if "random" in arms_of)


def official(arm):
    """Whether an arm has the study's preprocess and batch size, as far as its name says."""
    init, comma, rest = arm.partition(", ")
    return not comma or _officially(comma + rest)[:2] == (False, False)


def scenarios(runs, predictions):
    """The scenarios that count, with their AUCs: one row a task, source, arm and scenario.

    A scenario has every fold that was run. The two arms that are compared are the first of `pairs`
    that share such a scenario, and theirs count when both have them; an arm that is compared with
    none stands by itself. What is compared is chosen here, once.

    Args:
        runs, predictions: of `gather`.

    Returns:
        DataFrame task, source, phantom, init, side ("a" or "b" of the two that are compared, else
        ""), then as `rin.judge.scenarios` has it.
    """
    parts = []
    for key, mine in runs.groupby(PAIR, sort=False):
        table = judge.scenarios(mine, _of(predictions, *key))
        table.insert(0, "init", table["arm"].str.partition(", ")[0])
        table.insert(0, "phantom", mine["phantom"].any())
        for position, name in enumerate(PAIR):
            table.insert(position, name, key[position])
        wanted = [] if mine["phantom"].any() else pairs(mine["arm"])
        shared = ((arms, _complete(table, mine, arms)) for arms in wanted)
        arms, both = next(((arms, part) for arms, part in shared if len(part)), ((), None))
        alone = [_complete(table, mine, [arm]) for arm in table["arm"].unique() if arm not in arms]
        names = dict(zip(arms, "ab", strict=False))
        for part in [both, *alone] if arms else alone:
            side = [names.get(arm, "") for arm in part["arm"]]
            part.insert(part.columns.get_loc("arm"), "side", side)
            parts += [part] if len(part) else []
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SCENARIOS)


def sides(table):
    """The two arms that `scenarios` compared, or None.

    Args:
        table: rows of `scenarios`, of one task and source.
    """
    named = table.drop_duplicates("arm").set_index("side")["arm"]
    return (named["a"], named["b"]) if {"a", "b"} <= set(named.index) else None


def _complete(table, runs, arms):
    n_folds = runs.loc[runs["arm"].isin(arms), "fold"].nunique()
    return judge.complete(table[table["arm"].isin(arms)], n_folds)


def _tasks(runs_dir):
    runs = records.training_runs(paths.resolve(runs_dir))
    if runs.empty:
        return []
    if len(several := sorted(set(runs["objective"]))) > 1:
        text = f"runs of {len(several)} objectives ({', '.join(several)})"
        raise judge.JudgeError(f"{runs_dir}: {text}; keep those of one apart, in another folder")
    ran = set(runs["task"])
    return [task for task in datasets.TASKS if task in ran]


def _own(runs_dir, task, root):
    try:
        runs, predictions = judge.gather(paths.resolve(runs_dir), task)
    except judge.JudgeError as error:
        raise judge.JudgeError(f"task {task}: {error}") from error
    said = runs["phantom"].dropna().astype(bool)  # older records don't say
    known = bool(root) and datasets.is_phantom(paths.resolve(root)) is None
    real = (known or len(said) == len(runs)) and not said.any()  # a folder overrules no record
    source = {"source": "own run" if real else "phantom run", "phantom": not real}
    runs, predictions = (_with_batch_size(frame) for frame in (runs, predictions))
    return (
        runs.assign(**source)[[*PAIR, *RUNS, *COUNTS]],
        predictions.assign(**source)[[*PAIR, *RUNS, *TESTED]],
    )


def _kept(kept):
    """The kept tables; pretrained and random weights met the same preprocess and batches there."""
    source = {"source": "kept result", "phantom": False}
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


def _with_batch_size(frame):
    """Arms that don't name a batch size other than the study's, as all runs have it, name it."""
    (size, *others) = frame["batch_size"].unique()
    if others or size == BATCH_SIZE:
        return frame
    return frame.assign(arm=frame["arm"] + f", batch {size}")


def _of(frame, task, source):
    return frame[(frame["task"] == task) & (frame["source"] == source)]


def _officially(rest):
    batch = rest.partition(", batch ")[2]
    return not rest.startswith(", official"), batch not in ("", str(BATCH_SIZE)), rest
