"""Predict: the probability, the unlikeness and the Grad-CAM map of a reader's own images.

A model folder is what `rin.export` wrote, or a run that kept its weights. A network answers any
picture, whatever it shows, so an image of the wrong modality is refused before it is looked at, and
each prediction stands beside how unlike the training images its image is.
"""

from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd

from rin import backbones, model_card, model_facts, paths, records, training, unlike
from rin.own_images import PredictError, check_modality, listed, read

ENDING, STATISTICS = ".keras", "training.npz"
BATCH = 32  # images that go through the network at once
UNCOMPARED = (
    "not compared with the training images, nor surely resized and windowed as they were: "
    "export the run first"
)
HELD = 256  # preprocessed images in memory: 200 MB at 256 px
COLUMNS = ("image_id", "probability", "predicted", "distance", "quantile", "unlike", "warnings")


@dataclass(frozen=True)
class Opened:
    """A network that can be asked.

    Attributes:
        network: from preprocessed `(n, size, size, 3)` float32 to `(n, 2)` probabilities.
        card: dict, see `rin.model_card`.
        statistics: a `rin.unlike.Training`; None for a run that was not exported.
        both: `network` with its pooled features: a model of two outputs, features first.
    """

    network: keras.Model
    card: dict
    statistics: unlike.Training | None
    both: keras.Model

    @property
    def backbone(self):
        """A key of `rin.backbones.BACKBONES`."""
        return self.card["network"]["backbone"]

    @property
    def fed(self):
        """What its preprocess comes down to; see `rin.backbones.fed`."""
        return self.card["network"]["fed"]

    def shown(self, pixels):
        """What the network takes, of `(n, size, size)` uint8: a float32 array."""
        shown = backbones.preprocess(pixels[..., None], self.fed, self.backbone)
        return keras.ops.convert_to_numpy(shown)

    def __call__(self, pixels):
        """Pooled features `(n, d)` and probabilities `(n, 2)` of `(n, size, size)` uint8."""
        parts = [pixels[start : start + HELD] for start in range(0, len(pixels), HELD)]
        found = [
            self.both.predict(self.shown(np.asarray(part)), BATCH, verbose=0) for part in parts
        ]
        features, scores = zip(*found, strict=True)
        return np.concatenate(features), np.concatenate(scores)


def load(folder, init=None):
    """Open a model folder.

    Args:
        folder: of `rin.export.export`, or of a run that kept its weights.
        init: the weight file that a run started from, if it was a file.

    Returns:
        An `Opened`.

    Raises:
        PredictError: neither, or files that are missing or changed.
    """
    folder = paths.resolve(folder)
    if (folder / model_card.FILE).is_file():
        return _exported(folder)
    if not (folder / records.RECORD).is_file():
        raise PredictError(
            f"{folder}: expected a folder with {model_card.FILE} (an exported network) or "
            f"{records.RECORD} (a finished run)"
        )
    from rin import kept  # needs a run; an exported network does without

    network = kept.load(folder, init)
    return opened(network, model_facts.make(folder, network))


def opened(network, card, statistics=None):
    """An `Opened` around a network and its card."""
    both = keras.Model(network.input, [pooled(network), network.output])
    both.compile(jit_compile=training.jit_compile())
    return Opened(network, card, statistics, both)


def pooled(network):
    """The symbolic pooled features `(n, d)` under a network's classifier."""
    last = network.layers[-2]  # dropout upon pooled features, or flatten upon maps
    below = last.input
    return below if len(below.shape) == 2 else keras.layers.GlobalAveragePooling2D()(below)


def predict(model, files, modality=None, threshold=0.5):
    """One row an image: what the network says of it, and how far it can be believed.

    Args:
        model: a model folder, or an `Opened`.
        files: a file, a list of files, or a folder, all of whose files are read, but hidden ones
            and an operating system's. See `rin.images.load`; of `.npy` volumes of uint8
            `(slices, h, w)` every slice.
        modality: what the images are, such as "US" or "ultrasound"; needed wherever no DICOM
            header says it.
        threshold: probability of the positive class from which an image is called positive, 0–1.

    Returns:
        DataFrame, one row an image in the files' order: `image_id` (hash of the pixels),
        `probability` (of the positive class), `predicted` (a class name), `distance`, `quantile`,
        `unlike` (see `rin.unlike.judge`; missing for a run that was not exported, whose images are
        also resized bilinearly, whatever training did) and `warnings`.
        Its index holds the files' names, for the screen alone: `rin.pages` writes no index. A file
        that can't be read has a row with a warning and nothing else.

    Raises:
        PredictError: the wrong modality, or one that nobody stated; no image, or none readable.
    """
    model = model if isinstance(model, Opened) else load(model)
    _check(threshold)
    names = listed(files)
    check_modality(names, model.card["use"]["modality"], modality)
    found = read(names, model.card)
    features, scores = model(found.pixels)
    frame = pd.DataFrame({"image_id": found.image_ids, "probability": scores[:, 1].astype(float)})
    negative, positive = model.card["use"]["classes"]
    frame["predicted"] = np.where(_positive(scores, threshold), positive, negative)
    frame = frame.join(_unlike(model, found, features))
    frame["warnings"] = _warnings(frame, model.card["use"]["modality"])
    frame.index = pd.Index([str(file) for file in found.files])
    lost = {str(file): f"can't be read: {reason}" for file, reason in found.bad.items()}
    frame = frame.reindex([str(file) for file in names])
    frame["warnings"] = frame["warnings"].fillna(pd.Series(lost, dtype=object))
    frame["unlike"] = frame["unlike"].astype("boolean")
    frame.index = pd.Index([_stem(file) for file in names], name="file")
    return frame[list(COLUMNS)]


def explain(model, files, class_index=None, threshold=0.5):
    """Grad-CAM maps of the readable images among these files.

    Args:
        model: a model folder, or an `Opened`.
        files: as `predict` takes them; their modality is not looked at again.
        class_index: 1 for the positive class, 0 for the other; None for the class that `predict`
            names, of each image. Two sigmoids need not add up to 1, so this can be the class with
            the lower output.
        threshold: as `predict` had it.

    Returns:
        (pixels, maps): two `(n, size, size)` uint8 arrays, the images as the network sees them and
        their maps, 0–255.

    Raises:
        PredictError: no image, none readable, or an unusable `threshold`.
    """
    from rin import gradcam

    model = model if isinstance(model, Opened) else load(model)
    _check(threshold)
    pixels = read(listed(files), model.card).pixels
    if class_index is None:
        class_index = _positive(model(pixels)[1], threshold).astype(int)
    return pixels, gradcam.cam(model.network, model.shown(pixels), class_index)


def _check(threshold):
    if not 0 <= threshold <= 1:
        raise PredictError(f"`threshold` should be 0 to 1. Received: threshold={threshold!r}")


def _positive(scores, threshold):
    """Which images are called positive: the one rule, of names and of maps."""
    return scores[:, 1] >= threshold


def _exported(folder):
    card = model_card.read(folder)
    if wrong := model_card.verify(folder, card):
        raise PredictError(f"{folder}: its files are not as exported: {wrong}")
    name = next((name for name in card["sha256"] if name.endswith(ENDING)), None)
    if name is None or STATISTICS not in card["sha256"]:
        raise PredictError(f"{folder}: its card names no {ENDING} file or no {STATISTICS}")
    whole = keras.models.load_model(folder / name, compile=False)
    return opened(whole.layers[-1], card, unlike.load(folder / STATISTICS))


def _stem(file):
    """A file's name without suffix; of a slice the volume's, with the slice."""
    return file.name if "#" in file.name else file.stem


def _unlike(model, found, features):
    if model.statistics is None:
        absent = {"distance": np.nan, "quantile": np.nan, "unlike": pd.NA, "outside": ""}
        return pd.DataFrame(absent, index=range(len(found.files)))
    facts = unlike.facts(found.files, found.pixels, found.sizes)
    return unlike.judge(model.statistics, features, facts)


def _warnings(frame, modality):
    """One cell an image: what speaks against believing its prediction."""
    cells = []
    for row in frame.itertuples():
        said = [] if modality else ["modality not checked: the card names none"]
        if pd.isna(row.unlike):
            said.append(UNCOMPARED)
        elif row.unlike:
            said.append("unlike the training images")
        said += [f"out of their range: {row.outside}"] if row.outside else []
        cells.append("; ".join(said))
    return cells
