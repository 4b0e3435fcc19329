"""Weights: load a published file into a backbone and prove that every tensor arrived.

Keras loads a legacy `.h5` file silently wrong when layers were renamed (0 of 318 tensors by name)
or reordered (310 of 318 by position). Here a file is told by its content, layers are matched by
name, auto-numbered ones by their rank within a type, every tensor by its own name and shape, and
any difference raises.
"""

import dataclasses
import warnings

from rin import records
from rin.backbones import BACKBONES, build_base
from rin.weights import collapse, files, formats, imagenet, matching
from rin.weights.files import DEFAULT_FOLDER, FOLDER_VARIABLE, KNOWN
from rin.weights.report import CollapsedWarning, Report, WeightsError, table

__all__ = [
    "DEFAULT_FOLDER",
    "FOLDER_VARIABLE",
    "KNOWN",
    "CollapsedWarning",
    "Report",
    "WeightsError",
    "fingerprint",
    "inspect",
    "load",
    "native",
    "suited",
    "table",
    "variant",
]
VARIANTS = ("keras", "torchvision")


def load(backbone_model, path_or_init, backbone=None, check_features=True):
    """Fill a backbone with weights, all of them or none.

    Args:
        backbone_model: a Keras model without top, as `rin.backbones.build_base` makes it.
        path_or_init: "imagenet" (Keras's own download), "radimagenet" (a file the reader
            obtained from its authors, looked for in the folder `RIN_WEIGHTS`, by default
            `data/weights`), or the path of a file: legacy Keras `.h5`, Keras 3 `.weights.h5`
            or `.keras`, or a PyTorch state dict.
        backbone: a key of `rin.backbones.BACKBONES`; default from the model's name.
        check_features: whether to look at the features of six synthetic images too: 0.4 to 2.5
            seconds of a processor. Features that hardly differ warn (`CollapsedWarning`).

    Returns:
        A `Report`.

    Raises:
        WeightsError: no such file, another architecture, or another format; the model is
            unchanged then.
    """
    backbone = backbone or _recognize(backbone_model)
    if path_or_init in ("random", None):
        raise WeightsError("random weights are not loaded: build the model with init=None")
    if path_or_init == "imagenet":
        report = imagenet.load(backbone_model, backbone)
    else:
        report = _load_file(backbone_model, path_or_init, backbone)
    return _with_features(report, backbone_model, backbone) if check_features else report


def inspect(init, backbone, image_size=96):
    """Load an init into a network made for it alone, for a page that shows the `Report`.

    Args:
        init: as `load` takes it.
        backbone: a key of `rin.backbones.BACKBONES`.
        image_size: pixels a side of the patterns that features are looked at with.

    Raises:
        WeightsError: as `load`.
    """
    base = suited(build_base(backbone, image_size), backbone, variant(init, backbone))
    return load(base, init, backbone)


def fingerprint(init, backbone):
    """What an init is, for records: the file's SHA-256, or "random", or "imagenet"."""
    if init in ("random", "imagenet", None):
        return init or "random"
    return records.sha256(files.find(init, backbone))


def native(init, backbone):
    """What `preprocess="native"` means for an init: the input its network was trained with.

    Args:
        init: None, "random", "imagenet", "radimagenet", or the path of a weight file.
        backbone: a key of `rin.backbones.BACKBONES`.

    Returns:
        One of `rin.weights.files.PREPROCESSES`: Keras's own transform of the backbone for
        "imagenet" and "random", "official" for "radimagenet" and files known by their hash,
        "signed_bgr" for PyTorch files of the published kind; for any other file what the card
        beside it says, `<name>.card.json` with the key `preprocess`.

    Raises:
        WeightsError: there is no such file, or nothing says how it was trained.
    """
    if init in ("random", "imagenet", None):
        return BACKBONES[backbone].native
    file = files.find(init, backbone)
    said = files.native(file, init == "radimagenet") or formats.preprocess(file)
    if said is None:
        raise WeightsError(
            f"{file.name}: nothing says which preprocess is native to it: name one of "
            f"{files.PREPROCESSES}, or write {files.card_of(file).name} beside it with the key "
            "`preprocess`"
        )
    return said


def variant(init, backbone):
    """Whose network an init's weights were trained in: "keras" or "torchvision".

    Args:
        init, backbone: as `native` takes them.

    Raises:
        WeightsError: there is no such file, or it can't be read.
    """
    if init in ("random", "imagenet", None):
        return "keras"
    file = files.find(init, backbone)
    if formats.kind(file) != "pytorch":
        return "keras"
    from rin.weights import pytorch  # torch only where such a file is read

    return pytorch.network(backbone, pytorch.read(file))


def suited(base, backbone, variant):
    """A network of this variant: `base` itself, or torchvision's in its place.

    Raises:
        ValueError: an unknown variant, or torchvision has no such network.
    """
    if variant not in VARIANTS:
        raise ValueError(f"`variant` should be one of {VARIANTS}. Received: variant={variant!r}")
    if variant == "keras":
        return base
    from rin.weights.torch_network import as_torchvision

    return as_torchvision(backbone, base)


def _recognize(model):
    known = {name.replace("_", ""): name for name in BACKBONES}
    name = model.name.replace("_", "").lower()
    if name not in known:
        raise WeightsError(f"model {model.name!r} is none of {tuple(BACKBONES)}: name its backbone")
    return known[name]


def _load_file(model, init, backbone):
    file = files.find(init, backbone)
    content = formats.read(file, model, backbone)
    preprocess = files.native(file, init == "radimagenet", content.preprocess)
    matching.place(file.name, model, content)
    digest = records.sha256(file)
    known = files.known(file, digest)
    sizes, known_as = matching.sizes(model), known.name if known else None
    said = {"preprocess": preprocess, "notes": content.notes}
    return Report(file.name, digest, known_as, *sizes, content.format, **said)


def _with_features(report, model, backbone):
    """Where nothing says how the network was trained, it sees the official input."""
    spread = collapse.feature_spread(model, report.preprocess or "official", backbone)
    collapsed = collapse.is_collapsed(spread)
    if collapsed:
        warnings.warn(
            f"{report.source}: its features hardly differ between images (spread {spread:.2g} of "
            f"their mean, expected at least {collapse.THRESHOLD}): a collapsed network, or fed "
            "with the wrong preprocess",
            CollapsedWarning,
            stacklevel=3,
        )
    return dataclasses.replace(report, feature_spread=spread, collapsed=collapsed)
