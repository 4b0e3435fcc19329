"""Lesion outlines of DDTI's xml files, as masks.

A case's xml holds one `<mark>` an image: its number and, as JSON in `<svg>`, the regions drawn on
it, each a list of points in pixels. Some regions are arrows, which outline nothing. In eight
files of the release the JSON breaks off after 2,500 characters: whole outlines before that place
count, and one that lacks its last points does not.
"""

import glob
import json
import re
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import numpy as np
from PIL import Image, ImageDraw

REGION = re.compile(r"^(?P<case>.+\.xml)#(?P<image>\d+)\.(?P<region>\d+)$", re.I)
SUFFIXES = (".jpg", ".jpeg", ".png")
POINTS = re.compile(r'\{\s*"points"\s*:\s*(?=\[)')  # how every region begins
CUT, MENDED = "outline cut off in its xml", "closing words of a drawing, cut off in its xml"
ARROW = "arrow, which outlines nothing"
FARTHEST = 100_000  # pixels; a point beyond it is a mistake and would overflow the drawing


class Drawing(NamedTuple):
    """What is drawn on one image.

    Attributes:
        outlines: list of `(m, 2)` float arrays, see `regions`.
        lost: reasons, one for each region that gives no outline or was completed: `CUT`,
            `MENDED`, `ARROW`.
    """

    outlines: list
    lost: list


def mask(path):
    """One outline, filled: the pixels on it or inside.

    Args:
        path: `case.xml#1.0`: region 0 drawn on image 1, `case_1.jpg` (or .jpeg, .png) beside it.

    Returns:
        `(h, w)` bool, of the image's size; what lies beyond its edges is cut off.

    Raises:
        ValueError: the reason, for the caller to add the file: see `read`, `regions`, `problem`;
            no such region or image, or an outline wholly outside of it.
    """
    match = REGION.match(Path(path).name)
    if match is None:
        raise ValueError("a name like case.xml#1.0 (image 1, region 0) is expected")
    xml, number, region = Path(path).with_name(match["case"]), int(match["image"]), match["region"]
    outlines = regions(xml).get(number, [])
    if int(region) >= len(outlines):
        raise ValueError(f"has {len(outlines)} regions on image {number}, no region {region}")
    return _fill(outlines[int(region)], _image_size(xml, number))


def regions(path):
    """The outlines of one case.

    Args:
        path: its xml.

    Returns:
        Dict from image number to a list of `(m, 2)` float arrays: x and y of each point in pixels
        from the upper left one's center, arrows left out. An image marked without an outline has
        an empty list.

    Raises:
        ValueError: the reason, for the caller to add the file: see `read`; a mark without an
            image number, or an `<svg>` that is no JSON list of regions.
    """
    return {number: drawing.outlines for number, drawing in drawings(path).items()}


def drawings(path):
    """What is drawn on each image of one case: dict from image number to its `Drawing`.

    Args:
        path: its xml.

    Raises:
        ValueError: see `regions`.
    """
    found = {}
    for mark in read(path).iter("mark"):
        number, drawn = (mark.findtext("image") or "").strip(), mark.findtext("svg") or ""
        if not re.fullmatch(r"[0-9]{1,9}", number):
            raise ValueError(f"a mark's image should be a number, found {number[:20]!r}")
        whole = found.setdefault(int(number), Drawing([], []))
        outlines, lost = _drawn(drawn.strip(), number)
        whole.outlines.extend(outlines)
        whole.lost.extend(lost)
    return found


def problem(outline, size=None):
    """Why an outline of `regions` can't be drawn; None when it can.

    Args:
        outline: `(m, 2)` floats.
        size: (width, height) of its image, where an outline wholly outside is to be found too.
    """
    if len(outline) < 3:
        return "outline of fewer than three points"
    if not (np.abs(outline) <= FARTHEST).all():  # NaN too
        return "outline with impossible coordinates"
    if size is not None and not _meets(outline, size):
        return "outline outside of its image"
    return None


def crosses(outline, size):
    """Whether a part of an outline lies beyond the edges of its image, of (width, height)."""
    return bool((np.rint(outline) < 0).any() or (np.rint(outline) > np.subtract(size, 1)).any())


def _meets(outline, size):
    """Whether its box meets the image."""
    return bool((outline.max(0) > -0.5).all() and (outline.min(0) < np.subtract(size, 0.5)).all())


def read(path):
    """The root element of an xml file of unknown origin.

    Document types, entities and references to other files are refused: they can fill the memory
    or read from this machine.

    Raises:
        ValueError: the reason, for the caller to add the file.
    """
    try:
        return defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
    except defusedxml.DTDForbidden:
        raise ValueError("declares a document type or entities, which are refused") from None
    except (ParseError, ValueError, LookupError, OSError) as error:  # ValueError: odd encodings
        raise ValueError(f"can't be read as xml ({error})") from error


def _drawn(text, number):
    """Outlines of one `<svg>`, and why other regions gave none."""
    try:
        listed, lost = _parse(text) if text else ([], [])
        drawn = [region for region in listed if region.get("regionType") != "arrow"]
        points = [[(point["x"], point["y"]) for point in region["points"]] for region in drawn]
        outlines = [np.array(each, float).reshape(-1, 2) for each in points]
        return outlines, lost + [ARROW] * (len(listed) - len(drawn))
    except json.JSONDecodeError as error:
        raise ValueError(f"the regions of image {number} are no JSON ({error})") from error
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError(
            f"the regions of image {number} should be a list of "
            '{"points": [{"x": …, "y": …}, …], …}'
        ) from None


def _parse(text):
    """A list of regions, whole or up to where it breaks off, and what was lost there."""
    try:
        return json.loads(text), []
    except json.JSONDecodeError:
        listed, rest = _up_to_the_cut(text)
        if rest is None:
            raise
    if not rest:
        return listed, [MENDED]
    try:  # its points are all there, its closing words are not
        points, _ = json.JSONDecoder().raw_decode(rest, POINTS.match(rest).end())
    except (AttributeError, json.JSONDecodeError):
        return listed, [CUT]
    return [*listed, {"points": points}], [MENDED]


def _up_to_the_cut(text):
    """The whole regions of a list and the start of one more; None for it where nothing is cut."""
    read, listed, place = json.JSONDecoder(), [], 1
    if not text.startswith("["):
        return [], None
    while True:
        place += len(text[place:]) - len(text[place:].lstrip(" ,\n\t"))
        try:
            region, place = read.raw_decode(text, place)
        except json.JSONDecodeError:
            break
        listed.append(region)
    rest = text[place:]
    bare = re.sub(r'"[^"]*("|$)', "", rest)  # without its words
    opened = sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))
    broken = opened > 0 and rest.startswith("{") or not rest and listed
    return listed, rest if broken else None


def _image_size(xml, number):
    beside = sorted(xml.parent.glob(f"{glob.escape(xml.stem)}_{number}.*"))
    files = [file for file in beside if file.suffix.lower() in SUFFIXES]
    if not files:
        raise ValueError(f"no image {xml.stem}_{number}.jpg lies beside it")
    with Image.open(files[0], formats=("JPEG", "PNG")) as picture:
        return picture.size


def _fill(outline, size):
    if reason := problem(outline):
        raise ValueError(reason)
    canvas = Image.new("1", size)
    # Pillow cuts fractions off, which would shift the outline by half a pixel
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in np.rint(outline)], fill=1)
    filled = np.array(canvas)
    if not filled.any():
        raise ValueError(f"the outline lies outside of its image of {size[0]}×{size[1]} pixels")
    return filled
