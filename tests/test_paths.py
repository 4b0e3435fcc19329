"""Paths: the root from anywhere in the project, and files that appear whole or not at all."""

import os
import stat

import pytest

from rin import paths


@pytest.fixture
def project(tmp_path):
    (tmp_path / "rin").mkdir()
    (tmp_path / "book" / "tasks").mkdir(parents=True)
    (tmp_path / "_toc.yml").touch()
    return tmp_path


@pytest.mark.parametrize("folder", ["", "book", "book/tasks"])
def test_the_root_is_found_from_every_folder_of_the_project(project, folder, monkeypatch):
    monkeypatch.chdir(project / folder)
    assert paths.root() == project


def test_the_root_is_the_checkout_when_the_caller_stands_elsewhere(project, monkeypatch, tmp_path):
    outside = tmp_path.parent
    monkeypatch.chdir(outside)
    monkeypatch.setattr(paths, "__file__", str(project / "rin" / "paths.py"))
    assert paths.root() == project


def test_no_project_is_an_error_that_says_what_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "rin" / "paths.py"))
    with pytest.raises(FileNotFoundError, match="expected a folder with _toc.yml and rin/"):
        paths.root()


def test_relative_paths_start_at_the_root_and_absolute_ones_stay(project, monkeypatch):
    monkeypatch.chdir(project / "book")
    monkeypatch.setenv("HOME", "/somewhere")
    assert paths.resolve("data/busi") == project / "data" / "busi"
    assert paths.resolve("/data/busi").as_posix() == "/data/busi"
    assert paths.resolve("~/busi").as_posix() == "/somewhere/busi"


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "new" / "table.csv"
    for text in ("old", "new"):
        with paths.replacing(target) as file:
            assert file.suffix == ".csv"
            file.write_text(text)
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["table.csv"]


def test_an_error_while_writing_leaves_the_old_file_alone(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), paths.replacing(target) as file:
        file.write_text("ne")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_two_that_write_one_file_at_a_time_do_not_share_their_work(tmp_path):
    target = tmp_path / "table.csv"
    with paths.replacing(target) as first, paths.replacing(target) as second:
        first.write_text("first")
        second.write_text("second")
        assert first.read_text() == "first"
    assert target.read_text() == "first"  # whole, of the one that ended last


def test_a_new_file_has_the_mode_the_user_asks_for(tmp_path):
    before = os.umask(0o027)
    try:
        with paths.replacing(tmp_path / "file") as file:
            file.write_text("text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_what_a_kill_left_half_written_is_removed_and_nothing_else(tmp_path):
    for name in ("table.parquet", ".lock", ".checkpoint-1234.npz"):
        (tmp_path / name).touch()
    with paths.replacing(tmp_path / "table.parquet") as work:
        work.touch()
    work.touch()  # as if the process had died before the end
    paths.tidy(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"table.parquet", ".lock", ".checkpoint-1234.npz"}
