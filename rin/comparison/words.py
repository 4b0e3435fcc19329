"""Words: a gain with everything that has to be said beside it, as one sentence."""

import math

KEPT = (
    "Kept results compare some pretraining with none. In `head` runs the random network stays "
    "random, a weak opponent. They say nothing about radiology against photographs."
)


def gain_lines(gains, by_trainable):
    """A line a gain for the page, and what holds for several of them.

    Args:
        gains: of `gains`.
        by_trainable: of `gain_by(table, "trainable")`.

    Returns:
        List of strings; one that says so when there is no gain.
    """
    lines = []
    for row in gains.itertuples():
        mine = (by_trainable[["task", "source"]] == [row.task, row.source]).all(axis=1)
        lines.append(_line(row, by_trainable[mine]))
    if (gains["source"] == "kept result").any():
        lines.append(KEPT)
    return lines or ["No real task has two inits yet: there is no gain to show."]


def gain_words(row):
    """A gain in points with the contrast's interval, or why there is none, and its marks.

    Args:
        row: of `gains`; anything with its names.

    Returns:
        Text such as "+3.0 points (1.0 to 5.0)", "+100.0 points (no interval: variance 0 with
        difference 1; no finding)".
    """
    gain = "no gain" if math.isnan(row.gain) else f"{row.gain:+.1f} points"
    notes = [f"{row.contrast_low:.1f} to {row.contrast_high:.1f}"]
    if row.contrast_reason:  # limits that are NaN, or both the gain
        notes = [f"no interval: {row.contrast_reason}"]
    notes += ["no finding"] if row.degenerate else []
    notes += ["exploratory"] if row.exploratory else []
    return f"{gain} ({'; '.join(notes)})"


def _line(row, by_trainable):
    parts = [
        f"`{one.trainable}` {one.gain:+.1f} (n = {one.n_scenarios})"
        for one in by_trainable.itertuples()
    ]
    apart = f"mean over n scenarios by what trained: {', '.join(parts)}" if parts else ""
    said = f"**{row.task}, {row.source}** ({row.a} − {row.b}): {gain_words(row)}"
    notes = [row.caution] if row.caution else []
    names = {"training": "other training sets", "backbones": "other backbones"}
    for test, name in names.items():
        why = getattr(row, f"{test}_reason")
        notes += [f"{name}: {why}"] if why else []
    return "; ".join([said, apart]).removesuffix("; ") + "." + _in_brackets(notes)


def _in_brackets(notes):
    return "".join(f" ({note}.)" for note in notes)
