"""Formats: tell what a weight file is by its content, never by its suffix, and read its tensors."""

import contextlib
import io
import re
import zipfile
import zlib
from dataclasses import dataclass, field

from rin.weights import files, hdf5
from rin.weights.report import WeightsError

EXPECTED = "a Keras .h5, .weights.h5 or .keras file, or a PyTorch state dict"
PUBLISHED = re.compile(r"(.*\.)?backbone\.\d+\.")
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
DAMAGE = (  # what h5py, zipfile and json raised for files with bytes changed or cut off
    OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
KERAS_MEMBER, KERAS_CONFIG = "model.weights.h5", "config.json"


@dataclass(frozen=True)
class Content:
    """What a weight file holds.

    Attributes:
        format: in words.
        layers: `{layer: {tensor: array}}` in Keras's names and layouts.
        listed: names of the layers in the file's own order; empty where it has none.
        options: `{layer: configuration}`; empty where the file holds weights alone.
        preprocess: what its tensors' names tell of it, or None.
        notes: sentences on what had to be done to the tensors.
    """

    format: str
    layers: dict
    listed: list = field(default_factory=list)
    options: dict = field(default_factory=dict)
    preprocess: str | None = None
    notes: tuple = ()


def kind(file):
    """Tell a file by its first bytes.

    Args:
        file: Path of a file.

    Returns:
        "hdf5", "keras" (a `.keras` archive) or "pytorch".

    Raises:
        WeightsError: it is none of them; says what came.
    """
    import h5py  # only where a file is read

    with open(file, "rb") as opened:
        start = opened.read(512)
    if h5py.is_hdf5(file):
        return "hdf5"
    if start.startswith(ZIP):
        return _kind_of_archive(file)
    if start.startswith(PICKLE):
        return "pytorch"
    raise WeightsError(f"{file.name}: {_came(start)}; expected {EXPECTED}")


def read(file, model, backbone):
    """Read all tensors of a weight file.

    Args:
        file: Path of a file.
        model: the functional Keras model they are meant for.
        backbone: a key of `rin.backbones.BACKBONES`.

    Returns:
        A `Content`.

    Raises:
        WeightsError: it is no weight file, it is damaged, or it is another architecture's.
    """
    what = kind(file)
    if what == "pytorch":
        return _pytorch(file, model, backbone)
    with _damage(file):
        return _archive(file, model) if what == "keras" else _hdf5(file, model, file.name)


def preprocess(file):
    """What a file's content tells of its preprocess, or None.

    The PyTorch files that the authors published see [-1, 1], blue first, and their tensors are
    called `backbone.0.weight` and so on; no other file says anything.
    """
    if kind(file) != "pytorch":
        return None
    from rin.weights import pytorch  # torch only where such a file is read

    return _signed(pytorch.read(file))


def _pytorch(file, model, backbone):
    from rin.weights import pytorch

    tensors = pytorch.read(file)
    layers = pytorch.to_keras(backbone, tensors, file.name, model)
    notes = pytorch.notes(backbone, tensors)
    return Content("PyTorch state dict", layers, preprocess=_signed(tensors), notes=notes)


def _signed(tensors):
    return "signed_bgr" if all(PUBLISHED.match(name) for name in tensors) else None


def _archive(file, model):
    with zipfile.ZipFile(file) as archive:
        member = io.BytesIO(archive.read(KERAS_MEMBER))
        config = archive.read(KERAS_CONFIG).decode()
    content = _hdf5(member, model, file.name)
    return Content("Keras 3 .keras archive", content.layers, options=hdf5.options(config))


def _hdf5(source, model, file_name):
    import h5py

    with h5py.File(source, "r") as h5:
        if hdf5.is_legacy(h5):
            layers, options = hdf5.legacy(h5, file_name), hdf5.legacy_options(h5)
            words = "full model" if "model_weights" in h5 else "weights only"
            return Content(f"legacy Keras .h5, {words}", layers, list(layers), options)
        if hdf5.is_keras_3(h5):
            return Content("Keras 3 .weights.h5", hdf5.keras_3(h5, model, file_name))
        raise WeightsError(
            f"{file_name}: an HDF5 file without Keras's layers, its top level holds "
            f"{sorted(h5)[:5]}; expected {EXPECTED}"
        )


def _kind_of_archive(file):
    with _damage(file), zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    if KERAS_MEMBER in names:
        return "keras"
    if any(name.endswith("data.pkl") for name in names):
        return "pytorch"
    raise WeightsError(
        f"{file.name}: an archive of {len(names)} files, such as {names[:3]}; unpack it first, "
        f"expected {EXPECTED}"
    )


@contextlib.contextmanager
def _damage(file):
    """Whatever a reader stumbles over becomes one error that names the file."""
    try:
        yield
    except WeightsError:
        raise
    except DAMAGE as error:
        raise WeightsError(
            f"{file.name}: damaged or incomplete, {_size(file)}: {error}; expected {EXPECTED}"
        ) from error


def _size(file):
    came = f"{file.stat().st_size:,} bytes"
    whole = {known.file: known.n_bytes for known in files.KNOWN.values()}.get(file.name)
    return f"{came} of {whole:,}" if whole else came


def _came(start):
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, so the file itself was never fetched (git lfs pull)"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page, as a server sends in place of a file: download it again"
    if not any(byte < 9 for byte in start):
        return f"text that begins {start[:20].decode(errors='replace')!r}"
    return f"unknown content that begins with the bytes {start[:8].hex(' ')}"
