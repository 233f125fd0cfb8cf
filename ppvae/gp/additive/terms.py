r"""Terms, products of kernels over columns, and their sum: the expression of an additive kernel.

The same expression in Python and on the command line::

    RBF("age") + Categorical("id") + RBF("age") * Categorical("sex")
    parse("rbf(age) + cat(id) + rbf(age)*cat(sex)")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.gp.additive.factors import (
    MATERNS,
    RBF,
    Categorical,
    Constant,
    Factor,
    Linear,
    Matern,
    Observed,
    SpectralMixture,
)
from ppvae.gp.additive.free_form import FreeForm
from ppvae.gp.additive.periodic import Periodic
from ppvae.gp.features import kronecker_rows

__all__ = ["Additive", "Term", "parse"]


class Term(nn.Module):
    """A product of kernels.

    Arguments:
        factors: Kernels of single columns.
        name: Name in tables; by default the columns, such as ``id x age``.
    """

    def __init__(self, *factors: Factor, name: str | None = None) -> None:
        super().__init__()
        self.factors = nn.ModuleList(factors)
        self.given_name = name

    def named(self, name: str) -> Term:
        """The same term under another name."""
        return Term(*self, name=name)

    def __iter__(self) -> Iterator[Factor]:
        yield from self.factors  # type: ignore[misc]

    def __mul__(self, other: Factor | Term) -> Term:
        return Term(*self, *(other if isinstance(other, Term) else [other]))

    def __add__(self, other: Factor | Term | Additive) -> Additive:
        return Additive(self) + other

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, each once."""
        return tuple(dict.fromkeys(factor.column for factor in self if factor.column))

    @property
    def written(self) -> str:
        """The term in the notation of the command line."""
        return "*".join(factor.written for factor in self)

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.given_name or " x ".join(self.columns) or "constant"

    def num_features(self, without: str | None = None) -> int:
        """R, leaving out the column ``without``."""
        count = 1
        for group, gate in self._groups(without):
            size = 1
            for factor in group:
                size *= factor.num_features
            count *= size + 1 if gate is not None and group else (2 if gate is not None else size)
        return count

    def features(self, columns: Mapping[str, Tensor], without: str | None = None) -> Tensor:
        """Features of rows.

        Arguments:
            columns: Columns (N) by name.
            without: A categorical column that is left out: its data are told apart elsewhere.

        Returns:
            With shape (N, R), in float64.
        """
        rows = next(iter(columns.values()))
        total = rows.new_ones(len(rows), 1, dtype=torch.float64)
        for group, gate in self._groups(without):
            column = (gate or group[0]).column
            values = columns[column] if column else rows
            if gate is None:
                for factor in group:
                    total = kronecker_rows(total, factor(values))
                continue
            indicators = gate(values)
            if group:
                # Any finite value will do where there is none: its features are multiplied by 0.
                filled = values.nan_to_num(nan=0.0)
                inner = filled.new_ones(len(rows), 1, dtype=torch.float64)
                for factor in group:
                    inner = kronecker_rows(inner, factor(filled))
                indicators = torch.cat([indicators[:, :1] * inner, indicators[:, 1:]], -1)
            total = kronecker_rows(total, indicators)
        return total

    def _groups(self, without: str | None) -> list[tuple[list[Factor], Observed | None]]:
        """The factors by column, with the column's :class:`Observed` if it has one."""
        groups: dict[str, tuple[list[Factor], Observed | None]] = {}
        for factor in self:
            if factor.column == without and without is not None:
                continue
            group, gate = groups.get(factor.column, ([], None))
            if isinstance(factor, Observed):
                gate = factor
            else:
                group = [*group, factor]
            groups[factor.column] = group, gate
        return list(groups.values())


class Additive(nn.Module):
    """A sum of terms with distinct names.

    Arguments:
        terms: Terms, at least one.

    Raises:
        ArgumentError: If two terms are the same.
    """

    def __init__(self, *terms: Term) -> None:
        super().__init__()
        writings = [" * ".join(sorted(f.written for f in term)) for term in terms]
        twice = sorted({writing for writing in writings if writings.count(writing) > 1})
        if not terms or twice:
            raise ArgumentError(
                f"kernel: expected different terms; got {twice or 'none'} more than once. "
                "Write each term once: its variance is learned."
            )
        self.terms = nn.ModuleList(terms)

    def __iter__(self) -> Iterator[Term]:
        yield from self.terms  # type: ignore[misc]

    def __add__(self, other: Factor | Term | Additive) -> Additive:
        if isinstance(other, Factor):
            other = Term(other)
        return Additive(*self, *([other] if isinstance(other, Term) else other))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, each once."""
        return tuple(dict.fromkeys(column for term in self for column in term.columns))

    @property
    def names(self) -> list[str]:
        """Names of the terms; of terms of the same columns, their notation."""
        names = [term.name for term in self]
        return [
            name if names.count(name) == 1 else term.written
            for name, term in zip(names, self, strict=True)
        ]

    @property
    def written(self) -> str:
        """The expression in the notation of the command line."""
        return " + ".join(term.written for term in self)

    def __repr__(self) -> str:
        return f"Additive({self.written})"


KINDS: dict[str, Callable[..., Factor]] = {
    "const": Constant,
    "cat": Categorical,
    "free": FreeForm,
    "rbf": RBF,
    **{name: partial(Matern, nu=nu) for nu, name in MATERNS.items()},
    "periodic": Periodic,
    "linear": Linear,
    "sm": SpectralMixture,
    "obs": Observed,
}
FACTOR = re.compile(r"\s*(\w+)\s*(?:\(\s*(\w+)?\s*((?:,\s*[^,()]+)*)\))?\s*")


def parse(text: str) -> Additive:
    """An expression such as ``rbf(age) + cat(id) + rbf(age)*cat(sex)``.

    Kinds: ``const``, ``cat(column)``, ``free(column)``,
    ``rbf(column[, lengthscale[, features]])``,
    ``matern(column[, lengthscale[, features]])``, likewise ``matern32`` and ``matern12``, which
    are less smooth, ``periodic(column[, period])``, ``linear(column)``,
    ``sm(column[, mixtures])``, ``obs(column)``.

    Raises:
        ArgumentError: If a factor is written otherwise.
    """
    terms = []
    for written in text.split("+"):
        factors = [_factor(part, text) for part in written.split("*")]
        terms.append(Term(*factors))
    return Additive(*terms)


def _factor(text: str, kernel: str) -> Factor:
    match = FACTOR.fullmatch(text)
    kind, column, numbers = match.groups() if match else (None, None, None)
    try:
        texts = [number for number in (numbers or "").split(",") if number.strip()]
        values = [*map(float, texts[:1]), *map(int, texts[1:])]
    except ValueError:
        values, kind = [], None
    given = [] if column is None else [column]
    most = {"rbf": 2, **dict.fromkeys(MATERNS.values(), 2), "periodic": 1, "sm": 1}.get(
        kind or "", 0
    )
    if kind not in KINDS or bool(given) == (kind == "const") or len(values) > most:
        kinds = ", ".join(f"{name}(column)" for name in KINDS if name != "const")
        raise ArgumentError(
            f"kernel: expected factors const, {kinds}, joined by + and *; got {text.strip()!r} "
            f"in {kernel!r}. Write it as in 'rbf(age) + cat(id) + rbf(age)*cat(sex)'."
        )
    return KINDS[kind](*given, *values)
