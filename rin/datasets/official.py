"""The official repository's form of a task: pictures in `images/`, csv lists of train, val, test.

The lists (`acl_train_fold1.csv`, …, `covid_test.csv`) lie in `dataframe/` or beside `images/`, in
the root or one folder below it.
"""

import glob
from pathlib import Path

import pandas as pd

from rin.datasets import csv
from rin.datasets.layout import DatasetError, is_hidden, list_paths, not_read, with_excluded

LISTS, IMAGES = "dataframe", "images"
OUTSIDE = r"^(?:[/\\~]|[A-Za-z]:)|(?:^|[/\\])\.\.(?:[/\\]|$)"  # absolute, or up and out


def found(root):
    """Whether a folder holds the official form: lists of train, val or test that name images."""
    return bool(all_lists(Path(root)))


def scan(root, classes, patient=None, patient_column=None, files=None):
    """Rows of every image that the lists name; `split_0`, … as they deal them.

    An image is looked for under the path its list gives, from the root and from `images/`, then by
    its bare name in `images/`. Rows whose file is missing stay as they are, for
    `rin.manifest.validate` to report. Pictures in `images/` that no list names are left out.

    Args:
        root: folder of the download.
        classes: dict from a label as the lists write it to the class name.
        patient: regular expression searched in the file name; its group 1 is the patient.
        patient_column: the lists' own column of patients, such as "pid", instead.
        files: glob under root of the lists to take, where the folder holds those of several tasks.

    Raises:
        DatasetError: no lists, those of several tasks, an unknown label, an image in two sets of
            a fold or with two labels, a path out of the root, names without a patient, or
            not one image there.
    """
    root = Path(root)
    lists, pattern = _choose(root, files)
    _check(root, lists, classes)
    frame = csv.scan(root, csv=pattern, patient=patient_column)
    frame["label"] = frame["label"].map(classes)
    images, others = list_paths(root)
    on_disk, folders = pd.Index(images, dtype="str"), _image_folders(root, lists[0].parent)
    frame["image"] = _resolve(frame["image"], on_disk, folders, root)
    if patient is not None:
        frame["patient"] = patients(frame["image"], patient)
    elif patient_column and frame["patient"].isna().any():
        n, home = frame["patient"].isna().sum(), lists[0].parent
        raise DatasetError(f"{home}: {n} rows of the lists have an empty {patient_column!r}")
    pictures = on_disk[on_disk.str.startswith(folders)]
    excluded = {"named by no csv": list(pictures.difference(frame["image"]))}
    return with_excluded(frame, excluded | not_read(n for n in others if n.startswith(folders)))


def patients(images, pattern):
    """Group 1 of a regular expression searched in the file name of each path.

    Args:
        images: Series of paths.
        pattern: regular expression with a group.

    Raises:
        DatasetError: names it does not match, counted.
    """
    found = _bare(images.str).str.normalize("NFC").str.extract(pattern).iloc[:, 0]
    nameless = images[found.isna()]
    if len(nameless):
        raise DatasetError(
            f"{len(nameless)} of {len(images)} file names hold no patient, among them "
            f"{nameless.iloc[0]}; expected {pattern}"
        )
    return found


def _prefix(folder, root):
    return "" if folder == root else folder.relative_to(root).as_posix() + "/"


def _bare(text):
    return text.rsplit("/", n=1).str[-1]


def all_lists(root):
    """The lists of the root, else those of each folder below it; `dataframe/` goes first."""
    below = [p for p in sorted(root.iterdir()) if p.is_dir() and not is_hidden(p.name)]
    below = [p for p in below if p.name not in (LISTS, IMAGES)]
    for homes in ([root], below):
        found = [_lists_in(home / LISTS) or _lists_in(home) for home in homes]
        if any(found):
            return sum(found, [])
    return []


def _lists_in(folder):
    return [file for file in sorted(folder.glob("[!.]*.csv")) if _is_list(file)]


def _is_list(file):
    """A csv whose stem names a set and whose columns name images (stage_2_train.csv has none)."""
    if not csv.FOLD_FILE.search(file.stem):
        return False
    try:
        return not pd.read_csv(file, nrows=0).columns.intersection(csv.IMAGE_COLUMNS).empty
    except ValueError:  # unreadable: the csv reader says why
        return True


def _choose(root, files):
    """The lists of one task and the glob under root that finds them."""
    if files is None:
        lists = all_lists(root)
    elif Path(files).is_absolute() or ".." in Path(files).parts:
        raise ValueError(f"`files` should be a glob under root. Received: files={files!r}")
    else:
        lists = [file for file in sorted(root.glob(files)) if file.is_file()]
    if not lists:
        raise DatasetError(
            f"{root}: expected csv lists that end in train, val, test or train_fold1, …, in "
            f"{LISTS}/ or at the root; found no such {files or 'file'}"
        )
    return lists, files or _glob(root, lists)


def _glob(root, lists):
    """The glob of one task's lists; those of several tasks are refused."""
    starts = {
        (file.parent.relative_to(root), file.stem[: csv.FOLD_FILE.search(file.stem).start()])
        for file in lists
    }
    if len(starts) > 1:
        found = ", ".join(sorted(f"{(home / stem).as_posix()}…" for home, stem in starts))
        raise DatasetError(
            f"{root}: the lists of one task are expected, found those of several: {found}; "
            "choose with `files=`, a glob under root such as 'dataframe/acl_*.csv'"
        )
    home, stem = next(iter(starts))
    return str(Path(glob.escape(str(home)), glob.escape(stem) + "[tTvV]*.csv"))


def _check(root, lists, classes):
    """Refuse labels that are not known and images that stand twice in one fold."""
    parts = []
    for file in lists:
        frame = csv.scan(root, csv=file.relative_to(root))
        unknown = frame.loc[~frame["label"].isin(list(classes)), "label"]
        if len(unknown):
            raise DatasetError(
                f"{file}: label {unknown.iloc[0]!r} is not one of {', '.join(classes)} "
                f"({len(unknown)} such)"
            )
        match = csv.FOLD_FILE.search(file.stem)
        parts.append(frame[["image"]].assign(fold=match["fold"] if match else None))
    rows = pd.concat(parts)
    twice = rows.loc[rows.duplicated(), "image"].unique()
    if len(lists) > 1 and len(twice):
        raise DatasetError(
            f"{lists[0].parent}: {len(twice)} images stand more than once in the lists of one "
            f"fold, among them {twice[0]}"
        )


def _image_folders(root, folder):
    """Where pictures may lie: `images/` beside the lists, and that of the root."""
    home = folder.parent if folder.name == LISTS and folder != root else folder
    return tuple(dict.fromkeys([f"{_prefix(home, root)}{IMAGES}/", f"{IMAGES}/"]))


def _resolve(names, on_disk, folders, root):
    """Each list's name for an image as a path under root; those not found stay as they are."""
    outside = names[names.str.contains(OUTSIDE)]
    if len(outside):
        raise DatasetError(
            f"{root}: {len(outside)} paths of the lists leave it, such as {outside.iloc[0]}"
        )
    found = pd.Series(pd.NA, index=names.index, dtype="string")
    names, on_disk, as_it_lies = _composed(names, on_disk)
    for path in _tries(names, on_disk, folders):
        found = found.where(found.notna() | ~path.isin(on_disk), path)
        if found.notna().all():
            break
    if found.isna().all():
        places = ", ".join(str(root / folder) for folder in ("", *folders))
        raise DatasetError(
            f"none of the {len(names)} images that the lists name is there, such as "
            f"{names.iloc[0]}; looked in {places}"
        )
    return found.map(as_it_lies).astype("string").fillna(names)


def _composed(names, on_disk):
    """Names and files in composed Unicode (é as one sign), and from these the files as they lie."""
    forms = pd.Series(on_disk, on_disk.str.normalize("NFC"))
    forms = forms[~forms.index.duplicated(keep=False) | (forms.index == forms)]
    return names.str.normalize("NFC"), forms.index, forms


def _tries(names, on_disk, folders):
    """Paths under root to look for, most literal first; each is a Series like `names`."""
    bare = _bare(names.str)
    yield names
    for folder in folders:
        yield folder.removesuffix(f"{IMAGES}/") + names
        yield folder + names
    for folder in folders:
        yield folder + bare
    # a name with folders must not take the file of other folders: 0001.png is in every scan
    below = on_disk[on_disk.str.startswith(folders)]
    alone = pd.Series(below, index=_bare(below.str))
    alone = alone[~alone.index.duplicated(keep=False)]
    yield bare.where(names.str.removeprefix(f"{IMAGES}/") == bare).map(alone)
