"""The null simulation: no true difference, the book's own functions, counts that repeat."""

import numpy as np
import pandas as pd
import pytest
from test_benchmarks import module

from rin import stats

null = module("null_simulation")
QUIET = null.Noise(0, 0, 0)


@pytest.fixture(scope="module")
def studies():
    """Two hundred studies without added noise."""
    rng = np.random.default_rng(0)
    return [null.simulate(QUIET, rng) for _ in range(200)]


def test_a_study_has_the_shape_it_says(studies):
    folds = studies[0]
    assert len(folds) == 5 and len(set(np.concatenate([fold.group for fold in folds]))) == 350
    for fold in folds:
        assert (len(fold.a), len(fold.b), len(fold.scenarios)) == (24, 24, 24)
        assert fold.a[0].shape == (1, 70) and fold.y_true.sum() == 30


def test_neither_init_is_better_on_average(studies):
    gains = np.array([stats.contrast_of(folds).difference for folds in studies])
    assert abs(gains.mean()) < 3 * gains.std() / np.sqrt(len(gains))
    noisy = [null.simulate(null.Noise(0.5, 0.5, 0), np.random.default_rng(i)) for i in range(100)]
    wide = np.array([stats.contrast_of(folds).difference for folds in noisy])
    assert abs(wide.mean()) < 3 * wide.std() / np.sqrt(len(wide)) and wide.std() > gains.std()


def test_training_noise_correlates_between_folds_as_told():
    found = {}
    for correlation in (0.0, 0.8):
        noise = null.Noise(0.5, 0, correlation)
        rngs = [np.random.default_rng(i) for i in range(100)]
        gains = np.array([null.cell_gains(null.simulate(noise, rng)).mean(axis=0) for rng in rngs])
        pairs = np.corrcoef(gains.T)[np.triu_indices(5, 1)]
        found[correlation] = pairs.mean(), gains.std()
    assert abs(found[0.0][0]) < 0.1 and 0.6 < found[0.8][0] < 0.9
    assert found[0.0][1] == pytest.approx(found[0.8][1], rel=0.15)  # the same noise in each fold


def test_a_correlation_leaves_the_other_settings_draws_as_they_were():
    one, other = (null.simulate(null.Noise(0, 0, r), np.random.default_rng(0)) for r in (0, 0.5))
    assert all(np.array_equal(x.a, y.a) for x, y in zip(one, other, strict=True))


def test_the_contrasts_variance_is_what_studies_vary_by(studies):
    found = [stats.contrast_of(folds) for folds in studies]
    spread = np.var([one.difference for one in found], ddof=1)
    assert np.mean([one.variance for one in found]) == pytest.approx(spread, rel=0.3)


def test_every_method_reads_the_same_gains(studies):
    folds = studies[1]
    gains = null.cell_gains(folds)
    assert gains.shape == (24, 5)
    assert gains.mean() == pytest.approx(stats.contrast_of(folds).difference, abs=1e-12)


def test_the_table_counts_every_method_in_every_setting():
    table = null.run(3, 19, seed=0)
    assert len(table) == len(null.SETTINGS) * len(null.SPEAKS_OF)
    assert list(table["method"].unique()) == list(null.SPEAKS_OF)
    assert table["rejections"].between(0, 3).all() and (table["repetitions"] == 3).all()
    assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()
    wide = table.pivot(index="setting", columns="method", values="rejections")
    assert (wide["all three"] <= wide["contrast and Nadeau-Bengio"]).all()
    assert (wide["contrast and Nadeau-Bengio"] <= wide["contrast"]).all()


def test_a_seed_repeats_the_simulation_whatever_else_is_run():
    one = null.run(2, 19, seed=3, settings=["training"])
    both = null.run(2, 19, seed=3, settings=["none", "training"])
    again = both[both["setting"] == "training"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, again)


def test_the_command_keeps_what_it_prints(tmp_path, capsys):
    file = tmp_path / "null_simulation.csv"
    null.main(["--repetitions", "2", "--resamples", "9", "--csv", str(file)])
    table = pd.read_csv(file)
    assert {"setting", "method", "rejections", "repetitions", "share", "low", "high"} <= set(table)
    assert "contrast and Nadeau-Bengio" in capsys.readouterr().out


def test_the_kept_table_is_of_these_settings_and_methods():
    kept = pd.read_csv(null.Path(null.__file__).parents[1] / "results/null_simulation.csv")
    assert list(kept["setting"].unique()) == list(null.SETTINGS)
    assert list(kept["method"].unique()) == list(null.SPEAKS_OF)
    assert (kept["repetitions"] >= 400).all()
    noise = kept.drop_duplicates("setting").set_index("setting")[list(null.Noise._fields)]
    assert {name: tuple(row) for name, row in noise.iterrows()} == null.SETTINGS
