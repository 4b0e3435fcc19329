"""What float16 views change: AUC of every scenario on real images, against float32 views.

    python benchmarks/half_views.py --images BUSI [--backbone resnet50] [--image-size 128]
        [--epochs 10] [--csv results/costs]

Both arms train the same head and top10 runs on five folds from the same random weights; only the
dtype in which the bank keeps what the frozen layers give differs. Random weights: the difference
is the figure, not the AUC.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import measured

from rin import judge, runs, scenarios
from rin.prepare import prepare

KEY = ["backbone", "scenario", "image_size", "epochs", "n_images"]


def aucs(data, backbone, settings, folder):
    """Mean of fold AUCs of every scenario: Series by scenario."""
    wanted = [
        scenarios.Run("breast", "random", "official", scenario, fold)
        for scenario in scenarios.grid([backbone], trainables=["head", "top10"])
        for fold in range(data.splits.shape[1])
    ]
    runs.train_all(wanted, data, settings, folder)
    return judge.scenarios(*judge.gather(folder, "breast")).set_index("scenario").auc


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, help="folder of BUSI's download")
    parser.add_argument("--backbone", default="resnet50", choices=scenarios.BACKBONES)
    parser.add_argument("--image-size", type=int, default=128, help="pixels a side")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--csv", type=Path, help="folder for half_views.csv")
    asked = parser.parse_args(arguments)
    data = prepare("breast", asked.images, image_size=asked.image_size).data
    settings = runs.Settings(epochs=asked.epochs)
    found = {}
    for dtype in ("float32", "float16"):
        with measured.scratch() as folder:
            given = replace(settings, bank_dtype=dtype)
            found[dtype] = aucs(data, asked.backbone, given, folder)
    for scenario, full in found["float32"].items():
        half = found["float16"][scenario]
        row = {"backbone": asked.backbone, "scenario": scenario, "image_size": asked.image_size}
        row |= {"epochs": asked.epochs, "n_images": len(data.y), "n_folds": data.splits.shape[1]}
        row |= {"auc_float32": full, "auc_float16": half, "difference": half - full}
        print(f"{scenario}: float32 {full:.4f}, float16 {half:.4f}, {half - full:+.4f}")
        measured.keep(row, asked.csv and asked.csv / "half_views.csv", KEY)


if __name__ == "__main__":
    main()
