"""The Grad-CAM benchmark: every way draws the same maps of the same network."""

import keras
import numpy as np
import pandas as pd
import pytest
import tiny_network
from test_benchmarks import module

from rin import backbones

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs TensorFlow's GradientTape"
)
SIZE = 32


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny_network.ROW)
    return module("gradcam_speed")


def test_it_says_what_it_asks(speed, capsys):
    with pytest.raises(SystemExit) as ended:
        speed.main(["--help"])
    assert ended.value.code == 0
    assert speed.__doc__.splitlines()[0] in " ".join(capsys.readouterr().out.split())


def test_every_way_of_ours_draws_the_same_maps(speed):
    model, images = speed.network("tiny", SIZE), speed.pictures(5, SIZE)
    asked = images, model.predict(images, verbose=0).argmax(axis=1)
    maps = speed.by_autodiff(model)
    ours = speed.in_closed_form(model, 2)(*asked).astype(int)
    assert ours.shape == (5, SIZE, SIZE) and (ours.max(axis=(1, 2)) == 255).all()
    for way in (speed.in_batches(maps), speed.in_batches(speed.traced(maps), 2)):
        assert np.abs(way(*asked) - ours).max() <= 1


def test_the_table_has_rates_over_the_usual_way_and_is_kept(speed, tmp_path, capsys):
    asked = ["--backbone", "tiny", "--image-size", str(SIZE), "--n-images", "3", "--repeats", "2"]
    for _ in range(2):  # the second replaces the first
        speed.main([*asked, "--batch-size", "2", "--csv", str(tmp_path)])
    kept = pd.read_csv(tmp_path / "gradcam_speed.csv").set_index("way")
    assert kept.index.is_unique and kept.times[speed.USUAL] == 1
    assert kept.times[speed.CLOSED] == pytest.approx(
        kept.maps_per_s[speed.CLOSED] / kept.maps_per_s[speed.USUAL], abs=2e-3
    )
    ours = kept[kept.index.str.startswith(("closed", "autodiff"))]
    assert len(ours) == 3 and (ours.gray_levels <= 1).all()
    assert (kept.batch_size == 2).all() and kept.hardware.notna().all()
    assert speed.CLOSED in capsys.readouterr().out


def test_a_missing_or_broken_library_is_said_and_not_timed(speed, monkeypatch, capsys):
    monkeypatch.setattr(speed, "LIBRARY", "no_such_library")
    assert speed.library_ways(None, 2, None, None) == {}
    assert "no_such_library: not installed" in capsys.readouterr().out
    monkeypatch.setattr(speed, "LIBRARY", "json")  # installed, and no model to show it
    assert speed.library_ways(None, 2, None, None) == {}
    assert "json: does not run here" in capsys.readouterr().out
