"""Features of a table: the choice of numeric columns, and the matrix of their numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from numbers import Number
from typing import TYPE_CHECKING

import numpy as np

from ppvae.data.record import na_option
from ppvae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Precision",
    "in_float64",
    "is_beyond",
    "is_flags",
    "is_text",
    "matrix",
    "numbers_of",
    "refuse_rounded",
    "refuse_written",
    "some_numbers",
]

# Numbers in forms that pandas reads as text: 1,234 and 12 % and $5 and <0.1 and 0x1F and 1.0D+02.
NUMBERLIKE = re.compile(
    r"\s*[<>~\u2248]?\s*[+\u2212(-]?\s*[$\u20ac\u00a3]?\s*"
    r"(0x[\da-f]+|\d[\d.,'\u2019_\u00a0\u202f ]*(?:[ed][+-]?\d+)?(?:[+-]\d[\d.]*[ij])?)\)?\s*"
    r"([^\d\s]{0,8})\s*",
    re.IGNORECASE,
)
DATE = re.compile(r"\s*\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(\s.*)?")


def matrix(source: str, frame: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, str]:
    """The matrix of features: float32, or float64 where float32 would make numbers equal."""
    columns = [numbers_of(source, name, frame[name]) for name in names]
    for name, column in zip(names, columns, strict=True):
        refuse_rounded(source, name, _exact(_uncategorised(frame[name]), column))
    fine = [name for name, column in zip(names, columns, strict=True) if _is_fine(column)]
    values = np.empty((len(frame), len(columns)), np.float64 if fine else np.float32)
    for i, column in enumerate(columns):
        values[:, i] = column
    return values, in_float64(fine)


def in_float64(names: Sequence[str]) -> str:
    """A note on the features that are kept in float64; empty without any."""
    if not names:
        return ""
    return f"x: {', '.join(names[:6])} kept in float64; a model in float32 rounds such numbers"


class Precision:
    """Whether float32 would round whole numbers, or numbers that differ by little of their size.

    Arguments:
        width: D, the number of features.
    """

    def __init__(self, width: int) -> None:
        self.changed = np.zeros(width, bool)
        self.beyond = np.zeros(width, bool)
        self.whole = np.ones(width, bool)
        self.low = np.full(width, np.inf)
        self.high = np.full(width, -np.inf)

    def add(self, block: np.ndarray) -> None:
        """Look at further rows, with shape (N, D)."""
        known = np.isfinite(block)
        numbers = np.where(known, block, 0.0).astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            rounded = numbers.astype(np.float32)
        self.changed |= (rounded != numbers).any(0)
        self.beyond |= ~np.isfinite(rounded).all(0)
        self.whole &= (numbers == np.round(numbers)).all(0)
        self.low = np.minimum(self.low, numbers.min(0, initial=np.inf, where=known))
        self.high = np.maximum(self.high, numbers.max(0, initial=-np.inf, where=known))

    @property
    def size(self) -> np.ndarray:
        """The largest absolute value of each feature, with shape (D)."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)))

    @property
    def fine(self) -> np.ndarray:
        """Which features float32 would round in this way, with shape (D)."""
        with np.errstate(invalid="ignore"):
            span = self.high - self.low
            close = (span > 0) & (span < 0.12 * self.size)
        large = (self.size > 2**24) & self.whole
        return np.asarray(self.changed & (large | self.beyond | close))


def _is_fine(column: np.ndarray) -> bool:
    precision = Precision(1)
    precision.add(column[:, None])
    return bool(precision.fine[0])


def refuse_rounded(source: str, name: str, column: np.ndarray) -> None:
    """Refuse different whole numbers, such as long identifiers, that float64 makes equal.

    Raises:
        DataError: If there are such numbers.
    """
    if not is_beyond(column):
        return
    exact = np.unique(column)
    if len(np.unique(exact.astype(np.float64))) < len(exact):
        raise DataError(
            f"{source}: expected numbers in column {name!r} that float64 tells apart; got "
            f"different ones that become equal near {exact[-1]}. Subtract a common offset, or "
            "leave the column out: x=[...], on the command line --columns x=NAME,NAME."
        )


def _exact(series: pd.Series, column: np.ndarray) -> np.ndarray:
    """The whole numbers that are there, where a type of pandas has missing ones beside them."""
    kind = getattr(series.dtype, "kind", "O")
    if isinstance(series.dtype, np.dtype) or kind not in "iu":
        return column
    return series.dropna().to_numpy(dtype=np.int64 if kind == "i" else np.uint64)


def is_beyond(column: np.ndarray) -> bool:
    """Whether some of the whole numbers are above 2**53, and so may be rounded by float64."""
    if column.dtype.kind not in "iu" or not column.size:
        return False
    return max(abs(int(column.min())), abs(int(column.max()))) > 2**53


def is_flags(series: pd.Series) -> bool:
    """Whether the values are booleans, some of which may be missing."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(series):
        return True
    return bool(series.dtype == object and series.dropna().map(type).eq(bool).all())


def is_text(series: pd.Series) -> bool:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(series) or pd.api.types.is_datetime64_any_dtype(series):
        return False
    return not pd.api.types.is_timedelta64_dtype(series)


def refuse_written(source: str, name: str, series: pd.Series) -> None:
    """Refuse text that represents numbers, such as 12% and 1,234, and lists of numbers.

    Raises:
        DataError: If every value is such a text, with a common unit or none.
    """
    values = series.dropna()
    nested = [v for v in values if isinstance(v, list | tuple | dict | np.ndarray)]
    units = set()
    for value in values if not nested else ():
        match = NUMBERLIKE.fullmatch(str(value)) if isinstance(value, str) else None
        units.add(match[2] if match and not DATE.fullmatch(value) else None)
        if None in units or len(units) > 1:
            return
    if nested:
        what, remedy = f"a {type(nested[0]).__name__} in each row", "Make a column of each number"
    elif units:
        what, remedy = f"{values.iloc[0]!r}", "Write them plainly (--thousands ',' for 1,234)"
        if units != {""}:
            remedy += f", or name a factor, which may have a unit (--columns c={name})"
    else:
        return
    raise DataError(
        f"{source}: expected numbers in column {name!r}; got {what}. {remedy}; or say what x is: "
        "x=[...], on the command line --columns x=NAME,NAME."
    )


def some_numbers(series: pd.Series) -> bool:
    """Whether some of the texts are numbers and none is a date."""
    import pandas as pd

    scalars = [v for v in series.dropna() if isinstance(v, str | bytes | Number)]
    return bool(_as_numbers(pd.Series(scalars)).notna().any())


def _as_numbers(values: pd.Series) -> pd.Series:
    """Values as numbers, NaN where they are none."""
    import pandas as pd

    try:
        numbers: pd.Series = pd.to_numeric(values, errors="coerce")
    except ValueError:  # of whole numbers beyond 64 bits, in pandas 2
        texts = values.map(lambda v: f"{v}.0" if str(v).strip().lstrip("+-").isdigit() else v)
        numbers = pd.to_numeric(texts, errors="coerce")
    return numbers


def _uncategorised(series: pd.Series) -> pd.Series:
    """Categories in the type that they have, which takes missing values; others as they are."""
    import pandas as pd

    if not isinstance(series.dtype, pd.CategoricalDtype):
        return series
    kind = series.cat.categories.dtype
    if isinstance(kind, np.dtype) and kind.kind in "iub" and bool(series.isna().any()):
        # The types of numpy have no missing value of these.
        nullable = {"i": "Int64", "u": "UInt64", "b": "boolean"}[kind.kind]
        return series.astype(object).astype(nullable)
    return series.astype(kind)


def numbers_of(source: str, name: str, series: pd.Series) -> np.ndarray:
    """A column as floating-point numbers or integers; NaN where missing."""
    import pandas as pd

    series = _uncategorised(series)
    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_complex_dtype(series):
        if isinstance(series.dtype, np.dtype):
            return series.to_numpy()
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    if not is_text(series) or pd.api.types.is_complex_dtype(series):
        raise DataError(
            f"{source}: expected numbers in column {name!r}; got {series.dtype}. Convert it to "
            "numbers in a unit of your choice, such as seconds (.dt.total_seconds()), or leave it "
            "out: x=[...], on the command line --columns x=NAME,NAME."
        )
    values = series.dropna()
    numbers = _as_numbers(values)
    if numbers.isna().any():
        place = int(np.flatnonzero(numbers.isna().to_numpy())[0])
        row = int(np.flatnonzero(series.notna().to_numpy())[place])
        remedy = "Correct it, or remove a row of units" if row == 0 else "Correct it"
        raise DataError(
            f"{source}: expected numbers in column {name!r}; got {values.iloc[place]!r} in row "
            f"{row}. {remedy}; or, if it stands for a missing value, say so: na=[...], on the "
            f"command line {na_option(values.iloc[place])}; or leave the column out: x=[...], on "
            "the command line --columns x=NAME,NAME."
        )
    result = np.full(len(series), np.nan)
    result[series.notna().to_numpy()] = numbers.to_numpy(dtype=np.float64)
    return result
