"""Checklists and cards: whole, honest about gaps, and every link leads to a place in the book."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from rin import checklists, published, reference_pages
from rin.checklists import Item
from rin.datasets import registry

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("checklists.md", "cards.md", "cite.md")


def page(name):
    return (ROOT / "book" / name).read_text(encoding="utf-8")


def numbers(checklist, which="number"):
    return [getattr(item, which) for item in checklists.items(checklist)]


# the items


def test_claim_has_all_44_items_of_2024_in_order_and_all_42_of_2020_once():
    assert [n for n in numbers("claim") if n] == [str(n) for n in range(1, 45)]
    before = sorted(int(n) for n in numbers("claim", "before") if n)
    assert before == list(range(1, 43))


def test_tripod_ai_has_its_27_items_with_their_parts():
    parts = {
        3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef",
        20: "abc", 23: "ab", 27: "abc",
    }  # fmt: skip
    expected = [f"{n}{part}" for n in range(1, 28) for part in parts.get(n, [""])]
    assert numbers("tripod_ai") == expected and len(expected) == 52


def test_mi_claim_has_its_parts_and_no_numbers():
    found = checklists.items("mi_claim")
    assert set(numbers("mi_claim")) == {""}
    sizes = pd.Series([item.section.split(":")[0] for item in found]).value_counts(sort=False)
    assert sizes.to_dict() == {
        "Part 1": 5, "Parts 2 and 3": 5, "Part 4": 3, "Part 5": 5, "Part 6": 1
    }  # fmt: skip


def test_every_link_of_the_checklists_leads_to_a_page_and_a_section_of_the_book():
    assert checklists.missing(ROOT) == []


def test_a_page_a_title_or_a_section_that_is_not_there_is_named(tmp_path):
    (tmp_path / "book").mkdir()
    for file, title in checklists.pages().items():
        if file.endswith(".md"):
            (tmp_path / "book" / file).write_text(f"# {title}\n\n## Terms\n")
    (tmp_path / "book/cite.md").write_text("# Another title\n\n```bash\n## Software\n```\n")
    lost = checklists.missing(tmp_path)
    assert "cite.md: expected the title 'How to cite', found ['Another title']" in lost
    assert "cite.md: no section 'Software'" in lost  # it stands in a code block
    assert "intro.md: no section 'What the study claimed'" in lost
    assert "intro.md: no section 'Terms'" not in lost
    assert "16_verdict.ipynb: expected the title 'Verdict', found no such page" in lost


@pytest.mark.parametrize(
    ("checklist", "gaps"),
    [("claim", {"21", "33", "36", "44"}), ("tripod_ai", {"3c", "10", "14", "18a", "18b", "20b"})],
)
def test_sample_size_other_sources_people_and_funding_are_not_called_done(checklist, gaps):
    found = {item.number: item.status for item in checklists.items(checklist)}
    assert {found[number] for number in gaps} == {"not done"}


def test_a_gap_without_a_reason_and_an_unknown_status_are_refused():
    Item(section="s", topic="t", status="here", where=(("intro.md", None),))
    with pytest.raises(ValueError, match="'t': not done needs a `why`"):
        Item(section="s", topic="t", status="not done", where=(("intro.md", None),))
    with pytest.raises(ValueError, match="here needs a `why`"):
        Item(section="s", topic="t", status="here")
    with pytest.raises(ValueError, match=r"`status` should be one of .*status='done'"):
        Item(section="s", topic="t", status="done", why="w")
    with pytest.raises(ValueError, match=r"`checklist` should be one of .*'stard'"):
        checklists.items("stard")


def test_anchors_are_what_the_book_makes_of_a_heading():
    made = checklists.link("06_judge_a_task.ipynb", "How sure is one network?")
    assert made == "[How sure is one network?](06_judge_a_task.ipynb#how-sure-is-one-network)"
    made = checklists.link("errata.md", "Preprocessing, the quiet variable")
    assert made.endswith("(errata.md#preprocessing-the-quiet-variable)")


def test_headings_are_read_from_a_notebook_without_its_code():
    file = ROOT / "book/06_judge_a_task.ipynb"
    assert checklists.headings(file, level=1) == ["Judge a task"]
    assert {"Every scenario", "More than one number"} <= set(checklists.headings(file))


# the pages


def test_the_pages_say_what_the_data_say():
    """After a change: `python -m rin.reference_pages`."""
    for name, marked in reference_pages.blocks(ROOT).items():
        made = {key: make() for key, make in marked.items()}
        assert reference_pages.fill(page(name), made, name) == page(name), name


def test_pages_are_written_all_or_none(tmp_path):
    (tmp_path / "results").mkdir()
    shutil.copytree(ROOT / reference_pages.OWN, tmp_path / reference_pages.OWN)
    (tmp_path / "book").mkdir()
    for name in PAGES:
        (tmp_path / "book" / name).write_text(page(name), encoding="utf-8")
    stale, unmarked = (tmp_path / "book" / name for name in ("checklists.md", "cite.md"))
    stale.write_text(re.sub(r"(<!-- made from data: claim -->\n).*?\n", r"\1old", page(stale.name)))
    unmarked.write_text(page("cite.md").replace("<!-- end: datasets -->", ""))
    before = {file.name: file.read_text() for file in (tmp_path / "book").iterdir()}
    with pytest.raises(ValueError, match="cite.md: expected one place marked"):
        reference_pages.write(tmp_path)
    assert before == {file.name: file.read_text() for file in (tmp_path / "book").iterdir()}
    unmarked.write_text(page("cite.md"))
    assert reference_pages.write(tmp_path) == [stale]
    assert reference_pages.write(tmp_path) == []
    assert stale.read_text(encoding="utf-8") == page("checklists.md")


def test_a_block_without_its_mark_is_refused():
    text = "above\n<!-- made from data: a -->\nold | b\\1\n<!-- end: a -->\nbelow"
    made = reference_pages.fill(text, {"a": r"new \1"})
    assert made == text.replace("old | b\\1", "\nnew \\1\n")
    assert reference_pages.fill(made, {"a": r"new \1"}) == made
    with pytest.raises(ValueError, match="x.md: expected one place marked .*made from data: b"):
        reference_pages.fill(text, {"b": "new"}, "x.md")


def test_the_lettered_grades_of_ddti_are_quoted_as_the_list_has_them():
    folds = published.official_folds("thyroid").query("split == 'test'")
    letters = folds["image"].isin(published.burned_in()["image"])
    n, shown = folds["label"].value_counts(), folds["label"][letters].value_counts()
    auc = roc_auc_score(folds["label"] == "malignant", ~letters)
    assert (letters.sum(), round(auc, 2)) == (73, 0.66)
    errata = re.findall(r"^\| \| 73 of the 349 .*$", page("errata.md"), re.M)[0]
    audit = json.loads(page("04_question_the_data.ipynb"))["cells"]
    audit = next(c["source"] for c in audit if "## Words beside" in "".join(c["source"]))
    for text in (errata, page("cards.md"), "".join(audit).replace("\n", " ")):
        for name in ("benign", "malignant"):
            assert f"{shown[name]} of {n[name]} {name}" in text
        assert "73 of the" in text and f"AUC {auc:.2f}" in text
    kept = pd.read_csv(ROOT / "results/thyroid/audit_letters.csv").set_index("label")
    assert kept["show their grade"].to_dict() == shown.to_dict()
    assert kept["images"].to_dict() == n.to_dict()
    twins = pd.read_csv(ROOT / "results/thyroid/audit_official.csv").sum()
    near = pd.read_csv(ROOT / "results/thyroid/audit_counts.csv").set_index("kind").loc["near"]
    assert twins.n_twins == 0 and f"of which {near.sum()} has thumbnails" in page("errata.md")


def test_the_errata_quote_what_was_kept():
    """Numbers of the errata and of the data cards that a table under `results/` holds."""
    results = ROOT / "results"
    busi, kermany = (
        pd.read_csv(results / name / "audit_grouped.csv").set_index("baseline").iloc[:, [0, -1]]
        for name in ("busi", "kermany_subset")
    )
    thumbnail, forest = "16×16 thumbnail, logistic regression", "image facts, forest"
    (line,) = re.findall(r"^\| scores without anatomy .*$", page("errata.md"), re.M)
    radiographs = f"AUC {kermany.loc[thumbnail].iloc[1]:.2f} on a subset"
    assert f"{radiographs} of these radiographs and {busi.loc[thumbnail].iloc[1]:.2f} on" in line
    by_image, grouped = busi.loc[forest]
    assert f"{by_image:.2f} on BUSI by image, {grouped:.2f} with duplicates grouped" in line
    assert radiographs in page("cards.md")


def test_every_table_has_as_many_cells_in_each_row():
    for name in (*PAGES, "errata.md"):
        for table in re.findall(r"(?:^\|.*\|\n)+", page(name), flags=re.M):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
            assert len(widths) == 1, f"{name}: {table[:200]}"


def test_every_public_dataset_has_a_card_with_its_terms_and_whether_it_is_shown():
    cards = page("cards.md").split("### ")
    for card in registry.cards().values():
        if card.citation:
            (text,) = [part for part in cards if part.startswith(card.title + "\n")]
            assert " ".join(card.terms.split()) in text
            assert f"| images shown here | {'yes' if card.show_images else 'no'} |" in text
            assert f"{{cite:t}}`{card.citation}`" in text
            assert f"{{cite:t}}`{card.citation}`" in page("cite.md")


def test_the_accuracies_of_the_published_networks_are_those_on_record():
    for row in published.pretraining().itertuples():
        (line,) = re.findall(rf"^\| `{row.backbone}` \| `RadImageNet.*$", page("cards.md"), re.M)
        assert line.endswith(f"| {100 * row.top1:.1f} | {100 * row.top5:.1f} |")


def test_the_networks_we_pretrained_stand_with_what_was_measured():
    table = reference_pages.own_networks(ROOT)
    measured = pd.read_csv(ROOT / "results/pretraining/pretraining_metrics.csv")
    test = measured[measured.split == "test"].set_index(["backbone", "metric"]).estimate
    for backbone in ("densenet121", "resnet50"):
        (line,) = [line for line in table.splitlines() if f"`{backbone}`" in line]
        for metric in ("top1", "balanced_accuracy"):
            assert f"{test[backbone, metric]:.3f} (" in line


def test_everything_cited_is_in_the_references():
    keys = set(re.findall(r"@\w+\{(\w+),", page("references.bib")))
    for name in (*PAGES, "errata.md"):
        cited = re.findall(r"\{cite:[pt]\}`([^`]+)`", page(name))
        assert {key for several in cited for key in several.split(",")} <= keys, name


def test_the_version_to_cite_is_the_projects():
    citation = (ROOT / "CITATION.cff").read_text()
    version = re.search(r"^version: (\S+)$", citation, re.M)[1]
    assert f"version {version}" in page("cite.md")
    assert f"version = {{{version}}}" in page("cite.md")
    assert "10.1148/ryai.210315" in page("cite.md") and "10.1148/ryai.210315" in citation
