"""The published numbers: read them, and redo the paper's intervals from its own means and SDs."""

from importlib import resources

import pandas as pd

from rin import stats

N_SCENARIOS = 24  # 4 backbones × (2 + 2 + 2) ways to train
LEVEL = 0.95
# RadImageNet's anatomy folders that the paper calls otherwise
ANATOMY_GROUPS = {"abd": "abdomen/pelvis", "af": "ankle/foot"}


def tasks():
    """The eight published tasks.

    Returns:
        DataFrame, one row per task in the paper's order: sizes, protocol, mean AUC and SD of both
        inits (0 to 1), `gain_points` with its 95% interval (points), `p` as printed (text).

    Source: Mei et al. 2022, doi:10.1148/ryai.210315

    >>> len(tasks())
    8
    """
    return _read("published_tasks.csv", dtype={"p": str})


def dice():
    """The published Grad-CAM Dice scores.

    Returns:
        DataFrame, one row per task with lesion masks: mean Dice of both inits (0 to 1),
        `gain_percent` relative to ImageNet, `p` as printed (text), `cam_threshold` (0 to 255).

    Source: Mei et al. 2022, Results and Figure 5, doi:10.1148/ryai.210315
    """
    return _read("published_dice.csv", dtype={"p": str})


def database():
    """The eleven modality-anatomy groups of RadImageNet.

    Returns:
        DataFrame, one row a group: `modality`, `anatomy`, `classes`, `average_class_size`,
        `images`. The classes sum to 165, the images to 1,354,913.

    Source: Mei et al. 2022, Figure 2, doi:10.1148/ryai.210315

    >>> int(database().images.sum())
    1354913
    """
    return _read("published_database.csv")


def pretraining():
    """Top-1 and top-5 accuracy of the four pretrained networks, over 165 classes.

    On which images is not said; the paper's test set, 15% by patient, is presumed.

    Returns:
        DataFrame, one row a backbone: `backbone` (a key of `rin.backbones.BACKBONES`), `top1`,
        `top5` (0 to 1, printed to 0.001) and `source`.

    Source: BMEII-AI/RadImageNet, `README.md` at commit 01d240b
    """
    return _read("published_pretraining.csv")


def classes():
    """The 165 classes of RadImageNet as released, typos and trailing underscores kept.

    Names alone are not unique: a class is (modality, anatomy, class).

    Returns:
        DataFrame, one row a class in the order of public code that lists them (`unimed_index`):
        `modality`, `anatomy` (the folder; ultrasound has none, there it is the class's own name,
        and "thyroid" for both thyroid classes), `class`, `count` (images, where known: see
        `note`), `source`, `note`; and two columns made here: `label`, as
        `rin.datasets.radimagenet` writes it, and `group`, the paper's name of the anatomy.

    Source: UniMed-CLIP's list of RadImageNet prompts and others, row by row in `source`
    """
    table = _read("radimagenet_classes.csv", dtype={"class": str, "count": "Int64"})
    keys = list(zip(table["modality"], table["anatomy"], table["class"], strict=True))
    label = [
        "US/" + name if modality == "US" else "/".join((modality, anatomy, name))
        for modality, anatomy, name in keys
    ]
    return table.assign(label=label, group=[anatomy_group(*key[:2]) for key in keys])


def anatomy_group(modality, anatomy):
    """The paper's name of an anatomy of RadImageNet; an unknown one stays as it is.

    Args:
        modality: CT, MR or US.
        anatomy: as in `classes()`: the folder's name.

    >>> anatomy_group("MR", "af"), anatomy_group("US", "liver"), anatomy_group("US", "thyroid")
    ('ankle/foot', 'abdomen/pelvis', 'thyroid')
    """
    if modality == "US" and anatomy != "thyroid":
        return "abdomen/pelvis"
    return ANATOMY_GROUPS.get(anatomy, anatomy)


def official_folds(task):
    """The test and validation images of the official five folds; training images are the rest.

    Args:
        task: "breast" (780 images) or "thyroid" (349 images).

    Returns:
        DataFrame with `task`, `fold` (0 to 4), `split` ("test" or "val"), `image` (file name) and
        `label`. Test sets partition the images; validation sets of different folds overlap.

    Raises:
        ValueError: no official folds are on record for this task.

    Source: BMEII-AI/RadImageNet, `*/dataframe/*_fold*.csv` at commit a12fb76
    """
    text = ["task", "split", "image", "label"]
    table = _read("official_folds.csv", dtype=dict.fromkeys(text, str))
    choices = sorted(table.task.unique())
    if task not in choices:
        raise ValueError(f"`task` should be one of {choices}. Received: task={task!r}")
    return table[table.task == task].reset_index(drop=True)


def burned_in():
    """The DDTI images that show their own TI-RADS grade in letters below the scan.

    Found in the release by comparing the word with the pixels; a few more show other words, such
    as 342_1.jpg, which names a diagnosis.

    Returns:
        DataFrame with `image` (file name), 75 rows; 73 of them are in the official folds.

    >>> len(burned_in())
    75
    """
    return _read("thyroid_burned_in.csv", dtype=str)


def as_published(tasks, n_scenarios=N_SCENARIOS, level=LEVEL):
    """Redo the paper's intervals as unpaired t intervals over its scenarios.

    That this is how the printed intervals were made is inferred from their widths; the paper
    names another procedure (DeLong). The method ignores pairing and treats scenarios that share
    one test set as independent, so its P values show what the printed intervals imply, not what
    the data show.

    Means are printed to 0.01, so their difference is too coarse for a P value. The P value is
    therefore that of the printed gain; its standard error comes from the printed SDs.

    Args:
        tasks: the table of `tasks()`, or rows of it.
        n_scenarios: AUCs per init behind each mean and SD.
        level: coverage of the intervals, 0 to 1. The paper prints 95%.

    Returns:
        DataFrame, one row per task, in points (100 × AUC) unless said:
        `difference` of the printed means; `gain` as printed; `low`, `high`, `half_width`
        computed around the printed gain; `printed_low`, `printed_high`, `printed_half_width`;
        `printed_center`, the middle of the printed interval; `p` computed and `p_holm` adjusted
        over all eight tasks (0 to 1); `printed_p` (text); `printed_includes_0` (bool).

    Source: Mei et al. 2022, doi:10.1148/ryai.210315; Holm 1979
    """
    rows = [_as_published(row, n_scenarios, level) for row in tasks.itertuples()]
    table = pd.DataFrame(rows)
    # Eight tasks were tested, so the family stays eight even when only some rows are given.
    adjusted = stats.holm(table.p.to_numpy(), m=8)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", adjusted)
    return table


def _as_published(row, n, level):
    sds = row.sd_radimagenet, row.sd_imagenet
    test = stats.unpaired_t_interval(row.gain_points / 100, sds[0], 0.0, sds[1], n, level=level)
    return {
        "task": row.task,
        "difference": round(100 * (row.auc_radimagenet - row.auc_imagenet), 6),
        "gain": row.gain_points,
        "low": 100 * test.low,
        "high": 100 * test.high,
        "half_width": 100 * test.half_width,
        "printed_low": row.gain_ci_low,
        "printed_high": row.gain_ci_high,
        "printed_half_width": (row.gain_ci_high - row.gain_ci_low) / 2,
        "printed_center": (row.gain_ci_high + row.gain_ci_low) / 2,
        "p": test.p,
        "printed_p": row.p,
        "printed_includes_0": row.gain_ci_low <= 0 <= row.gain_ci_high,
    }


def _read(name, **options):
    with resources.files("rin").joinpath("data", name).open(encoding="utf-8") as file:
        return pd.read_csv(file, **options)
