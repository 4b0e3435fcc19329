"""Scores of many classes: against numbers worked by hand and scikit-learn's."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from rin.pretraining import scores

A, B, C = "MR/knee/normal", "CT/lung/Nodule", "US/liver"
# truth, prediction and rank of the truth: A is right 3 of 4 times, B 1 of 2, C never
HAND = [(A, A, 0), (A, A, 0), (A, A, 0), (A, B, 1), (B, B, 0), (B, A, 2), (C, A, 1)]


def table(rows, split="val", true_score=0.5):
    frame = pd.DataFrame(rows, columns=["y_true", "y_pred", "true_rank"])
    facts = {"image_id": [f"{i}" for i in range(len(frame))], "split": split, "score": 0.5}
    return frame.assign(**facts, true_score=true_score)


def drawn(n=400, k=7, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[y]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = [f"MR/knee/c{i}" for i in range(k)]
    return p, y, scores.predictions(p, y, classes, [f"{i}" for i in range(n)], "test")


def test_a_prediction_is_the_top_class_and_the_rank_counts_those_above_the_truth():
    p = [[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]
    found = scores.predictions(np.array(p), [1, 0], [A, B, C], ["x", "y"], "val")
    assert list(found.columns) == scores.COLUMNS
    assert found.iloc[0].to_list() == ["x", "val", B, C, 0.7, 0.2, 1]
    assert found.iloc[1].to_list() == ["y", "val", A, A, 0.5, 0.5, 0]


def test_of_equal_probabilities_the_first_class_ranks_higher():
    found = scores.predictions(np.full((3, 3), 1 / 3), [0, 1, 2], [A, B, C], [*"xyz"], "val")
    assert found["true_rank"].to_list() == [0, 1, 2]
    assert set(found["y_pred"]) == {A}


def test_ids_of_a_selected_series_stay_in_their_rows():
    ids = pd.Series(["x", "y"], index=[7, 3])
    found = scores.predictions(np.eye(3)[:2], [0, 2], [A, B, C], ids, "val")
    assert found["image_id"].to_list() == ["x", "y"] and len(found) == 2


GOOD = {"probabilities": np.eye(3), "y": [0, 1, 2], "classes": [A, B, C], "image_ids": [*"xyz"]}
BAD = {
    "probabilities": {"probabilities": np.eye(4)},
    "image_ids": {"image_ids": ["x"]},
    "sum to 1": {"probabilities": np.full((3, 3), 0.5)},
    "in \\[0, 1\\]": {"probabilities": np.array([[np.nan, 1, 0]] * 3)},
    "`y` should be ints from 0 to 2": {"y": [0, 1, 3]},
    "`y` should be ints": {"y": [0.0, 1.0, 2.0]},
    "every label once": {"classes": [A, A, C]},
    "`split` should be one of": {"split": "valid"},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_predictions_are_refused(message):
    with pytest.raises(ValueError, match=message):
        scores.predictions(**{**GOOD, "split": "val", **BAD[message]})


def test_a_report_has_the_numbers_worked_by_hand():
    found = scores.report(table(HAND))
    assert found["estimate"].to_dict() == pytest.approx(
        {
            "top1": 4 / 7,
            "top5": 1,
            "balanced_accuracy": (3 / 4 + 1 / 2 + 0) / 3,
            "macro_f1": (6 / 9 + 2 / 4 + 0) / 3,  # 2 right / (said + true) of each class
            "log_loss": np.log(2),
        }
    )
    assert (found["n"] == 7).all()
    assert found.loc["top5", "note"] == "always 1 with 3 classes"
    assert found.loc["top5", ["low", "high"]].isna().all()
    assert found.loc["balanced_accuracy", "note"] == "mean recall of 3 classes"


def test_a_report_agrees_with_scikit_learn():
    p, y, found = drawn()
    top = scores.report(found)["estimate"]
    assert top["top1"] == pytest.approx(metrics.top_k_accuracy_score(y, p, k=1))
    assert top["top5"] == pytest.approx(metrics.top_k_accuracy_score(y, p, k=5))
    said = p.argmax(axis=1)
    assert top["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, said))
    assert top["macro_f1"] == pytest.approx(metrics.f1_score(y, said, average="macro"))
    assert top["log_loss"] == pytest.approx(metrics.log_loss(y, p))


def test_top1_has_the_wilson_interval():
    found = scores.report(table([(A, A, 0)] * 8 + [(A, B, 1)] * 2)).loc["top1"]
    # (8 + 1.96² / 2) / (10 + 1.96²) ± 1.96 √(10 · 0.8 · 0.2 + 1.96² / 4) / (10 + 1.96²)
    assert [found["low"], found["high"]] == pytest.approx([0.4902, 0.9433], abs=1e-4)


def test_balanced_accuracy_has_the_interval_worked_by_hand():
    found = scores.report(table([(A, A, 0)] * 2 + [(B, B, 0), (B, A, 1)])).loc["balanced_accuracy"]
    # variances .75 · .25 / 2 and .5 · .5 / 2, so √(.21875 / 4) = .23385
    assert found["low"] == pytest.approx(0.75 - 1.96 * 0.23385, abs=1e-4)
    assert found["high"] == 1


def test_the_interval_of_balanced_accuracy_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    recall = {A: 0.95, B: 0.7, C: 0.4}
    held = []
    for _ in range(200):
        wrong = {name: rng.binomial(1, 1 - p, 30) for name, p in recall.items()}
        rows = [(name, (name, "other")[w], w) for name, w30 in wrong.items() for w in w30]
        row = scores.report(table(rows)).loc["balanced_accuracy"]
        held.append(row["low"] <= np.mean([*recall.values()]) <= row["high"])
    assert 0.91 <= np.mean(held) <= 0.99


def test_every_image_right_still_leaves_an_interval():
    found = scores.report(table([(name, name, 0) for name in (A, B, C) * 10]))
    assert (found.loc[["top1", "balanced_accuracy"], "low"] < 1).all()
    assert found.loc[["top1", "balanced_accuracy"], "high"].to_list() == pytest.approx([1, 1])


def test_a_wider_level_gives_wider_intervals():
    _, _, found = drawn()
    narrow, wide = scores.report(found, level=0.8), scores.report(found, level=0.99)
    some = ["top1", "top5", "balanced_accuracy"]
    assert (wide.loc[some, "low"] < narrow.loc[some, "low"]).all()
    with pytest.raises(ValueError, match="`level` should be between"):
        scores.report(found, level=95)


def test_the_classifiers_classes_count_and_not_only_those_seen():
    assert scores.report(table(HAND), n_classes=9).loc["top5", "note"] == ""
    assert scores.report(table(HAND), n_classes=5).loc["top5", "note"] == "always 1 with 5 classes"
    sixth = scores.report(table([(A, B, 5), (A, A, 0)])).loc["top5"]
    assert sixth["estimate"] == 0.5 and sixth["note"] == ""


def test_a_class_predicted_but_never_true_has_no_recall_but_an_f1_of_0():
    found = scores.report(table([(A, A, 0), (A, B, 1)]))["estimate"]
    assert found["balanced_accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_a_probability_of_0_has_a_finite_loss():
    loss = scores.report(table(HAND, true_score=0.0)).loc["log_loss", "estimate"]
    assert loss == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (table([]), "Received: splits \\[\\]"),
        (pd.concat([table(HAND), table(HAND, "test")]), "splits \\['test', 'val'\\]"),
        (table(HAND).drop(columns="true_rank"), "no column true_rank"),
    ],
)
def test_only_a_table_of_one_split_is_scored(bad, message):
    for score in (scores.report, scores.confusion, scores.confused):
        with pytest.raises(ValueError, match=message):
            score(bad)


def test_classes_come_with_their_size_recall_and_precision():
    sizes = pd.Series({C: 10, A: 900, B: 40, "US/thyroid_nodule": 3})
    found = scores.per_class(table(HAND), sizes).set_index("label")
    assert list(found.index) == [A, B, C, "US/thyroid_nodule"]
    assert found["n_train"].to_list() == [900, 40, 10, 3]
    assert found["n"].to_list() == [4, 2, 1, 0]
    assert found["recall"].to_list() == pytest.approx([0.75, 0.5, 0, np.nan], nan_ok=True)
    assert found["precision"].to_list() == pytest.approx([3 / 5, 0.5, np.nan, np.nan], nan_ok=True)
    assert found["top5_recall"].to_list() == pytest.approx([1, 1, 1, np.nan], nan_ok=True)
    assert found["modality"].to_list() == ["MR", "CT", "US", "US"]
    assert found["anatomy"].to_list() == ["knee", "lung", "abdomen/pelvis", "thyroid"]
    known = found.dropna(subset="recall")
    assert (known["recall_low"] <= known["recall"]).all()
    assert (known["recall"] <= known["recall_high"]).all()


def test_recall_and_precision_of_all_classes_are_scikit_learns():
    p, y, table = drawn()
    sizes = pd.Series({f"MR/knee/c{i}": 70 - i for i in range(7)})
    found = scores.per_class(table, sizes)
    said = p.argmax(axis=1)
    assert found["recall"].to_numpy() == pytest.approx(metrics.recall_score(y, said, average=None))
    precision = metrics.precision_score(y, said, average=None)
    assert found["precision"].to_numpy() == pytest.approx(precision)


@pytest.mark.parametrize("sizes", [{A: 9, B: 9}, {A: 9, B: 9, C: 0}])
def test_a_class_that_nothing_was_trained_on_is_refused(sizes):
    with pytest.raises(ValueError, match="none for 1, such as 'US/liver'"):
        scores.per_class(table(HAND), pd.Series(sizes))


def test_the_165_classes_lie_in_the_papers_eleven_groups():
    from rin import published

    classes = published.classes()
    found = [scores.place(label) for label in classes["label"]]
    assert found == list(zip(classes["modality"], classes["group"], strict=True))
    for label in ("benign", "a/b/c", "CT/lung", "US/a/b", "MR/knee/a/b"):
        assert scores.place(label) == ("unknown", "unknown")


def test_rows_of_the_confusion_sum_to_1_in_the_papers_order_of_groups():
    found = scores.confusion(table([*HAND, (A, "MR/knee/mcl_pathology", 1)]))
    assert list(found.index) == list(found.columns) == ["CT lung", "US abdomen/pelvis", "MR knee"]
    assert found.loc["MR knee"].to_list() == pytest.approx([1 / 5, 0, 4 / 5])
    assert found.loc["CT lung"].to_list() == pytest.approx([1 / 2, 0, 1 / 2])
    assert found.sum(axis=1).to_list() == pytest.approx([1, 1, 1])


def test_the_confusion_of_classes_is_scikit_learns():
    p, y, table = drawn()
    found = scores.confusion(table, by="class")
    expected = metrics.confusion_matrix(y, p.argmax(axis=1), normalize="true")
    assert found.to_numpy() == pytest.approx(expected)


def test_a_class_without_images_has_no_shares():
    found = scores.confusion(table([(A, A, 0), (A, B, 1)]), by="class")
    assert found.loc[B].isna().all() and found.loc[A].to_list() == [0.5, 0.5]
    with pytest.raises(ValueError, match="`by` should be one of"):
        scores.confusion(table(HAND), by="modality")


def test_the_most_frequent_confusions_come_first():
    found = scores.confused(table([*HAND, (B, A, 1)]))
    assert found[["y_true", "y_pred", "n", "n_true"]].to_numpy().tolist() == [
        [B, A, 2, 3],
        [A, B, 1, 4],
        [C, A, 1, 1],
    ]
    assert found["share"].to_list() == pytest.approx([2 / 3, 1 / 4, 1])
    assert len(scores.confused(table(HAND), n=1)) == 1
    assert scores.confused(table([(A, A, 0)])).empty


def test_our_numbers_stand_beside_the_published_ones():
    report = scores.report(table(HAND), n_classes=165)
    found = scores.beside_published(report, "resnet50", phantom=False, n_classes=165)
    assert found["published"].to_dict() == {"top1": 0.723, "top5": 0.941}
    assert found["difference"].to_list() == pytest.approx([4 / 7 - 0.723, 1 - 0.941])


@pytest.mark.parametrize(("phantom", "n_classes"), [(True, 165), (False, 9), (True, 9)])
def test_nothing_published_stands_beside_phantoms_or_other_classes(phantom, n_classes):
    report = scores.report(table(HAND))
    found = scores.beside_published(report, "resnet50", phantom=phantom, n_classes=n_classes)
    assert list(found.columns) == ["estimate", "low", "high", "n"]
    assert found["estimate"].to_list() == pytest.approx([4 / 7, 1])


def test_a_backbone_without_published_numbers_is_refused():
    with pytest.raises(ValueError, match="`backbone` should be one of .*'vgg16'"):
        scores.beside_published(scores.report(table(HAND)), "vgg16", phantom=False, n_classes=165)


def test_neither_scores_nor_their_figures_import_a_backend():
    code = (
        "import sys, rin.pretraining.scores, rin.figures.pretraining\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
