"""Golden values: a rebuilding changes no fold, no prediction and no table (see `golden.py`)."""

import json

import golden
import keras
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

KEPT = json.loads((golden.HOME / "folds.json").read_text())


@pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")
@pytest.mark.parametrize("row", golden.REAL, ids=lambda row: golden.key(*row))
def test_manifests_and_folds_of_real_images_are_those_kept(row, project_data):
    project_data(row[1])  # skips aloud without it
    assert golden.folds(*row) == KEPT[golden.key(*row)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="random weights of TensorFlow")
def test_training_on_the_kept_phantoms_gives_the_kept_predictions(tmp_path, monkeypatch):
    monkeypatch.setattr("rin.prepare.STORE_FOLDER", str(tmp_path / "store"))
    predictions, history, maps = golden.train(tmp_path)
    runs = golden.HOME / "runs"
    assert_frame_equal(
        predictions, pd.read_parquet(runs / "predictions.parquet"), rtol=0, atol=1e-6
    )
    assert_frame_equal(history, pd.read_parquet(runs / "history.parquet"), rtol=1e-6, atol=1e-6)
    with np.load(runs / "maps.npz") as kept:
        assert set(kept) == set(maps)
        for name, found in maps.items():
            step = 2e-3 * np.abs(kept[name]).max()  # maps are stored in float16
            np.testing.assert_allclose(found, kept[name], rtol=0, atol=step, err_msg=name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", golden.PAGES)
def test_pages_compute_the_kept_tables(name, tmp_path):
    found = golden.tables(name, tmp_path)
    files = {file.stem: file for file in (golden.HOME / "tables" / name).glob("*.csv")}
    assert set(found) == set(files)
    for title, file in files.items():
        expected = pd.read_csv(file, keep_default_na=False)
        assert_frame_equal(found[title], expected, rtol=1e-12, atol=0, obj=f"{name}: {title}")
