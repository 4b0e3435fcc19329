"""How many duplicates do the official breast folds tear apart? The two counts of the errata.

    python benchmarks/official_breast_folds.py BUSI

Near twins are those of the audit (a 64-bit dHash within 6 bits); alike are pairs of any hash whose
64-pixel thumbnails correlate at 0.95 or more.
"""

import argparse

import pandas as pd

from rin import audit, datasets, manifest, splits

ALIKE = {"hash_size": 8, "max_distance": 64, "min_correlation": 0.95}  # of 64 bits, any may differ


def counts(root):
    """The counts as a dict: `images`, `twins` (in all, and the fewest and most of a fold), `alike`.

    Args:
        root: folder of BUSI.
    """
    frame = datasets.read("breast", root, duplicates=False)
    folds = splits.assign(frame, "official")
    prints = audit.fingerprints(frame, root)
    near = audit.twins(audit.duplicates(frame, root, prints=prints), folds)
    pairs = audit.duplicates(frame, root, ALIKE, prints=prints)
    tested = folds[manifest.split_columns(folds)].eq("test").set_axis(folds["image"]).idxmax(axis=1)
    sides = tested[pairs["image_a"]].to_numpy(), tested[pairs["image_b"]].to_numpy()
    return {
        "images": int(near["n_test"].sum()),
        "twins": int(near["n_twins"].sum()),
        "twins_least": int(near["n_twins"].min()),
        "twins_most": int(near["n_twins"].max()),
        "alike": len(pairs),
        "alike_in_other_test_folds": int((sides[0] != sides[1]).sum()),
        "alike_of_other_label": int((pairs["label_a"] != pairs["label_b"]).sum()),
    }


def main(arguments=None):
    """Print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", help="folder of BUSI")
    print(pd.Series(counts(parser.parse_args(arguments).root)).to_string())


if __name__ == "__main__":
    main()
