"""DDTI: labels from TI-RADS, masks from outlines, what is left out, and its phantoms."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from rin import datasets, images, manifest, phantoms, polygons, published, scans, splits
from rin.datasets import DatasetError, thyroid
from rin.phantoms import thyroid as phantom

OUTLINE = [{"points": [{"x": x, "y": y} for x, y in ((2, 2), (9, 2), (9, 8))]}]


def mark(number, regions):
    svg = json.dumps(regions) if regions else ""
    return f"<mark><image>{number}</image><svg>{svg}</svg></mark>"


@pytest.fixture
def case(tmp_path, draw):
    """`case(number, tirads, regions of image 1, of image 2, …)` writes its xml and images."""

    def write(number, tirads, *drawn, folder="."):
        home = tmp_path / folder
        for k, _ in enumerate(drawn, 1):
            draw(home / f"{number}_{k}.jpg", seed=number * 10 + k)
        field = "" if tirads is None else f"<tirads>{tirads}</tirads>"
        marks = "".join(mark(k, regions) for k, regions in enumerate(drawn, 1))
        private = "<age>49</age><sex>F</sex><reporteco>Jane Roe</reporteco>"
        text = f"<case><number>{number}</number>{private}{field}{marks}</case>"
        (home / f"{number}.xml").write_text(text)
        return tmp_path

    return write


def excluded(frame):
    return {reason: row["examples"] for reason, row in frame.attrs["excluded"].items()}


def test_tirads_2_and_3_are_benign_and_4a_to_5_malignant(case):
    for number, tirads in enumerate(["2", " 3 ", "4a", "4B", "4c", "5"], start=1):
        root = case(number, tirads, OUTLINE)
    frame = datasets.read("thyroid", root)
    assert list(frame["tirads"]) == ["2", "3", "4a", "4b", "4c", "5"]
    assert list(frame["label"]) == ["benign"] * 2 + ["malignant"] * 4
    assert set(frame["modality"]) == {"US"} and set(frame["anatomy"]) == {"thyroid"}
    assert frame.attrs["excluded"] == {}


def test_the_images_of_the_official_folds_alone_are_kept_when_asked(case):
    case(314, "4a", OUTLINE)  # 314_1 and 130_1 are published, 99999_1 is not
    case(130, "2", OUTLINE)
    root = case(99999, "2", OUTLINE)
    assert len(datasets.read("thyroid", root)) == 3
    frame = datasets.read("thyroid", root, published_only=True)
    assert list(frame["image"]) == ["130_1.jpg", "314_1.jpg"]
    assert excluded(frame) == {"in no official fold": ["99999_1.jpg"]}


def test_a_download_without_any_published_image_is_refused(case):
    with pytest.raises(DatasetError, match="images of the official folds, found none"):
        datasets.read("thyroid", case(99999, "2", OUTLINE), published_only=True)


def test_the_images_of_a_case_are_one_patient_and_no_other_text_is_read(case):
    case(12, "2", OUTLINE, OUTLINE)
    frame = datasets.read("thyroid", case(3, "5", OUTLINE))
    assert list(frame["image"]) == ["12_1.jpg", "12_2.jpg", "3_1.jpg"]
    assert list(frame["patient"]) == ["p0001", "p0001", "p0002"]
    assert not {"Roe", "49"} & set(re.findall(r"\w+", frame.to_csv()))


def test_every_outline_is_a_mask_and_an_image_without_one_has_none(case):
    root = case(12, "5", OUTLINE * 2, None)
    frame = datasets.read("thyroid", root)
    assert frame["mask"].fillna("").to_list() == ["12.xml#1.0|12.xml#1.1", ""]
    assert images.load_mask(root, frame["mask"][0]).shape == (20, 24)


def test_missing_tirads_are_left_out_and_counted_and_never_become_benign(case):
    case(1, None, OUTLINE, OUTLINE)
    case(2, "", OUTLINE)
    frame = datasets.read("thyroid", case(3, "5", OUTLINE))
    assert list(frame["label"]) == ["malignant"]
    assert excluded(frame) == {"no TI-RADS": ["1_1.jpg", "1_2.jpg", "2_1.jpg"]}


def test_every_unknown_tirads_is_a_reason_of_its_own(case):
    for number, tirads in ((1, "1"), (2, "4"), (3, "4"), (4, "2")):
        root = case(number, tirads, OUTLINE)
    assert excluded(datasets.read("thyroid", root)) == {
        "TI-RADS '1'": ["1_1.jpg"],
        "TI-RADS '4'": ["2_1.jpg", "3_1.jpg"],
    }


def test_an_image_without_an_xml_and_an_xml_without_an_image_are_counted(case, draw):
    root = case(1, "2", OUTLINE)
    case(2, "5")
    for name in ("3_1.jpg", "1.jpg", "1_2 copy.jpg", "1_02.jpg"):
        draw(root / name)
    assert excluded(datasets.read("thyroid", root)) == {
        "image without an xml": ["1.jpg", "1_02.jpg", "1_2 copy.jpg"],
        "xml without an image": ["2.xml"],
    }


def test_marks_on_missing_images_and_outlines_of_no_area_are_counted(case):
    root = case(12, "5", OUTLINE + [{"points": OUTLINE[0]["points"][:2]}] + OUTLINE, OUTLINE)
    (root / "12_2.jpg").unlink()
    frame = datasets.read("thyroid", root)
    assert frame["mask"][0] == "12.xml#1.0|12.xml#1.2"
    assert excluded(frame) == {
        "mark on an image that is not there": ["12.xml#2"],
        "outline of fewer than three points": ["12.xml#1.1"],
    }


def test_cut_drawings_arrows_and_outlines_over_the_edge_are_counted(case):
    root = case(12, "5", OUTLINE, OUTLINE, None, OUTLINE)
    whole, xml = json.dumps(OUTLINE), root / "12.xml"
    arrow = json.dumps([{"points": OUTLINE[0]["points"][:2], "regionType": "arrow"}])
    over = json.dumps([{"points": [{"x": x, "y": y} for x, y in ((2, 9), (9, 9), (9, 40))]}])
    text = xml.read_text().replace(whole, f"{whole[:-1]}, {whole[1:30]}", 1)
    head, tail = text.split("<image>2</image>")
    tail = tail.replace(whole, whole[:-2], 1).replace(whole, f"{over[:-1]}, {arrow[1:]}")
    xml.write_text(f"{head}<image>2</image>{tail}")
    frame = datasets.read("thyroid", root)
    assert list(frame["mask"].fillna("")) == ["12.xml#1.0", "12.xml#2.0", "", "12.xml#4.0"]
    assert excluded(frame) == {
        "outline cut off in its xml": ["12.xml#1"],
        "mark without an outline": ["12.xml#3"],
        "arrow, which outlines nothing": ["12.xml#4"],
    }
    assert {why: row["examples"] for why, row in frame.attrs["noted"].items()} == {
        "closing words of a drawing, cut off in its xml": ["12.xml#2"],
        "part of an outline beyond its image's edge": ["12.xml#4.0"],
    }
    assert images.load_mask(root, frame["mask"][3]).any()


def test_an_outline_beside_its_image_is_no_mask(case):
    far = [{"points": [{"x": x + 90, "y": y} for x, y in ((2, 2), (9, 2), (9, 8))]}]
    frame = datasets.read("thyroid", case(12, "5", far))
    assert frame["mask"].isna().all()
    assert excluded(frame) == {"outline outside of its image": ["12.xml#1.0"]}


@pytest.mark.parametrize("folder", ["native", "images", "thyroid", "DDTI"])
def test_the_folder_may_lie_below_the_root(folder, case):
    frame = datasets.read("thyroid", case(12, "5", OUTLINE, folder=folder))
    assert frame["image"][0] == f"{folder}/12_1.jpg"
    assert frame["mask"][0] == f"{folder}/12.xml#1.0"


def test_upper_case_suffixes_and_hidden_files_do_no_harm(case):
    root = case(12, "5", OUTLINE)
    (root / "12.xml").rename(root / "12.XML")
    (root / "12_1.jpg").rename(root / "12_1.JPG")
    (root / "._12.xml").write_bytes(b"of a Mac")
    (root / "notes.xml").write_text("<notes/>")
    frame = datasets.read("thyroid", root)
    assert images.load_mask(root, frame["mask"][0]).shape == (20, 24)
    assert excluded(frame) == {}


BAD_XML = {
    "malformed xml": "<case><tirads>5</case>",
    "a bomb": '<!DOCTYPE c [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><case>&b;</case>',
    "an external entity": '<!DOCTYPE c [<!ENTITY a SYSTEM "file:///etc/hostname">]><case>&a;</case>',
    "malformed JSON": "<case><mark><image>1</image><svg>[oops]</svg></mark></case>",
    "no JSON list": "<case><mark><image>1</image><svg>{}{}</svg></mark></case>",
}


@pytest.mark.parametrize("name", BAD_XML)
def test_a_malformed_or_dangerous_xml_is_one_error_that_names_the_file(name, case):
    root = case(1, "2", OUTLINE)
    (root / "12.xml").write_text(BAD_XML[name])
    with pytest.raises(DatasetError, match=r"12\.xml: (can't be read|declares|the regions)"):
        datasets.read("thyroid", root)


def test_missing_empty_and_foreign_folders_are_refused_with_what_was_expected(tmp_path):
    with pytest.raises(DatasetError, match="no such folder; expected the thyroid dataset"):
        datasets.read("thyroid", tmp_path / "no")
    with pytest.raises(DatasetError, match=r"expected DDTI's 12.xml and 12_1.jpg.*found \[\]"):
        datasets.read("thyroid", tmp_path)
    (tmp_path / "notes.xml").write_text("<notes/>")
    with pytest.raises(DatasetError, match=r"expected DDTI's 12.xml.*found \['notes.xml'\]"):
        datasets.read("thyroid", tmp_path)


def test_a_folder_without_a_single_labelled_image_is_refused(case):
    with pytest.raises(DatasetError, match="beside a 12.xml with a TI-RADS, found no image"):
        datasets.read("thyroid", case(12, "5"))
    with pytest.raises(DatasetError, match=r"with a TI-RADS, found {'no TI-RADS': 2}"):
        datasets.read("thyroid", case(12, None, OUTLINE, OUTLINE))


def test_two_files_of_one_image_are_refused(case, draw):
    root = case(12, "5", OUTLINE)
    draw(root / "12_1.png")
    with pytest.raises(DatasetError, match=r"in two files: 12_1.jpg, 12_1.png"):
        datasets.read("thyroid", root)


def test_the_official_lists_are_read_too(tmp_path, draw):
    names = {"train": "12_1.jpg", "val": "7_1.jpg", "test": "9_2.jpg"}
    for seed, (split, name) in enumerate(names.items()):
        draw(tmp_path / "images" / name, seed)
        label = "benign" if split == "train" else "malignant"
        table = tmp_path / "dataframe" / f"{split}_fold1.csv"
        table.parent.mkdir(exist_ok=True)
        table.write_text(f"img_dir,label\nimages/{name},{label}\n")
    frame = datasets.read("thyroid", tmp_path)
    assert list(frame["label"]) == ["benign", "malignant", "malignant"]
    assert list(frame["split_0"]) == ["train", "val", "test"]
    assert frame["patient"].nunique() == 3 and set(frame["anatomy"]) == {"thyroid"}


def test_the_download_beside_the_official_lists_is_read_with_its_outlines(case):
    root = case(12, "5", OUTLINE, folder="native")
    (root / "dataframe").mkdir()
    (root / "dataframe/train_fold1.csv").write_text("img_dir,label\nimages/12_1.jpg,malignant\n")
    frame = datasets.read("thyroid", root)
    assert frame["mask"][0] == "native/12.xml#1.0"
    assert excluded(frame) == {thyroid.LEFT_ASIDE: ["dataframe/train_fold1.csv"]}


# grades in letters


@pytest.fixture
def lettered(case):
    """Four cases; two of the images show their grade, as do those of this name in the release."""
    for number, tirads in ((292, "4a"), (1, "2"), (2, "4a")):
        case(number, tirads, OUTLINE)
    return case(296, "3", OUTLINE)


def test_images_that_show_their_grade_are_kept_blanked_or_dropped(lettered):
    kept = datasets.read("thyroid", lettered)
    assert len(kept) == 4 and "outside" not in kept
    blank = datasets.read("thyroid", lettered, burned_in="blank")
    assert list(blank["outside"]) == ["black"] * 4
    assert blank.drop(columns="outside").equals(kept)
    dropped = datasets.read("thyroid", lettered, burned_in="drop")
    assert list(dropped["image"]) == ["1_1.jpg", "2_1.jpg"]
    assert excluded(dropped) == {thyroid.LETTERS: ["292_1.jpg", "296_1.jpg"]}
    with pytest.raises(ValueError, match=r"`burned_in` should be one of .*'hide'"):
        datasets.read("thyroid", lettered, burned_in="hide")


def test_copies_in_another_format_are_dropped_by_their_name(lettered):
    for file in lettered.glob("*.jpg"):
        Image.open(file).save(file.with_suffix(".png"))
        file.unlink()
    dropped = datasets.read("thyroid", lettered, burned_in="drop")
    assert list(dropped["image"]) == ["1_1.png", "2_1.png"]


def test_a_folder_of_nothing_else_can_not_be_dropped(case):
    with pytest.raises(DatasetError, match="every image shows its TI-RADS"):
        datasets.read("thyroid", case(292, "4a", OUTLINE), burned_in="drop")


def test_the_official_form_takes_the_option_too(tmp_path, draw):
    for seed, (split, name) in enumerate({"train": "292_1", "val": "7_1", "test": "9_2"}.items()):
        draw(tmp_path / "images" / f"{name}.jpg", seed)
        table = tmp_path / "dataframe" / f"{split}_fold1.csv"
        table.parent.mkdir(exist_ok=True)
        table.write_text(f"img_dir,label\nimages/{name}.jpg,benign\n")
    assert len(datasets.read("thyroid", tmp_path, burned_in="drop")) == 2
    assert set(datasets.read("thyroid", tmp_path, burned_in="blank")["outside"]) == {"black"}


def test_the_official_folds_refuse_what_dropping_leaves():
    folds = published.official_folds("thyroid").query("split == 'test'")
    rows = folds.assign(patient=None, anatomy="thyroid")[["image", "label", "patient", "anatomy"]]
    whole = manifest.validate(rows)
    with pytest.warns(splits.SmallSplitWarning):
        assert len(splits.assign(whole, "official")) == 349
    left = whole[~whole["image"].isin(published.burned_in()["image"])]
    with pytest.raises(splits.SplitError, match=r"drop\) val of fold 0 would keep 1 benign"):
        splits.assign(left, "official")
    with pytest.raises(splits.SplitError, match=r"^1 images .* among them 100_1.jpg$"):
        splits.assign(whole[whole["image"] != "100_1.jpg"], "official")


# the real images


@pytest.fixture(scope="module")
def real(project_data):
    return datasets.read("thyroid", project_data("ddti")), project_data("ddti")


def test_every_official_image_has_its_official_label_and_all_but_one_a_mask(real, project_data):
    frame, root = real
    folds = published.official_folds("thyroid").query("split == 'test'")
    name = frame["image"].str.removeprefix("native/")
    assert (
        dict(zip(name, frame["label"], strict=True)) == folds.set_index("image")["label"].to_dict()
    )
    assert list(name[frame["mask"].isna()]) == ["142_2.jpg"]
    counts = {reason: row["n"] for reason, row in frame.attrs["excluded"].items()}
    assert counts == {
        "no TI-RADS": 131,
        "mark without an outline": 6,
        polygons.CUT: 6,
        polygons.ARROW: 8,
    }
    noted = {reason: row["n"] for reason, row in frame.attrs["noted"].items()}
    assert noted == {polygons.MENDED: 2, thyroid.OVER_THE_EDGE: 1}
    deeper = datasets.read("thyroid", project_data("ddti") / "native")
    assert len(deeper) == 349 and set(deeper["image"]) == set(name)
    with pytest.warns(splits.SmallSplitWarning):
        assert len(manifest.split_columns(splits.assign(frame, "official"))) == 5


def test_of_every_official_image_the_scan_is_found_and_holds_the_outlines(real):
    frame, root = real
    lettered = frame["image"].str.removeprefix("native/").isin(published.burned_in()["image"])
    assert lettered.sum() == 73
    for row, letters in zip(frame.itertuples(), lettered, strict=True):
        image = images.load(root / row.image)
        top, bottom, left, right = scans.rectangle(image)
        assert 8 <= top <= 103 and 299 <= bottom <= 310, row.image
        assert 35 <= left <= 174 and 383 <= right <= 526, row.image
        black = images.load(root / row.image, outside="black")
        assert (black[top:bottom, left:right] == image[top:bottom, left:right]).all()
        assert black[310:].max() == 0 and image[312:].max() > (200 if letters else 0)
        if isinstance(row.mask, str) and "338_2" not in row.image:  # that one leaves the picture
            drawn = images.load_mask(root, row.mask)
            assert drawn[top:bottom, left:right].sum() > 0.97 * drawn.sum(), row.image


# phantoms


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The default phantoms: 120 images."""
    return phantoms.write("thyroid", tmp_path_factory.mktemp("phantoms") / "thyroid")


@pytest.fixture(scope="module")
def frame(root):
    return datasets.read("thyroid", root)


def test_phantoms_are_as_many_as_asked_for_and_of_every_tirads(frame):
    assert frame["label"].value_counts().to_dict() == {"malignant": 80, "benign": 40}
    assert set(frame["tirads"]) == set(thyroid.LABELS)
    assert set(frame.groupby("patient").size()) == {1, 2, 3}


def test_one_phantom_case_in_thirteen_has_no_tirads_and_comes_on_top(frame, root):
    cases = {int(file.stem) for file in root.glob("*.xml")}
    without = {case for case in cases if phantom.tirads_of(case) is None}
    assert without == set(range(3, max(cases) + 1, 13)) and len(without) > 5
    n_images = sum(phantom.images_of(case, seed=0) for case in without)
    assert frame.attrs["excluded"]["no TI-RADS"]["n"] == n_images
    assert not [why for why in frame.attrs["excluded"] if "not read" in why]  # our own marker
    assert {b"<tirads" in (root / f"{case}.xml").read_bytes() for case in without} == {True, False}


def test_phantom_names_are_those_of_the_real_download(root):
    names = {path.name for path in root.iterdir()} - {phantoms.MARKER}
    assert all(re.fullmatch(r"\d+(\.xml|_[123]\.jpg)", name) for name in names)


def test_outlines_trace_the_drawn_nodules(frame, root):
    n_nodules = []
    for row in frame.itertuples():
        case, number = map(int, re.findall(r"\d+", row.image))
        image, drawn, _ = phantom.draw(case, number, seed=0, size=160)
        cells = manifest.masks(row.mask)
        assert len(cells) == len(drawn)
        n_nodules.append(len(drawn))
        for cell, nodule in zip(cells, drawn, strict=True):
            found = images.load_mask(root, cell)
            assert found.shape == image.shape == images.load(root / row.image).shape
            assert dice(found, nodule) > 0.95
        union = np.logical_or.reduce(drawn)
        assert dice(images.load_mask(root, row.mask), union) > 0.95
    assert 5 < n_nodules.count(2) < 30 and n_nodules.count(1) > 90


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_malignant_nodules_are_taller_and_darker_and_the_classes_overlap():
    height, echo = {"2": [], "5": []}, {"2": [], "5": []}
    for case in range(1, 400):
        if (tirads := phantom.tirads_of(case)) in height:
            image, (nodule, *_), _ = phantom.draw(case, 1, seed=0, size=64)
            rows, columns = (np.ptp(np.flatnonzero(nodule.any(axis))) + 1 for axis in (1, 0))
            height[tirads].append(rows / columns)
            echo[tirads].append(image[nodule].mean() - image.mean())
    assert np.median(height["2"]) < 0.8 and np.median(height["5"]) > 1.05
    assert np.median(echo["2"]) > np.median(echo["5"]) + 10
    assert max(height["2"]) > min(height["5"]) and min(echo["2"]) < max(echo["5"])
