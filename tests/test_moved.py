"""Module names of version 0.1 that still lead to what they named."""

import importlib
import sys

import pytest

MOVED = {
    "ppvae.contract": ("ppvae.programs", "data_plate"),
    "ppvae.run": ("ppvae.runs", "Run"),
    "ppvae.predict": ("ppvae.evaluate.predict", "predict"),
    "ppvae.workflow": ("ppvae.app.workflow", "fit_entry"),
    "ppvae.cli": ("ppvae.app.cli", "main"),
}


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_leads_to_the_new_one(old):
    new, name = MOVED[old]
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"is now {new}"):
        module = importlib.import_module(old)
    assert getattr(module, name) is getattr(importlib.import_module(new), name)
