"""Tables: rows are data; columns are features, classes, factors and others by name."""

from __future__ import annotations

import csv
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ppvae.data.columns import COLUMNS, kind_of
from ppvae.data.dataset import Dataset
from ppvae.data.features import is_text, matrix, numbers_of, refuse_written, some_numbers
from ppvae.data.parquet import LargeParquet
from ppvae.data.paths import UNREADABLE, PathLike, existing
from ppvae.data.record import Record, coded, known_names, known_unit
from ppvae.data.sniff import dialect_of, refuse_short
from ppvae.data.words import factor_of_text, own_text, split_codes
from ppvae.errors import DataError
from ppvae.typing import Spec

if TYPE_CHECKING:
    import pandas as pd

# The features of a table side by side, and a note: from its name, the table and their names.
Features: TypeAlias = "Callable[[str, pd.DataFrame, Sequence[str]], tuple[np.ndarray, str]]"

__all__ = ["TABLES", "column_of", "from_frame", "read_table", "table"]

TEXTS = tuple(f"{s}{z}" for s in (".csv", ".tsv", ".txt") for z in ("", ".gz", ".bz2", ".xz"))
# For each suffix, the reader in pandas and the package that it needs.
BINARY = {
    ".parquet": ("read_parquet", "pyarrow"),
    ".feather": ("read_feather", "pyarrow"),
    ".xlsx": ("read_excel", "openpyxl"),
}
TABLES = (*TEXTS, *BINARY)
# Table columns that become dataset columns of the same names; x is made of the others.
NAMED = tuple(name for name in COLUMNS if name not in ("x", "source"))
COUNTERS = re.compile(r"(?i)(unnamed: \d+(\.\d+)*|(\w*[_ .-])?(index|idx|id|row))?")


def table(
    path: PathLike,
    *,
    x: Sequence[str] | None = None,
    sep: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    na: Sequence[str] = (),
    missing_ok: Sequence[str] = (),
    like: Spec | None = None,
    **columns: str | Sequence[str],
) -> Dataset:
    """Rows of a table, such as cells by genes: CSV, TSV, Parquet, Feather or Excel.

    Separator and decimal sign of text are detected from its first lines, and noted. Columns named
    ``y``, ``c``, ``view``, ``object``, ``batch`` and ``split`` become the dataset columns of these
    names; the other numeric columns make up ``x``. A first column without a name that numbers or
    names the rows is not a feature, and columns of text without a role are left out; both are
    noted.

    Arguments:
        path: Path of the file; text may be compressed (.gz, .bz2, .xz).
        x: Columns of the table that make up ``x``; by default every numeric column without
            another role.
        sep: Separator of a text table.
        decimal: Decimal sign of a text table.
        thousands: Sign between groups of digits in a text table.
        na: Texts that stand for a missing value, besides blank, NA, NaN, null and None.
        missing_ok: Dataset columns that may hold NaN.
        like: Spec of the columns of a fitted run: features are matched by name, and classes and
            identifiers get their numbers in the run.
        columns: Column of the table, or several, for each dataset column; text is numbered in
            sorted order in ``y``, ``object`` and ``batch``, and read with its unit in ``c`` and
            ``view``.

    Raises:
        DataError: If the table cannot be read, or a column cannot be used as it is.
    """
    path = existing(path)
    features: Features = matrix
    large = None if na else _large(path, columns)
    if large is None:
        frame, notes = read_table(path, sep=sep, decimal=decimal, thousands=thousands, na=na)
    else:
        frame, notes, features = large.frame(), [], large.features
    data = from_frame(
        frame,
        source=path.name,
        x=x,
        missing_ok=missing_ok,
        like=like,
        columns=columns,
        features=features,
    )
    return data.noted(*notes)


def _large(path: Path, columns: Mapping[str, str | Sequence[str]]) -> LargeParquet | None:
    """A Parquet file that is too large for a DataFrame; None for any other file."""
    if path.suffix.lower() != ".parquet":
        return None
    taken = {c for v in columns.values() for c in ([v] if isinstance(v, str) else v)}
    try:
        file = LargeParquet(path, {*taken, *NAMED}, COUNTERS)
    except (ImportError, *UNREADABLE):
        return None  # What is wrong is said where any table is read.
    return file if file.is_large else None


def read_table(
    path: Path,
    *,
    sep: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    na: Sequence[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
    """Read a table as a DataFrame, with notes on how it was read.

    Raises:
        DataError: If it cannot be read, or a package that reads it is not installed.
    """
    import pandas as pd

    engine = "pandas"
    try:
        if path.suffix.lower() in BINARY:
            reader, engine = BINARY[path.suffix.lower()]
            frame = getattr(pd, reader)(path)
            if len(na):
                frame = frame.replace(list(na), np.nan)
            return frame, _sheets(path, frame)
        dialect = dialect_of(path, sep, decimal, thousands)
        with warnings.catch_warnings():
            # Rows wider than the header, after the lines that the dialect was detected from.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=r"\s+" if dialect.separator == " " else dialect.separator,
                decimal=dialect.decimal,
                thousands=thousands,
                encoding=dialect.encoding,
                index_col=False,
                na_values=list(na),
                low_memory=False,
                skipinitialspace=True,
            )
        frame.columns = [str(column).strip() for column in frame.columns]
        if frame.iloc[:, -1].isna().any():
            refuse_short(path, dialect)
        return frame, [dialect.note]
    except ImportError as error:
        raise DataError(
            f"{path.name}: expected {engine} to be installed, which reads {path.suffix}; got none "
            f"({str(error).splitlines()[0]}). Install it (pip install {engine}), or save the "
            "table as .csv."
        ) from error
    except (*UNREADABLE, zipfile.BadZipFile, csv.Error, pd.errors.ParserWarning) as error:
        if isinstance(error, DataError):
            raise
        binary = path.suffix.lower() in BINARY
        raise DataError(
            f"{path.name}: expected a table with one header and rows of one width; it cannot be "
            f"read ({str(error).strip() or type(error).__name__}). "
            + ("Save it again." if binary else "Save it again, or state the separator: --sep.")
        ) from error


def _sheets(path: Path, frame: pd.DataFrame) -> list[str]:
    """A note if a workbook has further sheets."""
    import pandas as pd

    if path.suffix.lower() != ".xlsx":
        return []
    with pd.ExcelFile(path) as book:
        first, *others = map(str, book.sheet_names)
    if not others:
        return []
    return [f"{path.name}: sheet {first} read; left out: sheets {', '.join(others[:6])}"]


def from_frame(
    frame: pd.DataFrame,
    *,
    source: str = "DataFrame",
    x: Sequence[str] | None = None,
    missing_ok: Sequence[str] = (),
    like: Spec | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    features: Features = matrix,
) -> Dataset:
    """A DataFrame as a dataset; the rules and arguments are those of :func:`table`.

    Where a file is too large for a DataFrame, ``features`` makes x from the file itself.

    Raises:
        DataError: If a column cannot be used as it is.
    """
    frame = frame.set_axis([str(c) for c in frame.columns], axis=1)
    twice = sorted(set(frame.columns[frame.columns.duplicated()]))
    if twice:
        raise DataError(
            f"{source}: expected a name of its own for each column; got {twice[:6]} more than "
            "once. Rename them."
        )
    chosen: dict[str, str | Sequence[str]] = dict(columns or {})
    for name in NAMED:
        if name in frame.columns and name not in chosen and (x is None or name not in x):
            chosen[name] = name
    if like is not None:  # New data need not have all columns of the run.
        chosen = {
            k: v
            for k, v in chosen.items()
            if all(c in frame.columns for c in ([v] if isinstance(v, str) else v))
        }
    for name in like or {}:
        if name not in COLUMNS and name in frame.columns:
            chosen.setdefault(name, name)
        known = None if kind_of(name).coded else known_names(like, name)
        if name not in chosen and name not in ("x", "source") and known:
            if all(n in frame.columns for n in known):
                chosen[name] = known
    taken = {c for v in chosen.values() for c in ([v] if isinstance(v, str) else v)}
    frame, row_names, record = _without_counter(source, frame, {*taken, *(x or ())})
    known_features = known_names(like, "x")
    if x is None or known_features is not None:
        x, record = _features(source, frame, taken, record, known_features)
    absent = [c for c in [*x, *taken] if c not in frame.columns]
    if absent or not len(x):
        raise DataError(
            f"{source}: expected numeric columns for x, and columns {sorted(taken)}; missing "
            f"{absent[:12]}, the table has {list(frame.columns)[:12]}. Name them with x=[...], on "
            "the command line --columns x=NAME,NAME."
        )
    values, note = features(source, frame, x)
    record = record.noted(note).renamed("x", x)
    arrays: dict[str, np.ndarray] = {"x": values}
    for name, given in chosen.items():
        if isinstance(given, str):
            arrays[name], record = column_of(source, name, frame[given], record, like)
        else:
            parts = []
            for column in given:
                part, record = column_of(source, name, frame[column], record, like)
                parts.append(part)
            arrays[name] = np.stack(parts, 1)
            record = record.renamed(name, tuple(given))
    return Dataset(arrays, missing_ok=missing_ok, record=record, row_names=row_names)


def column_of(
    source: str,
    name: str,
    series: pd.Series,
    record: Record,
    like: Spec | None = None,
) -> tuple[np.ndarray, Record]:
    """A column of a table as the dataset column of a name, and the record with notes on it.

    Raises:
        DataError: If the values cannot be converted.
    """
    kind = kind_of(name)
    if kind.kind == "split":
        codes, note = split_codes(series.to_numpy(dtype=object, na_value=""), source)
        return codes, record.noted(note)
    if kind.coded:
        values = series.to_numpy()
        if values.dtype.kind not in "iu":
            values = series.astype(object).where(series.notna(), None).to_numpy()
        codes, names, note = coded(name, values, known_names(like, name))
        record = record.noted(note)
        return codes, record if names is None else record.renamed(name, names)
    if is_text(series) and name not in COLUMNS:
        texts = series.astype(object).where(series.notna(), None)
        return own_text(name, texts, record, like)
    if is_text(series):
        numbers, unit = factor_of_text(name, series.astype(object).where(series.notna(), None))
        known_unit(like, name, unit)
        return numbers, Record(record.names, {**record.units, **unit}, record.notes)
    return numbers_of(source, str(series.name), series), record


def _without_counter(
    source: str, frame: pd.DataFrame, used: set[str]
) -> tuple[pd.DataFrame, list[str] | None, Record]:
    """The table without columns that number or name the rows, the rows' names, and notes."""
    import pandas as pd

    record, names = Record(), None
    if not isinstance(frame.index, pd.RangeIndex) and frame.index.is_unique:
        names = [str(i) for i in frame.index]
    for position, column in enumerate(list(frame.columns)):
        values = frame[column]
        if column in used or COUNTERS.fullmatch(column) is None:
            continue
        nameless = column == "" or column.lower().startswith("unnamed")
        if nameless and position and not values.isna().all() and not _counts(values):
            raise DataError(
                f"{source}: expected a name for each column; column {position}, after "
                f"{frame.columns[position - 1]!r}, has none. Name it in the header."
            )
        if nameless and bool(values.isna().all()):
            record = record.noted(f"left out: column {position} without a name, which is empty")
        elif pd.api.types.is_integer_dtype(values) and (values.is_unique or _counts(values)):
            names = [str(v) for v in values]
            record = record.noted(f"left out: column {column!r}, which numbers the rows")
        elif position == 0 and values.is_unique and is_text(values):
            names = [str(v) for v in values]
            what = repr(column) if column else "without a name"
            record = record.noted(f"left out: the first column, {what}, which names the rows")
        else:
            continue
        frame = frame.drop(columns=column)
    return frame, names, record


def _counts(values: pd.Series) -> bool:
    """Whether whole numbers count the rows from 0 or 1."""
    start = values.iloc[0] if len(values) else -1
    return start in (0, 1) and bool((values.to_numpy() == np.arange(len(values)) + start).all())


def _features(
    source: str,
    frame: pd.DataFrame,
    taken: set[str],
    record: Record,
    known: Sequence[str] | None,
) -> tuple[list[str], Record]:
    """Names of the columns of x: those of a run, in its order, or else all unused numeric ones."""
    import pandas as pd

    rest = [c for c in frame.columns if c not in taken]
    if known is not None:
        absent = [c for c in known if c not in frame.columns]
        if absent:
            raise DataError(
                f"{source}: expected the columns that the run was fitted with; missing "
                f"{absent[:12]}, the table has {rest[:12]}. Add or rename them."
            )
        extra = [c for c in rest if c not in set(known)]
        note = f"left out: columns {', '.join(extra[:12])}, which the run was not fitted with"
        order = [c for c in rest if c in set(known)] == list(known)
        moved = "" if order else "x: columns put into the order that the run was fitted with"
        return list(known), record.noted(note if extra else "", moved)
    features, texts = [], []
    for name in rest:
        if is_text(frame[name]) and not some_numbers(frame[name]):
            refuse_written(source, name, frame[name])
            texts.append(name)
        else:
            features.append(name)
    if texts:
        record = record.noted(
            f"left out: columns of text {', '.join(texts[:12])}"
            f"{f' and {len(texts) - 12} more' if len(texts) > 12 else ''}"
        )
    flags = [name for name in features if pd.api.types.is_bool_dtype(frame[name])]
    return features, record.noted(f"x: {', '.join(flags)}: false is 0, true is 1" if flags else "")
