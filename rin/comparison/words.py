"""Words: a gain with everything that has to be said beside it, as one sentence."""

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
    parts = by_trainable.groupby(["task", "source"], sort=False)
    lines = [_line(row, parts.get_group((row.task, row.source))) for row in gains.itertuples()]
    if (gains["source"] == "kept result").any():
        lines.append(KEPT)
    return lines or ["No real task has two inits yet: there is no gain to show."]


def _line(row, by_trainable):
    parts = [f"{one.gain:+.1f} in `{one.trainable}` runs" for one in by_trainable.itertuples()]
    said = f"**{row.task}, {row.source}** ({row.a} − {row.b}): {row.gain:+.1f} points"
    notes = ["exploratory"] if row.exploratory else []
    notes += ["a difference without variance: no finding"] if row.degenerate else []
    notes += [row.caution] if row.caution else []
    names = {"training": "other training sets", "backbones": "other backbones"}
    for test, name in names.items():
        why = getattr(row, f"{test}_reason")
        notes += [f"{name}: {why}"] if why else []
    return f"{said}; {', '.join(parts)}." + "".join(f" ({note}.)" for note in notes)
