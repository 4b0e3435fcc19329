"""Sites: the counts, the association with the class, and one hospital held out at a time."""

import warnings

import pandas as pd
import pytest

from rin import datasets, manifest, phantoms, sites

# site -> class -> patients of four images each
SEPARATE = {"A": {"no": 10, "yes": 10}, "B": {"no": 10, "yes": 10}, "C": {"no": 10, "yes": 10}}
ONE_SIDED = {"A": {"yes": 6}, "B": {"yes": 6}, "C": {"no": 12, "yes": 6}}
TWO_HOMES = {"A": {"yes": 8}, "B": {"no": 8, "yes": 8}, "C": {"no": 8, "yes": 8}}


def cohort(counts, n_images=4):
    """A manifest of sites; a patient's name says where it is from and of which class."""
    rows = [
        {"image": f"{site}_{label}{n}-{k}.png", "label": label, "patient": f"{site}{label}{n}"}
        | {"site": site}
        for site, labels in counts.items()
        for label, n_patients in labels.items()
        for n in range(n_patients)
        for k in range(n_images)
    ]
    return manifest.validate(pd.DataFrame(rows))


def folds(frame, seed=0, lonely=None):
    """Site -> the frame with its split; `lonely` is a class that must be warned of."""
    if lonely is None:
        return {s: frame.assign(split=split) for s, split in sites.hold_out(frame, seed)}
    with pytest.warns(sites.SiteWarning, match=lonely):
        return {s: frame.assign(split=split) for s, split in sites.hold_out(frame, seed)}


def of(frame, *splits):
    return frame[frame["split"].isin(splits)]


def test_the_table_counts_images_and_groups_of_each_class():
    table = sites.table(cohort({"B": {"no": 1, "yes": 3}, "A": {"yes": 2}}))
    assert table["site"].to_list() == ["A", "B"]
    b = table.set_index("site").loc["B"]
    assert b[["n_images", "n_groups", "n_no", "n_groups_no"]].to_list() == [16, 4, 4, 1]
    assert b[["n_yes", "n_groups_yes", "share_yes"]].to_list() == [12, 3, 0.75]
    a = table.set_index("site").loc["A"]
    assert a[["n_no", "n_groups_no", "share_no", "share_yes"]].to_list() == [0, 0, 0, 1]


def test_the_association_is_0_without_any_and_1_when_the_site_tells_the_class():
    assert sites.associated(cohort(SEPARATE)) == pytest.approx(0)
    assert sites.associated(cohort({"A": {"yes": 3}, "B": {"no": 3}})) == pytest.approx(1)
    # 2 x 2 table [[3, 1], [1, 3]]: V is |3·3 − 1·1| / (4·4)
    half = cohort({"A": {"no": 3, "yes": 1}, "B": {"no": 1, "yes": 3}}, n_images=1)
    assert sites.associated(half) == pytest.approx(0.5)


def test_every_image_of_a_site_is_tested_once_when_all_sites_have_all_classes():
    frame = cohort(SEPARATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = folds(frame)
    assert list(found) == ["A", "B", "C"]
    for site, fold in found.items():
        assert set(of(fold, "test")["site"]) == {site}
        assert site not in set(of(fold, "train", "val")["site"])
        assert 4 * 2 <= len(of(fold, "val")) <= 4 * 6  # about a tenth of 40 patients


def test_a_class_of_one_site_is_dealt_across_the_test_sets_with_a_warning():
    frame = cohort(ONE_SIDED)
    found = folds(frame, lonely=r"'no' \(C only\)")
    tested = pd.concat([of(fold, "test") for fold in found.values()])
    assert not tested["image"].duplicated().any() and len(tested) == len(frame)
    for site, fold in found.items():
        test = of(fold, "test")
        assert set(test.loc[test["label"] == "yes", "site"]) == {site}
        assert test.loc[test["label"] == "no", "patient"].nunique() == 12 / 3
        assert set(of(fold, "train")["label"]) == set(of(fold, "val")["label"]) == {"no", "yes"}


def test_a_class_that_a_site_lacks_is_borrowed_from_the_others():
    found = folds(cohort(TWO_HOMES))
    test = of(found["A"], "test")
    assert set(test.loc[test["label"] == "yes", "site"]) == {"A"}
    assert 5 <= test.loc[test["label"] == "no", "patient"].nunique() <= 6  # a third of 16
    assert set(of(found["B"], "test")["site"]) == {"B"}


@pytest.mark.parametrize("counts, lonely", [(SEPARATE, None), (ONE_SIDED, "no"), (TWO_HOMES, None)])
def test_no_patient_straddles_and_every_set_has_every_class(counts, lonely):
    for fold in folds(cohort(counts), lonely=lonely).values():
        assert (fold.groupby("patient")["split"].nunique() == 1).all()
        for split in manifest.SPLITS:
            assert set(of(fold, split)["label"]) == {"no", "yes"}


def test_a_group_of_two_sites_is_tested_as_a_whole_with_each():
    frame = cohort(SEPARATE)
    moved = frame["patient"] == "Ano0"
    frame.loc[frame.index[moved][:2], "site"] = "B"
    found = folds(frame)
    for site, split in (("A", {"test"}), ("B", {"test"}), ("C", {"train", "val"})):
        assert set(found[site].loc[moved, "split"]) <= split
    alone = frame.assign(patient=pd.NA, group=pd.NA)  # every image is then a group of its own
    assert set(folds(alone)["B"].loc[moved, "split"]) > {"test"}


def test_the_seed_deals_and_the_order_of_rows_does_not():
    frame = cohort(ONE_SIDED)
    turned = frame.sample(frac=1, random_state=3)
    first, again, other = (
        folds(rows, seed, "no") for rows, seed in ((frame, 0), (turned, 0), (frame, 1))
    )
    for site, fold in first.items():
        assert again[site].index.equals(turned.index)
        assert again[site]["split"].sort_index().equals(fold["split"])
    assert any(not other[site]["split"].equals(fold["split"]) for site, fold in first.items())


def test_other_columns_may_name_the_sites():
    frame = cohort(SEPARATE).rename(columns={"site": "scanner"})
    assert [name for name, _ in sites.hold_out(frame, by="scanner")] == ["A", "B", "C"]
    assert list(sites.table(frame, by="scanner")["scanner"]) == ["A", "B", "C"]


WRONG = {
    "no column": (lambda f: f.drop(columns="site"), "`by` should be a column.*by='site'"),
    "an image without a site": (lambda f: f.assign(site=f["site"].where(f.index > 0)), "1 images"),
    "one site": (lambda f: f.assign(site="A"), r"every image is of site \['A'\], at least 2"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("function", [sites.table, sites.associated, sites.hold_out])
def test_a_manifest_without_several_sites_is_refused(function, name):
    spoil, reason = WRONG[name]
    with pytest.raises(ValueError, match=reason):
        function(spoil(cohort(SEPARATE)))


def test_what_can_not_be_dealt_or_trained_on_is_refused():
    with pytest.raises(ValueError, match="a class of 2 groups can't be dealt into .* 3 sites"):
        folds(cohort(ONE_SIDED | {"C": {"no": 2, "yes": 6}}), lonely="no")
    with pytest.raises(ValueError, match="all images are 'yes'"):
        sites.associated(cohort({"A": {"yes": 3}, "B": {"yes": 3}}))
    frame = cohort({"A": {"no": 8, "yes": 8}, "B": {"no": 8, "yes": 8}})
    frame.loc[frame["label"] == "yes", ["patient", "group"]] = "one"
    with pytest.raises(ValueError, match="with A held out, 0 groups of 'yes' are left"):
        folds(frame)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_covid_phantoms_can_be_held_out_by_site_at_their_usual_size(seed, tmp_path):
    root = phantoms.write("covid19", tmp_path / "p", n=120, size=32, seed=seed)
    frame = datasets.read("covid19", root)
    table = sites.table(frame).set_index("site")
    assert table["n_no COVID-19"].to_dict() == {
        **dict.fromkeys(["Bozhou", "Fuyang", "Guangxi", "WH"], 0),
        "WCH": (frame["label"] == "no COVID-19").sum(),
    }
    assert sites.associated(frame) > 0.8
    for fold in folds(frame, seed, lonely=r"'no COVID-19' \(WCH only\)").values():
        sets = fold.groupby("split")["label"].value_counts()
        assert len(sets) == 6 and sets.min() >= 2
