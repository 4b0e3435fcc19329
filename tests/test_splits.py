"""Splits: their sizes, that nothing straddles them, and that file order has no say."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from rin import audit, datasets, manifest, published, splits


def patients(n=400, seed=0, classes=("negative", "positive")):
    """A manifest of `n` images, one to five a patient, one class a patient."""
    rng = np.random.default_rng(seed)
    rows = []
    while len(rows) < n:
        number, label = len(rows), rng.choice(classes)
        rows += [
            {"image": f"{number:04d}_{k}.png", "label": label, "patient": f"p{number:04d}"}
            for k in range(rng.integers(1, 6))
        ]
    return manifest.validate(pd.DataFrame(rows[:n]))


def sizes(frame):
    table = splits.counts(frame).pivot(index="fold", columns="split", values="n_images")
    return table[list(manifest.SPLITS)]


@pytest.mark.parametrize("protocol", ["5-fold", "75/10/15"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_patient_and_no_group_straddles_two_sets(protocol, seed):
    frame = patients(seed=seed)
    pairs = pd.factorize(frame["patient"])[0] // 2  # two patients share a duplicate
    split = splits.assign(frame.assign(group=[f"g{n}" for n in pairs]), protocol, seed)
    for by in ("group", "patient"):
        assert audit.leaks(split, by).empty


@pytest.mark.parametrize("protocol", ["5-fold", "75/10/15"])
def test_shuffled_rows_give_the_same_split(protocol):
    frame = patients()
    first = splits.assign(frame, protocol, seed=3)
    again = splits.assign(frame.sample(frac=1, random_state=1), protocol, seed=3)
    pd.testing.assert_frame_equal(first, again)
    other = splits.assign(frame, protocol, seed=4)
    assert not first["split_0"].equals(other["split_0"])


def test_the_names_of_patients_have_no_say():
    frame = patients()
    renamed = frame.assign(group=frame["group"].map(lambda name: name[::-1]))
    first, again = splits.assign(frame, "5-fold"), splits.assign(renamed, "5-fold")
    columns = manifest.split_columns(first)
    assert first[columns].equals(again[columns])


def test_five_test_sets_hold_every_image_once():
    split = splits.assign(patients(), "5-fold")
    assert ((split[manifest.split_columns(split)] == "test").sum(axis=1) == 1).all()


def test_a_single_split_is_75_10_15_by_class():
    split = splits.assign(patients(1200), "75/10/15")
    assert manifest.split_columns(split) == ["split_0"]
    for _, part in split.groupby("label"):
        shares = part["split_0"].value_counts(normalize=True)
        assert shares.to_dict() == pytest.approx(
            {"train": 0.75, "val": 0.1, "test": 0.15}, abs=0.01
        )


def test_older_split_columns_are_replaced_and_the_manifest_left_alone():
    frame = patients()
    folds = splits.assign(frame, "5-fold")
    assert manifest.split_columns(splits.assign(folds, "75/10/15")) == ["split_0"]
    assert manifest.split_columns(frame) == []


def test_an_image_without_a_group_stands_for_itself():
    frame = patients().assign(patient=None, group=None)
    split = splits.assign(manifest.validate(frame), "75/10/15")
    assert (splits.counts(split)["n_groups"] == splits.counts(split)["n_images"]).all()


@pytest.mark.parametrize(
    ("n_positive", "message"),
    [
        (1, "val of fold 0 holds 1 images of class 'positive', at least 2 expected"),
        (4, "of fold 0 holds 1 images of class 'positive', at least 2 expected"),
    ],
)
def test_a_class_too_rare_to_measure_is_refused(n_positive, message):
    labels = ["positive"] * n_positive + ["negative"] * (200 - n_positive)
    frame = pd.DataFrame({"image": [f"{n:03d}.png" for n in range(200)], "label": labels})
    with pytest.raises(splits.SplitError, match=message):
        splits.assign(manifest.validate(frame), "5-fold")


def test_a_small_class_is_warned_about_with_its_counts():
    labels = ["positive"] * 40 + ["negative"] * 160
    frame = pd.DataFrame({"image": [f"{n:03d}.png" for n in range(200)], "label": labels})
    with pytest.warns(splits.SmallSplitWarning, match="4 positive in val of fold 0; 8 positive in"):
        splits.assign(manifest.validate(frame), "5-fold")


def three_classes(*counts):
    labels = np.repeat(["a", "b", "c"], counts)
    names = [f"{n:05d}.png" for n in range(len(labels))]
    return manifest.validate(pd.DataFrame({"image": names, "label": labels}))


def test_of_three_classes_a_rare_one_is_warned_about_and_not_refused():
    with pytest.warns(splits.SmallSplitWarning, match="0 c in val of fold 0; 1 c in test of"):
        split = splits.assign(three_classes(200, 200, 3), "75/10/15")
    assert splits.counts(split)["n_c"].sum() == 3


def test_a_val_or_test_set_without_any_image_is_refused_whatever_the_classes():
    frame = three_classes(20, 20, 20).assign(released=["train", "test"] * 30)
    with pytest.raises(splits.SplitError, match="val of fold 0 is empty"):
        splits.assign(frame, "official")


def test_a_warning_about_many_classes_is_cut_short():
    frame = pd.DataFrame({"image": [f"{n:04d}.png" for n in range(600)]})
    frame = manifest.validate(frame.assign(label=[f"class {n % 30:02d}" for n in range(600)]))
    with pytest.warns(splits.SmallSplitWarning, match="class 19 in val of fold 0; and 40 more$"):
        splits.assign(frame, "75/10/15")


# a great many groups


@pytest.fixture
def many(monkeypatch):
    """Few images count as a great many."""
    monkeypatch.setattr(splits, "MANY", 100)


def some_pairs(n_pairs=3, n=1200):
    """A manifest of three classes without patients, in which a few pairs are duplicates."""
    frame = three_classes(n // 2, n // 3, n // 6)
    twins = np.repeat([f"g{k}" for k in range(n_pairs)], 2)
    group = pd.Series(pd.NA, index=frame.index, dtype="string")
    group[np.linspace(0, n - 1, 2 * n_pairs, dtype=int)] = twins
    return frame.assign(group=group)


@pytest.mark.parametrize("n_pairs", [0, 3, 200])
@pytest.mark.parametrize("protocol", ["5-fold", "75/10/15"])
def test_dealt_apart_the_sets_keep_their_shares_of_every_class(many, protocol, n_pairs):
    split = splits.assign(some_pairs(n_pairs), protocol)
    table = splits.counts(split).set_index(["fold", "split"])
    share = {"5-fold": 0.2, "75/10/15": 0.15}[protocol]
    for name, n in {"a": 600, "b": 400, "c": 200}.items():
        assert table[f"n_{name}"].xs("test", level="split").to_list() == pytest.approx(
            [share * n] * (table.index.max()[0] + 1), abs=3
        )
    assert audit.leaks(split.dropna(subset=["group"])).empty


def test_many_patients_of_several_classes_are_dealt_as_evenly_as_by_the_library(monkeypatch):
    rng = np.random.default_rng(0)
    patient = np.sort(rng.integers(300, size=1800))
    label = np.where(rng.random(1800) < 0.6, patient % 8, rng.integers(8, size=1800))
    frame = pd.DataFrame({"image": [f"{n:04d}.png" for n in range(1800)], "label": label})
    frame = manifest.validate(frame.assign(patient=patient))
    gaps = {}
    for limit in (300, 100):
        monkeypatch.setattr(splits, "MANY", limit)
        split = splits.assign(frame, "5-fold")
        assert audit.leaks(split, by="patient").empty
        test = splits.counts(split).query("split == 'test'").filter(regex=r"^n_\d")
        gaps[limit] = (test - test.mean()).abs().to_numpy()
    assert not np.array_equal(gaps[300], gaps[100])  # another deal
    assert gaps[100].max() <= gaps[300].max() + 1 and gaps[100].mean() <= 1.1 * gaps[300].mean()


def test_the_quick_deal_replaces_what_scikit_learn_still_calls():
    assert "_find_best_fold" in vars(StratifiedGroupKFold)


def test_dealt_apart_five_test_sets_hold_every_image_once_and_seeds_differ(many):
    first, again, other = (splits.assign(some_pairs(), "5-fold", seed) for seed in (3, 3, 4))
    columns = manifest.split_columns(first)
    assert ((first[columns] == "test").sum(axis=1) == 1).all()
    assert first.equals(again) and not first["split_0"].equals(other["split_0"])
    assert splits.assign(some_pairs()[::-1], "5-fold", 3).equals(first)


def test_up_to_the_limit_all_groups_are_dealt_at_once(monkeypatch):
    frame = some_pairs(n_pairs=0, n=600)
    folder = StratifiedGroupKFold(20, shuffle=True, random_state=0)
    folds = [set(test) for _, test in folder.split(frame, frame["label"], frame.index)]
    expected = [n in folds[0] | folds[1] | folds[2] for n in range(600)]
    for limit, same in ((600, True), (599, False)):
        monkeypatch.setattr(splits, "MANY", limit)
        found = splits.assign(frame, "75/10/15")["split_0"] == "test"
        assert (list(found) == expected) is same


def test_a_hundred_thousand_images_of_165_classes_are_split_evenly():
    label = np.random.default_rng(0).zipf(1.3, 200_000) - 1
    label = np.sort(label[label < 165][:100_000])
    frame = pd.DataFrame({"image": [f"{n:06d}.png" for n in range(len(label))]})
    frame = manifest.validate(frame.assign(label=[f"class {n:03d}" for n in label]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", splits.SmallSplitWarning)
        table = splits.counts(splits.assign(frame, "75/10/15")).set_index("split")
    per_class = table.filter(like="n_class")
    assert per_class.shape == (3, 165) and int(per_class.sum().sum()) == len(label)
    gap = per_class - np.outer([0.75, 0.10, 0.15], per_class.sum())
    assert gap.abs().max().max() <= 5  # one more or less in each fold


# sites


def hospitals(n=300):
    frame = patients(n)
    return frame.assign(
        site=np.resize(["north", "south", "west"], frame["group"].nunique())[
            pd.factorize(frame["group"])[0]
        ]
    )


def test_each_site_is_held_out_in_a_fold_of_its_own():
    frame = hospitals()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", splits.SmallSplitWarning)
        split = splits.assign(frame, "site-held-out")
    assert manifest.split_columns(split) == ["split_0", "split_1", "split_2"]
    for column, site in zip(manifest.split_columns(split), ["north", "south", "west"], strict=True):
        assert set(split.loc[split[column] == "test", "site"]) == {site}
    assert audit.leaks(split).empty


def test_without_sites_there_is_no_split_by_site():
    with pytest.raises(splits.SplitError, match="site"):
        splits.assign(patients(), "site-held-out")
    with pytest.raises(splits.SplitError, match="north.*at least 2"):
        splits.assign(patients().assign(site="north"), "site-held-out")


def test_too_few_patients_for_the_folds_are_refused():
    frame = pd.DataFrame({"image": ["a", "b"], "label": ["x", "y"], "patient": ["p", "q"]})
    with pytest.raises(splits.SplitError, match="2 images can't be dealt into 5 folds"):
        splits.assign(manifest.validate(frame), "5-fold")


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match="`protocol` should be one of .*protocol='10-fold'"):
        splits.assign(patients(), "10-fold")


def test_no_official_split_is_invented():
    with pytest.raises(splits.SplitError, match="no official split is known"):
        splits.assign(patients(), "official")
    breast = patients().assign(anatomy="breast")
    with pytest.raises(splits.SplitError, match="780 images of the official folds are not in"):
        splits.assign(breast, "official")


def test_released_sets_and_those_of_fold_files_are_official():
    frame = patients()
    given = np.resize(["train", "train", "val", "test"], len(frame))
    for column in ("released", "split_0"):
        split = splits.assign(frame.assign(**{column: given}), "official")
        assert list(split["split_0"]) == list(given)


def test_thyroid_takes_its_published_folds():
    names = published.official_folds("thyroid")
    rows = names[names["split"] == "test"][["image", "label"]].assign(anatomy="thyroid")
    frame = manifest.validate(rows.assign(image="images/" + rows["image"]))
    with pytest.warns(splits.SmallSplitWarning, match="3 benign in val of fold 0"):
        split = splits.assign(frame, "official")
    assert sizes(split).loc[0].to_list() == [247, 30, 72]


@pytest.mark.parametrize("seed", [0, 1])
def test_busi_has_the_study_sizes_in_every_fold(busi, seed):
    table = sizes(splits.assign(busi, "5-fold", seed))
    assert table["train"].between(561, 563).all()
    assert (table["val"] == 62).all()
    assert table["test"].between(155, 157).all()


def test_official_busi_test_sets_hold_all_780_images_once(busi):
    split = splits.assign(busi, "official")
    tested = split[manifest.split_columns(split)] == "test"
    assert tested.shape == (780, 5) and (tested.sum(axis=1) == 1).all()
    assert sizes(split).to_numpy().tolist() == [[561, 63, 156]] * 5
    named = published.official_folds("breast").query("split == 'test'").set_index("image")["label"]
    names = split["image"].str.rsplit("/", n=1).str[-1]
    assert list(names.map(named)) == list(split["label"])


def test_busi_by_file_order_reversed_is_split_alike(busi):
    first = splits.assign(busi, "5-fold")
    again = splits.assign(busi[::-1], "5-fold")
    pd.testing.assert_frame_equal(first, again)
    assert audit.leaks(first).empty


def test_kermany_as_released_has_no_patient_in_two_sets(project_data):
    frame = datasets.read("pediatric", project_data("kermany"))
    with pytest.warns(splits.SmallSplitWarning, match="8 normal in val of fold 0"):
        split = splits.assign(frame, "official")
    assert sizes(split).to_numpy().tolist() == [[801, 16, 300]]
    assert audit.leaks(split, by="patient").empty
    assert audit.leaks(splits.assign(frame, "75/10/15"), by="patient").empty
