"""Why: does the gap between two inits follow the scale of their input, or the weight updates?"""

# pandas is fast enough to import here; the backbones load a backend, so only `shrinkage` does.

from rin.why.changed import changes, lines, tally
from rin.why.expected import TRAINED_ON, predictions, published_updates, shrinkage, updates
from rin.why.gaps import gaps, levels, pair, rank_correlations
from rin.why.tables import WhyError, fed, gather, needed, read, write

__all__ = [
    "TRAINED_ON",
    "WhyError",
    "changes",
    "fed",
    "gaps",
    "gather",
    "levels",
    "lines",
    "needed",
    "pair",
    "predictions",
    "published_updates",
    "rank_correlations",
    "read",
    "shrinkage",
    "tally",
    "updates",
    "write",
]
