"""Every script in ``examples/`` runs, small; one that is not listed here fails."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = ["--epochs", "1", "--rows", "200"]
EXAMPLES = {
    "atoms.py": ["--epochs", "1", "--size", "128", "--out", "atoms.png"],
    "cvae.py": [*TINY, "--out", "swapped.png"],
    "ensemble.py": [*TINY, "--members", "2", "--classes", "3", "--out", "maps.png"],
    "flows.py": [*TINY, "--out", "flows.png"],
    "hierarchy.py": TINY,
    "explore.py": ["--fast", "--acquisition", "max-variance"],
    "infomax.py": [*TINY, "--out", "path.png"],
    "jvae.py": [*TINY, "--out", "jvae.png"],
    "kalman.py": TINY,
    "kernels.py": [*TINY, "--out", "kernels.png"],
    "masked.py": TINY,
    "mixtures.py": TINY,
    "peaks.py": [*TINY, "--out", "peaks.png"],
    "rvae.py": [*TINY, "--out", "rvae.png"],
    "shared.py": TINY,
    "so3.py": ["--fast", "--out", "so3.png"],
    "ssvae.py": [*TINY, "--labels", "50"],
    "svae.py": [*TINY, "--out", "sphere.png"],
    "tasks.py": ["--fast", "--out", "tasks.png"],
    "ved.py": [*TINY, "--out", "ved.png"],
    "visits.py": ["--epochs", "1", "--subjects", "10", "--out", "visits.png"],
}


def test_every_example_is_run():
    assert {file.name for file in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


# In this process, as imports take longer than the fits.
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs_and_says_something(name, tmp_path, monkeypatch, capsys):
    if name == "flows.py":
        pytest.importorskip("zuko")
    script = str(ROOT / "examples" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [script, *EXAMPLES[name]])
    runpy.run_path(script, run_name="__main__")
    said = capsys.readouterr().out
    assert said.strip()
    assert "nan" not in said
