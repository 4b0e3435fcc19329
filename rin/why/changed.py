"""Changes: whether a gap is another one under another preprocess or batch size."""

import math

import pandas as pd

from rin import stats
from rin.why.gaps import FOUND, SETTING, as_row

SWAPPED = " (swapped)"  # a scenario of the second setting, its inits exchanged


def changes(predictions, a, b, varied="preprocess", level=0.95):
    """Whether the gap a − b is another one in another setting, all else being the same.

    The change is (A₁ − B₁) − (A₂ − B₂), 1 and 2 the settings, A and B the AUCs. An AUC is linear
    in DeLong's components, and so is the change: the second setting enters `rin.stats.contrast`
    as further scenarios in which the inits are exchanged. Its mean over all scenarios is then half
    the change, with the variance that belongs to it: components averaged over scenarios and both
    settings before a variance is taken, clustered by group, folds independent. All that was
    predicted for one image is in one component, so the four AUCs are not taken for independent.
    The meaning is that of `gaps`: new patients, for these networks; exploratory.

    Args:
        predictions: of `rin.why.gather` or `rin.why.read`.
        a, b: names of inits.
        varied: "preprocess": official against each other one; or "batch_size": the largest
            against each other one.
        level: coverage of the intervals, between 0 and 1.

    Returns:
        DataFrame `varied`, `first`, `second` (the settings, as text), `backbone`, `held` (the
        value of what is not varied), `change` (gap of the first less that of the second), `low`,
        `high` (points), then as of `gaps`. Only scenarios and folds that all four arms have count;
        no row where there are none. Empty when there is but one setting.

    Raises:
        ValueError: see `rin.stats.contrast`, or `varied` is neither of the two.
    """
    if varied not in SETTING:
        raise ValueError(f"`varied` should be one of {SETTING}. Received: varied={varied!r}")
    other = SETTING[1 - SETTING.index(varied)]
    first, *others = _settings(predictions[varied])
    rows = []
    for (backbone, held), part in predictions.groupby(["backbone", other]):
        for second in others:
            table = _exchanged(part, a, b, varied, (first, second))
            if table.empty:
                continue
            names = {"varied": varied, "first": str(first), "second": str(second)}
            names |= {"backbone": backbone, "held": str(held)}
            found = as_row(stats.contrast(table, a, b, level=level), "change", 200)
            rows.append(names | found | {"n_scenarios": found["n_scenarios"] // 2})
    columns = ["varied", "first", "second", "backbone", "held", "change", *FOUND]
    return pd.DataFrame(rows, columns=columns)


def lines(table, level=0.95):
    """A sentence for every row of `changes`, right whichever way it fell.

    Args:
        table: of `changes`.
        level: that its intervals were made with.

    Returns:
        List of texts.
    """
    said = []
    for row in table.itertuples():
        held = f"batch {row.held}" if row.varied == "preprocess" else row.held
        first, second = (_named(row.varied, value) for value in (row.first, row.second))
        limits = f"{level:.0%} interval {row.low:.1f} to {row.high:.1f}"
        said.append(
            f"{row.backbone}, {held}: gap with {first} less gap with {second}: {row.change:+.1f} "
            f"points ({limits}); {_direction(row, second)}."
        )
    return said


def tally(table):
    """How many changes went as predicted, and how many the other way, for each thing varied.

    Args:
        table: of `changes`.

    Returns:
        List of texts such as "preprocess 4 of 4, against it 0".
    """
    said = []
    for varied, part in table[~table["degenerate"]].groupby("varied", sort=False):
        name = varied.replace("_", " ")
        n, less, more = len(part), (part["low"] > 0).sum(), (part["high"] < 0).sum()
        said.append(f"{name} {less} of {n}, against it {more}")
    return said


def _settings(values):
    """The values, the one that the others are compared with first."""
    known = sorted(values.unique(), reverse=values.name == "batch_size")
    return sorted(known, key=lambda value: value != "official")


def _exchanged(part, a, b, varied, values):
    """The cells all four arms have; scenarios of the second setting are renamed, inits swapped."""
    used = part[part["init"].isin([a, b]) & part[varied].isin(values)]
    cells = used[["init", varied, "scenario", "fold"]].drop_duplicates()
    n_arms = cells.drop_duplicates(["init", varied, "fold"]).groupby("fold").size()
    folds = n_arms.index[n_arms == 4]
    cells = cells[cells["fold"].isin(folds)]
    complete = cells.groupby("scenario").size() == 4 * len(folds)
    used = used[used["fold"].isin(folds) & used["scenario"].isin(complete.index[complete])]
    second = used[varied] == values[1]
    inits = used["init"].mask(second, used["init"].map({a: b, b: a}))
    scenarios = used["scenario"].mask(second, used["scenario"] + SWAPPED)
    return used.assign(init=inits, scenario=scenarios)


def _named(varied, value):
    return f"batch {value}" if varied == "batch_size" else value


def _direction(row, second):
    if math.isnan(row.low) or row.degenerate:
        return f"no usable interval ({row.reason}), so nothing is shown"
    if row.low <= 0 <= row.high:
        return "no change is shown"
    return f"a − b is {'smaller' if row.low > 0 else 'larger'} with {second}"
