"""The RadImageNet release: `radiology_ai/{CT,MR}/<anatomy>/<class>/`, `radiology_ai/US/<class>/`.

It holds no patient ids. Three lists (`RadiologyAI_train.csv`, …) say which image is in which set.
A class is (modality, anatomy, name), spelled as released: `label` is "MR/knee/normal", and
"US/liver" as ultrasound has no anatomy folders. There `anatomy` is the class's own name, "thyroid"
where it begins so. Both `label` and (modality, anatomy, class) join `rin.published.classes()`.
"""

import os
import re

import numpy as np
import pandas as pd
from tqdm import tqdm

from rin import manifest as manifests
from rin import published
from rin.datasets.layout import DatasetError, is_hidden, is_image, not_read, with_excluded

HOME = "radiology_ai"
DEPTHS = {"CT": 2, "MR": 2, "US": 1}  # folders from a modality down to a class
OTHER_NAMES = {"mriabd": "abd"}  # of an anatomy folder, in some public copies
CHOICES = ("auto", "none")
LISTS = {name: f"RadiologyAI_{name}.csv" for name in manifests.SPLITS}
ALONE = '(`lists="none"` reads the folders alone)'
GROUP = ["modality", "anatomy"]
KEY = [*GROUP, "class"]


def scan(root, lists="auto"):
    """Rows of every image; `class` is its folder, `split_0` the list that names it.

    Images that no list names and names without an image are left out and counted: partial copies
    of the release are common.

    Args:
        root: folder that holds `radiology_ai/`, or that folder itself.
        lists: "auto" takes the three lists where they lie, beside `radiology_ai/` under the root
            or in it; "none" the folders alone.

    Raises:
        DatasetError: no images; one or two of the three lists; a list that can't be read, leaves
            the root, names an image twice or another class than the image's folder.
    """
    if lists not in CHOICES:
        raise ValueError(f"`lists` should be one of {CHOICES}. Received: lists={lists!r}")
    home = _home(root)
    prefix = "" if home == root else f"{HOME}/"
    frame, stray, others = _folders(home, prefix)
    excluded = {"not in a class folder": stray} | not_read(others)
    files = _lists(root, home) if lists == "auto" else []
    if files:
        frame, unmatched = _sets(frame, files, prefix)
        excluded |= unmatched
    return with_excluded(frame, excluded)


def report(manifest):
    """Which of the 165 released classes are there, and which others.

    Args:
        manifest: as `rin.datasets.read("radimagenet", …)` gives it.

    Returns:
        DataFrame `modality`, `anatomy`, `class`, `n` (images), `known` (one of the 165), `found`.
    """
    found = manifest.groupby(KEY).size().rename("n").reset_index()
    known = published.classes()[KEY].assign(known=True)
    table = known.merge(found.astype(dict.fromkeys(KEY, "str")), on=KEY, how="outer")
    table = table.assign(n=table["n"].fillna(0).astype(int), known=table["known"].eq(True))
    return table.assign(found=table["n"] > 0)[[*KEY, "n", "known", "found"]]


def by_group(manifest):
    """Classes and images by modality and the paper's anatomy: the paper's Figure 2, counted.

    Args:
        manifest: as `rin.datasets.read("radimagenet", …)` gives it.

    Returns:
        DataFrame `modality`, `anatomy` (the paper's name), `classes`, `images`,
        `average_class_size`: what is found, in the order of `rin.published.database()`, then
        anatomies the paper does not have.
    """
    found = report(manifest).query("found")
    names = [published.anatomy_group(*key) for key in found[GROUP].itertuples(index=False)]
    sizes = found.assign(anatomy=names).groupby(GROUP)["n"].agg(classes="size", images="sum")
    sizes["average_class_size"] = sizes["images"] / sizes["classes"]
    known = pd.MultiIndex.from_frame(published.database()[GROUP])
    order = [*known[known.isin(sizes.index)], *sizes.index.difference(known)]
    return sizes.loc[order].reset_index()


def _home(root):
    for home in (root / HOME, root):
        if any((home / modality).is_dir() for modality in DEPTHS):
            return home
    found = sorted(path.name for path in root.iterdir())[:8]
    raise DatasetError(f"{root}: expected {HOME}/ with folders CT, MR and US; found {found}")


def _folders(home, prefix):
    """Rows of every image in a class folder, in order of their paths; what lies elsewhere; others.

    Others are files that are no images.
    """
    stray, others = [], []
    walk = (found for m, depth in DEPTHS.items() for found in _walk(home, m, depth, stray, others))
    # nothing is shown for what takes less than two seconds
    walk = tqdm(walk, "Class folders", unit="folder", mininterval=1, delay=2)
    folders = [(folder, names) for folder, names in walk if names]
    if not folders:
        raise DatasetError(
            f"{home}: expected images like CT/lung/Nodule/lung009382.png, found none"
        )
    facts = pd.DataFrame([_facts(folder) for folder, _ in folders], dtype="string")
    rows = np.repeat(np.arange(len(folders)), [len(names) for _, names in folders])
    images = [f"{prefix}{folder}/{name}" for folder, names in folders for name in names]
    frame = facts.take(rows).reset_index(drop=True)
    frame.insert(0, "image", pd.array(images, dtype="string"))
    return frame, [prefix + name for name in stray], [prefix + name for name in others]


def _walk(home, folder, depth, stray, others):
    """Yield each class folder, `depth` levels down, with its images; note what lies elsewhere."""
    if not (home / folder).is_dir():
        return
    below, names, rest = _listing(home / folder)
    others += [f"{folder}/{name}" for name in rest]
    elsewhere = names if depth else [f"{name}/" for name in below]
    stray += [f"{folder}/{name}" for name in elsewhere]
    if not depth:
        yield folder, names
        return
    for name in below:
        yield from _walk(home, f"{folder}/{name}", depth - 1, stray, others)


def _listing(folder):
    """Folders, images and other files of a folder, in order of the paths; hidden ones left out."""
    below, names, rest = [], [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                below.append(entry.name)
            else:
                (names if is_image(entry.path) else rest).append(entry.name)
    return sorted(below, key=lambda name: f"{name}/"), sorted(names), sorted(rest)


def _facts(folder):
    """The columns that all images of a class folder share."""
    modality, *anatomy, name = folder.split("/")
    anatomy = anatomy[0] if anatomy else "thyroid" if name.startswith("thyroid") else name
    if anatomy in OTHER_NAMES:
        anatomy = OTHER_NAMES[anatomy]
        folder = f"{modality}/{anatomy}/{name}"
    return {"label": folder, "modality": modality, "anatomy": anatomy, "class": name}


def _lists(root, home):
    """The three lists as (set, file), or none."""
    for place in (root, home):
        files = [(name, place / file) for name, file in LISTS.items() if (place / file).is_file()]
        if 0 < len(files) < len(LISTS):
            names = ", ".join(file.name for _, file in files)
            raise DatasetError(f"{place}: expected three lists, found only {names} {ALONE}")
        if files:
            return files
    return []


def _sets(frame, files, prefix):
    """The rows that a list names, with their set, and what does not match."""
    listed = pd.concat([_read(file, prefix).assign(set=n) for n, (_, file) in enumerate(files)])
    listed = listed.reset_index(drop=True)
    place = files[0][1].parent
    _refuse_twice(listed, place)
    row = pd.Index(frame["image"]).get_indexer(listed["image"])
    there = row >= 0
    if not there.any():
        raise DatasetError(
            f"{place}: none of the {len(listed)} images in the lists is there, "
            f"such as {listed['image'][0]} {ALONE}"
        )
    _refuse_contradiction(frame.iloc[row[there]], listed["label"][there], place)
    number = np.full(len(frame), -1)
    number[row[there]] = listed["set"][there]
    unmatched = {
        "named by no list": list(frame["image"][number < 0]),
        "in a list, but not in its folder": list(listed["image"][~there]),
    }
    frame["split_0"] = pd.array([name for name, _ in files], dtype="string").take(number)
    return frame[number >= 0].reset_index(drop=True), unmatched


def _read(file, prefix):
    """Columns `image`, its path under the root, and `label` of one list."""
    try:
        table = pd.read_csv(file, dtype="string", keep_default_na=False)
    except ValueError as error:  # not UTF-8, empty, or lines of different lengths
        raise DatasetError(f"{file}: can't be read as a csv ({error})") from error
    if not {"filename", "label"} <= set(table):
        found = ", ".join(table.columns)
        raise DatasetError(f"{file}: expected the columns filename and label, found {found}")
    bad = table[~manifests.inside(table["filename"]) | (table["label"] == "")]
    if len(bad):
        raise DatasetError(
            f"{file}: line {bad.index[0] + 2} has no label, or no image inside the root: "
            f"{bad['filename'].iloc[0]!r} ({len(bad)} such)"
        )
    names = table["filename"].str.removeprefix("./").str.removeprefix(f"{HOME}/")
    return pd.DataFrame({"image": prefix + names, "label": table["label"]})


def _refuse_twice(listed, place):
    twice = listed[listed["image"].duplicated(keep=False)]
    if len(twice):
        name = twice["image"].iloc[0]
        sets = [manifests.SPLITS[n] for n in twice["set"][twice["image"] == name]]
        raise DatasetError(
            f"{place}: {twice['image'].nunique()} images stand in the lists more than once, "
            f"such as {name} ({', '.join(sets)})"
        )


def _refuse_contradiction(rows, said, place):
    kinds = rows.assign(said=said.array).groupby(["class", "anatomy", "label", "said"])["image"]
    kinds = kinds.agg(n="size", example="first").reset_index()
    columns = kinds[["class", "anatomy", "label", "said"]]
    agree = [_agrees(*row) for row in columns.itertuples(index=False)]
    wrong = kinds[~np.array(agree)]
    if len(wrong):
        row = wrong.iloc[0]
        raise DatasetError(
            f"{place}: the lists contradict the folders of {wrong['n'].sum()} images, such as "
            f"{row['example']}, labeled {row['said']!r} {ALONE}"
        )


def _agrees(name, anatomy, key, said):
    """Whether a list means a folder's class: its name, its key, or its name after its anatomy.

    Public copies write `af-soft tissue fluid` for `soft_tissue_fluid` and `mriabd-normal` for
    `normal`: only letters and digits count.
    """
    name, anatomy, key, said = (_bare(text) for text in (name, anatomy, key, said))
    before = said.removesuffix(name)
    return said in (name, key) or (before != said and anatomy in before)


def _bare(text):
    return re.sub(r"[^a-z0-9+]", "", text.lower())
