"""Words with a meaning in data: parts of a split, and numbers with a unit."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from ppvae.data.identifiers import read_as_names
from ppvae.data.record import BLANK, UNLABELLED, Record, coded, known_names, known_unit, text_of
from ppvae.errors import DataError
from ppvae.typing import Spec

__all__ = [
    "PARTS",
    "coded_names",
    "factor_of_text",
    "like_parts",
    "own_text",
    "part_of",
    "parts_of",
    "split_codes",
]

# The number of the part (train, validation, test) for each word.
PARTS = {
    **dict.fromkeys(("train", "training", "fit"), 0),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), 1),
    **dict.fromkeys(("test", "testing", "heldout", "holdout", "eval", "evaluation"), 2),
}
# Further words that may mean a part at an end of a name, such as imagesTr.
SHORT = {"tr": 0, "trn": 0, "ts": 2, "tst": 2}
# Letters with an exponent of one digit, and signs: mg/m3, cm-1, °C. No digits as in 12:30 or 1,5.
UNIT = (
    r"(?![xd][+-]?\d)(?:[/\u00b7*]?[^\W\d_](?:\^?-?\d(?!\d))?"
    r"|[%\u2030\u00b0\u2032\u2033'\"$\u20ac\u00a3\u207b\u00b9\u00b2\u00b3])+"
)
NUMBER = re.compile(
    r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(" + UNIT + r")?\s*", re.IGNORECASE
)
# Words that may follow the word of a part in the name of a folder, such as train_images.
PARTED = re.compile(r"(.+?)(?:set|data|images?|imgs?|pictures|samples|split|files|(?:19|20)\d\d)")


def part_of(word: str) -> int | None:
    """The number of the part that a word means, regardless of case; None if it means none.

    A name may follow, as in train_images, testset or val2017.
    """
    plain = re.sub(r"[\s_-]", "", word.strip().lower())
    match = PARTED.fullmatch(plain)
    return PARTS.get(plain, None if match is None else PARTS.get(match[1]))


def parts_of(names: Iterable[str]) -> dict[str, int | None]:
    """The number of the part that each name of a folder means, as those of its neighbours show.

    Besides names of :func:`part_of`, words with one beginning or a number count, such as
    seg_train and seg_test, or train and test1, where each means another part and one is train.
    """
    strict = {name: part_of(name) for name in names}
    loose = {name: _within(name) for name, part in strict.items() if part is None}
    read = {name: found for name, found in loose.items() if found is not None}
    if not read:
        return strict
    parts = [part for part in strict.values() if part is not None]
    parts += [part for _, part in read.values()]
    known = [("", part) for part in strict.values() if part is not None]
    beginnings = {beginning for beginning, _ in [*known, *read.values()]}
    if len(beginnings) > 1 or len(set(parts)) < max(2, len(parts)) or 0 not in parts:
        return strict
    return {name: read[name][1] if name in read else part for name, part in strict.items()}


def _within(name: str) -> tuple[str, int] | None:
    """What is written before the word of a part, and the part; None without such a word."""
    words = _words(name)
    for start in range(len(words)):
        part = part_of(re.sub(r"\d+$", "", "".join(words[start:])))
        if part is not None:
            return " ".join(words[:start]), part
    return None


def _words(name: str) -> list[str]:
    """The words of a name in lower case: train and A of trainA, seg and test1 of seg_test1."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.strip())
    return [word.lower() for word in re.split(r"[\W_]+", apart) if word]


def like_parts(names: Iterable[str]) -> list[str]:
    """Names that begin or end with the word of a part; none unless train and another are there.

    Arguments:
        names: Names of folders beside each other.
    """
    found: dict[str, set[int]] = {}
    for name in names:
        words = [re.sub(r"\d+$", "", word) for word in _words(name)]
        parts = {(PARTS | SHORT).get(word) for word in (words[:1] + words[-1:])} | {part_of(name)}
        if parts != {None}:
            found[name] = {part for part in parts if part is not None}
    meant = set().union(*found.values())
    return sorted(found) if 0 in meant and len(meant) > 1 else []


def split_codes(values: ArrayLike, source: str) -> tuple[np.ndarray, str]:
    """A column ``split`` as numbers 0 (train), 1 (validation) and 2 (test), and a note.

    Raises:
        DataError: If a value is not a part, or the shape is not (N).
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"{source}: expected a column 'split' with shape (N); got {array.shape}. "
            "Give each row one of 0, 1 and 2."
        )
    codes = []
    for value in array.tolist():
        text = text_of(value)
        code = part_of(text)
        if code is None and re.fullmatch(r"\s*[012](\.0*)?\s*", text):
            code = int(float(text))
        if code is None or isinstance(value, bool):
            seen = sorted({str(v) for v in array.tolist()})[:8]
            raise DataError(
                f"{source}: expected a column 'split' of 0 (train), 1 (validation), 2 (test), or "
                f"of the words train, validation, test; got values [{', '.join(seen)}]. "
                "Correct or remove the column."
            )
        codes.append(code)
    note = "split: words taken by their meaning" if array.dtype.kind in "OUS" else ""
    return np.array(codes, dtype=np.int64), note


def factor_of_text(name: str, values: ArrayLike) -> tuple[np.ndarray, dict[str, str]]:
    """Numbers written as text, such as 15deg, and their unit, if they have one.

    Blank text is NaN.

    Raises:
        DataError: If a text is not a number, or the units differ.
    """
    numbers, units = [], set()
    for row, value in enumerate(np.asarray(values).tolist()):
        text = text_of(value)
        if text.lower() in BLANK:
            numbers.append(np.nan)
            continue
        match = NUMBER.fullmatch(text)
        if match is None:
            remedy = "Write numbers, or call it y if it is a class."
            raise DataError(
                f"column {name!r}: expected numbers, with one unit or none; got {text!r} in row "
                f"{row}. {remedy}"
            )
        numbers.append(float(match[1]))
        units.add(match[2] or "")
    if len(units) > 1:
        raise DataError(
            f"column {name!r}: expected numbers in one unit; got {sorted(units)}. "
            "Convert them to one unit."
        )
    unit = next(iter(units), "")
    return np.array(numbers), {name: unit} if unit else {}


def coded_names(like: Spec | None, name: str) -> tuple[str, ...] | None:
    """Names by number that a fitted run has for a column of the user's own; None without any.

    Names of several columns that make up one are none of its numbers.
    """
    shape = ((like or {}).get(name) or {}).get("shape")
    return None if shape else known_names(like, name)


def own_text(
    name: str, values: ArrayLike, record: Record, like: Spec | None = None
) -> tuple[np.ndarray, Record]:
    """Text in a column of the user's own: numbers in one unit, else names numbered from 0.

    Identifiers such as 007 and 1E1 are names, as they are not 7 and 10.

    Arguments:
        name: The column.
        values: Text, with shape (N); blank text becomes NaN, and -1 stays -1. Numbers are names
            where the run has names.
        record: What was done so far.
        like: The columns' spec of a fitted run, whose names are used.

    Raises:
        DataError: If a name or a unit is none that the run was fitted with, or texts such as 8
            and 08 may be one number or two names.
    """
    texts, known = np.asarray(values, dtype=object), coded_names(like, name)
    plain, note = [text_of(text) for text in texts.tolist()], ""
    fitted = like is not None and name in like
    if known is None:
        try:
            numbers, unit = factor_of_text(name, texts)
        except DataError:
            if fitted:
                raise
        else:
            are_names, note = (False, "") if fitted else read_as_names(name, plain)
            if not are_names:
                known_unit(like, name, unit)
                units = {**record.units, **unit}
                return numbers, Record(record.names, units, record.notes).noted(note)
    unknown = np.array([text in UNLABELLED and text not in (known or ()) for text in plain])
    rest = np.array(plain, dtype=object)
    rest[unknown] = None
    codes, names, numbered = coded(name, rest, known)
    blank = (codes < 0) & ~unknown
    record = record if names is None else record.renamed(name, names)
    record = record.noted(note, numbered)
    return np.where(blank, np.nan, codes) if blank.any() else codes, record
