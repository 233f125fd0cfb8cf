"""The rows of ``benchmarks/speed``: the hand-written twin has the loss of the library's pair."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

_FILE = Path(__file__).parents[1] / "benchmarks" / "speed" / "rows.py"
_SPEC = importlib.util.spec_from_file_location("speed_rows", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
rows = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(rows)


# The convolutional rows differ in size alone.
@pytest.mark.parametrize("name", [name for name in rows.ROWS if "128 x 128" not in name])
@pytest.mark.usefixtures("single_precision")
def test_twins_have_losses_of_the_same_size(name):
    row = rows.ROWS[name]
    torch.manual_seed(0)
    model, guide, spec = row.pair()
    columns = row.batch()
    objective = spec(model, guide, num_data=len(columns["x"]))
    batch = {name: column[:16] for name, column in columns.items()}
    objective.check(batch)
    with torch.no_grad():
        loss = float(objective(batch).loss)
        if row.twin is not None:
            # The posterior's scales start elsewhere.
            assert float(row.twin()(batch)) == pytest.approx(loss, rel=0.1)
