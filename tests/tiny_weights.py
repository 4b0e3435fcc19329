"""A small backbone with all kinds of layers the four have, its files, and ways to spoil them."""

import json
import pickle
import zipfile

import h5py
import keras
import numpy as np

from rin import backbones

SIZE = 16


def build(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg", **options):
    """Named and auto-numbered layers, two branches of unequal depth, four alike in a row.

    `options` may change what shapes don't show: `stride` of the last layer, the `pool` layer,
    `epsilon`; or what they do: `n_more` auto-numbered layers at the end.
    """
    pool = options.get("pool", keras.layers.MaxPooling2D)
    image = keras.Input(input_shape)
    x = keras.layers.Conv2D(4, 3, strides=2, name="stem")(image)
    x = keras.layers.BatchNormalization(epsilon=options.get("epsilon", 1e-3), name="stem_bn")(x)
    x = pool(2, strides=1)(keras.layers.Activation("relu")(x))
    x = keras.layers.Add()([unit(x), unit(unit(x))])
    for _ in range(options.get("n_more", 0)):
        x = unit(x)
    x = keras.layers.Conv2D(5, 1, strides=options.get("stride", 1), name="last")(x)
    if pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, x)


def unit(x):
    """An auto-numbered convolution without bias and its batch norm without scale."""
    x = keras.layers.Conv2D(4, 1, use_bias=False)(x)
    return keras.layers.Activation("relu")(keras.layers.BatchNormalization(scale=False)(x))


ROW = backbones.Backbone(build, 5, "tf", "last", "Tiny")


def filled(seed=0, **options):
    """A model of random weights, no two alike."""
    model = build(**options)
    rng = np.random.default_rng(seed)
    values = [rng.uniform(0.1, 1, w.shape).astype("float32") for w in model.weights]
    model.set_weights(values)
    return model


def write(model, folder, kind="full"):
    """A file of one of the four Keras formats."""
    name = {"full": "full.h5", "only": "only.h5", "keras 3": "three.weights.h5"}
    file = folder / name.get(kind, "archive.keras")
    if kind == "only":  # Keras 3 writes no such file; the older ones' ends with its layers
        with h5py.File(write(model, folder), "r") as full, h5py.File(file, "w") as h5:
            for group in full["model_weights"].values():
                full.copy(group, h5)
            h5.attrs.update(full["model_weights"].attrs)
    elif kind == "keras 3":
        model.save_weights(file)
    else:
        model.save(file)
    return file


def rename(home, before, after):
    """Give a layer of an open legacy file another name, in its place."""
    listed = [after if name == before else name for name in listing(home)]
    home.move(before, after)
    home.attrs["layer_names"] = listed


def swap(home, one, two):
    """Exchange two layers' names in the listing of an open legacy file."""
    other = {one: two, two: one}
    home.attrs["layer_names"] = [other.get(name, name) for name in listing(home)]


def listing(home):
    """Names of the layers of an open legacy file."""
    return [n.decode() if isinstance(n, bytes) else n for n in home.attrs["layer_names"]]


def tensor(home, layer, name):
    """One dataset of an open legacy file."""
    found = []
    home[layer].visititems(lambda _, item: found.append(item))
    datasets = [item for item in found if isinstance(item, h5py.Dataset)]
    return next(item for item in datasets if item.name.split("/")[-1].split(":")[0] == name)


def replace(home, layer, name, values):
    """Put other values, of any shape, in the place of a tensor of an open legacy file."""
    place = tensor(home, layer, name).name
    del home.file[place]
    home.file[place] = values


class Command:
    """Unpickling it runs a shell command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def pickled(file, command, archive):
    """A PyTorch-like file, an archive or a bare pickle, that runs a command when it is loaded."""
    content = pickle.dumps({"conv1.weight": Command(command)}, protocol=2)
    if not archive:
        file.write_bytes(content)
        return file
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("archive/data.pkl", content)
        zipped.writestr("archive/version", "3\n")
    return file


def card(file, **facts):
    """A card beside a file whose name has one suffix."""
    beside = file.with_name(f"{file.name.split('.')[0]}.card.json")
    beside.write_text(json.dumps(facts))
    return beside
