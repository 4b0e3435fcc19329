"""Shared fixtures: real images where they lie beside the project, phantoms, and tiny pictures."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from rin import audit, datasets, phantoms

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def project_data():
    """`project_data("busi")`: a folder of real images; the test is skipped where there is none."""

    def folder(name):
        if not (DATA / name).is_dir():
            pytest.skip(f"needs real images in {DATA / name}, which is absent")
        return DATA / name

    return folder


@pytest.fixture(scope="session")
def busi_pairs(project_data):
    """The duplicates of the real BUSI."""
    root = project_data("busi")
    return audit.duplicates(datasets.read("breast", root, duplicates=False), root)


@pytest.fixture(scope="session")
def busi(project_data, busi_pairs):
    """The manifest of the real BUSI, duplicates grouped as `rin.datasets.read` does."""
    frame = datasets.read("breast", project_data("busi"), duplicates=False)
    return audit.group(frame, busi_pairs)


@pytest.fixture(scope="session")
def breast_root(tmp_path_factory):
    """Sixty small breast phantoms."""
    return phantoms.write("breast", tmp_path_factory.mktemp("phantoms") / "breast", n=60, size=48)


@pytest.fixture(scope="session")
def breast(breast_root):
    """The manifest of these phantoms, and their root."""
    return datasets.read("breast", breast_root, duplicates=False), breast_root


@pytest.fixture
def closed_figures():
    """Every figure is closed again."""
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def pediatric_root(tmp_path_factory):
    """Sixty small pediatric phantoms."""
    folder = tmp_path_factory.mktemp("phantoms") / "pediatric"
    return phantoms.write("pediatric", folder, n=60, size=48)


@pytest.fixture
def draw():
    """`draw(path, seed)`: an image of noise at `path`, its folders made; returns its pixels."""

    def one(path, seed=0, shape=(20, 24)):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return pixels

    return one
