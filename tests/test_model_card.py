"""A model card says what a network is and is not, and names no patient, no file and no machine."""

import dataclasses
import json

import pandas as pd
import pytest
import tiny_export
import tiny_network

from rin import model_card, model_facts, records

FACTS = {
    "task": "breast",
    "backbone": "resnet50",
    "classifier": "gap",
    "init": "imagenet",
    "preprocess": "official",
    "scenario": "resnet50-head-1e-03",
    "trainable": "head",
    "learning_rate": 1e-3,
    "fold": 0,
    "seed": 0,
    "batch_size": 64,
}


@pytest.fixture(scope="module")
def network():
    return tiny_network.build(False, None, (32, 32, 3), "avg")


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    return tiny_export.prepared(tmp_path_factory.mktemp("breast"))


def finished(folder, ready, diverged=False, phantom=None, objective="official", **run):
    """A run folder with eight test predictions, written by hand."""
    rows = {
        "row": range(8),
        "image_id": [f"{i:016x}" for i in range(8)],
        "group": list("aabcdefg"),
        "split": "test",
        "y_true": [0, 0, 0, 0, 1, 1, 1, 1],
        "y_score": [0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.8, 0.9],
    }
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_parquet(folder / "predictions.parquet")
    counts = {"n_train": 40, "n_val": 8, "n_test": 8, "best_epoch": 3, "diverged": diverged}
    facts = {"kind": "training", "fingerprint": "0" * 16, "run": FACTS | run, "result": counts}
    facts |= {"data_fingerprint": ready.data.fingerprint, "fed": "official"}
    facts["settings"] = {"objective": objective} if objective else {}
    facts |= {} if phantom is None else {"phantom": phantom}
    records.write(folder, facts | {"init_fingerprint": "imagenet"})
    return folder


@pytest.fixture
def card(tmp_path, ready, network):
    return model_facts.make(finished(tmp_path / "run", ready), network, ready)


def test_a_card_names_task_classes_modality_and_counts(card, ready):
    assert card["use"]["classes"] == ["benign", "malignant"]
    assert (card["use"]["modality"], card["use"]["anatomy"]) == (["US"], ["breast"])
    held = (ready.manifest["split_0"] == "train").to_numpy()
    assert card["data"]["train"]["images"] == held.sum()
    positive = (ready.manifest["label"][held] == "malignant").sum()
    assert card["data"]["train"]["positive images"] == positive
    assert card["data"]["train"]["patients"] == "not known"
    assert card["network"]["parameters"] == network_size()
    assert card["network"]["image_size"] == 32 and card["network"]["window"] is None


def test_what_training_images_hold_beside_their_scan_stands_on_it(tmp_path, card, ready, network):
    assert card["network"]["outside"] is None
    black = dataclasses.replace(ready, manifest=ready.manifest.assign(outside="black"))
    found = model_facts.make(finished(tmp_path / "black", ready), network, black)
    assert found["network"]["outside"] == "black"


def network_size():
    return (5 * 5 * 3 + 1) * 6 + (3 * 3 * 6 + 1) * 8


def test_the_terms_of_images_and_init_stand_on_it(card):
    assert "ImageNet's terms apply" in card["network"]["init terms"]
    assert "CC BY 4.0" in card["data"]["terms"]
    said = " ".join(card["limits"])
    assert "Not a medical device" in said and "may memorize training images" in said
    assert "no number here is a finding" in card["limits"][0]


def test_an_init_from_a_file_points_to_its_own_card(tmp_path, ready, network):
    home = finished(tmp_path / "run", ready, init="mine-0a1b2c")
    made = model_facts.make(home, network, ready)
    assert "its own card" in made["network"]["init terms"]


def test_test_scores_come_with_interval_and_calibration(card):
    test = card["test"]
    assert test["AUC"] == 14 / 16 and (test["images"], test["groups"]) == (8, 7)
    low, high = test["AUC, 95% interval"]
    assert low < 14 / 16 <= high
    low, high = test["calibration"]["slope, 95% interval"]
    assert low < test["calibration"]["slope"] < high
    assert test["at threshold 0.5"]["sensitivity"] == 0.75


def test_scores_that_separate_the_classes_have_no_calibration_and_it_says_so(
    tmp_path, ready, network
):
    home = finished(tmp_path / "run", ready)
    rows = pd.read_parquet(home / "predictions.parquet")
    rows.assign(y_score=0.2 + 0.6 * rows["y_true"]).to_parquet(home / "predictions.parquet")
    made = model_facts.make(home, network, ready)
    assert made["test"]["calibration"].startswith("not measured: ")


def test_subgroups_are_not_known_unless_the_manifest_has_them(tmp_path, ready, network, card):
    assert set(card["data"]["subgroups"].values()) == {"not known"}
    sites = ready.manifest.assign(site=["A", "B"] * (len(ready.manifest) // 2))
    told = dataclasses.replace(ready, manifest=sites)
    found = model_facts.make(finished(tmp_path / "run", ready), network, told)
    assert found["data"]["subgroups"]["site"].startswith("recorded, 2 values")
    assert found["data"]["subgroups"]["age"] == "not known"


def test_a_card_without_the_images_says_what_it_does_not_know(tmp_path, ready, network):
    made = model_facts.make(finished(tmp_path / "run", ready), network)
    assert made["use"]["phantom"] == "not known" and made["use"]["modality"] == ["US"]
    assert made["data"]["images"] == {"train": 40, "val": 8, "test": 8}
    assert made["network"]["interpolation"] == "not known" and made["network"]["window"] is None


@pytest.mark.parametrize("phantom", [True, False])
def test_a_run_knows_by_itself_whether_it_saw_phantoms(tmp_path, ready, network, phantom):
    made = model_facts.make(finished(tmp_path / "run", ready, phantom=phantom), network)
    assert made["use"]["phantom"] is phantom
    assert (model_facts.NOT_A_FINDING in made["limits"]) == phantom


def test_no_image_no_patient_and_no_place_stands_on_a_card(card, ready, tmp_path):
    text = json.dumps(card) + model_card.markdown(card)
    assert not any(mark in text for mark in ready.store.index["image_id"])
    assert not any(name in text for name in ready.manifest["image"])
    assert str(ready.root) not in text and str(tmp_path) not in text
    with pytest.raises(model_card.CardError, match="should hold no path"):
        model_card.plain({"root": "/home/somebody/images"})


def test_a_card_is_read_as_it_was_written(card, tmp_path):
    model_card.write(card, tmp_path)
    assert model_card.read(tmp_path) == card
    assert json.loads((tmp_path / "card.json").read_text()) == card


def test_the_readable_card_holds_every_item_and_every_limit(card):
    text = model_card.markdown(card)
    assert text.startswith("# Model card: Breast lesion malignancy")
    assert all(f"- {sentence}" in text for sentence in card["limits"])
    assert "| AUC | 0.875 |" in text and "| window | not available |" in text
    assert "| subgroups: scanner | not known |" in text


def test_a_table_holds_the_sections_asked_for(card):
    found = model_card.table(card, "test", "use")
    assert list(found["section"].unique()) == ["test", "use"]
    assert found.set_index("item").loc["AUC", "value"] == "0.875"


def test_files_that_changed_or_went_are_named(tmp_path):
    (tmp_path / "a.keras").write_text("a")
    card = {"sha256": {"a.keras": records.sha256(tmp_path / "a.keras"), "b.npz": "0"}}
    assert model_card.verify(tmp_path, card) == {"b.npz": "missing"}
    (tmp_path / "a.keras").write_text("b")
    assert model_card.verify(tmp_path, card)["a.keras"] == "changed"


def test_what_is_no_finished_run_of_these_images_is_refused(tmp_path, ready, network):
    with pytest.raises(model_card.CardError, match="folder of a finished training run"):
        model_facts.make(tmp_path, network)
    home = finished(tmp_path / "run", ready, diverged=True)
    with pytest.raises(model_card.CardError, match="diverged"):
        model_facts.make(home, network)
    finished(home, ready)
    other = dataclasses.replace(ready, manifest=ready.manifest.assign(split_0="train"))
    with pytest.raises(model_card.CardError, match="the data and split of this run"):
        model_facts.make(home, network, other)


def test_a_file_that_is_no_card_is_refused(tmp_path, card):
    with pytest.raises(model_card.CardError, match=r"card\.json: expected a model card in JSON"):
        model_card.read(tmp_path)
    del card["limits"], card["use"]
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(model_card.CardError, match="it has no use, limits"):
        model_card.read(tmp_path)


def test_probabilities_are_called_too_sure_where_two_sigmoids_were_trained(
    ready, network, tmp_path
):
    def warned(**said):
        made = model_facts.make(finished(tmp_path / "run", ready, **said), network, ready)
        return model_facts.DOUBLED in made["limits"]

    assert warned()
    assert not warned(objective="stated") and not warned(classifier="flatten")
    with pytest.raises(model_card.CardError, match="without a record of the objective"):
        warned(objective=None)
