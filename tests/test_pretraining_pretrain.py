import json

import numpy as np
import pandas as pd
import pytest
import tiny_network
from test_pretraining_fitting import make_data, make_recipe

from rin import backbones, records, weights
from rin.pretraining import card as cards
from rin.pretraining import pretrain as pretraining
from rin.pretraining.checkpoint import CheckpointError
from rin.pretraining.pretrain import pretrain, read


class Three:
    """A database of three classes, as `rin.pretraining.database.prepare` would give it."""

    classes, phantom, protocol = ("CT/lung/a", "CT/lung/b", "US/c"), True, "blocks"

    def __init__(self, data=None):
        self.data = data or make_data()


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    row = backbones.Backbone(tiny_network.build, 8, "tf", "second", "Tiny")
    monkeypatch.setitem(backbones.BACKBONES, "tiny", row)


def run(folder, **given):
    return pretrain(Three(), "tiny", make_recipe(**given), folder)


def test_what_comes_out_is_an_init_whose_card_tells_how_it_was_fed(tmp_path):
    made = run(tmp_path, preprocess="signed_bgr")
    base = backbones.build_base("tiny", 32)
    before = [v.numpy() for v in base.weights]
    report = weights.load(base, made.weights, backbone="tiny")
    assert report.n_tensors == 4
    assert any((a != b.numpy()).any() for a, b in zip(before, base.weights, strict=True))
    assert weights.native(made.weights, "tiny") == "signed_bgr"
    assert cards.verify(tmp_path, made.card) == {} and made.card.phantom
    assert made.card.n_images == {"train": 36, "val": 12, "test": 12}


def test_tables_hold_every_val_and_test_image_and_the_kept_epochs_scores(tmp_path):
    made = run(tmp_path)
    assert made.predictions.groupby("split").size().to_dict() == {"test": 12, "val": 12}
    assert set(made.predictions.y_true) <= set(Three.classes)
    kept = made.record["result"]["epoch"]
    val = made.record["result"]["metrics"]["val"]
    assert val["top1"] == pytest.approx(made.history.val_top1[kept], abs=1e-6)
    assert made.record["result"]["n_updates"] == 8


def test_a_finished_pretraining_is_read_again(tmp_path, monkeypatch):
    first = run(tmp_path)
    monkeypatch.setattr(pretraining, "Fit", None)  # would fail
    again = run(tmp_path)
    pd.testing.assert_frame_equal(first.predictions, again.predictions)
    assert not (tmp_path / "tiny" / "checkpoint.npz").exists()


def test_a_finished_one_of_other_parameters_is_named_and_left_alone(tmp_path):
    run(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(CheckpointError, match=r"weight_decay: 0.05 there, 0.1 here"):
        run(tmp_path, weight_decay=0.1)
    assert before == {f.name: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}


def test_a_lost_weight_file_is_made_again(tmp_path):
    made = run(tmp_path)
    content = made.weights.read_bytes()
    made.weights.unlink()
    assert run(tmp_path).weights.read_bytes() == content


def test_the_same_parameters_give_the_same_files(tmp_path):
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    assert a.weights.read_bytes() == b.weights.read_bytes()
    pd.testing.assert_frame_equal(a.predictions, b.predictions)


def test_records_of_pretraining_are_no_training_runs(tmp_path):
    run(tmp_path)
    assert records.training_runs(tmp_path).empty


def test_no_path_and_no_name_of_a_machine_stands_in_record_or_card(tmp_path):
    made = run(tmp_path)
    text = json.dumps(made.record) + (tmp_path / made.record["files"]["card"]).read_text()
    assert str(tmp_path) not in text


def test_without_a_pretraining_there_is_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished pretraining"):
        read(tmp_path, "tiny")


def test_policies_reach_the_batches(tmp_path):
    plain = run(tmp_path / "plain").history.loss[0]
    mixed = run(tmp_path / "mixed", policies=("mix_up",)).history.loss[0]
    assert np.isfinite(mixed) and mixed != plain
