"""Images: every kind of file to grey uint8, and a store that is whole or not there."""

import shutil
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rin import images, manifest, own_images

GREY = np.array([[0, 100, 200, 255]], dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, draw):
    """A root of six images and its manifest."""
    for n in range(6):
        draw(tmp_path / "root" / f"{n}.png", seed=n, shape=(20 + n, 24))
    frame = pd.DataFrame({"image": [f"{n}.png" for n in range(6)], "label": list("xyxyxy")})
    return manifest.validate(frame), tmp_path / "root", tmp_path / "store"


def saved(path, picture, **options):
    picture.save(path, **options)
    return path


def rgba(alpha, mode="RGBA"):
    layers = [GREY] * 3 if mode == "RGBA" else [GREY]
    return Image.fromarray(np.stack([*layers, np.full_like(GREY, alpha)], -1), mode)


def palette():
    picture = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    picture.putpalette([10] * 3 + [120] * 3 + [240] * 3)
    return picture


PICTURES = {
    "grey": (lambda: Image.fromarray(GREY), {}, [0, 100, 200, 255]),
    "colour, by luma": (lambda: Image.new("RGB", (1, 1), (255, 0, 0)), {}, [76]),
    "16 bits": (
        lambda: Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)),
        {},
        [0, 128, 255],
    ),
    "alpha over black": (lambda: rgba(128), {}, [0, 50, 100, 128]),
    "grey and alpha over black": (lambda: rgba(0, "LA"), {}, [0, 0, 0, 0]),
    "palette": (palette, {}, [10, 120, 240]),
    "palette, one colour clear": (palette, {"transparency": 1}, [10, 0, 240]),
    "palette, alpha a colour": (palette, {"transparency": bytes([255, 128, 0])}, [10, 60, 0]),
    "grey, one value clear": (
        lambda: Image.fromarray(GREY),
        {"transparency": 200},
        [0, 100, 0, 255],
    ),
    "1 bit": (lambda: Image.fromarray(GREY > 150), {}, [0, 0, 255, 255]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_any_png_becomes_grey(name, tmp_path):
    make, options, expected = PICTURES[name]
    grey = images.load(saved(tmp_path / "a.png", make(), **options))
    assert grey.dtype == np.uint8 and grey.tolist() == [expected]


def test_twelve_of_sixteen_bits_are_spread_when_asked(tmp_path):
    values = Image.fromarray(np.array([[0, 2048, 4095, 9000]], dtype=np.uint16))
    path = saved(tmp_path / "a.png", values)
    assert images.load(path, bits=12).tolist() == [[0, 128, 255, 255]]
    assert images.load(path).tolist() == [[0, 8, 16, 35]]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_any_jpeg_becomes_grey(mode, tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("L", (16, 8), 200).convert(mode), quality=95)
    grey = images.load(path)
    assert grey.shape == (8, 16) and grey.dtype == np.uint8
    assert np.abs(grey.astype(int) - 200).max() <= 3


def test_an_exif_rotation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert images.load(saved(tmp_path / "a.jpg", Image.new("L", (16, 8)), exif=exif)).shape == (
        8,
        16,
    )


def png(width, height, *chunks):
    """A PNG of zeros, with any size in its head."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def two_frames(path):
    Image.new("L", (4, 4)).save(path, save_all=True, append_images=[Image.new("L", (4, 4), 9)])
    return path.read_bytes()


BROKEN = {
    "empty": (b"", f"is empty, or no {images.ACCEPTED}"),
    "text": (b"not an image at all", f"is empty, or no {images.ACCEPTED}"),
    "garbage": (bytes(range(256)) * 8, f"is empty, or no {images.ACCEPTED}"),
    "garbage behind a PNG's head": (png(8, 8)[:40] + bytes(range(256)), ""),
    "too many pixels": (png(9000, 9000), "9000×9000 pixels"),
    "a bomb": (png(60000, 60000), "exceeds limit"),
    "a bomb of text": (png(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))), "too large"),
    "eps, which runs programs": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n", "no PNG"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_an_image_error_that_names_it(name, tmp_path):
    content, reason = BROKEN[name]
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(images.ImageError) as caught:
        images.load(path)
    assert str(caught.value).startswith(f"{path}: ") and reason in str(caught.value)
    assert list(caught.value.problems) == [str(path)]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_file_is_an_image_error(suffix, tmp_path, draw):
    path = tmp_path / f"a.{suffix}"
    draw(path, shape=(60, 80))
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(images.ImageError, match=f"a.{suffix}"):
            images.load(path)


def test_flipped_bytes_give_an_image_or_an_image_error(tmp_path, draw):
    random = np.random.default_rng(0)
    for suffix in ("png", "jpg"):
        path = tmp_path / f"a.{suffix}"
        draw(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(100):
            bad = whole.copy()
            bad[random.integers(len(bad))] ^= 1 << random.integers(8)
            path.write_bytes(bad.tobytes())
            try:
                assert images.load(path).dtype == np.uint8
            except images.ImageError as error:
                assert list(error.problems) == [str(path)]


def test_what_is_no_file_is_an_image_error_too(tmp_path):
    for path, reason in [
        (tmp_path / "no.png", "no such file"),
        (tmp_path, "a file is expected"),
        (None, "not NoneType"),
        ("", "a file is expected"),
        (7, "not int"),
        ("\0", "no such file"),
    ]:
        with pytest.raises(images.ImageError) as caught:
            images.load(path)
        assert str(caught.value).startswith(f"{path}: ") and reason in str(caught.value)


def test_frames_floats_and_wrong_bits_are_refused(tmp_path):
    two_frames(tmp_path / "two.png")
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "float.tif")
    for name, options, reason in [
        ("two.png", {}, "2 frames, one expected"),
        ("float.tif", {}, "floating-point"),
        ("two.png", {"bits": 8}, "`bits` should be 9 to 16"),
    ]:
        with pytest.raises(images.ImageError, match=reason):
            images.load(tmp_path / name, **options)


def test_masks_of_one_image_are_united(tmp_path):
    left, right = np.zeros((2, 4, 6), bool)
    left[:, 0], right[1, 5] = True, True
    saved(tmp_path / "a.png", Image.fromarray(left))
    saved(tmp_path / "b.png", Image.fromarray(right))
    assert (images.load_mask(tmp_path, "a.png|b.png") == (left | right)).all()
    small = images.load_mask(tmp_path, "a.png", size=2)
    assert small.dtype == bool and small.shape == (2, 2)


def test_masks_that_do_not_fit_or_are_absent_are_named(tmp_path):
    saved(tmp_path / "a.png", Image.new("L", (4, 4)))
    saved(tmp_path / "b.png", Image.new("L", (5, 4)))
    for cell, reason in [("a.png|b.png", r"b.png: mask is \(4, 5\)"), (None, "names no mask")]:
        with pytest.raises(images.ImageError, match=reason):
            images.load_mask(tmp_path, cell)


def test_a_mask_of_zeros_and_ones_is_no_empty_mask(tmp_path):
    for name, values in (("ones", [[0, 1]]), ("usual", [[0, 255]]), ("empty", [[0, 0]])):
        saved(tmp_path / f"{name}.png", Image.fromarray(np.array(values, np.uint8)))
    assert images.load_mask(tmp_path, "ones.png").tolist() == [[False, True]]
    assert images.load_mask(tmp_path, "usual.png").tolist() == [[False, True]]
    assert not images.load_mask(tmp_path, "empty.png").any()


def test_masks_of_another_size_than_their_image_are_found(folder, draw):
    frame, root, home = folder
    draw(root / "m0.png", shape=(20, 24))
    draw(root / "m1.png", shape=(24, 21))
    (root / "m2.png").write_bytes(b"no image")
    frame = frame.assign(mask=["m0.png", "m0.png|m1.png", "m2.png", *[None] * 3])
    found = images.misfits(frame, root, images.store(frame, root, 8, home))
    assert found == {
        "m0.png": "mask is 24×20, its image 24×21",  # of 1.png
        "m1.png": "mask is 21×24, its image 24×21",
        "m2.png": "can't be read (UnidentifiedImageError)",
    }


VOLUME = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def test_one_slice_of_a_volume_is_an_image(tmp_path):
    np.save(tmp_path / "v.npy", VOLUME)
    assert (images.load(tmp_path / "v.npy#1") == VOLUME[1]).all()
    shutil.copy(tmp_path / "v.npy", tmp_path / "W.NPY")
    assert (images.load(tmp_path / "W.NPY#1") == VOLUME[1]).all()
    assert len(own_images.listed(tmp_path / "W.NPY")) == 2


@pytest.mark.parametrize(
    "wrong, said",
    [
        (VOLUME[0], "uint8 \\(slices, rows, columns\\) expected"),
        (VOLUME.astype(float), "an array of float64"),
        (VOLUME[:1], "has 1 slices, no slice 1"),
        (np.array([{"a": 1}]), "allow_pickle=False|Python objects"),
    ],
)
def test_a_volume_that_is_none_is_refused_and_never_unpickled(wrong, said, tmp_path):
    np.save(tmp_path / "v.npy", wrong)
    with pytest.raises(images.ImageError, match=said):
        images.load(tmp_path / "v.npy#1")


def test_a_truncated_volume_is_refused(tmp_path):
    np.save(tmp_path / "v.npy", VOLUME)
    whole = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(whole[:-5])
    with pytest.raises(images.ImageError, match="v.npy#1"):
        images.load(tmp_path / "v.npy#1")


def test_the_window_of_a_row_reaches_the_decoder_and_makes_a_store_of_its_own(folder, monkeypatch):
    frame, root, home = folder
    seen, plain = [], images.load
    monkeypatch.setattr(
        images,
        "load",
        lambda path, window=None, **_: seen.append((path.name, window)) or plain(path),
    )
    frame = frame.assign(window=["40/80", None, *["50/350.5"] * 4])
    first = images.store(frame, root, 8, home, workers=1)
    assert seen[:3] == [("0.png", (40, 80)), ("1.png", None), ("2.png", (50, 350.5))]
    assert images.store(frame.drop(columns="window"), root, 8, home).folder != first.folder


def test_black_outside_of_the_scan_makes_a_store_of_its_own(tmp_path):
    picture = np.zeros((60, 80), np.uint8)
    picture[5:45, 10:70], picture[50:54, 20:40:3] = 120, 255  # a scan, and writing below it
    Image.fromarray(picture).save(tmp_path / "a.png")
    frame = manifest.validate(pd.DataFrame({"image": ["a.png"], "label": ["x"]}), tmp_path)
    kept = images.store(frame, tmp_path, 60, tmp_path / "store")
    blank = images.store(frame.assign(outside="black"), tmp_path, 60, tmp_path / "store")
    assert kept.folder != blank.folder and kept.fingerprint != blank.fingerprint
    assert kept.array[0, 48:].max() > 0 and blank.array[0, 48:].max() == 0
    assert (kept.array[0, 8:42] == blank.array[0, 8:42]).all()
    with pytest.raises(images.ImageError, match="`outside` should be None or 'black'"):
        images.load(tmp_path / "a.png", outside="white")


def test_a_volume_is_hashed_once_for_all_its_slices(tmp_path, monkeypatch):
    np.save(tmp_path / "v.npy", VOLUME)
    frame = pd.DataFrame({"image": ["v.npy#0", "v.npy#1"], "label": ["a", "b"]})
    seen, plain = [], images._file_hash
    monkeypatch.setattr(images, "_file_hash", lambda path: seen.append(path) or plain(path))
    opened = images.store(manifest.validate(frame, tmp_path), tmp_path, 4, tmp_path / "store")
    assert seen == [str(tmp_path / "v.npy")] and opened.array.shape == (2, 4, 4)


def test_resizing_makes_a_square_and_refuses_nonsense():
    image = np.tile(GREY, (4, 1))
    assert images.resize(image, 2).shape == (2, 2)
    assert images.resize(image, 2, "nearest").tolist() == [[100, 255]] * 2
    for size in (0, -1, 2.5, None):
        with pytest.raises(ValueError, match="`size` should be an int of at least 1"):
            images.resize(image, size)
    with pytest.raises(ValueError, match="`interpolation` should be one of"):
        images.resize(image, 2, "cubic")


def test_a_store_holds_every_image_in_the_manifest_order(folder):
    frame, root, home = folder
    store = images.store(frame, root, 16, home)
    assert store.array.shape == (6, 16, 16) and store.array.dtype == np.uint8
    assert isinstance(store.array, np.memmap) and not store.array.flags.writeable
    assert store.bad == {} and list(store.index["image"]) == list(frame["image"])
    for row, name in enumerate(frame["image"]):
        image = images.load(root / name)
        assert (store.array[row] == images.resize(image, 16)).all()
        facts = store.index.iloc[row]
        assert facts["image_id"] == images.image_id(image)
        assert (facts["height"], facts["width"]) == image.shape
        assert facts["n_bytes"] == (root / name).stat().st_size


def test_a_store_is_decoded_once(folder, monkeypatch):
    frame, root, home = folder
    first = images.store(frame, root, 16, home)
    monkeypatch.setattr(images, "load", None)  # would fail if called
    again = images.store(frame, root, 16, home)
    assert again.folder == first.folder and again.fingerprint == first.fingerprint
    assert (again.array == first.array).all()


def test_shuffled_rows_and_other_roots_give_the_same_bytes(folder, tmp_path):
    frame, root, home = folder
    first = images.store(frame, root, 16, home)
    (tmp_path / "moved").symlink_to(root)
    shuffled = manifest.validate(frame.sample(frac=1, random_state=0))
    again = images.store(shuffled, tmp_path / "moved", 16, tmp_path / "other", workers=1)
    assert again.folder.name == first.folder.name
    for name in ("images.npy", "index.parquet"):
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes()


def test_a_changed_file_size_or_interpolation_makes_a_new_store(folder, draw):
    frame, root, home = folder
    stores = [images.store(frame, root, 16, home), images.store(frame, root, 12, home)]
    stores.append(images.store(frame, root, 16, home, interpolation="nearest"))
    draw(root / "3.png", seed=99)
    stores.append(images.store(frame, root, 16, home))
    assert len({store.folder for store in stores}) == 4
    assert len({store.fingerprint for store in stores}) == 4
    assert (stores[3].array[3] == images.resize(images.load(root / "3.png"), 16)).all()


def test_unreadable_images_stop_the_run_and_all_are_named(folder):
    frame, root, home = folder
    (root / "1.png").write_bytes(b"")
    (root / "4.png").unlink()
    with pytest.raises(images.ImageError, match="^2 images can't be read") as caught:
        images.store(frame, root, 16, home)
    assert list(caught.value.problems) == [str(root / "1.png"), str(root / "4.png")]
    assert list(home.iterdir()) == []


def test_unreadable_images_are_left_out_when_asked(folder):
    frame, root, home = folder
    (root / "1.png").write_bytes(b"")
    for _ in range(2):  # made, then reopened
        store = images.store(frame, root, 16, home, on_bad_image="skip")
        assert store.bad == {"1.png": f"is empty, or no {images.ACCEPTED}"}
        assert list(store.index["image"]) == ["0.png", "2.png", "3.png", "4.png", "5.png"]
        assert len(store.array) == 5 and isinstance(store.array, np.memmap)
        assert (store.array[1] == images.resize(images.load(root / "2.png"), 16)).all()
    with pytest.raises(images.ImageError, match="1.png"):
        images.store(frame, root, 16, home)


def test_a_store_without_any_readable_image_is_refused(folder):
    frame, root, home = folder
    for name in frame["image"]:
        (root / name).write_bytes(b"")
    with pytest.raises(images.ImageError, match="6 images can't be read"):
        images.store(frame, root, 16, home, on_bad_image="skip")


def test_arguments_of_a_store_are_checked(folder):
    frame, root, home = folder
    for options in ({"on_bad_image": "ignore"}, {"interpolation": "cubic"}, {"size": None}):
        name = next(iter(options))
        with pytest.raises(ValueError, match=f"`{name}` should be"):
            images.store(frame, root, **({"size": 16, "folder": home} | options))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_an_interrupted_fill_leaves_no_half_store(folder, monkeypatch, error):
    frame, root, home = folder
    load = images.load

    def interrupted(path, **_):
        if path.name == "3.png":
            raise error
        return load(path)

    with monkeypatch.context() as patch:
        patch.setattr(images, "load", interrupted)
        with pytest.raises((KeyboardInterrupt, OSError)):
            images.store(frame, root, 16, home)
    assert list(home.iterdir()) == []
    assert len(images.store(frame, root, 16, home).array) == 6


def test_a_store_that_does_not_fit_the_disk_is_refused(folder, monkeypatch):
    frame, root, home = folder
    monkeypatch.setattr(images.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**10))
    with pytest.raises(OSError, match="store: the store takes 0.0 GiB, 0.0 are free"):
        images.store(frame, root, 16, home)


def test_threads_that_fill_one_store_at_once_agree(folder):
    frame, root, home = folder
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: images.store(frame, root, 16, home), range(8)))
    assert len({store.folder for store in stores}) == 1 == len(list(home.iterdir()))
    assert all((store.array == stores[0].array).all() for store in stores)


def test_processes_that_fill_one_store_at_once_agree(folder):
    frame, root, home = folder
    frame.to_parquet(root / "m.parquet")
    code = (
        "import sys, pandas as pd; from rin import images; root, home = sys.argv[1:]; "
        "frame = pd.read_parquet(root + '/m.parquet'); input(); "
        "print(images.store(frame, root, 16, home).array.sum())"
    )
    command = [sys.executable, "-c", code, str(root), str(home)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    started = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in started:  # both are ready before either begins
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert said[0] == said[1] == f"{images.store(frame, root, 16, home).array.sum()}\n"
    assert len(list(home.iterdir())) == 1


def test_a_broken_leftover_is_replaced(folder):
    frame, root, home = folder
    first = images.store(frame, root, 16, home)
    (first.folder / "index.parquet").unlink()
    assert len(images.store(frame, root, 16, home).array) == 6
