"""Lesion outlines of DDTI's xml files, as masks.

A case's xml holds one `<mark>` an image: its number and, as JSON in `<svg>`, the regions drawn on
it, each a list of points in pixels. Some regions are arrows, which outline nothing. In a few
files of the release (197.xml, 205.xml) the JSON breaks off within its closing words, after the
last point; those words are put back.
"""

import glob
import json
import re
from pathlib import Path
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import numpy as np
from PIL import Image, ImageDraw

REGION = re.compile(r"^(?P<case>.+\.xml)#(?P<image>\d+)\.(?P<region>\d+)$", re.I)
SUFFIXES = (".jpg", ".jpeg", ".png")
CLOSING = '"regionType": "freehand"}]'  # how every list of regions ends
FARTHEST = 100_000  # pixels; a point beyond it is a mistake and would overflow the drawing


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
    found = {}
    for mark in read(path).iter("mark"):
        number, drawn = (mark.findtext("image") or "").strip(), mark.findtext("svg") or ""
        if not re.fullmatch(r"[0-9]{1,9}", number):
            raise ValueError(f"a mark's image should be a number, found {number[:20]!r}")
        found.setdefault(int(number), []).extend(_outlines(drawn.strip(), number))
    return found


def problem(outline):
    """Why an outline of `regions` can't be drawn; None when it can."""
    if len(outline) < 3:
        return "outline of fewer than three points"
    if not (np.abs(outline) <= FARTHEST).all():  # NaN too
        return "outline with impossible coordinates"
    return None


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


def _outlines(text, number):
    try:
        listed = _parse(text) if text else []
        drawn = [region for region in listed if region.get("regionType") != "arrow"]
        points = [[(point["x"], point["y"]) for point in region["points"]] for region in drawn]
        return [np.array(each, float).reshape(-1, 2) for each in points]
    except json.JSONDecodeError as error:
        raise ValueError(f"the regions of image {number} are no JSON ({error})") from error
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError(
            f"the regions of image {number} should be a list of "
            '{"points": [{"x": …, "y": …}, …], …}'
        ) from None


def _parse(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        ends = [n for n in range(1, len(CLOSING)) if text.endswith(CLOSING[:n])]
        if not ends:
            raise
        return json.loads(text + CLOSING[ends[-1] :])


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
