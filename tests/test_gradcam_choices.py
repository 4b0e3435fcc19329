"""Choices made after training: whose map, of what, how large; and the file they start from."""

import io
import zipfile

import numpy as np
import pytest

from rin.gradcam import choices


def two_maps():
    """One row of two positions of two images: negative class, positive class."""
    return np.float32([[[[1, 5], [2, -3]]], [[[0, 4], [6, 6]]]])


def test_the_predicted_class_has_the_larger_score_and_negative_wins_a_tie():
    scores = np.float32([[0.5, 0.5], [0.2, 0.8]])
    found = choices.signed(two_maps(), scores, of="logit")
    assert found.tolist() == [[[1, 2]], [[4, 6]]]
    assert np.array_equal(found, choices.signed(two_maps(), [0, 1], of="logit"))


def test_the_true_class_comes_from_labels_and_the_positive_one_from_nothing():
    assert choices.signed(two_maps(), [1, 0], "true", "logit").tolist() == [[[5, -3]], [[0, 6]]]
    assert choices.signed(two_maps(), which="positive", of="logit")[1].tolist() == [[4, 6]]


def test_the_probability_behind_a_softmax_is_the_difference_of_both_maps():
    assert choices.signed(two_maps(), [1, 0], "true").tolist() == [[[4, -5]], [[-4, 0]]]


def test_the_probability_behind_a_sigmoid_is_the_logit():
    found = choices.signed(two_maps(), [1, 0], "true", "probability", "sigmoid")
    assert np.array_equal(found, choices.signed(two_maps(), [1, 0], "true", "logit"))


@pytest.mark.parametrize(
    "told, which", [(None, "predicted"), ([0, 2], "true"), ([0], "true"), (np.ones((2, 2)), "true")]
)
def test_what_does_not_choose_a_class_is_refused(told, which):
    with pytest.raises(ValueError, match=rf"`told` should be .*for the {which} class of 2 maps"):
        choices.signed(two_maps(), told, which)


@pytest.mark.parametrize(
    "wrong", [{"which": "best"}, {"of": "score"}, {"activation": "relu", "of": "logit"}]
)
def test_an_unknown_choice_is_refused(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` should be one of"):
        choices.signed(two_maps(), [0, 1], **wrong)


def test_maps_of_one_class_are_refused():
    with pytest.raises(ValueError, match=r"`maps` should be \(n, h, w, 2\) floats"):
        choices.signed(two_maps()[..., :1], [0, 1])


def test_two_pixels_become_four_by_hand():
    """Half-pixel centers: the outer two keep the edge, the inner two lie a quarter inside."""
    assert choices.upsampled(np.float32([[[0, 4]]]), 1, 4).tolist() == [[[0, 1, 3, 4]]]
    # over the maximum of 4: 0, 63.75, 191.25, 255
    assert choices.to_cam([[[-9, 4]]], (1, 4)).tolist() == [[[0, 63, 191, 255]]]


def test_nearest_leaves_squares():
    assert choices.to_cam([[[1, 4]]], (2, 4), "nearest").tolist() == [[[63, 63, 255, 255]] * 2]
    assert choices.upsampled(np.float32([[[1, 4]]]), 1, 3, "nearest").tolist() == [[[1, 4, 4]]]


def test_a_resize_that_is_none_is_refused():
    with pytest.raises(ValueError, match="`resize` should be one of .*resize='cubic'"):
        choices.to_cam([[[1, 4]]], 4, "cubic")


def test_a_map_is_divided_by_its_own_maximum_whatever_its_size():
    shape = np.float32([[[0, 4]]])
    for factor in (1e-30, 1, 1e37):
        cams = choices.to_cam(shape * np.float32(factor), (1, 4))
        assert cams.tolist() == [[[0, 63, 191, 255]]]


def test_a_blank_map_stays_blank_beside_others():
    cams = choices.to_cam(np.float32([[[-1, -2]], [[1, 0]], [[0, 0]]]), 3)
    assert cams.max(axis=(1, 2)).tolist() == [0, 255, 0]
    assert choices.to_cam(np.zeros((0, 8, 8)), 16).shape == (0, 16, 16)


def test_many_maps_are_one_map_after_another():
    maps = np.random.default_rng(0).normal(size=(choices.CHUNK + 3, 3, 2)).astype("float32")
    whole = choices.to_cam(maps, (7, 5))
    assert np.array_equal(whole[-1], choices.to_cam(maps[-1:], (7, 5))[0])


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.full((1, 2, 2), np.nan)])
def test_maps_that_are_no_maps_are_refused(wrong):
    with pytest.raises(ValueError, match=r"`signed` should be \(n, h, w\) finite floats"):
        choices.to_cam(wrong, 4)


@pytest.mark.core
@pytest.mark.parametrize("shape, size", [((8, 8), (256, 256)), ((6, 5), (75, 9)), ((1, 1), (4, 4))])
@pytest.mark.parametrize("resize", choices.RESIZES)
def test_upsampling_is_keras_own(shape, size, resize):
    import keras

    maps = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    theirs = keras.ops.image.resize(maps[..., None], size, resize, data_format="channels_last")
    theirs = keras.ops.convert_to_numpy(theirs)[..., 0]
    assert np.allclose(choices.upsampled(maps, *size, resize), theirs, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-30, 1e-6, 1.0, 70_000.0, 1e30])
def test_what_is_written_is_read_to_three_digits(tmp_path, factor):
    maps = factor * np.random.default_rng(0).normal(size=(5, 3, 2, 2))
    maps[0, 0, 0, 0] = 1e-8 * factor
    choices.save(tmp_path, maps.astype("float32"), np.arange(5) * 3)
    found, rows = choices.load(tmp_path)
    assert found.dtype == np.float32 and rows.tolist() == [0, 3, 6, 9, 12]
    assert np.allclose(found, maps, rtol=2**-11, atol=0)


def test_the_file_has_the_agreed_form(tmp_path):
    file = choices.save(tmp_path, two_maps(), [7, 9])
    assert file == tmp_path / "cams.npz"
    with np.load(file) as held:
        assert held["maps"].dtype == np.float16 and held["maps"].shape == (2, 1, 2, 2)
        assert np.array_equal(held["maps"] * held["scale"], two_maps())
        assert held["rows"].tolist() == [7, 9]


def test_the_same_maps_give_the_same_bytes(tmp_path):
    first = choices.save(tmp_path / "a", two_maps(), [0, 1]).read_bytes()
    assert choices.save(tmp_path / "b", two_maps(), [0, 1]).read_bytes() == first


def test_black_maps_and_none_at_all_are_kept(tmp_path):
    choices.save(tmp_path, np.zeros((1, 2, 2, 2)), [4])
    assert not choices.load(tmp_path)[0].any()
    choices.save(tmp_path, np.zeros((0, 2, 2, 2)), np.zeros(0, int))
    assert choices.load(tmp_path)[0].shape == (0, 2, 2, 2)


@pytest.mark.parametrize(
    "maps, rows",
    [
        (two_maps(), [0]),
        (two_maps(), [0.0, 1.0]),
        (np.full((2, 1, 2, 2), np.nan), [0, 1]),
        (np.full((2, 1, 2, 2), -np.inf), [0, 1]),
    ],
)
def test_what_cannot_be_kept_leaves_the_old_file(tmp_path, maps, rows):
    choices.save(tmp_path, two_maps(), [0, 1])
    with pytest.raises(ValueError, match="`maps` should be finite and `rows` as many ints"):
        choices.save(tmp_path, maps, rows)
    assert choices.load(tmp_path)[1].tolist() == [0, 1]


def test_a_run_without_maps_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cams\.npz: no such file"):
        choices.load(tmp_path)


def written(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


GOOD = {"maps": np.ones((2, 1, 1, 2), np.float16), "scale": np.float64(1), "rows": np.arange(2)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no file of arrays",
        written(**GOOD)[:200],
        written(maps=GOOD["maps"]),
        written(**GOOD | {"rows": np.arange(3)}),
        written(**GOOD | {"maps": np.ones((2, 1, 1), np.float16)}),
        written(**GOOD | {"maps": np.ones((2, 1, 1, 2), int)}),
        written(**GOOD | {"scale": np.float64(0)}),
        written(**GOOD | {"scale": np.float64([1, 1])}),
        written(**GOOD | {"maps": np.full((2, 1, 1, 2), np.inf, np.float16)}),
        written(**GOOD | {"maps": np.array([None])}),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "cams.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cams\.npz: "):
        choices.load(tmp_path)


def test_a_lone_array_under_the_name_is_refused(tmp_path):
    with open(tmp_path / "cams.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"cams\.npz: "):
        choices.load(tmp_path)
    assert not zipfile.is_zipfile(tmp_path / "cams.npz")
