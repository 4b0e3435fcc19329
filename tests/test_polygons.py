"""Polygons: the outlines of an xml as masks of the drawn pixels, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from rin import images, polygons

SQUARE = [(1, 1), (4, 1), (4, 3), (1, 3)]


def region(points, **more):
    drawn = [{"x": x, "y": y} for x, y in points]
    return {"points": drawn, "annotation": {}, "regionType": "freehand"} | more


@pytest.fixture
def case(tmp_path, draw):
    """`case(svg, …)`: a case whose mark 1, 2, … holds that svg, and `12_1.jpg` of 7 × 5 pixels."""

    def write(*drawings):
        texts = [text if isinstance(text, str) else json.dumps(text) for text in drawings]
        marks = [f"<mark><image>{k}</image><svg>{t}</svg></mark>" for k, t in enumerate(texts, 1)]
        draw(tmp_path / "12_1.jpg", shape=(5, 7))
        (tmp_path / "12.xml").write_text(f"<case><number>12</number>{''.join(marks)}</case>")
        return tmp_path / "12.xml"

    return write


def mask(case, region="1.0"):
    return polygons.mask(f"{case}#{region}")


def test_a_mask_is_the_pixels_on_the_outline_and_inside(case):
    expected = np.zeros((5, 7), bool)
    expected[1:4, 1:5] = True
    found = mask(case([region(SQUARE)]))
    assert found.dtype == bool and (found == expected).all()


def test_fractions_are_rounded_to_the_nearest_pixel(case):
    near = [(x - 0.4, y + 0.4) for x, y in SQUARE]
    xml = case([region(SQUARE), region(near)])
    assert (mask(xml, "1.0") == mask(xml, "1.1")).all()


def test_what_lies_beyond_the_image_is_cut_off(case):
    found = mask(case([region([(-50, -50), (2, -50), (2, 99), (-50, 99)])]))
    assert found.shape == (5, 7) and found[:, :3].all() and not found[:, 3:].any()


def test_the_regions_of_every_image_come_in_order_and_arrows_are_left_out(case):
    arrow = region([(0, 0), (1, 1)], regionType="arrow")
    xml = case([region(SQUARE), arrow, region(SQUARE[:3])], "", [])
    found = polygons.regions(xml)
    assert {k: [len(line) for line in lines] for k, lines in found.items()} == {
        1: [4, 3],
        2: [],
        3: [],
    }
    assert found[1][0].tolist() == [list(point) for point in SQUARE]
    assert mask(xml, "1.1").sum() < mask(xml, "1.0").sum()


def test_marks_of_one_image_are_joined_and_one_may_have_no_svg(case):
    xml = case([region(SQUARE)])
    again = f"<mark><image> 1 </image><svg>{json.dumps([region(SQUARE)])}</svg></mark>"
    xml.write_text(
        xml.read_text().replace("</case>", f"{again}<mark><image>4</image></mark></case>")
    )
    assert {k: len(lines) for k, lines in polygons.regions(xml).items()} == {1: 2, 4: 0}


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".png"])
def test_the_image_beside_the_xml_may_have_any_of_these_suffixes(suffix, case):
    xml = case([region(SQUARE)])
    picture = Image.open(xml.with_name("12_1.jpg")).convert("L")
    xml.with_name("12_1.jpg").unlink()
    picture.save(xml.with_name(f"12_1{suffix}"))
    xml.with_name("12_1.txt").write_text("no image")
    assert mask(xml).shape == (5, 7)


@pytest.mark.parametrize("cut", [1, 2, 4, 14, 25, 27, 46])
def test_a_list_that_breaks_off_after_its_last_point_is_whole(cut, case):
    xml = case(json.dumps([region(SQUARE)])[:-cut])
    assert mask(xml).sum() == 12
    assert polygons.drawings(xml)[1].lost == [polygons.MENDED]


@pytest.mark.parametrize("length", [2, 10, 13, 22, 30, 40])
def test_an_outline_that_breaks_off_among_its_points_is_lost_and_said(length, case):
    text = json.dumps([region(SQUARE), region(SQUARE[:3])])
    second = text.index('{"points"', 5)
    xml = case(text[: second + length])
    assert [line.tolist() for line in polygons.regions(xml)[1]] == [[[*p] for p in SQUARE]]
    assert polygons.drawings(xml)[1].lost == [polygons.CUT]
    with pytest.raises(ValueError, match="no region 1"):
        mask(xml, "1.1")


def test_a_first_outline_that_breaks_off_leaves_none(case):
    xml = case(json.dumps([region(SQUARE)])[:40])
    assert polygons.drawings(xml)[1] == ([], [polygons.CUT])


def test_damage_in_the_middle_is_no_cut(case):
    text = json.dumps([region(SQUARE), region(SQUARE)]).replace('"x": 4', '"x" 4', 1)
    with pytest.raises(ValueError, match="the regions of image 1 are no JSON"):
        polygons.regions(case(text))


def test_an_arrow_outlines_nothing_and_is_said(case):
    xml = case([region(SQUARE), region(SQUARE[:2], regionType="arrow")])
    drawing = polygons.drawings(xml)[1]
    assert len(drawing.outlines) == 1 and drawing.lost == [polygons.ARROW]


def test_an_outline_over_the_edge_is_told_from_one_beside_the_image():
    over, beside = np.array(SQUARE) + [0, 3], np.array(SQUARE) + [0, 9]
    assert polygons.crosses(over, (7, 5)) and not polygons.crosses(np.array(SQUARE), (7, 5))
    assert polygons.problem(over, (7, 5)) is None
    assert polygons.problem(beside, (7, 5)) == "outline outside of its image"


UNUSABLE = {
    "two points": (SQUARE[:2], "fewer than three points"),
    "no points": ([], "fewer than three points"),
    "not a number": ([*SQUARE, (float("nan"), 1)], "impossible coordinates"),
    "nothing": ([*SQUARE, (None, 1)], "impossible coordinates"),
    "infinite": ([*SQUARE, (float("inf"), 1)], "impossible coordinates"),
    "wildly outside": ([*SQUARE, (1, -2e9)], "impossible coordinates"),
    "beside the image": ([(x + 90, y) for x, y in SQUARE], "outside of its image of 7×5 pixels"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_outline_that_can_not_be_drawn_is_refused_with_the_reason(name, case):
    points, reason = UNUSABLE[name]
    with pytest.raises(ValueError, match=reason):
        mask(case([region(points)]))


NO_REGIONS = {
    "text": "[oops",
    "a number": "3",
    "a table": {"points": []},
    "regions without points": [{}],
    "points without y": [{"points": [{"x": 1}]}],
    "points of words": [{"points": [{"x": "left", "y": 1}]}],
    "points of lists": [{"points": [{"x": [1], "y": 1}, {"x": 2, "y": 1}]}],
    "a number without end": '[{"points": [{"x": 1' + "0" * 999 + ', "y": 1}]}]',
    "endless nesting": "[" * 100_000,
}


@pytest.mark.parametrize("name", NO_REGIONS)
def test_an_svg_that_is_no_list_of_regions_is_refused(name, case):
    with pytest.raises(ValueError, match="the regions of image 1 (are no JSON|should be a list)"):
        polygons.regions(case(NO_REGIONS[name]))


BOMB = (
    '<!DOCTYPE case [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]><case><tirads>&i;</tirads></case>"
)
REFUSED = {
    "a bomb of entities": (BOMB, "document type or entities, which are refused"),
    "an external entity": (
        '<!DOCTYPE case [<!ENTITY x SYSTEM "file:///etc/hostname">]><case>&x;</case>',
        "document type or entities, which are refused",
    ),
    "a document type": ('<!DOCTYPE case SYSTEM "case.dtd"><case/>', "which are refused"),
    "an open element": ("<case><mark>", "can't be read as xml"),
    "an empty file": ("", "can't be read as xml"),
    "an unknown encoding": ('<?xml version="1.0" encoding="klingon"?><case/>', "as xml"),
    "a mark without a number": ("<case><mark><svg>[]</svg></mark></case>", "should be a number"),
    "a mark with a path": ("<case><mark><image>../1</image></mark></case>", "found '../1'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_xml_that_is_malformed_or_dangerous_is_refused(name, tmp_path):
    text, reason = REFUSED[name]
    (tmp_path / "12.xml").write_text(text)
    with pytest.raises(ValueError, match=reason):
        polygons.regions(tmp_path / "12.xml")


def test_a_missing_xml_image_or_region_is_named(case):
    xml = case([region(SQUARE)], [region(SQUARE)])
    with pytest.raises(ValueError, match="has 1 regions on image 1, no region 1"):
        mask(xml, "1.1")
    with pytest.raises(ValueError, match="has 0 regions on image 7, no region 0"):
        mask(xml, "7.0")
    with pytest.raises(ValueError, match="no image 12_2.jpg lies beside it"):
        mask(xml, "2.0")
    with pytest.raises(ValueError, match="can't be read as xml.*No such file"):
        mask(xml.with_name("13.xml"))
    with pytest.raises(ValueError, match="a name like case.xml#1.0"):
        polygons.mask(xml)


def test_masks_of_one_image_are_united_and_errors_name_the_file(case):
    xml = case([region(SQUARE), region([(5, 0), (6, 0), (6, 4)])])
    union = images.load_mask(xml.parent, "12.xml#1.0|12.xml#1.1")
    assert union.sum() == (mask(xml, "1.0") | mask(xml, "1.1")).sum() > mask(xml).sum()
    with pytest.raises(images.ImageError, match=r"12.xml#1.9: has 2 regions"):
        images.load_mask(xml.parent, "12.xml#1.9")
