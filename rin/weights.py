"""Weights: load a published file into a backbone and prove that every tensor arrived.

Keras loads a legacy `.h5` file silently wrong when layers were renamed (0 of 318 tensors by name)
or reordered (310 of 318 by position). Here layers are matched by name, auto-numbered ones by
their rank within a type, every tensor by its own name and shape, and any difference raises.
"""

import hashlib
import os
import re
from dataclasses import dataclass

import h5py
import numpy as np

from rin import paths
from rin.backbones import BACKBONES
from rin.scenarios import NAMED_INITS

FOLDER_VARIABLE = "RIN_WEIGHTS"
DEFAULT_FOLDER = "data/weights"
# Source: a public record of the released ResNet50 file; the authors publish no checksums
KNOWN = {"1f1d1c9fe6ab6980daa5e528145fe0db249c55415f8b3e1f3e3b1624d184f159": "RadImageNet ResNet50"}
AUTO_NAME = re.compile(r"^(?P<type>conv2d|batch_normalization|dense)(_(?P<number>\d+))?$")


class WeightsError(ValueError):
    """A weight file that is missing, of another architecture, or not readable in full."""


@dataclass(frozen=True)
class Report:
    """What `load` did; pages show it.

    Attributes:
        source: "imagenet", or the file's name.
        sha256: of the file; None for a download that Keras checked itself.
        known_as: what the hash is known to be, or None.
        n_layers, n_tensors, n_parameters: all of the backbone's, all loaded.
    """

    source: str
    sha256: str | None
    known_as: str | None
    n_layers: int
    n_tensors: int
    n_parameters: int


def load(backbone_model, path_or_init, backbone=None):
    """Fill a backbone with weights, all of them or none.

    Args:
        backbone_model: a Keras model without top, as `rin.backbones.build_base` makes it.
        path_or_init: "imagenet" (Keras's own download), "radimagenet" (a file the reader
            obtained from its authors, looked for in the folder `RIN_WEIGHTS`, by default
            `data/weights`), or the path of a legacy Keras `.h5` file.
        backbone: a key of `rin.backbones.BACKBONES`; default from the model's name.

    Returns:
        A `Report`.

    Raises:
        WeightsError: no such file, another architecture, or another format; the model is
            unchanged then.
    """
    backbone = backbone or _recognize(backbone_model)
    if path_or_init == "imagenet":
        return _load_imagenet(backbone_model, backbone)
    if path_or_init == "random":
        raise WeightsError("random weights are not loaded: build the model with init=None")
    file = _published_file(backbone) if path_or_init == "radimagenet" else _file(path_or_init)
    return _load_file(backbone_model, file)


def fingerprint(init, backbone):
    """What an init is, for records: the file's SHA-256, or "random", or "imagenet"."""
    if init in ("random", "imagenet", None):
        return init or "random"
    return _sha256(_published_file(backbone) if init == "radimagenet" else _file(init))


def _file(path):
    path = paths.resolve(path)
    if not path.is_file():
        raise WeightsError(
            f"`init` should be one of {NAMED_INITS} or a weight file. Received: {str(path)!r}, "
            "and there is no such file"
        )
    return path


def _recognize(model):
    known = {name.replace("_", ""): name for name in BACKBONES}
    name = model.name.replace("_", "").lower()
    if name not in known:
        raise WeightsError(f"model {model.name!r} is none of {tuple(BACKBONES)}: name its backbone")
    return known[name]


def _published_file(backbone):
    folder = paths.resolve(os.environ.get(FOLDER_VARIABLE, DEFAULT_FOLDER))
    name = BACKBONES[backbone].release
    spellings = [name, "InceptionResNetV2"] if name == "IRV2" else [name]
    names = [f"RadImageNet-{s}{dash}notop.h5" for s in spellings for dash in "_-"]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    raise WeightsError(
        f"no RadImageNet weights for {backbone}: ask their authors for the files "
        f"(github.com/BMEII-AI/RadImageNet) and put {names[0]} into {folder}, or set "
        f"{FOLDER_VARIABLE} to the folder they lie in"
    )


def _load_imagenet(model, backbone):
    builder = BACKBONES[backbone].builder
    try:
        source = builder(include_top=False, weights="imagenet", input_shape=model.input_shape[1:])
    except Exception as error:  # Keras raises a bare Exception when it can't download
        raise WeightsError(
            f"Keras could not get the ImageNet weights of {backbone} ({error}): with a network it "
            "downloads them once; without, copy its notop file into ~/.keras/models"
        ) from error
    model.set_weights(source.get_weights())
    return Report("imagenet", None, None, *_sizes(model))


def _load_file(model, file):
    theirs = _read(file)
    ours = _canonical({layer.name: layer for layer in model.layers if layer.weights})
    _compare(file, "layers", set(ours), set(theirs))
    planned = []
    for name, layer in ours.items():
        mine = {variable.name: variable for variable in layer.weights}
        _compare(file, f"tensors of layer {name}", set(mine), set(theirs[name]))
        for key, variable in mine.items():
            value = theirs[name][key]
            if tuple(variable.shape) != value.shape:
                raise WeightsError(
                    f"{file.name}: {name}/{key} has shape {value.shape}, expected "
                    f"{tuple(variable.shape)}"
                )
            if not np.isfinite(value).all():
                raise WeightsError(f"{file.name}: {name}/{key} holds values that are not finite")
            planned.append((variable, value))
    for variable, value in planned:  # nothing was touched before every tensor was checked
        variable.assign(value)
    for variable, value in planned:
        if not np.array_equal(np.asarray(variable.numpy()), value.astype(np.float32)):
            raise WeightsError(f"{file.name}: {variable.path} did not take its value")
    digest = _sha256(file)
    return Report(file.name, digest, KNOWN.get(digest), *_sizes(model))


def _read(file):
    """All tensors of a legacy h5 file: {layer: {tensor: array}}, whatever its suffix says."""
    if not h5py.is_hdf5(file):
        raise WeightsError(f"{file.name}: not an HDF5 file; a legacy Keras .h5 file is expected")
    try:
        with h5py.File(file, "r") as h5:
            home = h5["model_weights"] if "model_weights" in h5 else h5
            if "layer_names" not in home.attrs:
                raise WeightsError(
                    f"{file.name}: no layer names in it; a legacy Keras .h5 file is expected "
                    "(Keras 3 .weights.h5 files are not read yet)"
                )
            layers = {}
            for name in map(_text, home.attrs["layer_names"]):
                keys = [_text(key) for key in home[name].attrs["weight_names"]]
                tensors = {re.split("[/:]", k.split(":")[0])[-1]: home[name][k][()] for k in keys}
                if tensors:
                    layers[name] = tensors
    except (OSError, KeyError) as error:
        raise WeightsError(f"{file.name}: damaged or incomplete: {error}") from error
    return _canonical(layers)


def _canonical(layers):
    """Rename auto-numbered layers by their rank within the type: conv2d_7 … -> conv2d#0 …"""
    matches = {name: AUTO_NAME.match(name) for name in layers}
    numbered = {name: (m["type"], int(m["number"] or 0)) for name, m in matches.items() if m}
    rank, names = {}, {}
    for name, (kind, _) in sorted(numbered.items(), key=lambda item: item[1]):
        names[name] = f"{kind}#{rank.get(kind, 0)}"
        rank[kind] = rank.get(kind, 0) + 1
    return {names.get(name, name): value for name, value in layers.items()}


def _compare(file, what, ours, theirs):
    if ours != theirs:
        only_ours, only_theirs = sorted(ours - theirs), sorted(theirs - ours)
        raise WeightsError(
            f"{file.name}: its {what} are not the model's. Missing in the file: "
            f"{len(only_ours)} {only_ours[:5]}; unknown to the model: "
            f"{len(only_theirs)} {only_theirs[:5]}"
        )


def _sizes(model):
    n_layers = sum(1 for layer in model.layers if layer.weights)
    return n_layers, len(model.weights), int(model.count_params())


def _sha256(file):
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
