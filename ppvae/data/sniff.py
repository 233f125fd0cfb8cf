"""What a text table is made of: separator, decimal sign and header, from its first lines."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ppvae.errors import DataError

__all__ = ["Dialect", "dialect_of"]

SEPARATORS = (",", ";", "\t", "|")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
OPENERS: dict[str, Callable[..., IO[str]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
LINES = 200
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Attributes:
        separator: Between fields.
        decimal: ``"."`` or ``","``.
        header: The names in the first line.
        note: This in words.
    """

    separator: str
    decimal: str
    header: tuple[str, ...]
    note: str


def dialect_of(path: Path, separator: str | None = None, decimal: str | None = None) -> Dialect:
    """The dialect of a text table, compressed or not.

    Raises:
        DataError: If there is no header, names stand twice, or rows are wider than the header.
    """
    lines = _first_lines(path)
    if separator is None:
        separator = _separator(path, lines)
    elif separator in ("tab", "\\t"):
        separator = "\t"
    if len(separator) != 1:
        raise DataError(
            f"{path.name}: expected a separator of one character; got {separator!r}. "
            "Use --sep ';' or --sep tab."
        )
    rows = list(csv.reader(lines, delimiter=separator))
    header, body = tuple(field.strip() for field in rows[0]), [row for row in rows[1:] if row]
    _check_header(path, header, separator)
    for number, row in enumerate(body):
        if len(row) > len(header):
            raise DataError(
                f"{path.name}: expected {len(header)} fields per row, as in the header "
                f"({', '.join(header[:6])}); got {len(row)} in row {number}. Name every column in "
                "the header, or state the separator: --sep."
            )
    if decimal is None:
        commas = any(COMMA.fullmatch(field) for row in body for field in row)
        points = any("." in field and NUMBER.fullmatch(field) for row in body for field in row)
        decimal = "," if commas and not points else "."
    if decimal not in (".", ","):
        raise DataError(f"decimal: expected '.' or ','; got {decimal!r}. Use '.'.")
    between = NAMES.get(separator, repr(separator))
    sign = " and decimal commas" if decimal == "," else ""
    return Dialect(separator, decimal, header, f"{path.name}: fields between {between}{sign}")


def _first_lines(path: Path) -> list[str]:
    opener = OPENERS.get(path.suffix.lower(), open)
    lines: list[str] = []
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            for line in file:
                if line.strip():
                    lines.append(line)
                if len(lines) >= LINES:
                    break
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise DataError(
            f"{path.name}: expected a text table in UTF-8; it cannot be read ({error}). "
            "Save it again."
        ) from error
    if len(lines) < 2:
        raise DataError(
            f"{path.name}: expected a header and at least one row; got {len(lines)} lines. "
            "Add the names of the columns as first line."
        )
    return lines


def _separator(path: Path, lines: list[str]) -> str:
    """The separator that divides most lines into the same number of fields."""
    if path.name.lower().split(".", 1)[-1].startswith("tsv"):
        return "\t"
    scores = {}
    for separator in SEPARATORS:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        if widths[0] > 1:
            scores[separator] = sum(width == widths[0] for width in widths) / len(widths)
    if scores:
        # The header decides between separators that fit alike: a decimal comma is not in names.
        header = lines[0]
        return max(scores, key=lambda s: (scores[s] > 0.9, header.count(s)))
    fields = [line.split() for line in lines]
    if len(fields[0]) > 1 and all(len(row) == len(fields[0]) for row in fields):
        return " "
    return ","


def _check_header(path: Path, header: tuple[str, ...], separator: str) -> None:
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    numbers = [float(name) for name in named if NUMBER.fullmatch(name)]
    rising = all(a < b for a, b in zip(numbers, numbers[1:], strict=False))
    falling = all(a > b for a, b in zip(numbers, numbers[1:], strict=False))
    if len(numbers) == len(header) and (twice or not (rising or falling) or len(header) == 1):
        raise DataError(
            f"{path.name}: expected the names of the columns in the first line; got numbers "
            f"({', '.join(header[:6])}). Add a line of names."
        )
    if twice:
        raise DataError(
            f"{path.name}: expected a name of its own for each column; got {twice[:6]} more than "
            "once. Rename them."
        )
