"""Overlap of maps and masks, on pictures small enough to count pixels by eye."""

import numpy as np
import pytest

from rin.gradcam import overlap

CAM = np.uint8([[200, 180], [181, 0]])
MASK = np.array([[True, True], [False, False]])
NAN = float("nan")


def same(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def noise(n=5, size=16, seed=0):
    rng = np.random.default_rng(seed)
    cam = rng.integers(0, 256, (n, size, size), dtype=np.uint8)
    return cam, rng.random((n, size, size)) < 0.3


def test_the_worked_example_overlaps_by_one_half():
    same(overlap.dice(CAM, MASK), [0.5])  # 200 and 181 are positive, one of them inside
    same(overlap.dice(CAM.tolist(), [[1, 1], [0, 0]]), [0.5])


def test_a_pixel_at_the_threshold_is_not_positive():
    same(overlap.dice(CAM, MASK, threshold=179), [0.8])  # 200, 180, 181: 2 · 2 / (3 + 2)
    same(overlap.dice(CAM, MASK, threshold=179.5), [0.8])


def test_an_empty_mask_has_no_dice_and_a_blank_map_has_none_left_out():
    cam = np.stack([CAM, CAM * 0, CAM * 0])
    mask = np.stack([MASK & False, MASK, MASK & False])
    same(overlap.dice(cam, mask), [NAN, 0, NAN])
    same(overlap.pointing(cam, mask), [NAN, 0, NAN])
    same(overlap.dice_curve(cam, mask, [0, 180]), [[NAN, NAN], [0, 0], [NAN, NAN]])


def test_chance_is_the_mean_over_everywhere_a_mark_could_lie():
    cam, mask = noise(n=1, size=6)
    moved = [np.roll(cam, (y, x), axis=(1, 2)) for y in range(6) for x in range(6)]
    same(overlap.chance(cam, mask), np.mean([overlap.dice(one, mask) for one in moved]))
    same(overlap.chance(np.stack([CAM * 0, CAM]), np.stack([MASK, MASK & False])), [0, NAN])
    whole = np.full((1, 4, 4), 255)
    same(overlap.chance(whole, noise(1, 4)[1]), overlap.dice(whole, noise(1, 4)[1]))


def test_a_perfect_map_overlaps_wholly_and_a_missing_one_not_at_all():
    same(overlap.dice(np.uint8(255 * MASK), MASK), [1])
    same(overlap.dice(np.uint8(255 * ~MASK), MASK), [0])


def test_images_are_scored_one_by_one():
    cam, mask = noise()
    one_by_one = [overlap.dice(c, m)[0] for c, m in zip(cam, mask, strict=True)]
    same(overlap.dice(cam, mask), one_by_one)
    assert overlap.dice(cam, mask).shape == (5,)


def test_the_curve_is_dice_at_every_threshold():
    cam, mask = noise()
    mask[2] = False
    found = overlap.dice_curve(cam, mask)
    assert found.shape == (5, 256)
    same(found, np.stack([overlap.dice(cam, mask, t) for t in range(256)], axis=1))


def test_the_curve_may_be_asked_for_at_a_few_thresholds():
    same(overlap.dice_curve(CAM, MASK, [179, 180, 255]), [[0.8, 0.5, 0]])


def test_no_image_has_no_scores():
    cam, mask = np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4, 4), bool)
    assert overlap.dice(cam, mask).shape == overlap.pointing(cam, mask).shape == (0,)
    assert overlap.dice_curve(cam, mask, [1, 2, 3]).shape == (0, 3)
    assert overlap.coverage(cam).shape == (0,)


def test_pointing_asks_where_the_maximum_lies():
    same(overlap.pointing(CAM, MASK), [1])
    same(overlap.pointing(CAM, ~MASK), [0])


def test_maxima_that_tie_share_the_point():
    same(overlap.pointing([[9, 9, 1], [9, 0, 0]], [[1, 1, 1], [0, 0, 0]]), [2 / 3])


def test_coverage_is_the_share_of_positive_pixels():
    same(overlap.coverage(CAM), [0.5])
    same(overlap.coverage(CAM, 0), [0.75])
    same(overlap.coverage(np.stack([CAM, CAM * 0])), [0.5, 0])


@pytest.mark.parametrize(
    ("cam", "mask", "message"),
    [
        (CAM / 255, MASK, "`cam` should be ints in 0..255. Received: float64 from 0 to 0.78"),
        (CAM.astype(int) + 100, MASK, "`cam` should be ints in 0..255. Received: int64 from 100"),
        (CAM.astype(int) - 1, MASK, "`cam` should be ints in 0..255. Received: int64 from -1"),
        (CAM > 180, MASK, "`cam` should be ints in 0..255. Received: bool"),
        (CAM[0], MASK, r"`cam` should be \(n, h, w\) or \(h, w\)"),
        (CAM[None, None], MASK, r"`cam` should be \(n, h, w\) or \(h, w\)"),
        (CAM[:0], MASK[:0], r"`cam` should be \(n, h, w\) or \(h, w\)"),
        (CAM, MASK * 255, "`mask` should be bools, or 0 and 1. Received: int64 from 0 to 255"),
        (CAM, MASK * 1.0, "`mask` should be bools, or 0 and 1. Received: float64"),
        (CAM, MASK[:1], r"`mask` should be \(1, 2, 2\), as `cam` is. Received: \(1, 1, 2\)"),
        (np.stack([CAM, CAM]), MASK, r"`mask` should be \(2, 2, 2\)"),
    ],
)
@pytest.mark.parametrize("function", [overlap.dice, overlap.pointing, overlap.dice_curve])
def test_arrays_that_do_not_fit_are_refused_by_name(function, cam, mask, message):
    with pytest.raises(ValueError, match=message):
        function(cam, mask)


@pytest.mark.parametrize("threshold", [-1, 256, NAN, "180", None, True])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="`threshold` should be in 0..255"):
        overlap.dice(CAM, MASK, threshold)


def test_thresholds_of_a_curve_are_whole():
    with pytest.raises(ValueError, match="`thresholds` should be ints in 0..255"):
        overlap.dice_curve(CAM, MASK, [0.5])


def test_nothing_given_is_changed():
    cam, mask = noise()
    before = cam.copy(), mask.copy()
    overlap.dice_curve(cam, mask)
    overlap.pointing(cam, mask)
    assert (cam == before[0]).all() and (mask == before[1]).all()
