"""What pages put between their cells: banner, tables with their csv, nothing private."""

import base64
import io
import os
import re
from pathlib import Path

import pandas as pd
import pytest
from IPython.display import HTML

from rin import pages

FRAME = pd.DataFrame(
    {
        "scenario": ["resnet50-head-1e-04", "<b>bold</b> & more"],
        "learning_rate": [1e-4, 0.01],
        "auc": [0.123456789012345, float("nan")],
        "n": [1234, 5],
    },
    index=pd.Index(["NORMAL/IM-0001.jpeg", "PNEUMONIA/person7_virus_1.jpeg"], name="image"),
)


def csv_of(shown):
    """The csv behind a table's link."""
    code = re.search(r'href="data:text/csv;base64,([^"]+)"', shown.data)[1]
    return base64.b64decode(code).decode()


def cells(shown):
    return re.findall(r"<td>(.*?)</td>", shown.data)


def test_kept_tables_say_what_they_are_of(tmp_path):
    assert pages.about("").data == "" and pages.about(tmp_path).data == ""
    assert isinstance(pages.about(""), HTML), "empty Markdown would show as the name of its class"
    (tmp_path / "about.md").write_text("Real images.")
    assert pages.about(tmp_path).data == "Real images."


def test_the_banner_stands_on_phantoms_only():
    assert "Phantom images" in pages.banner(True).data
    assert "No number from them is a finding" in pages.banner(True).data
    assert pages.banner(False).data == ""


def test_a_table_has_an_anchor_and_a_named_csv():
    shown = pages.table(FRAME, "summary")
    assert shown.data.startswith('<div id="table-summary">')
    assert '<a download="summary.csv"' in shown.data


def test_a_column_of_counts_has_no_decimals_and_another_has_them_throughout():
    frame = pd.DataFrame({"n_val": [12.0, 3.0], "points": [4.0, -0.6], "auc": [1.0, 0.0]})
    page = pages.table(frame, "t", digits=1).data
    cells = re.findall(r"<td>([^<]*)</td>", page)
    assert cells == ["12", "4.0", "1.0", "3", "-0.6", "0.0"]
    twice = pd.DataFrame([[2.0, 0.25, None]], columns=["n", "n", "text"])
    assert (
        "<td>2</td>" in pages.table(twice, "t").data
        and "<td>0.250</td>" in pages.table(twice, "t").data
    )


def test_the_csv_behind_a_table_keeps_every_digit():
    back = pd.read_csv(io.StringIO(csv_of(pages.table(FRAME, "t"))))
    pd.testing.assert_frame_equal(back, FRAME.reset_index(drop=True), check_exact=True)


def test_the_page_shows_few_digits_and_says_what_is_missing():
    first, second = cells(pages.table(FRAME, "t"))[:4], cells(pages.table(FRAME, "t"))[4:]
    assert first[2:] == ["0.123", "1234"] and second[2:] == ["n/a", "5"]
    assert cells(pages.table(FRAME, "t", digits=1))[2] == "0.1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "0.0001"), (0.0, "0.000"), (-2.5, "-2.500"), (3.21e-7, "3.21e-07"), (-1e-5, "-1e-05")],
)
def test_a_small_number_does_not_read_as_zero(value, text):
    assert cells(pages.table(pd.DataFrame({"p": [value]}), "t")) == [text]


def test_cells_captions_and_headings_are_escaped():
    frame = FRAME.rename(columns={"n": "<n>"})
    shown = pages.table(frame, "t", caption='<script>alert("a")</script> P < .05')
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in shown.data and "&lt;n&gt;" in shown.data
    assert "&lt;script&gt;" in shown.data and "P &lt; .05" in shown.data
    assert "<b>" not in shown.data and "<script" not in shown.data
    assert '"x"y' not in pages.table(frame, 'x"y').data


def test_the_index_with_its_image_paths_stays_off_the_page():
    shown = pages.table(FRAME, "t")
    for text in (shown.data, csv_of(shown)):
        assert "jpeg" not in text and "person7" not in text


def test_a_page_may_show_a_part_while_the_csv_has_all():
    shown = pages.table(FRAME, "t", shown=["n", "auc"], rows=slice(0, None, 2))
    assert cells(shown) == ["1234", "0.123"]
    assert csv_of(shown) == FRAME.to_csv(index=False)


def test_a_long_table_is_shown_whole():
    assert len(cells(pages.table(pd.DataFrame({"n": range(300)}), "t"))) == 300


def test_a_table_is_kept_as_a_file_where_one_is_asked_for(tmp_path):
    shown = pages.table(FRAME, "t", tmp_path / "tables")
    assert (tmp_path / "tables" / "t.csv").read_text() == csv_of(shown) == FRAME.to_csv(index=False)
    pages.table(FRAME, "u")
    assert os.listdir(tmp_path / "tables") == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (
            "delong_radimagenet, native_random, official",
            "delong_radimagenet-native_random-official",
        ),
        ("delong_/data/w.h5, official", "delong_-data-w.h5-official"),
        (r"delong_C:\w.h5", "delong_C-w.h5"),
    ],
)
def test_names_of_arms_make_one_safe_file(tmp_path, name, file):
    assert pages.keep(FRAME, name, tmp_path) == tmp_path / f"{file}.csv"
    assert os.listdir(tmp_path) == [f"{file}.csv"]


def test_a_crash_while_keeping_leaves_the_old_table(tmp_path, monkeypatch):
    file = pages.keep(FRAME, "t", tmp_path)
    old, write = file.read_text(), Path.write_text

    def half(path, text, **options):
        write(path, text[:10], **options)
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="disk full"):
        pages.keep(FRAME.head(1), "t", tmp_path)
    assert file.read_text() == old and os.listdir(tmp_path) == ["t.csv"]


def test_bullets_are_a_markdown_list():
    assert pages.bullets("**One.** 1", "two").data == "- **One.** 1\n- two"


def test_a_table_without_rows_says_so_and_keeps_its_csv():
    shown = pages.table(FRAME.iloc[:0], "none")
    assert "No rows yet" in shown.data and "<table" not in shown.data
    assert csv_of(shown).strip() == "scenario,learning_rate,auc,n"
