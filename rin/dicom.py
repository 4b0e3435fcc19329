"""DICOM: one image to grey pixels through its rescale and window, single header tags, phantoms."""

import contextlib
import logging
import math
import threading
import warnings

import numpy as np
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # gdcm's bindings, which pydicom imports, warn on newer Pythons
    import pydicom
    from pydicom import encaps, uid
    from pydicom.pixels import get_decoder

MAX_PIXELS = 80_000_000  # of any image; below the size at which Pillow starts to warn
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
LAYOUT = ["Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"]
LAYOUT += ["BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"]
SCALE = ["RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "ModalityLUTSequence"]
SCALE += ["Modality"]
PIXELS = ["PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"]

# Values that wrapped: some CT slices of RSNA 2019 were shifted by their intercept, cut to 12 bits
# without a sign, so that air, −1000, is stored as 3096, and their intercept set to 0. Public
# code of that challenge adds 1000, takes 4096 from what reaches it, and puts the intercept back to
# −1000 (J. Howard, "Cleaning the data for rapid prototyping", kaggle.com); that is to take 4096
# from values of 3096 and above. Scanners that count from −1024 are covered too. Values from 2048
# to 3071 stay, as in that code: they are metal and enamel, and rare.
WRAP, METAL_FROM, WRAPPED_FROM = 4096, 2048, 3072
RARE = 0.01  # share of the pixels: metal is less, air more; a slice without this gap is left alone
WRAP_TAGS = ("Modality", "BitsStored", "PixelRepresentation", "RescaleIntercept")

# Who decodes what. gdcm decodes all of JPEG too, but damaged baseline and JPEG 2000 streams end
# the whole process in it; Pillow raises. Neither is trusted with 12-bit JPEG Extended.
PLUGINS = dict.fromkeys(uid.UncompressedTransferSyntaxes, "") | {
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEG2000Lossless: "pillow",
    uid.JPEG2000: "pillow",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "gdcm",
    uid.JPEGLSNearLossless: "gdcm",
}
FRAMES = (0xC3, 0xF7)  # JPEG markers that start a frame: lossless, LS
SEGMENTS = (*FRAMES, 0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xF8, 0xFE)  # tables, notes
STORAGE = {"CT": uid.CTImageStorage, "CR": uid.ComputedRadiographyImageStorage}


class DicomError(ValueError):
    """A DICOM file that can't be read; says why without a word of its header."""


class _Quiet:
    """Silences pydicom's warnings and its log, which quote headers, while any thread is inside.

    `warnings.catch_warnings` alone is not made for threads: each would restore what another set.
    """

    def __init__(self):
        self.lock, self.inside = threading.Lock(), 0
        self.log = logging.getLogger("pydicom")

    def __enter__(self):
        with self.lock:
            if self.inside == 0:
                self.caught, self.was_off = warnings.catch_warnings(), self.log.disabled
                self.caught.__enter__()
                warnings.simplefilter("ignore")
                self.log.disabled = True
            self.inside += 1

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.caught.__exit__()
                self.log.disabled = self.was_off


_quiet = _Quiet()


@contextlib.contextmanager
def _plain_errors():
    """Whatever goes wrong inside becomes a `DicomError`: other texts may quote the header."""
    try:
        with _quiet:
            yield
    except DicomError:
        raise
    except Exception as error:
        raise DicomError(f"is truncated, damaged or no image ({type(error).__name__})") from None


def is_dicom(path):
    """Whether a file carries the DICOM mark, "DICM" after a preamble of 128 bytes."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def read(path, window=None):
    """The pixels of a DICOM file with one frame, as grey.

    MONOCHROME1, where low values are white, is inverted; RGB and YBR become grey; other color is
    refused. Only elements that say how pixels are stored and shown are read. VOILUTFunction
    (sigmoid) and VOI lookup tables are ignored: a window is linear. Bits above BitsStored
    (overlays) are cut off. CT values that wrapped (see `may_wrap`) are put right.

    Args:
        path: the file.
        window: (level, width) in rescaled units (Hounsfield for CT): level − width/2 becomes 0,
            level + width/2 becomes 255. Default: the first window of the header, if it has a
            width; else the full range of the stored bits, which leaves 8-bit pixels as they are.

    Returns:
        `(h, w)` uint8, 0–255.

    Raises:
        ValueError: `window` is none.
        DicomError: no image, several frames, too many pixels, truncated or damaged.
    """
    window = None if window is None else check_window(window)
    with open(path, "rb") as file, _plain_errors():
        header = _header(file)
        pixels = _decode(file, header)
        if header.PhotometricInterpretation in GREY:
            return _grey(header, pixels, window)
    if window is not None:
        raise DicomError("`window` is for grey images, and this one has color")
    if pixels.dtype != np.uint8:
        raise DicomError("has color of more than 8 bits, which is not supported")
    return np.array(Image.fromarray(pixels).convert("L"))


def stored(path):
    """The values of a DICOM file as they are stored, for masks: `(h, w)` ints or `(h, w, 3)`.

    Raises:
        DicomError: as `read`.
    """
    with open(path, "rb") as file, _plain_errors():
        return _decode(file, _header(file))


def tag(path, name):
    """One header element as text; see `tags`."""
    return tags(path, [name])[name]


def tags(path, names):
    """Header elements as text; nothing else of the file is read but its layout.

    Args:
        path: the file.
        names: DICOM keywords, such as "PatientID".

    Returns:
        Dict from each name to the element without spaces around it, several values joined by a
        backslash; "" if it is absent or empty.

    Raises:
        ValueError: a name is no keyword.
        DicomError: the header can't be read.
    """
    for name in names:
        if pydicom.datadict.tag_for_keyword(name) is None:
            raise ValueError(f"`name` should be a DICOM keyword. Received: name={name!r}")
    with open(path, "rb") as file, _plain_errors():
        found = pydicom.dcmread(file, specific_tags=list(names), stop_before_pixels=True)
        return {name: _text(found.get(name)) for name in names}


def may_wrap(header):
    """Whether a header is of the kind whose values wrap: CT, 12 bits, no sign, an intercept near 0.

    Such a slice can't hold air, which lies near −1000. In RSNA 2019 all of them wrapped.

    Args:
        header: anything with `get` that knows `WRAP_TAGS`: a header, or a dict of `tags`.
    """
    modality, bits, signed, intercept = (header.get(name) for name in WRAP_TAGS)
    intercept = intercept[0] if isinstance(intercept, pydicom.multival.MultiValue) else intercept
    if intercept in (None, "") or str(modality) != "CT":
        return False
    with contextlib.suppress(ValueError, TypeError):
        return int(bits) == 12 and int(signed or 0) == 0 and float(intercept) > -100
    return False


def check_window(window):
    """(level, width) as two floats; anything else is refused."""
    try:
        level, width = (float(value) for value in window)
        if math.isfinite(level) and math.isfinite(width) and width > 0:
            return level, width
    except (TypeError, ValueError):
        pass
    raise ValueError(
        "`window` should be (level, width), two finite numbers, the width above 0. "
        f"Received: window={window!r}"
    )


def write(path, pixels, key, bits=8, rle=False, **elements):
    """Write a grey image as a DICOM file whose bytes depend on the arguments alone.

    Args:
        path: file to write.
        pixels: `(h, w)` uint8, uint16 or int16, stored as they are.
        key: text the file's own UIDs are made from.
        bits: BitsStored.
        rle: whether to compress without loss (RLE).
        **elements: more of the header by DICOM keyword; `Modality` CT or CR, and `PatientID`,
            from which study and series take their UIDs, are needed.
    """
    file = pydicom.Dataset()
    file.SOPClassUID = STORAGE[elements["Modality"]]
    file.SOPInstanceUID = uid.generate_uid(entropy_srcs=["image", key])
    for level in ("Study", "Series"):
        made = uid.generate_uid(entropy_srcs=[level, elements["PatientID"]])
        setattr(file, f"{level}InstanceUID", made)
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = 8 * pixels.dtype.itemsize
    file.BitsStored, file.HighBit = bits, bits - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.update(elements)
    file.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    file.file_meta.ImplementationClassUID = uid.generate_uid(entropy_srcs=["rin"])
    file.file_meta.ImplementationVersionName = "RIN"  # not pydicom's, which holds its version
    if rle:
        file.compress(uid.RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    file.save_as(path, enforce_file_format=True)


def _header(file):
    """The elements of `LAYOUT` and `SCALE`, after the checks that need no pixels."""
    header = pydicom.dcmread(file, specific_tags=LAYOUT + SCALE, stop_before_pixels=True)
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    frames, stored = int(header.get("NumberOfFrames") or 1), int(header.get("BitsStored") or 0)
    high = int(header.get("HighBit", stored - 1))
    if rows * columns == 0 or stored == 0:
        raise DicomError("is a DICOM file without an image")
    if frames > 1:
        raise DicomError(f"{frames} frames, one expected")
    if rows * columns > MAX_PIXELS:
        raise DicomError(f"{columns}×{rows} pixels, at most {MAX_PIXELS} expected")
    if high != stored - 1:
        raise DicomError(f"its highest bit is {high}, {stored - 1} expected of {stored} bits")
    if header.get("PhotometricInterpretation") not in GREY + COLOR:
        raise DicomError(f"is neither grey nor color as one of {', '.join(GREY + COLOR)}")
    if "ModalityLUTSequence" in header:
        raise DicomError("its values need a lookup table (Modality LUT), which is not supported")
    return header


def _decode(file, header):
    """Stored values `(h, w)`, sign and unused bits put right, or `(h, w, 3)` RGB."""
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax not in PLUGINS:
        raise DicomError("its pixels are stored or compressed in a way that is not supported")
    if syntax == uid.JPEGExtended12Bit and header.BitsStored > 8:
        raise DicomError("JPEG Extended of more than 8 bits is not supported")
    file.seek(0)
    whole = pydicom.dcmread(file, specific_tags=LAYOUT + PIXELS)
    if not whole.get("PixelData"):
        raise DicomError("holds no pixel data, or ends before them")
    if PLUGINS[syntax] == "gdcm":
        _check_jpeg(encaps.get_frame(whole.PixelData, 0, number_of_frames=1), header)
    pixels, _ = get_decoder(syntax).as_array(whole, decoding_plugin=PLUGINS[syntax])
    if pixels.shape[:2] != (header.Rows, header.Columns):
        raise DicomError("holds more pixels than one frame has")
    return pixels if pixels.ndim == 3 else _cut(pixels, header)


def _cut(pixels, header):
    """Values without what lies above BitsStored, sign kept: pydicom cuts in some syntaxes only."""
    bits = int(header.BitsStored)
    if bits >= 8 * pixels.dtype.itemsize:
        return pixels
    low = pixels.astype(np.int64) & (2**bits - 1)
    if header.PixelRepresentation:
        low -= (low >> (bits - 1)) << bits
    return low.astype(pixels.dtype)


def _check_jpeg(stream, header):
    """Walk a JPEG stream's segments up to its scan: gdcm ends the process where they are broken."""
    at, size = 2 if stream[:2] == b"\xff\xd8" else len(stream), None
    while stream[at : at + 2] != b"\xff\xda":
        if len(stream) < at + 10 or stream[at] != 0xFF or stream[at + 1] not in SEGMENTS:
            raise DicomError("its JPEG stream is truncated or damaged")
        if stream[at + 1] in FRAMES:
            bits, size = stream[at + 4], stream[at + 5 : at + 10]
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    expected = [*header.Rows.to_bytes(2), *header.Columns.to_bytes(2), header.SamplesPerPixel]
    if size is None or list(size) != expected:
        raise DicomError("its JPEG stream is not of the size its header says")
    if not header.BitsStored <= bits <= header.BitsAllocated:
        raise DicomError("its JPEG stream is not of the bits its header says")


def _grey(header, pixels, window):
    slope, intercept = _number(header, "RescaleSlope", 1), _number(header, "RescaleIntercept", 0)
    if slope == 0:
        raise DicomError("its rescale slope is 0")
    pixels, lowest = _unwrapped(header, pixels)
    window = _named_window(header) if window is None else window
    if window is not None:
        level, width = window
        low, high = level - width / 2, level + width / 2
    else:
        ends = lowest, lowest + 2**header.BitsStored - 1
        low, high = sorted(slope * end + intercept for end in ends)
    scaled = (pixels.astype(float) * slope + intercept - low) * (255 / (high - low))
    grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey


def _unwrapped(header, pixels):
    """Values, put right where they wrapped, and the lowest that their bits can hold."""
    if may_wrap(header):
        wrapped = pixels >= WRAPPED_FROM
        metal = (pixels >= METAL_FROM) & ~wrapped
        if metal.mean() < RARE <= wrapped.mean():
            return pixels.astype(np.int32) - WRAP * wrapped, WRAPPED_FROM - WRAP
    return pixels, -(2 ** (header.BitsStored - 1)) if header.PixelRepresentation else 0


def _named_window(header):
    level, width = _number(header, "WindowCenter"), _number(header, "WindowWidth")
    return None if level is None or width is None or width <= 0 else (level, width)


def _number(header, name, default=None):
    """The first value of an element, as a float; the default where there is none."""
    value = header.get(name)
    value = value[0] if isinstance(value, pydicom.multival.MultiValue) else value
    value = default if value is None else float(value)
    if value is not None and not math.isfinite(value):
        raise DicomError(f"its {name} is not finite")
    return value


def _text(value):
    values = value if isinstance(value, pydicom.multival.MultiValue) else [value]
    return "\\".join(str(v).strip() for v in values if v is not None)
