"""The database to pretrain on: what stands together, what each set holds, and what is refused."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest

from rin import audit, figures, paths
from rin import manifest as manifests
from rin.datasets import DatasetError
from rin.figures import blocks as blocks_figure
from rin.pretraining import database, protocols
from rin.pretraining.blocks import blocks, duplicate_rate, join, positions
from rin.pretraining.database import DatabaseError
from rin.pretraining.dealing import deal
from rin.splits import SmallSplitWarning, SplitError

pytestmark = pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of its own in which stores and phantoms are written."""
    home = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "root", lambda: home)
        yield home


def numbered(**sizes):
    """A manifest of `sizes` files a class, `a/a0001.png` …, without patient ids."""
    rows = [(f"{c}/{c}{i:04d}.png", c) for c, n in sizes.items() for i in range(1, n + 1)]
    return manifests.validate(pd.DataFrame(rows, columns=["image", "label"]))


def twins(*names, kind="near"):
    """Pairs of duplicates: `twins(("a1", "a9"))` of the files `a/a0001.png` and `a/a0009.png`."""
    rows = []
    for pair in names:
        files = [f"{name[0]}/{name[0]}{int(name[1:]):04d}.png" for name in pair]
        rows.append((*files, pair[0][0], pair[1][0], kind))
    return pd.DataFrame(rows, columns=database.PAIR_COLUMNS)


def set_of(frame):
    return frame.set_index("image")["split_0"]


def test_a_class_is_cut_into_blocks_in_order_of_its_file_numbers():
    names = ["a/x9.png", "a/y10.png", "a/x11.png", "b/z2.png"]
    frame = pd.DataFrame({"image": names, "label": ["a", "a", "a", "b"]}).iloc[::-1]
    found = blocks(frame.astype("string"), 2)
    assert list(found.sort_index()) == [
        "a block 0001",
        "a block 0001",
        "a block 0002",
        "b block 0001",
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["s10/1.png", "s2/2.png", "s2/1.png"], [2, 1, 0]),  # folders first, in natural order
        (["v10b.png", "v2b.png", "v1.png"], [2, 1, 0]),  # those without a last number, after
        (["1.2.840.9999999999999999999999.dcm", "1.2.840.5.dcm", "1.2.840.42.dcm"], [2, 0, 1]),
        (["a.npy#10", "a.npy#9", "b.npy#1"], [2, 1, 0]),  # slices by their own number
    ],
)
def test_folders_and_names_without_a_number_are_in_natural_order(names, expected):
    frame = pd.DataFrame({"image": pd.array(names, dtype="string"), "label": "c"})
    assert list(positions(frame)) == expected


@pytest.mark.parametrize("block_size", [0, -1, 2.5, True, "x"])
def test_a_block_size_that_is_no_count_is_refused(block_size):
    with pytest.raises(ValueError, match="`block_size` should be a whole number above 0"):
        blocks(numbered(a=4), block_size)


def test_the_duplicate_rate_counts_every_pair_of_a_class_without_listing_them():
    # of 5 files 4 + 3 + 2 + 1 pairs lie 1, 2, 3, 4 apart; of 3 files 2 + 1
    pairs = twins(("a1", "a2"), ("a2", "a1"), ("b1", "b3"), ("a1", "b1"))
    table = duplicate_rate(numbered(a=5, b=3), pairs, bins=(1, 2, 4, 100))
    expected = pd.DataFrame(
        {"low": [1, 2, 4], "high": [1, 3, 4], "n_pairs": [6, 6, 1], "n_duplicates": [2, 1, 0]}
    )
    pd.testing.assert_frame_equal(table, expected.assign(rate=[1 / 3, 1 / 6, 0]))


def test_the_duplicate_rate_agrees_with_a_count_of_all_pairs():
    frame, place = numbered(a=37, b=12), np.arange(37)
    table = duplicate_rate(frame, twins(), bins=(1, 5, 20))
    apart = [abs(i - j) for n in (37, 12) for i in place[:n] for j in place[:i]]
    assert list(table["n_pairs"]) == list(np.histogram(apart, [1, 5, 20, 37])[0])
    assert table["rate"].sum() == 0


def test_near_misses_are_no_duplicates():
    pairs = twins(("a1", "a2"), ("a2", "a3")).assign(within=[True, False])
    assert duplicate_rate(numbered(a=4), pairs, bins=(1,))["n_duplicates"].item() == 1


@pytest.mark.parametrize("bins", [(), (2, 5), (1, 5, 5)])
def test_bins_ascend_from_one(bins):
    with pytest.raises(ValueError, match="`bins` should ascend from 1"):
        duplicate_rate(numbered(a=4), twins(), bins)


def test_a_duplicate_joins_two_blocks_into_one_group():
    frame, notes = join(numbered(a=100, b=100), twins(("a5", "b95"), ("a15", "a95")), 5)
    group = frame.set_index("image")["group"]
    assert frame["group"].nunique() == 40 - 2
    assert group["a/a0001.png"] == group["b/b0091.png"]
    assert group["a/a0011.png"] == group["a/a0091.png"] != group["a/a0001.png"]
    assert notes == () and frame["block"].notna().all() and frame["patient"].isna().all()


def test_where_duplicates_chain_most_blocks_of_a_class_they_leave_them():
    chain = twins(*((f"a{n}", f"a{n + 10}") for n in (1, 12, 23, 34)), ("a2", "a3"))
    frame, notes = join(numbered(a=100, b=100), chain, 10)
    kept = frame[frame["block"].notna()]
    assert set(frame["image"]) - set(kept["image"]) == {
        f"a/a{n:04d}.png" for n in (1, 11, 12, 22, 23, 33, 34, 44)
    }
    assert kept.groupby("block")["group"].nunique().eq(1).all()
    group = frame.set_index("image")["group"]
    assert group["a/a0001.png"] == group["a/a0011.png"] != group["a/a0012.png"]
    assert frame["group"].nunique() == 20 + 4
    assert notes == (
        "Duplicates join the blocks of a into groups too large for a set: 8 images there left "
        "their blocks, to stay with their duplicates alone.",
    )


def test_every_class_is_dealt_by_its_shares():
    frame = numbered(a=200, b=400)
    frame = frame.assign(group=blocks(frame, 10), split_0=lambda x: deal(x, protocols.SHARES))
    table = protocols.counts(frame).set_index("label")
    assert table.loc["a"].tolist() == [150, 20, 30, 200]
    assert table.loc["b"].tolist() == [300, 40, 60, 400]
    assert audit.leaks(frame).empty
    share = protocols.summary(frame).set_index("split")["share"]
    assert share.to_dict() == pytest.approx({"train": 0.75, "val": 0.1, "test": 0.15})


@pytest.mark.parametrize(("n", "expected"), [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (2, 0, 1))])
def test_a_class_of_few_groups_is_in_train_first(n, expected):
    frame = numbered(a=n)
    sets = deal(frame.assign(group=frame["image"]), protocols.SHARES).value_counts()
    assert tuple(sets.get(name, 0) for name in manifests.SPLITS) == expected


def test_another_seed_deals_other_groups_and_the_same_seed_the_same():
    frame = numbered(a=60)
    frame = frame.assign(group=blocks(frame, 3))
    one, again, other = (deal(frame, protocols.SHARES, seed) for seed in (0, 0, 1))
    assert one.equals(again) and not one.equals(other)


def test_no_block_and_no_duplicate_straddles_two_sets():
    pairs = twins(("a1", "b50"), ("a2", "a99"), ("b3", "b77"))
    frame, notes = protocols.split(numbered(a=100, b=100), pairs, "blocks", block_size=5)
    assert audit.leaks(frame).empty and audit.leaks(frame, by="block").empty
    split = set_of(frame)
    assert all(split[pair.image_a] == split[pair.image_b] for pair in pairs.itertuples())
    assert "not a patient split" in notes[0]
    assert "3 pairs of duplicates were found; the largest of 37 groups holds 15 images." in notes


def test_classes_too_small_for_the_block_size_are_named_and_stay_in_train():
    with pytest.warns(SmallSplitWarning, match="0 c in test"):
        frame, notes = protocols.split(
            numbered(a=200, b=200, c=9), twins(), "blocks", block_size=10
        )
    assert set(set_of(frame)[frame.set_index("image")["label"] == "c"]) == {"train"}
    said = "Learned, but not judged in {}, for want of images there: c."
    assert said.format("val") in notes and said.format("test") in notes


def test_a_chain_that_is_not_believed_joins_nothing_and_is_reported():
    chain = twins(*((f"a{n}", f"a{n + 1}") for n in range(1, 40)))
    frame, notes = protocols.split(numbered(a=100, b=100), chain, "75/10/15")
    assert frame["group"].nunique() == 200
    assert any("40 images form one chain" in note for note in notes)


def test_patients_stay_together_and_only_their_absence_is_noted():
    frame = numbered(a=80, b=80).assign(patient=lambda x: "p" + (x.index // 4).astype(str))
    split, notes = protocols.split(frame.assign(group=frame["patient"]), twins(), "75/10/15")
    assert audit.leaks(split, by="patient").empty
    assert not any("patient" in note for note in notes)
    _, notes = protocols.split(numbered(a=80, b=80), twins(), "75/10/15")
    assert "not a patient split: 160 of 160 images have no patient id" in notes[0]


def test_released_sets_are_taken_as_they_are_and_counted_beside_the_paper():
    given = ["train"] * 12 + ["val"] * 4 + ["test"] * 4
    frame = numbered(a=20, b=20).assign(split_0=2 * given, anatomy="thyroid")
    split, notes = protocols.split(frame, twins(("a1", "a20"), ("b2", "b3")), "released")
    assert list(split["split_0"]) == 2 * given
    assert "24 train (60.0%; paper 75%), 8 val (20.0%; paper 10%), 8 test (20.0%" in notes[0]
    assert notes[1].startswith("1 of 8 test images have a duplicate in train")


def given_sets(**sets):
    """A manifest of two images a letter: `given_sets(a="TTVE")` has a's sets in that order."""
    names = {"T": "train", "V": "val", "E": "test"}
    frame = numbered(**{label: len(letters) for label, letters in sets.items()})
    return frame.assign(split_0=[names[x] for letters in sets.values() for x in letters])


REFUSED = {
    "a class in val and not in train": (
        given_sets(a="TTVVEE", b="TTVVEE", c="VVVEE"), "released", DatabaseError,
        r"1 of 3 classes have images in val or test and none in train: c \(c: 3 in val, 2 in test",
    ),
    "a class in test alone": (
        given_sets(a="TTVVEE", b="TTVVEE", c="E"), "released", DatabaseError, "none in train: c",
    ),
    "no training set": (
        given_sets(a="VVEE", b="VVEE"), "released", DatabaseError, "2 of 2 classes .*: a, b",
    ),
    "no val set": (given_sets(a="TTEE", b="TTEE"), "released", SplitError, "val .* is empty"),
    "no lists": (numbered(a=9, b=9), "released", DatabaseError, "found 0 split columns"),
    "several folds": (
        given_sets(a="TVE", b="TVE").assign(split_1="train"), "released", DatabaseError,
        "found 2 split columns",
    ),
    "blocks beside patients": (
        numbered(a=9, b=9).assign(patient="p1"), "blocks", DatabaseError, "without patient ids",
    ),
    "one class": (numbered(a=9), "75/10/15", DatabaseError, "two classes or more .* found a alone"),
    "another protocol": (numbered(a=9, b=9), "5-fold", ValueError, "`protocol` should be one of"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_clear_error(case):
    frame, protocol, kind, said = REFUSED[case]
    with pytest.raises(kind, match=said):
        protocols.split(frame, twins(), protocol)


@pytest.mark.parametrize("protocol", database.PROTOCOLS)
def test_phantoms_of_the_release_are_prepared_by_every_protocol(project, protocol):
    found = database.prepare(
        n_phantoms=240, image_size=16, protocol=protocol, block_size=4, near_duplicates=False
    )
    assert found.phantom and len(found.classes) == 14 and found.classes == (*sorted(found.classes),)
    assert found.data.images.shape == (240, 16, 16)
    assert [found.classes[y] for y in found.data.y] == list(found.manifest["label"])
    assert found.counts()["n"].sum() == found.summary()["n_images"].sum() == 240
    assert (found.counts()["n_train"] > 0).all() and found.summary()["share"][0] > 0.65
    assert len(found.pairs) and set(found.pairs["kind"]) == {"exact"}
    if protocol != "released":
        assert audit.leaks(found.manifest).empty
        assert any("not a patient split" in note for note in found.notes)


def test_near_duplicates_are_looked_for_within_each_modality(project):
    found = database.prepare(n_phantoms=240, image_size=16, protocol="blocks", block_size=4)
    pairs = found.pairs
    assert list(pairs) == database.PAIR_COLUMNS
    split = set_of(found.manifest)
    assert list(split[pairs["image_a"]]) == list(split[pairs["image_b"]])


def test_a_folder_of_own_images_keeps_its_patients_and_skips_what_is_no_image(
    project, tmp_path, draw
):
    for label in "abc":
        for n in range(60):
            draw(tmp_path / "own" / label / f"p{n // 2}_{n}.png", seed=ord(label) * 100 + n)
    (tmp_path / "own" / "a" / "p9_99.png").write_bytes(b"no image")
    found = database.prepare(
        tmp_path / "own", task="folder", image_size=8, on_bad_image="skip", near_duplicates=False,
        options={"patient": r"^(p\d+)_"},
    )  # fmt: skip
    assert found.classes == ("a", "b", "c") and not found.phantom and len(found.manifest) == 180
    assert audit.leaks(found.manifest, by="patient").empty
    assert found.notes == (
        "0 pairs of duplicates were found; the largest of 30 groups holds 6 images.",
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"protocol": "official"}, ValueError, "`protocol` should be one of"),
        ({"options": {"duplicates": True}}, ValueError, "see `near_duplicates`"),
        ({"task": "nothing"}, ValueError, "`task` should be one of"),
        ({"data_dir": "/nowhere/at/all"}, DatasetError, "no such folder"),
        ({"options": {"lists": "none"}, "protocol": "released"}, DatabaseError, "no released sets"),
    ],
)
def test_arguments_are_checked(project, arguments, kind, said):
    with pytest.raises(kind, match=said):
        database.prepare(
            **{"n_phantoms": 240, "image_size": 8, "near_duplicates": False} | arguments
        )


def test_exact_duplicates_across_modalities_are_kept_together(project, tmp_path, draw):
    root = tmp_path / "release" / "radiology_ai"
    for folder, first in (("CT/lung/normal", 0), ("MR/knee/normal", 100)):
        for n in range(1, 41):
            draw(root / folder / f"x{n:06d}.png", seed=first + n if n > 1 else 0)
    found = database.prepare(root.parent, image_size=8, protocol="blocks", block_size=2)
    assert len(found.pairs) == 1 and set(found.pairs["kind"]) == {"exact"}
    split = set_of(found.manifest)
    same = [split[f"radiology_ai/{m}/normal/x000001.png"] for m in ("CT/lung", "MR/knee")]
    assert same[0] == same[1]


@pytest.fixture(scope="module")
def mini(project, project_data):
    """The nine classes beside the project, in blocks of twenty."""
    root = project_data("mini_radimagenet")
    return database.prepare(root, image_size=16, protocol="blocks", block_size=20)


def test_the_small_real_database_is_split_evenly_and_no_duplicate_straddles(mini):
    assert len(mini.manifest) == 3302 and len(mini.classes) == 9 and not mini.phantom
    table = mini.counts().set_index("label")
    share = table[["n_train", "n_val", "n_test"]].div(table["n"], axis=0)
    assert ((share - [0.75, 0.10, 0.15]).abs() < 0.02).all(axis=None)
    assert mini.manifest["group"].value_counts().iloc[0] == 60
    split = set_of(mini.manifest)
    assert list(split[mini.pairs["image_a"]]) == list(split[mini.pairs["image_b"]])


def test_files_of_the_small_real_database_are_not_numbered_by_study(mini):
    rate = duplicate_rate(mini.manifest, mini.pairs, bins=(1, 20, 100))["rate"]
    assert rate.between(0.003, 0.005).all()  # as high among files far apart as among neighbors


@pytest.fixture
def table():
    """Duplicates among neighbors alone."""
    return duplicate_rate(numbered(a=40), twins(("a1", "a2"), ("a2", "a4")), bins=(1, 2, 5, 10))


@pytest.mark.parametrize("phantom", [True, False])
@pytest.mark.usefixtures("closed_figures")
def test_the_figure_marks_the_block_size_and_is_watermarked_for_phantoms(table, phantom):
    figure = blocks_figure.duplicate_rate(table, 20, phantom)
    figure.canvas.draw()
    said = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    assert "blocks of 20" in said and "no duplicate found" in said
    assert (figures.WATERMARK in said) == phantom
    ax = figure.axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    points = [line for line in ax.lines if line.get_marker() == "o"][0].get_ydata()
    assert list(points) == pytest.approx([1 / 39, 1 / (38 + 37 + 36)])


@pytest.mark.usefixtures("closed_figures")
def test_the_figure_of_a_database_without_duplicates_says_so():
    empty = duplicate_rate(numbered(a=40), twins(), bins=(1, 5))
    figure = blocks_figure.duplicate_rate(empty, 500, False)
    figure.canvas.draw()
    assert figure.axes[0].get_xlim()[1] > 500
