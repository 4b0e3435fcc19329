"""Inputs that users really have: each is read right, refused in one sentence, or counted by name.

Every table holds one kind of input; the values are small enough to check by hand.
"""

import io
import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest
import test_bad_input
from PIL import Image
from pydicom import uid
from test_dicom import CT, EXACT, convert, expected, scene

from rin import datasets, dicom, images, paths, phantoms, predict, prepare
from rin.datasets import DatasetError

LESION = np.zeros((40, 48), bool)
LESION[10:20, 8:23] = True  # 150 pixels
clean_copies = test_bad_input.clean_copies


# masks


def grey(lesion, background=0, dtype=np.uint8):
    return Image.fromarray(np.where(LESION, lesion, background).astype(dtype))


def color(lesion, background=(0, 0, 0)):
    return Image.fromarray(np.where(LESION[..., None], lesion, background).astype(np.uint8))


def palette(indices, colors):
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette(np.array(colors).ravel().tolist())
    return picture


def smooth():
    """Edges drawn smoothly: many shades along them, most pixels black or white."""
    values, random = np.where(LESION, 255, 0), np.random.default_rng(0)
    inner = np.zeros_like(LESION)
    inner[11:19, 9:22] = True
    outer = np.zeros_like(LESION)
    outer[9:21, 7:24] = True
    bright, dark = (random.integers(*ends, LESION.shape) for ends in ((135, 255), (1, 120)))
    edge = np.where(LESION, bright, dark)
    return Image.fromarray(np.where(outer & ~inner, edge, values).astype(np.uint8))


def compressed(picture):
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=60)
    return Image.open(data)


def black_on_nothing():
    return Image.fromarray(np.dstack([0 * LESION] * 3 + [255 * LESION]).astype(np.uint8), "RGBA")


MASKS = {
    **{f"0 and {n}": (lambda n=n: grey(n), "png") for n in (1, 2, 100, 127, 128, 255)},
    "0 and 1 of 16 bits": (lambda: grey(1, dtype=np.uint16), "png"),
    "0 and 65535": (lambda: grey(65535, dtype=np.uint16), "png"),
    "0 and 1000, TIFF": (lambda: grey(1000, dtype=np.uint16), "tif"),
    "0 and 1, floats": (lambda: grey(1, dtype=np.float32), "tif"),
    "1 bit": (lambda: Image.fromarray(LESION), "png"),
    "1 bit, BMP": (lambda: Image.fromarray(LESION), "bmp"),
    "PGM": (lambda: grey(3), "pgm"),
    "WebP": (lambda: grey(2), "webp"),
    "labels 1 and 2": (lambda: Image.fromarray((LESION + (LESION.cumsum(1) > 7)).astype(np.uint8)
                                               * LESION), "png"),
    "red": (lambda: color((255, 0, 0)), "png"),
    "blue": (lambda: color((0, 0, 255)), "png"),
    "white, stored as color": (lambda: color((255, 255, 255)), "png"),
    "a label, stored as color": (lambda: color((2, 2, 2)), "png"),
    "red of a palette": (lambda: palette(LESION, [[0, 0, 0], [255, 0, 0]]), "png"),
    "a palette with white first": (lambda: palette(~LESION, [[255] * 3, [0] * 3]), "png"),
    "a palette of one color": (lambda: palette(LESION, [[0] * 3, [0] * 3]), "png"),
    "smooth edges": (smooth, "png"),
    "stored as JPEG before": (lambda: compressed(grey(255)), "png"),
    "JPEG file": (lambda: grey(255), "jpg"),
    "red as JPEG": (lambda: color((255, 0, 0)), "jpg"),
    "transparent around": (black_on_nothing, "png"),
    "array": (lambda: LESION, "npy"),
    "array of labels": (lambda: LESION * 2, "npy"),
}  # fmt: skip
UNTOLD = {
    "several labels, none of them 0": (lambda: grey(2, background=1), "none of them black"),
    "red on white": (lambda: color((255, 0, 0), (255, 255, 255)), "none of them black"),
    "a palette without black": (
        lambda: palette(LESION, [[255] * 3, [255, 0, 0]]), "none of them black"),
    "1 and 255 beside 0": (
        lambda: Image.fromarray(np.where(LESION, 255, np.arange(48) % 2).astype(np.uint8)),
        "labels, or traces of a compression"),
    "a picture": (
        lambda: Image.fromarray(np.arange(1920, dtype=np.uint32).reshape(40, 48).astype(np.uint8)),
        "not two that are clearly apart"),
    "labels as JPEG": (lambda: grey(20), "not two that are clearly apart"),
}  # fmt: skip


def put(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, picture) if path.suffix == ".npy" else picture.save(path, lossless=True)
    return path


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_marks_its_150_pixels_whatever_labels_the_lesion(name, tmp_path):
    make, suffix = MASKS[name]
    put(tmp_path / f"m.{suffix}", make())
    found = images.load_mask(tmp_path, f"m.{suffix}")
    wrong = 30 if suffix == "jpg" else 0  # red is stored at half the resolution
    assert abs(int(found.sum()) - 150) <= wrong and (found != LESION).sum() <= wrong


@pytest.mark.parametrize("name", UNTOLD)
def test_a_mask_that_cant_be_told_is_one_error(name, tmp_path):
    make, said = UNTOLD[name]
    file = put(tmp_path / ("m.jpg" if "JPEG" in name else "m.png"), make())
    with pytest.raises(images.ImageError, match=rf"{file.name}: holds .*{said}"):
        images.load_mask(tmp_path, file.name)


@pytest.mark.parametrize("stored", [np.uint8, np.uint16])
def test_a_dicom_mask_goes_by_its_stored_values(stored, tmp_path):
    dicom.write(tmp_path / "m.dcm", LESION.astype(stored), "m", bits=8 * stored().itemsize, **CT)
    assert (images.load_mask(tmp_path, "m.dcm") == LESION).all()


def own(root, make, n=40):
    """Images and masks of two classes, and the csv that names them."""
    rows = []
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 256, LESION.shape, dtype=np.uint8)
        put(root / f"i{i}.png", Image.fromarray(pixels))
        put(root / f"m/{i}.png", make(i))
        rows.append({"image": f"i{i}.png", "label": "ab"[i % 2], "mask": f"m/{i}.png"})
    pd.DataFrame(rows).to_csv(root / "list.csv", index=False)
    return {"csv": "list.csv", "mask": "mask", "folds": None}


def test_mask_values_say_which_labels_are_the_lesion(tmp_path):
    inner = LESION & (LESION.cumsum(1) > 5)
    options = own(tmp_path, lambda i: Image.fromarray((LESION * 1 + inner * 1).astype(np.uint8)))
    for values, pixels in ((None, 150), ([1, 2], 150), ([2], 100), ([1], 50)):
        frame = datasets.read("csv", tmp_path, duplicates=False, mask_values=values, **options)
        assert images.mask_opener(frame, tmp_path)(frame["mask"][0]).sum() == pixels
    for bad in (2, [], ["2"], [True], [False], [1.5]):
        with pytest.raises(ValueError, match="`mask_values` should be a list of ints"):
            datasets.read("csv", tmp_path, mask_values=bad, **options)
    put(tmp_path / "red.png", color((255, 0, 0)))
    with pytest.raises(images.ImageError, match="`mask_values` are labels of gray or palette"):
        images.load_mask(tmp_path, "red.png", values=[1])


@pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")
def test_empty_masks_and_those_that_cant_be_told_are_counted_and_said(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(paths, "root", lambda: tmp_path / "project")
    kinds = {0: lambda: grey(0), 1: lambda: grey(2, background=1)}
    options = own(tmp_path / "x", lambda i: kinds.get(i, lambda: grey(2))())
    table = datasets.check("csv", tmp_path / "x", **options).set_index("what")["found"]
    assert table["images whose mask marks nothing"] == 1 == table["masks that can't be used"]
    settings = {"data_dir": str(tmp_path / "x"), "image_size": 8, "options": options}
    with pytest.raises(images.ImageError, match=r"m/1\.png: holds 2 labels, none of them black"):
        prepare.prepare("csv", **settings)
    frame = prepare.prepare("csv", **settings, on_bad_image="skip").manifest
    assert "1 images have a mask that marks nothing" in capsys.readouterr().out
    assert frame.attrs["noted"]["images whose mask marks nothing"]["examples"] == ["i0.png"]
    assert frame.attrs["excluded"]["mask that can't be used, left out"]["examples"] == ["m/1.png"]
    assert frame["mask"].isna().sum() == 1


def test_the_masks_of_the_real_busi_mark_what_they_did(project_data):
    root = project_data("busi")
    frame = datasets.read("breast", root, duplicates=False).dropna(subset=["mask"])
    empty, bad = images.look_at_masks(frame, root)
    assert bad == {} and set(frame.set_index("image").loc[empty, "kind"]) == {"normal"}
    for cell in frame["mask"].iloc[::40]:
        with Image.open(root / cell.split("|")[0]) as picture:
            before = np.asarray(picture.convert("L")) > 127
        assert (images.load_mask(root, cell.split("|")[0]) == before).all()


# files that vanish, and files that should


def clutter(folder):
    """What operating systems and notebooks leave among images."""
    picture = sorted(p for p in folder.iterdir() if p.is_file())[0]
    for name in (".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/._a.png", "._0.png",
                 "__MACOSX/b.png", "@eaDir/a.png"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(picture, folder / name)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (folder / name).write_bytes(b"x")


def unread(folder):
    (folder / "notes.txt").write_text("x")
    (folder / "more.TXT").write_text("x")
    (folder / "picture.gif").write_bytes(b"GIF89a")
    (folder / "README").write_text("no image")


IMAGES_IN = {
    "thyroid": "",
    "breast": "Dataset_BUSI_with_GT/benign",
    "pediatric": "chest_xray/train/NORMAL",
    "sarscov2": "CP/*/*",
    "covid19": "images",
    "radimagenet": "radiology_ai/CT/lung/*",
    "acl": "MRNet-v1.0/train/sagittal",
    "meniscus": "MRNet-v1.0/valid/sagittal",
    "pneumonia": "stage_2_train_images",
    "hemorrhage": "*/stage_2_train",
    "folder": "a",
    "csv": "a",
}


@pytest.mark.parametrize("task", IMAGES_IN)
def test_every_reader_counts_what_it_does_not_read_and_passes_system_files_over(
    task, clean_copies, tmp_path
):
    source = clean_copies(task)
    before = test_bad_input.read(task, source)
    root = shutil.copytree(source, tmp_path / "copy")
    places = sorted(root.glob(IMAGES_IN[task])) if IMAGES_IN[task] else [root]
    folder = next(place for place in places if place.is_dir())
    clutter(folder)
    system = test_bad_input.read(task, root)
    assert list(system["image"]) == list(before["image"])
    assert system.attrs["excluded"] == before.attrs["excluded"]
    unread(folder)
    after = test_bad_input.read(task, root)
    assert list(after["image"]) == list(before["image"])
    new = {w: s["n"] for w, s in after.attrs["excluded"].items()
           if w not in before.attrs["excluded"]}  # fmt: skip
    kinds = {"files not read: .txt": 2, "files not read: .gif": 1, "files not read: no suffix": 1}
    assert new == kinds
    table = datasets.check(task, root, **test_bad_input.OPTIONS.get(task, {}))
    assert table.set_index("what")["found"]["left out: files not read: .txt"] == 2


def test_predict_passes_system_files_over_too(tmp_path, draw):
    draw(tmp_path / "a" / "0.png")
    clutter(tmp_path / "a")
    clutter_below = tmp_path / "a" / "deep"
    draw(clutter_below / "1.png")
    clutter(clutter_below)
    assert [p.name for p in predict.listed(tmp_path)] == ["0.png", "1.png"]


ODD = {  # name in the folder: how it is written
    "w.webp": lambda p, picture: picture.save(p, "WEBP", lossless=True),
    "t.tiff": lambda p, picture: picture.save(p, "TIFF"),
    "b.BMP": lambda p, picture: picture.save(p, "BMP"),
    "g.pgm": lambda p, picture: picture.save(p, "PPM"),
    "n.npy": lambda p, picture: np.save(p, np.asarray(picture)),
    "x0": lambda p, picture: picture.save(p, "PNG"),
    "1.2.840.55": lambda p, picture: dicom.write(p, np.asarray(picture), "k", **CT),
    "tiff": lambda p, picture: picture.save(p, "TIFF"),
    "webp": lambda p, picture: picture.save(p, "WEBP", lossless=True),
    "pgm": lambda p, picture: picture.save(p, "PPM"),
    "bmp": lambda p, picture: picture.save(p, "BMP"),
}


def test_images_of_other_suffixes_and_of_none_are_read(tmp_path, draw):
    pixels = draw(tmp_path / "a" / "0.png")
    draw(tmp_path / "b" / "0.png", seed=1)
    for name, write in ODD.items():
        write(tmp_path / "a" / name, Image.fromarray(pixels))
    Image.fromarray(pixels).save(tmp_path / "a" / "j.jfif", "JPEG", quality=95)
    frame = datasets.read("folder", tmp_path, duplicates=False)
    assert (frame["label"] == "a").sum() == len(ODD) + 2 and frame.attrs["excluded"] == {}
    assert len(predict.listed(tmp_path / "a")) == len(ODD) + 2
    for name in ODD:
        assert (images.load(tmp_path / "a" / name) == pixels).all(), name
    draw(tmp_path / "stray.png")
    excluded = datasets.read("folder", tmp_path, duplicates=False).attrs["excluded"]
    assert excluded["images in no class folder"]["examples"] == ["stray.png"]


def test_what_may_be_a_name_is_not_told_as_a_suffix(tmp_path, draw):
    for folder in "ab":
        draw(tmp_path / folder / "0.png")
    for name in ("ward 3.Jane Doe", "x.Hildegard", "notes.txt"):
        (tmp_path / "a" / name).write_text("no image")
    counted = datasets.read("folder", tmp_path, duplicates=False).attrs["excluded"]
    counted = {why: said["n"] for why, said in counted.items()}
    assert counted == {"files not read: other suffix": 2, "files not read: .txt": 1}


def test_images_beside_those_a_csv_names_are_counted(clean_copies, tmp_path, draw):
    root = shutil.copytree(clean_copies("csv"), tmp_path / "copy")
    draw(root / "a" / "new.webp")
    excluded = test_bad_input.read("csv", root).attrs["excluded"]
    assert excluded == {"images in no row of the csv": {"n": 1, "examples": ["a/new.webp"]}}


@pytest.mark.parametrize(
    "names, said",
    [
        (["train", "test"], r"folders of sets: test, train; .*one level down \(NORMAL, ILL\)"),
        (["Train", "Validation", "Test"], "folders of sets: Test, Train, Validation"),
        (["images", "masks"], "folders of kinds of files: images, masks"),
    ],
)
def test_folders_of_sets_are_no_classes(names, said, tmp_path, draw):
    for name in names:
        for kind in ("NORMAL", "ILL"):
            draw(tmp_path / name / kind / "0.png")
    said = said.replace("NORMAL, ILL", "ILL, NORMAL")
    with pytest.raises(DatasetError, match=said):
        datasets.read("folder", tmp_path)


# pixels


RAMP = {"16": np.array([[0, 32768, 65535]] * 4, np.uint16), "8": np.array([[0, 128, 255]] * 4,
        np.uint8), "1": np.array([[False, True, True]] * 4)}  # fmt: skip
WHITE_IS_ZERO = {
    **{("16", c): [255, 127, 0] for c in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")},
    **{("8", c): [0, 128, 255] for c in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")},
    **{("1", c): [0, 255, 255] for c in (None, "tiff_lzw", "packbits", "group3", "group4")},
}


STORED = ["fde07f63db7d7145", "e7059cdfff107376", "3b91e7f661add09e"]


@pytest.mark.parametrize("bits, compression", WHITE_IS_ZERO)
def test_a_tiff_in_which_white_is_zero_is_inverted(bits, compression, tmp_path):
    """Pillow stores 1 and 8 bits inverted, and 16 bits as they are: in the file 0 is white."""
    file = tmp_path / "a.tif"
    Image.fromarray(RAMP[bits]).save(file, compression=compression, tiffinfo={262: 0})
    with Image.open(file) as picture:
        assert picture.tag_v2[262] == 0
    assert images.load(file)[0].tolist() == WHITE_IS_ZERO[bits, compression]


def test_the_version_of_a_store_stands_for_how_files_are_decoded(tmp_path):
    """Stored pixels outlive the code that decoded them: other pixels, another version."""
    Image.fromarray(RAMP["16"]).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.save(tmp_path / "b.npy", RAMP["16"].astype(">u2"))
    header = {"bits": 12, "RescaleSlope": "1", "RescaleIntercept": "0"}
    dicom.write(tmp_path / "c.dcm", (head(0) % 4096).astype(np.uint16), "c", **header, **CT)
    found = [images.image_id(images.load(tmp_path / name)) for name in ("a.tif", "b.npy", "c.dcm")]
    assert (images.STORE_VERSION, found) == (2, STORED)


def test_twelve_bits_are_inverted_within_twelve(tmp_path):
    values = np.array([[0, 2048, 4095]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={262: 0})
    assert images.load(tmp_path / "a.tif", bits=12).tolist() == [[255, 127, 0]]


ARRAYS = [
    (np.array([[0, 7, 255]], np.uint8), [0, 7, 255]),
    (np.array([[False, True]]), [0, 255]),
    (np.array([[0, 32768, 65535]], np.uint16), [0, 128, 255]),
    (np.array([[0, 255, 65535]], ">u2"), [0, 1, 255]),
    (np.array([[0, 7, 255]], np.int64), [0, 7, 255]),
    (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
]
BAD_ARRAYS = [
    (np.array([[0, 300]], np.int32), "an array of int32 from 0 to 300, 0 to 255 expected"),
    (np.array([[-1, 3]], np.int16), "an array of int16 from -1 to 3"),
    (np.array([[0, 2.0]]), "an array of float64 from 0 to 2, 0 to 1 expected"),
    (np.array([[0, np.nan]]), "from nan to nan"),
    (np.zeros((2, 3, 4), np.uint8), r"name one slice of it, as in v\.npy#0"),
    (np.zeros(3, np.uint8), r"\(rows, columns\) expected"),
    (np.array([["a"]]), r"\(rows, columns\) expected"),
    (np.array([[{}]]), "Python objects|allow_pickle"),
]


@pytest.mark.parametrize("values, wanted", ARRAYS, ids=[str(a.dtype) for a, _ in ARRAYS])
def test_an_array_of_two_dimensions_is_an_image(values, wanted, tmp_path):
    np.save(tmp_path / "v.npy", values)
    assert images.load(tmp_path / "v.npy").tolist() == [wanted]
    found = images.load(tmp_path / "v.npy")
    assert found.dtype == np.uint8 and predict.listed(tmp_path) == [tmp_path / "v.npy"]


@pytest.mark.parametrize("values, said", BAD_ARRAYS, ids=[said[:20] for _, said in BAD_ARRAYS])
def test_an_array_that_is_no_image_is_one_error(values, said, tmp_path):
    np.save(tmp_path / "v.npy", values)
    with pytest.raises(images.ImageError, match=said):
        images.load(tmp_path / "v.npy")


def test_the_message_of_accepted_formats_names_them_all(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(images.ImageError) as caught:
        images.load(tmp_path / "a.png")
    for name in ("PNG", "JPEG", "TIFF", "BMP", "WebP", "PGM", ".npy", "DICOM"):
        assert name in str(caught.value)


SYNTAXES = ["ExplicitVRLittleEndian", *EXACT]


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_overlay_bits_are_cut_off_in_every_transfer_syntax(syntax, signed, tmp_path):
    values = scene(12, signed)
    overlay = np.where(np.indices(values.shape)[1] % 3 == 0, 0xA000, 0x1000)
    spoilt = ((values.astype(int) & 0xFFF) | overlay).astype(np.uint16)
    path = tmp_path / "a.dcm"
    dicom.write(path, spoilt.view(np.int16) if signed else spoilt, key="a", bits=16, **CT)
    if not syntax.startswith("Deflated"):  # gdcm can't write it of such values
        convert(path, syntax)
    file = pydicom.dcmread(path)
    file.BitsStored, file.HighBit = 12, 11
    if syntax.startswith("Deflated"):
        file.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    file.save_as(path)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == EXACT.get(
        syntax, uid.ExplicitVRLittleEndian
    )
    assert (dicom.read(path) == expected(values, 12)).all()


# known defects of datasets


def head(shift):
    """A head in air, in Hounsfield units, as stored by a scanner that counts from −shift."""
    y, x = np.mgrid[:64, :64] - 32
    units = np.where(x**2 + y**2 < 24**2, 40, -1000)
    units = np.where((x**2 + y**2 < 26**2) & (units == -1000), 1000, units)
    units[32, 32] = 2500  # a clip
    return units + shift


WRAPPED = {  # stored values, elements of the header, whether they are repaired
    "wrapped": (head(0) % 4096, {"RescaleIntercept": "0"}, True),
    "wrapped, intercept 1": (head(0) % 4096, {"RescaleIntercept": "1"}, True),
    "wrapped, air at -1024": (np.where(head(0) < 0, -1024, head(0)) % 4096,
                              {"RescaleIntercept": "0"}, True),
    "sound, from -1024": (head(1024), {"RescaleIntercept": "-1024"}, False),
    "sound, from -1000": (head(1000), {"RescaleIntercept": "-1000"}, False),
    "sound, signed": (head(0).astype(np.int16), {"RescaleIntercept": "0", "bits": 16}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_air_is_black_and_a_head_grey_whatever_the_intercept_says(name, tmp_path):
    values, header, repaired = WRAPPED[name]
    pixels = values if values.dtype == np.int16 else values.astype(np.uint16)
    dicom.write(tmp_path / "a.dcm", pixels, "a", **{"bits": 12, "RescaleSlope": "1"} | header | CT)
    found = images.load(tmp_path / "a.dcm", window=(40, 80))
    assert found[0, 0] == 0 and found[32, 32] == 255
    assert abs(int(found[20, 32]) - 128) <= 3 and found[32, 57] == 255
    assert dicom.may_wrap(dicom.tags(tmp_path / "a.dcm", dicom.WRAP_TAGS)) == repaired


def test_twelve_bits_that_fill_their_range_have_not_wrapped(tmp_path):
    header = {"RescaleIntercept": "0", "RescaleSlope": "1"}
    dicom.write(tmp_path / "a.dcm", scene(12), "a", bits=12, **header, **CT)
    assert (dicom.read(tmp_path / "a.dcm") == expected(scene(12), 12)).all()


def test_the_wrapped_slices_of_rsna_2019_are_put_right_and_counted(tmp_path):
    root = phantoms.write("hemorrhage", tmp_path / "r", n=40, size=40)
    before = datasets.read("hemorrhage", root)
    assert before.attrs["noted"] == {}
    for name in before["image"][::10]:
        file = pydicom.dcmread(root / name)
        units = file.pixel_array.astype(int) + int(float(str(file.RescaleIntercept)))
        sound = images.load(root / name, window=(40, 80))
        header = {"RescaleIntercept": "0", "RescaleSlope": "1", "PatientID": file.PatientID}
        wrapped = (np.maximum(units, -1000) % 4096).astype(np.uint16)
        dicom.write(root / name, wrapped, name, bits=12, Modality="CT", **header)
        assert (images.load(root / name, window=(40, 80)) == sound).all()
    after = datasets.read("hemorrhage", root)
    (said,) = after.attrs["noted"].values()
    assert len(after) == len(before) and said["n"] == 4
    for task, options in (("hemorrhage", {}), ("folder", {})):
        home = root if task == "hemorrhage" else classes(after, root, tmp_path / "f")
        table = datasets.check(task, home, **options).set_index("what")["found"]
        assert table[next(w for w in table.index if w.startswith("repaired: "))] == 4


def classes(frame, root, home):
    """The same files, in a folder a class."""
    for n, (name, label) in enumerate(zip(frame["image"], frame["label"], strict=True)):
        (home / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, home / label / f"{n}.dcm")
    return home
