"""Tables of Grad-CAM, on maps of four pixels whose Dice can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rin import stats
from rin.gradcam import cases, choices, ladder, tables

A, B = "pretrained, official", "random, official"
S1, S2 = "resnet50-head-1e-02", "resnet50-head-1e-03"
TOP = np.array([[True, True], [False, False]])
NONE = TOP & False
# rows 0 to 3 of the data; row 3 has no lesion
MASKS, HAS = np.stack([TOP, TOP, ~TOP, NONE]), np.array([True, True, True, False])

HIT = [[1.0, 0.9], [0.2, 0.0]]  # 255 229 | 51 0: Dice 1 with TOP, 0 with the rest
HALF = [[1.0, 0.5], [0.8, 0.0]]  # 255 127 | 204 0: Dice 1/2 with either
MISS = [[0.0, 0.1], [1.0, 1.0]]  # Dice 0 with TOP, 1 with the rest
BLANK = [[0.0, -1.0], [-2.0, 0.0]]
GROUPS = ["g0", "g0", "g1", "g2"]


class Made:
    """Runs with maps in their folders, and their predictions."""

    def __init__(self, home):
        self.home, self.facts, self.parts = home, [], []

    def run(self, arm, positive, scenario=S1, fold=0, seed=0, rows=None, negative=None, **columns):
        """Keep maps of the positive class (and of the negative one), one an image."""
        rows = np.arange(len(positive)) if rows is None else np.array(rows)
        folder = self.home / f"{arm}-{scenario}-{fold}-{seed}"
        folder.mkdir()
        negative = np.zeros_like(positive) if negative is None else negative
        choices.save(folder, np.stack([negative, positive], axis=-1).astype(np.float32), rows)
        init, preprocess = arm.split(", ")[:2]
        run = {"task": "breast", "init": init, "preprocess": preprocess, "backbone": "resnet50"}
        run |= {"trainable": "head", "learning_rate": 0.01, "scenario": scenario, "fold": fold}
        run |= {"seed": seed, "batch_size": columns.pop("batch_size", 256)}
        self.facts.append(run | {"arm": arm, "classifier": "gap", "folder": str(folder)})
        self.facts[-1]["objective"] = "official"
        table = {"row": rows, "image_id": [f"{row:016x}" for row in rows]}
        table |= {"group": [GROUPS[row] for row in rows], "y_true": 1, "y_score": 0.9}
        frame = pd.DataFrame(table | columns).assign(patient="p1", **run, arm=arm)
        frame["y_score_negative"] = 1 - frame["y_score"]
        self.parts.append(frame.sample(frac=1, random_state=0))  # in another order than the maps

    @property
    def inputs(self):
        """What the functions take: runs, masks, has, predictions."""
        return pd.DataFrame(self.facts), MASKS, HAS, pd.concat(self.parts, ignore_index=True)


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def dice_of(table):
    return dict(zip(table["row"], table["dice"], strict=True))


def near(value):
    return pytest.approx(value, nan_ok=True)


def test_each_image_of_a_run_is_overlapped_with_its_own_mask(made):
    made.run(A, [HIT, HALF, MISS, HIT])
    table = tables.overlaps(*made.inputs)
    assert dice_of(table) == near({0: 1, 1: 0.5, 2: 1, 3: float("nan")})
    assert list(table["pointing"]) == near([1, 1, 1, float("nan")])
    assert list(table["coverage"]) == [0.5] * 4
    assert list(table["has_mask"]) == [True] * 3 + [False] and not table["blank"].any()
    assert set(table["arm"]) == {A} and set(table["scenario"]) == {S1}


def test_maps_are_joined_by_row_and_not_by_place(made):
    made.run(A, [MISS, HIT], rows=[2, 0])
    assert dice_of(tables.overlaps(*made.inputs)) == {2: 1, 0: 1}


def test_a_blank_map_of_a_lesion_counts_as_zero(made):
    made.run(A, [BLANK, HIT, MISS, BLANK])
    table = tables.overlaps(*made.inputs)
    assert dice_of(table) == near({0: 0, 1: 1, 2: 1, 3: float("nan")})
    (row,) = tables.summary(table).to_dict("records")
    assert (row["n_blank"], row["n_images"], row["n_without"]) == (1, 3, 1)
    assert row["mean_dice"] == pytest.approx(2 / 3)


def test_the_class_of_a_map_is_predicted_true_or_positive(made):
    made.run(A, [HIT], negative=[MISS], y_score=0.1, y_true=1)
    found = {w: tables.overlaps(*made.inputs, w, "logit")["dice"][0] for w in choices.WHICH}
    assert found == {"predicted": 0, "true": 1, "positive": 1}


def test_a_logits_map_is_the_class_s_own_and_a_probabilitys_the_difference(made):
    made.run(A, [HALF], negative=[[[0.9, 0.0], [0.0, 0.0]]])  # difference .1 .5 | .8 0
    logit, probability = (tables.overlaps(*made.inputs, of=of) for of in ("logit", "probability"))
    assert dice_of(logit) == {0: 0.5}
    assert dice_of(probability) == {0: 0}  # 32 159 | 255 0


def test_behind_a_sigmoid_both_are_the_class_s_own(made):
    made.run(A, [HALF], negative=[[[0.9, 0.0], [0.0, 0.0]]])
    runs, *rest = made.inputs
    table = tables.overlaps(runs.assign(classifier="flatten"), *rest, of="probability")
    assert dice_of(table) == {0: 0.5}


def test_being_right_and_sure_goes_with_each_image(made):
    made.run(A, [HIT, HIT, HIT], y_score=[0.9, 0.2, 0.5], y_true=[1, 1, 0])
    table = tables.overlaps(*made.inputs)
    assert list(table["correct"]) == [True, False, True]  # equal scores say negative
    assert list(table["confidence"]) == near([0.9, 0.8, 0.5])
    assert list(table["true_score"]) == near([0.9, 0.2, 0.5])


def test_maps_are_enlarged_to_the_size_of_the_masks(made):
    made.run(A, [HIT], rows=[0])
    runs, _, _, predictions = made.inputs
    large = np.zeros((1, 64, 64), bool)
    large[0, :32] = True
    (found,) = tables.overlaps(runs, large, np.array([True]), predictions)["dice"]
    assert 0.8 < found < 1
    squares = tables.overlaps(runs, large, np.array([True]), predictions, resize="nearest")
    assert squares["dice"].tolist() == [1]
    table = tables.sensitivity(runs, large, np.array([True]), predictions).set_index(tables.CHOICES)
    at = table.sort_index().loc[("predicted", "probability"), A]
    assert at["bilinear", 180] == near(found) and at["nearest", 180] == 1


def test_a_map_is_set_against_its_own_size_put_anywhere(made):
    made.run(A, [HIT, HALF, MISS, HIT])
    table = tables.overlaps(*made.inputs)
    # every mark covers half of the image, as every lesion does: chance is one half
    assert list(table["chance"]) == near([0.5, 0.5, 0.5, float("nan")])
    assert tables.summary(table)["chance"][0] == 0.5
    both = tables.against_chance(table, A)
    found = stats.dice_test(tables.paired_dice(both, A, tables.SAME_SIZE))
    assert found.difference == near(((1 + 0.5) / 2 + 1) / 2 - 0.5) and found.n_groups == 2


def test_two_arms_may_be_compared_less_what_their_size_is_worth(made):
    made.run(A, [HIT, HALF])
    made.run(B, [BLANK, [[0.0, 0.0], [0.0, 1.0]]])
    pairs = tables.paired_dice(tables.overlaps(*made.inputs), A, B, less_chance=True)
    # chance: 1/2 for A; for B nothing, and 2 · 1/4 · 1/2 / (1/4 + 1/2) = 1/3 beside a Dice of 0
    assert list(pairs["dice_a"]) == near([0.5, 0]) and list(pairs["dice_b"]) == near([0, -1 / 3])


def test_arms_are_named_where_runs_have_no_names_yet(made):
    made.run(A, [HIT])
    runs, masks, has, predictions = made.inputs
    bare = runs.drop(columns="arm"), masks, has, predictions.drop(columns="arm")
    assert set(tables.overlaps(*bare)["arm"]) == {A}


def test_runs_that_differ_in_batch_size_or_seed_alone_are_told_apart(made):
    made.run(A, [HIT])
    made.run(A, [MISS], seed=1)
    made.run(f"{A}, batch 32", [HALF], batch_size=32)
    table = tables.overlaps(*made.inputs)
    assert table.set_index(["arm", "seed"])["dice"].to_dict() == {
        (A, 0): 1, (A, 1): 0, (f"{A}, batch 32", 0): 0.5
    }  # fmt: skip
    pairs = tables.paired_dice(table, A, f"{A}, batch 32")
    assert pairs["seed"].tolist() == [0] and pairs["dice_a"].tolist() == [1]


def test_arms_rest_on_the_cells_that_all_have(made):
    made.run(A, [HIT])
    made.run(A, [HIT], fold=1)
    made.run(A, [HIT], scenario=S2)
    made.run(B, [HIT], fold=1)
    runs = tables.shared(made.inputs[0])
    assert runs[["arm", "scenario", "fold"]].values.tolist() == [[A, S1, 1], [B, S1, 1]]
    assert tables.shared(runs.iloc[:1])["arm"].tolist() == [A]
    apart = pd.concat([made.inputs[0].iloc[[0]], runs.iloc[[1]]])
    assert tables.shared(apart).empty


def test_a_run_is_looked_at_in_pieces(made, monkeypatch):
    made.run(A, [HIT, HALF, MISS, HIT])
    whole = tables.overlaps(*made.inputs), tables.curve(*made.inputs)
    monkeypatch.setattr(tables, "PIECE", 3)
    pd.testing.assert_frame_equal(tables.overlaps(*made.inputs), whole[0])
    pd.testing.assert_frame_equal(tables.curve(*made.inputs), whole[1])


def test_no_table_holds_a_folder_or_a_patient(made):
    made.run(A, [HIT])
    made.run(B, [MISS])
    table = tables.overlaps(*made.inputs)
    made_ = [table, tables.summary(table), tables.paired_dice(table, A, B), cases.choose(table)]
    made_ += [tables.curve(*made.inputs), tables.sensitivity(*made.inputs)]
    for frame in made_:
        assert not {"patient", "folder", "image"} & set(frame)
        assert str(made.home) not in frame.to_csv()


def test_the_curve_is_the_mean_over_images_then_scenarios(made):
    made.run(A, [HIT, HALF])
    made.run(A, [MISS, HALF], scenario=S2)
    curve = tables.curve(*made.inputs).set_index("threshold")
    assert len(curve) == 256 and set(curve["arm"]) == {A} and set(curve["n_scenarios"]) == {2}
    at = curve.loc[180]
    assert at["mean_dice"] == pytest.approx(((1 + 0.5) / 2 + (0 + 0.5) / 2) / 2)
    assert at["sd_dice"] == pytest.approx(0.5 / np.sqrt(2))
    assert curve.loc[255, "mean_dice"] == 0  # nothing lies above the maximum
    table = tables.summary(tables.overlaps(*made.inputs, threshold=100))
    assert curve.loc[100, "mean_dice"] == pytest.approx(table["mean_dice"][0])


def test_folds_of_a_scenario_count_by_their_images(made):
    made.run(A, [HIT, HIT], rows=[0, 1])
    made.run(A, [HIT], rows=[2], fold=1)
    assert tables.curve(*made.inputs).set_index("threshold").loc[180, "mean_dice"] == near(2 / 3)
    assert tables.summary(tables.overlaps(*made.inputs))["mean_dice"][0] == near(2 / 3)


def test_one_scenario_has_no_spread(made):
    made.run(A, [HIT])
    assert tables.curve(*made.inputs)["sd_dice"].isna().all()
    assert np.isnan(tables.summary(tables.overlaps(*made.inputs))["sd_over_scenarios"][0])


def test_the_sensitivity_table_has_a_row_a_choice_and_a_column_an_arm(made):
    made.run(A, [HIT, HALF], negative=[MISS, MISS], y_score=[0.9, 0.1])
    made.run(B, [MISS, HALF], negative=[HIT, HIT])
    table = tables.sensitivity(*made.inputs)
    assert list(table) == ["which", "of", "resize", "threshold", A, B] and len(table) == 36
    assert len(table.drop_duplicates(tables.CHOICES)) == 3 * 2 * 2 * 3
    for row in table.to_dict("records"):
        found = tables.overlaps(*made.inputs, **{key: row[key] for key in tables.CHOICES})
        wanted = tables.summary(found).set_index("arm")["mean_dice"]
        assert [row[A], row[B]] == near([wanted[A], wanted[B]])
    predicted, true = (
        table[(table[["which", "of", "resize"]] == [w, "logit", "nearest"]).all(axis=1)].set_index(
            "threshold"
        )[A]
        for w in ("predicted", "true")
    )
    assert (predicted[180], true[180]) == (near((1 + 0) / 2), near((1 + 0.5) / 2))


def test_the_summary_names_both_spreads(made):
    made.run(A, [HIT, HALF, MISS, HIT])
    made.run(A, [HIT, MISS, MISS, HIT], scenario=S2)
    (row,) = tables.summary(tables.overlaps(*made.inputs)).to_dict("records")
    first, second = 2.5 / 3, 2 / 3
    assert row["mean_dice"] == near((first + second) / 2)
    assert row["sd_over_scenarios"] == near((first - second) / np.sqrt(2))
    g0, g1 = (1 + 0.25) / 2, 1.0  # rows 0 and 1 are one group
    assert row["sd_over_groups"] == near((g1 - g0) / np.sqrt(2))
    counts = [row[key] for key in ("n_images", "n_groups", "n_scenarios", "n_without", "n_blank")]
    assert counts == [3, 2, 2, 1, 0]
    assert row["pointing"] == near((3 + 2) / 6) and row["coverage"] == 0.5
    assert row["right"] == tables.overlaps(*made.inputs)["correct"].mean() == 1


def test_a_summary_may_be_told_apart_by_what_was_trained(made):
    made.run(A, [HIT, HALF])
    made.run(A, [MISS, HALF], scenario=S2)
    table = tables.overlaps(*made.inputs)
    table.loc[table["scenario"] == S2, "trainable"] = "top10"
    found = tables.summary(table, ["arm", "trainable"])
    assert list(found.iloc[:, 0]) == [A, A] and list(found["trainable"]) == ["head", "top10"]
    assert list(found["mean_dice"]) == near([0.75, 0.25]) and set(found["n_scenarios"]) == {1}


def test_a_kept_table_gives_the_same_summary_without_images(made, tmp_path):
    made.run(A, [HIT, HALF, MISS, BLANK])
    made.run(B, [BLANK, HALF, MISS, HIT])
    table = tables.overlaps(*made.inputs)
    table.to_parquet(tmp_path / "dice.parquet")
    kept = pd.read_parquet(tmp_path / "dice.parquet")
    pd.testing.assert_frame_equal(tables.summary(kept), tables.summary(table))
    pd.testing.assert_frame_equal(tables.paired_dice(kept, A, B), tables.paired_dice(table, A, B))


def test_two_arms_are_paired_as_the_dice_test_takes_them(made):
    made.run(A, [HIT, HALF, MISS, HIT])
    made.run(B, [HALF, BLANK, HALF, HIT])
    paired = tables.paired_dice(tables.overlaps(*made.inputs), A, B)
    assert list(paired["dice_a"]) == near([1, 0.5, 1, float("nan")])
    assert list(paired["dice_b"]) == near([0.5, 0, 0.5, float("nan")])
    test = stats.dice_test(paired)
    assert test.difference == near(0.5) and (test.n_images, test.n_groups) == (3, 2)
    assert test.n_left_out == 1


def test_only_cells_and_images_of_both_arms_are_paired(made):
    made.run(A, [HIT, HIT], rows=[0, 1])
    made.run(A, [HIT], rows=[0], scenario=S2)
    made.run(B, [HALF, HALF], rows=[0, 2])
    paired = tables.paired_dice(tables.overlaps(*made.inputs), A, B)
    assert paired[["scenario", "row"]].to_numpy().tolist() == [[S1, 0]]


def test_correct_only_keeps_images_both_arms_have_right(made):
    made.run(A, [HIT, HIT, HIT], y_score=[0.9, 0.1, 0.9])
    made.run(B, [HALF, HALF, HALF], y_score=[0.9, 0.9, 0.1])
    table = tables.overlaps(*made.inputs)
    assert list(tables.paired_dice(table, A, B, correct_only=True)["row"]) == [0]
    assert len(tables.paired_dice(table, A, B)) == 3


def test_arms_may_stand_in_another_column(made):
    made.run(A, [HIT])
    made.run(B, [HALF])
    paired = tables.paired_dice(tables.overlaps(*made.inputs), "random", "pretrained", by="init")
    assert paired[["dice_a", "dice_b"]].to_numpy().tolist() == [[0.5, 1]]


def test_an_arm_that_is_absent_or_stands_for_two_is_refused(made):
    made.run(A, [HIT])
    made.run("pretrained, native", [HIT])
    table = tables.overlaps(*made.inputs)
    with pytest.raises(ValueError, match="hold arm 'x' once an image and cell. Found: only"):
        tables.paired_dice(table, A, "x")
    with pytest.raises(ValueError, match="hold init 'pretrained' once .* several rows an image"):
        tables.paired_dice(table, "pretrained", "random", by="init")


def test_a_baseline_of_the_ladder_is_one_more_arm(made):
    made.run(A, [HIT, HALF, HALF, HIT])
    made.run(A, [HIT, HALF, MISS, HIT], scenario=S2)
    split = np.array([["test", "train"]] * 4 + [["train", "test"]])
    masks = np.concatenate([MASKS, TOP[None]])
    marks = ladder.ladder(masks, split, (2, 2))
    table = tables.against(tables.overlaps(*made.inputs), marks, ladder.WHOLE)
    paired = tables.paired_dice(table, A, ladder.WHOLE)
    assert list(paired["dice_b"]) == near([2 / 3, 2 / 3, 2 / 3, float("nan")] * 2)
    assert stats.dice_test(paired).n_left_out == 1
    assert tables.summary(table).set_index("arm").loc[ladder.WHOLE, "mean_dice"] == near(2 / 3)
    with pytest.raises(ValueError, match="`ladder` should hold 'a cross' for every lesion"):
        tables.against(table, marks, "a cross")
    with pytest.raises(ValueError, match="2 absent"):
        tables.against(table, marks[marks["row"] > 0], ladder.WHOLE)


def test_maps_and_predictions_of_other_images_are_refused(made):
    made.run(A, [HIT, HIT])
    runs, masks, has, predictions = made.inputs
    with pytest.raises(ValueError, match="`predictions` should hold the 2 images .* Received: 1"):
        tables.overlaps(runs, masks, has, predictions[predictions["row"] == 0])
    with pytest.raises(ValueError, match="`predictions` should hold .* Received: 0"):
        tables.overlaps(runs, masks, has, predictions.assign(fold=3))
    with pytest.raises(ValueError, match="`masks` should be of the runs' data"):
        tables.overlaps(runs, masks[:1], has[:1], predictions)


def test_unknown_choices_runs_without_maps_and_no_runs_are_refused(made):
    made.run(A, [HIT])
    runs, masks, has, predictions = made.inputs
    for options in ({"which": "both"}, {"of": "loss"}):
        with pytest.raises(ValueError, match="should be one of"):
            tables.overlaps(runs, masks, has, predictions, **options)
    with pytest.raises(FileNotFoundError, match="runs of tasks with masks write one"):
        tables.overlaps(runs.assign(folder=str(made.home)), masks, has, predictions)
    with pytest.raises(ValueError, match="`runs` should hold at least one finished run"):
        tables.curve(runs[:0], masks, has, predictions)


def test_masks_are_united_resized_and_absent_where_there_is_none(tmp_path):
    for name, box in (("a", np.s_[:2]), ("b", np.s_[2:]), ("empty", np.s_[:0])):
        mask = np.zeros((4, 4), np.uint8)
        mask[:, box] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    cells = ["a.png", "a.png|b.png", "empty.png", None]
    frame = pd.DataFrame({"mask": pd.Series(cells, dtype="string")})
    found, has = tables.masks(frame, tmp_path, 8)
    assert found.shape == (4, 8, 8) and found.dtype == has.dtype == bool
    assert found[0, :, :4].all() and not found[0, :, 4:].any() and found[1].all()
    assert list(has) == [True, True, False, False]


# --- cases ----------------------------------------------------------------------------------


def scored(dice, arm=A, groups=None, **columns):
    """One row an image, Dice as given; NaN: no lesion."""
    rows = range(len(dice))
    table = {"arm": arm, "scenario": S1, "fold": 0, "seed": 0, "row": rows, "dice": dice}
    table |= {"image_id": [f"i{row}" for row in rows], "has_mask": ~np.isnan(dice)}
    table |= {"group": [f"g{row}" for row in rows] if groups is None else groups}
    return pd.DataFrame(table | {"true_score": 0.5} | columns)


def chosen_rows(table, k=1):
    return {rule: list(part["row"]) for rule, part in cases.choose(table, k).groupby("rule")}


def test_best_median_and_worst_are_chosen_by_dice():
    table = scored([0.1, 0.9, 0.5, 0.3, 0.7])
    assert chosen_rows(table) == {"best": [1], "median": [2], "worst": [0]}
    assert list(cases.choose(table, 1)["rule"]) == ["best", "median", "worst"]
    assert chosen_rows(table, 2) == {"best": [1, 4], "median": [2], "worst": [0, 3]}


def test_every_arm_counts_alike_however_many_scenarios_it_has():
    more = scored([0.0, 0.4], B), scored([0.0, 0.4], B, scenario=S2)
    table = pd.concat([scored([0.6, 0.0]), *more])
    found = cases.choose(table).set_index("row")["value"]
    assert found[0] == near(0.3) and found[1] == near(0.2)


def test_an_image_that_an_arm_lacks_is_not_chosen():
    table = pd.concat([scored([0.1, 0.9, 0.5]), scored([0.1], B)])
    assert list(cases.choose(table)["row"]) == [0]


def test_ties_go_to_the_first_image_id():
    table = scored([0.5] * 4, image_id=["d", "b", "a", "c"])
    assert list(cases.choose(table, 1)["image_id"]) == ["a", "c", "b"]  # best, median, worst


def test_near_twins_are_shown_once():
    table = scored([0.9, 0.89, 0.5, 0.2, 0.1], groups=["t", "t", "g", "u", "u"])
    assert chosen_rows(table, 2) == {"best": [0, 2], "worst": [4]}


def test_images_without_a_lesion_are_no_cases_of_dice():
    table = scored([0.2, np.nan, 0.4])
    assert set(cases.choose(table, 5)["row"]) == {0, 2}


def test_without_masks_the_right_classs_score_decides():
    table = scored([np.nan] * 3, true_score=[0.2, 0.8, 0.5])
    found = cases.choose(table, 1)
    assert list(found["row"]) == [1, 2, 0] and set(found["measure"]) == {"true_score"}
    assert list(found["value"]) == [0.8, 0.5, 0.2]


@pytest.mark.parametrize("k", [0, 1.5, None])
def test_cases_come_in_whole_numbers(k):
    with pytest.raises(ValueError, match="`k` should be an int of at least 1"):
        cases.choose(scored([0.1]), k)


def test_each_case_has_one_map_an_arm(made):
    made.run(A, [HIT, HALF], rows=[0, 1])
    made.run(A, [MISS], rows=[2], fold=1)
    made.run(B, [MISS], rows=[0])
    runs, _, _, predictions = made.inputs
    chosen = pd.DataFrame({"row": [2, 0]})
    found = cases.maps(runs, predictions, chosen, 2)
    assert list(found) == [A, B]
    assert (found[A] > 128).tolist() == [[[False] * 2, [True] * 2], TOP.tolist()]
    assert not found[B][0].any() and found[B][1].any()


def test_maps_of_several_scenarios_are_not_mixed(made):
    made.run(A, [HIT])
    made.run(A, [HIT], scenario=S2)
    runs, _, _, predictions = made.inputs
    with pytest.raises(ValueError, match="`runs` should be of one scenario and seed"):
        cases.maps(runs, predictions, pd.DataFrame({"row": [0]}), 2)
