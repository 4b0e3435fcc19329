"""Datasets: one reader per raw layout, each from the download as it lies on disk to a manifest."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import filelock

from rin import audit, dicom, images, paths, phantoms
from rin import manifest as manifests
from rin.datasets import (
    breast,
    covid19,
    csv,
    folder,
    mrnet,
    pediatric,
    radimagenet,
    registry,
    rsna_hemorrhage,
    rsna_pneumonia,
    sarscov2,
    thyroid,
)
from rin.datasets.layout import DatasetError, with_noted, with_unnamed

__all__ = [
    "PHANTOM_TASKS",
    "TASKS",
    "DatasetError",
    "Task",
    "check",
    "is_phantom",
    "join_duplicates",
    "locate",
    "read",
    "task",
]

PHANTOM_TASKS = phantoms.TASKS
EMPTY_MASKS = "images whose mask marks nothing"


@dataclass(frozen=True)
class Task:
    """A dataset and its question: how it is read, split and augmented, and its card.

    Attributes:
        name: its key in `TASKS` and in the registry.
        classes: names in label order; index 1 is the positive class. None: those found, sorted.
        protocol: how the study splits it (see `rin.splits.PROTOCOLS`).
        augmentation: a key of `rin.augment.RANGES`: what the official script applies.
        scan: `root, options -> DataFrame`, the raw layout's reader.
        group_duplicates: whether `read` looks for duplicates unless it is told to or not to.
    """

    name: str
    classes: tuple | None
    protocol: str
    augmentation: str
    scan: object
    group_duplicates: bool = True

    @property
    def card(self):
        """Its `rin.datasets.registry.Card`, read when first asked for."""
        return registry.cards()[self.name]

    @property
    def title(self):
        """As it stands in a heading."""
        return self.card.title

    @property
    def source(self):
        """Where the images come from."""
        return self.card.source

    @property
    def published(self):
        """Whether the paper has numbers for it."""
        return self.card.published

    @property
    def show_images(self):
        """Whether pages may show its images."""
        return self.card.show_images

    def require_classes(self, frame):
        """Refuse a manifest in which a class of this task has no image.

        Raises:
            DatasetError: naming the class, and the classes that are there.
        """
        found = manifests.classes(frame)
        absent = [name for name in self.classes or () if name not in found]
        if absent:
            raise DatasetError(
                f"{self.name}: no image of class {absent[0]!r}; expected images of "
                f"{' and '.join(self.classes)}, found {len(frame)} of {', '.join(found)}"
            )


def _csv(root, **options):
    """The csv reader, with what lies beside the images it names; readers of lists do without."""
    return with_unnamed(csv.scan(root, **options), root)


BENIGN, TEAR = ("benign", "malignant"), ("no tear", "tear")
_TASKS = (
    Task("thyroid", BENIGN, "5-fold", "small", thyroid.scan),
    Task("breast", BENIGN, "5-fold", "small", breast.scan),
    Task("acl", TEAR, "5-fold", "small", partial(mrnet.scan, task="acl")),
    Task("meniscus", TEAR, "5-fold", "small", partial(mrnet.scan, task="meniscus")),
    Task("pneumonia", ("no pneumonia", "pneumonia"), "75/10/15", "large", rsna_pneumonia.scan),
    Task("covid19", ("no COVID-19", "COVID-19"), "75/10/15", "large", covid19.scan),
    Task(
        "sarscov2",
        ("community-acquired pneumonia", "SARS-CoV-2"),
        "75/10/15",
        "large",
        sarscov2.scan,
    ),
    Task("hemorrhage", ("no hemorrhage", "hemorrhage"), "75/10/15", "large", rsna_hemorrhage.scan),
    Task("pediatric", ("normal", "pneumonia"), "5-fold", "large", pediatric.scan),
    # 1.35 million images without patient ids: to look for duplicates would decode every one
    Task("radimagenet", None, "75/10/15", "large", radimagenet.scan, group_duplicates=False),
    Task("folder", None, "5-fold", "large", folder.scan),
    Task("csv", None, "5-fold", "large", _csv),
)
TASKS = {row.name: row for row in _TASKS}


def task(name):
    """The `Task` of that name.

    Raises:
        ValueError: listing the tasks there are.
    """
    if name not in TASKS:
        raise ValueError(f"`task` should be one of {sorted(TASKS)}. Received: task={name!r}")
    return TASKS[name]


def read(
    task,
    root,
    *,
    patients="number",
    duplicates=None,
    clean=False,
    on_bad_image="stop",
    **options,
):
    """Read a raw dataset into a validated manifest.

    Args:
        task: a key of `TASKS`; `folder` and `csv` take the reader's own images.
        root: folder of the download; the manifest's paths start here.
        patients: "number" gives running numbers, "hash" keyed hashes (see `rin.manifest`).
        duplicates: whether duplicates join one group, with their patients: True for exact and
            near ones, False for none; default see `join_duplicates`.
        clean: whether to leave out images whose duplicate carries another label.
        on_bad_image: "stop" or "skip" unreadable images while duplicates are looked for.
        **options: the reader's own; see `rin.datasets.csv` and `rin.datasets.folder`.

    Returns:
        DataFrame with the columns of `rin.manifest.COLUMNS`, one row an image, sorted by path.
        `.attrs["excluded"]` says what was left out: reason -> n and examples; `.attrs["noted"]`,
        in the same form, what was repaired.

    Raises:
        DatasetError: the folder is missing or not in the layout expected.
        rin.manifest.ManifestError: rows that break the schema, all of them listed.
        rin.images.ImageError: unreadable images met while looking for duplicates.
    """
    hide = {"number": manifests.number_patients, "hash": manifests.hash_patients}
    if patients not in hide:
        raise ValueError(f"`patients` should be number or hash. Received: patients={patients!r}")
    row, root = _task(task), Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected the {task} dataset there")
    frame = row.scan(root, **options)
    if "patient" in frame:
        frame["patient"] = hide[patients](frame["patient"])
    said = {"excluded": frame.attrs.get("excluded", {}), "noted": frame.attrs.get("noted", {})}
    frame = manifests.validate(frame, root, where=f"{task} in {root}")
    frame.attrs.update(said)
    return join_duplicates(task, frame, root, duplicates, clean, on_bad_image)


def join_duplicates(
    task, frame, root, duplicates=None, clean=False, on_bad_image="stop", store=None
):
    """A manifest whose groups hold patients joined with duplicates, as `read` returns it.

    Exact duplicates always join. Near ones join where `rin.audit.duplicates` finds them, which
    asks more of images of known patients, unless they form a chain: then `rin.audit.group` says
    what happens, and one line is printed.

    Args:
        task: a key of `TASKS`.
        frame: a validated manifest.
        root: folder its paths start from.
        duplicates: True for exact and near ones, False for none. Default: both, but none for a
            task that asks for none (RadImageNet), and above 50,000 images exact ones alone,
            unless `clean` asks for near ones; a line says so.
        clean: whether to leave out images whose duplicate carries another label.
        on_bad_image: "stop" or "skip" unreadable images.
        store: a `rin.images.Store` of the same rows, which spares decoding them again.
    """
    wanted = (clean or _task(task).group_duplicates) if duplicates is None else duplicates
    if not wanted and not clean:
        return frame
    if duplicates or clean or len(frame) <= audit.NEAR_LIMIT:
        prints = audit.fingerprints(frame, root, None, on_bad_image, store)
        pairs = audit.duplicates(frame, root, prints=prints)
    else:
        pairs = audit.exact(frame, root, on_bad_image, store)
        print(
            f"{task}: {len(frame):,} images, more than {audit.NEAR_LIMIT:,}: exact duplicates are "
            "joined, near ones looked for only with duplicates=True"
        )
    frame, pairs = _cleaned(frame, pairs) if clean else (frame, pairs)
    return _grouped(task, frame, pairs) if wanted else frame


def check(task, root, **options):
    """Read a dataset, print what was found beside what is expected, and return the table.

    Masks are opened: those that mark nothing or can't be used are counted too.

    Args:
        task, root, **options: as in `read`; duplicates are not looked for unless asked for.

    Returns:
        DataFrame of `rin.datasets.registry.compare`.

    Raises:
        What `read` raises.
    """
    frame, card = read(task, root, **({"duplicates": False} | options)), _task(task).card
    empty, bad = images.look_at_masks(frame, root)
    with_noted(frame, {EMPTY_MASKS: empty, "masks that can't be used": list(bad)})
    if task in ("folder", "csv"):  # other readers know what their dataset needs
        with_noted(frame, {rsna_hemorrhage.WRAPPED: _wrapped(frame["image"], root)})
    table = registry.compare(frame, card, phantom=is_phantom(root) is not None)
    print(registry.text(table, card))
    return table


def _wrapped(names, root):
    """The DICOM files among some images whose values may have wrapped."""

    def one(name):
        try:
            if dicom.is_dicom(Path(root) / name):
                return dicom.may_wrap(dicom.tags(Path(root) / name, dicom.WRAP_TAGS))
        except (OSError, dicom.DicomError):
            pass  # named when it is decoded
        return False

    names = [name for name in names if not name.lower().endswith((".png", ".jpg", ".jpeg"))]
    found = images.each(one, names, "Headers") if names else []
    return [name for name, wraps in zip(names, found, strict=True) if wraps]


def locate(name, data_dir="", n_phantoms=None, seed=0):
    """The folder of a task's images: the reader's own, or phantoms written when there is none.

    Args:
        name: a key of `TASKS`.
        data_dir: folder of the real download; "" writes (once) and takes phantoms, which lie
            under `data/phantoms/`.
        n_phantoms, seed: how many phantoms, and which.

    Raises:
        DatasetError: no folder is given, and there are no phantoms of this task.
    """
    if data_dir:
        return paths.resolve(data_dir)
    if name not in PHANTOM_TASKS:
        known = ", ".join(PHANTOM_TASKS)
        raise DatasetError(f"`data_dir` is empty, and phantoms exist for {known} only")
    home = paths.root() / "data" / "phantoms" / f"{name}-{n_phantoms or 'default'}-seed{seed}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(home.with_suffix(".lock")):
        return phantoms.write(name, home, n=n_phantoms, seed=seed)


def is_phantom(root):
    """The settings of the phantoms at `root` or around it; None when the images are not ours."""
    root = Path(root).resolve()
    for home in (root, *root.parents):
        marker = home / phantoms.MARKER
        if marker.is_file():
            return json.loads(marker.read_text())
    return None


def _grouped(task, frame, pairs):
    """Duplicates joined, and a line where chains were not; patients keep their names if none is."""
    grouped = audit.group(frame, pairs)
    found = grouped.attrs.get("chains", [])
    if found:
        n_images, n_near = (sum(chain[key] for chain in found) for key in ("n_images", "n_near"))
        print(
            f"{task}: chains of near duplicates, left apart: {len(found):,}, with {n_near:,} pairs "
            f"among {n_images:,} images (*Question the data* lists them)"
        )
    if frame["patient"].notna().all() and grouped["group"].nunique() == frame["group"].nunique():
        return grouped.assign(group=frame["group"])
    return grouped


def _cleaned(frame, pairs):
    """The manifest without label conflicts, which `audit.clean` counts, and the remaining pairs.

    A pair that a chain keeps from joining is not believed to be a contradiction either.
    """
    kept = audit.clean(frame, audit.unchained(frame, pairs))
    remain = pairs["image_a"].isin(kept["image"]) & pairs["image_b"].isin(kept["image"])
    return kept, pairs[remain].reset_index(drop=True)


_task = task  # `read` and `check` have an argument of that name
