"""Names of features, classes, objects and rows, as coordinates of draws, and units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from ppvae.data import Dataset

__all__ = ["Names", "names_of"]


@dataclass(frozen=True)
class Names:
    """The names in a dataset.

    Attributes:
        dims: Dim to the names along it: ``feature`` of x, ``class`` of y, ``factor`` of c.
        rows: Coordinate along the samples to a name each: ``object_name``, ``y_name``,
            ``sample_name``.
        units: Column to the unit of its numbers.
    """

    dims: Mapping[str, list[str]]
    rows: Mapping[str, list[str]]
    units: Mapping[str, str]


def names_of(columns: Dataset, along: Iterable[str]) -> Names:
    """The names of a dataset, as far as it has any.

    Arguments:
        columns: Dataset.
        along: Columns with numbers that are coordinates along the samples, for which coordinates
            with names are added.
    """
    named = columns.names
    dims = {
        dim: list(map(str, named[column]))
        for dim, column in (("feature", "x"), ("class", "y"), ("factor", "c"))
        if column in named
    }
    rows: dict[str, list[str]] = {}
    for column in along:
        if column in named:
            codes = torch.as_tensor(columns[column]).tolist()
            rows[f"{column}_name"] = [named[column][i] if i >= 0 else "" for i in codes]
    if columns.row_names is not None:
        rows["sample_name"] = [str(name) for name in columns.row_names]
    return Names(dims, rows, columns.record.units)
