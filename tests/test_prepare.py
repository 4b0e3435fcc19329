"""Preparing a task: what is joined with what, what is refused, and what the fingerprint sees."""

import numpy as np
import pandas as pd
import pytest

from rin import audit, datasets, images, manifest, paths, prepare, splits

pytestmark = pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")
PATIENT = {"patient": r"^(p\d+)_"}
OWN = {"image_size": 16, "protocol": "75/10/15", "options": PATIENT}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project in which stores and phantoms are written."""
    monkeypatch.setattr(paths, "root", lambda: tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def own(tmp_path, draw):
    """`own("a", "b")`: a folder of 36 small images a class, two a patient."""

    def folder(*classes, home="own", order=1):
        root = tmp_path / home
        made = [(name, n) for name in classes for n in range(36)]
        for name, n in made[::order]:
            seed = 100 * classes.index(name) + n
            draw(root / name / f"p{seed // 2}_{n}.png", seed)
        return root

    return folder


BINARY = sorted(name for name in datasets.PHANTOM_TASKS if datasets.TASKS[name].classes)


@pytest.fixture(scope="module", params=BINARY)
def phantoms_ready(request, tmp_path_factory):
    """The phantoms of a task, prepared."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("project")
        patch.setattr(paths, "root", lambda: home)
        return prepare.prepare(request.param, n_phantoms=160, image_size=32)


def test_phantoms_go_from_files_to_arrays(phantoms_ready):
    ready, data = phantoms_ready, phantoms_ready.data
    assert ready.phantom and data.phantom and len(ready.manifest) > 60 and ready.store.bad == {}
    assert data.images.shape == (len(ready.manifest), 32, 32) and data.images.dtype == np.uint8
    n_folds = {"5-fold": 5, "75/10/15": 1}[ready.task.protocol]
    assert data.splits.shape == (len(ready.manifest), n_folds)
    assert set(data.y) == {0, 1} and ready.classes == ready.task.classes
    assert len(data.fingerprint) == 16 and int(data.fingerprint, 16) >= 0
    assert audit.leaks(ready.manifest).empty


def test_every_row_is_the_same_image_in_every_field(phantoms_ready):
    ready, data = phantoms_ready, phantoms_ready.data
    for row in (0, 17, len(data.y) - 1):
        item = ready.manifest.iloc[row]
        image = images.opener(ready.manifest, ready.root)(item["image"])
        assert (data.images[row] == images.resize(image, 32)).all()
        assert data.image_ids[row] == images.image_id(image)
        assert ready.classes[data.y[row]] == item["label"]
        assert list(data.splits[row]) == list(item[manifest.split_columns(ready.manifest)])


def test_no_group_straddles_two_sets_in_the_arrays(phantoms_ready):
    data = phantoms_ready.data
    for fold in data.splits.T:
        sets = pd.Series(fold).groupby(data.groups).nunique()
        assert (sets == 1).all()


def test_an_image_alone_is_its_own_group(project, own):
    ready = prepare.prepare("folder", own("a", "b"), **OWN | {"options": {}})
    frame = ready.manifest.assign(group=ready.manifest["group"].mask(ready.manifest.index > 1))
    data = prepare.Data.from_manifest(frame, ready.store, ready.classes)
    assert list(data.groups[2:]) == list(data.image_ids[2:])
    assert list(data.groups[:2]) == list(ready.manifest["group"][:2])
    assert pd.isna(data.patients).all()


def test_mismatched_rows_are_refused(project, own):
    ready = prepare.prepare("folder", own("a", "b"), **OWN)
    for frame in (ready.manifest.iloc[::-1], ready.manifest.iloc[1:]):
        with pytest.raises(ValueError, match="the manifest's rows are not the store's"):
            prepare.Data.from_manifest(frame, ready.store, ready.classes)


def test_unknown_labels_are_refused(project, own):
    ready = prepare.prepare("folder", own("a", "b"), **OWN)
    with pytest.raises(ValueError, match=r"labels should be among \['a', 'c'\]. Received: \['b'\]"):
        prepare.Data.from_manifest(ready.manifest, ready.store, ("a", "c"))


def test_the_positive_class_of_own_images_can_be_named(project, own):
    root = own("cancer", "healthy")
    last = prepare.prepare("folder", root, **OWN)
    named = prepare.prepare("folder", root, positive="cancer", **OWN)
    assert last.classes == ("cancer", "healthy") and named.classes == ("healthy", "cancer")
    assert (named.data.y == 1 - last.data.y).all() and not named.phantom
    assert named.data.fingerprint != last.data.fingerprint
    with pytest.raises(ValueError, match="`positive` should be one of .*'tumor'"):
        prepare.prepare("folder", root, positive="tumor", **OWN)


def test_three_classes_are_refused(project, own):
    with pytest.raises(ValueError, match="two classes are expected, found 3: a, b, c"):
        prepare.prepare("folder", own("a", "b", "c"), **OWN)


def test_the_fingerprint_changes_with_split_seed_and_size(project, own):
    root = own("a", "b")
    changes = [{}, {"seed": 1}, {"image_size": 17}, {"interpolation": "nearest"}]
    changes += [{"protocol": "5-fold"}]
    found = [prepare.prepare("folder", root, **OWN | one).data.fingerprint for one in changes]
    assert len(set(found)) == len(changes)
    assert prepare.prepare("folder", root, **OWN).data.fingerprint == found[0]


def test_the_fingerprint_does_not_see_the_order_of_files(project, own):
    first = prepare.prepare("folder", own("a", "b"), **OWN).data
    root = own("a", "b", home="reversed", order=-1)
    assert prepare.prepare("folder", root, **OWN).data.fingerprint == first.fingerprint
    rows = [
        {"image": f"{file.parent.name}/{file.name}", "label": file.parent.name}
        | {"patient": file.name.split("_")[0]}
        for file in sorted(root.rglob("*.png"))
    ]
    options = {"csv": "list.csv", "patient": "patient"}
    for order in (1, -1):
        pd.DataFrame(rows[::order]).to_csv(root / "list.csv", index=False)
        again = prepare.prepare("csv", root, **OWN | {"options": options})
        assert again.data.fingerprint == first.fingerprint


@pytest.mark.parametrize("options", [PATIENT, {}], ids=["patients", "duplicates"])
def test_a_truncated_image_is_left_out_everywhere(project, own, options):
    root = own("a", "b")
    file = sorted(root.glob("b/*.png"))[5]
    file.write_bytes(file.read_bytes()[:120])
    name = file.relative_to(root).as_posix()
    settings = OWN | {"options": options}
    ready = prepare.prepare("folder", root, on_bad_image="skip", **settings)
    assert list(ready.store.bad) == [name] and name not in set(ready.manifest["image"])
    assert list(ready.manifest["image"]) == list(ready.store.index["image"])
    assert len(ready.data.images) == len(ready.data.y) == 71
    for row, image in enumerate(ready.manifest["image"]):
        assert (ready.data.images[row] == images.resize(images.load(root / image), 16)).all()
    with pytest.raises(images.ImageError, match=file.name):
        prepare.prepare("folder", root, **settings)


def test_the_manifest_is_split_by_the_protocol_asked_for(project, own):
    root = own("a", "b")
    assert prepare.prepare("folder", root, **OWN).data.splits.shape == (72, 1)
    five = prepare.prepare("folder", root, image_size=16, options=PATIENT)
    assert five.data.splits.shape == (72, 5)
    assert manifest.split_columns(five.manifest) == [f"split_{fold}" for fold in range(5)]
    with pytest.raises(ValueError, match="`protocol` should be one of"):
        prepare.prepare("folder", root, **OWN | {"protocol": "10-fold"})
    assert set(splits.PROTOCOLS) == {"5-fold", "75/10/15", "official", "site-held-out"}


def test_hashes_are_kept_beside_the_stored_images(project, own, monkeypatch):
    root = own("a", "b")
    first = prepare.prepare("folder", data_dir=root, **OWN)
    assert list(first.store.folder.glob("prints-16-*.npz"))

    def never(*_):
        raise AssertionError("an image was decoded again")

    monkeypatch.setattr(images, "load", never)
    again = prepare.prepare("folder", data_dir=root, **OWN)
    pd.testing.assert_frame_equal(again.manifest, first.manifest)
    assert again.data.fingerprint == first.data.fingerprint


def test_patients_who_share_an_image_stay_in_one_set_also_above_the_limit(
    project, own, draw, monkeypatch, capsys
):
    root = own("a", "b")
    for n in range(12):  # images of one patient under the name of another
        draw(root / "b" / f"q{n}_0.png", seed=2 * n)
    options = OWN | {"options": {"patient": r"^([pq]\d+)_"}}
    for limit in (audit.NEAR_LIMIT, 50):
        monkeypatch.setattr(audit, "NEAR_LIMIT", limit)
        ready = prepare.prepare("folder", data_dir=root, **options)
        assert ready.manifest["group"].nunique() == ready.manifest["patient"].nunique() - 12
        pairs = audit.exact(ready.manifest, root)
        assert len(pairs) == 12 and audit.twins(pairs, ready.manifest)["n_twins"].sum() == 0
        assert ("near ones looked for only" in capsys.readouterr().out) == (limit == 50)


def test_the_clean_arm_is_stored_without_its_conflicts(project, own, draw):
    root = own("a", "b")
    draw(root / "b" / "p900_0.png", seed=0)  # stands in class a as well
    options = OWN | {"options": PATIENT | {"clean": True}}
    ready = prepare.prepare("folder", data_dir=root, **options)
    assert len(ready.manifest) == len(ready.store.index) == len(ready.store.array) == 71
    assert ready.manifest.attrs["excluded"][audit.CONFLICT]["n"] == 2
    assert ready.data.images.shape[0] == 71
