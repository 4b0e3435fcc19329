"""The pretraining experiment: what is kept of it, what is refused, and what is compared how."""

import importlib
import shlex
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rin import experiment, judge, paths, phantoms, records, run
from rin.experiment import FILES, RUN, ExperimentError
from rin.prepare import prepare
from rin.pretraining import card, database, scores
from rin.scenarios import Run, Scenario

ROOT = Path(__file__).resolve().parents[1]
SIZE, BLOCK = 32, 2
CLASSES = ("CT/lung/nodule", "CT/lung/normal", "US/liver")
HEAD, ALL = Scenario("densenet121", "head", 1e-2), Scenario("densenet121", "all", 1e-4)
SHA = "a" * 64  # of the weights that were pretrained
pytestmark = pytest.mark.filterwarnings("ignore::rin.splits.SmallSplitWarning")

# statistics.md, sections 2 and 4
Y, Y2 = [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0]
A, B = [0.9, 0.8, 0.4, 0.5, 0.3, 0.2], [0.7, 0.6, 0.3, 0.65, 0.4, 0.1]
A2, B2 = [0.8, 0.5, 0.6, 0.4, 0.1], [0.6, 0.2, 0.5, 0.3, 0.25]


def script():
    """The command as a module: benchmarks lie outside any package."""
    if str(ROOT / "benchmarks") not in sys.path:
        sys.path.append(str(ROOT / "benchmarks"))
    return importlib.import_module("keep_experiment")


def test_the_trivial_baseline_is_the_best_of_those_that_kept_patients_together():
    best = experiment.trivial(ROOT / "results", "breast")
    scored = pd.read_csv(ROOT / "results/busi/audit_grouped.csv")
    assert best.auc == scored["by duplicate"].max() < scored["by image"].max()
    assert best.baseline in set(scored["baseline"])


# What is kept


def finished_pretraining(home, base, backbone, phantom=False):
    """What *Pretrain a backbone* leaves: tables, record and card."""
    y, splits, n = base.data.y, base.data.splits[:, 0], len(base.data.y)
    told = np.full((n, len(CLASSES)), 0.2)
    told[np.arange(n), np.where(np.arange(n) % 4, y, 0)] = 0.6
    parts = [
        scores.predictions(told[at], y[at], base.classes, base.data.image_ids[at], split)
        for split in ("val", "test")
        for at in [np.flatnonzero(splits == split)]
    ]
    folder = home / backbone
    folder.mkdir(parents=True)
    pd.concat(parts).to_parquet(folder / "predictions.parquet")
    row = {"learning_rate": 1e-3, "loss": 1.0, "val_loss": 1.1, "val_top1": 0.7, "val_top5": 1.0}
    row |= {"val_balanced_accuracy": 0.7, "val_macro_f1": 0.6, "seconds": 9.0, "images_per_s": 20.0}
    pd.DataFrame([{"epoch": k} | row for k in range(3)]).to_parquet(folder / "history.parquet")
    recipe = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "policies": [], "seed": 0}
    recipe |= {"preprocess": "official"}
    name = f"Pretrained-{backbone}_notop"
    about = card.Card(
        backbone=backbone,
        classes=base.classes,
        preprocess="official",
        image_size=SIZE,
        data_fingerprint=base.data.fingerprint,
        protocol="blocks",
        n_images={split: int((splits == split).sum()) for split in ("train", "val", "test")},
        recipe=recipe,
        metrics={},
        phantom=phantom,
        sha256={f"{name}.h5": SHA},
    )
    card.write(about, home / f"{name}.card.json")
    facts = {"backbone": backbone, "image_size": SIZE, "classes": list(base.classes)}
    facts |= {"data_fingerprint": base.data.fingerprint, "recipe": recipe, "backend": "tensorflow"}
    record = {"kind": "pretraining", "fingerprint": "f", "facts": facts, "phantom": phantom}
    record |= {"protocol": "blocks", "result": {"epoch": 2, "n_updates": 30, "seconds": 27.0}}
    record["files"] = {"legacy": f"{name}.h5", "card": f"{name}.card.json"}
    records.write(folder, record)


def finished_run(home, ready, scenario, init, fold, **other):
    """What *Fine-tune a backbone* leaves of one run; pretrained scores lean more to the truth."""
    data, mark, sha = ready.data, other.pop("mark", None), other.pop("sha", SHA)
    file = {"random": "random"}.get(init, f"/secret/place/{init}-DenseNet121_notop.h5")
    one = Run(ready.task.name, file, "official", scenario, fold, **{"batch_size": 16} | other)
    rng, at = np.random.default_rng(fold), np.flatnonzero(data.splits[:, fold] == "test")
    lean = 0.3 if init == "random" else 0.9
    folder = home / ready.task.name / one.name
    folder.mkdir(parents=True, exist_ok=True)
    values = 0.5 + 0.2 * (lean * (2 * data.y[at] - 1) + rng.normal(size=len(at))).clip(-2, 2)
    table = pd.DataFrame(
        {
            "row": at,
            "image_id": data.image_ids[at],
            "patient": pd.array(data.patients[at], dtype="string"),
            "group": data.groups[at],
            "split": "test",
            "y_true": data.y[at],
            "y_score": values,
            "y_score_negative": 1 - values,
        }
    )
    table.to_parquet(folder / "predictions.parquet")
    history = {"epoch": [0, 1], "loss": [0.7, 0.6], "val_loss": [0.7, 0.65]}
    pd.DataFrame(history).to_parquet(folder / "history.parquet")
    result = {"diverged": False, "best_epoch": 1, "n_epochs": 2, "n_updates": 8, "seconds": 3.6}
    result |= {"n_train": 50, "n_val": 6, "n_test": len(at), "n_trainable": 2050}
    facts = {"kind": "training", "fingerprint": "f", "run": one.facts(), "result": result}
    facts |= {"settings": {"epochs": 2, "augmentation": ready.task.augmentation}}
    facts["settings"]["objective"] = "official"
    facts |= {"data_fingerprint": mark or data.fingerprint, "backend": "tensorflow"}
    records.write(folder, facts | {"init_fingerprint": "random" if init == "random" else sha})
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Images that count as real, a pretraining on some, and finished runs on the others."""
    home = tmp_path_factory.mktemp("project")
    (home / "book").symlink_to(ROOT / "book")
    for folder, (label, n) in enumerate([(name, k) for name in CLASSES for k in range(40)]):
        file = home / "nine/radiology_ai" / label / f"{n:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(folder).integers(0, 256, (24, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "root", lambda: home)
        options = {"image_size": SIZE, "protocol": "blocks", "block_size": BLOCK}
        base = database.prepare(home / "nine", **options)
        finished_pretraining(home / "pretraining", base, "densenet121")
        ready = {}
        for task in ("breast", "pediatric"):
            root = phantoms.write(task, home / task, n=120, size=48)
            (root / phantoms.MARKER).unlink()  # no phantoms any more, as far as anybody can tell
            ready[task] = prepare(task, root, image_size=SIZE)
            for scenario, init, fold in cells(HEAD, ALL) if task == "breast" else cells(HEAD):
                finished_run(home / "runs", ready[task], scenario, init, fold)
        yield home, base, ready


def cells(*scenarios):
    return [(s, i, k) for s in scenarios for i in ("Pretrained", "random") for k in range(5)]


def arguments(home, *more, runs="runs", pretraining="pretraining", tasks=("breast", "pediatric")):
    data = [f"radimagenet={home / 'nine'}", *[f"{task}={home / task}" for task in tasks]]
    folders = ["--pretraining", home / pretraining, "--runs", home / runs]
    given = [*folders, "--data", *data, "--block-size", BLOCK, "--out", home / "kept", *more]
    return [str(one) for one in given]


@pytest.fixture(scope="module")
def kept(world):
    """The kept tables, and the folder they lie in."""
    home = world[0]
    script().main(arguments(home))
    return experiment.read(home / "kept"), home / "kept"


def test_every_table_of_the_experiment_is_kept_and_read_again(kept):
    tables, folder = kept
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES.values())
    assert {one.name for one in fields(tables)} == set(FILES)
    assert all(len(getattr(tables, name)) for name in FILES)


def test_a_prediction_is_kept_for_every_run_and_test_image(kept, world):
    found, (_, _, ready) = kept[0].predictions, world
    n = {task: len(one.data.y) for task, one in ready.items()}
    assert len(found) == 2 * 2 * n["breast"] + 2 * n["pediatric"]
    assert not found.duplicated([*RUN, "row"]).any()
    assert found["y_score"].dtype == np.float32
    for task, one in ready.items():
        part = found[(found["task"] == task) & (found["init"] == "random")]
        assert set(part["row"]) == set(range(n[task]))
        y = dict(zip(one.data.image_ids, one.data.y, strict=True))
        assert list(part["y_true"]) == [y[image_id] for image_id in part["image_id"]]


def test_patients_and_groups_carry_running_names_that_cannot_be_followed_back(kept, world):
    found, (_, _, ready) = kept[0].predictions, world
    assert found[found["task"] == "breast"]["patient"].isna().all()
    part = found[found["task"] == "pediatric"]
    assert part["patient"].str.fullmatch(r"p\d+").all()
    data = ready["pediatric"].data
    raw = pd.Series(data.patients, data.image_ids)
    pairs = pd.DataFrame({"new": part["patient"], "raw": part["image_id"].map(raw)})
    assert len(pairs.drop_duplicates()) == pairs["new"].nunique() == pairs["raw"].nunique()
    again = script().unlinked(pd.Series(raw.to_numpy()), "p")
    first = raw.index.map(part.drop_duplicates("image_id").set_index("image_id")["patient"])
    assert list(again) != list(first)  # another draw, but for one chance in thousands


def test_no_table_holds_a_path_a_file_name_or_a_raw_id(kept, world):
    tables, (home, _, ready) = kept[0], world
    raw = {*ready["pediatric"].manifest["patient"].dropna(), *ready["pediatric"].manifest["image"]}
    raw |= {*ready["breast"].manifest["image"]}
    for name in FILES:
        frame = getattr(tables, name)
        text = frame.to_csv(index=False)
        assert "secret" not in text and str(home) not in text and ".png" not in text, name
        assert not {"image", "folder"} & set(frame)
        for column in frame.select_dtypes(exclude="number"):
            assert not raw & set(frame[column].astype(str)), (name, column)


def test_the_same_runs_give_the_same_tables_but_for_the_names_drawn(kept, world, tmp_path):
    arguments_again = arguments(world[0])
    arguments_again[arguments_again.index("--out") + 1] = str(tmp_path)
    script().main(arguments_again)
    for name, file in FILES.items():
        if name == "predictions":
            old, new = (experiment.read(at).predictions for at in (kept[1], tmp_path))
            drawn = ["patient", "group"]
            pd.testing.assert_frame_equal(old.drop(columns=drawn), new.drop(columns=drawn))
        else:
            assert (kept[1] / file).read_bytes() == (tmp_path / file).read_bytes(), name


def test_pretraining_is_kept_with_its_scores_and_class_sizes(kept, world):
    tables, base = kept[0], world[1]
    sizes = base.counts().set_index("label")["n_train"]
    assert (tables.classes.set_index("label")["n_train"] == sizes).all()
    test = tables.labels[tables.labels["split"] == "test"]
    metrics = tables.metrics[tables.metrics["split"] == "test"].set_index("metric")
    assert metrics.loc["top1", "estimate"] == pytest.approx((test.true_rank == 0).mean(), abs=1e-6)
    assert metrics.loc["top1", "n"] == len(test)
    assert len(tables.history) == 3 and set(tables.history["backbone"]) == {"densenet121"}


def test_the_process_says_what_ran_on_what_and_how_it_can_run_again(kept, world):
    process, (_, base, ready) = kept[0].process, world
    said = process[["step", "what", "trainable", "n_runs"]].to_numpy().tolist()
    assert said == [
        ["pretraining", "3 classes", "all", 1],
        ["fine-tuning", "breast", "head", 10],
        ["fine-tuning", "breast", "all", 10],
        ["fine-tuning", "pediatric", "head", 10],
    ]
    assert process["hours"].tolist() == pytest.approx([27 / 3600, 0.01, 0.01, 0.01])
    assert "not a patient split" in process["split"][0]
    assert process["n_images"].tolist()[:2] == [len(base.manifest), len(ready["breast"].manifest)]
    assert process["hardware"].str.contains("cores").all() and (process["image_size"] == SIZE).all()
    assert process["command"].is_unique
    for line in process["command"]:
        words = shlex.split(line)
        pairs = [word for flag, word in zip(words, words[1:], strict=False) if flag == "-p"]
        params, page = run.read_params(pairs=pairs), words[3]
        run.check(params, run.parameters(ROOT / page), page)
        assert params["data_dir"] == "IMAGES" and params["image_size"] == SIZE
    assert params["task"] == "pediatric" and params["folds"] == [0, 1, 2, 3, 4]
    whole = run.read_params(pairs=[w for w in shlex.split(process["command"][2]) if "=" in w])
    assert whole["learning_rates"] == {"all": [1e-4]} and whole["trainables"] == ["all"]


def test_only_the_trainables_that_are_named_are_kept(world, tmp_path):
    given = arguments(world[0], "--trainables", "head", tasks=["breast"])
    given[given.index("--out") + 1] = str(tmp_path)
    script().main(given)
    found = experiment.read(tmp_path)
    assert set(found.predictions["trainable"]) == set(found.runs["trainable"]) == {"head"}
    assert set(found.predictions["task"]) == {"breast"}


# What is refused


def refusal(world, *more, **given):
    """What the command says when it ends; the tables that lay there must be untouched."""
    home = world[0]
    before = {file.name: file.read_bytes() for file in sorted((home / "kept").glob("*"))}
    with pytest.raises(SystemExit) as ended:
        script().main(arguments(home, *more, **given))
    assert before == {file.name: file.read_bytes() for file in sorted((home / "kept").glob("*"))}
    return str(ended.value.code)


def changed_runs(world, change):
    """A copy of the breast runs in which `change(home of the runs)` was made; its name."""
    home, _, ready = world
    shutil.rmtree(home / "changed", ignore_errors=True)
    shutil.copytree(home / "runs/breast", home / "changed/breast")
    change(home / "changed", ready["breast"])
    return "changed"


def lose(fold):
    def change(home, ready):
        for folder in (home / "breast").glob(f"Pretrained*-all-*fold{fold}-*"):
            (folder / "record.json").unlink()

    return change


def again(*scenarios, inits=("Pretrained", "random"), **other):
    """A change that writes the runs of these scenarios anew, with other facts."""

    def change(home, ready):
        for scenario, init, fold in cells(*scenarios):
            if init in inits:
                finished_run(home, ready, scenario, init, fold, **other)

    return change


def strangers(home, ready):
    """A change that adds runs of a third init."""
    for fold in range(5):
        finished_run(home, ready, HEAD, "Other", fold)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lose(3), "densenet121-all-1e-04 pretrained lacks folds 3"),
        (again(HEAD, ALL, inits=["Pretrained"], sha="b" * 64), "weights are of no pretraining"),
        (strangers, "one kind of weight files are expected. Received: .*Other-.*random"),
        (again(HEAD, seed=1), "one seed is expected"),
        (again(HEAD, batch_size=8, inits=["random"]), "one batch size in each scenario"),
        (again(HEAD, ALL, mark="feed"), "data and split are feed, those of the folder given"),
        (again(HEAD, mark="feed"), "2 different data sets or splits"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(world, change, expected):
    (home, _, ready), keep = world, script()
    runs, done = changed_runs(world, change), keep.pretrainings(home / "pretraining")
    with pytest.raises((keep.KeepError, judge.JudgeError), match=expected) as refused:
        found = keep.chosen(home / runs, "breast")
        keep.check(found, ready["breast"].data, done, home / "pretraining")
    assert "\n" not in str(refused.value) and "secret" not in str(refused.value)


def test_an_unfinished_grid_ends_the_command_and_changes_nothing(world, kept):
    said = refusal(world, runs=changed_runs(world, lose(3)), tasks=["breast"])
    assert said.startswith("error: breast: the grid is not finished (densenet121-all-1e-04")
    assert "--trainables" in said


def test_runs_on_other_images_are_refused(world, kept):
    said = refusal(world, "--image-size", "48", tasks=["breast"])
    assert "those of the folder given at 48 px" in said
    assert "other images, or another `--block-size`" in refusal(world, "--block-size", "3")


def test_phantoms_are_refused(world, kept):
    home, base, _ = world
    marker = home / "breast" / phantoms.MARKER
    marker.write_text("{}")
    try:
        assert "a phantom result is no finding" in refusal(world)
    finally:
        marker.unlink()
    finished_pretraining(home / "of_phantoms", base, "densenet121", phantom=True)
    assert "saw phantoms" in refusal(world, pretraining="of_phantoms")


def test_an_absent_or_unfinished_pretraining_is_refused(world, kept):
    assert "no pretraining there" in refusal(world, pretraining="nowhere")
    (world[0] / "begun/resnet50").mkdir(parents=True)
    said = refusal(world, pretraining="begun")
    assert "the pretraining of resnet50 is not finished" in said


def test_a_task_without_runs_is_refused(world, kept):
    said = refusal(world, runs="nowhere", tasks=["breast"])
    assert "no finished run of task 'breast'" in said


def test_the_command_says_what_it_asks(capsys):
    with pytest.raises(SystemExit) as ended:
        script().main(["--help"])
    assert ended.value.code == 0 and "--pretraining" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="`--data` should be NAME=FOLDER. Received: .'busi'."):
        script().main(["--pretraining", "a", "--runs", "b", "--data", "busi"])


def test_tables_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ExperimentError, match="no process.csv, .*keep_experiment.py writes"):
        experiment.read(tmp_path)


def test_the_committed_experiment_holds_its_pretraining_alone():
    if not (ROOT / "results/pretraining").is_dir():
        pytest.skip("needs results/pretraining, which is absent")
    kept = experiment.read(ROOT / "results/pretraining")
    assert set(kept.metrics["backbone"]) == {"densenet121", "resnet50"}
    assert kept.runs.empty and kept.predictions.empty  # withdrawn: another rule for the epoch


def test_tables_of_runs_without_an_objective_are_refused(kept, tmp_path):
    shutil.copytree(kept[1], tmp_path / "old")
    file = tmp_path / "old" / FILES["runs"]
    pd.read_csv(file).drop(columns="objective").to_csv(file, index=False)
    with pytest.raises(ExperimentError, match="another experiment. Delete these and train again"):
        experiment.read(tmp_path / "old")
    (tmp_path / "old" / FILES["losses"]).unlink()  # a part of them is none
    with pytest.raises(ExperimentError, match=r"no history\.parquet"):
        experiment.read(tmp_path / "old")
