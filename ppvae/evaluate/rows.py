"""Evenly spaced rows of data, and the plain ELBO of a run, for evaluations."""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError
from ppvae.expected import expect, integer
from ppvae.objectives import ELBO, Objective
from ppvae.programs.support import check_support
from ppvae.runs.run import Run

__all__ = ["columns_of", "expect_run", "plain_elbo", "spaced", "thinned"]


def plain_elbo(run: Run, data: Dataset, *, num_particles: int = 1) -> Objective:
    """The ELBO of a run's pair, with unit weights, and without scales that its programs set.

    The KL of a global latent is divided among the training data of the run, or among ``data`` if
    the run does not record their number.

    Arguments:
        run: Its model and guide.
        data: The data that are evaluated.
        num_particles: Draws of the guide per datum.
    """
    num_data = run.num_data or data.num_rows
    objective = ELBO(num_particles=num_particles)(run.model, run.guide, num_data=num_data)
    objective.unscaled = True
    return objective


def _evenly(total: int, count: int) -> Tensor:
    return torch.arange(count) * total // count


def spaced(data: ColumnsLike, column: str, max_rows: int | None) -> Dataset:
    """One column, at most ``max_rows`` of its rows, evenly spaced; values may be missing.

    Arguments:
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        column: The column.
        max_rows: Largest number of rows; None for all.

    Raises:
        DataError: If there is no such column, or it cannot be used.
    """
    dataset = data if isinstance(data, Dataset) else Dataset(data, missing_ok=[column])
    one = dataset.select(column)
    if max_rows is None or one.num_rows <= max_rows:
        return one
    return one.take(_evenly(one.num_rows, max_rows))


def expect_run(run: object) -> None:
    """Refuse what is no run.

    Raises:
        ArgumentError: If it is none.
    """
    if not isinstance(run, Run):
        raise ArgumentError(
            f"run: expected a Run; got {str(run)[:60]!r}. Pass what ppvae.fit or ppvae.load "
            "returns."
        )


def columns_of(run: Run, data: ColumnsLike) -> Dataset:
    """Data as columns like those that a run was fitted with.

    Arguments:
        run: The run.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.

    Raises:
        ArgumentError: If ``run`` is none, or as :meth:`ppvae.runs.Run.columns`.
        DataError: If a value is outside the support of its likelihood.
    """
    expect_run(run)
    columns = run.columns(data)
    check_support(run.model, run.guide, columns)
    return columns


def thinned(run: Run, data: ColumnsLike, max_rows: int | None) -> tuple[Dataset, Tensor]:
    """At most ``max_rows`` rows, and their numbers; all of them for None.

    Arguments:
        run: The run that they are for.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        max_rows: How many rows at most.

    Raises:
        ArgumentError: If ``max_rows`` is below 1, or a column differs from the training data in
            its names or numbering.
        DataError: If a value of these rows is outside the support of its likelihood.
    """
    if max_rows is not None:
        expect(integer(1), "Use 1000, or None for all rows.", max_rows=max_rows)
    expect_run(run)
    columns = run.columns(data)
    rows = torch.arange(columns.num_rows)
    if max_rows is not None and columns.num_rows > max_rows:
        rows = _evenly(columns.num_rows, max_rows)
        columns = columns.take(rows)
    check_support(run.model, run.guide, columns, rows)
    return columns, rows
