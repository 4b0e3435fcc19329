"""Estimates: how long a job will take and what it leaves on disk, from measured rates.

No image is read: the number of images is that of the phantoms asked for, or the one the registry
expects of a dataset. An estimate plans a week; it promises no hour.
"""

import math
from dataclasses import dataclass
from importlib import resources

import pandas as pd

from rin import scenarios

FILE = "measured_rates.csv"
KINDS = ("forward", "train_all", "top10", "head")
STANDARD = "resnet50"  # stands in for a backbone that was not measured
COUNTED_AT = 256  # pixels a side, of `WORK`
# Source: predictions, history and record of the BUSI runs in results/busi_reduced
RUN_BYTES, ROW_BYTES = 9_200, 42
# Source: seen on two CPU cores: imports and networks 10 to 25 s, tracing a step 20 to 140 s where
# all layers train and 2 s above a bank
START_S, TRACE_S = 15, {"all": 50, "top10": 2, "head": 2}
# Shares of train, val and test. Source: `rin.splits`; official folds are near those of 5-fold
SHARES = {"5-fold": (0.72, 0.08, 0.2), "75/10/15": (0.75, 0.1, 0.15)}


@dataclass(frozen=True)
class Work:
    """What a backbone does with one image of `COUNTED_AT` pixels a side.

    Attributes:
        multiply_adds: of a forward pass, in millions.
        n_features: after global average pooling.
        n_cells: of the last map, whose pixels the flatten classifier takes one by one.
        top10_bytes: of what frozen layers hand to the last ten, in float32.
    """

    multiply_adds: int
    n_features: int
    n_cells: int
    top10_bytes: int


# Source: counted from the graphs; tests/test_estimate.py counts them again
WORK = {
    "resnet50": Work(5036, 2048, 64, 655_360),
    "densenet121": Work(3700, 1024, 64, 253_952),
    "inception_v3": Work(3848, 2048, 36, 294_912),
    "inception_resnet_v2": Work(8806, 1536, 36, 364_032),
}


@dataclass(frozen=True)
class Cost:
    """What a job needs.

    Attributes:
        seconds: of computing.
        kept_bytes: of what its runs leave.
        bank_bytes: of the view bank, on disk while the job runs.
    """

    seconds: float
    kept_bytes: int
    bank_bytes: int


class Rates:
    """Measured images per second, and what follows from them for other sizes and backbones.

    Args:
        table: DataFrame of `hardware`, `backbone`, `image_size`, `kind`, `images_per_second`.
        accelerators: names of the devices that will be used; none for a CPU.

    Attributes:
        hardware: what the rates were measured on.
    """

    def __init__(self, table, accelerators=()):
        self.hardware = _hardware(table, accelerators)
        self.table = table[table["hardware"] == self.hardware]

    def per_second(self, kind, backbone, image_size, classifier="gap"):
        """Images per second.

        From the nearest size measured for this backbone, else for ResNet50, in proportion to the
        work on one image: multiply-adds through the whole backbone, or the bytes of what a bank
        hands to a head or to the last ten layers.

        Args:
            kind: one of `KINDS`: forward, training of all layers, of the last ten, of the head.
            backbone, image_size, classifier: as `rin.backbones.build` takes them.

        Raises:
            ValueError: no rate of this kind was measured on this hardware.
        """
        rows = self.table[self.table["kind"] == kind]
        own = rows[rows["backbone"] == backbone]
        rows = own if len(own) else rows[rows["backbone"] == STANDARD]
        if rows.empty:
            raise ValueError(
                f"{FILE} should hold a {kind} rate of {backbone} or {STANDARD} on "
                f"{self.hardware!r}. Found none: run benchmarks/measure_rates.py"
            )
        distance = [abs(math.log(size / image_size)) for size in rows["image_size"]]
        row = rows.iloc[distance.index(min(distance))]
        measured = _work(kind, row["backbone"], row["image_size"], "gap")
        return row["images_per_second"] * measured / _work(kind, backbone, image_size, classifier)


def rates(accelerators=()):
    """The `Rates` that ship with this package."""
    with resources.files("rin").joinpath("data", FILE).open() as file:
        return Rates(pd.read_csv(file), accelerators)


def runs(params):
    """The training runs of a page's parameters: list of `rin.scenarios.Run`."""
    grid = scenarios.grid(params["backbones"], params["learning_rates"], params["trainables"])
    return [
        scenarios.Run(
            params["task"], init, preprocess, scenario, fold, seed, params["classifier"], batch
        )
        for scenario in grid
        for init in scenarios.inits_of(
            scenario.backbone, params["inits"], params.get("weight_files")
        )
        for preprocess in params["preprocesses"]
        for batch in params["batch_sizes"]
        for seed in params["seeds"]
        for fold in params["folds"]
    ]


def n_images(params):
    """How many images a page is about; None where nobody can know without reading them."""
    from rin import datasets  # takes a second: only where an estimate is asked for

    if not params["data_dir"]:
        return params["n_phantoms"]
    expected = datasets.task(params["task"]).card.expected or {}
    counts = expected.get("published") or expected.get("download") or {}
    return counts.get("images")


def cost(params, pending, n, measured):
    """The `Cost` of training runs.

    Args:
        params: dict of a page's parameters, defaults included.
        pending: the `rin.scenarios.Run`s that are not finished.
        n: number of images.
        measured: a `Rates`.
    """
    if not pending:
        return Cost(START_S, 0, 0)
    work = _Work(params, n, measured)
    banks, alone = {}, []
    for run in pending:
        if run.scenario.trainable == "all":
            alone.append(run)
        else:
            shared = (run.scenario.backbone, run.init, run.preprocess, run.seed)
            banks.setdefault(shared, []).append(run)
    traced = {(run.scenario.backbone, run.scenario.trainable) for run in pending}
    seconds = START_S + sum(TRACE_S[trainable] for _, trainable in traced)
    seconds += sum(map(work.bank_seconds, banks.values())) + sum(map(work.all_seconds, alone))
    held = round(n * (work.val + work.test)) * ROW_BYTES + RUN_BYTES
    return Cost(seconds, len(pending) * held, max(map(work.bank_bytes, banks.values()), default=0))


def store_bytes(params, n):
    """Bytes of the image store: uint8 pixels, one array a (dataset, size)."""
    return n * params["image_size"] ** 2


class _Work:
    """Images through each part of a network, for one page."""

    def __init__(self, params, n, measured):
        self.params, self.n, self.measured = params, n, measured
        self.train, self.val, self.test = _shares(params)

    def bank_seconds(self, several):
        """Runs on one bank: passes through the frozen part, then what trains above it."""
        epochs, one = self.params["epochs"], several[0]
        passes = self._passes(several)
        seconds = passes * self.n / self._rate("forward", one)
        for run in several:
            shown = epochs * (self.train + self.val) + self.test
            seconds += shown * self.n / self._rate(run.scenario.trainable, run)
        return seconds

    def all_seconds(self, run):
        """A run that trains the whole backbone."""
        epochs = self.params["epochs"]
        trained = epochs * self.train * self.n / self._rate("train_all", run)
        return trained + (epochs * self.val + self.test) * self.n / self._rate("forward", run)

    def bank_bytes(self, several):
        """Both views of all images, at most the budget."""
        return min(self._view_bytes(several), self._budget())

    def _passes(self, several):
        """Trips of all images through the frozen part."""
        epochs = self.params["epochs"]
        if self._view_bytes(several) <= self._budget():
            plain, seen = self._unions(several)
            return plain + seen * epochs
        shown = epochs * (self.train + self.val) + self.test
        streams = {(run.fold, run.batch_size) for run in several}  # chunk by chunk, each apart
        return len(streams if self._budget() else several) * shown

    def _unions(self, several):
        """Shares of the images that the plain and the augmented view hold."""
        n_folds = len({run.fold for run in several})
        held = min(1.0, n_folds * (self.val + self.test))
        train = self.train if n_folds == 1 else 1.0
        augmented = self.params["augmentation"] != "none"
        return (held, train) if augmented else (min(1.0, held + train), 0.0)

    def _view_bytes(self, several):
        trainables = {run.scenario.trainable for run in several}
        size, one = self.params["image_size"], several[0]
        held = sum(_bytes(t, one.scenario.backbone, size, one.classifier) for t in trainables)
        return round(sum(self._unions(several)) * self.n * held)

    def _budget(self):
        return round(self.params["bank_gib"] * 2**30)

    def _rate(self, kind, run):
        size = self.params["image_size"]
        return self.measured.per_second(kind, run.scenario.backbone, size, run.classifier)


def _shares(params):
    from rin import datasets

    own = datasets.task(params["task"]).protocol
    chosen = params["protocol"] or own
    return SHARES.get(chosen) or SHARES[own]  # official folds are as many as the task's own


def _work(kind, backbone, size, classifier):
    """Work on one image; only ratios of the same kind mean anything."""
    if kind in ("forward", "train_all"):
        return WORK[backbone].multiply_adds * (size / COUNTED_AT) ** 2
    return _bytes(kind, backbone, size, classifier)


def _bytes(trainable, backbone, size, classifier):
    """What frozen layers hand on for one image, in float32."""
    work, area = WORK[backbone], (size / COUNTED_AT) ** 2
    if trainable == "top10":
        return work.top10_bytes * area
    return 4 * work.n_features * (work.n_cells * area if classifier == "flatten" else 1)


def _hardware(table, accelerators):
    """The measured hardware that is most like ours: the same accelerator, any, or a CPU."""
    names = list(dict.fromkeys(table["hardware"]))
    cpu = [name for name in names if "CPU" in name]
    other = [name for name in names if name not in cpu]
    same = [name for name in other if name in accelerators]
    return (same or (other if accelerators else []) or cpu or names)[0]
