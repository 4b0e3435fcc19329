"""Images: decode to grey uint8, resize, and keep a dataset as one memory-mapped array."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from rin import dicom, masks, polygons, scans
from rin import manifest as manifests

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,  # antialiased when it shrinks
    "nearest": Image.Resampling.NEAREST,  # what the official loader does by default
}
# Pillow knows more, some of which run other programs; PPM stands for PGM and PBM too
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
ACCEPTED = "PNG, JPEG, TIFF, BMP, WebP, PGM, NumPy (.npy) or DICOM file"
LOSSY = ("JPEG", "MPO")
NUMPY = b"\x93NUMPY"  # how a .npy begins
WHITE_IS_ZERO, PHOTOMETRIC = 0, 262  # of a TIFF's tag
MAX_PIXELS = dicom.MAX_PIXELS
ON_BAD_IMAGE = ("stop", "skip")
SLICE = re.compile(r"^(?P<file>.+\.npy)#(?P<number>\d+)$", re.I)  # one slice of a volume
BATCH = 10_000  # files handed to the threads at once: a million waiting calls fill the memory
STORE_VERSION = 2  # raise it when the stored pixels change


class ImageError(Exception):
    """One or more images that can't be read; `.problems` maps each file to its reason."""

    def __init__(self, problems):
        self.problems = dict(problems)
        lines = [f"{name}: {reason}" for name, reason in self.problems.items()]
        head = f"{len(lines)} images can't be read\n" if len(lines) > 1 else ""
        super().__init__(head + "\n".join(lines))


@dataclass(frozen=True)
class Store:
    """A dataset's pixels at one size.

    Attributes:
        array: `(n, size, size)` uint8, memory-mapped read-only, in the order of `index`.
        index: DataFrame with `image` (path under the root), `image_id` (hash of the decoded
            pixels, 16 hex digits), `width`, `height` (before resizing) and `n_bytes` (of the file).
        bad: dict from image to the reason why it was left out; empty with `on_bad_image="stop"`.
        folder: where both lie.
    """

    array: np.ndarray
    index: pd.DataFrame
    bad: dict
    folder: Path

    @property
    def fingerprint(self):
        """16 hex digits over every decoded pixel, the size and the interpolation."""
        text = "".join(self.index["image_id"]) + self.folder.name.rsplit("-", 1)[0]
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(path, bits=None, window=None, outside=None):
    """Decode one PNG, JPEG, TIFF, BMP, WebP, PGM, `.npy` or DICOM file to grey.

    The content decides what a file is, not its name. Any mode, 8 or 16 bits; alpha over black; a
    TIFF in which white is 0 is inverted. Pixels come as they are stored: an EXIF orientation is
    not applied, as in the official code, so that image, mask and published folds keep one
    geometry. `volume.npy#12` is slice 12 of a uint8 volume `(slices, h, w)`. An array `(h, w)` is
    an image: bool, uint8, uint16 (as 16 bits), other ints from 0 to 255, floats from 0 to 1.

    Args:
        path: the file.
        window: (level, width) of a DICOM image, in the units its rescale slope gives (Hounsfield
            for CT): level − width/2 becomes 0, level + width/2 becomes 255. Default: the window
            its header names, else its full range.
        bits: significant bits of a 16-bit file, 9 to 16; default 16. Scanners often fill
            only 12 of them, which `bits=12` spreads over 0–255.
        outside: "black" makes everything black that is not the scan (see `rin.scans`), so that
            no writing beside it is seen; default: as it is.

    Returns:
        `(h, w)` uint8, 0–255.

    Raises:
        ImageError: whatever goes wrong, naming the file.
    """
    try:
        if outside not in (None, "black"):
            raise ValueError(f"`outside` should be None or 'black'. Received: outside={outside!r}")
        image = _decode(path, bits, window)
        return image if outside is None else scans.blank_outside(image)
    except Exception as error:
        raise ImageError({str(path): str(error) or type(error).__name__}) from error


def opener(manifest, root):
    """A function from an image's name to its pixels, in its own window where it has one.

    Args:
        manifest: a validated manifest; its column `window`, if any, holds "level/width" or NA, its
            column `outside` "black" or NA (see `load`).
        root: folder its paths start from.
    """
    windows, outside = {}, {}
    if "outside" in manifest:
        named = manifest.dropna(subset=["outside"])
        outside = dict(zip(named["image"], named["outside"], strict=True))
    if "window" in manifest:
        named = manifest.dropna(subset=["window"])
        pairs = named["window"].str.split("/", expand=True).astype(float)
        windows = dict(zip(named["image"], pairs.itertuples(index=False, name=None), strict=True))
    return lambda name: load(Path(root) / name, window=windows.get(name), outside=outside.get(name))


def load_mask(root, cell, size=None, values=None):
    """The union of one manifest row's masks: bool, `(h, w)` or `(size, size)` (nearest).

    A mask is an image file, or `case.xml#1.0`: region 0 drawn on image 1 of a DDTI case. Which
    pixels of a file are the lesion is said in `rin.masks.lesion`: all that are not 0 or black,
    whatever their label or color, as long as that can be told.

    Args:
        root: folder the manifest's paths start from.
        cell: the manifest's `mask` cell, several paths joined by "|".
        values: ints, the labels that are lesion; default every one but 0.

    Raises:
        ImageError: a mask can't be read, its lesion can't be told, or masks of one image differ
            in size.
    """
    files = [Path(root) / name for name in manifests.masks(cell)]
    if not files:
        raise ImageError({str(root): "the manifest row names no mask"})
    layers = [_mask_layer(file, values) for file in files]
    for file, layer in zip(files, layers, strict=True):
        if layer.shape != layers[0].shape:
            said = (
                f"mask is {layer.shape}, the image's first mask {layers[0].shape} (rows, columns)"
            )
            raise ImageError({str(file): said})
    union = np.logical_or.reduce(layers)
    return union if size is None else resize(union.astype(np.uint8), size, "nearest") > 0


def mask_opener(manifest, root, size=None):
    """A function from a `mask` cell to its pixels, by the `mask_values` of the manifest, if any.

    Args:
        manifest: a validated manifest; its column `mask_values`, if any, holds labels such as
            "1 2", the same in all rows.
        root, size: see `load_mask`.
    """
    named = manifest["mask_values"].dropna() if "mask_values" in manifest else ()
    values = [int(word) for word in named.iloc[0].split()] if len(named) else None
    return lambda cell: load_mask(root, cell, size, values)


def look_at_masks(manifest, root):
    """Decode every mask file once: those that mark nothing, and those that can't be used.

    Args:
        manifest, root: of one dataset. Rows with regions of an xml are passed over.

    Returns:
        `(empty, bad)`: names of the images whose masks are all empty, and a dict from each mask
        that can't be read or told to the reason.
    """
    rows = manifest.dropna(subset=["mask"])
    rows = rows[~rows["mask"].str.contains(r"\.xml#", case=False)]
    open_mask = mask_opener(manifest, root)

    def one(row):
        name, cell = row
        marked, bad = False, {}
        for mask in manifests.masks(cell):
            try:
                marked |= bool(open_mask(mask).any())
            except ImageError as error:
                bad[mask] = next(iter(error.problems.values()))
        return None if marked or bad else name, bad

    cells = list(zip(rows["image"], rows["mask"], strict=True))
    found = each(one, cells, "Masks") if cells else []
    empty = [name for name, _ in found if name is not None]
    return empty, {mask: why for _, bad in found for mask, why in bad.items()}


def misfits(manifest, root, store):
    """Masks whose size is not their image's: dict from the mask's path to the reason.

    Only headers are read. Regions of an xml are drawn in their image's size and can't misfit.

    Args:
        manifest, root, store: of one dataset; rows that are not in the store are passed over.
    """
    sizes = store.index.set_index("image")[["width", "height"]].to_dict("index")
    found = {}
    for row in manifest.dropna(subset=["mask"]).itertuples():
        for name in manifests.masks(row.mask) if row.image in sizes else ():
            if polygons.REGION.match(name):
                continue
            want = sizes[row.image]
            try:
                width, height = _size(Path(root) / name)
            except (OSError, ValueError) as error:
                found[name] = f"can't be read ({type(error).__name__})"
                continue
            if (width, height) != (want["width"], want["height"]):
                found[name] = (
                    f"mask is {width}×{height}, its image {want['width']}×{want['height']}"
                )
    return found


def resize(image, size, interpolation="bilinear"):
    """Resize a grey image to a square, as the study does, without keeping its aspect.

    Args:
        image: `(h, w)` uint8.
        size: int >= 1, pixels a side.
        interpolation: "bilinear" (antialiased) or "nearest" (the official loader's default).

    Returns:
        `(size, size)` uint8.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"`interpolation` should be one of {sorted(INTERPOLATIONS)}. "
            f"Received: interpolation={interpolation!r}"
        )
    _check_size(size)
    if image.shape == (size, size):
        return image
    picture = Image.fromarray(image).resize((size, size), INTERPOLATIONS[interpolation])
    return np.asarray(picture)


def image_id(image):
    """Sixteen hex digits that stand for the pixels: SHA-256 of shape and values."""
    head = f"{image.shape[0]}x{image.shape[1]}:".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def kind(path):
    """What a file holds, by its first bytes: "dicom", "numpy", or "picture", which Pillow opens."""
    if not Path(path).exists():
        raise FileNotFoundError("no such file")
    if not Path(path).is_file():
        raise IsADirectoryError("a file is expected, not a folder")
    if dicom.is_dicom(path):
        return "dicom"
    with open(path, "rb") as file:
        return "numpy" if file.read(len(NUMPY)) == NUMPY else "picture"


def each(function, items, title, workers=None):
    """The function's results for each item, in order, in threads, with a progress bar.

    Args:
        function: of one item.
        items: a sequence; a batch of it at a time is handed to the threads.
        title: of the bar.
        workers: threads; default one per core.
    """
    bar = tqdm(total=len(items), desc=title, unit="image", mininterval=1)
    done = []
    with bar, ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for start in range(0, len(items), BATCH):
            for result in pool.map(function, items[start : start + BATCH]):
                done.append(result)
                bar.update()
    return done


def store(
    manifest, root, size, folder, interpolation="bilinear", on_bad_image="stop", workers=None
):
    """Decode every image of a manifest once into a memory-mapped array, or reopen it.

    The store's folder is named after the content of the files and the size: changed files make a
    new store, unchanged ones are not decoded again.

    Args:
        manifest: a validated manifest.
        root: folder its paths start from.
        size: pixels a side.
        folder: where stores are kept (`data/store`).
        interpolation: see `resize`.
        on_bad_image: "stop" raises with the list of all unreadable images and keeps no store;
            "skip" leaves them out and names them in `.bad`.
        workers: threads; default one per core.

    Returns:
        A `Store`, rows in the manifest's order.

    Raises:
        ImageError: unreadable images, all of them named; with "skip" only when none is readable.
    """
    check_on_bad_image(on_bad_image)
    _check_size(size)
    root, names, open_image = Path(root), list(manifest["image"]), opener(manifest, root)
    files = [manifests.file_of(root / name) for name in names]
    distinct = list(dict.fromkeys(files))  # the slices of a volume share one
    of_file = dict(zip(distinct, each(_file_hash, distinct, "Hashing", workers), strict=True))
    hashes = [of_file[file] for file in files]
    seen = [manifest[column] for column in ("window", "outside") if column in manifest]
    key = _key(names, hashes, size, interpolation, seen)
    home = Path(folder) / f"{size}px-{interpolation}-{key}"
    if not (home / "index.parquet").is_file():
        _fill(home, root, names, open_image, size, interpolation, on_bad_image, workers)
    opened = _open(home)
    _judge(opened.bad, root, names, on_bad_image)
    return opened


def check_on_bad_image(value):
    """Refuse anything but stop and skip."""
    if value not in ON_BAD_IMAGE:
        raise ValueError(f"`on_bad_image` should be stop or skip. Received: on_bad_image={value!r}")


def _check_size(value):
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"`size` should be an int of at least 1. Received: size={value!r}")


def _mask_layer(file, values):
    try:
        if polygons.REGION.match(file.name):
            return polygons.mask(file)
        return masks.lesion(*_labels(file), values=values)
    except Exception as error:
        raise ImageError({str(file): str(error) or type(error).__name__}) from error


def _labels(file):
    """What `rin.masks.lesion` takes of a mask file: labels, shades, and whether it has loss."""
    what = kind(file)
    if what == "picture":
        with _picture(file) as picture:
            return *_picture_labels(picture), picture.format in LOSSY
    values = dicom.stored(file) if what == "dicom" else _array(file)
    return (values if values.ndim == 2 else None), values, False


def _picture_labels(picture):
    """Labels (None for color) and shades of an opened mask; alpha over black."""
    if picture.mode == "P":
        indices = np.asarray(picture)
        grey = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        shades = np.asarray(_over_black(grey))
        used = np.unique(indices)
        colors = {tuple(shades[indices == index][0]) for index in used}
        return indices, shades if len(colors) == len(used) else indices
    if picture.mode in ("1", "L", "F") or picture.mode.startswith("I"):
        values = np.asarray(picture).astype(float if picture.mode == "F" else int)
        values = 65535 - values if _white_is_zero(picture) else values
        return values, values
    shades = np.asarray(_over_black(picture).convert("RGB"))
    if picture.mode in ("RGBA", "LA") and not shades.any():  # black on nothing: alpha is the mask
        shades = np.asarray(picture.getchannel("A"))
    flat = shades.ndim == 3 and (shades == shades[..., :1]).all()  # grey, stored as color
    shades = shades[..., 0] if flat else shades
    return (shades if shades.ndim == 2 else None), shades


def _decode(path, bits, window):
    if bits is not None and not 9 <= bits <= 16:
        raise ValueError(f"`bits` should be 9 to 16. Received: bits={bits!r}")
    if match := SLICE.match(str(path)):
        return _slice(match["file"], int(match["number"]))
    what = kind(path)
    if what == "dicom":
        return dicom.read(path, window)
    if what == "numpy":
        return _array_to_grey(_array(path), bits)
    with _picture(path) as picture:
        return _to_grey(picture, bits)


def _picture(path):
    """A file opened and decoded by Pillow."""
    try:
        picture = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(f"is empty, or no {ACCEPTED}") from None
    try:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(
                f"{picture.width}×{picture.height} pixels, at most {MAX_PIXELS} expected"
            )
        if getattr(picture, "n_frames", 1) > 1:
            raise ValueError(f"{picture.n_frames} frames, one expected")
        picture.load()
    except BaseException:
        picture.close()
        raise
    return picture


def _size(path):
    """Width and height of an image file, from its head alone."""
    what = kind(path)
    if what == "picture":
        with Image.open(path, formats=FORMATS) as picture:
            return picture.size
    if what == "dicom":
        return int(dicom.tag(path, "Columns")), int(dicom.tag(path, "Rows"))
    return _mapped(path).shape[1::-1]


def _mapped(path):
    """An array `(h, w)` in a `.npy`, not yet read."""
    array = np.lib.format.open_memmap(path, mode="r")
    if array.ndim == 3:
        raise ValueError(
            f"an array of {array.dtype} {array.shape}: name one slice of it, as in "
            f"{Path(path).name}#0, or give (rows, columns)"
        )
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "buif":
        raise ValueError(f"an array of {array.dtype} {array.shape}, (rows, columns) expected")
    if array.size > MAX_PIXELS:
        raise ValueError(f"{array.size} pixels, at most {MAX_PIXELS} expected")
    return array


def _array(path):
    return np.array(_mapped(path))


def _array_to_grey(values, bits):
    """Numbers to grey: never by an image's own range, which would differ from one to the next."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.itemsize == 2:  # in either order of bytes
        return _sixteen(values, bits)
    top = 1 if values.dtype.kind == "f" else 255
    if not (values.min() >= 0 and values.max() <= top):
        raise ValueError(
            f"an array of {values.dtype} from {values.min():g} to {values.max():g}, 0 to {top} "
            "expected: store it as uint8 or uint16"
        )
    return np.rint(values * (255 / top)).astype(np.uint8)


def _slice(file, number):
    volume = np.load(file, mmap_mode="r", allow_pickle=False)
    if volume.ndim != 3 or volume.dtype != np.uint8:
        raise ValueError(
            f"an array of {volume.dtype} {volume.shape}, uint8 (slices, rows, columns) expected"
        )
    if number >= len(volume):
        raise ValueError(f"has {len(volume)} slices, no slice {number}")
    return np.array(volume[number])


def _to_grey(picture, bits):
    if picture.mode == "F":
        raise ValueError("pixels are floating-point numbers, 8 or 16 bits expected")
    if picture.mode.startswith("I"):  # 16 bits of grey, or Pillow's wider copies of them
        grey = _sixteen(np.asarray(picture), bits)
        return 255 - grey if _white_is_zero(picture) else grey
    picture = _over_black(picture)
    return np.array(picture.convert("L"))


def _sixteen(values, bits):
    values = values.astype(np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"values {values.min():g} to {values.max():g}, 0 to 65535 expected")
    top = 2.0 ** (bits or 16) - 1
    return np.clip(np.rint(values * (255 / top)), 0, 255).astype(np.uint8)


def _white_is_zero(picture):
    """Whether a deep TIFF stores white as 0; Pillow itself inverts those of 8 bits and fewer."""
    tags = getattr(picture, "tag_v2", {})
    return picture.mode.startswith("I") and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO


def _over_black(picture):
    """Transparency laid over black, and a palette's colors put in; other modes as they are."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    return picture.convert("RGB") if picture.mode in ("P", "PA", "RGBA") else picture


def _file_hash(path):
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def _key(names, hashes, size, interpolation, seen=()):
    lines = [f"{STORE_VERSION} {size} {interpolation}"]
    lines += [text for column in seen for text in column.fillna("").astype(str)]
    lines += [f"{name} {digest}" for name, digest in zip(names, hashes, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _fill(home, root, names, open_image, size, interpolation, on_bad_image, workers):
    """Write a store beside its place, then move it there whole."""
    home.parent.mkdir(parents=True, exist_ok=True)
    needed, free = len(names) * size**2, shutil.disk_usage(home.parent).free
    if needed > free:  # writing to a map on a full disk kills the process without a word
        raise OSError(
            f"{home.parent}: the store takes {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free"
        )
    work = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}."))
    try:
        array = np.lib.format.open_memmap(
            work / "images.npy", "w+", np.uint8, (len(names), size, size)
        )

        def one(item):
            row, name = item
            try:
                image = open_image(name)
            except ImageError as error:
                return {"image": name, "reason": next(iter(error.problems.values()))}
            array[row] = resize(image, size, interpolation)
            height, width = image.shape
            n_bytes = Path(manifests.file_of(root / name)).stat().st_size
            facts = {"width": width, "height": height, "n_bytes": n_bytes}
            return {"image": name, "image_id": image_id(image)} | facts

        rows = each(one, list(enumerate(names)), "Decoding", workers)
        bad = {row["image"]: row["reason"] for row in rows if "reason" in row}
        _judge(bad, root, names, on_bad_image)
        good = [position for position, row in enumerate(rows) if "reason" not in row]
        for position, source in enumerate(good):  # close the gaps; only the index counts rows
            if position != source:
                array[position] = array[source]
        array.flush()
        (work / "bad.json").write_text(json.dumps(bad, indent=1))
        pd.DataFrame([rows[n] for n in good]).to_parquet(work / "index.parquet")
        _move(work, home)  # the map of the moved file stays valid until it is collected
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _judge(bad, root, names, on_bad_image):
    if bad and (on_bad_image == "stop" or len(bad) == len(names)):
        raise ImageError({str(root / name): reason for name, reason in bad.items()})


def _move(work, home):
    os.chmod(work, 0o755)
    if home.is_dir() and not (home / "index.parquet").is_file():
        shutil.rmtree(home)  # a broken leftover
    try:
        os.rename(work, home)
    except OSError:  # another process finished the same store first
        if not (home / "index.parquet").is_file():
            raise


def _open(home):
    index = pd.read_parquet(home / "index.parquet")
    array = np.load(home / "images.npy", mmap_mode="r")
    bad = json.loads((home / "bad.json").read_text())
    return Store(array[: len(index)], index, bad, home)
