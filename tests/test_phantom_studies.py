"""Phantom studies: the same tables for the same seed, both traps in the words, marked as ours."""

import pytest

from rin import curation, datasets, published
from rin.phantoms import studies

FILES = ("studies.csv", "key_images.csv", "reviews.csv")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return curation.read(studies.write(tmp_path_factory.mktemp("studies") / "s", 300, seed=0))


def texts(root):
    return [(root / name).read_text() for name in FILES]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    first, again, other = (
        studies.write(tmp_path / name, 20, seed)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )  # fmt: skip
    assert texts(first) == texts(again)
    assert all(a != b for a, b in zip(texts(first), texts(other), strict=True))


def test_a_study_does_not_depend_on_how_many_are_written(tmp_path):
    few, many = (studies.write(tmp_path / str(n), n, seed=0) for n in (5, 20))
    for short, long in zip(texts(few), texts(many), strict=True):
        assert long.startswith(short)


def test_the_folder_is_marked_as_phantoms_and_can_be_written_again(tmp_path):
    root = studies.write(tmp_path / "s", 5, seed=0)
    assert datasets.is_phantom(root)["task"] == "studies"
    assert len(curation.read(studies.write(root, 7, seed=1)).studies) == 7
    assert sorted(path.name for path in root.iterdir()) == sorted(["PHANTOM.json", *FILES])


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "studies.csv").write_text("real")
    with pytest.raises(FileExistsError, match="may be real data"):
        studies.write(tmp_path, 5, seed=0)
    assert (tmp_path / "studies.csv").read_text() == "real"


def test_the_words_mislead_in_both_directions(tables):
    flagged = curation.flag_normal(tables.studies.set_index("study")["impression"])
    assert (flagged & ~tables.reviews).sum() > 20
    assert (~flagged & tables.reviews).sum() > 10
    abnormal = tables.studies["impression"].str.contains("bnormal")
    assert abnormal.any() and "{" not in "".join(tables.studies["impression"])


def test_regions_lie_in_the_image_and_only_findings_have_them(tables):
    images = tables.key_images
    marked = images["finding"].notna()
    regions = images[["x", "y", "width", "height"]]
    assert regions[marked].notna().all(axis=None) and regions[~marked].isna().all(axis=None)
    assert (images["x"] + images["width"]).max() <= studies.SIDE
    assert (images["y"] + images["height"]).max() <= studies.SIDE
    assert not tables.reviews[images.loc[marked, "study"]].any()


def test_images_have_names_of_their_own_and_patients_come_back(tables):
    assert tables.key_images["image"].is_unique
    per_patient = tables.studies["patient"].value_counts()
    assert set(per_patient) == {1, 2} and tables.studies["study"].is_unique


def test_findings_and_normals_are_classes_of_the_release():
    released = set(published.classes()["label"])
    for (modality, anatomy), site in studies.SITES.items():
        names = {f"{modality}/{anatomy}/{name}" for name in (*site.findings, "normal")}
        assert names <= released
