"""Sweep: a whole profile on one machine or a cluster: `python -m rin.sweep --profile paper`.

`make sweep` calls it. Snakemake decides what is to be done and starts it (`Snakefile`); this driver
writes its plan, gives local jobs their devices, shows how far they got, and says at the end what
failed and why. Killed at any moment and called again, it goes on where it stopped.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import filelock

from rin import book, forecast, gpus, paths, run, steps, watch

BATCH = "requirements-batch.lock"
N_SUBMITTED = 100  # jobs that wait in a cluster's queue, unless `--jobs` or a profile says more


def drive(root, sweep, asked, n_gpus):
    """Let Snakemake run a sweep; print progress and, last, a report.

    Args:
        root: the project.
        sweep: a `rin.steps.Sweep`.
        asked: the parsed command line.
        n_gpus: devices to share out among the jobs.

    Returns:
        0 if all was done, else 1.
    """
    for task, why in sweep.skipped.items():
        _say(f"skipped: {task} ({why})")
    book.write_phantoms(root, [step.page for step in sweep.steps], _say)
    file = steps.write(root, sweep, asked.kernel, n_gpus)
    log = file.with_suffix(".log")
    listed, since = json.loads(file.read_text())["steps"], file.stat().st_mtime
    runs = {home for s in sweep.jobs for home in forecast.homes(steps.params(root, s.page))}
    state = watch.State(root, listed, since, log.relative_to(root), runs)
    if not _cluster(asked):
        os.environ[gpus.SHARED] = str(n_gpus)  # the jobs' own `rin.gpus` reads it
    with watch.Progress(state, sys.stdout):
        code = _engine(_arguments(root, file, asked, n_gpus), log)
    for line in [*watch.report(state), *_end(state, code, asked, log)]:
        _say(line)
    return 1 if code or not state.all_done() else 0


def run_job(root, step, kernel=None):
    """Run one step by itself, as a Slurm array does; its exit code."""
    out = step.page.out
    book.write_phantoms(root, [step.page], _say)
    steps.prepare(root, step.page, kernel)
    command = [sys.executable, "-m", "rin.run", step.page.template, "-f", f"{out}/params.yaml"]
    command += ["--out", out, "--wait"] + (["--kernel", kernel] if kernel else [])
    log = root / out / watch.LOG
    _say(f"{step.name}: running; its log is {out}/{watch.LOG}")
    with open(log, "w") as file:
        code = subprocess.run(command, cwd=root, stdout=file, stderr=file).returncode
    _say(f"{step.name}: {'done' if not code else 'failed: ' + watch.reason(log)}")
    return code


def make_book(root, file):
    """Stage, build and check the book from the finished pages of a plan."""
    pages = [book.Page(**page) for page in json.loads(Path(file).read_text())["pages"]]
    book.stage(root, pages)
    book.build(root)
    _say(f"{book.verify(root)} pages built and checked\n{root / book.SITE / 'index.html'}")


def main(arguments=None):
    """The command line; returns the exit code: 0 all done, 1 something failed, 2 refused."""
    asked = _parser().parse_args(arguments)
    try:
        return _main(paths.root(), asked)
    except (book.BookError, run.PageError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _main(root, asked):
    if asked.book:
        make_book(root, asked.book)
        return 0
    sweep = steps.plan(root, asked.profile, book.pairs(asked.data))
    if asked.list:
        print("\n".join(f"{number} {step.name}" for number, step in enumerate(sweep.jobs)))
        return 0
    if asked.job is not None:
        if not 0 <= asked.job < len(sweep.jobs):
            last = len(sweep.jobs) - 1
            raise ValueError(f"`--job` should be 0 to {last}. Received: {asked.job}")
        return run_job(root, sweep.jobs[asked.job], asked.kernel)
    found = 0 if _cluster(asked) else len(gpus.devices())
    n_gpus = found if asked.gpus is None else asked.gpus
    if asked.dry_run:
        print("\n".join(forecast.lines(root, sweep, n_gpus)))
        return 0
    if n_gpus > found and not _cluster(asked):
        raise ValueError(f"`--gpus` should be 0 to {found}, the devices here. Received: {n_gpus}")
    return _alone(root, sweep, asked, n_gpus)


def _alone(root, sweep, asked, n_gpus):
    if importlib.util.find_spec("snakemake") is None:
        raise ValueError(
            f"snakemake is not installed: `make sweep` installs it, or pip install -r {BATCH}"
        )
    (root / sweep.home).mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(root / sweep.home / ".sweep.lock")
    try:
        held = lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ValueError(f"another sweep of profile {asked.profile!r} is running") from None
    with held:
        return drive(root, sweep, asked, n_gpus)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m rin.sweep", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--profile", default="demo", help="folder under params/")
    add("--data", action="append", default=[], metavar="TASK=FOLDER", help="real images of a task")
    add("--jobs", type=int, help="at once; default 2, or one a device; on a cluster, submitted")
    add("--gpus", type=int, help="devices to share out; default all of this machine; 0: none")
    add("--kernel", help="Jupyter kernel, default the pages' own")
    add("--executor", help="of Snakemake, such as slurm; default this machine")
    add("--workflow-profile", help="folder of Snakemake settings, such as cluster/slurm")
    add("--no-book", action="store_true", help="stop after the pages")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--dry-run", action="store_true", help="print jobs and estimates")
    one.add_argument("--list", action="store_true", help="print the numbered jobs")
    one.add_argument("--job", type=int, metavar="K", help="run this job alone")
    one.add_argument("--book", type=Path, metavar="PLAN", help="build the book of finished pages")
    return parser


def _arguments(root, file, asked, n_gpus):
    """The command line of Snakemake."""
    given = ["pages" if asked.no_book else "book", "--directory", str(root), "--quiet", "host"]
    given += ["--snakefile", str(root / "Snakefile"), "--nocolor", "--keep-going"]
    given += ["--rerun-incomplete", "--nolock"]  # after a kill; the driver has a lock of its own
    given += ["--config", f"plan={file.relative_to(root)}"]
    given += ["--executor", asked.executor] if asked.executor else []
    given += ["--workflow-profile", asked.workflow_profile] if asked.workflow_profile else []
    if not _cluster(asked):
        jobs = asked.jobs or max(n_gpus, min(2, os.cpu_count() or 1))
        return given + ["--cores", str(jobs), "--resources", f"gpu={n_gpus}"]
    if asked.jobs or not asked.workflow_profile:
        given += ["--jobs", str(asked.jobs or N_SUBMITTED)]
    return given


def _cluster(asked):
    return bool(asked.executor or asked.workflow_profile)


def _engine(arguments, log):
    """Run Snakemake in this very process, so that it dies with its driver; its exit code."""
    from snakemake.cli import main as snakemake

    with open(log, "w") as file:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            try:
                snakemake(arguments)
            except SystemExit as end:
                return int(end.code or 0)
            except KeyboardInterrupt:
                return 1
    return 0


def _end(state, code, asked, log):
    """What the report of the steps does not say: of the book, and of Snakemake itself."""
    made = log.with_name("book.log")
    if not state.all_done():
        begun = state.any_begun() or not code
        return [] if begun else [f"no step began; the end of {state.engine}:", *_last(log)]
    if asked.no_book:
        return []
    return [
        f"failed: the book: {watch.reason(made)} ({made})" if code else made.read_text().strip()
    ]


def _last(log, n=12):
    return [f"  {line}" for line in log.read_text().splitlines()[-n:]]


def _say(line):
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
