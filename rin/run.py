"""Run one page: `python -m rin.run PAGE -f params/FILE.yaml [-p key=value] --out DIR [--wait]`.

papermill itself only logs a misspelled parameter, leaves a complete-looking notebook when a kernel
dies, and knows no resume. This unit refuses what it does not know, keeps the half-run page as
`.partial.ipynb` on failure, and writes `record.json` last: a folder with a record is a finished
run, and running it again with the same settings, data and code is skipped.
"""

import argparse
import ast
import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import filelock
import nbformat
import yaml

from rin import paths, records

INPUT_FOLDERS = {
    "data_dir": records.folder_fingerprint,
    "runs_dir": records.runs_fingerprint,
    "official_dir": records.runs_fingerprint,
}
INLINE = "module://matplotlib_inline.backend_inline"  # figures as outputs of their cells


class PageError(Exception):
    """A page, its parameters or its execution at fault: one message for the reader."""


def run(page, params, out, kernel=None, log=print, wait=False):
    """Execute a page into a folder, unless that was done before.

    Args:
        page: path of a notebook with one cell tagged `parameters`.
        params: dict of values for it.
        out: folder for `<page>.ipynb` and `record.json`.
        kernel: name of a Jupyter kernel; default the one the page names.
        log: called with a line of text at the start and the end.
        wait: whether to wait, and say so, while another run writes into the folder.

    Returns:
        Path of the executed notebook.

    Raises:
        PageError: unknown or ill-typed parameters, a cell that failed, or, without `wait`,
            another run that writes there.
    """
    page, out = Path(page), Path(out)
    defaults = parameters(page)
    check(params, defaults, page)
    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / ".lock")
    try:
        held = lock.acquire(timeout=0)
    except filelock.Timeout:
        if not wait:
            raise PageError(f"{out}: another run is writing there; wait for it to end") from None
        log(f"{page.stem}: another run is writing to {out}; waiting for it to end …")
        held = lock.acquire()
    with held:
        return _run_locked(page, defaults, params, out, kernel, log)


def parameters(page):
    """The defaults of a page's `parameters` cell: a dict of literals.

    Raises:
        PageError: not a notebook, no such cell or several, or a line that is no plain literal.
    """
    cells = [cell for cell in _read(page).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise PageError(f"{page}: expected one cell tagged `parameters`, found {len(cells)}")
    found = {}
    try:
        for line in ast.parse(cells[0].source).body:
            (target,) = line.targets
            found[target.id] = ast.literal_eval(line.value)
    except (SyntaxError, ValueError, AttributeError) as error:
        text = f"{page}: its `parameters` cell should hold `name = literal` lines only ({error})"
        raise PageError(text) from error
    return found


def check(params, defaults, page="page"):
    """Refuse unknown parameters and values of another type than the default's.

    An int may stand for a float; a default of None takes anything; list elements are held to the
    type of the default's first element.

    Raises:
        PageError: names the parameter and lists the known ones.
    """
    unknown, known = sorted(set(params) - set(defaults)), ", ".join(sorted(defaults))
    if unknown:
        raise PageError(f"{page}: unknown parameter {', '.join(unknown)}; known ones: {known}")
    for name, value in params.items():
        if not _fits(value, defaults[name]):
            hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if _is_number(value) else ""
            raise PageError(
                f"{page}: `{name}` should be like {defaults[name]!r} "
                f"({type(defaults[name]).__name__}). Received: {name}={value!r}{hint}; "
                f"known parameters: {known}"
            )


def read_params(files=(), pairs=(), defaults=None):
    """Parameters from YAML files, later ones over earlier ones, then `key=value` pairs.

    Args:
        files: YAML, UTF-8.
        pairs: texts. A value whose default is text is taken as typed; others are YAML.
        defaults: dict of the page's `parameters`; None for pairs that are YAML throughout.

    Raises:
        PageError: a file that is missing or holds no mapping, a pair without `=`, or no YAML.
    """
    params = {}
    for file in files:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PageError(f"{file}: can't be read as YAML ({error})") from error
        found = _yaml(text, file) or {}
        if not isinstance(found, dict):
            raise PageError(f"{file}: expected `name: value` lines, found {type(found).__name__}")
        params |= found
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise PageError(f"`-p` should be key=value. Received: {pair!r}")
        typed = not value or isinstance((defaults or {}).get(key), str)
        params[key] = value if typed else _yaml(value, f"`-p {key}`", f"; received {value!r}")
    return params


def _yaml(text, where, received=""):
    """A YAML text's content; what is wrong with it as one sentence."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        why = getattr(error, "problem", None) or "characters that YAML does not allow"
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark and "\n" in text.strip() else ""
        raise PageError(f"{where}: can't be read as YAML ({why}{place}){received}") from error


def main(arguments=None):
    """The command line; returns the exit code: 0 done or skipped, 1 failed, 2 refused."""
    parser = argparse.ArgumentParser(prog="python -m rin.run", description=__doc__.split("\n")[0])
    parser.add_argument("page", type=Path, help="a notebook of the book")
    parser.add_argument("-f", dest="files", action="append", default=[], help="YAML of parameters")
    parser.add_argument(
        "-p", dest="pairs", action="append", default=[], help="key=value; text as typed, else YAML"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of this run")
    parser.add_argument("--kernel", help="Jupyter kernel, default the page's own")
    parser.add_argument("--wait", action="store_true", help="for another run in that folder")
    asked = parser.parse_args(arguments)
    try:
        defaults = parameters(asked.page)
        params = read_params(asked.files, asked.pairs, defaults)
        check(params, defaults, asked.page)
    except PageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        run(asked.page, params, asked.out, asked.kernel, _say, asked.wait)
    except PageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _say(line):
    print(line, flush=True)


def _run_locked(page, defaults, given, out, kernel, log):
    done, params = out / page.name, defaults | given
    facts = {
        "page": page.name,
        "page_fingerprint": records.fingerprint(_read(page).cells),
        "params": params,
        "kernel": kernel,
        "code_fingerprint": records.code_fingerprint(),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "data_fingerprint": _data_fingerprint(params),
    }
    mark = records.fingerprint(facts)
    if records.is_finished(out, mark) and done.is_file():
        log(f"{page.stem}: finished before with the same settings, skipped ({out})")
        return done
    log(f"{page.stem}: running …")
    started = time.perf_counter()
    partial = out / f"{page.stem}.partial.ipynb"
    _execute(page, partial, given, kernel)
    os.replace(partial, done)
    seconds = round(time.perf_counter() - started, 1)
    seeds = {name: value for name, value in params.items() if "seed" in name}
    extra = {"kind": "page", "fingerprint": mark, "seeds": seeds, "seconds": seconds}
    records.write(out, facts | extra)
    log(f"{page.stem}: done in {seconds:.0f} s")
    return done


def _execute(page, partial, given, kernel):
    import papermill  # takes a second: only where a page really runs
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the kernel inherits it
    sockets = tempfile.mkdtemp(prefix="rin-")  # a short path: sockets allow about 100 characters
    config = Config()
    # ports of parallel runs can clash; so would ipc sockets, which lie in the working directory
    config.KernelManager.transport = "ipc"
    config.KernelManager.ip = f"{sockets}/kernel"
    try:
        with _inline_figures():
            papermill.execute_notebook(
                str(page),
                str(partial),
                {name: value for name, value in given.items() if value is not None},
                kernel_name=kernel,
                config=config,
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                cwd=str(paths.root()),
            )
    except PapermillExecutionError as error:
        where = f"cell {error.exec_count} failed; the page so far is {partial}"
        raise PageError(f"{page}: {where}\n{error.ename}: {error.evalue}") from error
    except Exception as error:  # a kernel that died or could not start
        raise PageError(f"{page}: {type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


@contextlib.contextmanager
def _inline_figures():
    """The kernel shows figures in its page, whatever MPLBACKEND the shell exports."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = INLINE  # the kernel inherits it
    try:
        yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before


def _data_fingerprint(params):
    present = {name: params[name] for name in INPUT_FOLDERS if params.get(name)}
    found = {name: INPUT_FOLDERS[name](paths.resolve(value)) for name, value in present.items()}
    for task, folder in (params.get("roots") or {}).items():
        found[f"roots: {task}"] = records.folder_fingerprint(paths.resolve(folder))
    for backbone, file in (params.get("weight_files") or {}).items():
        found[f"weight_files: {backbone}"] = records.file_fingerprint(paths.resolve(file))
    return found


def _read(page):
    try:
        return nbformat.read(page, as_version=4)
    except (OSError, ValueError) as error:
        raise PageError(f"{page}: can't be read as a notebook ({error})") from error


def _fits(value, default):
    if default is None or value is None:
        return default is None
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list) and isinstance(value, list):
        return not default or all(_fits(item, default[0]) for item in value)
    if isinstance(default, dict) and isinstance(value, dict):
        return True
    return isinstance(value, type(default))


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)


if __name__ == "__main__":
    sys.exit(main())
