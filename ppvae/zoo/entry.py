"""One entry a model, found by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from matplotlib.figure import Figure
from torch import nn

from ppvae.data import Dataset, Splits
from ppvae.errors import ArgumentError
from ppvae.fitting import adam
from ppvae.nets.heads import Masked
from ppvae.objectives import ELBO, MutualInformation
from ppvae.runs.run import Run
from ppvae.zoo.options import Options, parse_options

__all__ = ["Entry", "Figures", "build", "entry", "names"]

Spec: TypeAlias = Mapping[str, Mapping[str, Any]]
Figures: TypeAlias = "list[tuple[str, str, Figure]]"

# Name to the module with its ENTRY; a module is imported when its entry is asked for.
MODULES = {
    "vae": "ppvae.zoo.vae",
    "gpvae": "ppvae.zoo.gpvae",
    "cvae": "ppvae.zoo.cvae",
    "ssvae": "ppvae.zoo.ssvae",
    "jvae": "ppvae.zoo.jvae",
    "rvae": "ppvae.zoo.rvae",
    "trvae": "ppvae.zoo.trvae",
    "jrvae": "ppvae.zoo.jrvae",
    "ved": "ppvae.zoo.ved",
    "infomax": "ppvae.zoo.infomax",
    "two-stage-single": "ppvae.zoo.two_stage_single",
    "two-stage-double": "ppvae.zoo.two_stage_double",
}


@dataclass(frozen=True)
class Entry:
    """How a model is built, trained and reported on.

    Attributes:
        name: As on the command line.
        summary: One line.
        options: The dataclass of its options.
        build: From the data's spec and the options to (model, guide, objective).
        default_data: The embedded dataset.
        arrange: From the splits, default or the user's, and the options to those that are fitted.
        check: Refuses data that cannot be fitted, before anything is built.
        columns: Columns that the data must have.
        missing_ok: Columns of a user's file that may have missing values.
        fit: Default arguments of :func:`ppvae.fit`.
        optimizer: From the model and the guide to the ``optimizer`` of :func:`ppvae.fit`.
        metrics: From the run and the splits to further metrics.
        unseen: From the splits to columns for the predictions in arviz.nc, or None.
        figures: From the run and the splits to (file name, caption, figure), in the report's
            order.
    """

    name: str
    summary: str
    options: type[Options]
    build: Callable[[Spec, Any], tuple[nn.Module, nn.Module, ELBO]]
    default_data: Callable[[], Splits]
    arrange: Callable[[Splits, Any], Splits] = lambda splits, options: splits
    check: Callable[[Splits], None] = lambda splits: None
    columns: tuple[str, ...] = ("x",)
    missing_ok: tuple[str, ...] = ("x",)
    fit: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Callable[[nn.Module, nn.Module], Any] = lambda model, guide: adam
    metrics: Callable[[Run, Splits], dict[str, float]] = lambda run, splits: {}
    unseen: Callable[[Splits], Dataset | None] = lambda splits: None
    figures: Callable[[Run, Splits], Figures] = lambda run, splits: []


def names() -> list[str]:
    """The models' names."""
    return list(MODULES)


def entry(name: str) -> Entry:
    """The entry of a model.

    Raises:
        ArgumentError: If there is no model with that name.
    """
    if name not in MODULES:
        raise ArgumentError(f"model: expected one of {names()}; got {name!r}. See ppvae list.")
    found: Entry = importlib.import_module(MODULES[name]).ENTRY
    return found


def build(name: str, spec: Spec, **options: Any) -> tuple[nn.Module, nn.Module, ELBO]:
    """Model, guide and objective of an entry; what a run's recipe names.

    Raises:
        ArgumentError: If there is no such entry or option, or a column is missing.
    """
    found = entry(name)
    missing = [column for column in found.columns if column not in spec]
    if missing:
        raise ArgumentError(
            f"{name}: expected columns {list(found.columns)} in the data; got {list(spec)}. "
            f"Add {missing}, or choose another model."
        )
    model, guide, objective = found.build(spec, parse_options(found.options, options))
    if spec["x"].get("missing"):
        _refuse_missing(name, model, objective)
    return model, guide, objective


def _refuse_missing(name: str, model: nn.Module, objective: ELBO) -> None:
    critics = [term.name for term in objective.terms if isinstance(term, MutualInformation)]
    masked = any(isinstance(module, Masked) for module in model.modules())
    if critics or not masked:
        raise ArgumentError(
            f"{name}: expected x without missing values; got some that are missing (NaN, or 0 in "
            "the column mask). Choose a model that takes them, such as vae, or remove the rows."
        )
