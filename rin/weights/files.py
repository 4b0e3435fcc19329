"""Files: where weight files are looked for, which are known, and what a card beside one says."""

import itertools
import json
import os
from dataclasses import dataclass

from rin import paths, records
from rin.backbones import BACKBONES
from rin.scenarios import NAMED_INITS
from rin.weights.report import WeightsError

FOLDER_VARIABLE = "RIN_WEIGHTS"
DEFAULT_FOLDER = "data/weights"
PREPROCESSES = ("official", "signed_bgr", "unit", "caffe", "torch", "tf")
ENDINGS = (".weights.h5", ".h5", ".keras", ".pth", ".pt")


@dataclass(frozen=True)
class Known:
    """A file that a public record describes."""

    name: str
    file: str
    n_bytes: int
    preprocess: str


# Source: a public record of the released ResNet50 file; the authors publish no checksums
KNOWN = {
    "1f1d1c9fe6ab6980daa5e528145fe0db249c55415f8b3e1f3e3b1624d184f159": Known(
        "RadImageNet ResNet50", "RadImageNet-ResNet50_notop.h5", 94_852_768, "official"
    )
}


def find(init, backbone):
    """The file of an init.

    Args:
        init: "radimagenet", or a path.
        backbone: a key of `rin.backbones.BACKBONES`.

    Returns:
        Path of a file.

    Raises:
        WeightsError: there is none.
    """
    if init == "radimagenet":
        return published(backbone)
    path = paths.resolve(init)
    if not path.is_file():
        came = "that is a folder" if path.is_dir() else "there is no such file"
        raise WeightsError(
            f"`init` should be one of {NAMED_INITS} or a weight file. Received: {str(path)!r}, "
            f"and {came}"
        )
    return path


def published(backbone):
    """The published Keras file of a backbone, in the folder `RIN_WEIGHTS` or `data/weights`.

    Where several spellings lie there, the first in the order of `spellings` is taken.

    Raises:
        WeightsError: none of them is there.
    """
    folder = paths.resolve(os.environ.get(FOLDER_VARIABLE, DEFAULT_FOLDER))
    names = spellings(backbone)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(
        f"no RadImageNet weights for {backbone}: ask their authors for the files "
        f"(github.com/BMEII-AI/RadImageNet) and put {names[0]} into {folder}, or set "
        f"{FOLDER_VARIABLE} to the folder they lie in"
    )


def spellings(backbone):
    """The names a published file goes by, in the order they are looked for.

    >>> spellings("resnet50")[:2]  # as released; as the official scripts call it
    ['RadImageNet-ResNet50_notop.h5', 'RadImageNet-ResNet50-notop.h5']
    >>> spellings("inception_resnet_v2")[-1]
    'RadImageNet_InceptionResNetV2-notop.h5'
    """
    name = BACKBONES[backbone].release
    words = [name, "InceptionResNetV2"] if name == "IRV2" else [name]
    parts = itertools.product(words, "-_", "_-")
    return [f"RadImageNet{first}{word}{last}notop.h5" for word, first, last in parts]


def known(file, digest=None):
    """What a public record says of a file, or None; it is hashed only where its size fits.

    Args:
        file: Path.
        digest: its SHA-256, where that is at hand.
    """
    if file.stat().st_size not in {row.n_bytes for row in KNOWN.values()}:
        return None
    return KNOWN.get(digest or records.sha256(file))


def native(file, is_published=False, content=None):
    """The preprocess a file's network was trained with.

    A known file is what its record says; else a card beside the file decides; else the name
    "radimagenet" means official; else the file's own content may tell.

    Args:
        file: Path.
        is_published: whether it was asked for as "radimagenet".
        content: what its tensors' names tell, or None.

    Returns:
        One of `PREPROCESSES`, or None where nothing says so.

    Raises:
        WeightsError: the card is not readable, or names no preprocess.
    """
    record = known(file)
    said = record.preprocess if record else _card(file)
    return said or ("official" if is_published else content)


def card_of(file):
    """Path of the card beside a weight file, whether it is there or not.

    >>> from pathlib import Path
    >>> card_of(Path("runs/RadImageNet-ResNet50_notop.weights.h5")).name
    'RadImageNet-ResNet50_notop.card.json'
    """
    ending = next((e for e in ENDINGS if file.name.endswith(e)), file.suffix)
    return file.with_name(f"{file.name.removesuffix(ending)}.card.json")


def _card(file):
    card = card_of(file)
    if not card.is_file():
        return None
    try:
        facts = json.loads(card.read_text())
    except ValueError as error:
        raise WeightsError(f"{card.name}: not a JSON card: {error}") from error
    said = facts.get("preprocess") if isinstance(facts, dict) else None
    if said not in PREPROCESSES:
        raise WeightsError(
            f"{card.name}: `preprocess` should be one of {PREPROCESSES}. Received: {said!r}"
        )
    return said
