"""Export: the files that come out of pretraining, in the published form and in Keras 3's own.

`Pretrained-ResNet50_notop.h5` is what `RadImageNet-ResNet50_notop.h5` is: the backbone up to pooled
features, in the legacy format that tf.keras 2 and `keras.applications` read. Beside it lie
`…_notop.weights.h5` (the same, Keras 3), `…_top.weights.h5` (the classifier, so that the
probabilities can be had again) and `…_notop.card.json` (what all that is).
"""

import contextlib
import logging
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np

from rin import backbones, paths, records
from rin.pretraining import card as cards

PUBLISHED = "RadImageNet"  # how the names of the published files begin
HEAD = ["dropout", "classifier"]  # what `rin.backbones.build` sets upon a backbone


def export(network, backbone, folder, card, name="Pretrained"):
    """Write a pretrained network's backbone, classifier and card.

    Two exports of the same weights by the same versions give the same bytes. All files are
    complete before the first one is moved to its place; the card comes last.

    Args:
        network: a Keras model as `rin.backbones.build(backbone, trainable="all", …)` makes it.
        backbone: a key of `rin.backbones.BACKBONES`.
        folder: where to write; made if it is not there.
        card: a `rin.pretraining.card.Card`; release, parameters, hashes and versions are filled in.
        name: what the file names begin with. "RadImageNet" gives the published spelling.

    Returns:
        Dict from "legacy", "weights", "classifier" and "card" to the files' paths. The legacy file
        carries a model config of Keras 3: tf.keras 2 takes its weights (`load_weights`) but may not
        build the model from it (`load_model`).

    Raises:
        ValueError: the network is not this backbone under a classifier of the card's classes, a
            weight is not finite, phantoms under the published name, or a file of that name that
            was not exported from here. Nothing is written then.
    """
    files = _files(paths.resolve(folder), backbone, name)
    _check_card(card, network, backbone)
    _check_name(card, name, files)
    base, head = _canonical(network, backbone)
    files["card"].parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=files["card"].parent, prefix=".export-") as work:
        fresh = {kind: Path(work) / file.name for kind, file in files.items()}
        _write_legacy(base, fresh["legacy"])
        base.save_weights(fresh["weights"])
        head.save_weights(fresh["classifier"])
        written = [fresh[kind] for kind in ("legacy", "weights", "classifier")]
        filled = replace(
            card,
            release=backbones.BACKBONES[backbone].release,
            n_parameters=int(base.count_params()),
            sha256={file.name: records.sha256(file) for file in written},
            versions=records.environment()["versions"],
        )
        cards.write(filled, fresh["card"])
        for kind, file in fresh.items():  # in the same folder: each is replaced whole
            os.replace(file, files[kind])
    return files


def restore(card_file, image_size=None):
    """The whole network again, classifier included, from what `export` wrote.

    Args:
        card_file: path of the card; the weights lie beside it.
        image_size: pixels a side; default the card's.

    Returns:
        A functional `keras.Model` to `(n, n_classes)` probabilities, classes as in the card.

    Raises:
        ValueError: a card that can't be read, or files that are missing or changed.
    """
    card_file = paths.resolve(card_file)
    card = cards.read(card_file)
    wrong = cards.verify(card_file.parent, card)
    if wrong:
        raise ValueError(f"{card_file.name}: its files are not as exported: {wrong}")
    size = image_size or card.image_size
    network = backbones.build(card.backbone, None, "all", len(card.classes), size)
    stem = card_file.name.removesuffix(f"_notop{cards.ENDING}")
    base = keras.Model(network.input, network.get_layer("dropout").input)
    base.load_weights(card_file.with_name(f"{stem}_notop.weights.h5"))
    head = _head(card.backbone, len(card.classes))
    head.load_weights(card_file.with_name(f"{stem}_top.weights.h5"))
    network.get_layer("classifier").set_weights(head.get_weights())
    return network


def _files(folder, backbone, name):
    """Where each file goes; the card is the last."""
    if backbone not in backbones.BACKBONES:
        known = tuple(backbones.BACKBONES)
        raise ValueError(f"`backbone` should be one of {known}. Received: backbone={backbone!r}")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"`name` should be the beginning of a file name. Received: name={name!r}")
    stem = f"{name}-{backbones.BACKBONES[backbone].release}"
    return {
        "legacy": folder / f"{stem}_notop.h5",
        "weights": folder / f"{stem}_notop.weights.h5",
        "classifier": folder / f"{stem}_top.weights.h5",
        "card": folder / f"{stem}_notop{cards.ENDING}",
    }


def _check_card(card, network, backbone):
    if not isinstance(card, cards.Card):
        raise ValueError(f"`card` should be a rin.pretraining.card.Card. Received: {type(card)}")
    names = [layer.name for layer in network.layers[-2:]]
    if names != HEAD:
        raise ValueError(
            f"`network` should end in the layers {HEAD}, as rin.backbones.build makes it. "
            f"Received one that ends in {names}"
        )
    facts = {
        "backbone": (card.backbone, backbone),
        "image_size": (card.image_size, network.input_shape[1]),
        "number of classes": (len(card.classes), network.output_shape[-1]),
    }
    for name, (said, is_so) in facts.items():
        if said != is_so:
            raise ValueError(f"the card's {name} should be the network's, {is_so!r}, not {said!r}")


def _check_name(card, name, files):
    if card.phantom and name == PUBLISHED:
        raise ValueError(f"`name` should not be {PUBLISHED!r} where the images were phantoms")
    if not files["card"].exists() and (there := [f.name for f in files.values() if f.exists()]):
        raise ValueError(f"{there[0]} is there and has no card: choose another `name` or `folder`")


def _canonical(network, backbone):
    """Fresh backbone and classifier with the network's weights, layers numbered from zero.

    Keras counts `conv2d`, `conv2d_1`, … on over all models of a thread, so that the same network
    has other layer names when something was built before it. In a thread of its own the count
    starts anew; a mixed precision and a distribution scope stay outside too.
    """
    n_classes, size = network.output_shape[-1], network.input_shape[1]
    with ThreadPoolExecutor(1) as thread:
        base = thread.submit(backbones.build_base, backbone, size).result()
        head = thread.submit(_head, backbone, n_classes).result()
    pairs = [*_pairs(network.layers[:-2], base.layers, backbone), (network.layers[-1], head)]
    for trained, fresh in pairs:
        values = trained.get_weights()
        if not all(np.isfinite(value).all() for value in values):
            raise ValueError(f"`network` holds weights that are not finite, in {trained.name}")
        fresh.set_weights(values)
    return base, head


def _pairs(trained, fresh, backbone):
    """Layers that hold weights, matched by name; numbered ones by their rank."""
    trained, fresh = (sorted(filter(_has_weights, x), key=_rank) for x in (trained, fresh))
    facts = [[(_rank(layer)[0], _shapes(layer)) for layer in x] for x in (trained, fresh)]
    if facts[0] != facts[1]:
        raise ValueError(f"`network` should be a {backbone} under its classifier: layers differ")
    return zip(trained, fresh, strict=True)


def _rank(layer):
    stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", layer.name).groups()
    return stem, int(number or 0)


def _has_weights(layer):
    return bool(layer.weights)


def _shapes(layer):
    return [tuple(variable.shape) for variable in layer.weights]


def _head(backbone, n_classes):
    """The classifier alone, on pooled features."""
    features = keras.Input((backbones.BACKBONES[backbone].n_features,), name="features")
    dense = keras.layers.Dense(n_classes, "softmax", dtype="float32", name="classifier")
    return keras.Sequential([features, dense], name="head")


def _write_legacy(base, file):
    """A legacy full-model file, tensors spelled `kernel:0` as in the published ones.

    Keras reads them in either spelling; programs that open the file themselves ask for this one.
    """
    with _silent("absl"):  # Keras advises against the format, which is chosen on purpose
        base.save(file)
    with h5py.File(file, "r+") as h5:
        for layer in h5["model_weights"].values():
            names = list(layer.attrs["weight_names"])
            for name in names:
                layer.move(name, f"{name}:0")
            if names:
                layer.attrs["weight_names"] = [f"{name}:0".encode() for name in names]


@contextlib.contextmanager
def _silent(name):
    """Keep a logger's warnings back."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
