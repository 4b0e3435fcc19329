"""Policies depend on their key alone, and images and labels change together."""

import hashlib
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rin.devices import computing_in
from rin.pretraining import layers, policies
from rin.pretraining.policies import Policy

pytestmark = pytest.mark.core
SIZE, N = 32, 6
MIXING = ["mix_up", "cut_mix", "mix_up+cut_mix", "rand_augment+mix_up+cut_mix"]
ALL = "rand_augment+mix_up+cut_mix"


def scans(n_channels=1):
    """Smooth grey images of noise, equal channels."""
    rng = np.random.default_rng(0)
    small = rng.integers(20, 220, (N, SIZE // 8, SIZE // 8, 1))
    return np.repeat(small.repeat(8, 1).repeat(8, 2), n_channels, axis=-1).astype(np.float32)


def flat():
    """Images of one grey each: 0, 10, 20, …, so that a pixel tells whose it is."""
    greys = 10 * np.arange(N, dtype=np.float32)
    return np.ones((N, SIZE, SIZE, 1), np.float32) * greys[:, None, None, None]


def own_class():
    """Every image has a class of its own, so that a label tells who was mixed."""
    return np.eye(N, dtype=np.float32)


def digest(policy, step=3):
    """One batch as a hash."""
    images, labels = policy.apply(scans(), own_class(), epoch=1, step=step)
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def whole():
    """A policy of all names."""
    return Policy(ALL, N, SIZE, seed=7)


def test_none_is_the_identity():
    for names in ("none", ["none"], ()):
        images, labels = Policy(names, N, SIZE, seed=0).apply(scans(), own_class(), 0, 0)
        assert np.array_equal(images, scans()) and np.array_equal(labels, own_class())


def run(code, **environment):
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_neither_the_import_nor_none_loads_kerascv():
    code = (
        "import sys\nfrom rin.pretraining.policies import Policy\nPolicy('none', 2, 32, 0)\n"
        "print('keras_cv' in sys.modules, 'tensorflow' in sys.modules)"
    )
    assert run(code) == "False False"


def test_a_batch_is_the_same_whatever_was_asked_for_before(whole):
    first = digest(whole)
    for step in (9, 0, 4):
        whole.apply(scans()[:4], own_class()[:4], epoch=0, step=step)
    assert digest(whole) == first == digest(Policy(ALL, N, SIZE, seed=7))


def test_a_batch_is_the_same_in_a_new_process_with_determinism_on(whole):
    code = (
        "from rin import training\ntraining.deterministic()\n"
        "from tests import test_pretraining_policies as t\n"
        "print(t.digest(t.Policy(t.ALL, t.N, t.SIZE, seed=7)))"
    )
    assert run(code, PYTHONHASHSEED="5") == digest(whole)


def test_threads_do_not_disturb_each_other(whole):
    steps = list(range(12))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda step: digest(whole, step), steps))
    assert together == [digest(whole, step) for step in steps]


@pytest.mark.parametrize("name", ["rand_augment", "mix_up", "cut_mix"])
def test_every_part_of_the_key_counts(name):
    policy, other = Policy(name, N, SIZE, seed=0), Policy(name, N, SIZE, seed=1)
    shown = [
        policy.apply(scans(), own_class(), 0, 0)[0],
        policy.apply(scans(), own_class(), 0, 1)[0],
        policy.apply(scans(), own_class(), 1, 0)[0],
        other.apply(scans(), own_class(), 0, 0)[0],
    ]
    assert len({images.tobytes() for images in shown}) == 4


def test_the_rest_of_the_process_is_left_alone(whole):
    import keras

    before = random.getstate(), np.random.get_state()[1].tolist(), keras.config.dtype_policy().name
    digest(Policy(ALL, N, SIZE, seed=1))
    after = random.getstate(), np.random.get_state()[1].tolist(), keras.config.dtype_policy().name
    assert after == before


def test_mixed_precision_does_not_reach_the_images(whole):
    expected = digest(whole)
    layers.rand_augment.cache_clear()  # or the graph made before would serve
    layers.mixing.cache_clear()
    with computing_in("mixed_bfloat16"):
        assert digest(Policy(ALL, N, SIZE, seed=7)) == expected


@pytest.mark.parametrize("names", MIXING)
def test_labels_sum_to_one_and_images_stay_in_range(names):
    policy = Policy(names, N, SIZE, seed=0)
    for step in range(10):
        images, labels = policy.apply(scans(), own_class(), 0, step)
        assert images.dtype == labels.dtype == np.float32
        assert images.shape == (N, SIZE, SIZE, 1) and 0 <= images.min() <= images.max() <= 255
        assert np.abs(labels.sum(axis=1) - 1).max() < 1e-6 and labels.min() >= 0


def test_mix_up_blends_pixels_in_the_shares_of_the_label():
    images, labels = Policy("mix_up", N, SIZE, seed=0, alpha=1.0).apply(
        scans(), own_class(), epoch=0, step=0
    )
    # a row of the label holds the share of every image of the batch
    assert np.allclose(images, np.tensordot(labels, scans(), 1), atol=1e-3)
    assert ((labels > 0).sum(axis=1) <= 2).all() and ((labels > 0).sum(axis=1) == 2).any()


def test_cut_mix_gives_each_class_its_share_of_the_pixels():
    policy, n_squares = Policy("cut_mix", N, SIZE, seed=0), 0
    for step in range(20):
        images, labels = policy.apply(flat(), own_class(), 0, step)
        shares = np.stack([(images == 10 * k).mean(axis=(1, 2, 3)) for k in range(N)], axis=1)
        assert np.abs(shares - labels).max() < 1e-6  # a pixel is 1e-3
        for k, image in enumerate(images[..., 0] != flat()[..., 0]):
            side = image.any(axis=0).sum()
            assert image.sum() == side**2 == image.any(axis=1).sum() ** 2, k
            n_squares += side > 0
    assert n_squares > 60


def test_kerascvs_own_squares_are_not_the_share_that_the_label_says():
    # the reason why `rin.pretraining.layers` draws the centers; a KerasCV that fails here is better
    import tensorflow as tf

    layer = layers.libraries(["cut_mix"])[1].layers.CutMix(seed=1)

    @tf.function
    def cut(images, labels):
        tf.random.set_seed(0)
        return layer({"images": images, "labels": labels})

    made = cut(tf.constant(flat()), tf.constant(own_class()))
    kept = (made["images"].numpy() == flat()).mean(axis=(1, 2, 3))
    assert np.abs(kept - np.diag(made["labels"].numpy())).max() > 0.05


def test_shares_follow_the_beta_distribution():
    policy = Policy("cut_mix", N, SIZE, seed=0)
    kept = [np.diag(policy.apply(flat(), own_class(), 0, step)[1]) for step in range(200)]
    moved = np.concatenate(kept)
    moved = moved[moved < 1]
    assert abs(moved.mean() - 0.5) < 0.06  # of beta(1, 1), squares of whole pixels
    few = Policy("mix_up", N, SIZE, seed=0)
    kept = np.concatenate([few.apply(flat(), own_class(), 0, step)[1].max(1) for step in range(50)])
    assert (kept > 0.9).mean() > 0.5  # beta(0.2, 0.2) hardly mixes most images


def test_of_two_that_mix_each_batch_gets_one():
    policy, cut = Policy("mix_up+cut_mix", N, SIZE, seed=0), 0
    for step in range(60):
        images, labels = policy.apply(flat(), own_class(), 0, step)
        is_cut = np.isin(images, flat()).all()
        expected = labels @ (10 * np.arange(N))
        assert np.allclose(images.mean(axis=(1, 2, 3)), expected, atol=1e-3)
        cut += is_cut
    assert 15 < cut < 45


def test_rand_augment_keeps_the_range_grey_and_the_labels():
    policy = Policy("rand_augment", N, SIZE, seed=0, magnitude=0.6)
    n_changed = 0
    for step in range(20):
        images, labels = policy.apply(scans(3), own_class(), 0, step)
        assert 0 <= images.min() and images.max() <= 255 and np.isfinite(images).all()
        assert np.array_equal(images, np.repeat(images[..., :1], 3, axis=-1))
        # but for the rounding of means
        assert np.abs(images[..., :1] - policy.apply(scans(), own_class(), 0, step)[0]).max() < 0.01
        assert np.array_equal(labels, own_class())
        n_changed += (images != scans(3)).any(axis=(1, 2, 3)).sum()
    assert n_changed > 90


def test_rand_augment_treats_an_image_the_same_beside_others():
    policy, others = Policy("rand_augment", N, SIZE, seed=0), scans()
    others[1:] = 255 - others[1:]
    alone, beside = (policy.apply(x, own_class(), 0, 0)[0][0] for x in (scans(), others))
    assert np.array_equal(alone, beside)


def test_rand_augment_without_geometry_moves_nothing_and_inverts_nothing():
    ramp = np.tile(np.arange(SIZE, dtype=np.float32) * 8, (N, SIZE, 1))[..., None]
    still = Policy("rand_augment", N, SIZE, seed=0, magnitude=1.0, geometric=False)
    moving, n_moved = Policy("rand_augment", N, SIZE, seed=0), 0
    for step in range(20):
        images, _ = still.apply(ramp, own_class(), 0, step)
        assert (images == images[:, :1]).all() and (np.diff(images, axis=2) >= 0).all()
        images, _ = moving.apply(ramp, own_class(), 0, step)
        n_moved += (images != images[:, :1]).any(axis=(1, 2, 3)).sum()
    assert n_moved > 10


def test_black_images_stay_finite():
    black = np.zeros((N, SIZE, SIZE, 1), np.float32)
    images, _ = Policy("rand_augment", N, SIZE, seed=0).apply(black, own_class(), 0, 0)
    assert np.isfinite(images).all() and (images == images[:, :1, :1]).all()


def test_examples_are_the_first_batch_as_uint8(whole):
    stored = scans()[..., 0].astype(np.uint8)
    shown = policies.examples(stored, own_class(), ALL, seed=7)
    expected, _ = whole.apply(scans(), own_class(), epoch=0, step=0)
    assert shown.dtype == np.uint8 and np.abs(shown - expected[..., 0]).max() <= 0.5


def test_a_sentence_describes_each_name():
    assert list(policies.describe("rand_augment+cut_mix")) == ["rand_augment", "cut_mix"]
    assert list(policies.describe([])) == ["none"]
    assert all(text.endswith(".") for text in policies.describe(ALL).values())


WRONG = {
    "unknown": (dict(names="auto_augment"), "auto_augment"),
    "twice": (dict(names=["mix_up", "mix_up"]), "once each"),
    "out of order": (dict(names="mix_up+rand_augment"), "in this order"),
    "none and another": (dict(names="none+mix_up"), "or 'none'"),
    "magnitude": (dict(magnitude=30), "in 0 … 1.*30"),
    "alpha": (dict(alpha=0), "above 0"),
    "no operation": (dict(n_ops=0), "`n_ops`"),
    "seed": (dict(seed=-1), "`seed`"),
}


@pytest.mark.parametrize(("options", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_named(options, said):
    given = dict(names="none", n_classes=N, image_size=SIZE, seed=0) | options
    with pytest.raises(ValueError, match=said):
        Policy(**given)


WRONG_BATCHES = {
    "size": (scans()[:, :16], own_class(), r"32, 32, 1 or 3.*\(6, 16, 32, 1\)"),
    "no channel": (scans()[..., 0], own_class(), r"\(6, 32, 32\)"),
    "uint8": (scans().astype(np.uint8), own_class(), "uint8"),
    "class numbers": (scans(), np.arange(N), r"\(6, 6\) float32.*\(6,\)"),
    "fewer labels": (scans(), own_class()[:4], r"\(4, 6\)"),
    "smoothed": (scans(), own_class() * 0.9 + 0.1 / N, "one-hot for mix_up"),
    "two classes": (scans(), own_class() + own_class()[::-1], "one-hot for mix_up"),
}


@pytest.mark.parametrize(("images", "labels", "said"), WRONG_BATCHES.values(), ids=WRONG_BATCHES)
def test_a_wrong_batch_is_one_clear_error(images, labels, said):
    with pytest.raises(ValueError, match=said):
        Policy("mix_up", N, SIZE, seed=0).apply(images, labels, 0, 0)


@pytest.mark.parametrize("library", ["tensorflow", "keras_cv"])
def test_a_missing_library_is_told_at_once(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"policy mix_up needs .*pip install keras-cv tensorflow"):
        Policy("mix_up", N, SIZE, seed=0)
