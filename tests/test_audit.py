"""The audit: duplicates by rule, groups that join them, leaks across sets."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rin import audit, images, manifest, splits


def table(names, **columns):
    labels = {"image": names, "label": ["x", "y"] * (len(names) // 2) + ["x"] * (len(names) % 2)}
    return manifest.validate(pd.DataFrame(labels | columns))


@pytest.fixture
def root(tmp_path):
    """`a` and its exact copy, a near copy, and two others: smooth pictures, like real ones."""
    for seed, name in enumerate("acd"):
        noise = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
        Image.fromarray(noise).resize((96, 80), Image.Resampling.BICUBIC).save(
            tmp_path / f"{name}.png"
        )
    with Image.open(tmp_path / "a.png") as picture:
        picture.save(tmp_path / "b.bmp")
        picture.point(lambda value: value * 0.9).save(tmp_path / "near.png")
    return tmp_path


NAMES = ["a.png", "b.bmp", "c.png", "d.png", "near.png"]


@pytest.mark.parametrize("modality", [None, "US", "CT"])
def test_exact_and_near_duplicates_are_found(root, modality):
    pairs = audit.duplicates(table(NAMES, modality=modality), root)
    found = {(row.image_a, row.image_b): row.kind for row in pairs.itertuples()}
    assert found == {
        ("a.png", "b.bmp"): "exact",
        ("a.png", "near.png"): "near",
        ("b.bmp", "near.png"): "near",
    }
    exact = pairs.iloc[0]
    assert (exact.label_a, exact.label_b, exact.distance) == ("x", "y", 0)
    assert exact.correlation == pytest.approx(1, abs=1e-4)


def test_shuffled_rows_give_the_same_pairs_and_groups(root):
    frame = table(NAMES)
    shuffled = manifest.validate(frame.sample(frac=1, random_state=2))
    first, again = (audit.duplicates(f, root) for f in (frame, shuffled))
    pd.testing.assert_frame_equal(first, again)
    assert audit.group(frame, first).equals(audit.group(shuffled, again))


def test_ultrasound_has_a_rule_of_its_own():
    assert audit.rule_of(table(NAMES, modality="US")) is audit.RULES["US"]
    mixed = table(NAMES, modality=["US", "CT", "US", "US", "US"])
    assert audit.rule_of(mixed) is audit.rule_of(table(NAMES)) is audit.RULES["default"]


def test_flat_images_of_different_value_are_no_duplicates(tmp_path):
    for value in (0, 90, 200):
        Image.new("L", (32, 32), value).save(tmp_path / f"{value}.png")
    assert audit.duplicates(table(["0.png", "90.png", "200.png"]), tmp_path).empty


def test_pairs_are_found_across_blocks(root, monkeypatch):
    whole = audit.duplicates(table(NAMES), root)
    monkeypatch.setattr(audit, "BLOCK", 2)
    pd.testing.assert_frame_equal(audit.duplicates(table(NAMES), root), whole)


def test_unreadable_images_stop_the_audit_or_are_left_out(root):
    (root / "c.png").write_bytes(b"")
    with pytest.raises(images.ImageError, match="c.png"):
        audit.duplicates(table(NAMES), root)
    assert len(audit.duplicates(table(NAMES), root, on_bad_image="skip")) == 3
    with pytest.raises(ValueError, match="`on_bad_image` should be stop or skip"):
        audit.duplicates(table(NAMES), root, on_bad_image="ignore")
    with pytest.raises(images.ImageError, match="c.png"):
        audit.duplicates(table(["c.png"]), root, on_bad_image="skip")


def test_duplicates_join_their_patients_into_one_group(root):
    frame = table(NAMES, patient=["p1", "p2", "p2", "p3", None])
    grouped = audit.group(frame, audit.duplicates(frame, root))
    assert list(grouped["group"]) == ["g0001", "g0001", "g0001", "g0002", "g0001"]
    assert manifest.validate(grouped).equals(grouped)


def test_without_pairs_every_patient_is_a_group(root):
    frame = table(NAMES[2:4])
    pairs = audit.duplicates(frame, root)
    assert pairs.empty and list(audit.group(frame, pairs)["group"]) == ["g0001", "g0002"]


def test_a_chain_through_too_many_images_is_refused():
    names = [f"{n:02d}.png" for n in range(30)]
    chain = pd.DataFrame({"image_a": names[:-1], "image_b": names[1:]})
    with pytest.raises(ValueError, match="30 of 30 images .* at most 20 .* threshold does not fit"):
        audit.group(table(names), chain)
    audit.group(table(names), chain[:19])


def test_a_leak_is_reported_with_its_counts_and_labels():
    frame = table(NAMES, group=["g1", "g1", "g1", "g2", None])
    frame["split_0"] = ["train", "test", "test", "val", "test"]
    frame["split_1"] = ["test"] * 3 + ["train"] * 2
    assert audit.leaks(frame).to_dict("records") == [
        {"fold": 0, "group": "g1", "n_train": 1, "n_val": 0, "n_test": 2, "labels": "x y"}
    ]
    assert audit.leaks(frame.drop(columns=["split_0", "split_1"])).empty


def test_busi_holds_one_image_under_two_labels_and_keeps_it_in_one_group(busi, busi_pairs):
    across = busi_pairs[busi_pairs["label_a"] != busi_pairs["label_b"]]
    (twice,) = across[across["kind"] == "exact"].itertuples()
    assert twice.image_a.endswith("benign (433).png")
    assert twice.image_b.endswith("malignant (145).png")
    group = busi.set_index("image")["group"]
    assert (group[busi_pairs["image_a"]].array == group[busi_pairs["image_b"]].array).all()


def test_246_official_busi_test_images_have_a_twin_in_training(busi, busi_pairs):
    split = splits.assign(busi, "official").set_index("image")
    a, b = busi_pairs["image_a"], busi_pairs["image_b"]
    twins = pd.DataFrame({"image": [*a, *b], "other": [*b, *a]})
    n_leaking = [
        twins.loc[
            (split[c][twins.image] == "test").array & (split[c][twins.other] == "train").array
        ].image.nunique()
        for c in manifest.split_columns(split)
    ]
    assert sum(n_leaking) == 246 and min(n_leaking) == 45 and max(n_leaking) == 57
    assert not audit.leaks(split.reset_index()).empty
