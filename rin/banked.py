"""Banked networks: a backbone's frozen part and the parts above its cuts, each compiled once."""

import keras

from rin import backbones, feed, training, views

TRAINABLES = ("head", "top10")


class Top:
    """The part of a network above its cut, and the variables that training can change.

    Args:
        network: a model of `rin.backbones.build`.
        cut: its `rin.views.frontier`.
    """

    def __init__(self, network, cut):
        self.network, self.cut = network, cut
        self.model = keras.Model(cut, network.output)
        loss = "binary_crossentropy"
        self.model.compile(keras.optimizers.Adam(), loss, jit_compile=training.jit_compile())
        self.model.optimizer.build(self.model.trainable_variables)
        self.n_trainable = training.n_trainable(network)
        layers = [layer for layer in self.model.layers if views.moves(layer)]
        self.weights = [v for layer in layers for v in layer.variables]
        self.optimizer = self.model.optimizer.variables
        self._first = [v.numpy() for v in self.optimizer]

    def fresh(self, weights, learning_rate):
        """The values a run starts from.

        Args:
            weights: values of `weights`, as `values` gives them first.
            learning_rate: float.
        """
        self.assign([*weights, *self._first])
        self.model.optimizer.learning_rate = learning_rate
        return self.values()

    def values(self):
        """Values of the changing weights (seeds included), then of the optimizer."""
        return [v.numpy() for v in [*self.weights, *self.optimizer]]

    def assign(self, values):
        """Set what `values` gave, or only its first part, the weights."""
        for variable, value in zip([*self.weights, *self.optimizer], values, strict=False):
            variable.assign(value)

    def train(self, x, y):
        """One update; the mean loss of this batch."""
        self.model.reset_metrics()  # Keras reports the mean since the last reset
        return float(self.model.train_on_batch(_one(x), y))

    def predict(self, x):
        """`(n, 2)` probabilities."""
        return self.model.predict_on_batch(_one(x))


class Networks:
    """One forward model for all cuts of a backbone, and a `Top` above each.

    Args:
        backbone, classifier, image_size: as `rin.backbones.build` takes them.
        trainables: "head", "top10" or both.

    Attributes:
        tops: dict from trainable to its `Top`.
        tensors: the KerasTensors that `forward` gives.
        which: dict from trainable to the numbers of its tensors among these.
    """

    def __init__(self, backbone, trainables=TRAINABLES, classifier="gap", image_size=256):
        shape = {"backbone": backbone, "classifier": classifier, "image_size": image_size}
        self.shapes = {name: shape | {"trainable": name} for name in trainables}
        built = {name: backbones.build(**options) for name, options in self.shapes.items()}
        self.tops = {name: Top(network, views.frontier(network)) for name, network in built.items()}
        self.frozen = built[trainables[0]]
        self._gather()
        self.feed = feed.Feed(name="feed")
        images, maps = feed.inputs(image_size)
        below = keras.Model(self.frozen.input, self.tensors)
        self._plain = _forward(images, below(self.feed(images)))
        self._seen = _forward([images, maps], below(self.feed(images, maps)))

    def reset(self, run):
        """Assign the weights of this run's init and seed, and what its preprocess does.

        Returns:
            Dict from trainable to the values its changing weights start from.
        """
        for name, top in self.tops.items():
            values = training.fresh_state(run, self.shapes[name])
            for variable, value in zip(top.network.variables, values, strict=True):
                variable.assign(value)
        self.feed.choose(run.preprocess, run.scenario.backbone)
        return {name: [v.numpy() for v in top.weights] for name, top in self.tops.items()}

    def forward(self, images, maps=None):
        """What the frozen layers give: a list of arrays, one for each of `tensors`.

        Args:
            images: `(n, h, w)` uint8.
            maps: `(n, 8)` of `rin.feed.maps` for an augmented view; None for the plain one.
        """
        if maps is None:
            found = self._plain.predict_on_batch(images)
        else:
            found = self._seen.predict_on_batch([images, maps])
        return found if isinstance(found, list) else [found]

    def _gather(self):
        self.tensors, self.which = [], {}
        for name, top in self.tops.items():
            here = [views.twin(t, top.network, self.frozen) for t in top.cut]
            self.tensors += [t for t in here if all(t is not known for known in self.tensors)]
            numbers = {id(t): i for i, t in enumerate(self.tensors)}
            self.which[name] = [numbers[id(t)] for t in here]


def _forward(inputs, outputs):
    model = keras.Model(inputs, outputs)
    model.compile(jit_compile=training.jit_compile())
    return model


def _one(x):
    return x[0] if len(x) == 1 else x
