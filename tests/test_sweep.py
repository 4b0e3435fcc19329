"""The sweep: how a profile becomes jobs, what is reported, and that nothing is lost when killed."""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import filelock
import nbformat
import pandas as pd
import psutil
import pytest
import yaml

from rin import forecast, records, steps, sweep

ROOT = Path(__file__).resolve().parents[1]

TRAIN = """
import os, time
import filelock
import pandas as pd
from rin import paths, records
for backbone in backbones:
    for init in inits:
        home = paths.resolve(out_dir) / task / f"{backbone}-{init}"
        home.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(home / ".lock"):
            if records.is_finished(home, "same"):
                continue
            if init == "broken":
                raise ValueError("no such weights: broken")
            for epoch in range(epochs):
                print(f"{backbone} {init} {epoch}/{epochs} epochs", flush=True)
                time.sleep(pause_s)
            score = [len(backbone) * k / 100 + len(init) for k in range(5)]
            with open(paths.resolve(out_dir) / "trained.txt", "a") as file:
                file.write(home.name + "\\n")
            with paths.replacing(home / "predictions.parquet") as file:
                pd.DataFrame({"y_score": score}).to_parquet(file)
            records.write(home, {"kind": "training", "fingerprint": "same"})
"""
JUDGE = """
import pandas as pd
from rin import paths
home = paths.resolve(runs_dir) / task
found = {p.parent.name: pd.read_parquet(p).y_score for p in sorted(home.glob("*/*.parquet"))}
with paths.replacing(paths.resolve(out_dir) / f"{task}.parquet") as file:
    pd.DataFrame(found).to_parquet(file)
"""
TRAIN_DEFAULTS = """
task = "breast"
data_dir = None
backbones = ["resnet50"]
inits = ["random"]
epochs = 1
pause_s = 0.0
out_dir = "runs/smoke"
"""
JUDGE_DEFAULTS = """
task = "breast"
data_dir = None
runs_dir = "runs/smoke"
out_dir = "runs/smoke/tables"
"""
PARAMS = {
    "05_train": {
        "task": "breast",
        "backbones": ["one"],
        "inits": ["random", "sure"],
        "out_dir": "runs/tiny",
    },
    "05_train/pediatric": {"task": "pediatric", "backbones": ["two"], "out_dir": "runs/tiny"},
    "06_judge": {
        "task": "breast",
        "runs_dir": "runs/tiny",
        "out_dir": "runs/tiny/tables",
    },
}


def make_project(home):
    """A project of two stand-in pages; `rin` is a copy, so that nobody changes it meanwhile."""
    (home / "book").mkdir(parents=True)
    shutil.copytree(ROOT / "rin", home / "rin", ignore=shutil.ignore_patterns("__pycache__"))
    for linked in ("Snakefile", "cluster"):
        (home / linked).symlink_to(ROOT / linked)
    (home / "book/intro.md").write_text("# A book\n")
    write_page(home / "book/05_train.ipynb", "Train", TRAIN_DEFAULTS, TRAIN)
    write_page(home / "book/06_judge.ipynb", "Judge", JUDGE_DEFAULTS, JUDGE)
    chapters = [{"file": "book/05_train"}, {"file": "book/06_judge"}]
    toc = {"format": "jb-book", "root": "book/intro", "chapters": chapters}
    (home / "_toc.yml").write_text(yaml.safe_dump(toc))
    config = {"title": "Tiny", "execute": {"execute_notebooks": "off"}}
    (home / "_config.yml").write_text(yaml.safe_dump(config | {"only_build_toc_files": True}))
    for place, params in PARAMS.items():
        change(home, place, **params)
    return home


def write_page(file, title, parameters, code):
    cells = [nbformat.v4.new_markdown_cell(f"# {title}")]
    cells += [nbformat.v4.new_code_cell(parameters.strip(), metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(code.strip())]
    notebook = nbformat.v4.new_notebook(cells=cells)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    nbformat.write(notebook, file)


def change(home, place, **params):
    file = home / f"params/tiny/{place}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    before = yaml.safe_load(file.read_text()) if file.is_file() else {}
    file.write_text(yaml.safe_dump(before | params))


@pytest.fixture
def project(tmp_path, monkeypatch):
    home = make_project(tmp_path / "project")
    monkeypatch.chdir(home)
    return home


def command(*arguments, gpus="0"):
    return [sys.executable, "-m", "rin.sweep", "--profile", "tiny", "--gpus", gpus, *arguments]


def drive(home, *arguments, gpus="0", **environment):
    """Run the driver in a project; its exit code and what it printed."""
    done = subprocess.run(
        command(*arguments, gpus=gpus),
        cwd=home,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_page_becomes_one_job_for_each_backbone_and_init(project):
    change(project, "05_train", backbones=["one", "three"])
    found = steps.plan(project, "tiny")
    assert [step.name for step in found.jobs] == [
        "breast/one-random",
        "breast/one-sure-c0cafc",
        "breast/three-random",
        "breast/three-sure-c0cafc",
        "pediatric/two-random",
    ]
    first = found.jobs[0].page
    assert first.params["backbones"] == ["one"] and first.params["inits"] == ["random"]
    assert first.params["out_dir"] == "runs/tiny"  # its runs go where the whole page looks
    assert first.out == "runs/tiny/jobs/05_train/one-random"
    assert len({step.page.out for step in found.steps}) == len(found.steps)


PRETRAIN_DEFAULTS = """
backbones = ["one"]
weights_name = "Pretrained"
out_dir = "runs/tiny/pretraining"
"""


def test_jobs_that_train_from_a_weight_file_wait_for_those_that_pretrain(project):
    write_page(project / "book/04_pretrain.ipynb", "Pretrain", PRETRAIN_DEFAULTS, "weights_name")
    toc = yaml.safe_load((project / "_toc.yml").read_text())
    toc["chapters"].append({"file": "book/04_pretrain"})
    (project / "_toc.yml").write_text(yaml.safe_dump(toc))
    write_page(
        project / "book/05_train.ipynb", "Train", TRAIN_DEFAULTS + "\nweight_files = {}", TRAIN
    )
    change(project, "05_train", inits=["random"], backbones=["one", "two"])
    change(project, "05_train", weight_files={"one": "runs/tiny/pretraining/w.h5"})
    jobs = steps.plan(project, "tiny").jobs
    assert jobs[0].name == "04_pretrain/one"
    of_one = [job for job in jobs if job.name.startswith("breast/one")]
    random, pretrained = of_one
    assert random.after == () and random.page.params["weight_files"] == {}
    assert pretrained.after == (jobs[0].page.out,) and pretrained.page.params["inits"] == []
    assert not any("w" in job.page.params["weight_files"] for job in jobs[3:])


def test_an_init_that_is_a_path_becomes_a_folder_name(project):
    change(project, "05_train", inits=["../w/Some File.h5"], backbones=["one"])
    (job, _) = steps.plan(project, "tiny").jobs
    assert re.fullmatch(r"one-Some File-[0-9a-f]{6}", Path(job.page.out).name)
    assert job.page.params["inits"] == ["../w/Some File.h5"]


def test_a_page_waits_for_its_jobs_and_a_page_that_reads_runs_for_the_pages_of_its_task(project):
    write_page(project / "book/07_compare.ipynb", "Compare", "runs_dir = 'runs/tiny'", "runs_dir")
    toc = yaml.safe_load((project / "_toc.yml").read_text())
    toc["chapters"].append({"file": "book/07_compare"})
    (project / "_toc.yml").write_text(yaml.safe_dump(toc))
    found = {step.name: step for step in steps.plan(project, "tiny").steps}
    jobs, pages = "runs/tiny/jobs/05_train", "runs/tiny/pages"
    assert found["breast/one-random"].after == ()
    assert found["05_train_pediatric"].after == (f"{jobs}/pediatric/two-random",)
    assert found["06_judge"].after == (f"{pages}/05_train",)
    train = [f"{pages}/05_train", f"{pages}/05_train/pediatric"]
    assert found["07_compare"].after == (*train, f"{pages}/06_judge")
    seen = set()
    for step in steps.plan(project, "tiny").steps:
        assert set(step.after) <= seen  # none stands before one it waits for
        seen.add(step.page.out)


def test_a_task_without_images_is_left_out_with_its_pages_and_the_book_keeps_every_template(
    project,
):
    change(project, "05_train", data_dir="data/breast")
    change(project, "06_judge", data_dir="data/breast")
    found = steps.plan(project, "tiny")
    assert found.skipped == {"breast": "there is no folder data/breast"}
    assert [step.name for step in found.jobs] == ["pediatric/two-random"]
    places = {page.place: page for page in found.pages}
    assert set(places) == {"book/05_train", "book/06_judge"}
    assert places["book/05_train"].params["task"] == "pediatric"
    assert places["book/06_judge"].params == {}  # its defaults: the table of contents names it


def test_a_profile_without_any_images_is_one_clear_error(project, capsys):
    for place, params in PARAMS.items():
        change(project, place, data_dir=f"data/{params['task']}")
    assert sweep.main(["--profile", "tiny"]) == 2
    said = capsys.readouterr().err
    assert "no images for any task of profile 'tiny'" in said and 'DATA="breast=FOLDER"' in said
    assert "breast: there is no folder data/breast; pediatric: there is no" in said


def test_files_are_touched_only_when_they_say_something_new(project):
    found = steps.plan(project, "tiny")
    steps.write(project, found)
    files = sorted(project.glob("runs/tiny/**/*.yaml")) + sorted(
        project.glob("runs/**/inputs.json")
    )
    assert len(files) == 2 * len(found.steps)
    before = {file: file.stat().st_mtime_ns for file in files}
    change(project, "05_train/pediatric", epochs=2)
    steps.write(project, steps.plan(project, "tiny"))
    touched = {file.parent.name for file in files if file.stat().st_mtime_ns != before[file]}
    assert touched == {"two-random", "pediatric"}


def test_a_changed_page_or_folder_of_images_changes_what_a_record_has_to_agree_with(project):
    images = project / "images"
    images.mkdir()
    change(project, "05_train", data_dir=str(images))
    page = steps.plan(project, "tiny").jobs[0].page
    before = steps.inputs(project, page)
    assert set(before["data_fingerprint"]) == {"data_dir"}
    write_page(project / "book/05_train.ipynb", "Train", TRAIN_DEFAULTS, TRAIN + "x = 1")
    after = steps.inputs(project, page)
    assert {k for k in before if before[k] != after[k]} == {"page_fingerprint"}


def test_jobs_are_listed_with_their_numbers_and_one_is_run_alone(project, capfd):
    assert sweep.main(["--profile", "tiny", "--list"]) == 0
    assert capfd.readouterr().out.splitlines()[2] == "2 pediatric/two-random"
    assert sweep.main(["--profile", "tiny", "--job", "3"]) == 2
    assert "`--job` should be 0 to 2. Received: 3" in capfd.readouterr().err
    (project / ".venv").symlink_to(sys.prefix)
    array = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_SUBMIT_DIR": str(project)}
    done = subprocess.run(
        ["bash", "cluster/array.sh", "--profile", "tiny"],
        env=os.environ | array,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "pediatric/two-random: done" in done.stdout
    assert (project / "runs/tiny/pediatric/two-random/record.json").is_file()
    change(project, "05_train/pediatric", inits=["broken"])
    code, said = drive(project, "--job", "2")
    assert code == 1 and "ValueError: no such weights: broken" in said


TUNE_DEFAULTS = """
task = "breast"
data_dir = ""
n_phantoms = 100
protocol = "5-fold"
interpolation = "bilinear"
image_size = 96
backbones = ["resnet50", "densenet121"]
classifier = "gap"
inits = ["random"]
preprocesses = ["official"]
trainables = ["head", "all"]
learning_rates = {"head": [1.0e-2, 1.0e-3], "all": [1.0e-4]}
batch_sizes = [16]
folds = [0, 1]
seeds = [0]
epochs = 3
objective = "official"
augmentation = "official"
bank_gib = 16.0
out_dir = "runs/tiny"
"""


def test_a_dry_run_counts_runs_time_and_disk_and_writes_nothing(project):
    write_page(project / "book/05_train.ipynb", "Tune", TUNE_DEFAULTS, "task")
    (project / "params/tiny/05_train.yaml").unlink()
    shutil.rmtree(project / "params/tiny/05_train")
    code, said = drive(project, "--dry-run")
    assert code == 0
    rows = [line.split() for line in said.splitlines()]
    assert rows[0] == ["job", "runs", "finished", "time", "disk"]
    assert rows[1][:4] == ["0", "breast/resnet50-random", "6", "0"]  # (2 head + 1 all) x 2 folds
    assert "2 jobs, 12 runs, 0 of them finished; then 2 pages and the book" in said
    assert not (project / "runs").exists() and not (project / "data").exists()


def test_runs_with_a_record_count_as_finished_unless_their_settings_changed(project):
    write_page(project / "book/05_train.ipynb", "Tune", TUNE_DEFAULTS, "task")
    shutil.rmtree(project / "params/tiny/05_train")
    change(project, "05_train", backbones=["resnet50"], inits=["random"])
    (job,) = steps.plan(project, "tiny").jobs
    homes = forecast.homes(steps.params(project, job.page))
    for home in homes[:2]:
        home.mkdir(parents=True)
        told = {"epochs": 3, "objective": "official"}
        records.write(home, {"fingerprint": "x", "settings": told})
    records.write(homes[2].parent, {"fingerprint": "x"})  # not a run
    table = forecast.lines(project, steps.plan(project, "tiny"))
    assert table[1].split()[1:4] == ["breast/resnet50-random", "6", "2"]
    records.write(homes[0], {"fingerprint": "x", "settings": {"epochs": 3}})  # names no objective
    table = forecast.lines(project, steps.plan(project, "tiny"))
    assert table[1].split()[1:4] == ["breast/resnet50-random", "6", "1"]
    change(project, "05_train", objective="stated")
    table = forecast.lines(project, steps.plan(project, "tiny"))
    assert table[1].split()[1:4] == ["breast/resnet50-random", "6", "0"]
    change(project, "05_train", objective="official", epochs=4)
    table = forecast.lines(project, steps.plan(project, "tiny"))
    assert table[1].split()[1:4] == ["breast/resnet50-random", "6", "0"]


def test_without_snakemake_there_is_one_clear_error(project, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert sweep.main(["--profile", "tiny", "--gpus", "0"]) == 2
    assert "make sweep` installs it" in capsys.readouterr().err


def test_two_drivers_of_one_profile_are_refused(project, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    (project / "runs/tiny").mkdir(parents=True)
    with filelock.FileLock(project / "runs/tiny/.sweep.lock"):
        assert sweep.main(["--profile", "tiny", "--gpus", "0"]) == 2
    assert "another sweep of profile 'tiny' is running" in capsys.readouterr().err


def test_more_devices_than_there_are_is_refused(project, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert sweep.main(["--profile", "tiny", "--gpus", "2"]) == 2
    assert "`--gpus` should be 0 to 1, the devices here. Received: 2" in capsys.readouterr().err


def test_every_command_on_the_page_is_one_the_driver_understands():
    text = (ROOT / "book/10_run_it_on_a_cluster.md").read_text()
    said = re.findall(r"python -m rin\.sweep ([^|`)'\n]*)", text)
    assert len(said) >= 5
    for arguments in said:
        number = arguments.replace('"$JOB_COMPLETION_INDEX"', "0")
        sweep._parser().parse_args(number.split())
    manifest = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S)[1])
    (pod,) = manifest["spec"]["template"]["spec"]["containers"]
    assert "--job" in pod["command"][2] and manifest["spec"]["completionMode"] == "Indexed"


def test_a_cluster_gets_its_profile_and_one_machine_its_cores(project):
    def given(*arguments, n=0):
        asked = sweep._parser().parse_args(arguments)
        file = project / "runs/tiny/sweep.json"
        return " ".join(sweep._arguments(project, file, asked, n))

    assert "--cores 3 --resources gpu=3" in given(n=3)
    assert "--executor slurm --jobs 100" in given("--executor", "slurm")
    profile = given("--workflow-profile", "cluster/slurm")
    assert "--workflow-profile cluster/slurm" in profile and "--jobs" not in profile
    assert given("--no-book").startswith("pages ") and given().startswith("book ")


# from here on with Snakemake

engine = pytest.mark.sweep
needs = pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None,
    reason="snakemake is not installed: make test-sweep installs it",
)


def tables(home):
    """Every table under `runs/`, by its path."""
    return {str(p.relative_to(home)): pd.read_parquet(p) for p in home.glob("runs/**/*.parquet")}


def trained(home):
    """Names of the runs that were trained to their end, sorted."""
    return sorted((home / "runs/tiny/trained.txt").read_text().split())


RUNS = ["one-random", "one-sure", "two-random"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project whose sweep ran through, and what its driver said."""
    home = make_project(tmp_path_factory.mktemp("sweep") / "project")
    code, said = drive(home)
    assert code == 0, said
    return home, said


@engine
@needs
def test_a_sweep_trains_every_run_once_and_ends_with_the_book(finished):
    home, said = finished
    assert trained(home) == RUNS
    assert "done: 6 of 6 steps" in said and said.strip().endswith("_build/html/index.html")
    assert list(tables(home)["runs/tiny/tables/breast.parquet"]) == RUNS[:2]
    assert (home / "_build/html/book/05_train_pediatric.html").is_file()


@engine
@needs
def test_a_second_sweep_repeats_nothing_and_a_changed_parameter_only_what_it_touches(finished):
    home, _ = finished
    before = {file: file.stat().st_mtime_ns for file in home.glob("runs/tiny/*/**/record.json")}
    assert drive(home, "--no-book")[0] == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before
    change(home, "06_judge", out_dir="runs/tiny/elsewhere")
    assert drive(home, "--no-book")[0] == 0
    touched = {file.parent.name for file in before if file.stat().st_mtime_ns != before[file]}
    assert touched == {"06_judge"} and trained(home) == RUNS
    shutil.rmtree(home / "runs/tiny/elsewhere")


@engine
@needs
def test_a_failing_job_stops_no_other_and_is_named_with_its_reason(project):
    change(project, "05_train", inits=["random", "broken"])
    code, said = drive(project, gpus="2", CUDA_VISIBLE_DEVICES="3,5")
    assert code == 1
    assert re.search(r"failed: breast/one-broken-\w+: .*ValueError: no such weights: broken", said)
    assert re.search(r"not begun: 05_train: because of breast/one-broken", said)
    assert "not begun: 06_judge: because of 05_train" in said
    assert trained(project) == ["one-random", "two-random"]
    assert "done: 3 of 6 steps" in said  # two jobs and the other task's page
    log = (project / "runs/tiny/jobs/05_train/one-random/log.txt").read_text()
    assert re.search(r"device [35] is this job's", log)


VICTIMS = ("driver", "unit", "kernel")


@engine
@needs
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_sweep_whose_parts_are_killed_ends_with_the_tables_of_one_that_was_not(
    victim, project, finished
):
    for place in ("05_train", "05_train/pediatric"):
        change(project, place, epochs=4, pause_s=1.0)
    driver = subprocess.Popen(command("--no-book"), cwd=project, stdout=subprocess.DEVNULL)
    family = kill(victim, driver, project)
    try:
        if victim == "driver":
            driver.wait()
            code, said = drive(project, "--no-book")  # while its orphans still train
            assert code == 0, said
        else:
            assert driver.wait(timeout=240) == 0
            assert "Trying to restart job" in (project / "runs/tiny/sweep.log").read_text()
    finally:
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
    assert trained(project) == RUNS  # each of them to its end just once
    expected = tables(finished[0])
    found = tables(project)
    assert set(found) == set(expected)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table)


def kill(victim, driver, home):
    """Kill once a run is finished and another is being trained; returns the driver's family."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
        logs = [f for f in home.glob("runs/tiny/jobs/**/log.txt") if in_training(f.read_text())]
        finished = list(home.glob("runs/tiny/*/*/predictions.parquet"))
        for log in logs if finished else []:
            unit = next(p for p in family if is_unit(p, log.parent.relative_to(home)))
            kernels = [p for p in unit.children() if "ipykernel_launcher" in line(p)]
            {"driver": [driver], "unit": [unit], "kernel": kernels}[victim][0].kill()
            return family
        time.sleep(0.2)
    raise AssertionError("nothing to kill came up")


def in_training(text):
    return "0/4 epochs" in text and "2/4 epochs" not in text


def is_unit(process, out):
    parts = line(process).split()
    return "rin.gpus" in parts and str(out) in parts and "bash" not in parts[0]


def line(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return ""


@engine
@needs
def test_the_slurm_profile_is_read_and_asks_for_a_gpu_for_training_only(project):
    file = steps.write(project, steps.plan(project, "tiny"))
    given = ["--dry-run", "--workflow-profile", "cluster/slurm", "--config"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "book", *given, f"plan={file.relative_to(project)}"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    blocks = {rule: re.search(rf"rule {rule}:.*?resources: ([^\n]*)", said, re.S)[1] for rule in
              ("train", "page")}  # fmt: skip
    assert "gpu=1" in blocks["train"] and "gpu=0" in blocks["page"]
    assert "slurm_partition=" in blocks["train"] and "runtime=" in blocks["train"]


REAL = {
    "05_fine_tune_a_backbone": {
        "n_phantoms": 80,
        "image_size": 32,
        "backbones": ["resnet50"],
        "trainables": ["head"],
        "folds": [0, 1],
        "epochs": 6,
        "out_dir": "runs/tiny",
    },
    "06_judge_a_task": {
        "n_phantoms": 80,
        "image_size": 32,
        "runs_dir": "runs/tiny",
        "out_dir": "runs/tiny/tables",
    },
}


def make_real(home):
    """The same two pages of the real book, on phantoms."""
    make_project(home)
    shutil.rmtree(home / "params/tiny")
    for place, params in REAL.items():
        shutil.copy(ROOT / f"book/{place}.ipynb", home / "book")
        change(home, place, **params)
    toc = yaml.safe_load((home / "_toc.yml").read_text())
    toc["chapters"] = [{"file": f"book/{place}"} for place in REAL]
    (home / "_toc.yml").write_text(yaml.safe_dump(toc))
    return home


@engine
@needs
@pytest.mark.slow
def test_the_real_page_trained_in_jobs_and_killed_gives_the_tables_of_an_undisturbed_sweep(
    tmp_path,
):
    whole, cut = make_real(tmp_path / "whole"), make_real(tmp_path / "cut")
    code, said = drive(whole, "--no-book")
    assert code == 0, said
    driver = subprocess.Popen(command("--no-book"), cwd=cut, stdout=subprocess.DEVNULL)
    family = kill_in_training(driver, cut)
    code, said = drive(cut, "--no-book")
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert code == 0 and "done: 3 of 3 steps" in said, said
    expected, found = tables(whole), tables(cut)
    assert set(found) == set(expected) and len(expected) == 2 * 4  # two rates, two folds
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, check_exact=True)


def kill_in_training(driver, home):
    """Kill the driver and its kernels once they train; returns what is left of the family."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if list(home.glob("runs/tiny/breast/*/.lock")):
            family = psutil.Process(driver.pid).children(recursive=True)
            driver.kill()
            driver.wait()
            for process in family:
                if "ipykernel_launcher" in line(process):
                    process.kill()
            return family
        time.sleep(0.2)
    raise AssertionError("training did not begin")
