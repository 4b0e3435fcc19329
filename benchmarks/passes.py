"""What does the study cost? Counted in passes, before a second is measured.

    python benchmarks/passes.py [--epochs 30] [--csv results/costs]

A pass is one trip of all images of a task through the frozen part of a backbone, the part that
`head` and `top10` runs share. The official loop makes about one for every run and epoch; the view
bank makes one for the plain view and one for each epoch's augmented view, whatever the number of
runs. Their ratio caps what the bank can win by not repeating itself. `all` runs freeze nothing:
both ways train the whole backbone as often.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import measured
import pandas as pd

from rin import estimate, published, scenarios

EPOCHS = 30


@dataclass(frozen=True)
class Split:
    """How a protocol uses a task's images, as shares of them.

    Attributes:
        folds: how many.
        train, val, test: in each set of one fold.
        ever_train: training images of any fold.
        ever_held: validation or test images of any fold.
    """

    folds: int
    train: float
    val: float
    test: float
    ever_train: float
    ever_held: float


# Every image of five folds is a test image once; all but a few are training images otherwise
SPLITS = {
    "5-fold": Split(5, *estimate.SHARES["5-fold"], ever_train=1.0, ever_held=1.0),
    "75/10/15": Split(1, *estimate.SHARES["75/10/15"], ever_train=0.75, ever_held=0.25),
}


def official(n_runs, epochs, split, tested=True):
    """Passes of the official loop: each run shows train and val every epoch, and test at the end.

    Args:
        n_runs: scenarios × folds.
        epochs: of each run.
        split: a `Split`.
        tested: whether the test images are predicted; the official scripts stop before them.

    >>> round(official(20, 30, SPLITS["5-fold"]), 6)
    484.0
    """
    return n_runs * (epochs * (split.train + split.val) + split.test * tested)


def bank(epochs, split, augmented=True):
    """Passes of the view bank: val and test plain, once, and each epoch's training images.

    Without augmentation every image is seen once.

    >>> bank(30, SPLITS["5-fold"]), bank(30, SPLITS["5-fold"], augmented=False)
    (31.0, 1.0)
    """
    return split.ever_held + epochs * split.ever_train if augmented else 1.0


def cap(n_scenarios, epochs, split, augmented=True, tested=True):
    """How many times fewer passes: what the bank could win if nothing but passes took time.

    >>> round(cap(4, 30, SPLITS["5-fold"]), 1)
    15.6
    >>> round(cap(4, 30, SPLITS["5-fold"], tested=False), 1)
    15.5
    """
    n_runs = n_scenarios * split.folds
    return official(n_runs, epochs, split, tested) / bank(epochs, split, augmented)


def bill(epochs=EPOCHS):
    """The study's 24 scenarios, counted for one init.

    Returns:
        DataFrame, a row a task and kind (`frozen`: head and top10 of four backbones, `all`):
        `images`, `runs`, and images through a backbone: `official`, `bank`, and `streamed`,
        the bank when its views do not fit its budget and every fold makes its own passes.
    """
    grid = scenarios.grid()
    rows = []
    for task in published.tasks().itertuples():
        split, images = SPLITS[task.protocol], task.n_positive + task.n_negative
        for kind in ("frozen", "all"):
            n = sum((scenario.trainable == "all") == (kind == "all") for scenario in grid)
            theirs = official(n * split.folds, epochs, split)
            ours = streamed = theirs
            if kind == "frozen":
                ours = len(scenarios.BACKBONES) * bank(epochs, split)
                streamed = len(scenarios.BACKBONES) * official(split.folds, epochs, split)
            row = {"task": task.task, "protocol": task.protocol, "images": images, "kind": kind}
            row |= {"runs": n * split.folds, "epochs": epochs}
            counted = {"official": theirs, "bank": ours, "streamed": streamed}
            rows.append(row | {name: round(n * images) for name, n in counted.items()})
    return pd.DataFrame(rows)


def main(arguments=None):
    """Print the bill and, where a folder is given, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--csv", type=Path, help="folder of the tables; writes bill.csv")
    args = parser.parse_args(arguments)
    found = bill(args.epochs)
    print(found.to_string(index=False))
    if args.csv:
        measured.write(found, args.csv / "bill.csv")


if __name__ == "__main__":
    main()
