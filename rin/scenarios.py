"""The 24 scenarios of the study, and what one run is."""

import hashlib
from dataclasses import asdict, dataclass

BACKBONES = ("inception_resnet_v2", "resnet50", "densenet121", "inception_v3")
# Source: the paper's Methods and the official README
LEARNING_RATES = {"all": (1e-3, 1e-4), "head": (1e-2, 1e-3), "top10": (1e-2, 1e-3)}
NAMED_INITS = ("random", "imagenet", "radimagenet")


@dataclass(frozen=True, order=True)
class Scenario:
    """backbone × trainable × learning rate."""

    backbone: str
    trainable: str
    learning_rate: float

    def __str__(self):
        short = f"{self.learning_rate:.0e}"
        rate = short if float(short) == self.learning_rate else repr(self.learning_rate)
        return f"{self.backbone}-{self.trainable}-{rate}"


@dataclass(frozen=True, order=True)
class Run:
    """One (task, init, preprocess, scenario, fold, seed), trained once; `name` is its folder.

    `batch_size` is images an update; the last batch of an epoch may be smaller, as officially.
    """

    task: str
    init: str
    preprocess: str
    scenario: Scenario
    fold: int
    seed: int = 0
    classifier: str = "gap"
    batch_size: int = 256

    @property
    def init_name(self):
        """The init for tables and folders: a path becomes its stem and six digits of its hash."""
        if self.init in NAMED_INITS:
            return self.init
        stem = self.init.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0]
        return f"{stem}-{hashlib.sha256(self.init.encode()).hexdigest()[:6]}"

    @property
    def name(self):
        """A folder name."""
        parts = [self.init_name, self.preprocess, str(self.scenario), self.classifier]
        return "-".join([*parts, f"fold{self.fold}", f"seed{self.seed}", f"batch{self.batch_size}"])

    def facts(self):
        """The run as one flat dict, for tables and records."""
        rest = {k: v for k, v in asdict(self).items() if k != "scenario"}
        shown = {"init": self.init_name, "scenario": str(self.scenario)}
        return rest | asdict(self.scenario) | shown


def grid(backbones=BACKBONES, learning_rates=None, trainables=None):
    """The 24 scenarios: 4 backbones × (all, head, top10) × two learning rates each.

    Args:
        backbones: which of the four.
        learning_rates: dict from trainable to rates; default the study's.
        trainables: which of the three; default those `learning_rates` names. One without rates
            of its own gets the study's.

    >>> len(grid())
    24
    """
    rates = LEARNING_RATES if learning_rates is None else learning_rates
    asked = rates if trainables is None else trainables
    rates = LEARNING_RATES | rates
    unknown = [*(set(backbones) - set(BACKBONES)), *({*asked, *rates} - set(LEARNING_RATES))]
    if unknown:
        raise ValueError(
            f"`backbones` should be among {BACKBONES}, `learning_rates` keyed by "
            f"{tuple(LEARNING_RATES)}. Received: {unknown}"
        )
    return [
        Scenario(backbone, trainable, float(rate))
        for backbone in backbones
        for trainable in asked
        for rate in rates[trainable]
    ]
