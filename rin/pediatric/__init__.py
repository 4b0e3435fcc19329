"""The pediatric study: a frozen ResNet50 from several inits, scored, calibrated and compared."""

from rin.pediatric.calibrated import calibrations, reliability
from rin.pediatric.gathered import (
    CELL,
    TASK,
    PediatricError,
    Study,
    baselines,
    best_baselines,
    chosen,
    head_parameters,
    read,
    runs,
    study,
    write,
)
from rin.pediatric.maps import mean_maps
from rin.pediatric.scored import (
    ARGMAX,
    FROM_VAL,
    NEIGHBORS,
    NO_RULE,
    SIX,
    averaged,
    compare,
    scores,
    six,
    threshold_on_val,
)

__all__ = [
    "ARGMAX",
    "CELL",
    "FROM_VAL",
    "NEIGHBORS",
    "NO_RULE",
    "SIX",
    "TASK",
    "PediatricError",
    "Study",
    "averaged",
    "baselines",
    "best_baselines",
    "calibrations",
    "chosen",
    "compare",
    "head_parameters",
    "mean_maps",
    "read",
    "reliability",
    "runs",
    "scores",
    "six",
    "study",
    "threshold_on_val",
    "write",
]
