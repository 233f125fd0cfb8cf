"""Checks of the data of an additive kernel."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from ppvae.data.mapped import Columns
from ppvae.data.quantities import refuse_names
from ppvae.errors import DataError
from ppvae.gp.additive.factors import Categorical, Line, Linear, Observed
from ppvae.gp.additive.periodic import Periodic
from ppvae.gp.additive.terms import Additive

__all__ = ["check_columns", "check_training", "check_visits"]

# Number of rows of the kernel matrices by which terms are compared.
ROWS = 1000
# Largest number up to which float32 has every whole number.
EXACT = 2**24


def check_columns(
    kernel: Additive, columns: Columns, subject: str | None = None
) -> dict[str, Tensor]:
    """The kernel's columns of some rows, with shape (N) each.

    Arguments:
        kernel: Kernel.
        columns: Columns of the rows.
        subject: Column of the subjects.

    Raises:
        DataError: If a column is missing, has more than one number per row, or has missing
            values that no :class:`~ppvae.gp.additive.Observed` covers; or if a subject is not a
            whole number.
    """
    absent = [name for name in kernel.columns if name not in columns]
    if absent:
        raise DataError(
            f"kernel: expected columns {list(kernel.columns)}; got {sorted(columns)}. Add "
            f"{absent} to the data, or leave their terms out of the kernel."
        )
    chosen = {name: torch.as_tensor(columns[name]) for name in kernel.columns}
    for name, values in chosen.items():
        if values.dim() != 1:
            raise DataError(
                f"column {name!r}: expected one number per row; got shape "
                f"{tuple(values.shape)}. Split it into columns of their own."
            )
    if subject is not None:
        _check_subjects(subject, chosen[subject])
    for term in kernel:
        covered = {factor.column for factor in term if isinstance(factor, Observed)}
        for name in term.columns:
            bad = ~torch.isfinite(chosen[name].double())
            if name in covered:
                bad = torch.isinf(chosen[name].double())
            if bad.any():
                raise DataError(
                    f"column {name!r}: expected finite numbers; got "
                    f"{chosen[name][bad][0].item()} in row {int(bad.nonzero()[0])}. Write the "
                    f"term as {term.written}*obs({name}), which takes missing values, or drop "
                    "the rows."
                )
    return chosen


def check_training(
    kernel: Additive, data: Columns, subject: str | None = None, order: str | None = None
) -> dict[str, Tensor]:
    """The kernel's columns of the training data.

    Arguments:
        kernel: Kernel.
        data: The training data.
        subject: Column of the subjects.
        order: Column that orders a subject's data.

    Raises:
        DataError: If a column is constant or has names where a factor takes quantities, a datum
            appears twice or has no observed value.
    """
    for factor in (factor for term in kernel for factor in term):
        if isinstance(factor, Line | Linear | Periodic):
            name = factor.column
            refuse_names(data, name, factor.written, f"; cat({name}) and free({name}) take names")
    if order is not None:
        refuse_names(data, order, "the order of the visits", "", most=0)
    columns = check_visits(kernel, data, subject)
    for name, values in columns.items():
        seen = values[~torch.isnan(values.double())]
        if len(seen.unique()) < 2 and bool((seen == seen[:1]).all()) and len(seen) == len(values):
            raise DataError(
                f"column {name!r}: expected different values in the training data; got "
                f"{seen[0].item():g} in every row. Leave its terms out of the kernel."
            )
        if len(seen) == 0:
            raise DataError(
                f"column {name!r}: expected values in the training data; got none. Leave its "
                "terms out of the kernel."
            )
    for term in kernel:
        for factor in term:
            if isinstance(factor, Observed):
                if not torch.isnan(columns[factor.column].double()).any():
                    raise DataError(
                        f"column {factor.column!r}: expected missing values where the kernel has "
                        f"{factor.written}; got none. Leave {factor.written} out of "
                        f"{term.written}."
                    )
    return columns


def check_visits(kernel: Additive, data: Columns, subject: str | None = None) -> dict[str, Tensor]:
    """The kernel's columns of visits, each of a subject and with an observed value.

    Arguments:
        kernel: Kernel.
        data: The visits: ``x`` and the kernel's columns.
        subject: Column of the subjects.

    Raises:
        DataError: If the kernel cannot read a column, a row has no subject or no observed value,
            or a visit appears twice.
    """
    columns = check_columns(kernel, data, subject)
    if subject is not None and not bool((columns[subject] >= 0).all()):
        row = int((columns[subject] < 0).nonzero()[0])
        raise DataError(
            f"column {subject!r}: expected a subject, numbered from 0, in every row of the "
            f"data; got {columns[subject][row].item():g} in row {row}. Name the subject, "
            "or drop the row."
        )
    _refuse_repeated(columns, data)
    _refuse_unobserved(data)
    return columns


def _check_subjects(name: str, values: Tensor) -> None:
    """Refuse subjects that are not integers."""
    if not values.is_floating_point():
        return
    bad = ~torch.isfinite(values) | (values != values.round()) | (values.abs() > EXACT)
    if bad.any():
        raise DataError(
            f"column {name!r}: expected a subject in every row, by name or by a whole number; got "
            f"{values[bad][0].item():.12g} in row {int(bad.nonzero()[0])}. Name the subject (in "
            "predictions, -1 is one that nothing is known of), or drop the row."
        )


def _refuse_repeated(columns: Mapping[str, Tensor], data: Columns) -> None:
    """Refuse rows with the same columns and the same ``x``, which are one visit recorded twice."""
    if "x" not in data:
        return
    table = torch.stack([values.double().nan_to_num(nan=-1e300) for values in columns.values()], 1)
    _, codes, counts = torch.unique(table, dim=0, return_inverse=True, return_counts=True)
    for code in (counts > 1).nonzero()[:, 0].tolist():
        rows = (codes == code).nonzero()[:, 0]
        x = torch.as_tensor(data["x"][rows.cpu()]).flatten(1).double().nan_to_num(nan=-1e300)
        distinct = torch.unique(x, dim=0)
        if len(distinct) < len(rows):
            raise DataError(
                f"visits: expected each visit once; got rows {rows[:5].tolist()} with the same "
                f"{', '.join(columns)} and the same x. Keep one of them."
            )


def _refuse_unobserved(data: Columns) -> None:
    """Refuse rows without any observed value of ``x``."""
    if "x" not in data:
        return
    for start in range(0, len(data["x"]), 4096):
        x = torch.as_tensor(data["x"][start : start + 4096])
        empty = x.isnan().flatten(1).all(1).nonzero()[:, 0]
        if x.is_floating_point() and len(empty) > 0:
            raise DataError(
                f"x: expected an observed value in every row; got none in row "
                f"{start + int(empty[0])}. Drop such rows; the model predicts them from the "
                "others."
            )


@torch.no_grad()
def check_distinct(kernel: Additive, columns: Mapping[str, Tensor], subject: str | None) -> None:
    """Refuse terms that the data cannot distinguish; warn of terms that are hard to distinguish.

    Raises:
        DataError: If two terms have the same covariance between all training data, or one has
            none, as noise has.
    """
    rows = torch.arange(len(next(iter(columns.values()))))
    if subject is not None and len(rows) > ROWS:
        _, codes, counts = torch.unique(columns[subject], return_inverse=True, return_counts=True)
        rows = (codes <= int((counts.cumsum(0) <= ROWS).sum())).nonzero()[:, 0].cpu()
    rows = rows[:ROWS]
    some = {name: values[rows.to(values.device)] for name, values in columns.items()}
    grams = []
    for term in kernel:
        features = term.features(some, subject)
        gram = features @ features.mT
        if subject in term.columns:
            gram = gram * (some[subject][:, None] == some[subject])
        grams.append(gram)
    for i, (first, gram) in enumerate(zip(kernel.names, grams, strict=True)):
        if len(rows) > 1 and _close(gram, torch.eye(len(gram)).to(gram)):
            raise DataError(
                f"kernel: expected a term {first!r} that some data share; got one that differs "
                "between all of them, as the noise does. Leave it out: the noise is always there."
            )
        for second, other in zip(kernel.names[:i], grams[:i], strict=True):
            if _close(gram, other):
                raise DataError(
                    f"kernel: expected terms that can be told apart; got {second!r} and "
                    f"{first!r} with the same covariance between all training data. Leave one of "
                    "them out."
                )
    _warn_constant(kernel, columns, subject)


def _warn_constant(kernel: Additive, columns: Mapping[str, Tensor], subject: str | None) -> None:
    """Terms of columns that are constant in each subject beside the subject's own level."""
    if subject is None or not any(
        [type(f) for f in term] == [Categorical] and term.columns == (subject,) for term in kernel
    ):
        return
    levels, codes = torch.unique(columns[subject], return_inverse=True)
    fixed = set()
    for name, values in columns.items():
        filled = values.double().nan_to_num(nan=-1e300)
        first = filled.new_zeros(len(levels)).index_copy_(0, codes.flip(0), filled.flip(0))
        if name != subject and torch.equal(first[codes], filled):
            fixed.add(name)
    for name, term in zip(kernel.names, kernel, strict=True):
        if term.columns and set(term.columns) <= fixed:
            warnings.warn(
                f"kernel: the term {name!r} is constant in each {subject!r}, as the term "
                f"{subject!r} is: the data hardly tell their shares of variance apart.",
                stacklevel=2,
            )


def _close(a: Tensor, b: Tensor) -> bool:
    return float((a - b).abs().max()) < 1e-6
