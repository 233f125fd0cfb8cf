"""The kinds of columns, one row each, with all that readers, models and ArviZ need of a column.

Datasets, files, prediction, ArviZ's dimensions and the README's table are made from
:data:`COLUMNS`. A column of another name is kept as it is, and integers stay integers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "CODED",
    "COLUMNS",
    "MEASURED",
    "OWN",
    "SPLIT",
    "Kind",
    "found_as",
    "kind_of",
    "known_as",
    "markdown",
]

SPLIT = "split"
# Stands for all columns of other names than those below where columns are listed.
OWN = "*"


@dataclass(frozen=True)
class Kind:
    """One kind of column.

    Attributes:
        name: Name of the column, and of the argument of models and guides.
        kind: Measurement, class, identifier, factor, view, batch, mask or split.
        meaning: Meaning of the column, in one line.
        dtypes: Accepted dtypes, in words.
        shape: Accepted shapes, in words.
        scaling: Scaling of the values before they reach a model.
        missing: Notation and handling of missing values.
        coded: Whether text is numbered from 0 in sorted order.
        measured: Whether integers become floating-point numbers in a batch.
        intensity: Whether uint8 is an intensity, scaled from 0 to 255 to [0, 1].
        least: Smallest number of a coded column; -1 where a missing value is -1.
        dims: ArviZ's dimensions after ``sample``, where each axis of a value has one.
        flag: Option of ``ppvae predict`` that sets values, if there is one.
    """

    name: str
    kind: str
    meaning: str
    dtypes: str
    shape: str
    scaling: str
    missing: str
    coded: bool = False
    measured: bool = False
    intensity: bool = False
    least: int = 0
    dims: tuple[str, ...] = ()
    flag: str | None = None


NUMBERS = "whole or floating-point numbers"
_ROWS = (
    Kind(
        "x",
        "measurement",
        "what is observed",
        NUMBERS,
        "(N, D), (N, C, L) or (N, C, H, W)",
        "uint8 from 0 to 255 to [0, 1]; others as they are",
        "NaN, for models that take missing values",
        measured=True,
        intensity=True,
    ),
    Kind(
        "source",
        "measurement",
        "what `ved` predicts `x` from",
        NUMBERS,
        "as `x`",
        "as `x`",
        "refused",
        measured=True,
        intensity=True,
    ),
    Kind(
        "y",
        "class",
        "a class",
        "whole numbers from 0; text or booleans, numbered in sorted order; one-hot",
        "(N)",
        "none",
        "-1, or blank in a table",
        coded=True,
        least=-1,
        flag="--classes",
    ),
    Kind(
        "c",
        "factor",
        "a known continuous factor",
        NUMBERS + ", or text such as 15nm with one unit",
        "(N) or (N, C)",
        "none",
        "NaN, for models that take missing values",
        measured=True,
        dims=("factor",),
        flag="--factors",
    ),
    Kind(
        "object",
        "identifier",
        "whose picture it is (GP priors)",
        "whole numbers from 0; text, numbered in sorted order",
        "(N)",
        "none",
        "refused",
        coded=True,
        flag="--objects",
    ),
    Kind(
        "view",
        "view",
        "seen from where, or when (GP priors)",
        NUMBERS + ", or text such as 15deg with one unit",
        "(N) or (N, V)",
        "none",
        "refused",
        measured=True,
        dims=("component",),
        flag="--views",
    ),
    Kind(
        "batch",
        "batch",
        "the batch that it was measured in",
        "whole numbers from 0; text, numbered in sorted order",
        "(N)",
        "none",
        "refused",
        coded=True,
    ),
    Kind(
        "mask",
        "mask",
        "which values were observed",
        "booleans, or 0 and 1",
        "as `x`, or (N)",
        "none",
        "refused",
    ),
    Kind(
        SPLIT,
        "split",
        "the part that a row belongs to",
        "0, 1, 2, or the words train, validation (val, valid, dev), test (held-out)",
        "(N)",
        "none",
        "refused; a file without the column is divided 80 / 10 / 10 % at random",
    ),
)

COLUMNS: dict[str, Kind] = {row.name: row for row in _ROWS}
CODED = tuple(row.name for row in _ROWS if row.coded)
MEASURED = tuple(row.name for row in _ROWS if row.measured)
_OTHER = Kind("", "column", "a column of your own", NUMBERS, "(N, ...)", "none", "refused")


def kind_of(name: str) -> Kind:
    """The kind of a column, by its name; other names have the kind of a user's own column."""
    return COLUMNS.get(name, _OTHER)


def known_as(name: str) -> str:
    """The column that a name stands for, whatever its case and outer spaces: Split is ``split``.

    Names of one letter, such as the coordinates X and Y, stand for themselves.
    """
    plain = name.strip()
    lower = plain.lower()
    return lower if len(lower) > 1 and lower in COLUMNS else plain


def found_as(name: str, names: Iterable[str]) -> str | None:
    """The one among ``names`` that stands for a column: exactly, or else by :func:`known_as`.

    None if there is no such name, or if several stand for it.
    """
    listed = list(names)
    if name in listed:
        return name
    meant = [other for other in listed if known_as(other) == name]
    return meant[0] if len(meant) == 1 else None


def markdown() -> str:
    """The table of columns in the README, as markdown."""
    lines = ["| column | what | values | shape | missing |", "|---|---|---|---|---|"]
    for row in _ROWS:
        scaled = "; uint8 is intensity, scaled to [0, 1]" if row.intensity else ""
        values = row.dtypes + scaled
        lines.append(f"| `{row.name}` | {row.meaning} | {values} | {row.shape} | {row.missing} |")
    return "\n".join(lines)
