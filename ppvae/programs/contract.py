r"""The contract between a model, a guide and a dataset.

A *model* and a *guide* are :class:`torch.nn.Module` objects whose ``forward`` is a Pyro program.
The names of ``forward``'s arguments are the columns of the dataset that the program uses:

- an argument without a default is a column that must be there (``c`` of a conditional model);
- an argument with a default may be left out; an observed one left out is sampled, so that
  prediction is the same program without the data;
- the argument ``size`` is reserved: the number of data to sample when no column is given;
- ``**columns`` stands for the columns that the module's attribute ``columns`` names, which are
  those of its sub-modules (:func:`columns_of`): a model takes the columns that its prior needs.

Every site per datum is in ``pyro.plate("data", N, dim=-1)``, which :func:`data_plate` makes.
The model's latent sites are exactly the guide's sites, with the same shapes.
:func:`ppvae.programs.check_pair` runs both programs before the first step of training, and raises
an error that names what does not fit. Pyro itself only warns about mismatched names, and leaves
mismatched shapes to torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import TypeVar

import pyro
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.automatic import program_of
from ppvae.programs.sites import DATA_PLATE
from ppvae.programs.svi import declare_parameters

__all__ = [
    "DATA_PLATE",
    "INDEX",
    "ContractError",
    "arguments",
    "columns_of",
    "data_plate",
    "deal",
    "signature",
]

Value = TypeVar("Value")

INDEX = "index"


def signature(module: nn.Module) -> dict[str, inspect.Parameter]:
    """The parameters of ``module.forward`` by name, in order.

    The columns behind ``**columns``, which the module's attribute ``columns`` names, come last. An
    automatic guide of Pyro has the parameters of its model.
    """
    if isinstance(module, AutoGuide):
        program = program_of(module)
        return {} if program is None else signature(program)
    parameters = dict(inspect.signature(module.forward).parameters)
    # Decorated by a handler of Pyro, which names no column.
    if isinstance(module.forward, partial):
        _, *declared = inspect.signature(type(module).forward).parameters.items()
        parameters = dict(declared)
    columns = getattr(module, "columns", None)
    rest = [name for name, p in parameters.items() if p.kind is p.VAR_KEYWORD]
    if not rest or columns is None:
        return parameters
    others = {name: p for name, p in parameters.items() if name not in rest}
    return {**others, **{name: p for name, p in columns.items() if name not in others}}


def columns_of(*modules: nn.Module) -> dict[str, inspect.Parameter]:
    """The columns that modules take, each once; used for a module's attribute ``columns``."""
    columns: dict[str, inspect.Parameter] = {}
    for module in modules:
        for name, parameter in signature(module).items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if name not in columns or parameter.default is parameter.empty:
                columns[name] = parameter.replace(kind=parameter.KEYWORD_ONLY)
    return columns


def deal(columns: Mapping[str, Value], *modules: nn.Module) -> list[dict[str, Value]]:
    """The columns that each of several modules takes; no column may be left over.

    Arguments:
        columns: Columns by name.
        modules: Modules that take columns.

    Raises:
        ContractError: If a column that a module needs is missing, or no module takes one.
    """
    taken = columns_of(*modules)
    unknown = [name for name, value in columns.items() if name not in taken and value is not None]
    if unknown:
        raise ContractError(
            f"columns: expected among {list(taken)}; got {unknown}. Leave them out, or choose a "
            "prior or conditions that take them."
        )
    return [arguments(module, columns) for module in modules]


def arguments(module: nn.Module, batch: Mapping[str, Value]) -> dict[str, Value]:
    """The columns of ``batch`` that ``module.forward`` takes, by argument name.

    Raises:
        ContractError: If an argument without a default has no column.
    """
    parameters = signature(module)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(batch)
    chosen: dict[str, Value] = {}
    for name, parameter in parameters.items():
        if name in batch:
            chosen[name] = batch[name]
        elif (
            parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
        ):
            raise ContractError(
                f"{type(module).__name__}: expected a column {name!r} in the data; got columns "
                f"{sorted(batch)}. Add the column, or choose a model that does not need it."
            )
    return chosen


def data_plate(*columns: Tensor | None, size: int | None = None) -> pyro.plate:
    """``pyro.plate("data", N, dim=-1)``, where N is the length of the columns.

    Under :class:`pyro.infer.SVI` it also declares the parameters of the module that calls it
    (:mod:`ppvae.programs.svi`).

    Arguments:
        columns: Columns of a model or a guide, each with shape (N, ...); None for those that are
            not given.
        size: Number of data to sample where no column is given (default one).

    Raises:
        ContractError: If the columns differ in length.
    """
    # Of the shape, as torch.export leaves its numbers open; len() would fix them.
    lengths = [column.shape[0] for column in columns if column is not None]
    if any(length != lengths[0] for length in lengths):
        shapes = [tuple(column.shape) for column in columns if column is not None]
        raise ContractError(
            f"data plate: expected columns of one length; got shapes {shapes}. "
            "Pass columns drawn from the same rows."
        )
    declare_parameters(inspect.currentframe())
    rows = lengths[0] if lengths else (1 if size is None else size)
    return pyro.plate(DATA_PLATE, rows, dim=-1)
