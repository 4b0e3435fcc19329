"""The audit: duplicates by rule, groups that join them, leaks across sets."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rin import audit, datasets, images, manifest, paths, splits
from rin import duplicates as pairing


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


def test_blank_images_are_near_duplicates_of_nothing_but_may_be_exact_ones(tmp_path):
    letter = np.zeros((40, 40), np.uint8)
    letter[2:4, 2:4] = 255  # 4 of 1600 pixels: a burnt-in letter
    ramp = np.tile(np.arange(40, dtype=np.uint8) // 8, (40, 1))  # 0 … 4 grey levels
    shapes = {"black": letter * 0, "copy": letter * 0, "letter": letter, "ramp": ramp}
    shapes["seen"] = np.tile(np.arange(40, dtype=np.uint8) // 6, (40, 1))  # 0 … 6: just enough
    shapes["brighter"] = shapes["seen"] + 100
    for name, pixels in shapes.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    frame = table([f"{name}.png" for name in shapes])
    blank = audit.blank(frame, tmp_path)
    assert list(blank["image"]) == ["black.png", "copy.png", "letter.png", "ramp.png"]
    assert list(blank["span"]) == [0, 0, 0, 4]
    assert blank["image_id"].nunique() == 3 and set(blank["label"]) == {"x", "y"}
    pairs = audit.duplicates(frame, tmp_path)
    assert [(row.image_a, row.image_b, row.kind) for row in pairs.itertuples()] == [
        ("black.png", "copy.png", "exact"),
        ("brighter.png", "seen.png", "near"),
    ]


def test_near_misses_are_marked_and_never_count(root):
    frame = table(NAMES)
    rule = audit.RULES["default"] | {"max_distance": 0, "min_correlation": 0.9999999}
    pairs = audit.duplicates(frame, root, rule, slack=4)
    kept = audit.duplicates(frame, root, rule)
    assert "within" not in kept and list(kept["kind"]) == ["exact"]
    assert list(pairs["within"]) == [True, False, False]
    assert list(pairs.loc[~pairs["within"], "image_b"]) == ["near.png", "near.png"]
    assert audit.group(frame, pairs).equals(audit.group(frame, kept))
    assert audit.clean(frame, pairs).equals(audit.clean(frame, kept))
    everywhere = frame.assign(split_0=["test", "test", "val", "val", "train"])
    assert audit.twins(pairs, everywhere)["n_twins"].tolist() == [0]


def test_prints_made_once_serve_both_questions(root):
    frame = table(NAMES)
    prints = audit.fingerprints(frame, root)
    again = audit.duplicates(frame, root / "nowhere", prints=prints)
    pd.testing.assert_frame_equal(again, audit.duplicates(frame, root))
    assert audit.blank(frame, root / "nowhere", prints=prints).empty
    assert prints.thumbnail.dtype == np.uint8


def test_pairs_are_found_across_blocks(root, monkeypatch):
    whole = audit.duplicates(table(NAMES), root)
    monkeypatch.setattr(pairing, "BLOCK", 2)
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


def a_chain():
    """Thirty images in a chain of near duplicates; the first two are equal; a pair beside it."""
    names = [f"{n:02d}.png" for n in range(40)]
    pairs = pd.DataFrame(
        {"image_a": [*names[:29], names[35]], "image_b": [*names[1:30], names[36]]}
    )
    return table(names), pairs.assign(kind=["exact"] + ["near"] * 29, label_a="x", label_b="y")


def test_a_chain_is_reported_with_its_size_and_labels():
    frame, pairs = a_chain()
    assert audit.chains(frame, pairs).to_dict("records") == [
        {"n_images": 30, "share": 0.75, "labels": "x, y", "n_exact": 1, "n_near": 28}
    ]
    assert audit.chains(frame, pairs[:19]).empty  # twenty images are not too many
    assert list(audit.chains(frame, pairs[:0])) == list(audit.chains(frame, pairs))


def test_a_reported_chain_joins_its_exact_duplicates_only():
    frame, pairs = a_chain()
    left = audit.unchained(frame, pairs)
    assert list(zip(left["image_a"], left["image_b"], strict=True)) == [
        ("00.png", "01.png"),
        ("35.png", "36.png"),
    ]
    grouped = audit.group(frame, pairs, on_chain="report")
    assert grouped["group"].nunique() == 38
    assert grouped.attrs["chains"][0]["n_images"] == 30
    with pytest.raises(ValueError, match="chains of near duplicates"):
        audit.group(frame, pairs)
    with pytest.raises(ValueError, match="`on_chain` should be stop or report"):
        audit.group(frame, pairs, on_chain="ignore")


def test_the_clean_arm_leaves_out_both_sides_of_a_conflict_and_counts_them(root):
    frame = table(NAMES)  # labels x y x y x: a and near are x, their duplicate b is y
    frame.attrs["excluded"] = {"no file": {"n": 1, "examples": ["z.png"]}}
    kept = audit.clean(frame, audit.duplicates(frame, root))
    assert list(kept["image"]) == ["c.png", "d.png"]
    assert kept.attrs["excluded"] == {
        "no file": {"n": 1, "examples": ["z.png"]},
        audit.CONFLICT: {"n": 3, "examples": ["a.png", "b.bmp", "near.png"]},
    }
    agreed = frame.assign(label="x")
    assert audit.clean(agreed, audit.duplicates(agreed, root)).equals(agreed)


def test_pairs_are_counted_by_kind_label_and_set(root):
    frame = table(NAMES)
    pairs = audit.duplicates(frame, root)  # a = b (x, y); a ~ near (x, x); b ~ near (y, x)
    frame["split_0"] = ["train", "test", "val", "val", "train"]
    frame["split_1"] = ["train", "train", "val", "val", "val"]
    counts = audit.across(pairs, frame).set_index(["fold", "kind", "labels"])
    expected = {
        (0, "exact", "same"): (0, 0, 0),
        (0, "exact", "other"): (0, 1, 1),
        (0, "near", "same"): (1, 0, 0),
        (0, "near", "other"): (0, 1, 1),
        (1, "exact", "same"): (0, 0, 0),
        (1, "exact", "other"): (1, 0, 0),
        (1, "near", "same"): (0, 1, 0),
        (1, "near", "other"): (0, 1, 0),
    }
    assert {key: tuple(row) for key, row in counts.iterrows()} == expected
    assert audit.twins(pairs, frame).to_dict("records") == [
        {"fold": 0, "n_test": 1, "n_twins": 1, "n_other_label": 1},
        {"fold": 1, "n_test": 0, "n_twins": 0, "n_other_label": 0},
    ]
    without = frame[frame["image"] != "b.bmp"]
    assert audit.across(pairs, without)[["one_set", "across_sets"]].sum().tolist() == [1, 1]


def test_a_sample_takes_whole_patients_and_is_the_same_for_a_seed():
    names = [f"{n:02d}.png" for n in range(40)]
    frame = table(names, patient=[f"p{n // 4}" for n in range(40)])
    part = audit.sample(frame, 10, seed=1)
    assert len(part) == 12 and (part.groupby("patient").size() == 4).all()
    assert part.equals(audit.sample(frame, 10, seed=1))
    assert not part.equals(audit.sample(frame, 10, seed=2))
    assert len(audit.sample(table(names), 10)) == 10
    assert audit.sample(frame, 0) is frame and audit.sample(frame, 99) is frame


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


def test_busi_holds_no_blank_image_and_its_clean_arm_766_images(busi, busi_pairs, project_data):
    assert audit.blank(busi, project_data("busi")).empty
    assert len(audit.clean(busi, busi_pairs)) == 766


def test_246_official_busi_test_images_have_a_twin_in_training(busi, busi_pairs):
    split = splits.assign(busi, "official")
    twins = audit.twins(busi_pairs, split)
    assert twins["n_test"].tolist() == [156] * 5 and twins["n_twins"].sum() == 246
    assert (twins["n_twins"].min(), twins["n_twins"].max()) == (45, 57)
    assert not audit.leaks(split).empty


# patients


def linked(*near, exact=()):
    """Pairs of the images `0.png`, `1.png`, …"""
    rows = [(a, b, kind) for kind, part in (("near", near), ("exact", exact)) for a, b in part]
    names = [(f"{a}.png", f"{b}.png", kind, "x", "y") for a, b, kind in rows]
    columns = ["image_a", "image_b", "kind", "label_a", "label_b"]
    return pd.DataFrame(names, columns=columns)


def of_patients(*patients):
    return table([f"{n}.png" for n in range(len(patients))], patient=list(patients))


@pytest.mark.parametrize(
    "what, pairs, n_groups, n_chains",
    [
        ("two patients", linked((0, 2)), 5, 0),
        ("within a patient", linked((0, 1)), 6, 0),
        ("a like b, b like c", linked((0, 2), (2, 3)), 6, 1),
        ("by another image of b", linked((0, 3), (4, 5)), 5 - 1, 0),
        ("through images of one patient", linked((2, 0), (1, 3)), 6, 1),
        ("all three alike", linked((0, 2), (2, 3), (0, 3)), 4, 0),
        (
            "six alike",
            linked(*[(a, b) for b in (2, 3, 4, 5, 6) for a in (0, 2, 3, 4, 5) if a < b]),
            6,
            1,
        ),
        ("exact ones always join", linked(exact=[(0, 2), (2, 3), (3, 4), (4, 5), (5, 6)]), 1, 0),
        ("exact ones are one patient", linked((3, 4), (2, 4), exact=[(2, 3)]), 4, 0),
        ("and join even in a chain", linked((0, 2), (3, 4), exact=[(2, 3)]), 5, 1),
    ],
)
def test_near_duplicates_join_patients_who_are_all_alike_and_five_at_most(
    what, pairs, n_groups, n_chains
):
    frame = of_patients("a", "a", "b", "c", "d", "e", "f")
    grouped = audit.group(frame, pairs)
    assert (grouped["group"].nunique(), len(grouped.attrs["chains"])) == (n_groups, n_chains), what
    assert len(audit.chains(frame, pairs)) == n_chains
    assert (grouped.groupby("patient")["group"].nunique() == 1).all()


def test_an_image_of_no_known_patient_does_not_chain_two_patients():
    frame = of_patients("a", None, "b", None)
    assert audit.group(frame, linked((0, 1), (1, 2)))["group"].nunique() == 4
    assert audit.group(frame, linked((0, 1), (1, 3)))["group"].nunique() == 2
    with pytest.raises(ValueError, match="3 of 4 images .* patients all alike expected"):
        audit.group(frame, linked((0, 1), (1, 2)), on_chain="stop")


def test_the_reader_prints_chains_and_leaves_them_apart(tmp_path, draw, monkeypatch, capsys):
    for n in range(4):
        draw(tmp_path / "xy"[n % 2] / f"p{n}.png", n)
    pairs = linked((0, 1), (1, 2)).replace(
        {f"{n}.png": f"{'xy'[n % 2]}/p{n}.png" for n in range(4)}
    )
    monkeypatch.setattr(audit, "duplicates", lambda *_, **__: pairs)
    frame = datasets.read("folder", tmp_path, patient=r"(p\d)")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("folder: chains of near duplicates, left apart: 1, with 2 pairs among 3")
    assert frame["group"].equals(frame["patient"]) and len(frame.attrs["chains"]) == 1


def test_a_hash_alone_pairs_ultrasound_only_where_no_patient_is_known(tmp_path):
    rows = np.random.default_rng(3).integers(0, 200, (2, 64, 1))
    for name, offsets in zip("ab", rows, strict=True):  # brighter to the right in every row
        pixels = np.clip(offsets + np.arange(64) * 0.8, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    frame = table(["a.png", "b.png"], modality="US")
    (pair,) = audit.duplicates(frame, tmp_path).itertuples()
    assert pair.kind == "near" and pair.correlation < 0.95
    known = table(["a.png", "b.png"], modality="US", patient=["p", "q"])
    assert audit.duplicates(known, tmp_path).empty
    assert audit.rule_of(known) == audit.RULES["US"] | {"min_correlation": 0.95}


def test_exact_duplicates_alone_are_found_without_comparing(root):
    found = audit.exact(table(NAMES), root)
    assert found[["image_a", "image_b", "kind"]].to_numpy().tolist() == [
        ["a.png", "b.bmp", "exact"]
    ]
    (root / "c.png").write_bytes(b"")
    with pytest.raises(images.ImageError, match="c.png"):
        audit.exact(table(NAMES), root)
    assert len(audit.exact(table(NAMES), root, on_bad_image="skip")) == 1


@pytest.mark.parametrize("written", [["P1", "P1 "], [3, 3.0], ["e\u0301", "\u00e9"]])
def test_a_leak_is_seen_in_a_manifest_made_by_hand(written):
    by_hand = pd.DataFrame({"image": ["a", "b"], "label": ["x", "y"]})
    by_hand["split_0"] = ["train", "test"]
    named = pd.Series(written, dtype=object)
    for columns in (
        {"group": named},
        {"patient": named, "group": pd.NA},
        {"patient": named, "group": ["g1", "g2"]},
    ):
        assert len(audit.leaks(by_hand.assign(**columns))) == 1
    assert len(audit.leaks(by_hand.assign(patient=named), by="patient")) == 1
    assert audit.leaks(by_hand.assign(group=["3", "03"])).empty


def test_ddti_joins_its_cases_by_exact_copies_alone(project_data):
    root = project_data("ddti")
    files = sorted(root.glob("**/*.jpg"))
    frame = pd.DataFrame({"image": [file.relative_to(root).as_posix() for file in files]})
    case = [file.stem.split("_")[0] for file in files]
    frame = manifest.validate(frame.assign(label="x", patient=case, modality="US"), root)
    pairs = audit.duplicates(frame, root)
    grouped = audit.group(frame, pairs)
    assert frame["patient"].nunique() - grouped["group"].nunique() == 4 + 1
    of_case = grouped.drop_duplicates("patient").set_index("patient")["group"]
    assert of_case[["150", "233", "323", "326", "349"]].nunique() == 1
    assert of_case["353"] == of_case["396"] and grouped.attrs["chains"] == []


def test_the_errata_say_how_many_pediatric_twins_remain(project_data):
    root = project_data("kermany")
    frame = datasets.read("pediatric", root, duplicates=False)
    pairs = audit.duplicates(frame, root)
    twins = [
        audit.twins(pairs, splits.assign(one, "5-fold"))["n_twins"].sum()
        for one in (frame, datasets.read("pediatric", root))
    ]
    said = f"{twins[0]} of {len(frame):,} test images have a near twin of another patient"
    page = (paths.root() / "book" / "errata.md").read_text(encoding="utf-8")
    assert said in page and f"with duplicates joined too {twins[1]}, of a" in page
