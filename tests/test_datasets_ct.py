"""Chest CT: the COVID-19 cohort and CC-CCII, from names and folders to a manifest."""

import shutil

import pytest

from rin import datasets, manifest, phantoms, splits
from rin.datasets import DatasetError
from rin.phantoms import covid19, sarscov2

NEGATIVE, POSITIVE = datasets.TASKS["covid19"].classes
CP, NCP = datasets.TASKS["sarscov2"].classes


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """120 small phantoms of each task."""
    home = tmp_path_factory.mktemp("phantoms")
    return {
        task: phantoms.write(task, home / task, n=120, size=32) for task in ("covid19", "sarscov2")
    }


@pytest.fixture
def covid(tmp_path, roots):
    """A copy of the COVID-19 phantoms that a test may spoil."""
    return shutil.copytree(roots["covid19"], tmp_path / "covid19")


@pytest.fixture
def ccii(tmp_path, draw):
    """`ccii(*names)`: slices of CC-CCII at these paths; returns the root."""

    def make(*names):
        for seed, name in enumerate(names):
            draw(tmp_path / "ccii" / name, seed)
        return tmp_path / "ccii"

    return make


# covid19


def test_covid_phantoms_are_read_with_patient_site_and_lists(roots):
    frame = datasets.read("covid19", roots["covid19"])
    assert len(frame) == 120 and frame["label"].value_counts().idxmin() == POSITIVE
    assert set(frame["modality"]) == {"CT"} and set(frame["anatomy"]) == {"chest"}
    name = frame["image"].str.split("/").str[1]
    assert (name.str.split("_").str[0] == frame["site"]).all()
    assert (name.str.contains("_P") == (frame["label"] == POSITIVE)).all()
    raw = name.str.split("-").str[0]
    assert (raw.groupby(frame["patient"]).nunique() == 1).all()
    assert raw.nunique() == frame["patient"].nunique() == 40
    assert (frame.groupby("patient")["split_0"].nunique() == 1).all()


def test_sites_and_classes_stand_together_as_in_the_released_names(roots):
    frame = datasets.read("covid19", roots["covid19"])
    assert set(frame.loc[frame["label"] == POSITIVE, "site"]) == set(covid19.SITES["P"])
    assert set(frame.loc[frame["label"] == NEGATIVE, "site"]) == {"WCH"}


def test_a_name_that_contradicts_its_label_is_refused_and_counted(covid):
    file = covid / "dataframe/covid_val.csv"
    n = file.read_text().count("negative")
    file.write_text(file.read_text().replace("negative", "positive"))
    with pytest.raises(DatasetError, match=rf"{n} file names contradict .*WCH_N\d+.* 'COVID-19'"):
        datasets.read("covid19", covid)


@pytest.mark.parametrize("name", ["WCH-N3-00_31.png", "WCH_X3-00_31.png", "WCH_N3.png"])
def test_a_name_of_another_form_is_refused_and_counted(name, covid, draw):
    draw(covid / "images" / name)
    with open(covid / "dataframe/covid_val.csv", "a") as file:
        file.write(f"{name},negative\n")
    with pytest.raises(DatasetError, match="1 of 121 file names hold no patient.*" + name):
        datasets.read("covid19", covid)


def test_a_large_covid_set_has_ten_slices_a_patient_numbered_from_00():
    names = covid19.names(1000, seed=0)
    slots = {}
    for site, sign, patient, slot, *_ in names:
        slots.setdefault((site, sign, patient), []).append(slot)
    assert len(slots) == 100 and all(found == list(range(10)) for found in slots.values())
    numbers = [number for *_, number, _ in names[:10]]
    assert numbers == sorted(set(numbers))


def test_the_lists_hold_whole_patients_and_both_classes_even_when_small():
    for n in (covid19.LEAST, 120, 905):
        names = covid19.names(n, seed=1)
        listed = {row[-1] for row in names}
        assert {(row[-1], row[1]) for row in names} == {(s, sign) for s in listed for sign in "PN"}
        assert listed == {"train", "val", "test"}
        assert len({row[:3] for row in names}) == len({(*row[:3], row[-1]) for row in names})
    with pytest.raises(ValueError, match="at least 14"):
        covid19.names(13, seed=0)


# sarscov2


def test_sarscov2_phantoms_are_read_with_patients_and_their_scans(roots):
    frame = datasets.read("sarscov2", roots["sarscov2"])
    assert len(frame) == 120 and set(frame["label"]) == {CP, NCP}
    parts = frame["image"].str.extract(r"^(?P<kind>C?N?CP)/(?P<who>\d+)/(?P<scan>\d+)/\d{4}\.\w+$")
    assert (parts["kind"].map({"CP": CP, "NCP": NCP}) == frame["label"]).all()
    raw = parts["kind"] + parts["who"]
    assert (raw.groupby(frame["patient"]).nunique() == 1).all()
    assert raw.nunique() == frame["patient"].nunique() >= 30
    assert set(frame["scan"]) == {1, 2}
    folders = parts["scan"].groupby([frame["patient"], frame["scan"]]).nunique()
    assert (folders == 1).all()
    assert set(frame["image"].str.rsplit(".").str[-1]) == {"png", "jpg"}


def test_a_large_sarscov2_set_has_scans_of_three_to_six_slices():
    names = sarscov2.names(600, seed=0)
    scans = {}
    for *scan, number, _ in names:
        scans.setdefault(tuple(scan), set()).add(number)
    del scans[tuple(names[-1][:3])]  # the last one is cut at 600
    assert {len(numbers) for numbers in scans.values()} == {3, 4, 5, 6}


DOWNLOADS = {
    "as unpacked": ("CP", "NCP"),
    "below one folder": ("dataset_cleaned/CP", "dataset_cleaned/NCP"),
    "parts of the download": ("CP-1", "NCP-12"),
    "parts that hold the folder again": ("CP-1/CP", "NCP-12/NCP"),
    "unpacked into folders of the same name": ("CP/CP", "NCP/NCP"),
}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_the_folders_of_the_download_are_known_however_it_was_unpacked(name, ccii):
    cp, ncp = DOWNLOADS[name]
    frame = datasets.read("sarscov2", ccii(f"{cp}/7/3/0001.png", f"{ncp}/7/4/0001.jpg"))
    assert list(frame["label"]) == [CP, NCP]
    assert frame["patient"].nunique() == 2  # both are number 7 in their folder


def test_normal_scans_and_stray_pictures_are_left_out_and_counted(ccii):
    names = ["CP/1/2/0.png", "NCP/1/2/0.png", "Normal/1/2/0.png", "Normal/1/2/1.png", "CP/x.png"]
    frame = datasets.read("sarscov2", ccii(*names))
    assert len(frame) == 2 and frame.attrs["excluded"] == {
        "Normal, no part of this task": {
            "n": 2,
            "examples": ["Normal/1/2/0.png", "Normal/1/2/1.png"],
        },
        "not in <patient>/<scan>/ of CP or NCP": {"n": 1, "examples": ["CP/x.png"]},
    }


def test_a_class_that_is_missing_is_named_with_what_was_found(ccii):
    with pytest.raises(DatasetError, match=r"none of CP; found \['NCP', 'notes'\]"):
        datasets.read("sarscov2", ccii("NCP/1/2/0.png", "notes/1.png"))


def test_the_middle_slices_of_each_scan_are_kept_in_order_of_their_numbers(ccii):
    root = ccii(*(f"CP/1/2/{n}.png" for n in range(8, 13)), "NCP/1/2/9.png", "NCP/1/2/10.png")
    frame = datasets.read("sarscov2", root, slices=3)
    assert list(frame["image"]) == [
        *("CP/1/2/10.png", "CP/1/2/11.png", "CP/1/2/9.png"),
        *("NCP/1/2/10.png", "NCP/1/2/9.png"),
    ]
    reason = "not among the 3 middle slices of a scan"
    assert frame.attrs["excluded"] == {
        reason: {"n": 2, "examples": ["CP/1/2/12.png", "CP/1/2/8.png"]}
    }
    # two slices of an even number: 9 comes before 10, so 8 and 11 are the outer ones
    (root / "CP/1/2/12.png").unlink()
    frame = datasets.read("sarscov2", root, slices=2)
    assert list(frame["image"])[:2] == ["CP/1/2/10.png", "CP/1/2/9.png"]
    assert len(datasets.read("sarscov2", root)) == 6
    with pytest.raises(ValueError, match="`slices` should be an int of at least 0"):
        datasets.read("sarscov2", root, slices=-1)


def test_the_official_form_takes_patients_from_its_column(ccii):
    names = [f"images/{kind}/{n}/3/00{n}.png" for kind in ("CP", "NCP") for n in (81, 82, 83)]
    root = ccii(*names, "images/CP/99/3/0001.png")
    (root / "dataframe").mkdir()
    for k, split in enumerate(("train", "val", "test")):
        rows = [f"images/{c}/{81 + k}/3/00{81 + k}.png,{c},{c}_{81 + k}" for c in ("CP", "NCP")]
        text = "\n".join(["filename,label,pid", *rows]) + "\n"
        (root / f"dataframe/sarscovid2_{split}.csv").write_text(text)
    frame = datasets.read("sarscov2", root)
    assert list(frame["image"]) == names and frame["patient"].nunique() == 6
    assert list(frame["split_0"]) == ["train", "val", "test"] * 2
    assert list(frame["label"]) == [CP] * 3 + [NCP] * 3 and set(frame["scan"]) == {1}
    assert frame.attrs["excluded"]["named by no csv"]["n"] == 1


# both


@pytest.mark.parametrize("task", ["covid19", "sarscov2"])
def test_no_column_but_the_path_carries_a_raw_id(task, roots):
    frame = datasets.read(task, roots[task])
    assert frame["patient"].str.fullmatch(r"p\d{4}").all()
    extra = set(frame) - set(manifest.COLUMNS) - {"split_0"}
    assert extra == {"covid19": {"site"}, "sarscov2": {"scan"}}[task]


@pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")
@pytest.mark.parametrize("task", ["covid19", "sarscov2"])
def test_the_usual_number_of_phantoms_is_enough_for_the_published_protocol(task, tmp_path):
    for seed in range(3):
        root = phantoms.write(task, tmp_path / "p", n=120, size=32, seed=seed)
        frame = datasets.read(task, root)
        counts = splits.counts(splits.assign(frame, datasets.TASKS[task].protocol, seed))
        assert counts.filter(like="n_").min(axis=None) >= 2
    if task == "covid19":
        assert list(splits.counts(splits.assign(frame, "official"))["n_images"]) == [75, 15, 30]


def test_an_empty_folder_is_refused_by_both(tmp_path):
    for task, reason in (("covid19", "expected csv lists"), ("sarscov2", "none of CP and NCP")):
        with pytest.raises(DatasetError, match=reason):
            datasets.read(task, tmp_path)
