"""Trivial baselines: they see the train part only, and they find a leak where there is one."""

import numpy as np
import pandas as pd
import pytest

from rin import baselines, images, scans

FACTS, FOREST, THUMBNAIL = (
    "image facts, logistic regression",
    "image facts, forest",
    "16×16 thumbnail, logistic regression",
)
NAMES = (FACTS, FOREST, THUMBNAIL, baselines.OUTSIDE)
N = 160


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """A smaller forest, for speed."""
    full = baselines.RandomForestClassifier
    monkeypatch.setattr(baselines, "RandomForestClassifier", lambda n, **o: full(30, **o))


def dataset(width=None, pixels=None, seed=0):
    """A manifest and a store of `N` images; labels alternate, splits are half, tenth and rest."""
    rng = np.random.default_rng(seed)
    names = [f"{n:03d}.png" for n in range(N)]
    label = np.array(["benign", "malignant"] * (N // 2))
    split = np.repeat(["train", "val", "test"], [N // 2, N // 10, N - N // 2 - N // 10])
    if pixels is None:
        pixels = rng.integers(0, 256, (N, 16, 16), dtype=np.uint8)
    width = rng.integers(90, 110, N) if width is None else width(label)
    facts = {"image": names, "width": width, "height": 100, "n_bytes": 5000}
    store = images.Store(pixels, pd.DataFrame(facts), {}, None)
    manifest = pd.DataFrame({"image": names, "label": label, "split_0": split}, dtype="string")
    return manifest, store


def score(manifest, store, **options):
    table = baselines.scores(manifest, store, "malignant", **options)
    return table.set_index("baseline")["auc"]


def flipped(manifest, splits):
    """The labels of these splits turned round."""
    other = manifest["label"].map({"benign": "malignant", "malignant": "benign"})
    return manifest.assign(label=manifest["label"].mask(manifest["split_0"].isin(splits), other))


def test_a_class_that_decides_the_size_is_found():
    found = score(*dataset(width=lambda label: np.where(label == "malignant", 200, 100)))
    assert found[FACTS] == found[FOREST] == 1
    assert 0.3 < found[THUMBNAIL] < 0.7


def test_a_class_that_decides_the_brightness_is_found():
    pixels = np.tile(np.array([60, 180], np.uint8), N // 2)[:, None, None] * np.ones((16, 16), "u1")
    found = score(*dataset(pixels=pixels))
    assert (found == 1).all()


def test_images_that_do_not_differ_score_one_half():
    found = score(*dataset(lambda label: np.full(N, 100), np.full((N, 16, 16), 128, np.uint8)))
    assert list(found) == [0.5] * 4


def test_noise_scores_near_one_half():
    assert score(*dataset()).between(0.3, 0.7).all()


def test_labels_of_the_test_part_are_never_fitted():
    manifest, store = dataset()
    before, after = score(manifest, store), score(flipped(manifest, ["test"]), store)
    assert list(after) == pytest.approx(list(1 - before))  # same predictions, other truth


def test_the_val_part_has_no_say_and_the_train_part_has():
    manifest, store = dataset(width=lambda label: np.where(label == "malignant", 200, 100))
    assert score(flipped(manifest, ["val"]), store).equals(score(manifest, store))
    turned = score(flipped(manifest, ["train"]), store)
    assert turned[FACTS] == turned[FOREST] == 0


def test_a_seed_gives_the_same_forest_again():
    manifest, store = dataset()
    assert score(manifest, store, seed=3).equals(score(manifest, store, seed=3))
    assert score(manifest, store, seed=3)[FOREST] != score(manifest, store, seed=4)[FOREST]


def test_every_baseline_is_scored_in_every_fold():
    manifest, store = dataset()
    turn = {"train": "test", "test": "train", "val": "val"}
    table = baselines.scores(
        manifest.assign(split_1=manifest["split_0"].map(turn)), store, "benign"
    )
    assert list(table) == ["baseline", "fold", "auc"]
    assert sorted(zip(table["baseline"], table["fold"], strict=True)) == sorted(
        (name, fold) for name in NAMES for fold in (0, 1)
    )


def test_rows_of_another_store_and_an_unknown_class_are_refused():
    manifest, store = dataset()
    with pytest.raises(ValueError, match="the manifest's rows are not the store's"):
        baselines.scores(manifest.iloc[::-1], store, "malignant")
    with pytest.raises(ValueError, match="`positive` should be one of .*'cancer'"):
        baselines.scores(manifest, store, "cancer")


def test_facts_of_one_image_can_be_counted_by_hand():
    image = np.full((20, 20), 100, np.uint8)
    image[0], image[-1] = 0, 255  # the border is one pixel wide
    index = pd.DataFrame({"image": ["a"], "width": [40], "height": [20], "n_bytes": [7]})
    (row,) = baselines.facts(images.Store(image[None], index, {}, None)).to_dict("records")
    assert (row["width"], row["height"], row["aspect"], row["n_bytes"]) == (40, 20, 2, 7)
    assert (row["black"], row["white"]) == (0.05, 0.05)
    assert row["mean"] == (18 * 100 + 255) / 20
    assert row["border"] == pytest.approx((20 * 255 + 36 * 100) / 76)


def test_a_thumbnail_has_16_by_16_pixels():
    store = images.Store(np.full((2, 32, 32), 7, np.uint8), pd.DataFrame(), {}, None)
    assert baselines.thumbnails(store).tolist() == [[7.0] * 256] * 2


def framed(bright):
    """Pictures of 48 pixels: noise in a frame of black, below it a line of this gray level each."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((N, 48, 48), np.uint8)
    pixels[:, 4:38, 6:42] = rng.integers(20, 200, (N, 34, 36))
    pixels[:, 42:45, 12:36:2] = np.asarray(bright)[:, None, None]
    return pixels


def test_words_beside_the_scan_are_found_and_gone_with_its_surroundings():
    label = np.array(["benign", "malignant"] * (N // 2))
    pixels = framed(np.where(label == "malignant", 0, 255))
    assert score(*dataset(pixels=pixels))[baselines.OUTSIDE] == 1
    black = np.stack([scans.blank_outside(image) for image in pixels])
    assert score(*dataset(pixels=black))[baselines.OUTSIDE] == 0.5


def test_surroundings_hold_nothing_of_the_scan_or_the_border_of_a_full_picture():
    store = images.Store(framed(np.zeros(N)), pd.DataFrame(), {}, None)
    assert baselines.surroundings(store).max() == 0
    full = np.full((1, 32, 32), 90, np.uint8)
    full[:, 2:-2, 2:-2] += 50
    (found,) = baselines.surroundings(images.Store(full, pd.DataFrame(), {}, None))
    found = found.reshape(16, 16)
    assert found[0, 0] > 80 and (found[2:-2, 2:-2] == 0).all()


def three_classes():
    """Widths tell the three classes; a fourth is in the training set only, a fifth in test only."""
    manifest, store = dataset()
    label = np.array(["a", "b", "c", "a"] * (N // 4))
    label[0], label[-1] = "train only", "test only"
    store.index["width"] = pd.Series(label).map({"a": 100, "b": 200, "c": 300}).fillna(900)
    return manifest.assign(label=label), store


def test_more_than_two_classes_are_scored_one_against_the_rest():
    found = baselines.scores(*three_classes()).set_index("baseline")["auc"]
    assert found[FOREST] > 0.85 and 0.3 < found[THUMBNAIL] < 0.7


def test_the_mean_over_classes_can_be_counted_by_hand():
    class Model:
        classes_ = np.array(["a", "b", "c"])

        def fit(self, x, y):
            return self

        def predict_proba(self, x):
            return np.array(x)

    share = [[0.9, 0.1, 0], [0.4, 0.6, 0], [0.5, 0.5, 0], [0.1, 0.9, 0]]
    truth = np.array(["a", "a", "b", "d"])  # c is in no test image, d in no training image
    auc = baselines._auc(Model(), np.zeros((3, 3)), np.array(["a", "b", "c"]), share, truth)
    assert auc == pytest.approx((3 / 4 + 1 / 3) / 2)


def test_two_classes_without_a_positive_one_score_the_same():
    manifest, store = dataset(width=lambda label: np.where(label == "malignant", 104, 100))
    assert list(baselines.scores(manifest, store)["auc"]) == pytest.approx(
        list(score(manifest, store))
    )


def test_a_fold_of_one_class_has_no_score():
    manifest, store = dataset()
    one = manifest["label"].mask(manifest["split_0"] == "test", "benign")
    table = baselines.scores(manifest.assign(label=one), store, "malignant")
    assert table["auc"].isna().all()
    with pytest.raises(ValueError, match="no baseline has a score"):
        baselines.best(table)


def test_a_site_that_decides_the_class_is_found_and_an_unknown_one_says_nothing():
    manifest, store = dataset()
    name = manifest["label"].map({"benign": "north", "malignant": "south"})
    known = score(manifest.assign(site=name), store)
    assert known["site, logistic regression"] == 1 and len(known) == 5
    test = manifest["split_0"] == "test"
    unknown = score(manifest.assign(site=name.mask(test, "west")), store)
    assert unknown["site, logistic regression"] == 0.5
    assert len(score(manifest.assign(site=None), store)) == 4


def test_a_model_that_remembers_finds_the_twins_of_its_training_images():
    manifest, store = dataset()
    half = N // 2
    array = np.array(store.array)
    array[half:] = array[:half]  # every val and test image has a twin in training
    manifest["label"] = [*manifest["label"][:half]] * 2
    twins = images.Store(array, store.index, {}, None)
    (row,) = baselines.memory(manifest, twins, "malignant").to_dict("records")
    assert row == {"baseline": baselines.MEMORY, "fold": 0, "auc": 1}
    (alone,) = baselines.memory(manifest, store, "malignant")["auc"]
    assert 0.3 < alone < 0.7


def test_the_best_baseline_is_the_one_with_the_highest_mean():
    table = pd.DataFrame(
        {"baseline": ["p", "p", "q", "q"], "fold": [0, 1] * 2, "auc": [0.5, 1.0, 0.7, 0.7]}
    )
    assert baselines.best(table) == ("p", 0.75)
    assert baselines.best(table).baseline == "p"


def test_a_forest_has_the_same_scores_in_threads(monkeypatch):
    manifest, store = dataset()
    alone = score(manifest, store)
    monkeypatch.setattr(baselines, "MANY", 10)
    assert score(manifest, store).equals(alone)


def test_rows_are_those_of_the_manifest():
    manifest, store = dataset()
    part = manifest.iloc[[5, 2]]
    few = baselines.rows(store, part)
    assert list(few.index["image"]) == ["005.png", "002.png"]
    assert (few.array == store.array[[5, 2]]).all()
