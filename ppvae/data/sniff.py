"""The dialect of a text table: separator, decimal sign and header, from its first lines."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ppvae.data.paths import UNREADABLE
from ppvae.data.record import BLANK
from ppvae.errors import DataError

__all__ = [
    "Dialect",
    "blank_below",
    "body_of",
    "check_header",
    "dialect_of",
    "names_of",
    "refuse_odd_groups",
    "refuse_short",
]

SEPARATORS = (",", ";", "\t", "|")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
OPENERS: dict[str, Callable[..., IO[str]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
LINES = 200
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
# Digits in groups of three, as far as one can see.
GROUPED = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")
POINTED = re.compile(r"\s*[+-]?[1-9]\d{0,2}\.\d{3}\s*")
# A first line by which Excel is told the separator.
HINT = re.compile(r"\ufeff?\"?sep=(.)\"?\s*", re.IGNORECASE)
COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Dialect:
    """The dialect of a text table.

    Attributes:
        separator: Separator between fields.
        decimal: Decimal sign, ``"."`` or ``","``.
        header: Names in the first line.
        note: Description of the dialect, in words.
        encoding: UTF-8, or UTF-16 if the file begins with its byte-order mark.
        skipped: Number of lines before the header: Excel's ``sep=;``, comments, blank lines.
        marked: Whether ``#`` and spaces stand before names that are separated by spaces.
    """

    separator: str
    decimal: str
    header: tuple[str, ...]
    note: str
    encoding: str
    skipped: int = 0
    marked: bool = False


def dialect_of(
    path: Path,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
) -> Dialect:
    """The dialect of a text table, compressed or not.

    Raises:
        DataError: If there is no header, names are repeated, rows differ in width from the
            header, or a comma could be a decimal sign or a separator of thousands.
    """
    encoding, numbered = _first_lines(path)
    numbers, lines = map(list, zip(*numbered, strict=True))
    hint = HINT.fullmatch(lines[0])
    if hint is not None:
        separator, lines = separator or hint[1], lines[1:]
    remarks = _remarks(lines, separator)
    lines = lines[remarks:]
    if separator is None:
        separator = _separator(path, lines)
    elif separator in ("tab", "\\t"):
        separator = "\t"
    if len(separator) != 1:
        raise DataError(
            f"{path.name}: expected a separator of one character; got {separator!r}. "
            "Use --sep ';' or --sep tab."
        )
    marked = separator == " " and lines[0].lstrip().startswith("#")
    rows = list(csv.reader(lines, delimiter=separator))
    if separator == " ":
        rows = [line.split() for line in [lines[0].lstrip("# "), *lines[1:]]]
    elif len(lines) >= LINES:
        rows.pop()  # The last row may continue in lines that were not read.
    header, body = tuple(field.strip() for field in rows[0]), [row for row in rows[1:] if row]
    check_header(path, header, body)
    _check_widths(path, header, enumerate(body))
    if decimal is None:
        decimal = "." if thousands == "," else _decimal(path, separator, body)
    if decimal not in (".", ","):
        raise DataError(f"decimal: expected '.' or ','; got {decimal!r}. Use '.'.")
    between = NAMES.get(separator, repr(separator))
    sign = " and decimal commas" if decimal == "," else ""
    note = f"{path.name}: fields between {between}{sign}"
    named = names_of(header)
    note += f"; {named}" if named else ""
    if hint is not None:
        note += f"; the line {hint[0].strip()} says so"
    if remarks:
        note += f"; left out: {remarks} line{'s' * (remarks > 1)} of comments (#) above the names"
    first = numbers[int(hint is not None) + remarks]
    return Dialect(separator, decimal, header, note, encoding, first, marked)


def refuse_short(path: Path, dialect: Dialect) -> None:
    """Refuse a file with any row that has fewer fields than the header.

    Raises:
        DataError: If there is such a row, as in a file that was cut off.
    """
    _check_widths(path, dialect.header, enumerate(body_of(path, dialect)))


def refuse_odd_groups(path: Path, dialect: Dialect, thousands: str) -> list[int]:
    """Numbers of the columns of texts with several such signs that are no numbers, such as dates.

    Raises:
        DataError: If a number has one sign that is not between groups of three digits.
    """
    sign, point = re.escape(thousands), re.escape(dialect.decimal)
    grouped = re.compile(rf"[+-]?\d{{1,3}}({sign}\d{{3}})+({point}\d*)?([eE][+-]?\d+)?")
    # What is a number once the signs are gone.
    odd = re.compile(rf"[+-]?[\d{sign}]*({point}[\d{sign}]*)?([eE][+-]?\d+)?")
    texts = set()
    for number, row in enumerate(body_of(path, dialect)):
        for i, (name, field) in enumerate(zip(dialect.header, map(str.strip, row), strict=False)):
            if thousands not in field or grouped.fullmatch(field) or not odd.fullmatch(field):
                continue
            if field.count(thousands) == 1:
                raise DataError(
                    f"{path.name}: expected {thousands!r} between groups of three digits; got "
                    f"{field!r} in row {number} of column {name!r}. Write the number plainly, or "
                    "leave the sign of thousands out: --thousands."
                )
            texts.add(i)
    return sorted(texts)


def blank_below(path: Path, dialect: Dialect) -> int:
    """Number of rows at the end whose fields are all blank, as spreadsheets leave them."""
    count = 0
    for row in body_of(path, dialect):
        count = 0 if any(field.strip() for field in row) else count + 1
    return count


def body_of(path: Path, dialect: Dialect) -> Iterator[list[str]]:
    """The fields of all rows below the header that are not blank."""
    opener = OPENERS.get(path.suffix.lower(), open)
    with opener(path, "rt", encoding=dialect.encoding, newline="") as file:
        for _ in range(dialect.skipped):
            next(file)
        if dialect.separator == " ":
            rows: Iterator[list[str]] = (line.split() for line in file)
        else:
            rows = csv.reader(file, delimiter=dialect.separator)
        filled = (row for row in rows if row)
        next(filled, None)
        yield from filled


def _check_widths(
    path: Path, header: tuple[str, ...], rows: Iterable[tuple[int, list[str]]]
) -> None:
    for number, row in rows:
        if len(row) > len(header):
            remedy = "Name every column in the header, or state the separator: --sep."
        elif len(row) < len(header) and any(field.strip() for field in row):
            remedy = "Complete the row, with separators where values are missing."
        else:
            continue
        raise DataError(
            f"{path.name}: expected {len(header)} fields per row, as in the header "
            f"({', '.join(header[:6])}); got {len(row)} in row {number}. {remedy}"
        )


def _decimal(path: Path, separator: str, rows: Sequence[Sequence[str]]) -> str:
    """The decimal sign of the fields; refuse signs that could be separators of thousands.

    These are commas, and points between semicolons, as where commas are decimal signs.
    """
    fields = [field for row in rows for field in row]
    pointed = [field for field in fields if "." in field and NUMBER.fullmatch(field)]
    if separator == ";" and pointed and all(POINTED.fullmatch(field) for field in pointed):
        raise DataError(
            f"{path.name}: expected numbers with a decimal point or a decimal comma; got "
            f"{pointed[0].strip()!r} between semicolons, which may be either. Say which: "
            "--decimal . or --decimal , --thousands ."
        )
    commas = [field for field in fields if COMMA.fullmatch(field)]
    if commas and not pointed and all(GROUPED.fullmatch(field) for field in commas):
        raise DataError(
            f"{path.name}: expected numbers with a decimal point or a decimal comma; got "
            f"{commas[0].strip()!r}, which may be either. Say which: --decimal , or --thousands ,"
        )
    return "," if commas and not pointed else "."


def _remarks(lines: Sequence[str], separator: str | None) -> int:
    """Number of first lines that are comments (``#``), rather than the names of the columns.

    Some programs write ``#`` before the names. They are the last such line if it has the width
    of the next, unless that one has names: texts where rows below it have numbers.
    """
    count = next((i for i, line in enumerate(lines) if not line.lstrip().startswith("#")), 0)

    def fields(line: str, by: str | None) -> list[str]:
        return line.split() if by in (None, " ") else next(csv.reader([line], delimiter=by))

    if not count:
        return 0
    for by in (separator,) if separator and len(separator) == 1 else (*SEPARATORS, None):
        last, first, *rows = (fields(line.lstrip("# "), by) for line in lines[count - 1 :])
        if len(last) == len(first) and (len(last) > 1 or (by is None and _number(first[0]))):
            named = all(field.strip().lower() not in BLANK for field in first)
            below = any(map(_number, (field for row in rows for field in row)))
            if not named or any(map(_number, first)) or not below:
                return count - 1
    return count


def _number(field: str) -> bool:
    return NUMBER.fullmatch(field) is not None


def _first_lines(path: Path) -> tuple[str, list[tuple[int, str]]]:
    """The encoding, and the first lines that are not blank, with their numbers from 0."""
    opener = OPENERS.get(path.suffix.lower(), open)
    lines: list[tuple[int, str]] = []
    try:
        with opener(path, "rb") as file:
            marked = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
        encoding = "utf-16" if marked else "utf-8-sig"
        with opener(path, "rt", encoding=encoding, newline="") as file:
            for number, line in enumerate(file):
                if line.strip():
                    lines.append((number, line))
                if len(lines) >= LINES:
                    break
    except UNREADABLE as error:
        raise DataError(
            f"{path.name}: expected a text table in UTF-8; it cannot be read ({error}). "
            "Save it again, as UTF-8."
        ) from error
    if any("\0" in line for _, line in lines):
        raise DataError(
            f"{path.name}: expected a text table in UTF-8; got NUL characters, as in UTF-16 and "
            "UTF-32 without a mark at the start, and in files whose writing did not end. Save it "
            "again, as UTF-8."
        )
    if len(lines) < 2:
        raise DataError(
            f"{path.name}: expected a header and at least one row; got {len(lines)} lines. "
            "Add the names of the columns as first line."
        )
    return encoding, lines


def _separator(path: Path, lines: list[str]) -> str:
    """The separator that divides most lines into the same number of fields."""
    if path.name.lower().split(".", 1)[-1].startswith("tsv") and "\t" in lines[0]:
        return "\t"
    scores = {}
    for separator in SEPARATORS:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        if widths[0] > 1:
            scores[separator] = sum(width == widths[0] for width in widths) / len(widths)
    if scores:
        # The header decides between separators that fit equally well: names have no decimal comma.
        header = lines[0]
        return max(scores, key=lambda s: (scores[s] > 0.9, header.count(s)))
    fields = [line.split() for line in [lines[0].lstrip("# "), *lines[1:]]]
    if len(fields[0]) > 1 and all(len(row) == len(fields[0]) for row in fields):
        return " "
    return ","


def _is_datum(
    header: Sequence[str], numbers: Sequence[float], body: Sequence[Sequence[str]]
) -> bool:
    """Whether a first line with numbers resembles the rows below it.

    Most of its numbers lie in the ranges of their columns, and its texts recur in theirs. Numbers
    at equal distances, such as years or wavelengths, are names.
    """
    steps = np.diff(numbers)
    if not numbers or (len(steps) > 1 and np.allclose(steps, steps[0])) or steps.tolist() == [1]:
        return False
    alike = 0
    for name, column in zip(header, zip(*body, strict=False), strict=False):
        values = [float(field) for field in column if NUMBER.fullmatch(field)]
        if NUMBER.fullmatch(name):
            alike += bool(values) and min(values) <= float(name) <= max(values)
        else:
            alike += bool(name) and name in (field.strip() for field in column)
    return alike > len(header) / 2


def names_of(header: Sequence[str]) -> str:
    """A note on names of columns of which some are numbers; empty without any."""
    if not any(NUMBER.fullmatch(name) for name in header):
        return ""
    return f"the first line, {header[0]} to {header[-1]}, taken as names"


def check_header(path: Path, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    """Refuse a first line that is none of names.

    Arguments:
        path: The table, for messages.
        header: Fields of the first line.
        body: Fields of the rows below it.

    Raises:
        DataError: If it has numbers alone that are in no order, is a row like those below it, or
            has a name twice.
    """
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    numbers = [float(name) for name in named if NUMBER.fullmatch(name)]
    rising = all(a < b for a, b in zip(numbers, numbers[1:], strict=False))
    falling = all(a > b for a, b in zip(numbers, numbers[1:], strict=False))
    disordered = twice or not (rising or falling) or len(header) < 3
    bare = len(numbers) == len(header) and disordered
    if bare or _is_datum(header, numbers, body):
        raise DataError(
            f"{path.name}: expected the names of the columns in the first line; got "
            f"{'numbers' if bare else 'a row like those below it'} ({', '.join(header[:6])}). Add "
            "a line of names."
        )
    if twice:
        raise DataError(
            f"{path.name}: expected a name of its own for each column; got {twice[:6]} more than "
            "once. Rename them."
        )
