"""Steps: a profile's pages, their training split into jobs, and what each of them waits for.

A page that takes lists of backbones and inits becomes one job for each pair, the same page with
narrower lists. Its runs go where the whole page looks for them, so that it finds them finished.
"""

import functools
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

import nbformat

from rin import book, paths, records, run, scenarios

INPUTS = "inputs.json"  # beside a step's record: what the record has to agree with


@dataclass(frozen=True)
class Step:
    """One run of a page.

    Attributes:
        rule: "train" for a job, "page" for a page of the book.
        name: for the reader.
        page: its `rin.book.Page`.
        after: run folders that must be finished before.
    """

    rule: str
    name: str
    page: book.Page
    after: tuple = ()


@dataclass(frozen=True)
class Sweep:
    """What a profile comes to.

    Attributes:
        profile: folder under `params/`.
        pages: the `rin.book.Page`s of the book.
        steps: every `Step`, jobs first; none stands before one it waits for.
        skipped: dict from task to why it is left out.
    """

    profile: str
    pages: list
    steps: list
    skipped: dict

    @property
    def jobs(self):
        """The steps that train, in the order of their numbers."""
        return [step for step in self.steps if step.rule == "train"]

    @property
    def home(self):
        """Folder of the sweep's own files, under the root."""
        return f"runs/{self.profile}"


def plan(root, profile, data=None):
    """The steps of a profile, without the tasks whose images are missing.

    Args:
        root, profile, data: as `rin.book.plan` takes them.

    Raises:
        rin.book.BookError: what `rin.book.plan` refuses, or no task's images are there.
        rin.run.PageError: parameters that do not fit their page.
    """
    pages = book.plan(root, profile, data)
    for page in pages:  # refuse before the first hour is spent
        run.check(page.params, run.parameters(root / page.template), page.place)
    kept, skipped = _present(root, pages)
    if skipped and not any(jobs(root, page) for page in kept):
        places = "; ".join(f"{task}: {why}" for task, why in skipped.items())
        raise book.BookError(
            f"no images for any task of profile {profile!r} ({places}): put them there, or name "
            f'their folder with DATA="{next(iter(skipped))}=FOLDER"'
        )
    kept = _filled(profile, pages, kept)
    return Sweep(profile, kept, _ordered(root, kept), skipped)


def jobs(root, page):
    """A page cut up: by backbone if it pretrains, by backbone and init if it takes both.

    Returns:
        List of `Page`; empty for any other page.
    """
    given = params(root, page)
    home = page.out.replace("/pages/", "/jobs/", 1)
    if book.pretrains(root, page):
        return [
            replace(page, params=page.params | {"backbones": [name]}, out=f"{home}/{name}")
            for name in given["backbones"]
        ]
    if not {"backbones", "inits"} <= set(given):
        return []
    return [
        replace(
            page,
            params=page.params | _one(backbone, init, given),
            out=f"{home}/{backbone}-{_init_name(init)}",
        )
        for backbone in given["backbones"]
        for init in scenarios.inits_of(backbone, given["inits"], given.get("weight_files"))
    ]


def params(root, page):
    """All parameters of a page, defaults included."""
    return _template(root / page.template)[0] | page.params


def inputs(root, page, kernel=None):
    """What a page's record has to agree with: dict of the record's own keys and values."""
    given = params(root, page)
    folders = {"data_dir": given.get("data_dir")}
    folders |= {f"roots: {task}": folder for task, folder in (given.get("roots") or {}).items()}
    return {
        "params": given,
        "page_fingerprint": _template(root / page.template)[1],
        "code_fingerprint": records.code_fingerprint(),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "kernel": kernel,
        "data_fingerprint": {key: _folder(folder) for key, folder in folders.items() if folder},
    }


def prepare(root, page, kernel=None):
    """Write a page's `params.yaml` and `inputs.json`, if they changed; returns its `inputs`."""
    book.write_params(root, page)
    facts = inputs(root, page, kernel)
    _replace(root / page.out / INPUTS, facts)
    return facts


def write(root, sweep, kernel=None, n_gpus=0):
    """Write what Snakemake reads: the plan, and beside each step's record what it rests on.

    A file is touched only if it says something new, so that Snakemake repeats just those steps.

    Returns:
        Path of the plan; its time says when the sweep began.
    """
    listed = []
    for step in sweep.steps:
        facts = prepare(root, step.page, kernel)
        n = facts["params"].get("devices", 1) if n_gpus and step.rule == "train" else 0
        about = {"rule": step.rule, "name": step.name, "after": step.after, "gpu": n}
        listed.append(about | {"template": step.page.template, "out": step.page.out})
    pages = [asdict(page) for page in sweep.pages]
    file = root / sweep.home / "sweep.json"
    _replace(file, {"home": sweep.home, "kernel": kernel, "steps": listed, "pages": pages})
    os.utime(file)
    return file


def differences(folder):
    """In what a folder's record does not agree with its `inputs.json`.

    Returns:
        List of names such as "code_fingerprint"; empty when the step is done, None without a
        record or inputs.
    """
    file, record = folder / INPUTS, records.read(folder)
    if record is None or not file.is_file():
        return None
    facts = json.loads(file.read_text())
    data, found = facts.pop("data_fingerprint"), record.get("data_fingerprint", {})
    differing = [key for key, value in facts.items() if record.get(key) != value]
    # a page that reads runs has their fingerprint too, which nobody knows beforehand
    return differing + [key for key, value in data.items() if found.get(key) != value]


def _present(root, pages):
    """Pages whose images are there, and why tasks are left out: (list, dict)."""
    kept, skipped = [], {}
    for page in pages:
        given = params(root, page)
        folder = given.get("data_dir")
        if folder and not paths.resolve(folder).is_dir():
            skipped[given.get("task", page.place)] = f"there is no folder {folder}"
        else:
            kept.append(page)
    return kept, skipped


def _filled(profile, pages, kept):
    """Kept pages, so that every template of the book has one: a copy, or its defaults."""
    full = []
    for template in dict.fromkeys(page.template for page in pages):
        place, own = template.removesuffix(".ipynb"), [p for p in kept if p.template == template]
        if not own:
            out = f"runs/{profile}/pages/{PurePosixPath(place).name}"
            own = [book.Page(template, place, {}, out, "")]
        elif all(page.place != place for page in own):
            own[0] = replace(own[0], place=place)
        full += own
    return full


def _ordered(root, pages):
    """Jobs, pretraining ones first, then pages that make runs, read a task's, and read all."""
    readers = [page for page in pages if book.reads_runs(root, page)]
    makers = [page for page in pages if page not in readers]
    of_task = [page for page in readers if "task" in params(root, page)]
    split = {page.out: jobs(root, page) for page in makers}
    first = [page for page in makers if book.pretrains(root, page)]
    made = [job for page in first for job in split[page.out]]
    ordered = [_job(root, page, job) for page in first for job in split[page.out]]
    rest = [(page, job) for page in makers if page not in first for job in split[page.out]]
    ordered += [_job(root, page, job, made) for page, job in rest]
    ordered += [_page(page, split[page.out]) for page in makers]
    for page in of_task:
        task = params(root, page)["task"]
        trained = [p for p in makers if split[p.out] and params(root, p).get("task") == task]
        ordered.append(_page(page, trained))
    return ordered + [_page(p, makers + of_task) for p in readers if p not in of_task]


def _job(root, page, job, made=()):
    """Named by the copy, or by the task of a page that has no copies' name.

    One that trains from a weight file waits for the jobs that `made` them.
    """
    copy = PurePosixPath(page.out).name
    if copy == PurePosixPath(page.template).stem:
        copy = params(root, page).get("task", copy)
    after = tuple(other.out for other in made) if job.params.get("weight_files") else ()
    return Step("train", f"{copy}/{PurePosixPath(job.out).name}", job, after)


def _page(page, before):
    name = PurePosixPath(page.place).name
    return Step("page", name, page, tuple(other.out for other in before))


def _template(file):
    """(defaults, fingerprint) of a page's template, read once."""
    return _read(file, file.stat().st_mtime_ns)


@functools.cache
def _read(file, changed):
    return run.parameters(file), records.fingerprint(nbformat.read(file, as_version=4).cells)


@functools.cache
def _folder(folder):
    return records.folder_fingerprint(paths.resolve(folder))


def _one(backbone, init, given):
    """The parameters that name one backbone and one init."""
    own = (given.get("weight_files") or {}).get(backbone)
    if init == own:
        return {"backbones": [backbone], "inits": [], "weight_files": {backbone: own}}
    rest = {"weight_files": {}} if "weight_files" in given else {}
    return {"backbones": [backbone], "inits": [init]} | rest


def _init_name(init):
    return scenarios.Run("", init, "", None, 0).init_name


def _replace(file, content):
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    if not file.is_file() or file.read_text() != text:
        with paths.replacing(file) as fresh:
            fresh.write_text(text)
