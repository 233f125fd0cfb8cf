"""The record of a dataset: names behind its numbers, units, and notes on its reading."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ppvae.data.columns import kind_of
from ppvae.errors import DataError
from ppvae.typing import Spec

__all__ = [
    "Record",
    "coded",
    "composed",
    "known_names",
    "known_unit",
    "na_option",
    "recoded",
    "said_missing",
    "text_of",
]

# Texts that stand for a missing class.
BLANK = frozenset({"", "nan", "na", "n/a", "none", "null", "<na>"})
# Texts that stand for one beside names, as the number -1 does beside numbers.
UNLABELLED = frozenset({"-1", "-1.0", "\u22121"})
# Names that people give to what has no label, without spaces and signs.
MARKERS = re.compile(
    r"(un|not)(known|labell?ed|assigned|annotated|classified|defined|determined)|missing|unk"
    r"|nolabel|\?+|-+",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Record:
    """Names, units and notes that are kept with a dataset, as JSON.

    Attributes:
        names: Names by column: features of ``x``, classes of ``y``, objects.
        units: Unit of each column that has one, such as ``deg``.
        notes: Sentences on what was done in reading and conversion.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def noted(self, *notes: str) -> Record:
        """This record with further notes."""
        return Record(self.names, self.units, (*self.notes, *(n for n in notes if n)))

    def renamed(self, column: str, names: Sequence[str]) -> Record:
        """This record with the names of a column in place of earlier ones."""
        return Record({**self.names, column: tuple(names)}, self.units, self.notes)


def coded(
    name: str,
    values: np.ndarray,
    known: Sequence[str] | None = None,
    *,
    blank: Collection[str] | None = None,
) -> tuple[np.ndarray, tuple[str, ...] | None, str]:
    """Classes or identifiers as numbers from 0.

    Text is numbered in sorted order. Integers are kept if they can be class numbers, and are
    renumbered if most numbers up to the largest would be unused, such as 1001 and 2002.

    Arguments:
        name: Name of the column.
        values: Text, booleans or numbers with shape (N); None, NaN, blank text and, among
            numbers, -1 are missing.
        known: Names by number in a fitted run (:func:`known_names`).
        blank: Texts that stand for a missing value, in lower case; by default blank ones and,
            of classes, -1.

    Returns:
        Numbers (N) with -1 where missing, the names by number (None where the numbers stand for
        themselves), and a note in words (empty where nothing was done).

    Raises:
        DataError: If numbers have fractions, or a name is not in ``known``.
    """
    if values.dtype.kind in "iu" and known is None:
        distinct = np.unique(values[values != -1])
        if not len(distinct) or int(distinct[-1]) + 1 <= 2 * len(distinct):
            return values.astype(np.int64), None, ""
    if blank is None:
        # Older versions took -1 for a name: their runs keep it.
        unlabelled = UNLABELLED.difference(known or ()) if kind_of(name).least == -1 else ()
        blank = BLANK.union(unlabelled)
    texts = np.array([text_of(value) for value in values.tolist()], dtype=object)
    missing = np.array([text.strip().lower() in blank for text in texts], dtype=bool)
    numeric = values.dtype.kind in "iuf" or all(
        isinstance(v, int | float) and not isinstance(v, bool)
        for v, gone in zip(values.tolist(), missing, strict=True)
        if not gone
    )
    numeric = numeric and not missing.all()
    if numeric:
        missing |= np.array([text == "-1" for text in texts], dtype=bool)
        fractions = [
            t for t, gone in zip(texts, missing, strict=True) if not gone and not _is_whole(t)
        ]
        if fractions:
            raise DataError(
                f"column {name!r}: expected whole numbers (ids from 0) or text; got "
                f"{fractions[0]}. Number the classes, or name the column c if it is a quantity."
            )
        numbers = np.array([-1 if g else int(t) for t, g in zip(texts, missing, strict=True)])
        distinct = np.unique(numbers[~missing])
        gaps = len(distinct) and int(distinct[-1]) + 1 > 2 * len(distinct)
        if known is None and not gaps:
            return numbers.astype(np.int64), None, ""
        names = tuple(str(number) for number in distinct)
    else:
        names = tuple(sorted({str(t) for t, gone in zip(texts, missing, strict=True) if not gone}))
    if known is not None:
        strange = [n for n in names if n not in known]
        if strange:
            raise DataError(
                f"column {name!r}: expected the names {_few(known)} that the run was fitted with; "
                f"got {_few(strange)}. Leave out these rows, or fit a run with them."
            )
        names = tuple(known)
        if names == tuple(map(str, range(len(names)))):
            return (
                np.array(
                    [-1 if g else int(t) for t, g in zip(texts, missing, strict=True)],
                    dtype=np.int64,
                ),
                None,
                "",
            )
    number_of = {text: i for i, text in enumerate(names)}
    codes = np.array(
        [-1 if gone else number_of[text] for text, gone in zip(texts, missing, strict=True)],
        dtype=np.int64,
    )
    note = f"{name}: {_few(names)} numbered from 0 in this order" if names else f"{name}: no names"
    words = said_missing(t for t in texts[missing] if t.lower() in BLANK and not numeric)
    note += f"; {words}" if words else ""
    return codes, names, note + ("" if known is not None else _marked(name, names))


def said_missing(texts: Iterable[object]) -> str:
    """A note on words among names that are read as missing; empty if all are blank.

    Arguments:
        texts: What is written in the places of missing values.
    """
    words = Counter(text.strip() for text in texts if isinstance(text, str) and text.strip())
    if not words:
        return ""
    shown = ", ".join(f"{word} ({n} row{'s' * (n > 1)})" for word, n in words.most_common(4))
    return f"{shown} read as missing; if it is a name, write it in another way"


def _marked(name: str, names: Sequence[str]) -> str:
    """What a note says of names of classes that may mark data without a label."""
    if kind_of(name).least != -1:
        return ""
    for text in names:
        if MARKERS.fullmatch(re.sub(r"[\s_]|(?<=\w)-", "", text)):
            return (
                f"; {text!r} is a class as the others: data without a label have -1 or a blank "
                f"({na_option(text)} where they are a table), pictures a place beside the folders "
                "of classes"
            )
    return ""


def known_names(like: Spec | None, name: str) -> tuple[str, ...] | None:
    """Names by number that a fitted run has for a column; None where it has no such column."""
    spec = {} if like is None else like.get(name, {})
    if spec.get("names") is not None:
        return tuple(composed(str(name)) for name in spec["names"])
    classes = spec.get("classes")
    return None if classes is None else tuple(map(str, range(classes)))


def known_unit(like: Spec | None, name: str, unit: Mapping[str, str]) -> None:
    """Refuse numbers in another unit than that of a fitted run.

    Raises:
        DataError: If the units differ; numbers without a unit are accepted.
    """
    if like is None or name not in like or name not in unit:
        return
    fitted, given = like[name].get("unit"), unit[name]
    if given != fitted:
        raise DataError(
            f"column {name!r}: expected numbers in {fitted or 'no unit'}, as the run was fitted "
            f"with; got {given}. Convert them."
        )


def recoded(name: str, codes: np.ndarray, names: Sequence[str], onto: Sequence[str]) -> np.ndarray:
    """Numbers that index ``names``, converted to numbers that index ``onto``."""
    kind = kind_of(name).kind
    absent = sorted({names[int(i)] for i in np.unique(codes) if i >= 0} - set(onto))
    if absent:
        raise DataError(
            f"column {name!r}: expected {kind} names among {_few(onto)}; got {_few(absent)}. "
            "Leave out these rows, or train on rows that have them."
        )
    if not len(names):
        return codes
    places = np.array([onto.index(n) if n in onto else -1 for n in names], dtype=np.int64)
    return np.where(codes >= 0, places[codes], -1)


def na_option(value: object) -> str:
    """The command-line option that declares a value to mean missing."""
    text = str(value)
    return f"--na{'=' if text.startswith('-') else ' '}{shlex.quote(text)}"


def _is_whole(text: str) -> bool:
    """Whether a name is an integer, such as the number of a class or an object."""
    return re.fullmatch(r"-?\d{1,18}", text) is not None


def text_of(value: object) -> str:
    """A value as text, without outer spaces: 2.0 from a table with blanks is the class 2.

    A missing value is empty text.
    """
    if value is None or value is np.ma.masked:
        return ""
    if isinstance(value, bytes):
        return composed(value.decode("utf-8", "replace")).strip()
    if isinstance(value, float):
        return "" if value != value else re.sub(r"\.0$", "", repr(value))
    return composed(str(value)).strip()


def composed(text: str) -> str:
    """Text in one form of Unicode, as é may be written as one character or as two.

    Arguments:
        text: A name.
    """
    return unicodedata.normalize("NFC", text)


def _few(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(map(str, names[:limit]))
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"
