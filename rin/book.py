"""Make the book: phantoms, every page through `rin.run`, staging, a strict build, a check.

`python -m rin.book --profile demo` is what `make book` calls. A profile is a folder of parameters:
`params/<profile>/<page>.yaml` for a page that runs once, and beside it, for a page that is run
several times, `params/<profile>/<page>/<copy>.yaml`. Finished pages are skipped, so an interrupted
book goes on where it stopped.
"""

import argparse
import copy
import functools
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import nbformat
import yaml

from rin import paths, run

SHOWS = re.compile(r"^plt\.show\(", re.M)  # on every run: not within an `if` or a loop
NO_DISPLAY = "is non-interactive, and thus cannot be shown"  # what plt.show() says of no figure
PLACES = ("out_dir", "runs_dir", "official_dir")  # parameters that name folders of runs
STAGE, SITE = "_executed", "_build/html"
CONFIG, TOC = "_config.yml", "_toc.yml"


@dataclass(frozen=True)
class Page:
    """One execution of a template.

    Attributes:
        template: path of the notebook under the root, such as `book/02_….ipynb`.
        place: where the executed page stands in the book, without suffix.
        params: dict for its `parameters` cell.
        out: its run folder under the root.
        title: what follows the template's title; "" for a page that runs once.
    """

    template: str
    place: str
    params: dict
    out: str
    title: str

    @property
    def notebook(self):
        return f"{self.out}/{PurePosixPath(self.template).name}"


class BookError(Exception):
    """A book that could not be made whole; the message says what is missing."""


def plan(root, profile, data=None):
    """The pages of a profile, in the order of `_toc.yml`.

    Args:
        root: the project.
        profile: folder under `params/`.
        data: dict from task to a folder of real images, which replaces the profile's.

    Raises:
        BookError: no such profile, parameters for a page the book does not have, or data for a
            task no page is about.
    """
    home = root / "params" / profile
    if not home.is_dir():
        known = sorted(p.name for p in (root / "params").iterdir() if p.is_dir())
        raise BookError(f"no profile {profile!r} under params/; there are {', '.join(known)}")
    places = [
        place for place in toc_pages(_yaml(root / TOC)) if (root / f"{place}.ipynb").is_file()
    ]
    stems = {PurePosixPath(place).name: place for place in places}
    strange = {p.stem for p in home.iterdir() if not p.name.startswith(".")} - set(stems)
    if strange:
        raise BookError(f"params/{profile}: no page named {', '.join(sorted(strange))}")
    pages = []
    known = {_task(file) for file in home.rglob("*.yaml")}
    if lost := set(data or {}) - known:
        raise BookError(f"params/{profile} has no page for {', '.join(sorted(lost))}")
    for stem, place in stems.items():
        own = home / f"{stem}.yaml"
        for file in [own if own.is_file() else None, *sorted((home / stem).glob("*.yaml"))]:
            pages.append(_page(root, place, stem, file, profile, data or {}))
    return pages


def toc_pages(toc):
    """Every page a `_toc.yml` names, in order, without suffix."""
    found = [toc["root"]] if "root" in toc else []
    for key in ("parts", "chapters", "sections"):
        for entry in toc.get(key, []):
            found += [entry["file"]] if "file" in entry else []
            found += toc_pages({k: v for k, v in entry.items() if k != "file"})
    return found


def execute(root, pages, jobs, kernel=None, log=print):
    """Run pages side by side, each after those whose files it needs.

    Pages that need no other's files come first, those that pretrain among them; then those that
    train from a weight file, then those that read runs. A page that fails does not stop others of
    its kind; the next kind is not begun if one failed.

    Raises:
        BookError: naming every page that failed.
    """
    ended = itertools.count(1)

    def one(page):
        code = _run_one(root, page, kernel, log)
        log(f"[{next(ended)}/{len(pages)}] {page.place}: {'failed' if code else 'done'}")
        return code

    for group in groups(root, pages):
        with ThreadPoolExecutor(jobs) as pool:
            codes = list(pool.map(one, group))
        failed = [page.place for page, code in zip(group, codes, strict=True) if code]
        if failed:
            raise BookError(f"pages that failed: {', '.join(failed)}; finished ones are kept")


def groups(root, pages):
    """The pages in three lists: needing nothing, needing weight files, reading runs."""
    readers = [page for page in pages if reads_runs(root, page)]
    after = [page for page in pages if page not in readers and page.params.get("weight_files")]
    return [page for page in pages if page not in readers + after], after, readers


def pretrains(root, page):
    """Whether a page makes weight files that others train from."""
    return "weights_name" in run.parameters(root / page.template)


def reads_runs(root, page):
    """Whether a page reads runs that other pages make."""
    return "runs_dir" in run.parameters(root / page.template)


def write_params(root, page):
    """Put a page's parameters beside its record, unless they stand there: the file's path."""
    file, text = root / page.out / "params.yaml", yaml.safe_dump(page.params)
    if not file.is_file() or file.read_text() != text:
        with paths.replacing(file) as fresh:
            fresh.write_text(text)
    return file


def stage(root, pages):
    """Write the tree Jupyter Book builds: config, toc, Markdown, assets and executed pages."""
    home = root / STAGE
    shutil.rmtree(home, ignore_errors=True)
    skip = shutil.ignore_patterns("*.ipynb", ".*", "__pycache__")
    shutil.copytree(root / "book", home / "book", ignore=skip)
    shutil.copy(root / CONFIG, home / CONFIG)
    toc = _yaml(root / TOC)
    copies = {}
    for page in pages:
        notebook = nbformat.read(root / page.notebook, as_version=4)
        _retitle(notebook, page.title)
        _without_stderr(notebook)  # the built book offers its sources for download
        file = home / f"{page.place}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, file)
        owner = page.template.removesuffix(".ipynb")
        if page.place != owner:
            copies.setdefault(owner, []).append({"file": page.place})
    (home / TOC).write_text(yaml.safe_dump(_with_copies(toc, copies), sort_keys=False))
    return home


def build(root):
    """Run `jupyter-book build` strictly on the staged tree.

    Raises:
        BookError: it ended with an error or a warning.
    """
    shutil.rmtree(root / SITE, ignore_errors=True)
    tool = Path(sys.executable).with_name("jupyter-book")
    command = [str(tool), "build", STAGE, "--path-output", ".", "-W", "-n", "--keep-going", "-q"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise BookError(f"jupyter-book failed:\n{(done.stdout + done.stderr)[-4000:]}")


def verify(root):
    """Check what a green build does not: every page is there, and none holds an error.

    Returns:
        How many pages were checked.

    Raises:
        BookError: naming each page that is missing, failed or was half run.
    """
    home, problems = root / STAGE, []
    places = toc_pages(_yaml(home / TOC))
    for place in places:
        if not (root / SITE / f"{place}.html").is_file():
            problems.append(f"{place}: was not built")
        notebook = home / f"{place}.ipynb"
        if notebook.is_file():
            problems += [f"{place}: {said}" for said in faults(nbformat.read(notebook, 4))]
    if problems:
        raise BookError("the book is not whole:\n" + "\n".join(f"  - {p}" for p in problems))
    return len(places)


def faults(notebook):
    """What is wrong with an executed notebook: errors, cells not run, no end, names of objects.

    A cell that shows its figure on every run should hold a picture. One that does so under a
    condition need not; there a backend without a display gives itself away by its warning.
    """
    found = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"cell {number} holds an error")
        if "papermill-error-cell-tag" in cell.metadata.get("tags", []):
            found.append(f"cell {number} is papermill's error mark")
        if cell.execution_count is None and cell.source.strip():
            found.append(f"cell {number} was not run")
        if any(output.get("data", {}).get("text/markdown") == "" for output in cell.outputs):
            found.append(f"cell {number} shows an empty text, and so the name of its class")
        if _lacks_figure(cell):
            found.append(f"cell {number} shows a figure, and its page holds none: run it again")
    if not notebook.metadata.get("papermill", {}).get("end_time"):
        found.append("its run has no end")
    return found


def _lacks_figure(cell):
    """Whether a cell called `plt.show()` and holds no picture."""
    kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
    said = "".join(output.get("text", "") for output in cell.outputs)
    silent = SHOWS.search(cell.source) and not any(kind.startswith("image/") for kind in kinds)
    return bool(silent) or NO_DISPLAY in said


def write_phantoms(root, pages, log):
    """Write the phantoms that pages will ask for, before several of them ask at once."""
    from rin import datasets

    settings = [run.parameters(root / page.template) | page.params for page in pages]
    phantom = [p for p in settings if p.get("data_dir") == "" and "task" in p]
    wanted = {(p["task"], p["n_phantoms"]) for p in phantom}
    for task, n in sorted(wanted):
        datasets.locate(task, n_phantoms=n)
        log(f"phantoms of {task} are ready ({n} images)")


def pairs(texts):
    """`TASK=FOLDER` texts as a dict.

    Raises:
        BookError: a text without `=`, or no such folder.
    """
    found = {}
    for text in texts:
        task, equals, folder = text.partition("=")
        if not equals:
            raise BookError(f"`--data` should be TASK=FOLDER. Received: {text!r}")
        if not paths.resolve(folder).is_dir():
            raise BookError(f"`--data` {text!r}: there is no folder {folder}")
        found[task] = folder
    return found


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rin.book", description=__doc__.split("\n")[0])
    parser.add_argument("--profile", default="demo", help="folder under params/")
    parser.add_argument(
        "--data", action="append", default=[], metavar="TASK=FOLDER", help="real images of a task"
    )
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--kernel", help="Jupyter kernel, default the pages' own")
    asked = parser.parse_args(arguments)
    try:
        make(paths.root(), asked.profile, pairs(asked.data), asked.jobs, asked.kernel)
    except (BookError, run.PageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make(root, profile, data=None, jobs=1, kernel=None):
    """All of it; prints progress and, last, the path of the index."""
    started = time.perf_counter()

    def log(line):
        print(f"{time.perf_counter() - started:5.0f} s  {line}", flush=True)

    pages = plan(root, profile, data)
    for page in pages:  # refuse before the first minute is spent
        run.check(page.params, run.parameters(root / page.template), page.place)
        _check_data(page)
    write_phantoms(root, pages, log)
    execute(root, pages, jobs, kernel, log)
    stage(root, pages)
    log("building the book …")
    build(root)
    log(f"{verify(root)} pages built and checked")
    print(root / SITE / "index.html")


def _page(root, place, stem, file, profile, data):
    params = run.read_params([file]) if file else {}
    folder = f"runs/{profile}"
    changed = {}
    if params.get("task") in data:
        changed = {"data_dir": data[params["task"]]}
    elif data and "roots" in run.parameters(root / f"{place}.ipynb"):
        changed = {"roots": data}  # a page about all datasets
    if changed:  # real and phantom runs never share a folder
        places = {k: v for k, v in params.items() if k in PLACES}
        params |= changed | {
            k: v.replace(f"runs/{profile}", f"runs/{profile}-data", 1) for k, v in places.items()
        }
        folder += "-data"
    params = _weights_beside(params, data, profile)
    name = file.stem if file and file.parent.name == stem else None
    one = params.get("backbones", [])
    named = [params["task"]] if "task" in params and _has_several_tasks(root, stem) else []
    named += one if len(one) == 1 else []
    if {"backbones", "trainables", "out_dir"} <= set(params):
        named += PurePosixPath(params["out_dir"]).parts[2:]  # runs of a page of their own
    if params.get("kept_dir"):
        named = [*named, "measured"]
    return Page(
        template=f"{place}.ipynb",
        place=f"{place}_{name}" if name else place,  # one folder: its links hold
        params=params,
        out=f"{folder}/pages/{stem}" + (f"/{name}" if name else ""),
        title=", ".join(named),
    )


@functools.cache
def _has_several_tasks(root, stem):
    """Whether copies of a page, in any profile, are about different tasks."""
    files = itertools.chain.from_iterable(
        (root / "params").glob(pattern) for pattern in (f"*/{stem}.yaml", f"*/{stem}/*.yaml")
    )
    return len({run.read_params([file]).get("task") for file in files} - {None}) > 1


def _weights_beside(params, data, profile):
    """Where the weight files of a page lie if real images are given.

    Networks pretrained on real images lie in the folder of real runs. Real images of a task are
    not trained on from phantoms' weights: that would be a finding about nothing.
    """
    if not params.get("weight_files") or not data:
        return params
    if "radimagenet" in data:
        ours, theirs = f"runs/{profile}/", f"runs/{profile}-data/"
        files = {k: v.replace(ours, theirs, 1) for k, v in params["weight_files"].items()}
        return params | {"weight_files": files}
    return params | {"weight_files": {}} if params.get("task") in data else params


def _check_data(page):
    folder, task = page.params.get("data_dir"), page.params.get("task")
    if folder and not paths.resolve(folder).is_dir():
        raise BookError(
            f"{page.place}: there is no folder {folder}; put the {task} images there, or name "
            f'their folder with make book DATA="{task}=FOLDER"'
        )


def _run_one(root, page, kernel, log):
    log(f"{page.place}: started")
    values = write_params(root, page)
    command = [sys.executable, "-m", "rin.run", page.template, "-f", str(values)]
    command += ["--out", page.out] + (["--kernel", kernel] if kernel else [])
    noise = values.with_name("log.txt")  # what cells print, progress bars, the backend's talk
    with open(noise, "w") as file:
        code = subprocess.run(command, cwd=root, stdout=file, stderr=file).returncode
    if code:
        log(f"{page.place}: failed\n{noise.read_text()[-3000:]}")
    return code


def _without_stderr(notebook):
    """Drop progress bars and warnings: they hold paths of the machine that built the book."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]


def _retitle(notebook, title):
    first = notebook.cells[0]
    if title:
        head, *rest = first.source.split("\n")
        between = ", " if ":" in head else ": "
        first.source = "\n".join([f"{head}{between}{title}", *rest])


def _with_copies(toc, copies):
    toc = copy.deepcopy(toc)
    for key in ("parts", "chapters", "sections"):
        toc[key] = [_with_copies(entry, copies) for entry in toc.get(key, [])]
        if not toc[key]:
            del toc[key]
    if toc.get("file") in copies:
        toc["sections"] = copies[toc["file"]] + toc.get("sections", [])
    return toc


def _task(file):
    return run.read_params([file]).get("task")


def _yaml(file):
    return yaml.safe_load(file.read_text())


if __name__ == "__main__":
    sys.exit(main())
