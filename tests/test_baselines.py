"""Trivial baselines: they see the train part only, and they find a leak where there is one."""

import numpy as np
import pandas as pd
import pytest

from rin import baselines, images

FACTS, FOREST, THUMBNAIL = (
    "image facts, logistic regression",
    "image facts, forest",
    "16×16 thumbnail, logistic regression",
)
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
    assert list(found) == [0.5, 0.5, 0.5]


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
        (name, fold) for name in (FACTS, FOREST, THUMBNAIL) for fold in (0, 1)
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
