"""Anybody's images named by a csv, or by official files: `train_fold1.csv`, `val_fold1.csv`, …"""

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from rin import manifest as manifests
from rin import masks
from rin.datasets.layout import DatasetError, window_text

# column names tried in this order; the first three are those of the official files
IMAGE_COLUMNS = ("img_dir", "filename", "dir", "image", "path", "file")
LABEL_COLUMNS = ("label", "acl_label", "class", "target")
FOLD_FILE = re.compile(r"(?P<split>train|val|test)(_?fold_?(?P<fold>\d+))?$", re.I)


def scan(
    root,
    csv,
    image=None,
    label=None,
    patient=None,
    mask=None,
    mask_values=None,
    folds=None,
    modality=None,
    anatomy=None,
    window=None,
):
    """Rows of one csv, or of fold files read together.

    Args:
        root: folder the csv's image paths start from.
        csv: path or glob pattern (absolute, or under root) of one csv; or of fold files whose
            stems end in `train`, `val`, `test` or `train_fold1`, …, which become `split_0`, ….
        image, label: column names; default the first known one present.
        patient, mask: column names, if there are any; several masks are joined by "|".
        mask_values: ints, the labels in mask files that are the lesion; default every label but 0
            and every color but black, where that can be told (see `rin.masks.lesion`).
        folds: columns that hold train, val or test, in order; they become `split_0`, ….
        modality, anatomy: the same for every image, or None.
        window: (level, width) of DICOM images (see `rin.dicom.read`), or None for their own.

    Raises:
        DatasetError: no such file or column, cells that are empty, or fold files that disagree.
    """
    files = _files(root, csv)
    frames = [_read(file, image, label) for file in files]
    if folds and len(files) > 1:
        raise DatasetError(f"{csv}: `folds` names columns of one csv, found {len(files)} files")
    if len(files) == 1:
        frame = _one(files[0], frames[0], folds)
    else:
        frame = _fold_files(files, frames)
    for target, source in (("patient", patient), ("mask", mask)):
        if source is not None:
            frame[target] = _column(frame, source, files[0]).astype("string")
    if patient is not None:
        frame["patient"] = manifests.identifiers(frame["patient"])
    splits = [c for c in frame if c.startswith("split_")]
    wanted = ["image", "label", *(c for c in ("patient", "mask") if c in frame), *splits]
    frame = frame[wanted].assign(modality=modality, anatomy=anatomy)
    if mask_values is not None:
        frame["mask_values"] = " ".join(map(str, masks.check_values(mask_values)))
    return frame if window is None else frame.assign(window=window_text(window))


def _files(root, csv):
    pattern = Path(csv)
    base, parts = (
        (Path(pattern.anchor), pattern.parts[1:])
        if pattern.is_absolute()
        else (root, pattern.parts)
    )
    plain = base.joinpath(*parts)
    found = [plain] if plain.is_file() else sorted(base.glob(str(Path(*parts))))
    files = [file for file in found if file.is_file()]
    if not files:
        raise DatasetError(f"{plain}: no such csv")
    return files


def _read(file, image, label):
    try:
        frame = pd.read_csv(file, dtype="string", keep_default_na=False, na_values=[""])
    except ValueError as error:  # not UTF-8, empty, or lines of different lengths
        raise DatasetError(f"{file}: can't be read as a csv ({error})") from error
    image = image or _first_known(frame, IMAGE_COLUMNS, "image", file)
    label = label or _first_known(frame, LABEL_COLUMNS, "label", file)
    names, labels = _column(frame, image, file), _column(frame, label, file)
    # ./a.png and a.png are one image
    names = names.map(lambda name: PurePosixPath(name).as_posix(), na_action="ignore")
    frame = frame.assign(image=names, label=labels)
    empty = frame.index[frame[["image", "label"]].isna().any(axis=1)]
    if len(empty):
        raise DatasetError(
            f"{file}: line {empty[0] + 2} has no image or no label ({len(empty)} such)"
        )
    return frame


def _first_known(frame, names, what, file):
    for name in names:
        if name in frame:
            return name
    raise DatasetError(
        f"{file}: expected a column of {what}s named one of {', '.join(names)} "
        f"(or name it with {what}=…); found {', '.join(frame.columns)}"
    )


def _column(frame, name, file):
    if name not in frame:
        raise DatasetError(f"{file}: no column {name!r}; found {', '.join(frame.columns)}")
    return frame[name]


def _one(file, frame, folds):
    for number, name in enumerate(folds or []):
        frame[f"split_{number}"] = _column(frame, name, file).str.lower()
    return frame


def _fold_files(files, frames):
    """Join fold files: every image once, its set in each fold as a column."""
    parts = []
    for file, frame in zip(files, frames, strict=True):
        match = FOLD_FILE.search(file.stem)
        if not match:
            raise DatasetError(
                f"{file}: expected a name that ends in train_fold1, val_fold1, test_fold1, …"
            )
        parts.append(frame.assign(fold=int(match["fold"] or 1), split=match["split"].lower()))
    rows = pd.concat(parts, ignore_index=True)
    _agree(rows, files)
    frame = rows.drop_duplicates("image").drop(columns=["fold", "split"]).reset_index(drop=True)
    for number, (_, part) in enumerate(rows.groupby("fold")):
        frame[f"split_{number}"] = frame["image"].map(part.set_index("image")["split"])
    return frame


def _agree(rows, files):
    home = files[0].parent
    labels = rows.groupby("image")["label"].nunique()
    for image in labels.index[labels > 1][:1]:
        raise DatasetError(f"{home}: {image} has {labels[image]} labels in the fold files")
    twice = rows[rows.duplicated(["image", "fold"])]
    for row in twice.head(1).itertuples():
        raise DatasetError(f"{home}: {row.image} stands twice in fold {row.fold}")
    per_fold = rows.groupby("image")["fold"].nunique()
    for image in per_fold.index[per_fold < rows["fold"].nunique()][:1]:
        raise DatasetError(
            f"{home}: {image} is missing from a fold ({(per_fold < per_fold.max()).sum()} such)"
        )
