"""The manifest: its schema, one sentence a problem, and patients nobody can read back."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd
import pytest

from rin import manifest


def table(**columns):
    good = {"image": ["b/2.png", "a/1.png"], "label": ["x", "y"]}
    return pd.DataFrame(good | columns)


def problems(frame, root=None):
    with pytest.raises(manifest.ManifestError) as caught:
        manifest.validate(frame, root)
    return caught.value.problems


def test_a_manifest_is_sorted_and_completed():
    frame = manifest.validate(table(patient=["p2", "p1"], kind=["k", "l"]))
    assert list(frame.columns) == [*manifest.COLUMNS, "kind"]
    assert list(frame["image"]) == ["a/1.png", "b/2.png"]
    assert list(frame["group"]) == list(frame["patient"]) == ["p1", "p2"]
    assert frame["mask"].isna().all()


def test_a_repeated_index_and_labels_that_are_numbers_do_no_harm():
    frame = manifest.validate(table(label=[1, 0]).set_index(pd.Index([7, 7])))
    assert list(frame["label"]) == ["0", "1"] and list(frame.index) == [0, 1]


def test_the_given_frame_is_left_as_it_was():
    frame = table()
    manifest.validate(frame)
    pd.testing.assert_frame_equal(frame, table())


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"image": ["a.png", None]}, "a row without a name: image is empty"),
        ({"image": ["a.png", ""]}, "a row without a name: image is empty"),
        ({"label": ["x", None]}, "a/1.png: label is empty"),
        ({"label": ["", "y"]}, "b/2.png: label is empty"),
        ({"split_0": ["train", None]}, "a/1.png: split_0 is empty"),
        (
            {"split_0": ["train", "tset"]},
            "a/1.png: split_0 should be train, val or test (received 'tset')",
        ),
        (
            {"image": ["a.png", "a.png"]},
            "a.png: stands in the table more than once, with labels ['x', 'y']",
        ),
        (
            {"patient": ["p", "p"], "group": ["g", "h"]},
            "a/1.png: patient p stands in several groups",
        ),
    ],
)
def test_every_problem_is_one_sentence_with_its_file_name(columns, sentence):
    assert problems(table(**columns)) == [sentence]


@pytest.mark.parametrize("column", ["image", "mask"])
@pytest.mark.parametrize(
    "path", ["/etc/a.png", "../a.png", "a/../../b.png", r"..\a.png", r"C:\a.png", "C:a.png", r"\a"]
)
def test_paths_that_leave_the_root_are_refused(column, path):
    (said,) = problems(table(**{column: ["ok.png", path]}))
    assert f"{column} is not a relative path inside the root" in said


def stays_inside(path):
    """The rule as pathlib knows it, one path at a time."""
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    absolute = posix.is_absolute() or bool(windows.drive) or bool(windows.root)
    return bool(path) and not absolute and ".." not in posix.parts + windows.parts


def test_the_rule_for_whole_columns_is_that_of_pathlib():
    pieces = ["", "a", "..", "...", "a..", ".", "/", "\\", "C:", "|", "b.png"]
    cells = sorted({"".join(parts) for parts in product(pieces, repeat=4)})
    expected = [all(stays_inside(path) for path in cell.split("|")) for cell in cells]
    assert 1000 < sum(expected) < len(cells) - 1000
    assert list(manifest.inside(pd.Series(cells, dtype="string"))) == expected


def test_one_bad_mask_of_several_is_enough():
    (said,) = problems(table(mask=["a_mask.png|../b_mask.png", None]))
    assert said.startswith("b/2.png: mask is not a relative path")


def test_all_problems_come_at_once_and_long_lists_are_cut_short():
    frame = pd.DataFrame({"image": [f"{n}.png" for n in range(30)], "label": None})
    with pytest.raises(manifest.ManifestError) as caught:
        manifest.validate(frame, where="mine.csv")
    lines = str(caught.value).splitlines()
    assert lines[0] == "mine.csv: 30 problem(s)" and lines[-1].strip() == "… and 10 more"
    assert len(caught.value.problems) == 30 and len(lines) == 22


def test_missing_images_masks_and_roots_are_named(tmp_path, draw):
    draw(tmp_path / "a/1.png")
    assert problems(table(), tmp_path) == [f"b/2.png: no such file under {tmp_path}"]
    draw(tmp_path / "b/2.png")
    manifest.validate(table(), tmp_path)
    said = problems(table(mask=["m.png", "a/1.png"]), tmp_path)
    assert said == [f"b/2.png: its mask m.png does not exist under {tmp_path}"]
    assert problems(table(), tmp_path / "no") == [f"{tmp_path / 'no'}: no such folder"]


def test_a_link_to_nowhere_and_a_folder_are_no_files(tmp_path, draw):
    draw(tmp_path / "a/1.png")
    (tmp_path / "a/linked.png").symlink_to("1.png")
    (tmp_path / "a/lost.png").symlink_to("nowhere.png")
    (tmp_path / "a/folder.png").mkdir()
    frame = pd.DataFrame({"image": [f"a/{n}.png" for n in ("1", "linked", "lost", "folder")]})
    said = problems(frame.assign(label="x"), tmp_path)
    assert [text.split(":")[0] for text in said] == ["a/folder.png", "a/lost.png"]


def test_slices_and_regions_lie_in_their_file_and_other_spellings_are_asked_for(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/v.npy", "a/12.xml", "a/x#1.png"):
        (tmp_path / name).touch()
    there = ["a/v.npy#12", "a/12.xml#1.0", "a/x#1.png", "./a/v.npy", "a//v.npy#3", "a/./12.xml"]
    manifest.validate(pd.DataFrame({"image": there, "label": "x"}), tmp_path)
    (said,) = problems(pd.DataFrame({"image": ["a/x#2.png"], "label": "x"}), tmp_path)
    assert said == f"a/x#2.png: no such file under {tmp_path}"


def test_a_folder_is_listed_once_and_its_files_are_not_asked_for(tmp_path, monkeypatch):
    names = [f"{folder}/{n}.png" for folder in ("a", "b/c") for n in range(50)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    monkeypatch.setattr(Path, "is_file", lambda path: pytest.fail(f"{path} was asked for"))
    frame = pd.DataFrame({"image": names, "label": "x", "mask": names[::-1]})
    manifest.validate(frame, tmp_path)
    assert listed == [tmp_path / "a", tmp_path / "b/c"]


def test_files_of_a_folder_that_may_not_be_listed_are_asked_one_by_one(tmp_path, draw, monkeypatch):
    draw(tmp_path / "a/1.png")
    monkeypatch.setattr(os, "scandir", lambda path: Path(path, "not allowed").read_text())
    assert problems(table(), tmp_path) == [f"b/2.png: no such file under {tmp_path}"]


def test_a_long_look_for_files_shows_its_progress(tmp_path, draw, monkeypatch, capsys):
    for name in table()["image"]:
        draw(tmp_path / name)
    manifest.validate(table(), tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(manifest, "MANY", 2)
    manifest.validate(table(), tmp_path)
    assert "Files: 100%" in capsys.readouterr().err


def test_tables_that_are_none_are_refused():
    with pytest.raises(TypeError, match="`frame` should be a DataFrame"):
        manifest.validate([("a.png", "x")])
    assert problems(pd.DataFrame({"image": ["a"]})) == ["column 'label' is missing"]
    assert problems(table().iloc[:0]) == ["no image was found"]


def test_helpers_read_columns_and_cells():
    frame = table(split_10=["train"] * 2, split_2=["val"] * 2, split_seed=[1, 2])
    assert manifest.split_columns(frame) == ["split_2", "split_10"]
    assert manifest.classes(frame) == ["x", "y"]
    assert manifest.masks("a|b") == ["a", "b"] and manifest.masks(pd.NA) == []


def test_patients_get_running_numbers_whatever_the_order():
    assert list(manifest.number_patients(["z", None, "a", "z"]).fillna("")) == [
        "p0002",
        "",
        "p0001",
        "p0002",
    ]


def test_keyed_hashes_repeat_with_the_key_and_differ_with_another(tmp_path):
    ids = ["MRN1", "MRN2", None, "MRN1"]
    first = manifest.hash_patients(ids, tmp_path / "a" / "key")
    again = manifest.hash_patients(ids, tmp_path / "a" / "key")
    other = manifest.hash_patients(ids, tmp_path / "b" / "key")
    assert first.equals(again) and first[0] == first[3] != first[1]
    assert pd.isna(first[2])
    assert first.dropna().str.fullmatch("[0-9a-f]{16}").all()
    assert set(first.dropna()).isdisjoint(other.dropna())


def test_the_key_is_for_its_owner_alone_and_kept_under_data(tmp_path, monkeypatch):
    (tmp_path / "rin").mkdir()
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path)
    manifest.hash_patients(["MRN1"])
    key = tmp_path / "data" / "patient.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [p.name for p in key.parent.iterdir()] == ["patient.key"]


def test_a_short_key_is_refused(tmp_path):
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(ValueError, match="key: expected a key of at least 32 bytes, got 5"):
        manifest.hash_patients(["MRN1"], tmp_path / "key")


def test_many_at_once_agree_on_one_key(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda _: manifest.hash_patients(["a"], tmp_path / "key")[0], range(64))
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    "written, same",
    [
        (["P1", "P1 ", "\tP1", "P1\u00a0"], "P1"),
        ([3, 3.0, "3", "3.0", " 3.00 "], "3"),
        (["Zo\u00e9", "Zoe\u0301"], "Zo\u00e9"),
        (["03"], "03"),
        (["03.0"], "03.0"),  # nothing reads 03 as a float and writes it so
        (["3.5"], "3.5"),
        (["1.3.0.1"], "1.3.0.1"),
        (["-4.0"], "-4"),
        (["a b"], "a b"),
    ],
)
def test_one_identifier_has_one_form(written, same):
    assert set(manifest.identifiers(written)) == {same}
    assert manifest.number_patients([*written, "zz"]).nunique() == 2


def test_identifiers_keep_index_and_gaps_and_other_identifiers_apart():
    found = manifest.identifiers(pd.Series([3.0, None, 4.0], index=[5, 6, 7]))
    assert found.dropna().to_dict() == {5: "3", 7: "4"} and pd.isna(found[6])
    assert manifest.identifiers(["", "  ", None]).isna().all()
    assert manifest.identifiers(["3", "03", "3.5", "P3", "p3"]).nunique() == 5


def test_hashed_patients_are_hashed_in_one_form(tmp_path):
    found = manifest.hash_patients(["P1", "P1 ", 3, 3.0, "03"], tmp_path / "key")
    assert found.nunique() == 3


def test_a_manifest_made_by_hand_has_its_identifiers_in_one_form():
    frame = pd.DataFrame({"image": list("abcd"), "label": "x", "patient": ["P1", "P1 ", 3, 3.0]})
    made = manifest.validate(frame)
    assert list(made["patient"]) == list(made["group"]) == ["P1", "P1", "3", "3"]
    with pytest.raises(manifest.ManifestError, match="patient P1 stands in several groups"):
        manifest.validate(frame.assign(group=list("ghij")))


COMPOSED, APART = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("listed, lies", [(COMPOSED, APART), (APART, COMPOSED), (APART, APART)])
def test_a_name_of_another_unicode_form_finds_its_file(tmp_path, listed, lies):
    (tmp_path / lies).mkdir()
    for name in (f"{lies}.png", f"{lies}_m.png", "m2.png"):
        (tmp_path / lies / name).touch()
    row = {"image": f"{listed}/{listed}.png", "label": "x"}
    row["mask"] = f"{listed}/{listed}_m.png|{listed}/m2.png"
    made = manifest.validate(pd.DataFrame([row]), tmp_path)
    assert made["image"].to_list() == [f"{lies}/{lies}.png"]
    assert made["mask"].to_list() == [f"{lies}/{lies}_m.png|{lies}/m2.png"]


def test_a_file_listed_in_both_unicode_forms_stands_twice(tmp_path):
    (tmp_path / f"{APART}.png").touch()
    frame = pd.DataFrame({"image": [f"{APART}.png", f"{COMPOSED}.png"], "label": "x"})
    with pytest.raises(manifest.ManifestError, match="more than once"):
        manifest.validate(frame, tmp_path)
    (tmp_path / f"{COMPOSED}.png").touch()
    assert len(manifest.validate(frame, tmp_path)) == 2
    with pytest.raises(manifest.ManifestError, match="no such file"):
        manifest.validate(frame.assign(image=[f"{COMPOSED}x.png", f"{APART}y.png"]), tmp_path)
