"""A run loaded into another model or guide with the same weights says so in the log."""

from __future__ import annotations

import pytest
from torch import nn

from ppvae.fitting import fit
from ppvae.runs.run import load
from tests.fitting.test_other_model import OPTIONS, X, pair


@pytest.mark.parametrize("options", [{}, {"activation": nn.ReLU}, {"scale": 3.0}], ids=str)
def test_a_run_is_loaded_into_its_own_model_or_with_a_warning(tmp_path, caplog, options):
    run = fit(*pair(), {"x": X}, epochs=1, out=tmp_path / "run", **OPTIONS)
    with caplog.at_level("WARNING", logger="ppvae"):
        loaded = load(tmp_path / "run", *pair(**options))
    said = [record for record in caplog.records if "is not that of the run" in record.message]
    assert bool(said) == bool(options)
    assert loaded.epochs == run.epochs


def test_rows_are_made_up_only_as_large_as_is_safe(tmp_path):
    run = fit(*pair(), {"x": X}, epochs=1, **OPTIONS)
    run.config["data"] = {"columns": {"x": {"shape": [2**30], "dtype": "float32"}}}
    run.save(tmp_path / "run")
    assert load(tmp_path / "run", *pair()).config["probe"] is None
