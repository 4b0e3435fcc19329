"""Keyed augmentation equals Keras's own for the same parameters, and depends on its key alone."""

import numpy as np
import pytest

from rin import augment

pytestmark = pytest.mark.core
IDS = [f"{n:016x}" for n in (3, 14, 159, 2653)]
H, W = 40, 48


def pictures(rng):
    """Smooth images: interpolation errors then stay small."""
    grid = np.linspace(0, 6, W)[None, :] + np.linspace(0, 4, H)[:, None]
    phase = rng.uniform(0, 6, (len(IDS), 1, 1))
    return (127 + 120 * np.sin(grid + phase))[..., None].astype(np.float32)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # Keras's use of scipy
@pytest.mark.parametrize("name", ["small", "large"])
def test_the_map_equals_imagedatagenerators_for_the_same_parameters(name):
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    drawn = augment.draw(augment.RANGES[name], IDS, epoch=2, seed=7)
    images = pictures(np.random.default_rng(0))
    ours = np.asarray(augment.apply(images, augment.matrices(drawn, H, W)))
    generator = ImageDataGenerator(fill_mode="nearest")
    for image, row, mine in zip(images, drawn, ours, strict=True):
        theta, tx, ty, shear, zx, zy, flip = row
        named = {"theta": theta, "tx": tx * H, "ty": ty * W, "shear": shear, "zx": zx, "zy": zy}
        named["flip_horizontal"] = bool(flip)
        theirs = generator.apply_transform(image.copy(), named)
        assert np.abs(mine - theirs).max() < 255 * 1e-4


def test_parameters_stay_in_the_official_ranges_and_fill_them():
    many = [f"{n:016x}" for n in range(2000)]
    drawn = augment.draw(augment.RANGES["small"], many, epoch=0, seed=0)
    low = np.array([-10, -0.1, -0.1, -0.1, 0.9, 0.9])
    high = np.array([10, 0.1, 0.1, 0.1, 1.1, 1.1])
    assert (drawn[:, :6] >= low).all() and (drawn[:, :6] <= high).all()
    assert (drawn[:, :6].min(0) < low + 0.02 * (high - low)).all()
    assert (drawn[:, :6].max(0) > high - 0.02 * (high - low)).all()
    assert 0.45 < drawn[:, 6].mean() < 0.55


def test_large_sets_are_neither_turned_nor_mirrored():
    drawn = augment.draw(augment.RANGES["large"], IDS, epoch=0, seed=0)
    assert (drawn[:, 0] == 0).all() and (drawn[:, 6] == 0).all()


def test_an_image_is_changed_the_same_way_whatever_the_order():
    ranges = augment.RANGES["small"]
    forward = augment.draw(ranges, IDS, epoch=1, seed=0)
    backward = augment.draw(ranges, IDS[::-1], epoch=1, seed=0)
    assert np.array_equal(forward, backward[::-1])
    assert np.array_equal(forward[2:3], augment.draw(ranges, IDS[2:3], epoch=1, seed=0))


@pytest.mark.parametrize("other", [{"epoch": 2}, {"seed": 1}])
def test_another_epoch_or_seed_changes_it(other):
    ranges = augment.RANGES["small"]
    first = augment.draw(ranges, IDS, epoch=1, seed=0)
    second = augment.draw(ranges, IDS, **({"epoch": 1, "seed": 0} | other))
    assert not np.isclose(first[:, :6], second[:, :6]).any()


def test_no_change_at_all_is_the_identity():
    still = np.tile([0, 0, 0, 0, 1, 1, 0], (len(IDS), 1)).astype(float)
    images = pictures(np.random.default_rng(1))
    same = np.asarray(augment.apply(images, augment.matrices(still, H, W)))
    assert np.allclose(same, images, atol=1e-3)
