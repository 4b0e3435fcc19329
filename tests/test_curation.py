"""Curation: whole words only, review only removes, one class an image, no silent loss."""

import pandas as pd
import pytest

from rin import curation, splits
from rin.audit import leaks
from rin.datasets import DatasetError
from rin.manifest import ManifestError
from rin.phantoms import studies as phantom_studies

STUDIES = pd.DataFrame(
    [
        ("a", "r1", "MR", "knee", "Normal examination."),
        ("b", "r1", "MR", "knee", "Normal alignment. Full-thickness ACL tear."),
        ("c", "r2", "CT", "lung", "8 mm lung nodule."),
        ("d", "r3", "US", "thyroid", "Unremarkable."),
    ],
    columns=["study", "patient", "modality", "anatomy", "impression"],
)
KEY_IMAGES = pd.DataFrame(
    [
        ("a", "knee000001.png", None),
        ("b", "knee000002.png", "acl_pathology"),
        ("c", "lung000003.png", "Nodule"),
        ("c", "lung000004.png", None),
        ("d", "usn000005.png", None),
    ],
    columns=["study", "image", "finding"],
)


def bools(**values):
    return pd.Series(values, dtype=bool)


@pytest.fixture
def folder(tmp_path):
    return phantom_studies.write(tmp_path / "studies", 60, seed=0)


@pytest.mark.parametrize(
    ("impression", "expected"),
    [
        ("Normal examination.", True),
        ("Unremarkable MRI of the knee.", True),
        ("UNREMARKABLE", True),
        ("within normal limits", True),
        ("The knee is not normal.", True),  # a word says nothing about the word before it
        ("Abnormal signal.", False),
        ("Abnormality of the meniscus.", False),
        ("Normalized ratio.", False),
        ("No acute finding.", False),
        ("", False),
        (None, False),
    ],
)
def test_a_study_is_flagged_by_whole_words_only(impression, expected):
    assert list(curation.flag_normal(pd.Series([impression], dtype="string"))) == [expected]


def test_flags_keep_the_index_and_are_plain_bools():
    flagged = curation.flag_normal(STUDIES.set_index("study")["impression"])
    assert flagged.dtype == bool and flagged.to_dict() == dict(a=True, b=True, c=False, d=True)


def test_review_removes_and_adds_nothing():
    flagged, reviews = bools(a=True, b=True, c=False), bools(a=True, b=False, c=True)
    assert list(curation.review(flagged, reviews).kept) == ["a"]


def test_precision_and_recall_count_studies_with_wilson_intervals():
    flagged = bools(a=True, b=True, c=True, d=True, e=False)
    reviews = bools(e=True, d=True, c=True, b=True, a=False)
    table = curation.review(flagged, reviews).table.set_index("measure")
    assert table.loc["precision", ["n_right", "n", "estimate"]].tolist() == [3, 4, 0.75]
    assert table.loc["recall", ["n_right", "n", "estimate"]].tolist() == [3, 4, 0.75]
    # Wilson for 3 of 4, z = 1.96: center (0.75 + z²/8) / (1 + z²/4), by hand
    assert table.loc["recall", ["low", "high"]].tolist() == pytest.approx(
        [0.3006, 0.9544], abs=1e-4
    )


def test_recall_is_missing_when_unflagged_studies_were_not_read():
    table = curation.review(bools(a=True, b=False), bools(a=True)).table.set_index("measure")
    assert table.loc["precision", "estimate"] == 1
    assert table.loc["recall", ["n", "estimate", "low", "high"]].isna().all()


def test_nothing_flagged_has_no_precision():
    done = curation.review(bools(a=False), bools(a=False))
    assert len(done.kept) == 0 and done.table["estimate"].isna().all()


def test_a_flagged_study_without_a_review_is_refused():
    with pytest.raises(ValueError, match="every flagged study. 1 are missing"):
        curation.review(bools(a=True, b=True), bools(a=True))


def test_images_are_grouped_by_modality_anatomy_and_pathology():
    images = curation.group(STUDIES, KEY_IMAGES, ["a", "d"]).set_index("image")["label"]
    assert images.to_dict() == {
        "radiology_ai/MR/knee/normal/knee000001.png": "MR/knee/normal",
        "radiology_ai/MR/knee/acl_pathology/knee000002.png": "MR/knee/acl_pathology",
        "radiology_ai/CT/lung/Nodule/lung000003.png": "CT/lung/Nodule",
        "radiology_ai/US/thyroid/usn000005.png": "US/thyroid",
    }


def test_images_that_nobody_described_are_left_out_and_counted():
    images = curation.group(STUDIES, KEY_IMAGES, ["a"])
    (left_out,) = images.attrs["excluded"].values()
    assert left_out == {"n": 2, "examples": ["lung000004.png", "usn000005.png"]}


def test_a_marked_finding_in_a_normal_study_is_refused():
    with pytest.raises(ValueError, match="1 studies of `normals` hold a marked finding"):
        curation.group(STUDIES, KEY_IMAGES, ["a", "b"])


def test_images_of_an_unknown_study_are_refused():
    with pytest.raises(ValueError, match="2 key images belong to no study"):
        curation.group(STUDIES.drop(2), KEY_IMAGES, ["a"])


def test_the_manifest_numbers_patients_and_holds_no_study():
    frame = curation.to_manifest(curation.group(STUDIES, KEY_IMAGES, ["a"]))
    assert frame["patient"].tolist() == ["p0002", "p0001", "p0001"]
    assert frame["group"].equals(frame["patient"]) and "study" not in frame


def test_an_image_that_stands_twice_is_refused():
    twice = pd.concat([KEY_IMAGES, KEY_IMAGES.iloc[[1]]])
    with pytest.raises(ManifestError, match="more than once"):
        curation.to_manifest(curation.group(STUDIES, twice, []))


@pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")
def test_phantom_studies_become_a_manifest_whose_patients_stay_together(tmp_path):
    tables = curation.read(phantom_studies.write(tmp_path / "s", 400, seed=0))
    flagged = curation.flag_normal(tables.studies.set_index("study")["impression"])
    kept = curation.review(flagged, tables.reviews).kept
    assert tables.reviews[kept].all() and 0 < len(kept) < flagged.sum()
    frame = curation.to_manifest(curation.group(tables.studies, tables.key_images, kept))
    frame = splits.assign(frame, "75/10/15")
    assert len(leaks(frame)) == 0 and frame["label"].nunique() == 12


def replaced(folder, name, old, new):
    file = folder / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("studies.csv", "impression", "text", "studies.csv: expected a column impression"),
        ("studies.csv", "s00001", "s00000", "studies.csv: expected one row a study; 1 rows"),
        ("reviews.csv", "s00001", "s00000", "reviews.csv: expected one row a study; 1 rows"),
        ("reviews.csv", "True", "maybe", "reviews.csv: "),
    ],
)
def test_a_table_not_in_its_form_is_named(folder, name, old, new, message):
    with pytest.raises(DatasetError, match=message):
        curation.read(replaced(folder, name, old, new))


def test_a_missing_table_is_named(folder):
    (folder / "key_images.csv").unlink()
    with pytest.raises(DatasetError, match=r"key_images\.csv"):
        curation.read(folder)
