"""The 24 scenarios of the study, and what one run is."""

import hashlib
import re
from dataclasses import asdict, dataclass

BACKBONES = ("inception_resnet_v2", "resnet50", "densenet121", "inception_v3")
# Source: the paper's Methods and the official README
LEARNING_RATES = {"all": (1e-3, 1e-4), "head": (1e-2, 1e-3), "top10": (1e-2, 1e-3)}
NAMED_INITS = ("random", "imagenet", "radimagenet")
# how weight files name their network
NETWORK = re.compile(r"[-_](ResNet50|DenseNet121|InceptionV3|InceptionResNetV2|IRV2)[-_]notop")


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
        """The init for tables and folders: a path becomes its stem and six digits of its hash.

        The network's name in a file like `Pretrained-ResNet50_notop.h5` counts for neither.
        """
        if self.init in NAMED_INITS:
            return self.init
        place = self.init.replace("\\", "/")
        name = place.rsplit("/", 1)[-1]
        shared = NETWORK.sub("", name)  # one name for the files of several backbones
        digest = hashlib.sha256(place.replace(name, shared).encode()).hexdigest()[:6]
        return f"{shared.split('.')[0]}-{digest}"

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


def inits_of(backbone, inits, weight_files=None):
    """The inits of a backbone: a list of those for all of them, and its own weight file.

    Args:
        backbone: one of `BACKBONES`.
        inits: list of inits for every backbone.
        weight_files: dict from backbone to the path of a weight file.

    >>> inits_of("resnet50", ["random"], {"resnet50": "w.h5"})
    ['random', 'w.h5']
    """
    own = (weight_files or {}).get(backbone)
    return [*inits, own] if own else list(inits)


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
