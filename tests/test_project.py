"""The project's own files agree with each other: locks, environment, parameters, pages."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from rin import run

ROOT = Path(__file__).resolve().parents[1]
NAMED = "jupyter-book papermill tensorflow keras-cv pandas seaborn scikit-learn nbval".split()
PIN = re.compile(r"[a-z0-9][a-z0-9._-]*==[A-Za-z0-9.+!]+")
PARAMS = sorted(p for p in (ROOT / "params").rglob("*.yaml"))


def lock(name):
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line.strip())


def pip_section():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    return next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))


def test_environment_yml_names_the_users_packages_with_the_locks_pins():
    pins = dict(line.split("==") for line in pip_section() if "==" in line)
    assert set(pins) == set(NAMED)
    locked = lock("requirements.lock")
    assert {name: locked[name] for name in pins} == pins


def test_environment_yml_installs_the_whole_lock_and_the_package():
    assert pip_section()[-2:] == ["-r requirements.lock", "-e ."]


def test_locks_hold_names_and_versions_only():
    for file in ROOT.glob("requirements*.lock"):
        for line in file.read_text().splitlines():
            assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[A-Za-z0-9.+!]+", line), (
                f"{file.name}: {line}"
            )


def test_there_is_a_lock_for_every_extra_and_it_agrees_with_the_core():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = lock("requirements.lock")
    for extra in set(project["optional-dependencies"]) - {"test"}:
        other = lock(f"requirements-{extra}.lock")
        differing = {n: (v, core[n]) for n, v in other.items() if n in core and core[n] != v}
        assert not differing, f"{extra}: {differing}"


def test_every_dependency_of_pyproject_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    names = {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in wanted}
    assert names <= set(lock("requirements.lock"))


@pytest.mark.parametrize("file", PARAMS, ids=lambda p: str(p.relative_to(ROOT / "params")))
def test_every_parameter_file_fits_its_page(file):
    stem = file.stem if file.parent.parent.name == "params" else file.parent.name
    page = ROOT / "book" / f"{stem}.ipynb"
    run.check(run.read_params([file]), run.parameters(page), page.name)


@pytest.mark.core
def test_rin_and_its_statistics_load_no_backend():
    code = (
        "import sys, rin, rin.stats, rin.metrics, rin.published, rin.records, rin.judge;"
        "heavy = {'tensorflow', 'keras', 'jax', 'torch', 'keras_cv'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_module_that_does_not_exist_is_an_attribute_error():
    import rin

    with pytest.raises(AttributeError, match="no attribute 'nothing_here'"):
        _ = rin.nothing_here
    assert rin.stats.__name__ == "rin.stats"
