"""The numbers by which the benchmark compares searches."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "active" / "compare.py"


def test_regret_first_and_enhancement_are_those_of_their_definitions(capsys):
    spec = importlib.util.spec_from_file_location("compare", PATH)
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    y = np.arange(300.0)  # The best 1 % are 297, 298 and 299; the median is 149.5.
    row = {
        "method": "residual",
        "seed": 0,
        "start": 2,
        "places": [0, 149, *range(150, 160), 298, *range(20, 27)],
        "mean": [None, None, *([155.0] * 18)],
        "scale": [None, None, *([100.0] * 18)],
        "seconds": [1.0, 2.0, 3.0],
    }
    found = compare.measures(row, y)
    assert found["first"] == 13
    assert found["regret at end"] == pytest.approx(1 / 149.5)
    assert found["regret"][1] == pytest.approx(150 / 149.5)
    assert found["best 1 %"] == 1
    assert found["enhancement"] == pytest.approx((1 / 3) / (20 / 300))
    assert found["seconds"] == 2.0
    assert found["coverage"] == 1.0
    other = {**row, "method": "random", "places": list(range(20))}
    results = compare.summary([row, other], y)
    assert results["random"][0]["first"] == 20
    table = capsys.readouterr().out
    # (300 + 1) / (3 + 1) random measurements on average; (300 - 2 + 1) / 4 without the start.
    assert f"| {75.25 / 13:.2f} | {74.75 / 11:.2f} (1) |" in table
    assert "random less deep kernel" in table
