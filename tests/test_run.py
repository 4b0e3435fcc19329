"""The strict unit: what it refuses, what it keeps, and when it skips."""

import os
import subprocess
import sys
from pathlib import Path

import filelock
import nbformat
import pytest

from rin import book, records, run

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 'rate = 1e-3  # a rate\nn = 2\nname = "a"\nitems = [1]\nflag = True\nanything = None'


def page(folder, *cells, parameters=PARAMETERS):
    notebook = nbformat.v4.new_notebook()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    notebook.cells = [nbformat.v4.new_markdown_cell("# A page")]
    if parameters is not None:
        first = nbformat.v4.new_code_cell(parameters)
        first.metadata["tags"] = ["parameters"]
        notebook.cells.append(first)
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    file = folder / "page.ipynb"
    nbformat.write(notebook, file)
    return file


def quiet(line):
    pass


def test_a_page_is_run_with_its_parameters_and_leaves_a_record(tmp_path):
    file = page(tmp_path, "print(rate * n, name)")
    done = run.run(file, {"n": 4, "rate": 0.5}, tmp_path / "out", log=quiet)
    text = done.read_text()
    assert "2.0 a" in text
    record = records.read(tmp_path / "out")
    assert record["params"] == {"rate": 0.5, "n": 4, "name": "a", "items": [1], "flag": True} | {
        "anything": None
    }
    for key in ("fingerprint", "data_fingerprint", "seeds", "versions", "hardware", "seconds"):
        assert key in record
    assert "git_commit" in record
    assert not list((tmp_path / "out").glob("*.partial.ipynb"))


def test_the_same_again_is_skipped_and_says_so(tmp_path):
    file, said = page(tmp_path, "x = n"), []
    run.run(file, {}, tmp_path / "out", log=quiet)
    run.run(file, {}, tmp_path / "out", log=said.append)
    assert "skipped" in said[0]


def test_changed_parameters_page_or_data_run_it_again(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    source = PARAMETERS + '\ndata_dir = ""'
    file, said = page(tmp_path, "x = n", parameters=source), []

    def again(params):
        said.clear()
        run.run(file, params | {"data_dir": str(data)}, tmp_path / "out", log=said.append)
        return "skipped" not in said[0]

    assert again({}) and not again({})
    assert again({"n": 3}) and not again({"n": 3})
    (data / "new.png").write_text("x")
    assert again({"n": 3}) and not again({"n": 3})
    page(tmp_path, "x = n + 1", parameters=source)
    assert again({"n": 3})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"rates": 1.0},
            "unknown parameter rates; known ones: anything, flag, items, n, name, rate",
        ),
        ({"rate": "1e-4"}, "write 1.0e-3"),
        ({"n": 1.5}, "`n` should be like 2 .int.*known parameters: anything, flag"),
        ({"n": True}, "`n` should be like 2"),
        ({"flag": 1}, "`flag` should be like True"),
        ({"items": ["a"]}, "`items` should be like"),
        ({"items": 3}, "`items` should be like"),
        ({"name": None}, "`name` should be like 'a'"),
    ],
)
def test_unknown_and_ill_typed_parameters_are_refused(given, message, tmp_path):
    file = page(tmp_path)
    with pytest.raises(run.PageError, match=message):
        run.run(file, given, tmp_path / "out", log=quiet)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [{"rate": 1}, {"anything": [1, "x"]}, {"items": []}])
def test_what_fits_is_taken(given):
    run.check(given, {"rate": 0.5, "anything": None, "items": [1]})


def test_a_page_without_parameters_or_with_computed_ones_is_refused(tmp_path):
    with pytest.raises(run.PageError, match="one cell tagged `parameters`, found 0"):
        run.parameters(page(tmp_path, parameters=None))
    with pytest.raises(run.PageError, match="`name = literal` lines only"):
        run.parameters(page(tmp_path, parameters="a = 1\nb = a + 1"))


def test_a_failing_page_is_kept_as_partial_and_leaves_no_record(tmp_path):
    file = page(tmp_path, "print('so far')", "raise KeyError('lost')")
    with pytest.raises(run.PageError, match="KeyError: 'lost'"):
        run.run(file, {}, tmp_path / "out", log=quiet)
    partial = tmp_path / "out" / "page.partial.ipynb"
    assert "so far" in partial.read_text()
    assert records.read(tmp_path / "out") is None
    assert not (tmp_path / "out" / "page.ipynb").exists()


def test_a_killed_kernel_is_a_failure_and_an_older_result_stays(tmp_path):
    file = page(tmp_path, "x = 1")
    done = run.run(file, {}, tmp_path / "out", log=quiet)
    before = done.read_bytes()
    file = page(tmp_path, "import os, signal", "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(run.PageError):
        run.run(file, {}, tmp_path / "out", log=quiet)
    assert done.read_bytes() == before
    mark = records.read(tmp_path / "out")["fingerprint"]
    assert records.is_finished(tmp_path / "out", mark)


def test_two_runs_never_write_into_one_folder(tmp_path):
    file = page(tmp_path)
    (tmp_path / "out").mkdir()
    with filelock.FileLock(tmp_path / "out" / ".lock"):
        with pytest.raises(run.PageError, match="another run is writing"):
            run.run(file, {}, tmp_path / "out", log=quiet)


def test_with_wait_a_run_says_that_it_waits_and_then_finds_what_the_other_left(tmp_path):
    file, out, said = page(tmp_path, "x = n"), tmp_path / "out", []
    run.run(file, {}, out, log=quiet)
    hold = f"lock = filelock.FileLock({str(out / '.lock')!r}); lock.acquire()"
    code = f"import filelock; {hold}; print(flush=True)"
    other = [sys.executable, "-c", code + "; input()"]
    with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()

        def log(line):
            said.append(line)
            process.kill()  # the lock goes with it

        run.run(file, {}, out, log=log, wait=True)
    assert "another run is writing" in said[0] and "skipped" in said[1]


def test_figures_stand_in_the_page_whatever_backend_the_shell_names(tmp_path, monkeypatch):
    show = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    for name in ("Agg", "pdf", None):
        monkeypatch.delenv("MPLBACKEND", raising=False)
        if name:
            monkeypatch.setenv("MPLBACKEND", name)
        done = run.run(page(tmp_path, show), {}, tmp_path / f"out-{name}", log=quiet)
        outputs = nbformat.read(done, 4).cells[-1].outputs
        assert any("image/png" in output.get("data", {}) for output in outputs)
        assert book.faults(nbformat.read(done, 4)) == []
        assert os.environ.get("MPLBACKEND") == name


TEXTS = ["/d/set #2", "*.csv", r"[A-Z]+(\d+)", "yes", "1", "1e-3", "null", "{a", "a: b", "- x"]
TEXTS += [
    "&a",
    "!t",
    "%",
    "'",
    '"a"',
    " padded ",
    "a=b",
    "@x",
    "`",
    "é",
    "~",
    "2026-01-01",
    "a,b",
    "\t",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_parameter_takes_what_was_typed(text, tmp_path):
    file = page(tmp_path)
    params = run.read_params([], [f"name={text}"], run.parameters(file))
    assert params == {"name": text}
    run.check(params, run.parameters(file))


def test_text_reaches_the_page_as_typed(tmp_path):
    file, out = page(tmp_path, "print(repr(name))"), tmp_path / "out"
    assert run.main([str(file), "--out", str(out), "-p", r"name=/d/[A-Z]+(\d+) #2"]) == 0
    assert r"'/d/[A-Z]+(\\d+) #2'" in nbformat.read(out / "page.ipynb", 4).cells[-1].outputs[0].text


def test_other_parameters_are_yaml_and_a_yaml_error_is_one_sentence(tmp_path, capsys):
    defaults = run.parameters(page(tmp_path))
    pairs = ["n=3", "rate=1.0e-3", "items=[1, 2]", "flag=yes", "anything={a: [b]}"]
    assert run.read_params([], pairs, defaults) == {
        "n": 3, "rate": 1e-3, "items": [1, 2], "flag": True, "anything": {"a": ["b"]},
    }  # fmt: skip
    for bad in ("items=[1", "anything=*.csv", "anything={a", "n=\0", "items=%x"):
        command = [str(page(tmp_path)), "--out", str(tmp_path / "out"), "-p", bad]
        assert run.main(command) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "can't be read as YAML (" in said and "received" in said
    (tmp_path / "a.yaml").write_text("n: 1\ncsv: *.csv\n")
    with pytest.raises(run.PageError, match=r"a.yaml: can't be read as YAML \([^\n]* in line 2\)$"):
        run.read_params([tmp_path / "a.yaml"])
    (tmp_path / "a.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(run.PageError, match="a.yaml: can't be read as YAML"):
        run.read_params([tmp_path / "a.yaml"])


def test_yaml_files_and_pairs_are_read_in_order(tmp_path):
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text("a: 1\nb: 2\n")
    two.write_text("b: 3\n")
    assert run.read_params([one, two], ["c=[1, 2]", "d="]) == {"a": 1, "b": 3, "c": [1, 2], "d": ""}
    for bad, message in (("- 1\n", "expected `name: value`"), ("a: [", "can't be read as YAML")):
        one.write_text(bad)
        with pytest.raises(run.PageError, match=message):
            run.read_params([one])
    with pytest.raises(run.PageError, match="nowhere.yaml"):
        run.read_params([tmp_path / "nowhere.yaml"])
    with pytest.raises(run.PageError, match="key=value"):
        run.read_params([], ["novalue"])


def test_the_command_line_refuses_with_2_and_fails_with_1(tmp_path, capsys):
    file, out = page(tmp_path, "1 / (n - 3)"), str(tmp_path / "out")
    assert run.main([str(file), "--out", out, "-p", "m=1"]) == 2
    assert "known ones" in capsys.readouterr().err
    assert run.main([str(file), "--out", out, "-p", "n=3"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert run.main([str(file), "--out", out, "--wait"]) == 0
    assert run.main([str(tmp_path / "nothing.ipynb"), "--out", out]) == 2


def test_plain_papermill_runs_a_page_too(tmp_path):
    """What the users type, with a parameter of their own."""
    name = "01_read_the_published_statistics_again.ipynb"
    command = [sys.executable, "-m", "papermill", f"book/{name}", str(tmp_path / name)]
    command += ["-p", "level", "0.9", "--no-progress-bar"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert "0.9" in (tmp_path / name).read_text()
