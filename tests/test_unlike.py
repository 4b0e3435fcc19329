"""Images that are nothing like the training images are found, and no image is given away."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tiny_network
from PIL import Image
from sklearn.covariance import LedoitWolf

from rin import backbones, images, unlike

SIZE = 32


@pytest.fixture(scope="module")
def features():
    """`features(pixels)`: pooled features of a network of random weights."""
    keras.utils.set_random_seed(0)
    network = tiny_network.build(False, None, (SIZE, SIZE, 3), "avg")

    def of(pixels):
        fed = backbones.preprocess(np.asarray(pixels)[..., None], "official", "resnet50")
        return keras.ops.convert_to_numpy(network(fed))

    return of


def decoded(files):
    """(pixels, sizes) of image files."""
    each = [images.load(file) for file in files]
    pixels = np.stack([images.resize(image, SIZE) for image in each])
    return pixels, [image.shape[::-1] for image in each]


def seen(files, features):
    """(features, facts) of image files."""
    pixels, sizes = decoded(files)
    return features(pixels), unlike.facts(files, pixels, sizes)


@pytest.fixture(scope="module")
def breast_files(breast):
    frame, root = breast
    return [root / name for name in frame["image"]]


@pytest.fixture(scope="module")
def training(breast_files, features):
    """Statistics of every image but each fourth, those being held out."""
    train = [file for i, file in enumerate(breast_files) if i % 4]
    found, facts = seen(train, features)
    return unlike.fit(found, seen(breast_files[::4], features)[0], facts)


def numbers(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) * np.linspace(1, 5, d)


def some_facts(n):
    return pd.DataFrame(np.random.default_rng(1).random((n, 8)), columns=unlike.FACTS)


@pytest.mark.parametrize(("n", "d"), [(40, 200), (300, 8), (60, 6)])
def test_the_distance_is_mahalanobis_with_the_shrunk_covariance(n, d):
    train, new = numbers(n, d), numbers(20, d, seed=2)
    found = unlike.judge(unlike.fit(train, new, some_facts(n)), new, some_facts(20))
    expected = np.sqrt(LedoitWolf().fit(train).mahalanobis(new))
    assert np.allclose(found["distance"], expected, rtol=1e-9)


def test_of_many_directions_the_largest_are_kept_and_the_others_share_what_is_left():
    train = numbers(400, 150)
    made = unlike.fit(train, train[:5], some_facts(400))
    assert made.directions.shape == (unlike.MOST_DIRECTIONS, 150)
    whole = made.variances.sum() + made.rest * (150 - unlike.MOST_DIRECTIONS)
    assert whole == pytest.approx(train.var(axis=0).sum())
    assert made.rest < made.variances.min()


def test_the_quantile_is_the_share_of_held_out_images_that_lie_nearer():
    train = numbers(50, 4)
    held = np.array([[0.1] * 4, [1.0] * 4, [9.0] * 4, [20.0] * 4]) + train.mean(axis=0)
    made = unlike.fit(train, held, some_facts(50))
    new = np.array([[0.0] * 4, [5.0] * 4, [99.0] * 4]) + train.mean(axis=0)
    found = unlike.judge(made, new, some_facts(50).head(3))
    assert list(found["quantile"]) == [0.0, 0.5, 1.0]
    assert list(found["unlike"]) == [False, False, True]


def test_plain_facts_of_two_images_are_as_counted_by_hand(tmp_path):
    pixels = np.array([[[0, 250], [0, 250]], [[100, 100], [100, 100]]], np.uint8)
    files = [tmp_path / f"{n}.png" for n in range(2)]
    for file, one in zip(files, pixels, strict=True):
        Image.fromarray(one).save(file)
    found = unlike.facts(files, pixels, [(20, 5), (10, 10)])
    assert list(found.columns) == list(unlike.FACTS)
    assert found.loc[0].tolist() == [125, 125, 0.5, 0.5, 125, 4, 10, 0]
    assert found.loc[1].tolist() == [100, 0, 0, 0, 0, 1, 10, 0]


def test_color_is_told_from_grey_whatever_the_file_s_mode(tmp_path):
    red = np.zeros((4, 4, 3), np.uint8)
    red[:2, :, 0] = 255  # half of it
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.fromarray(np.full((4, 4, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.full((4, 4), 5000, np.uint16)).save(tmp_path / "deep.png")
    names = ("red.png", "grey.png", "deep.png")
    assert [unlike.saturation(tmp_path / name) for name in names] == [0.5, 0, 0]
    assert unlike.saturation(tmp_path / "volume.npy#3") == 0


def odd_files(folder, breast_files):
    """Noise, a colorful picture and the negative of an image, of a breast phantom's size."""
    image = images.load(breast_files[0])
    h, w = image.shape
    noise = np.random.default_rng(0).integers(0, 256, (h, w), dtype=np.uint8)
    across, down = np.tile(np.linspace(0, 255, w), (h, 1)), np.tile(np.linspace(0, 255, h), (w, 1))
    color = np.stack([across, down.T, np.full((h, w), 60)], axis=-1).astype(np.uint8)
    made = {"noise": noise, "color": color, "negative": 255 - image}
    for name, pixels in made.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in made]


def test_noise_a_color_picture_and_a_negative_are_called_unlike(
    training, features, breast_files, tmp_path
):
    found = unlike.judge(training, *seen(odd_files(tmp_path, breast_files), features))
    assert found["unlike"].all()
    assert (found["distance"] > training.limit).all()
    assert "roughness" in found.loc[0, "outside"]
    assert "saturation" in found.loc[1, "outside"]
    assert "mean" in found.loc[2, "outside"]


def test_phantoms_of_another_modality_are_called_unlike(training, features, pediatric_root):
    files = sorted(Path(pediatric_root).rglob("*.jpeg"))[:20]
    assert unlike.judge(training, *seen(files, features))["unlike"].mean() >= 0.9


def test_most_held_out_images_of_the_same_kind_are_not(training, features, breast_files):
    found = unlike.judge(training, *seen(breast_files[::4], features))
    assert found["unlike"].mean() <= 0.2
    assert found["quantile"].between(0, 1).all()


def test_kept_statistics_judge_as_before_and_hold_no_image_s_own_features(
    training, features, breast_files, tmp_path
):
    unlike.save(training, tmp_path / "training.npz")
    again = unlike.load(tmp_path / "training.npz")
    new = seen(breast_files[:5], features)
    expected, found = unlike.judge(training, *new), unlike.judge(again, *new)
    assert np.allclose(found["distance"], expected["distance"], rtol=1e-5)
    assert list(found["unlike"]) == list(expected["unlike"])
    with np.load(tmp_path / "training.npz") as held:
        counts = {name: held[name].shape for name in held.files}
    n = training.n_train
    assert not any(n in shape for shape in counts.values())
    assert all(held.dtype.kind in "fiU" for held in (again.mean, again.reference))


def test_what_can_t_be_used_is_refused(tmp_path):
    with pytest.raises(unlike.UnlikeError, match="`train` should hold two images or more"):
        unlike.fit(numbers(1, 3), numbers(1, 3), some_facts(1))
    with pytest.raises(unlike.UnlikeError, match="do not differ between the training images"):
        unlike.fit(np.ones((9, 3)), numbers(1, 3), some_facts(9))
    np.savez(tmp_path / "whole.npz", facts=np.arange(999))
    cut = (tmp_path / "whole.npz").read_bytes()[:500]
    for content in (b"no array", b"", cut):
        (tmp_path / "training.npz").write_bytes(content)
        with pytest.raises(unlike.UnlikeError, match=r"training\.npz: training statistics can't"):
            unlike.load(tmp_path / "training.npz")
    np.savez(tmp_path / "other.npz", facts=np.array(["mean"]))
    with pytest.raises(unlike.UnlikeError, match="export the run again"):
        unlike.load(tmp_path / "other.npz")
