"""A real run of a two-layer backbone on phantoms, its weights kept, for what is exported."""

import warnings

from rin import datasets, images, kept, phantoms, splits
from rin.prepare import Prepared
from rin.runs import Settings, train_all
from rin.scenarios import Run, Scenario

SIZE = 32


def prepared(folder, task="breast", n=120, size=SIZE):
    """Small phantoms of a task, split by image and stored, all below `folder`."""
    root = phantoms.write(task, folder / task, n=n, size=48)
    row, frame = datasets.task(task), datasets.read(task, root, duplicates=False)
    store = images.store(frame, root, size, folder / "store")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", splits.SmallSplitWarning)
        frame = splits.assign(frame, "5-fold")
    return Prepared(row, root, frame, store, row.classes, True)


def train(ready, folder, backbone="tiny", trainable="all", rate=1e-2, **settings):
    """The folder of a run that kept its weights."""
    run = Run(ready.task.name, "random", "official", Scenario(backbone, trainable, rate), 0, 0)
    how = Settings(**{"epochs": 2, "keep_weights": True} | settings)
    (home,) = train_all([run], ready.data, how, folder)
    assert (home / kept.FILE).is_file() == how.keep_weights
    return home
