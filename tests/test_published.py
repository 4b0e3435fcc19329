"""The published tables, and the intervals redone from them."""

from importlib import resources

import pandas as pd
import pytest

from rin import published, scenarios

# Half-widths (points) computed and printed, and the P value they imply: worked out by hand from
# the printed SDs with t(.975, 46) = 2.0129.
SECTION_9 = {
    "thyroid": (6.84, 6.80, 0.0081),
    "breast": (4.59, 4.65, 0.0863),
    "acl": (3.51, 3.55, 0.0084),
    "meniscus": (2.60, 2.65, 0.0011),
    "covid19": (3.90, 3.90, 0.0029),
    "pneumonia": (2.21, 2.10, 0.0906),
    "sarscov2": (3.13, 3.05, 0.2798),
    "hemorrhage": (2.63, 2.55, 0.4945),
}


@pytest.fixture(scope="module")
def redone():
    return published.as_published(published.tasks()).set_index("task")


@pytest.mark.parametrize("task", SECTION_9)
def test_half_widths_and_p_values_come_out_as_worked_by_hand(redone, task):
    computed, printed, p = SECTION_9[task]
    row = redone.loc[task]
    assert row.half_width == pytest.approx(computed, abs=0.005)
    assert row.printed_half_width == pytest.approx(printed, abs=1e-9)
    assert row.p == pytest.approx(p, abs=0.00005)


def test_the_printed_widths_lie_within_the_rounding_of_the_printed_sds(redone):
    tasks = published.tasks()
    narrow, wide = tasks.copy(), tasks.copy()
    for column in ("sd_radimagenet", "sd_imagenet"):
        narrow[column] -= 0.005
        wide[column] += 0.005
    least = published.as_published(narrow).half_width.to_numpy() - 0.05
    most = published.as_published(wide).half_width.to_numpy() + 0.05
    printed = redone.printed_half_width.to_numpy()
    assert ((least <= printed) & (printed <= most)).all()


def test_four_printed_intervals_include_zero(redone):
    includes = redone.index[redone.printed_includes_0]
    assert list(includes) == ["breast", "pneumonia", "sarscov2", "hemorrhage"]
    assert (redone.printed_p == "<.001").all()


def test_holm_is_taken_over_eight_tasks_even_when_one_row_is_given(redone):
    assert redone.p_holm["meniscus"] == pytest.approx(8 * redone.p["meniscus"])
    alone = published.as_published(published.tasks().query("task == 'thyroid'"))
    assert alone.p_holm[0] == pytest.approx(8 * alone.p[0])


def test_the_gain_is_the_center_of_its_interval_except_for_acl(redone):
    # Both limits are rounded to 0.1, so is the gain: they may disagree by 0.1 at most.
    off = (redone.gain - redone.printed_center).abs()
    assert list(off.index[off > 0.1 + 1e-9]) == ["acl"]
    assert redone.printed_center["acl"] == pytest.approx(5.25)


def test_differences_are_of_the_printed_means_radimagenet_first(redone):
    assert redone.difference["breast"] == 4  # 94 - 90 points
    assert redone.difference["thyroid"] == 9
    assert redone.difference["hemorrhage"] == 0


def test_fewer_scenarios_give_wider_intervals(redone):
    six = published.as_published(published.tasks(), n_scenarios=6).set_index("task")
    # SDs of 5 and 10 points, t(.975, 10) = 2.2281: 2.2281 sqrt((25 + 100) / 6)
    assert six.half_width["breast"] == pytest.approx(10.17, abs=0.005)
    assert (six.p > redone.p).all()


def test_a_wider_level_gives_wider_intervals(redone):
    wide = published.as_published(published.tasks(), level=0.99)
    assert (wide.half_width.to_numpy() > redone.half_width.to_numpy()).all()
    assert wide.p.to_numpy() == pytest.approx(redone.p.to_numpy())


def test_the_published_tables_have_their_rows():
    assert len(published.tasks()) == 8
    assert len(published.dice()) == 2
    assert published.tasks().task.is_unique


def test_the_database_has_165_classes_in_eleven_groups():
    database, classes = published.database(), published.classes()
    assert len(database) == 11
    assert (database["classes"].sum(), database["images"].sum()) == (165, 1354913)
    assert database.groupby("modality")["images"].sum().to_dict() == {
        "CT": 292353,
        "MR": 672675,
        "US": 389885,
    }
    found = classes.groupby(["modality", "group"]).size()
    assert found.to_dict() == database.set_index(["modality", "anatomy"])["classes"].to_dict()


def test_a_class_is_known_by_modality_anatomy_and_name_and_by_its_label():
    classes = published.classes()
    assert not classes.duplicated(["modality", "anatomy", "class"]).any()
    assert classes["label"].is_unique and (classes["class"] == "normal").sum() == 9
    one = classes.set_index("label")
    assert one.loc["MR/af/Plantar_plate_tear", "group"] == "ankle/foot"
    assert one.loc["US/thyroid_nodule", ["anatomy", "group"]].to_list() == ["thyroid", "thyroid"]
    assert one.loc["US/gb", ["anatomy", "group"]].to_list() == ["gb", "abdomen/pelvis"]
    assert one.loc["MR/knee/meniscal_abnormality", "count"] == 40498


def test_released_names_keep_their_typos_capitals_and_underscores():
    names = set(published.classes()["class"])
    assert {"foraminal_pathlogy", "pituatary_lesion", "achilles_pathology_"} <= names
    assert {"ca++_tendinosis", "Airspace_opacity", "Plantar_plate_tear"} <= names


def test_the_published_networks_are_the_four_backbones_with_top1_below_top5():
    table = published.pretraining().set_index("backbone")
    assert set(table.index) == {scenario.backbone for scenario in scenarios.grid()}
    assert table.loc["densenet121", ["top1", "top5"]].to_list() == [0.731, 0.961]
    assert ((0 < table["top1"]) & (table["top1"] < table["top5"]) & (table["top5"] < 1)).all()


@pytest.mark.parametrize(("task", "n_images"), [("breast", 780), ("thyroid", 349)])
def test_the_official_test_sets_partition_the_images(task, n_images):
    folds = published.official_folds(task)
    test = folds[folds.split == "test"]
    assert sorted(test.fold.unique()) == [0, 1, 2, 3, 4]
    assert len(test) == test.image.nunique() == n_images
    sizes = published.tasks().set_index("task").loc[task]
    assert n_images == sizes.n_positive + sizes.n_negative
    assert (test.label == "malignant").sum() == sizes.n_positive


@pytest.mark.parametrize("task", ["breast", "thyroid"])
def test_no_official_image_is_in_test_and_val_of_one_fold(task):
    folds = published.official_folds(task)
    assert not folds.duplicated(["fold", "image"]).any()


def test_a_task_without_official_folds_is_refused():
    with pytest.raises(ValueError, match="one of \\['breast', 'thyroid'\\]"):
        published.official_folds("acl")


def test_every_table_names_its_source():
    folder = resources.files("rin").joinpath("data")
    readme = folder.joinpath("README.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in readme.splitlines() if line.startswith("| `")]
    sources = {cells[1].strip(" `"): cells[3].strip() for cells in rows}
    tables = {file.name for file in folder.iterdir() if file.name.endswith(".csv")}
    assert tables | {"checklists.yaml"} == set(sources)
    # a paper, a repository's state, our own measurement, a page that names several
    named = ("doi:", "commit", "benchmarks/", "named on the page")
    assert all(any(name in source for name in named) for source in sources.values())


def test_every_fold_row_is_text_where_text_is_meant():
    folds = published.official_folds("breast")
    assert pd.api.types.is_string_dtype(folds.image)
    assert set(folds.split) == {"test", "val"}
