"""Curation: from key images and report impressions to one class an image and a manifest."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from rin import manifest as manifests
from rin.datasets.layout import DatasetError, with_excluded

TEXT, PIXELS = "string", "Int64"
COLUMNS = {
    "studies": dict.fromkeys(("study", "patient", "modality", "anatomy", "impression"), TEXT),
    "key_images": dict.fromkeys(("study", "image", "finding"), TEXT)
    | dict.fromkeys(("x", "y", "width", "height"), PIXELS),
    "reviews": {"study": TEXT, "normal": "boolean"},
}
NORMAL_WORDS = r"\b(?:normal|unremarkable)\b"  # whole words: "abnormal" does not count
NORMAL = "normal"  # the class of images without a finding
FOLDER = "radiology_ai"  # of the release


class Tables(NamedTuple):
    """What phases one and two start from, as `read` returns it."""

    studies: pd.DataFrame
    key_images: pd.DataFrame
    reviews: pd.Series


class Review(NamedTuple):
    """What `review` returns: the studies kept as normal, and how right the words alone were."""

    kept: pd.Index
    table: pd.DataFrame


def read(root):
    """The three tables of a folder: `studies.csv`, `key_images.csv` and `reviews.csv`.

    Args:
        root: folder; see `rin.phantoms.studies.write` for the columns.

    Returns:
        `Tables`; `reviews` is a boolean Series by study.

    Raises:
        DatasetError: a missing file or column, a value of the wrong kind, or a repeated study.
    """
    studies, key_images, reviews = (_read(Path(root) / f"{name}.csv") for name in COLUMNS)
    for name, table in (("studies", studies), ("reviews", reviews)):
        n = table["study"].duplicated().sum()
        if n:
            raise DatasetError(f"{root}/{name}.csv: expected one row a study; {n} rows repeat one")
    return Tables(studies, key_images, reviews.set_index("study")["normal"])


def flag_normal(impressions):
    """Whether an impression holds "normal" or "unremarkable" as a whole word, in any case.

    Args:
        impressions: Series of text; a missing one is not flagged.

    Returns:
        bool Series with the same index.

    Source: Mei et al. 2022, Methods, doi:10.1148/ryai.210315

    >>> list(flag_normal(["Normal examination.", "Abnormal signal."]))
    [True, False]
    """
    text = pd.Series(impressions, dtype="string")
    return text.str.contains(NORMAL_WORDS, case=False, na=False).astype(bool)


def review(flagged, reviews, level=0.95):
    """The flagged studies that a second reader calls normal too.

    Args:
        flagged: bool Series by study, of all studies.
        reviews: bool Series by study: whether the second reader calls it normal. Every flagged
            study is needed; the others too where recall is wanted.
        level: coverage of the Wilson intervals, 0 to 1; studies count as independent.

    Returns:
        `Review`. `table` has a row for precision (flagged studies that are normal) and one for
        recall (normal studies that are flagged): measure, n_right, n, estimate, low, high. Recall
        is missing unless every study was reviewed.

    Raises:
        ValueError: flagged studies without a review.
    """
    verdict = reviews.astype("boolean").reindex(flagged.index)
    unread = (flagged & verdict.isna()).sum()
    if unread:
        raise ValueError(f"`reviews` should hold every flagged study. {unread} are missing")
    right = flagged & verdict.fillna(False).astype(bool)
    n_normal = None if verdict.isna().any() else int(verdict.sum())
    rows = [
        _share("precision", right.sum(), int(flagged.sum()), level),
        _share("recall", right.sum(), n_normal, level),
    ]
    return Review(flagged.index[right], pd.DataFrame(rows).astype({"n": "Int64"}))


def group(studies, key_images, normals):
    """Sort images into classes by modality, anatomy and pathology.

    A marked image goes to the class of its finding, an image of a study kept as normal to
    `normal`; in ultrasound, where the release has no such class, to that of the organ. Others are
    left out and counted: nobody said what they show.

    Args:
        studies, key_images: as `read` returns them.
        normals: studies kept as normal.

    Returns:
        DataFrame, one row an image: study, patient, modality, anatomy, pathology, `label` (such
        as MR/knee/acl_pathology or US/thyroid) and `image`, its path in the release's form.
        `attrs["excluded"]` as in `rin.datasets.read`.

    Raises:
        ValueError: images of unknown studies, or a marked finding in a study kept as normal.
    """
    unknown = ~key_images["study"].isin(studies["study"])
    if unknown.any():
        raise ValueError(f"{unknown.sum()} key images belong to no study of `studies`")
    frame = key_images.merge(studies, on="study", validate="many_to_one")
    is_normal, is_marked = frame["study"].isin(normals), frame["finding"].notna()
    if (is_normal & is_marked).any():
        n = frame.loc[is_normal & is_marked, "study"].nunique()
        raise ValueError(f"{n} studies of `normals` hold a marked finding")
    is_us = frame["modality"] == "US"  # has no anatomy folders; there a normal organ is the class
    frame["pathology"] = frame["finding"].mask(is_normal, NORMAL)
    frame["pathology"] = frame["pathology"].mask(is_normal & is_us, frame["anatomy"])
    left_out = frame.loc[frame["pathology"].isna(), "image"]
    frame["label"] = frame["modality"] + "/" + frame["anatomy"] + "/" + frame["pathology"]
    frame["label"] = frame["label"].mask(is_us, "US/" + frame["pathology"])
    frame["image"] = FOLDER + "/" + frame["label"] + "/" + frame["image"]
    frame = frame[frame["pathology"].notna()].reset_index(drop=True)
    columns = ["study", "patient", "modality", "anatomy", "pathology", "label", "image"]
    said = "neither marked nor in a study kept as normal"
    return with_excluded(frame[columns], {said: list(left_out)})


def to_manifest(images):
    """A validated manifest of grouped images; patients become running numbers.

    Args:
        images: as `group` returns it.

    Returns:
        DataFrame with the columns of `rin.manifest.COLUMNS`; that its files exist is not checked.

    Raises:
        rin.manifest.ManifestError: rows that break the schema, all of them listed.
    """
    columns = ["image", "label", "patient", "modality", "anatomy"]
    patients = manifests.number_patients(images["patient"])
    return manifests.validate(images[columns].assign(patient=patients), where="curated images")


def _read(file):
    types = COLUMNS[file.stem]
    try:
        table = pd.read_csv(file, dtype=types, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file}: {error}") from error
    absent = [column for column in types if column not in table]
    if absent:
        raise DatasetError(f"{file}: expected a column {absent[0]}; found {list(table)}")
    return table


def _share(measure, n_right, n, level):
    from statsmodels.stats.proportion import proportion_confint  # takes seconds to import

    row = {"measure": measure, "n_right": int(n_right), "n": n}
    if not n:
        return row | dict.fromkeys(("estimate", "low", "high"), float("nan"))
    low, high = proportion_confint(n_right, n, alpha=1 - level, method="wilson")
    return row | {"estimate": n_right / n, "low": low, "high": high}
