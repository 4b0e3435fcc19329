"""Kept: the maps belong to the kept scores, and kept weights build the same network again."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny import SETTINGS, SIZE, make_data, make_run

from rin import backbones, kept, records, training
from rin.gradcam import choices, closed_form
from rin.runs import train_all

KEEPING = replace(SETTINGS, keep_weights=True)


def again(folder, data):
    """(class maps, scores) of a run's test images, from its kept weights."""
    network, run = kept.load(folder), records.read(folder)["run"]
    _, rows = choices.load(folder)
    images = backbones.preprocess(data.images[rows][..., None], run["preprocess"], run["backbone"])
    return closed_form.with_maps(network).predict(images, verbose=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Head and top10 runs of one bank, and a whole network: (folders, data)."""
    data, home = make_data(), tmp_path_factory.mktemp("kept")
    runs = [
        make_run(trainable=free, rate=rate)
        for free, rate in (("head", 1e-2), ("head", 1e-3), ("top10", 1e-3), ("all", 1e-4))
    ]
    return train_all(runs, data, KEEPING, home), data


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kept_weights_give_the_kept_scores_and_maps_again(trained):
    folders, data = trained
    for folder in folders:
        table = pd.read_parquet(folder / "predictions.parquet")
        test = table[table["split"] == "test"]
        maps, rows = choices.load(folder)
        assert list(rows) == list(test["row"])
        found, scores = again(folder, data)
        assert np.allclose(scores[:, 1], test["y_score"], atol=1e-5)
        assert np.allclose(found, maps, atol=2e-3 * np.abs(maps).max())  # float16 has three digits
        assert found.shape == (len(test), 1, 1, 2)


@pytest.mark.slow
def test_a_flat_heads_maps_come_again_from_its_kept_weights(tmp_path):
    data = make_data(size=64)
    (folder,) = train_all([replace(make_run(), classifier="flatten")], data, KEEPING, tmp_path)
    maps, rows = choices.load(folder)
    found, scores = again(folder, data)
    assert found.shape == (len(rows), 2, 2, 2)
    assert np.allclose(found, maps, atol=2e-3 * np.abs(maps).max())
    table = pd.read_parquet(folder / "predictions.parquet")
    test = table[table["split"] == "test"]
    assert np.allclose(scores[:, 1], test["y_score"], atol=1e-5)


@pytest.mark.slow
def test_each_run_keeps_what_it_trained_and_no_more(trained):
    folders, _ = trained
    counts = {}
    for folder in folders:
        with np.load(folder / kept.FILE) as held:
            parts = [held[name].size for name in held.files if name.isdigit()]
        counts[records.read(folder)["run"]["trainable"]] = sum(parts)
    assert counts["head"] == 2 * 2048 + 2
    assert counts["head"] < counts["top10"] < counts["all"]


def test_heads_without_a_top10_beside_them_leave_the_same_maps(trained, tmp_path):
    folders, data = trained
    (alone,) = train_all([make_run()], data, SETTINGS, tmp_path)
    maps, rows = choices.load(alone)
    expected, same = choices.load(folders[0])
    assert (rows == same).all()
    assert np.allclose(maps, expected, atol=2e-3 * np.abs(expected).max())


def test_a_run_trained_by_itself_leaves_the_maps_of_the_bank(trained, tmp_path):
    folders, data = trained
    (alone,) = train_all([make_run()], data, replace(SETTINGS, bank_gib=0.0), tmp_path)
    maps, expected = choices.load(alone)[0], choices.load(folders[0])[0]
    assert np.allclose(maps, expected, atol=2e-3 * np.abs(expected).max())


def test_a_bank_in_chunks_leaves_the_same_maps(trained, tmp_path):
    folders, data = trained
    budget = replace(SETTINGS, bank_gib=10.5 * 2048 * 4 / 2**30)  # ten images of 24
    (home,) = train_all([make_run()], data, budget, tmp_path)
    assert records.read(home)["result"]["bank"] == "streamed"
    maps, expected = choices.load(home)[0], choices.load(folders[0])[0]
    assert np.allclose(maps, expected, atol=2e-3 * np.abs(expected).max())


def test_weights_are_kept_only_where_asked_and_old_ones_do_not_outlive_their_run(tmp_path):
    data, run = make_data(), make_run()
    (home,) = train_all([run], data, KEEPING, tmp_path)
    assert (home / kept.FILE).is_file()
    train_all([run], data, SETTINGS, tmp_path)
    assert not (home / kept.FILE).exists() and (home / choices.FILE).is_file()
    kept.save(home, None, SIZE)
    assert not (home / choices.FILE).exists(), "a diverged run has no maps"


def test_random_weights_that_come_out_otherwise_are_refused(trained, monkeypatch):
    folders, _ = trained
    seed = kept.keras.utils.set_random_seed
    monkeypatch.setattr(kept.keras.utils, "set_random_seed", lambda s: seed(s + 1))
    with pytest.raises(kept.KeptError, match="started from random weights on tensorflow"):
        kept.load(folders[0])


def unnamed(home):
    """Make a run one of before objectives were named."""
    record = records.read(home)
    del record["settings"]["objective"]
    records.write(home, record)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "record.json").unlink(), "no finished training run"),
        (lambda f: (f / kept.FILE).unlink(), "keep_weights: true"),
        (lambda f: unnamed(f), "this run is without a record of the objective"),
    ],
)
def test_what_can_not_be_built_again_is_one_clear_error(spoil, said, tmp_path):
    training.deterministic()
    (home,) = train_all([make_run()], make_data(), KEEPING, tmp_path)
    spoil(home)
    with pytest.raises(kept.KeptError, match=said):
        kept.load(home)
