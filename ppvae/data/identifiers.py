"""Classes and identifiers that are written as numbers, such as 01 and 1E1: they stay text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppvae.data.columns import kind_of, known_as
from ppvae.data.record import composed, said_missing, text_of
from ppvae.data.sniff import OPENERS
from ppvae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IDENTIFIER", "is_identifier", "may_differ", "read_as_names", "with_texts"]

# Names of columns that hold identifiers, and further ones, of columns of a user's own.
IDENTIFIER = re.compile(r"(?i)(\w*[_ .-])?id|(?-i:\w*[a-z0-9]I[Dd])")
NAMES = (
    r"ids?|subjects?|patients?|participants?|persons?|animals?|mouse|mice|donors?|individuals?"
    r"|samples?|specimens?|plates?|wells?|(bar|zip|post)?codes?|keys?|names?|labels?|batch(es)?"
    r"|groups?|sites?|cent(er|re)s?|identifiers?|objects?|tasks?"
)
NAMING = re.compile(rf"(?i)(\w*[_ .-])?({NAMES})")
# Whole numbers as names have them and numbers do not: 01, and 1E1 without a sign.
ZEROS, POWERS = re.compile(r"[+-]?0\d+"), re.compile(r"\d+E\d+")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
PIECE = 2**24  # Bytes of text that are searched at a time.


def is_identifier(name: str) -> bool:
    """Whether a column of the user's own holds names rather than quantities, by its name."""
    return bool(IDENTIFIER.fullmatch(name) or NAMING.fullmatch(name))


def read_as_names(name: str, texts: Iterable[str]) -> tuple[bool, str]:
    """Whether texts of a column of the user's own that are all numbers are names, and a note.

    Arguments:
        name: The column.
        texts: The texts.

    Raises:
        DataError: If texts such as 8 and 08 may be one number or two names.
    """
    plain = list(dict.fromkeys(text.strip() for text in texts))
    led = next((text for text in plain if _is_led(text)), None)
    twins = _twins(plain)
    if is_identifier(name):
        return bool(led or twins), _note(name, led, twins)
    if twins and (led or len(twins[0]) > 15):  # which float64 rounds
        raise DataError(
            f"column {name!r}: expected numbers, or names; got {twins[0]!r} and {twins[1]!r}, "
            f"which are one number. Write them alike, or call the column {name}_id if they are "
            "names."
        )
    return False, f"{name}: read as numbers, {led} as {float(led):g}" if led else ""


def with_texts(
    frame: pd.DataFrame,
    reread: Callable[[list[int]], pd.DataFrame],
    labels: Sequence[str] | None,
    own: Sequence[str] = (),
    *,
    numeric: bool = True,
) -> list[str]:
    """Put the texts of labels such as 01 in the place of their numbers, and say so.

    Words that are read as missing among texts, such as None, are said, too.

    Arguments:
        frame: The table, which is changed.
        reread: Columns at these places, as they are written; text cells are text, and words that
            stand for a missing value, unless the user named them, are themselves.
        labels: Columns that hold classes or identifiers; None for all.
        own: Columns of the user's own, of whose numbers nothing is said here.
        numeric: Whether a number may be a text such as 01.
    """
    places = [
        i
        for i, column in enumerate(frame.columns)
        if (labels is None or _is_label(column, [*labels, *own]))
        and (_has_gaps_in_text(frame.iloc[:, i]) or (numeric and _is_numeric(frame.iloc[:, i])))
    ]
    notes = []
    texts = reread(places) if places else frame.iloc[:, :0]
    for place, (_, written_cells) in zip(places, texts.items(), strict=True):
        column, numbers = str(frame.columns[place]), frame.iloc[:, place]
        words = said_missing(written_cells[numbers.isna()])
        lost = [f"{column}: {words}"] if words else []
        if not _is_numeric(numbers):
            notes += lost
            continue
        cells = written_cells.astype(object).mask(numbers.isna())
        written = {cell.strip() for cell in cells if isinstance(cell, str)}
        if not written or not all(NUMBER.fullmatch(text) for text in written):
            continue  # Numbers in another form, such as 1,5 and 1,000.
        plain = list(dict.fromkeys(text_of(cell) for cell in cells if cell == cell))
        led = next((t for t in plain if _is_led(t)), None)
        twins = _twins(plain, int if numbers.dtype.kind in "iu" else float)
        whole = bool((numbers.dropna() % 1 == 0).all())
        is_own = _name(column) in own
        if not (led or (twins and (whole or is_own))):
            continue
        frame.isetitem(place, cells.map(lambda v: v.strip() if isinstance(v, str) else v))
        if not is_own:
            notes += [_note(column, led, twins), *lost]
    return notes


def _is_numeric(values: pd.Series) -> bool:
    return values.dtype.kind in "iuf"


def _has_gaps_in_text(values: pd.Series) -> bool:
    return not _is_numeric(values) and bool(values.isna().any() and values.notna().any())


def may_differ(path: Path) -> bool:
    """Whether a number of a text may begin with 0 and a digit, or have an exponent.

    True for compressed text.
    """
    if path.suffix.lower() in OPENERS:
        return True
    raw = np.memmap(path, np.uint8, "r")
    if bytes(raw[:2]) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return True
    before = np.frombuffer(b" \t\r\n,;|\"'+-", np.uint8)
    for start in range(1, len(raw), PIECE):
        part = raw[start - 1 : start + PIECE + 1]
        zeros = np.flatnonzero(part[1:-1] == ord("0")) + 1
        zeros = zeros[_is_digit(part[zeros + 1])]
        if np.isin(part[zeros - 1], before).any():
            return True
        powers = np.flatnonzero((part[1:-1] | 32) == ord("e")) + 1
        if _is_digit(part[powers - 1]).any():
            return True
    return False


def _is_digit(characters: np.ndarray) -> np.ndarray:
    return np.asarray((characters >= ord("0")) & (characters <= ord("9")))


def _is_label(column: object, labels: Sequence[str]) -> bool:
    name = _name(column)
    return name in labels or kind_of(known_as(name)).coded


def _name(column: object) -> str:
    return composed(str(column)).strip()


def _is_led(text: str) -> bool:
    return bool(ZEROS.fullmatch(text) or POWERS.fullmatch(text))


def _twins(texts: Iterable[str], number: Callable[[str], float] = float) -> tuple[str, str] | None:
    """Two texts that are one number, but not for decimal zeros alone, as 2 and 2.0 are."""
    seen: dict[float, str] = {}
    for text in texts:
        if not NUMBER.fullmatch(text):
            continue
        plain = re.sub(r"\.0*$", "", text.lstrip("+"))
        first = seen.setdefault(number(text), plain)
        if first != plain:
            return first, plain
    return None


def _note(name: str, led: str | None, twins: tuple[str, str] | None) -> str:
    why = f"{led} is no number"
    if led is not None and ZEROS.fullmatch(led):
        why = "some begin with 0"
    elif twins is not None:
        why = f"{twins[0]} and {twins[1]} are one number"
    return f"{name}: read as text, as {why}"
