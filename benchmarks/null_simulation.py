"""How often does each method find a difference where there is none? Counted by simulation.

    python benchmarks/null_simulation.py [--repetitions 1000] [--csv results/null_simulation.csv]

Two inits without a true difference: 24 scenarios (4 backbones × 6), 5 folds, 30 positive and 40
negative test images a fold. A score is the sum of normal parts: what an image looks like to
everybody, to an init, to a backbone of an init, and to one scenario of it, plus a constant for
disease. Training noise moves that constant in an init's fold, as another training set would;
pretraining noise moves it in a backbone of an init, as another pretraining would. Neither favors
an init. Two folds of five share three quarters of their training images, so their noise is not
independent, and how far it is not is unknown: later settings draw it with a correlation between
folds, in two sizes. A method that keeps its word rejects in at most 5 % of the repetitions of every
setting that it speaks of: see `SPEAKS_OF`. The last two methods are the verdict's rule without
Holm: several tests at once, the contrast's P as it is, where the verdict has it within a family of
eight tasks.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import measured
import numpy as np
import pandas as pd

from rin import stats
from rin.stats.gains import gain_components

BACKBONES, WAYS, FOLDS = 4, 6, 5  # 24 scenarios
POSITIVE, NEGATIVE = 30, 40  # test images of a fold
RATIO = 1 / 4  # test to training images: five folds, validation counted as training
EFFECT = 1.6  # of disease, in units of the SDs below
IMAGE, INIT, BACKBONE, SCENARIO = 0.7, 0.4, 0.35, 0.5  # SDs of a score's parts
TRAINING, PRETRAINING = 0.15, 0.2  # SDs of what moves it: about 2 and 3 points of AUC
CORRELATIONS = (0.0, 0.2, 0.5, 0.8)  # of training noise, between folds
ALPHA = 0.05


class Noise(NamedTuple):
    """What a setting adds."""

    training_sd: float
    pretraining_sd: float
    correlation: float


SETTINGS = {
    "none": Noise(0.0, 0.0, 0.0),
    "training": Noise(TRAINING, 0.0, 0.0),
    "training and pretraining": Noise(TRAINING, PRETRAINING, 0.0),
}
SETTINGS |= {
    f"training {sd:g}, correlation {correlation:g}": Noise(sd, 0.0, correlation)
    for sd in (TRAINING, 2 * TRAINING)
    for correlation in CORRELATIONS
    if (sd, correlation) != (TRAINING, 0.0)  # it is "training"
}
EVERYWHERE = tuple(SETTINGS)
FIXED = EVERYWHERE[:1]
ONE_PRETRAINING = tuple(name for name, noise in SETTINGS.items() if not noise.pretraining_sd)
SPEAKS_OF = {  # the settings in which a method's claim covers all that varies
    "concatenated DeLong": FIXED,
    "paired t over 24 AUCs": FIXED,
    "contrast": FIXED,
    "bootstrap by patient": FIXED,
    "Nadeau-Bengio": ONE_PRETRAINING,
    "over backbones": EVERYWHERE,
    "contrast and Nadeau-Bengio": ONE_PRETRAINING,
    "all three": EVERYWHERE,
}


def simulate(noise, rng):
    """One study without a true difference: list of five `rin.stats.Fold`, images as groups."""
    y = np.repeat([1, 0], [POSITIVE, NEGATIVE])
    n, inits = len(y), (2, BACKBONES, WAYS)
    common = rng.spawn(1)[0].normal(0, noise.training_sd, (2, 1, 1, 1))  # of all folds
    pretrained = rng.normal(0, noise.pretraining_sd, (2, BACKBONES, 1, 1))
    of_all, of_one = np.sqrt([noise.correlation, 1 - noise.correlation])
    folds = []
    for fold in range(FOLDS):
        score = rng.normal(0, IMAGE, n) + rng.normal(0, INIT, (2, 1, 1, n))
        score = score + rng.normal(0, BACKBONE, (2, BACKBONES, 1, n))
        score = score + rng.normal(0, SCENARIO, (*inits, n))
        trained = of_all * common + of_one * rng.normal(0, noise.training_sd, (2, 1, 1, 1))
        effect = EFFECT + pretrained + trained
        a, b = (score + effect * y).reshape(2, BACKBONES * WAYS, 1, n)
        names = tuple(range(BACKBONES * WAYS))
        folds.append(stats.Fold(fold, y, np.arange(n) + n * fold, names, list(a), list(b)))
    return folds


def p_values(folds, n_resamples, seed):
    """P of every method, by name."""
    gains = cell_gains(folds)
    by_scenario, by_fold = gains.mean(axis=1), gains.mean(axis=0)
    by_backbone = by_scenario.reshape(BACKBONES, WAYS).mean(axis=1)
    y = np.concatenate([np.tile(fold.y_true, len(fold.scenarios)) for fold in folds])
    a, b = (np.concatenate([np.ravel(getattr(fold, arm)) for fold in folds]) for arm in "ab")
    tests = {
        "concatenated DeLong": stats.delong_test(y, a, b),
        "paired t over 24 AUCs": stats.paired_t(by_scenario, np.zeros_like(by_scenario)),
        "contrast": stats.contrast_of(folds),
        "bootstrap by patient": stats.bootstrap_of(folds, n_resamples, seed=seed),
        "Nadeau-Bengio": stats.nadeau_bengio(by_fold, RATIO),
        "over backbones": stats.over_backbones(by_backbone),
    }
    p = {name: test.p for name, test in tests.items()}
    p["contrast and Nadeau-Bengio"] = max(p["contrast"], p["Nadeau-Bengio"])
    p["all three"] = max(p["contrast and Nadeau-Bengio"], p["over backbones"])
    return p


def cell_gains(folds):
    """`(24, 5)` differences of AUC: scenarios × folds."""
    return np.stack([gain_components(fold)[0].mean(axis=1) for fold in folds], axis=1)


def run(repetitions, n_resamples, seed, settings=EVERYWHERE):
    """Count what every method rejects in every setting.

    Args:
        repetitions: simulated studies a setting.
        n_resamples: of the bootstrap.
        seed: of the whole simulation.
        settings: names among `SETTINGS`.

    Returns:
        DataFrame `setting` (the noise added), `training_sd` and `pretraining_sd` (of that noise,
        in units of a score), `correlation` (of training noise between folds), `method`, `claimed`
        (whether it speaks of that setting), `rejections`, `repetitions`, `share`, and `low` and
        `high`, Wilson's interval.
    """
    rows = []
    for setting in settings:
        rng = np.random.default_rng([seed, list(SETTINGS).index(setting)])
        studies = (simulate(SETTINGS[setting], rng) for _ in range(repetitions))
        p = pd.DataFrame([p_values(study, n_resamples, i) for i, study in enumerate(studies)])
        rows += [count(setting, name, int((p[name] < ALPHA).sum()), repetitions) for name in p]
    return pd.DataFrame(rows)


def count(setting, method, rejections, repetitions):
    """One row of the table."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(rejections, repetitions, method="wilson")
    row = {"setting": setting, **SETTINGS[setting]._asdict()}
    row |= {"method": method, "claimed": setting in SPEAKS_OF[method]}
    row |= {"rejections": rejections, "repetitions": repetitions}
    return row | {"share": rejections / repetitions, "low": low, "high": high}


def main(arguments=None):
    """Print the table and, where a file is given, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000, help="studies a setting")
    parser.add_argument("--resamples", type=int, default=199, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="file of the table")
    args = parser.parse_args(arguments)
    found = run(args.repetitions, args.resamples, args.seed)
    found = found.assign(n_resamples=args.resamples, seed=args.seed).round(4)
    print(found.to_string(index=False))
    if args.csv:
        measured.write(found, args.csv)


if __name__ == "__main__":
    main()
