"""The official form: csv lists and `images/`, resolved, joined, and what is refused."""

import pytest

from rin import manifest
from rin.datasets import DatasetError, layout, official

CLASSES = {"no": "no tear", "yes": "tear"}
NAMES = [f"{exam}_sagittal_{n}.000000.png" for exam in ("0007", "1046", "0311") for n in (9, 10)]
EXAM = r"^(\d{4})_"


def write_lists(folder, text, stem="acl_{}_fold1"):
    """One list a set: `text` maps train, val, test to lines of image and label."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, lines in text.items():
        rows = "\n".join(["filename,acl_label", *lines]) + "\n"
        (folder / f"{stem.format(split)}.csv").write_text(rows)


def dealt(prefix=""):
    """One exam a set, two images each: train is torn, val and test are not."""
    labels = ["yes", "no", "no"]
    return {
        split: [f"{prefix}{name},{labels[n]}" for name in NAMES[2 * n : 2 * n + 2]]
        for n, split in enumerate(("train", "val", "test"))
    }


@pytest.fixture
def acl(tmp_path, draw):
    """Six images in `images/` and the lists of one fold in `dataframe/`."""
    for seed, name in enumerate(NAMES):
        draw(tmp_path / "acl" / "images" / name, seed)
    write_lists(tmp_path / "acl" / "dataframe", dealt("images/"))
    return tmp_path / "acl"


def scan(root, **options):
    """The manifest that the form gives, checked as every reader's is."""
    return manifest.validate(official.scan(root, CLASSES, **options), root)


def images(frame):
    return list(frame["image"])


def test_lists_and_images_become_a_manifest_with_its_split(acl):
    frame = scan(acl, patient=EXAM).set_index("image")
    assert frame.loc[f"images/{NAMES[0]}", ["label", "patient", "split_0"]].to_list() == [
        "tear",
        "0007",
        "train",
    ]
    assert frame["split_0"].value_counts().to_dict() == {"train": 2, "val": 2, "test": 2}
    assert frame["patient"].nunique() == 3


@pytest.mark.parametrize("prefix", ["", "images/", "./images//", "acl/images/", "of/the/authors/"])
def test_every_way_to_write_a_path_finds_the_file_in_images(prefix, acl):
    write_lists(acl / "dataframe", dealt(prefix))
    assert images(scan(acl)) == sorted(f"images/{name}" for name in NAMES)


def test_the_form_may_lie_one_folder_below_the_root_and_lists_beside_images(acl):
    assert official.found(acl.parent) and official.found(acl)
    for name in ("train", "val", "test"):
        (acl / f"dataframe/acl_{name}_fold1.csv").rename(acl / f"{name}.csv")
    frame = scan(acl.parent)
    assert images(frame) == sorted(f"acl/images/{name}" for name in NAMES)
    assert manifest.split_columns(frame) == ["split_0"]


def test_images_of_the_root_are_found_by_lists_in_another_folder(acl):
    (acl / "dataframe").rename(acl / "lists")
    assert images(scan(acl)) == sorted(f"images/{name}" for name in NAMES)


def test_the_root_may_itself_be_called_dataframe(acl):
    root = acl.rename(acl.parent / "dataframe")
    for file in (root / "dataframe").iterdir():
        file.rename(root / file.name)
    assert len(scan(root)) == 6


def test_a_bare_name_is_found_deeper_when_it_is_the_only_one(acl, draw):
    home = acl / "images"
    (home / "knee").mkdir()
    (home / NAMES[0]).rename(home / "knee" / NAMES[0])
    assert f"images/knee/{NAMES[0]}" in images(scan(acl))
    draw(home / "other" / NAMES[0])
    with pytest.raises(manifest.ManifestError, match=f"images/{NAMES[0]}: no such file"):
        scan(acl)


def test_a_name_with_folders_never_takes_the_file_of_other_folders(tmp_path, draw):
    draw(tmp_path / "images/NCP/194/2/0001.png")
    rows = ["images/NCP/194/2/0001.png,yes", "images/CP/1082/3/0001.png,no"]
    write_lists(tmp_path, {"train": rows})
    with pytest.raises(manifest.ManifestError, match="1 problem.*\n.*CP/1082/3/0001.png: no such"):
        scan(tmp_path)


def test_the_download_of_a_competition_is_not_the_official_form(tmp_path):
    (tmp_path / "stage_2_train.csv").write_text("ID,Label\nID_1_any,0\n")
    (tmp_path / "train-acl.csv").write_text("0000,1\n")
    (tmp_path / "._acl_train.csv").write_text("filename,label\n")
    assert not official.found(tmp_path)
    with pytest.raises(DatasetError, match="expected csv lists that end in train.*found no such"):
        official.scan(tmp_path, CLASSES)


def test_other_csv_files_beside_the_lists_do_no_harm(acl):
    (acl / "dataframe" / "acl_all.csv").write_text("filename,acl_label\nx.png,yes\n")
    assert len(scan(acl)) == 6


def test_missing_files_are_reported_all_together(acl):
    for name in NAMES[:2]:
        (acl / "images" / name).unlink()
    with pytest.raises(manifest.ManifestError) as caught:
        scan(acl)
    missing = [problem.split(":")[0] for problem in caught.value.problems]
    assert missing == sorted(f"images/{name}" for name in NAMES[:2])


def test_a_folder_without_any_of_the_images_is_refused_with_where_they_were_sought(acl):
    (acl / "images").rename(acl / "pictures")
    with pytest.raises(DatasetError, match=r"none of the 6 images .*; looked in .*acl/images"):
        scan(acl)


def test_pictures_that_no_list_names_are_left_out_and_counted(acl, draw):
    for name in ("images/extra.png", "images/deep/extra.png", "figure.png"):
        draw(acl / name)
    frame = official.scan(acl, CLASSES)
    assert len(frame) == 6 and frame.attrs["excluded"] == {
        "named by no csv": {"n": 2, "examples": ["images/deep/extra.png", "images/extra.png"]}
    }


@pytest.mark.parametrize("path", ["../x.png", "images/../../x.png", "/etc/x.png", "C:/x.png"])
def test_a_path_that_leaves_the_root_is_refused(path, acl, draw):
    draw(acl / "images/x.png")  # its bare name must not save it
    write_lists(acl / "dataframe", {"val": [f"{path},yes"]})
    with pytest.raises(DatasetError, match=f"1 paths of the lists leave it, such as {path}"):
        scan(acl)


def test_an_unknown_label_is_named_with_its_file(acl):
    write_lists(acl / "dataframe", {"val": [f"{NAMES[2]},maybe", f"{NAMES[3]},no"]})
    with pytest.raises(DatasetError, match=r"acl_val_fold1.csv: label 'maybe' .* no, yes \(1 such"):
        scan(acl)


def test_images_in_two_sets_of_a_fold_are_refused_and_counted(acl):
    write_lists(acl / "dataframe", {"test": dealt("images/")["train"]})
    with pytest.raises(DatasetError, match=f"2 images stand more than once.*images/{NAMES[0]}"):
        scan(acl)


def test_one_image_spelled_in_two_ways_is_still_one(acl):
    write_lists(acl / "dataframe", {"test": dealt("")["train"]})
    with pytest.raises(manifest.ManifestError, match=f"{NAMES[0]}: stands in the table more than"):
        scan(acl)


def test_an_image_with_two_labels_is_refused_in_lists_and_in_a_single_csv(acl):
    write_lists(acl / "dataframe", dealt("images/"), stem="acl_{}_fold2")
    write_lists(
        acl / "dataframe", {"val": [row.replace(",no", ",yes") for row in dealt("images/")["val"]]}
    )
    with pytest.raises(DatasetError, match="has 2 labels in the fold files"):
        scan(acl)
    (acl / "all.csv").write_text(f"filename,label\n{NAMES[0]},yes\n{NAMES[0]},no\n")
    with pytest.raises(manifest.ManifestError, match=r"more than once.*\['no tear', 'tear'\]"):
        scan(acl, files="all.csv")


def test_lists_of_several_tasks_are_refused_until_one_is_chosen(acl):
    write_lists(acl / "dataframe", dealt("images/"), stem="meniscus_{}_fold1")
    with pytest.raises(DatasetError, match="dataframe/acl_…, dataframe/meniscus_….*`files=`"):
        scan(acl)
    assert len(scan(acl, files="dataframe/acl_*.csv")) == 6
    with pytest.raises(DatasetError, match="found no such dataframe/knee_"):
        scan(acl, files="dataframe/knee_*.csv")
    with pytest.raises(ValueError, match="`files` should be a glob under root"):
        scan(acl, files="../acl/dataframe/acl_*.csv")


def test_names_without_a_patient_are_refused_and_counted(acl, draw):
    draw(acl / "images/knee.png")
    write_lists(acl / "dataframe", {"val": ["images/knee.png,no", f"{NAMES[2]},yes"]})
    with pytest.raises(DatasetError, match="1 of 6 file names hold no patient.*images/knee.png"):
        scan(acl, patient=EXAM)


def test_patients_may_come_from_a_column_that_must_be_full(tmp_path, draw):
    for n in range(2):
        draw(tmp_path / f"images/{n}.png", n)
    (tmp_path / "x_train.csv").write_text("dir,label,pid\n0.png,yes,CP_1\n1.png,no,CP_2\n")
    assert scan(tmp_path, patient_column="pid")["patient"].to_list() == ["CP_1", "CP_2"]
    (tmp_path / "x_train.csv").write_text("dir,label,pid\n0.png,yes,CP_1\n1.png,no,\n")
    with pytest.raises(DatasetError, match="1 rows of the lists have an empty 'pid'"):
        scan(tmp_path, patient_column="pid")


def test_a_list_that_is_no_csv_is_named(acl):
    (acl / "dataframe/acl_val_fold1.csv").write_bytes(b"filename,acl_label\nb\xe9.png,yes\n")
    with pytest.raises(DatasetError, match="acl_val_fold1.csv: can't be read as a csv"):
        scan(acl)


def test_a_listing_passes_hidden_files_over_and_follows_links_once(tmp_path, draw):
    for name in ("b/2.png", "a.JPG.png", ".git/3.png", "b/._2.png"):
        draw(tmp_path / "root" / name)
    (tmp_path / "root" / "notes.txt").write_text("no image")
    draw(tmp_path / "disk/4.png")
    (tmp_path / "root/linked").symlink_to(tmp_path / "disk")
    (tmp_path / "root/b/loop").symlink_to(tmp_path / "root")
    found = layout.list_paths(tmp_path / "root")
    assert found == (["a.JPG.png", "b/2.png", "linked/4.png"], ["notes.txt"])
