"""The rule: what may be claimed of a task, in words, from three tests."""

import math

PARTS = ("other training sets", "other backbones")
NOT_AVAILABLE = "not available"


def verdict(contrast_p_holm, nadeau_bengio=None, backbones=None, degenerate=False, level=0.95):
    """What a task's comparison shows, by rule (statistics.md, section 13).

    Each claim needs the one before it: for these networks, by the contrast; and for other training
    sets, by Nadeau and Bengio's test; and for other backbones, by the test over them. The first is
    *shown*, the others no more than *suggested*: Nadeau and Bengio's test is wrong too often where
    networks of different folds, which share training images, err alike, and the test over backbones
    where they share test images (`results/null_simulation.csv`). A test that does not exist for the
    task is skipped, and said. P values have no sign: a test whose estimate points elsewhere than
    the contrast's supports no claim, so the caller gives P = 1 for it.

    Args:
        contrast_p_holm: P of `rin.stats.contrast` after Holm over the family; NaN when missing.
        nadeau_bengio: result of `rin.stats.nadeau_bengio`, or its P; None when there is none.
        backbones: result of `rin.stats.over_backbones`, or its P; None when there is none.
        degenerate: of the contrast: its P of 0 is then no finding.
        level: a test counts when its P is below 1 − level.

    Returns:
        Sentence part, which begins with "shown" where anything is. It says nothing of a direction:
        the difference does.

    Raises:
        ValueError: a P value outside [0, 1].

    >>> verdict(0.01, 0.03, 0.2)
    'shown for these networks; suggested for other training sets; not shown for other backbones'
    >>> verdict(0.01, None, 0.03)
    'shown for these networks; suggested for other backbones; not available for other training sets'
    >>> verdict(0.2, 0.01, 0.01)
    'not shown'
    """
    p = _p("contrast_p_holm", contrast_p_holm)
    if degenerate:
        return f"{NOT_AVAILABLE}: a difference without variance is no finding"
    if math.isnan(p):
        return NOT_AVAILABLE
    if not _counts(p, level):
        return "not shown"
    found = {"shown": ["these networks"], "suggested": [], "not shown": [], NOT_AVAILABLE: []}
    tests = (_p("nadeau_bengio", nadeau_bengio), _p("backbones", backbones))
    for part, p in zip(PARTS, tests, strict=True):
        holds = _counts(p, level) and not found["not shown"]
        found["suggested" if holds else NOT_AVAILABLE if math.isnan(p) else "not shown"].append(
            part
        )
    return "; ".join(f"{word} for {' and '.join(parts)}" for word, parts in found.items() if parts)


def _counts(p, level):
    return p < round(1 - level, 12)  # 1 - 0.95 is a little more than 0.05


def _p(name, test):
    """The P value of a result, of a number, or NaN of nothing."""
    p = math.nan if test is None else float(getattr(test, "p", test))
    if not (math.isnan(p) or 0 <= p <= 1):
        raise ValueError(f"`{name}` should be a P value in [0, 1]. Received: {p!r}")
    return p
