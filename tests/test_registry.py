"""The registry: every task has a whole card, and what was found is compared with it."""

import re
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

from rin import audit, datasets, published
from rin.datasets import layout, registry

ROOT = Path(__file__).resolve().parents[1]
CARDS = registry.cards()
NOT_SHOWN = {
    "acl", "covid19", "hemorrhage", "meniscus", "pneumonia", "radimagenet", "sarscov2",
}  # fmt: skip
KNOWN = [name for name, card in CARDS.items() if card.expected is not None]


def rows(table, column):
    """A column by row; None where it is not known."""
    values = [None if pd.isna(value) else value for value in table[column]]
    return dict(zip(table["what"], values, strict=True))


def manifest(labels, patients=pd.NA, modality="US"):
    """A manifest of images without files."""
    names = [f"{n}.png" for n in range(len(labels))]
    return pd.DataFrame(
        {"image": names, "label": labels, "patient": patients, "modality": modality}
    )


# the cards


def test_every_task_has_a_card_and_every_card_a_task():
    assert set(CARDS) == set(datasets.TASKS)
    for name, row in datasets.TASKS.items():
        card = row.card
        assert card.name == name and row.title == card.title and row.source == card.source
        assert row.published is card.published and row.show_images is card.show_images


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_something_in_every_field(name):
    card = CARDS[name]
    for field in fields(card):
        value = getattr(card, field.name)
        optional = field.name in ("citation", "cited_as", "expected")
        assert isinstance(value, bool) or value or optional, field.name
    assert set(card.layout) == {"download", "official"}
    assert set(card.patient) == {"unit", "known", "text"}
    assert list(card.card) == ["motivation", "composition", "collection", "problems"]
    assert card.card["problems"] and all(isinstance(p, str) for p in card.card["problems"])
    assert (card.expected is None) == (card.citation is None) == (name in ("folder", "csv"))


def test_every_citation_is_in_the_references():
    keys = set(re.findall(r"@\w+\{(\w+),", (ROOT / "book/references.bib").read_text()))
    for card in CARDS.values():
        assert card.citation is None or card.citation in keys, card.name
        assert card.citation is None or card.citation[-4:] == card.cited_as[-4:], card.name


@pytest.mark.parametrize("name", KNOWN)
def test_the_counts_of_classes_add_up_and_bear_the_names_of_the_task(name):
    card, names = CARDS[name], datasets.task(name).classes
    for counts in (card.expected["download"], card.expected["published"]):
        classes = (counts or {}).get("classes")
        if isinstance(classes, dict):
            assert sum(classes.values()) == counts["images"]
            assert sorted(classes) == sorted(names)


def test_the_published_counts_are_those_of_the_paper():
    tasks = published.tasks().set_index("task")
    assert {name for name, card in CARDS.items() if card.published} == set(tasks.index)
    for name, row in tasks.iterrows():
        negative, positive = datasets.task(name).classes
        counts = CARDS[name].expected["published"]["classes"]
        assert counts == {negative: row.n_negative, positive: row.n_positive}
        assert CARDS[name].modality == row.modality


def test_the_study_used_no_more_than_the_download_holds():
    for card in (CARDS[name] for name in KNOWN):
        whole, used = card.expected["download"] or {}, card.expected["published"] or {}
        if isinstance(whole.get("classes"), dict) and used:
            assert all(used["classes"][name] <= n for name, n in whole["classes"].items())


def test_the_modalities_of_radimagenet_add_up_to_the_database():
    counts = CARDS["radimagenet"].expected["download"]
    assert sum(counts["modalities"].values()) == counts["images"] == 1_354_913
    table = published.database()
    assert counts["modalities"] == table.groupby("modality").images.sum().to_dict()
    assert counts["classes"] == table.classes.sum()


def test_images_of_restricted_datasets_may_not_be_shown():
    assert {name for name, row in datasets.TASKS.items() if not row.show_images} == NOT_SHOWN


def test_a_card_with_an_unknown_or_a_missing_key_is_refused(monkeypatch):
    entry = {field.name: getattr(CARDS["breast"], field.name) for field in fields(registry.Card)}
    registry.Card(**entry)
    with pytest.raises(TypeError, match="licence"):
        registry.Card(**entry, licence="no such key")
    del entry["terms"]
    with pytest.raises(TypeError, match="terms"):
        registry.Card(**entry)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_reads_as_markdown_and_names_no_image(name):
    text = registry.prose(CARDS[name])
    assert text.count("```") % 2 == 0 and ": None" not in text and "None." not in text
    assert not re.search(r"^#", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M)
    assert not re.search(r"\(\d+\)\.png|person\d", text)  # what no page may show
    shown = "may be shown" if CARDS[name].show_images else "are not shown"
    assert f"Its images {shown} on these pages." in text


# what was found


def test_counts_that_agree_and_counts_that_do_not():
    labels = ["benign"] * 61 + ["malignant"] * 287
    table = registry.compare(manifest(labels, patients="p1"), CARDS["thyroid"])
    assert list(table) == ["what", "found", "expected", "published", "agrees"]
    assert rows(table, "found") == {
        "images": 348, "class: benign": 61, "class: malignant": 287, "cases": 1
    }  # fmt: skip
    assert rows(table, "published")["class: malignant"] == 288
    # the size of the download is not known, so only equality with the study can be told
    assert rows(table, "agrees") == {
        "images": "n/a", "class: benign": "yes", "class: malignant": "n/a", "cases": "n/a"
    }  # fmt: skip


def test_a_class_that_is_missing_or_does_not_belong_disagrees():
    table = registry.compare(manifest(["benign"] * 570 + ["cyst"]), CARDS["breast"])
    assert rows(table, "found")["class: malignant"] == 0
    assert rows(table, "expected")["class: cyst"] == 0
    agrees = rows(table, "agrees")
    assert agrees["class: benign"] == "yes"
    assert agrees["images"] == agrees["class: malignant"] == agrees["class: cyst"] == "no"


def test_the_images_of_the_study_agree_as_the_whole_download_does():
    for n_negative in (644_870, 465_671):
        labels = ["no hemorrhage"] * n_negative + ["hemorrhage"] * 107_933
        table = registry.compare(manifest(labels), CARDS["hemorrhage"])
        assert set(rows(table, "agrees").values()) == {"yes", "n/a"}
    labels.pop()
    table = registry.compare(manifest(labels), CARDS["hemorrhage"])
    assert rows(table, "agrees")["class: hemorrhage"] == "no"


def test_what_a_reader_left_out_is_counted():
    frame = manifest(["benign", "malignant"])
    frame.attrs["excluded"] = {"no TI-RADS": {"n": 3, "examples": ["1.jpg"]}}
    table = registry.compare(frame, CARDS["thyroid"])
    assert rows(table, "found")["left out: no TI-RADS"] == 3
    assert rows(table, "agrees")["left out: no TI-RADS"] == "n/a"


def test_a_database_of_many_classes_is_counted_by_modality():
    frame = manifest([f"{n}" for n in range(20)], modality=["CT"] * 5 + ["MR"] * 15)
    assert rows(registry.compare(frame, CARDS["folder"]), "found") == {
        "images": 20, "modality: CT": 5, "modality: MR": 15, "classes": 20, "patients": None
    }  # fmt: skip
    table = registry.compare(frame, CARDS["radimagenet"])
    assert rows(table, "expected")["classes"] == 165
    assert rows(table, "agrees")["modality: CT"] == "no"


def test_classes_that_the_release_does_not_have_are_counted():
    names = list(published.classes()["label"])
    frame = manifest([*names, "CT/lung/of_our_own"], modality="CT")
    table = registry.compare(frame, CARDS["radimagenet"])
    assert rows(table, "found")["unknown classes"] == 1
    assert rows(table, "agrees")["unknown classes"] == rows(table, "agrees")["classes"] == "no"
    table = registry.compare(frame.iloc[:-1], CARDS["radimagenet"])
    assert rows(table, "agrees")["unknown classes"] == rows(table, "agrees")["classes"] == "yes"


# check


def test_phantoms_have_nothing_to_compare_with(breast_root, capsys):
    table = datasets.check("breast", breast_root)
    assert list(table) == ["what", "found"]
    assert rows(table, "found")["images"] == 60
    printed = capsys.readouterr().out
    assert "nothing to compare with" in printed and "780" not in printed
    assert str(breast_root) not in printed


def test_own_images_are_counted_only(breast_root, capsys):
    table = datasets.check("folder", breast_root / "Dataset_BUSI_with_GT")
    assert list(table) == ["what", "found"] and "class: normal" in set(table["what"])


def test_the_real_busi_agrees(project_data, capsys):
    table = datasets.check("breast", project_data("busi"))
    assert rows(table, "found")["class: benign"] == 570
    assert rows(table, "found")["class: malignant"] == 210
    assert [a for what, a in rows(table, "agrees").items() if a != "n/a"] == ["yes"] * 3
    assert rows(table, "found")[datasets.EMPTY_MASKS] == 133  # of the normal images
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"class: malignant +210 +210 +210 +yes", lines[4])
    assert max(map(len, lines)) <= 100


def test_a_folder_laid_out_as_radimagenet_is_not_taken_for_it(project_data, capsys):
    table = datasets.check("radimagenet", project_data("mini_radimagenet"))
    assert rows(table, "found")["classes"] == 9 and rows(table, "agrees")["classes"] == "no"
    assert rows(table, "found")["patients"] is None
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_a_part_of_the_real_kermany_does_not_agree(project_data, capsys):
    table = datasets.check("pediatric", project_data("kermany"))
    assert rows(table, "agrees")["images"] == rows(table, "agrees")["class: normal"] == "no"
    assert "5,856" in capsys.readouterr().out


# reading, cleaned or not


@pytest.fixture
def conflict(tmp_path, draw):
    """Three images a class; one cat is also a dog; the patient stands in the name."""
    for n in range(3):
        draw(tmp_path / f"cat/p{n}_a.png", seed=n)
        draw(tmp_path / f"dog/p{n + 3}_a.png", seed=n + 3)
    draw(tmp_path / "dog/p9_a.png", seed=0)
    return tmp_path


def test_clean_leaves_out_both_sides_of_a_label_conflict_and_counts_them(conflict):
    frame = datasets.read("folder", conflict, clean=True)
    assert len(frame) == 5 and frame["group"].nunique() == 5
    left = frame.attrs["excluded"][audit.CONFLICT]
    assert left == {"n": 2, "examples": ["cat/p0_a.png", "dog/p9_a.png"]}
    assert len(datasets.read("folder", conflict)) == 7


def test_clean_looks_for_duplicates_even_where_there_are_patients(conflict):
    frame = datasets.read("folder", conflict, clean=True, patient=r"(p\d)_")
    assert len(frame) == 5 and frame["patient"].notna().all()
    kept = datasets.read("folder", conflict, clean=True, patient=r"(p\d)_", duplicates=False)
    assert len(kept) == 5 and kept["group"].equals(kept["patient"])


def test_what_the_reader_and_what_clean_left_out_are_both_kept(conflict, monkeypatch):
    def scan(root):
        frame = datasets.folder.scan(root)
        return layout.with_excluded(frame, {"too dark": ["x.png"]})

    row = datasets.Task("folder", None, "5-fold", "large", scan)
    monkeypatch.setitem(datasets.TASKS, "folder", row)
    frame = datasets.read("folder", conflict, clean=True)
    assert {why: left["n"] for why, left in frame.attrs["excluded"].items()} == {
        "too dark": 1,
        audit.CONFLICT: 2,
    }


def test_a_task_may_say_that_duplicates_are_not_looked_for(conflict, monkeypatch):
    row = datasets.Task("folder", None, "5-fold", "large", datasets.folder.scan, False)
    monkeypatch.setitem(datasets.TASKS, "folder", row)
    assert datasets.read("folder", conflict)["group"].isna().all()
    assert datasets.read("folder", conflict, duplicates=True)["group"].nunique() == 6
    assert not datasets.task("radimagenet").group_duplicates


def test_real_busi_is_cleaned_of_its_conflicts(project_data, busi_pairs):
    frame = datasets.read("breast", project_data("busi"), clean=True)
    conflicts = busi_pairs[busi_pairs["label_a"] != busi_pairs["label_b"]]
    names = {*conflicts["image_a"], *conflicts["image_b"]}
    assert len(frame) == 780 - len(names) < 780
    assert frame.attrs["excluded"][audit.CONFLICT]["n"] == len(names)
    again = audit.duplicates(frame, project_data("busi"))
    assert (again["label_a"] == again["label_b"]).all()
