"""If trained or pretrained again: t tests over folds and over backbones, never over 24 AUCs."""

import math
import re
from dataclasses import dataclass

import numpy as np

from rin.stats.checks import codes, usable_level

# With one degree of freedom, two gains that happen to be close pass.
TOO_FEW = ("one backbone", "two backbones")


@dataclass(frozen=True)
class CorrectedT:
    """What `nadeau_bengio` and `over_backbones` return; `reason` says why values are NaN."""

    difference: float
    se: float
    statistic: float
    p: float
    low: float
    high: float
    df: int
    reason: str


def nadeau_bengio(gains, ratio, level=0.95):
    """Corrected resampled t test over folds: would training on other patients say the same?

    Folds share training images, so their gains vary too little; the variance is raised by the
    ratio of test to training size. Approximate: five folds leave 4 degrees of freedom.

    Args:
        gains: `(J,)` floats, the mean gain of each fold (`rin.stats.fold_gains`), J = folds ×
            repeats: five numbers, never 120.
        ratio: mean over folds of test / training units, > 0; units are patients, and training is
            without validation (the wider choice). See `rin.stats.split_ratio`.
        level: coverage of the interval, between 0 and 1.

    Returns:
        `CorrectedT` with df = J − 1; NaN with a `reason` for a single split, an undefined gain,
        or gains without spread.

    Raises:
        ValueError: `ratio` or `level` is unusable.

    Source: Nadeau & Bengio 2003, doi:10.1023/A:1024068626366

    >>> test = nadeau_bengio([0.04, 0.06, 0.01, 0.05, 0.03], ratio=72 / 247)
    >>> round(test.statistic, 6), round(test.p, 6)
    (2.817876, 0.047931)
    """
    if not 0 < ratio < math.inf:
        raise ValueError(f"`ratio` should be above 0 and finite. Received: ratio={ratio!r}")
    return _t_test(gains, ratio, level, ("one split",))


def over_backbones(gains, level=0.95):
    """One-sample t test over backbones: would another pretraining say the same?

    Each init is one pretraining per backbone, so this is the only test that sees pretraining. By
    itself it is too liberal, for backbones share their test images: never evidence alone. It needs
    three of them.

    Args:
        gains: `(n,)` floats, the mean gain of each backbone (`rin.stats.backbone_gains`).
        level: coverage of the interval, between 0 and 1.

    Returns:
        `CorrectedT` with df = n − 1; NaN with a `reason` for fewer than three backbones, an
        undefined gain, or gains without spread.

    Raises:
        ValueError: an unusable `level`.

    >>> test = over_backbones([0.05, 0.03, 0.04, 0.01])
    >>> round(test.statistic, 6), round(test.p, 6)
    (3.80601, 0.031874)
    """
    return _t_test(gains, 0, level, TOO_FEW)


def split_ratio(manifest, units=None):
    """How many test units a fold has for each training unit, averaged over folds.

    Args:
        manifest: DataFrame with `split_0`, `split_1`, … (train, val, test) of each image.
        units: `(n,)` hashables, the patient or group of each image; None: each image is one.

    Returns:
        Float above 0, the `ratio` of `nadeau_bengio`.

    Raises:
        ValueError: no fold, `units` of another length or with gaps, or a fold without training or
            test images.
    """
    names = [name for name in manifest if re.fullmatch(r"split_\d+", str(name))]
    if not names:
        raise ValueError(f"`manifest` should have split_0, …. Received: {list(manifest)}")
    unit, ratios = codes(units, len(manifest), "units"), []
    for name in names:
        held = [unit[(manifest[name] == one).to_numpy()] for one in ("test", "train")]
        test, train = (len(np.unique(one)) for one in held)
        if not train or not test:
            raise ValueError(f"`{name}` should have train and test. Received: {train} and {test}")
        ratios.append(test / train)
    return float(np.mean(ratios))


def _t_test(gains, extra, level, too_few):
    """t = mean / √((1/J + extra) s²) on J − 1 degrees of freedom; `too_few`: 1, 2, … in words."""
    from scipy.special import stdtr, stdtrit

    gains = np.asarray(gains, dtype=float)
    n, mean = len(gains), float(gains.mean()) if len(gains) else math.nan
    sd = float(gains.std(ddof=1)) if n > 1 else math.nan
    reason = _why_not(gains, sd, too_few)
    if reason:
        return CorrectedT(mean, *[math.nan] * 5, max(n - 1, 0), reason)
    se = sd * math.sqrt(1 / n + extra)
    half_width = float(stdtrit(n - 1, (1 + usable_level(level)) / 2)) * se
    p = float(2 * stdtr(n - 1, -abs(mean / se)))
    return CorrectedT(mean, se, mean / se, p, mean - half_width, mean + half_width, n - 1, "")


def _why_not(gains, sd, too_few):
    """Why there is no test; "" when there is one."""
    if len(gains) <= len(too_few):
        return f"not available: {dict(enumerate(too_few, 1)).get(len(gains), 'no cell counts')}"
    if not np.isfinite(gains).all():
        return f"not available: {int((~np.isfinite(gains)).sum())} of {len(gains)} gains undefined"
    without_spread = sd <= 4 * np.finfo(float).eps * np.abs(gains).max()
    return f"not available: {len(gains)} equal gains" if without_spread else ""
