"""As published: the interval the paper prints, which ignores pairing and shared test sets."""

import math
from dataclasses import dataclass

from rin.stats.checks import usable_level


@dataclass(frozen=True)
class UnpairedT:
    """What `unpaired_t_interval` returns."""

    difference: float
    low: float
    high: float
    p: float
    half_width: float


def unpaired_t_interval(mean_a, sd_a, mean_b, sd_b, n, level=0.95):
    """Interval of A − B as the paper has it: two-sample t over two sets of n AUCs.

    It reproduces the published intervals to rounding. It ignores that the settings are paired and
    takes them, all on one test set, for independent: show it as published, not as evidence.

    Args:
        mean_a, mean_b: mean AUCs; any unit, the same for all four numbers.
        sd_a, sd_b: standard deviations (ddof 1) of the AUCs, ≥ 0.
        n: AUCs in each set, ≥ 2; the paper has 24, so 46 degrees of freedom.
        level: coverage, between 0 and 1.

    Returns:
        `UnpairedT` in the unit of the means; P is NaN when both SDs are 0.

    Raises:
        ValueError: `n` below 2 or a negative SD.

    Source: Mei et al. 2022, doi:10.1148/ryai.210315; the formula was found from its numbers

    >>> round(unpaired_t_interval(85, 9, 76, 14, n=24).half_width, 2)
    6.84
    """
    from scipy.special import stdtr, stdtrit

    if n < 2 or not (sd_a >= 0 and sd_b >= 0):
        raise ValueError(f"`n` should be ≥ 2, SDs ≥ 0. Received: n={n}, SDs {sd_a} and {sd_b}")
    gain, df = mean_a - mean_b, 2 * n - 2
    se = math.sqrt((sd_a**2 + sd_b**2) / n)
    half_width = float(stdtrit(df, (1 + usable_level(level)) / 2)) * se
    p = float(2 * stdtr(df, -abs(gain / se))) if se else math.nan
    return UnpairedT(gain, gain - half_width, gain + half_width, p, half_width)
