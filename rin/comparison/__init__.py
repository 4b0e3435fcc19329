"""Compare the inits: every task's runs in one table, then levels, gains and what surrounds them."""

from rin.comparison.context import RELATIONS, STUDY, context, rank_correlations, relation
from rin.comparison.gains import (
    COUNTS,
    TESTS,
    backbone_gains,
    gain_by,
    gains,
    ratio,
    variance_shares,
)
from rin.comparison.gathered import PAIR, STUDY_PAIR, gather, official, pair, pairs, scenarios
from rin.comparison.levels import (
    claims,
    kept_trivial,
    means,
    overview,
    printed_spread,
    spread,
    with_setting,
)
from rin.comparison.words import gain_lines, gain_words

__all__ = [
    "COUNTS",
    "PAIR",
    "RELATIONS",
    "STUDY",
    "STUDY_PAIR",
    "TESTS",
    "backbone_gains",
    "claims",
    "context",
    "gain_by",
    "gain_lines",
    "gain_words",
    "gains",
    "gather",
    "kept_trivial",
    "means",
    "official",
    "overview",
    "pair",
    "pairs",
    "printed_spread",
    "rank_correlations",
    "ratio",
    "relation",
    "scenarios",
    "spread",
    "variance_shares",
    "with_setting",
]
