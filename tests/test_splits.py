"""Splits: their sizes, that nothing straddles them, and that file order has no say."""

import numpy as np
import pandas as pd
import pytest

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
