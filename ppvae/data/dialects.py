"""The dialect of new data for a fitted run: that of the run's own table, or one of their own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ppvae.data.columns import kind_of
from ppvae.data.record import BLANK, composed
from ppvae.data.sniff import NUMBER, POINTED, Dialect, body_of, dialect_of
from ppvae.data.tables import TEXTS
from ppvae.errors import DataError
from ppvae.typing import Keywords, Spec

__all__ = ["suiting_dialect"]

OPTIONS = ("sep", "decimal", "thousands")
# Numbers of rows and of columns that are compared.
ROWS, WIDTH = 200, 1000
# A number in any dialect.
ANY = re.compile(r"[+-]?[\d.,]*\d[\d.,]*(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class _Reading:
    """How the first rows of a table are read in a dialect.

    Attributes:
        dialect: The dialect.
        found: Number of the run's columns in the header.
        odd: Fields of columns of numbers that are none.
        numbers: Fields of columns of numbers that are.
    """

    dialect: Dialect
    found: int
    odd: tuple[str, ...]
    numbers: tuple[str, ...]

    @property
    def merit(self) -> tuple[int, int]:
        """What is larger for the dialect that suits better."""
        return self.found, -len(self.odd)


def suiting_dialect(path: Path, options: Keywords, spec: Spec) -> tuple[Keywords, str]:
    """Options of the reader of new data, and a note if they are not those of the run.

    Separator and signs that the run's own table was read with come first. Where its columns are
    not there in that dialect, or numbers are none, those found in the file are taken.

    Arguments:
        path: The new file; of one that is no table of text the options stay.
        options: Options that the run's own data were read with.
        spec: Spec of the columns of the run.

    Raises:
        DataError: If a number may be another one in the dialect of the run.
    """
    if not path.name.lower().endswith(TEXTS) or not path.is_file():
        return options, ""
    stated = {name: str(options[name]) for name in OPTIONS if options.get(name)}
    names, numeric = _columns(spec, options.get("columns") or {})
    blank = {*BLANK, *(str(text).strip().lower() for text in options.get("na") or ())}
    said = " ".join(f"--{name} {shlex.quote(sign)}" for name, sign in stated.items())
    own = _read(path, stated, names, numeric, blank)
    if isinstance(own, _Reading) and (not stated or own.merit == (len(names), 0)):
        return options, ""
    other = _read(path, {}, names, numeric, blank) if stated else own
    if isinstance(other, DataError):
        if isinstance(own, _Reading) and not any(map(ANY.fullmatch, own.odd)):
            return options, ""
        raise _remedied(own if isinstance(own, DataError) else other, said)
    if isinstance(own, _Reading) and own.merit >= other.merit:
        return options, ""
    pointed = [field for field in other.numbers if "." in field]
    grouped = stated.get("thousands") == "." or stated.get("decimal") == ","
    if grouped and pointed and all(map(POINTED.fullmatch, pointed)):
        raise DataError(
            f"{path.name}: expected numbers as those of the run's table ({said}); got "
            f"{pointed[0]!r}, where the point may be a decimal sign or between thousands. "
            f"{_as_in_the_run(said)}"
        )
    rest = {name: value for name, value in options.items() if name not in OPTIONS}
    return rest, f"{path.name}: not in the dialect of the run's own table ({said})"


def _columns(spec: Spec, roles: Mapping[str, str | Sequence[str]]) -> tuple[set[str], set[str]]:
    """Names of all columns of a table of the run, and those of columns of numbers."""
    names: set[str] = set()
    numeric: set[str] = set()
    for name, facts in spec.items():
        role = roles.get(name)
        parts = [str(part) for part in facts.get("names") or ()]
        coded = kind_of(name).coded or (name != "x" and not facts.get("shape") and bool(parts))
        if name == "x":
            sources = parts
        elif role is not None:
            # A table to predict at may have the column's own name.
            sources = [name, *([role] if isinstance(role, str) else role)]
        else:
            sources = parts if parts and not coded else [name]
        names.update(map(composed, sources))
        if not coded and not facts.get("unit"):
            numeric.update(map(composed, sources))
    return names, numeric


def _read(
    path: Path,
    stated: Mapping[str, str],
    names: Collection[str],
    numeric: Collection[str],
    blank: Collection[str],
) -> _Reading | DataError:
    """The first rows in a dialect, or why they cannot be read in it."""
    try:
        dialect = dialect_of(
            path, stated.get("sep"), stated.get("decimal"), stated.get("thousands")
        )
        header = [composed(name.strip()) for name in dialect.header]
        header[0] = header[0].lstrip("# ") or header[0]
        places = [i for i, name in enumerate(header) if name in numeric][:WIDTH]
        fields = [
            row[i].strip()
            for row in islice(body_of(path, dialect), ROWS)
            for i in places
            if i < len(row)
        ]
    except DataError as error:
        return error
    filled = [field for field in fields if field.lower() not in blank]
    odd = [field for field in filled if not _is_number(field, dialect, stated.get("thousands"))]
    kept = set(odd)
    return _Reading(
        dialect,
        len({*header} & {*names}),
        tuple(odd),
        tuple(field for field in filled if field not in kept),
    )


def _is_number(field: str, dialect: Dialect, thousands: str | None) -> bool:
    """Whether a field is a number in a dialect."""
    if field.lower().lstrip("+-") in ("inf", "infinity"):
        return True
    if thousands and thousands in field:
        sign, point = re.escape(thousands), re.escape(dialect.decimal)
        grouped = rf"[+-]?\d{{1,3}}({sign}\d{{3}})+({point}\d*)?([eE][+-]?\d+)?"
        return re.fullmatch(grouped, field) is not None
    if dialect.decimal != ".":
        if "." in field:
            return False
        field = field.replace(dialect.decimal, ".")
    return NUMBER.fullmatch(field) is not None


def _as_in_the_run(said: str) -> str:
    return f"Write the table as that of the run ({said})."


def _remedied(error: DataError, said: str) -> DataError:
    """A refusal with a remedy that a reader of new data has, in place of options of a fit."""
    text = str(error)
    if said and "--" in text:
        remedy = _as_in_the_run(said)
    elif "--decimal" in text:
        remedy = "Write it with decimal points, and without signs between thousands."
    else:
        return DataError(text.replace(", or state the separator: --sep", ""))
    return DataError(re.split(r"(?<=\.) (?=[A-Z])", text)[0] + " " + remedy)
