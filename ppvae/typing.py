"""Names of types that several packages use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypedDict

__all__ = ["ColumnSpec", "JsonObject", "Keywords", "Spec"]

# An object of JSON; the type of a value is checked where it is read (ppvae.runs.schema).
JsonObject: TypeAlias = dict[str, Any]
# Keyword arguments of a function that refuses those it does not know.
Keywords: TypeAlias = Mapping[str, Any]


class ColumnSpec(TypedDict, total=False):
    """The properties of a column that a model is built from, as JSON.

    Attributes:
        shape: Shape of a row.
        dtype: Name of the dtype.
        classes: Number of classes or ids of a coded column; None for others.
        names: Names of features or classes, by number.
        unit: Unit of the numbers.
        missing: Whether some values are NaN.
        library: Mean and standard deviation of the logarithm of the totals of counts.
        mean: Mean of each feature.
        sd: Standard deviation of each feature.
    """

    shape: list[int]
    dtype: str
    classes: int | None
    names: list[str]
    unit: str
    missing: bool
    library: list[float]
    mean: list[float]
    sd: list[float]


# Column to its spec: ppvae.data.Dataset.spec.
Spec: TypeAlias = Mapping[str, ColumnSpec]
