"""``import ppvae`` costs next to nothing and leaves no trace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ppvae

ROOT = Path(__file__).resolve().parents[1]

PROBE = """
import json, random, sys, warnings
import numpy, pyro, torch
state = random.getstate(), torch.get_rng_state(), numpy.random.get_state()[1].copy()
settings = pyro.settings.get()
filters = list(warnings.filters)
threads = torch.get_num_threads()
before = set(sys.modules)
import {module}
print(json.dumps({{
    "modules": sorted(set(sys.modules) - before),
    "loaded": sorted({{name.split(".")[0] for name in sys.modules}}),
    "store": len(pyro.get_param_store()),
    "dtype": str(torch.get_default_dtype()),
    "settings": settings == pyro.settings.get(),
    "filters": filters == list(warnings.filters),
    "threads": threads == torch.get_num_threads(),
    "random": state[0] == random.getstate()
    and torch.equal(state[1], torch.get_rng_state())
    and bool((state[2] == numpy.random.get_state()[1]).all()),
}}))
"""


def probe(module: str) -> dict:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE.format(module=module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_import_loads_nothing_more_and_changes_nothing():
    seen = probe("ppvae")
    assert seen["modules"] == ["ppvae", "ppvae._version"]
    assert seen["store"] == 0
    assert seen["dtype"] == "torch.float32"
    assert all(seen[name] for name in ("settings", "filters", "threads", "random")), seen


@pytest.mark.parametrize(
    "module", ["ppvae.objectives", "ppvae.nets", "ppvae.models", "ppvae.guides"]
)
def test_what_a_new_variant_imports_has_no_side_effect(module):
    seen = probe(module)
    assert seen["store"] == 0
    assert seen["dtype"] == "torch.float32"
    assert all(seen[name] for name in ("settings", "threads", "random")), seen
    assert not {"arviz", "matplotlib", "pandas", "sklearn"} & set(seen["loaded"])


@pytest.mark.parametrize("name", ppvae.__all__)
def test_every_name_loads_at_first_use(name):
    assert name in dir(ppvae)
    assert getattr(ppvae, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'ppvae' has no attribute 'zzz'"):
        ppvae.zzz  # noqa: B018


SUBMODULES = sorted(
    path.stem
    for path in (ROOT / "ppvae").iterdir()
    if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").is_file())
)


def test_every_public_submodule_is_an_attribute():
    assert {"fitting", "programs", "predict", "run", "testing"} <= set(SUBMODULES)
    code = f"import ppvae; [getattr(ppvae, name) for name in {SUBMODULES}]"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["nothing", "_hidden", "__wrapped__", "Dataset.x"])
def test_what_is_no_submodule_is_no_attribute(name):
    with pytest.raises(AttributeError, match=f"module 'ppvae' has no attribute '{name}'"):
        getattr(ppvae, name)
