"""The book: its templates, its configuration, and the built site as a reader meets it."""

import base64
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml

from rin import book, published
from rin.scenarios import BACKBONES, grid

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = sorted((ROOT / "book").glob("*.ipynb"))
PAGES = book.toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text()))
KNOWN_CONFIG = {
    "title", "author", "copyright", "only_build_toc_files", "exclude_patterns", "execute",
    "bibtex_bibfiles", "html", "launch_buttons", "sphinx",
}  # fmt: skip


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda p: p.stem)
def test_a_template_has_one_title_one_parameters_cell_and_no_outputs(file):
    cells = nbformat.read(file, as_version=4).cells
    titles = [
        line
        for cell in cells
        if cell.cell_type == "markdown"
        for line in cell.source.split("\n")
        if line.startswith("# ")
    ]
    assert len(titles) == 1 and cells[0].source.startswith(titles[0])
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert f"book/{file.stem}" in PAGES
    nbformat.validate(nbformat.read(file, as_version=4))


def test_every_page_of_the_toc_exists_and_every_page_is_in_the_toc():
    present = {f"book/{p.stem}" for p in (ROOT / "book").iterdir() if p.suffix in (".md", ".ipynb")}
    assert set(PAGES) == present


def test_the_configuration_holds_known_keys_only_and_those_that_matter():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert set(config) <= KNOWN_CONFIG
    assert config["execute"] == {"execute_notebooks": "off", "stderr_output": "remove"}
    assert config["only_build_toc_files"] is True
    assert config["sphinx"]["config"]["mathjax_path"] == "mathjax/tex-svg.js"
    assert (ROOT / "book/_static/mathjax/tex-svg.js").stat().st_size > 2_000_000


def test_progress_bars_and_warnings_stay_out_of_the_sources_for_download():
    notebook = executed("x = 1")
    kinds = [("stderr", "/home/someone/warning"), ("stdout", "1")]
    notebook.cells[0].outputs = [
        nbformat.v4.new_output("stream", name=name, text=text) for name, text in kinds
    ]
    book._without_stderr(notebook)
    assert [one.text for one in notebook.cells[0].outputs] == ["1"]


def executed(*cells, end="2026-01-01"):
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["papermill"] = {"end_time": end}
    notebook.cells = [nbformat.v4.new_code_cell(source, execution_count=1) for source in cells]
    return notebook


def test_an_error_a_half_run_page_and_a_run_without_end_are_faults():
    assert book.faults(executed("x = 1")) == []
    failed = executed("x = 1", "y")
    failed.cells[1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
    assert book.faults(failed) == ["cell 1 holds an error"]
    half = executed("x = 1", "y")
    half.cells[1].execution_count = None
    assert book.faults(half) == ["cell 1 was not run"]
    assert book.faults(executed("x", end=None)) == ["its run has no end"]
    marked = executed("x")
    marked.cells[0].metadata["tags"] = ["papermill-error-cell-tag"]
    assert book.faults(marked) == ["cell 0 is papermill's error mark"]
    empty = executed("display(Markdown(''))")
    empty.cells[0].outputs = [nbformat.v4.new_output("display_data", {"text/markdown": ""})]
    assert book.faults(empty) == ["cell 0 shows an empty text, and so the name of its class"]


def test_a_page_that_should_hold_figures_and_holds_none_is_at_fault():
    said = "cell 1 shows a figure, and its page holds none: run it again"
    page = executed("x = 1", "figures.plot(x)\nplt.show()")
    assert book.faults(page) == [said]
    page.cells[1].outputs = [nbformat.v4.new_output("display_data", {"image/png": "iVBOR"})]
    assert book.faults(page) == []
    page = executed("x = 1", "if x:\n    plt.show()")
    assert book.faults(page) == []  # there may be nothing to show
    text = "UserWarning: FigureCanvasAgg is non-interactive, and thus cannot be shown\n"
    page.cells[1].outputs = [nbformat.v4.new_output("stream", name="stderr", text=text)]
    assert book.faults(page) == [said]


def test_the_demo_plans_every_task_with_all_backbones_and_all_24_scenarios_once():
    pages = book.plan(ROOT, "demo")
    tuned = [p.params for p in pages if p.template.endswith("05_fine_tune_a_backbone.ipynb")]
    tuned = [p for p in tuned if p["out_dir"] == "runs/demo"]  # others are of single pages
    for task in published.tasks().task.tolist() + ["pediatric"]:
        mine = [p for p in tuned if p["task"] == task]
        assert sorted(b for p in mine for b in p["backbones"]) == sorted(BACKBONES)
        assert all({"head", "top10"} <= set(p["trainables"]) for p in mine)
    breast = [p for p in tuned if p["task"] == "breast"]
    grids = [grid(p["backbones"], p.get("learning_rates"), p["trainables"]) for p in breast]
    assert {scenario for several in grids for scenario in several} == set(grid())


def test_the_demo_pretrains_first_and_then_trains_every_task_from_the_file():
    pages = book.plan(ROOT, "demo")
    first, then, last = book.groups(ROOT, pages)
    assert len(first) + len(then) + len(last) == len(pages)
    (made,) = [page for page in first if book.pretrains(ROOT, page)]
    file = f"{made.params['out_dir']}/Pretrained-ResNet50_notop.h5"
    assert {page.params["weight_files"]["resnet50"] for page in then} == {file}
    tasks = set(published.tasks().task) | {"pediatric"}
    assert {page.params["task"] for page in then} == tasks
    assert all("runs_dir" in page.params for page in last if page.params)


def test_real_images_are_not_trained_on_from_the_weights_of_phantoms(tmp_path):
    def weight_files(data):
        pages = [p for p in book.plan(ROOT, "demo", data) if p.params.get("weight_files")]
        return {p.params["task"]: p.params["weight_files"]["resnet50"] for p in pages}

    assert "breast" in weight_files(None)
    assert "breast" not in weight_files({"breast": str(tmp_path)})
    both = weight_files({"breast": str(tmp_path), "radimagenet": str(tmp_path)})
    assert both["breast"].startswith("runs/demo-data/pretraining/")


def test_every_copy_of_a_page_has_a_title_and_a_place_of_its_own():
    for profile in ("demo", "reduced", "paper"):
        pages = book.plan(ROOT, profile)
        for page in pages:
            same = [p for p in pages if p.template == page.template]
            assert len({p.title for p in same}) == len(same) == len({p.place for p in same})
        assert len({p.out for p in pages}) == len(pages)


def test_titles_name_the_task_the_backbone_and_what_runs_are_for():
    titles = {
        page.out.removeprefix("runs/demo/pages/"): page.title for page in book.plan(ROOT, "demo")
    }
    assert titles["05_fine_tune_a_backbone/pediatric_official"] == "pediatric, resnet50, official"
    assert titles["13_look_where_the_model_looks"] == "breast"
    assert titles["17_the_pediatric_study"] == "" and titles["11_pretrain_a_backbone"] == "resnet50"


def test_the_paper_profile_is_the_published_protocol_for_every_task():
    pages = book.plan(ROOT, "paper")
    tuned = [p.params for p in pages if p.template.endswith("05_fine_tune_a_backbone.ipynb")]
    tuned = [p for p in tuned if p["out_dir"] == "runs/paper"]  # others are of single pages
    for params in tuned:
        assert (params["image_size"], params["epochs"], params["batch_sizes"]) == (256, 30, [256])
        assert params["inits"] == ["radimagenet", "imagenet", "random"]
        if params["task"] != "pediatric":
            assert len(grid(params["backbones"], None, params["trainables"])) == 24
    assert {p["task"] for p in tuned} == {*published.tasks().task, "pediatric"}


def test_real_images_get_run_folders_of_their_own(tmp_path):
    pages = book.plan(ROOT, "demo", {"breast": str(tmp_path)})
    for page in pages:
        about_all = "roots" in page.params
        real = page.params.get("task") == "breast" or about_all
        assert (page.params.get("data_dir") == str(tmp_path)) == (real and not about_all)
        assert page.params.get("roots", {"breast": str(tmp_path)}) == {"breast": str(tmp_path)}
        assert page.out.startswith("runs/demo-data/" if real else "runs/demo/")
        for key in ("out_dir", "runs_dir"):
            if key in page.params:
                assert page.params[key].startswith("runs/demo-data" if real else "runs/demo")


def test_a_profile_that_is_not_there_and_a_page_that_is_not_are_refused(tmp_path):
    with pytest.raises(book.BookError, match="no profile 'nothing'.*demo"):
        book.plan(ROOT, "nothing")
    shutil.copy(ROOT / "_toc.yml", tmp_path)
    shutil.copytree(ROOT / "book", tmp_path / "book")
    (tmp_path / "params/mine").mkdir(parents=True)
    (tmp_path / "params/mine/07_nowhere.yaml").write_text("a: 1\n")
    with pytest.raises(book.BookError, match="no page named 07_nowhere"):
        book.plan(tmp_path, "mine")


def test_a_profile_whose_images_are_missing_is_refused_before_anything_runs(tmp_path, monkeypatch):
    for name in ("book", "rin", "params", "_toc.yml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(book.BookError, match="no folder data/breast.*DATA=.breast=FOLDER"):
        book.make(tmp_path, "paper")
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole book, made by its own command from the pages' defaults in a copy of the project."""
    home = tmp_path_factory.mktemp("project")
    for name in ("book", "rin", "results"):
        (home / name).symlink_to(ROOT / name)
    for name in ("_toc.yml", "_config.yml"):
        shutil.copy(ROOT / name, home)
    (home / "params/smoke").mkdir(parents=True)
    command = [sys.executable, "-m", "rin.book", "--profile", "smoke", "--jobs", "1"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.strip().endswith("_build/html/index.html")
    return home / "_build/html"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_page_is_built(site):
    for place in PAGES:
        assert (site / f"{place}.html").is_file(), place


class Assets(HTMLParser):
    """Addresses that a browser would load by itself."""

    LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "link" and values.get("rel") in ("next", "prev", "search", "canonical", "index"):
            return
        if tag in self.LOADED and values.get(self.LOADED[tag]):
            self.found.append(values[self.LOADED[tag]])


@pytest.mark.slow
def test_no_page_refers_to_an_outside_asset_and_all_its_own_are_there(site):
    for file in [site / "index.html", *(site / "book").rglob("*.html"), site / "search.html"]:
        parser = Assets()
        parser.feed(file.read_text())
        for address in parser.found:
            assert not re.match(r"(https?:)?//", address), f"{file.name}: {address}"
            if not address.startswith(("data:", "#")):
                target = (file.parent / address.split("?")[0].split("#")[0]).resolve()
                assert target.exists(), f"{file.name}: {address}"


@pytest.mark.slow
def test_phantom_pages_carry_the_banner_and_no_published_column_difference_or_p(site):
    for place in PAGES:
        if re.search(r"/0[234568]_", place):
            text = (site / f"{place}.html").read_text()
            assert "Phantom images" in text
            assert "published_mean" not in re.sub(r"<div class=\"cell_input.*?</div>", "", text)
    judged = (site / "book/06_judge_a_task.html").read_text()
    assert "no difference between inits is shown, and no P" in judged
    assert "published_mean</th>" not in judged


@pytest.mark.slow
def test_every_figure_has_alt_text(site):
    for file in (site / "book").rglob("*.html"):
        for tag in re.findall(r"<img[^>]*_images/[^>]*>", file.read_text()):
            alt = re.search(r'alt="([^"]*)"', tag)
            assert alt and len(alt[1]) > 20 and not alt[1].startswith("../"), f"{file.name}: {tag}"


RAW = (
    r"benign \(\d+\)",
    r"person\d+_(bacteria|virus)",
    r"ID_[0-9a-f]{9}\b",
    r"(usn|lung)\d{6}\.png",
    r"(Bozhou|Fuyang|Guangxi|WCH|WH)_[PN]\d+-0",
    r"PHANTOM\^",  # a name in the header of the DICOM phantoms
    str(ROOT),
    str(Path.home()),
)


@pytest.mark.slow
def test_no_page_shows_a_raw_image_name_or_a_path_of_this_machine(site):
    for file in (site / "book").rglob("*.html"):
        text = file.read_text()
        links = re.findall(r"data:text/csv;base64,([\w+/=]+)", text)
        tables = [base64.b64decode(link).decode() for link in links]
        for raw in RAW:
            assert not re.search(raw, "\n".join([text, *tables])), f"{file.name}: {raw}"


PAGE_REQUEST = 101845102  # Chromium's mark for what a page loads, not the browser itself


def load(page, folder):
    """The page's DOM after its scripts ran, and the outside addresses it asked for."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine: the HTML was checked, a browser was not")
    log = folder / f"{page.stem}.json"
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
        "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    mark = rf'"traffic_annotation":{PAGE_REQUEST},"url":"(https?:[^"]+)'
    asked = re.findall(mark, log.read_text())
    return done.stdout, set(asked)


@pytest.mark.slow
def test_a_browser_asks_for_nothing_outside_and_renders_the_mathematics(site, tmp_path):
    control = tmp_path / "control.html"
    control.write_text('<img src="http://outside.invalid/x.png">')
    assert load(control, tmp_path)[1] == {"http://outside.invalid/x.png"}
    for place in ("book/intro", "book/01_read_the_published_statistics_again"):
        dom, asked = load(site / f"{place}.html", tmp_path)
        assert asked == set()
    assert "<mjx-container" in dom


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_smoke_runs_of_two_pages_are_the_same_runs(site):
    """Page 05 makes fold 0, page 06 folds 0 and 1 when there are none: neither spoils the other."""
    home = site.parents[1]
    command = [sys.executable, "-m", "rin.run", "book/06_judge_a_task.ipynb", "--out", "runs/again"]
    shutil.rmtree(home / "runs/smoke")
    for page in ("06_judge_a_task", "05_fine_tune_a_backbone", "06_judge_a_task"):
        command[3] = f"book/{page}.ipynb"
        command[5] = f"runs/again-{page}"
        subprocess.run(command, cwd=home, check=True, capture_output=True)
    settings = {file.read_text().split('"settings"')[1].split("}")[0] for file in
                (home / "runs/smoke/breast").rglob("record.json")}  # fmt: skip
    assert len(settings) == 1
