"""Recipe: what a pretraining depends on beside its images, and the optimizer made from it.

The paper states the network (random weights, 224 px, global average pooling, dropout 0.5, softmax
over 165 classes) and nothing of how it was trained. Everything here is a choice of ours, usual for
networks of this kind, and a parameter of the page.
"""

import math
from dataclasses import asdict, dataclass

import keras

from rin import augment, backbones, devices
from rin.pretraining import policies, sampling

OPTIMIZERS = ("adamw", "sgd")
MOMENTUM = 0.9  # of sgd, Nesterov's
SPARED = ("bias", "gamma", "beta")  # by weight decay, as is usual: they only shift and scale


@dataclass(frozen=True)
class Recipe:
    """How a network is pretrained.

    Attributes:
        epochs: passes over the training set.
        batch_size: images an update. What is left over at the end of an epoch waits for another.
        optimizer: one of `OPTIMIZERS`.
        learning_rate: at the end of the warm-up; it then falls to zero along a cosine.
        weight_decay: share taken off the kernels an update, times the learning rate (decoupled).
        warmup_epochs: the learning rate grows evenly from zero.
        label_smoothing: share of the target spread over all classes, 0 … 1.
        balance: one of `rin.pretraining.sampling.BALANCES`, against classes of unlike sizes.
        balance_power: how far: 1 makes classes equal, 0.5 takes square roots, 0 does nothing.
        augmentation: a key of `rin.augment.RANGES`, the keyed affine map.
        policies: some of `rin.pretraining.policies.NAMES` in that order, applied before it.
        preprocess: what the network is fed; see `rin.backbones.preprocess`.
        precision: one of `rin.devices.PRECISIONS`.
        seed: of weights, order, dropout and augmentation.
    """

    epochs: int = 30
    batch_size: int = 256
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 2.0
    label_smoothing: float = 0.1
    balance: str = "none"
    balance_power: float = 1.0
    augmentation: str = "small"
    policies: tuple = ()
    preprocess: str = "official"
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "policies", tuple(self.policies))
        choices = {
            "optimizer": OPTIMIZERS,
            "balance": sampling.BALANCES,
            "augmentation": tuple(augment.RANGES),
            "preprocess": backbones.PREPROCESSES,
            "precision": devices.PRECISIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(_wrong(name, f"one of {known}", getattr(self, name)))
        if self.policies != tuple(n for n in policies.NAMES[1:] if n in self.policies):
            expected = f"among {policies.NAMES[1:]}, once each and in this order"
            raise ValueError(_wrong("policies", expected, self.policies))
        ranges = {
            "epochs": (1, math.inf),
            "batch_size": (1, math.inf),
            "learning_rate": (0, math.inf),
            "weight_decay": (0, 1),
            "warmup_epochs": (0, self.epochs),
            "label_smoothing": (0, 1),
            "balance_power": (0, 1),
            "seed": (0, 2**32 - 1),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(_wrong(name, f"in {low} … {high}", getattr(self, name)))

    def facts(self):
        """The recipe as a dict, for records and checkpoints."""
        return asdict(self) | {"policies": list(self.policies)}


def schedule(recipe, steps_per_epoch):
    """The learning rate by update: a warm-up from zero, then a cosine down to zero."""
    n_steps = recipe.epochs * steps_per_epoch
    n_warm = min(round(recipe.warmup_epochs * steps_per_epoch), n_steps - 1)
    if not n_warm:
        return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, n_steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, n_steps - n_warm, warmup_target=recipe.learning_rate, warmup_steps=n_warm
    )


def optimizer(recipe, steps_per_epoch):
    """A Keras optimizer that follows `schedule` and spares biases and batch norms from decay."""
    rate = schedule(recipe, steps_per_epoch)
    decay = recipe.weight_decay or None
    if recipe.optimizer == "sgd":
        made = keras.optimizers.SGD(rate, MOMENTUM, nesterov=True, weight_decay=decay)
    else:
        made = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    made.exclude_from_weight_decay(var_names=list(SPARED))
    return made


def _wrong(name, expected, received):
    return f"`{name}` should be {expected}. Received: {name}={received!r}"
