"""Banked networks: a network's frozen part and the parts above its cuts, each compiled once."""

import keras

from rin import backbones, feed, objectives, training, views
from rin.gradcam import closed_form

TRAINABLES = ("head", "top10")


class Top:
    """The part of a network above a cut, and the variables that training can change.

    Args:
        network: a model of `rin.backbones.build` that gives logits.
        cut: its `rin.views.frontier`.
        loss: of `rin.objectives.loss`.
    """

    def __init__(self, network, cut, loss):
        self.cut, self.model = cut, keras.Model(cut, network.output)
        self.model.compile(keras.optimizers.Adam(), loss, jit_compile=training.jit_compile())
        self.model.optimizer.build(self.model.trainable_variables)
        self.n_trainable = training.n_trainable(self.model)
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
        """`(n, 2)` logits."""
        return self.model.predict_on_batch(_one(x))


class Networks:
    """One network, a forward model for all cuts of it, and a `Top` above each.

    The tops share the layers that both train, so what one run left there has to be assigned anew
    before another goes on.

    Args:
        backbone, classifier, image_size, variant: as `rin.backbones.build` takes them.
        trainables: "head", "top10" or both.
        objective: as `rin.objectives.loss` takes it.

    Attributes:
        network: the whole model, which gives logits.
        loss: the objective of all tops.
        tops: dict from trainable to its `Top`.
        tensors: the KerasTensors that `forward` gives.
        which: dict from trainable to the numbers of its tensors among these.
        first: dict from trainable to the values its changing weights start from; see `reset`.
    """

    def __init__(
        self,
        backbone,
        trainables=TRAINABLES,
        classifier="gap",
        image_size=256,
        variant="keras",
        objective=objectives.OFFICIAL,
    ):
        most = "top10" if "top10" in trainables else "head"
        self.shape = {"backbone": backbone, "classifier": classifier}
        self.shape |= {"image_size": image_size, "variant": variant}
        self.network = backbones.build(trainable=most, **self.shape, logits=True)
        self.loss = objectives.loss(objective, classifier)
        self.tops = {name: Top(self.network, self._cut(name), self.loss) for name in trainables}
        several = {id(tensor): tensor for top in self.tops.values() for tensor in top.cut}
        self.tensors, numbers = list(several.values()), {key: i for i, key in enumerate(several)}
        self.which = {name: [numbers[id(t)] for t in top.cut] for name, top in self.tops.items()}
        self.feed = feed.Feed(name="feed")
        images, maps = feed.inputs(image_size)
        features = closed_form.cam_tensor(self.network)
        self._above = None
        if "top10" in trainables:  # the features lie above its cut: a few layers give them
            self._above = _forward(self.tops["top10"].cut, features)
        looked = [] if self._above else [features]
        below = keras.Model(self.network.input, [*self.tensors, *looked])
        self._plain = _forward(images, below(self.feed(images)))
        self._mapped = _forward([images, maps], below(self.feed(images, maps)))

    def reset(self, run):
        """Assign the weights of this run's init and seed, and what its preprocess does."""
        values = training.fresh_state(run, self.shape)
        for variable, value in zip(self.network.variables, values, strict=True):
            variable.assign(value)
        self.feed.choose(run.preprocess, run.scenario.backbone, run.init)
        self.first = {name: top.values()[: len(top.weights)] for name, top in self.tops.items()}

    def rest(self):
        """Undo what training did: what is frozen in one run may lie below the cut of another."""
        for name, top in self.tops.items():
            top.assign(self.first[name])

    def forward(self, images, maps=None):
        """What the frozen layers give: a list of arrays, one for each of `tensors`.

        Call `rest` before the first of several calls.

        Args:
            images: `(n, h, w)` uint8.
            maps: `(n, 8)` affine maps of `rin.augment`; None for images as stored.
        """
        return self._below(images, maps)[: len(self.tensors)]

    def features(self, tensors, images, maps=None):
        """The last convolutional maps, as the weights stand.

        Args:
            tensors: what `forward` gives for the images, or a view holds.
            images, maps: as `forward` takes them; used where no top10 run needs `tensors` that
                lie below the features.

        Returns:
            `(n, h, w, K)` float32.
        """
        if self._above is None:
            return self._below(images, maps)[-1]
        return self._above.predict_on_batch(_one([tensors[i] for i in self.which["top10"]]))

    def kernel(self):
        """The classifier's weights as they stand: an array."""
        return self.network.get_layer(closed_form.CLASSIFIER).kernel.numpy()

    def _below(self, images, maps):
        if maps is None:
            found = self._plain.predict_on_batch(images)
        else:
            found = self._mapped.predict_on_batch([images, maps])
        return found if isinstance(found, list) else [found]

    def _cut(self, trainable):
        if trainable == "top10":
            return views.frontier(self.network)
        last = self.network.get_layer("classifier")
        return views.frontier(self.network, lambda o: o is last or views.draws(o))


def _forward(inputs, outputs):
    model = keras.Model(inputs, outputs)
    model.compile(jit_compile=training.jit_compile())
    return model


def _one(x):
    return x[0] if len(x) == 1 else x
