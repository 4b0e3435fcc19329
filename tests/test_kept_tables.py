"""Kept tables: several in one folder, all written before one is replaced."""

import math

import pandas as pd
import pytest

from rin import kept_tables, paths

A, B = pd.DataFrame({"x": [1, 2]}), pd.DataFrame({"y": [0.123456789]})


def test_tables_come_back_in_the_order_asked_for(tmp_path):
    kept_tables.write({"a.parquet": A, "b.csv": B}, tmp_path / "new")
    b, a = kept_tables.read(tmp_path / "new", ["b.csv", "a.parquet"])
    assert a.equals(A) and b["y"].tolist() == [0.123457]
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["a.parquet", "b.csv"]


def test_if_one_can_not_be_written_all_stay_as_they_were(tmp_path):
    kept_tables.write({"a.parquet": A, "b.csv": B}, tmp_path)
    broken = pd.DataFrame({"x": [object()]})
    with pytest.raises(Exception, match="object"):
        kept_tables.write({"b.csv": A, "a.parquet": broken}, tmp_path)
    a, b = kept_tables.read(tmp_path, ["a.parquet", "b.csv"])
    assert a.equals(A) and list(b) == ["y"] and len(list(tmp_path.iterdir())) == 2


def test_a_table_that_is_not_there_is_named_with_what_makes_it(tmp_path):
    kept_tables.write({"a.csv": A}, tmp_path)
    with pytest.raises(KeyError, match=r"no b\.csv; the benchmark writes these tables"):
        kept_tables.read(tmp_path, ["a.csv", "b.csv"], KeyError, "the benchmark")


def test_keys_and_counts_keep_every_digit_and_measures_six(tmp_path):
    frame = pd.DataFrame({"learning_rate": [1 / 3000, 1e-4, None], "n": [23538690.0, None, 90.0]})
    frame["x"] = [123456.789, 1e-9, math.inf]
    kept_tables.write({"a.csv": frame}, tmp_path)
    lines = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert lines == ["0.0003333333333333333,23538690,123457", "0.0001,,1e-09", ",90,inf"]
    (again,) = kept_tables.read(tmp_path, ["a.csv"])
    assert again["learning_rate"][0] == 1 / 3000 and again["n"][0] == 23538690


@pytest.mark.parametrize("folder", ["pretraining", "pediatric"])
def test_kept_results_are_written_again_as_they_are(folder, tmp_path):
    home = paths.resolve("results") / folder
    names = [file.name for file in home.glob("*.csv")]
    frames = kept_tables.read(home, names)
    kept_tables.write(dict(zip(names, frames, strict=True)), tmp_path)
    assert names and all(
        (tmp_path / name).read_bytes() == (home / name).read_bytes() for name in names
    )


def test_folders_are_from_the_projects_root_in_writing_as_in_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "root", lambda: tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    kept_tables.write({"a.csv": A}, "kept")
    assert (tmp_path / "project" / "kept" / "a.csv").is_file()
    assert kept_tables.read("kept", ["a.csv"])[0].equals(A)
