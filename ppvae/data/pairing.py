"""Columns of pandas: they are paired by position, and the labels of their rows must agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

from ppvae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["is_frame", "refuse_other_rows"]


def refuse_other_rows(columns: Mapping[str, object]) -> None:
    """Refuse columns of pandas whose rows have other labels, or the same in another order.

    Rows numbered from 0 have no labels: they go with those of any other column, but not with
    the same numbers in another order.

    Raises:
        DataError: If two columns disagree.
    """
    labelled = [(name, value.index) for name, value in columns.items() if _is_labelled(value)]
    for name, index in labelled[1:]:
        first, other = labelled[0]
        if len(index) != len(other) or index.equals(other):
            continue  # Another length is refused for any columns.
        same = set(index) == set(other)
        if not same and (_is_counted(index) or _is_counted(other)):
            continue
        pairs = enumerate(zip(other.tolist(), index.tolist(), strict=True))
        apart = [(i, one, two) for i, (one, two) in pairs if one != two]
        if not apart:
            continue
        at, one, two = apart[0]
        raise DataError(
            f"columns {first!r} and {name!r}: expected the same rows, by their index; got "
            f"{one!r} and {two!r} in row {at}"
            + (", the same labels in another order. " if same else ". ")
            + f"Put them into one order ({name}.loc[{first}.index]), or pass arrays "
            f"({name}.to_numpy()), which are paired by position."
        )


def is_frame(value: object) -> TypeGuard[pd.DataFrame]:
    """Whether a value is a DataFrame of pandas, which is not imported for other values."""
    return _is_of_pandas(value, "DataFrame")


def _is_labelled(value: object) -> TypeGuard[pd.Series | pd.DataFrame]:
    return _is_of_pandas(value, "Series", "DataFrame")


def _is_of_pandas(value: object, *names: str) -> bool:
    kind = type(value)
    return kind.__module__.startswith("pandas") and kind.__name__ in names


def _is_counted(index: pd.Index) -> bool:
    """Whether rows are numbered from 0, as they are where nobody has labelled them."""
    return type(index).__name__ == "RangeIndex" and bool(len(index) == 0 or index[0] == 0)
