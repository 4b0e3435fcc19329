"""The manifest: one row per image, checked before anything else looks at it."""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import unicodedata
from pathlib import Path, PurePosixPath

import pandas as pd
from tqdm import tqdm

from rin import paths

COLUMNS = ("image", "label", "patient", "group", "mask", "modality", "anatomy")
SPLITS = ("train", "val", "test")
INSIDE = re.compile(r"\.(npy|xml)#[\d.]+$", re.I)  # a slice of a volume, a region of a case
MASK_SEPARATOR = "|"  # several masks of one image stand in one cell
# what leaves the root in any path of a cell, on any system: nothing at all, a slash or backslash
# in front, a drive, a step up; one pattern for whole columns, as a million paths take minutes
OUTSIDE = r"(?:^|\|)(?:$|\||[/\\]|[A-Za-z]:)|(?:^|[/\\|])\.\.(?:$|[/\\|])"
WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")  # a whole number that was written as a float
MANY = 100_000  # rows from which a progress bar is shown
KEY_FILE = "data/patient.key"


class ManifestError(ValueError):
    """A manifest that breaks its schema; `.problems` lists one sentence per problem."""

    def __init__(self, problems, where="manifest"):
        self.problems = list(problems)
        shown = self.problems[:20]
        more = len(self.problems) - len(shown)
        lines = [f"{where}: {len(self.problems)} problem(s)", *(f"  - {p}" for p in shown)]
        super().__init__("\n".join(lines + ([f"  … and {more} more"] if more else [])))


def validate(frame, root=None, where="manifest"):
    """Check a manifest against its schema and put its rows and columns in order.

    Args:
        frame: DataFrame with `image` and `label`; missing optional columns are filled with NA.
            `image`: path under the root; `label`: class name; `patient`: running number or keyed
            hash; `group`: patient joined with duplicates; `mask`: paths joined by "|";
            `split_0` …: train, val or test. Patients and groups become their `identifiers`.
        root: folder the paths start from; given, every image and mask must exist there. Where
            only the Unicode form of a name differs (é as one sign or as two), the name on the
            disk is taken.
        where: name of the source, for the error.

    Returns:
        A copy, sorted by `image`, with the columns of `COLUMNS` first and a fresh index.

    Raises:
        ManifestError: listing every problem with the file name of its row.
    """
    frame = _complete(frame, where)
    if root is not None:
        frame = _as_on_disk(frame, Path(root))
    problems = _schema_problems(frame)
    if not problems:
        problems = _group_problems(frame)
    if root is not None and not problems:
        problems = _missing_files(frame, Path(root))
    if problems:
        raise ManifestError(problems, where)
    return frame


def classes(frame):
    """The class names of a manifest, sorted: index 1 is the positive class of a binary task."""
    return sorted(frame["label"].unique())


def split_columns(frame):
    """`split_0`, `split_1`, … as present, in order of their number."""
    found = [c for c in frame.columns if c.startswith("split_") and c[6:].isdigit()]
    return sorted(found, key=lambda c: int(c[6:]))


def masks(cell):
    """The mask paths of one manifest cell as a list; empty where there is none."""
    return [] if pd.isna(cell) else str(cell).split(MASK_SEPARATOR)


def inside(cells):
    """Whether every path of a cell is relative and stays inside the root; NA stays NA.

    Args:
        cells: Series of paths, several in one cell joined by "|".
    """
    return ~cells.str.contains(OUTSIDE)


def file_of(path):
    """The file a path of the manifest lies in: `a.npy#12` (a slice) and `a.xml#1.0` in `a.…`."""
    path = str(path)
    return path.rsplit("#", 1)[0] if INSIDE.search(path) else path


def identifiers(values):
    """Identifiers in the one form in which they are compared.

    White space around them goes, Unicode takes its composed form (NFC), and whole numbers that
    were read as floats are whole again: `3`, `3.0` and `"3.0 "` are one, `03` and `3` two.

    Args:
        values: sequence of anything.

    Returns:
        Series of strings, with the index of a Series; NA and empty ones are NA.
    """
    raw = pd.Series(values, dtype="string")
    form = {text: _identifier(text) for text in raw.dropna().unique()}
    return raw.map(form).astype("string")


def normal_form(text):
    """A text in Unicode's composed form (NFC): é is one sign, not e and an accent."""
    return unicodedata.normalize("NFC", text)


def number_patients(raw_ids):
    """Raw ids as running numbers `p0001`, … in order of their `identifiers`; NA stays NA."""
    raw = identifiers(raw_ids)
    order = {value: f"p{n:04d}" for n, value in enumerate(sorted(raw.dropna().unique()), start=1)}
    return raw.map(order).astype("string")


def hash_patients(raw_ids, key_file=None):
    """Raw ids, as `identifiers`, as keyed hashes (HMAC-SHA256, 16 hex digits); NA stays NA.

    The key is made on first use, readable by its owner alone, and stays on this machine: plain
    hashes of short record numbers can be reversed by trying all of them.

    Args:
        raw_ids: sequence of ids.
        key_file: path of the key; default `data/patient.key` under the project, ignored by git.
    """
    key = _key(Path(key_file) if key_file else paths.root() / KEY_FILE)
    raw = identifiers(raw_ids)
    return raw.map(
        lambda value: hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:16],
        na_action="ignore",
    ).astype("string")


def _identifier(text):
    text = normal_form(text).strip()
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text or pd.NA


def _key(path):
    if not path.exists():
        _make_key(path)
    key = path.read_bytes()
    if len(key) < 32:
        raise ValueError(f"{path}: expected a key of at least 32 bytes, got {len(key)}")
    return key


def _make_key(path):
    """Whole or not at all, and never over the key of another process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=".key.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        os.unlink(fresh)


def _complete(frame, where):
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"`frame` should be a DataFrame. Received: {type(frame).__name__}")
    absent = [c for c in ("image", "label") if c not in frame.columns]
    if absent:
        raise ManifestError([f"column {c!r} is missing" for c in absent], where)
    if frame.empty:
        raise ManifestError(["no image was found"], where)
    frame = frame.reset_index(drop=True)
    for column in COLUMNS:
        values = frame[column] if column in frame else pd.NA
        frame[column] = pd.Series(values, index=frame.index, dtype="string").replace("", pd.NA)
    for column in ("patient", "group"):
        frame[column] = identifiers(frame[column])
    frame["group"] = frame["group"].fillna(frame["patient"])
    rest = [c for c in frame.columns if c not in COLUMNS]
    return frame[[*COLUMNS, *rest]].sort_values("image", kind="stable", ignore_index=True)


def _schema_problems(frame):
    # pandera takes a second to import and few callers need it: import it where it is used
    import pandera.errors
    import pandera.pandas as pa

    path_check = pa.Check(inside, ignore_na=True, error="is not a relative path inside the root")
    split_check = pa.Check.isin(SPLITS, error="should be train, val or test")
    schema = pa.DataFrameSchema(
        {
            "image": pa.Column("string", [path_check], unique=True),
            "label": pa.Column("string"),
            "mask": pa.Column("string", [path_check], nullable=True),
            **{c: pa.Column(nullable=True) for c in ("patient", "group", "modality", "anatomy")},
            **{c: pa.Column(checks=split_check) for c in split_columns(frame)},
        }
    )
    try:
        schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases.to_dict("records")
        names = frame["image"].fillna("a row without a name").to_numpy()
        twice = frame[frame["image"].duplicated(keep=False)].dropna(subset=["image", "label"])
        labels = twice.groupby("image")["label"].agg(sorted)
        return list(dict.fromkeys(_sentence(case, names, labels) for case in cases))
    return []


def _sentence(case, names, labels):
    row, column, check = case["index"], case["column"], str(case["check"])
    name = "table" if pd.isna(row) else names[int(row)]
    if column == "image" and "unique" in check:
        found = labels.get(case["failure_case"], [])
        return f"{name}: stands in the table more than once, with labels {found}"
    if check == "not_nullable":
        return f"{name}: {column} is empty"
    return f"{name}: {column} {check} (received {case['failure_case']!r})"


def _group_problems(frame):
    """A patient's images belong to one group; a group may hold several patients."""
    split = frame.dropna(subset=["patient"]).groupby("patient")["group"].nunique()
    bad = set(split[split > 1].index)
    rows = frame[frame["patient"].isin(bad)].drop_duplicates("patient")
    return [
        f"{row.image}: patient {row.patient} stands in several groups" for row in rows.itertuples()
    ]


def _as_on_disk(frame, root):
    """Names that differ from their file's in Unicode form only, as the disk has them."""
    known = {}
    for column in ("image", "mask"):
        cells = frame[column][inside(frame[column]).fillna(False)]
        found = {c: _found(c, root, known) for c in cells.unique() if not c.isascii()}
        if found:
            frame[column] = frame[column].replace(found)
    return frame


def _found(cell, root, known):
    """A cell's paths, each as the disk has it; as they are where there is no such file."""
    return MASK_SEPARATOR.join(
        path if (root / file_of(path)).exists() else _other_form(path, root, known)
        for path in masks(cell)
    )


def _other_form(path, root, known):
    """The one path on the disk that is the same in composed Unicode, else the path itself."""
    file, home = file_of(path), root
    for part in PurePosixPath(file).parts:
        if home not in known:
            known[home] = os.listdir(home) if home.is_dir() else []
        same = [name for name in known[home] if normal_form(name) == normal_form(part)]
        name = part if part in same else same[0] if len(same) == 1 else None
        if name is None:
            return path
        home = home / name
    return home.relative_to(root).as_posix() + path[len(file) :]


def _missing_files(frame, root):
    if not root.is_dir():
        return [f"{root}: no such folder"]
    exists = _lookup(root)
    images = tqdm(frame["image"], "Files", unit="image", mininterval=1, disable=len(frame) < MANY)
    problems = [f"{p}: no such file under {root}" for p in images if not exists(file_of(p))]
    for row in frame.dropna(subset=["mask"]).itertuples():
        absent = [m for m in masks(row.mask) if not exists(file_of(m))]
        problems += [f"{row.image}: its mask {m} does not exist under {root}" for m in absent]
    return problems


def _lookup(root):
    """A function: is there a file of that path? Each folder is listed once, not asked per file."""
    listed = {}

    def exists(path):
        folder, _, name = path.rpartition("/")
        if folder not in listed:
            listed[folder] = _files(root / folder)
        # some file systems know a file by other names too (upper case, other accents): ask them
        return name in listed[folder] or (root / path).is_file()

    return exists


def _files(folder):
    """Names of a folder's files; a link counts where it leads to one."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:  # no such folder, or none that may be read: its files are asked one by one
        return set()
