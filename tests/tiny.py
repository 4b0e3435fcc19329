"""Small data and runs that several test files train on."""

import numpy as np

from rin.prepare import Data
from rin.runs import Settings
from rin.scenarios import Run, Scenario

SIZE = 32
SETTINGS = Settings(epochs=2, augmentation="small")


def make_data(size=SIZE, n=24, n_folds=2):
    """Images whose brightness tells the class, 2/3 train, the rest val and test by fold."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    images = rng.integers(0, 120, (n, size, size)) + 100 * y[:, None, None]
    splits = np.full((n, n_folds), "train", dtype="<U5")
    for fold in range(n_folds):
        held = (np.arange(n) // 4) % 3 == fold
        splits[held, fold] = np.where((np.arange(n) // 2)[held] % 2, "val", "test")
    ids = np.array([f"{i:016x}" for i in range(n)])
    groups = np.array([f"g{i}" for i in range(n)])
    patients = np.array([f"p{i}" for i in range(n)], dtype=object)
    return Data(images.astype(np.uint8), ids, y, patients, groups, splits, f"test{size}")


def make_run(backbone="resnet50", trainable="head", rate=1e-2, fold=0, init="random", **other):
    """A run of eight images an update."""
    scenario = Scenario(backbone, trainable, rate)
    return Run("breast", init, "official", scenario, fold, **{"batch_size": 8} | other)
