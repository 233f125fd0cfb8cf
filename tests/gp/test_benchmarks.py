"""The benchmarks of the GP prior run, small, and say what they promise."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / "gp"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("single_precision"),
]


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script in this process, as imports take longer than fits; returns what it prints."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def in_this_process(script, *arguments):
        monkeypatch.setattr("sys.argv", [script, *map(str, arguments)])
        runpy.run_path(str(FOLDER / script), run_name="__main__")
        return capsys.readouterr().out

    yield in_this_process
    # Other folders have modules of these names, too.
    for file in FOLDER.glob("*.py"):
        sys.modules.pop(file.stem, None)


# The methods that differ most; all nine are run by the benchmark itself.
@pytest.mark.parametrize("mode", ["joint", "alternating", "weight-space", "rotation-aware"])
def test_methods_of_rotated_digits(mode, run, tmp_path):
    path = tmp_path / "found.json"
    run("rotated_digits.py", "--mode", mode, "--epochs", 1, "--objects", 60, "--json", path)
    found = json.loads(path.read_text("utf-8"))["runs"][0]
    assert 0 < found["test_mse"] < 1
    assert found["parameters"] <= 500_000
    if mode == "joint":
        assert f"| {mode} | 1 | 1 |" in run("rotated_digits.py", "--table", path)


def test_growth_and_new_objects(run, tmp_path):
    path = tmp_path / "scaling.json"
    run("scaling.py", "--rows", 4050, 8100, "--steps", 1, "--json", path)
    assert [r["rows"] for r in json.loads(path.read_text("utf-8"))["runs"]] == [4050, 8100]
    table = run("new_objects.py", "--epochs", 1, "--objects", 60)
    assert table.count("\n| ") >= 4


def test_files_for_peers_and_scores_of_what_they_return(run, tmp_path):
    run("exchange.py", "write", tmp_path, "--seed", 0)
    parts = ("validation", "test")
    asked = {name: np.load(tmp_path / f"{name}.npz")["x"] for name in parts}
    found = {name: np.nan_to_num(x) + 0.1 for name, x in asked.items()}
    np.savez(tmp_path / "found.npz", **found, cpu_seconds=7, settings="{}")
    scores = run("exchange.py", "score", tmp_path, tmp_path / "found.npz")
    assert re.search(r"test +found +0\.0100  7 CPU s", scores)


def test_long_series(run, tmp_path):
    run("long_series.py", "--seeds", 0, "--write", tmp_path)
    x = np.load(tmp_path / "series0.npz")["x"]
    np.savez(tmp_path / "found.npz", x=x)
    scores = run("long_series.py", "--seeds", 0, "--score", tmp_path / "found.npz")
    assert re.search(r"linear map of all features (\S+)\n", scores)[1] in scores.splitlines()[-1]
    assert "two slowest of 3 latents" in run("long_series.py", "--epochs", 1, "--latents", 3)


def test_missing_frames(run, tmp_path):
    small = ("--train", 20, "--test", 10, "--epochs", 1)
    simple = run("missing_frames.py", *small)
    assert simple.count("mse ") == 6
    assert "coverage_90_ink" in run("missing_frames.py", "--method", "angle", *small)
    run("missing_frames.py", *small, "--write", tmp_path)
    with np.load(tmp_path / "videos0.npz") as videos:
        seen, time = videos["m_test_miss"][..., 0], videos["t_test_full"][..., 0]
        missing = videos["seq_test_full"][seen == 0]
        assert (np.diff(seen, axis=1) <= 0).all()
    assert (np.sort(time, axis=1) == np.arange(100)).all()
    # The frames that are asked for, in the order in which they are scored.
    np.savez(tmp_path / "found.npz", mean=missing, cpu_seconds=7, settings="{}")
    assert "mse 0.0000" in run("missing_frames.py", *small, "--score", tmp_path / "found.npz")
