"""Kept tables: several in one folder, whole or not at all."""

import pandas as pd
import pytest

from rin import kept_tables

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
