"""Lists and help are text: they import nothing that computes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ppvae.zoo import names

HEAVY = {
    "arviz",
    "gpytorch",
    "matplotlib",
    "numpy",
    "pandas",
    "pyro",
    "sklearn",
    "torch",
    "xarray",
}
PROBE = """
import json, sys
from ppvae.app.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as stop:
        assert stop.code == 0, stop.code
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    "commands",
    [
        [["list"], ["--help"], ["--version"], ["fit", "--help"]],
        [["fit", name, "--help"] for name in names()],
    ],
)
def test_lists_and_help_import_nothing_heavy(commands):
    run = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(commands)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not HEAVY & set(json.loads(run.stdout.splitlines()[-1]))


def test_evaluations_import_only_what_they_compute_with():
    probe = "import ppvae.app.workflow, json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(run.stdout.splitlines()[-1]))
    assert not {"arviz", "pandas", "scipy.stats", "sklearn", "xarray"} & loaded
