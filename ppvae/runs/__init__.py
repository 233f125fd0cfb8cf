"""Fitted pairs, and the folders that store them."""

from ppvae.errors import RunError
from ppvae.runs.exporting import export
from ppvae.runs.folder import read_json, refuse_unwritable, replaced, write_json
from ppvae.runs.history import History
from ppvae.runs.recipe import Builder, register_builder
from ppvae.runs.run import FORMAT, Recipe, Run, describe, is_run, load, read_config, read_history

__all__ = [
    "FORMAT",
    "Builder",
    "History",
    "Recipe",
    "Run",
    "RunError",
    "describe",
    "export",
    "is_run",
    "load",
    "read_config",
    "read_history",
    "read_json",
    "refuse_unwritable",
    "register_builder",
    "replaced",
    "write_json",
]
