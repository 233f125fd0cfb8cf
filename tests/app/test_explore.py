"""``ppvae explore``: a search on data of one's own, that goes on; data that lack a column."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ppvae.active.acquisition import ACQUISITIONS
from ppvae.app.cli import main
from ppvae.app.commands.explore import NAMES
from ppvae.data import image_spectra

FAST = ["--ensemble", "1", "--steps", "2", "--first-steps", "2", "--start", "6", "--quiet"]


@pytest.fixture
def lattice(tmp_path):
    data = image_spectra(side=6)
    columns = {name: data[name].numpy() for name in ("x", "position")}
    np.savez(tmp_path / "lattice.npz", **columns, target=data["area"].numpy())
    return tmp_path / "lattice.npz"


def test_a_search_is_written_and_goes_on(lattice, tmp_path, capsys):
    out = tmp_path / "search"
    command = ["explore", "--data", str(lattice), "--out", str(out), *FAST]
    command += ["--acquisition", "max-variance", "--reach", "1000"]
    assert main([*command, "--budget", "8"]) == 0
    first = json.loads((out / "search.json").read_text())["steps"]
    assert main([*command, "--budget", "12", "--maps-at", "7", "10"]) == 0
    steps = json.loads((out / "search.json").read_text())["steps"]
    assert len(steps) == 12
    assert steps[:8] == first
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["best_found"] == pytest.approx(max(step["y"][0] for step in steps))
    assert {path.name for path in (out / "plots").glob("*.png")} == {
        "places.png",
        "maps.png",
        "curve.png",
        "embedding.png",
        "predicted.png",
        "maps_6.png",  # Of the first command: the start, and half of the rest.
        "maps_7.png",
        "maps_10.png",
    }
    with np.load(out / "maps" / "00010.npz") as maps:
        assert int(maps["fitted"]) == 10
        assert maps["mean"].shape == maps["deviation"].shape == (36,)
    assert main([*command, "--budget", "12", "--maps-at", "0"]) == 1
    assert "above 0; got [0]" in capsys.readouterr().err
    assert main([*command, "--budget", "12"]) == 0
    assert "too few to judge" in capsys.readouterr().out


def test_data_without_what_is_measured_are_refused(tmp_path, capsys):
    np.savez(tmp_path / "bare.npz", x=np.zeros((9, 1, 4, 4)), position=np.zeros((9, 2)))
    command = ["explore", "--data", str(tmp_path / "bare.npz"), "--out", str(tmp_path / "out")]
    assert main([*command, "--acquisition", "random", "--budget", "9", *FAST]) == 1
    assert "expected a column 'target' or 'spectrum'" in capsys.readouterr().err


def test_the_command_offers_every_acquisition_function():
    assert tuple(ACQUISITIONS) == NAMES
