"""Columns that are read as quantities: their numbers must not stand for names."""

from __future__ import annotations

from collections.abc import Mapping

from ppvae.data.dataset import Dataset
from ppvae.data.mapped import Column
from ppvae.errors import DataError

__all__ = ["PAIR", "names_of", "refuse_names"]

# Number of names up to which the order of their numbers says nothing but which is which.
PAIR = 2


def names_of(data: Mapping[str, Column], name: str) -> tuple[str, ...]:
    """The names that the numbers of a column stand for, in sorted order; empty without any.

    Arguments:
        data: Columns; those that are no :class:`~ppvae.data.Dataset` have no names.
        name: The column.
    """
    if not isinstance(data, Dataset) or name not in data or data[name].ndim != 1:
        return ()
    return data.names.get(name, ())


def refuse_names(
    data: Mapping[str, Column], name: str, use: str, remedy: str, *, most: int = PAIR
) -> None:
    """Refuse text, which was numbered in sorted order, where its numbers are taken as quantities.

    Arguments:
        data: Columns.
        name: The column.
        use: What takes it as a quantity, such as ``rbf(visit)``.
        remedy: What to do other than to write numbers; empty for nothing.
        most: Number of names up to which it is accepted: two have no order that could be wrong.

    Raises:
        DataError: If the column has more names.
    """
    names = names_of(data, name)
    if len(names) > most:
        shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        raise DataError(
            f"column {name!r}: expected numbers, as {use} takes them as quantities; got the names "
            f"{shown}, which are numbered as text is sorted. Write numbers, such as days since a "
            f"first date{remedy}."
        )
