"""Tables: rows are data; columns are features, classes, factors and others by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ppvae.data.columns import COLUMNS, kind_of, known_as
from ppvae.data.dataset import Dataset
from ppvae.data.features import is_flags, is_text, matrix, numbers_of
from ppvae.data.genes import said_genes
from ppvae.data.identifiers import may_differ, with_texts
from ppvae.data.parquet import LargeParquet
from ppvae.data.paths import UNREADABLE, PathLike, existing
from ppvae.data.record import Record, coded, composed, known_names, known_unit
from ppvae.data.roles import COUNTERS, NAMED, features_of, roles_of, taken_by, without_counter
from ppvae.data.sniff import blank_below, dialect_of, refuse_odd_groups, refuse_short
from ppvae.data.words import coded_names, factor_of_text, own_text, split_codes
from ppvae.data.workbook import read_workbook
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
    large = None if na else _large(path, columns, like or {})
    if large is None:
        coded_by = {k: v for k, v in columns.items() if kind_of(k).coded}
        mine = {k: v for k, v in columns.items() if k not in COLUMNS}
        frame, notes = read_table(
            path,
            sep=sep,
            decimal=decimal,
            thousands=thousands,
            na=na,
            labels=[*taken_by(coded_by)],
            own=[*taken_by(mine), *(name for name in like or () if name not in COLUMNS)],
        )
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


def _large(
    path: Path, columns: Mapping[str, str | Sequence[str]], like: Spec
) -> LargeParquet | None:
    """A Parquet file that is too large for a DataFrame; None for any other file."""
    if path.suffix.lower() != ".parquet":
        return None
    fitted = {c for name in like if name != "x" for c in (name, *(known_names(like, name) or ()))}
    try:
        file = LargeParquet(path, {*taken_by(columns), *fitted, *NAMED}, COUNTERS)
    except (ImportError, *UNREADABLE):
        return None  # What is wrong is said where any table is read.
    plain = all(composed(name) == name for name in file.names)
    return file if file.is_large and plain else None


def read_table(
    path: Path,
    *,
    sep: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    na: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    own: Sequence[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
    """Read a table as a DataFrame, with notes on how it was read.

    Columns that hold classes or identifiers, by their name or as named in ``labels`` (None: all)
    or ``own`` (columns of the user's own), are read as text if one of their whole numbers begins
    with a zero, as 01 is not 1, or if different texts are one number. So are text cells of Excel.

    Raises:
        DataError: If it cannot be read, or a package that reads it is not installed.
    """
    import pandas as pd

    engine = "pandas"
    try:
        if path.suffix.lower() in BINARY:
            reader, engine = BINARY[path.suffix.lower()]
            if path.suffix.lower() == ".xlsx":
                frame, notes = read_workbook(
                    path, lambda frame, cells: with_texts(frame, cells, labels, own)
                )
            else:
                frame, notes = getattr(pd, reader)(path), []
            frame.columns = [composed(str(column)).strip() for column in frame.columns]
            # Typed columns hold a missing value's number rather than its text.
            numbers = pd.to_numeric(pd.Series(list(na), dtype=object), errors="coerce").dropna()
            return frame.replace([*na, *numbers], np.nan) if len(na) else frame, notes
        dialect = dialect_of(path, sep, decimal, thousands)
        dated = refuse_odd_groups(path, dialect, thousands) if thousands else []
        with warnings.catch_warnings():
            # Rows wider than the header, after the lines that the dialect was detected from.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            read = partial(
                pd.read_csv,
                path,
                sep=r"\s+" if dialect.separator == " " else dialect.separator,
                decimal=dialect.decimal,
                thousands=thousands,
                encoding=dialect.encoding,
                index_col=False,
                skiprows=dialect.skipped + dialect.marked,
                **({"header": None, "names": list(dialect.header)} if dialect.marked else {}),
                na_values=list(na),
                converters=dict.fromkeys(dated, lambda text: text.strip() or np.nan),
                low_memory=False,
                skipinitialspace=True,
            )
            frame = read()
            written = partial(read, converters=None, dtype=str, keep_default_na=False)
            numeric = bool(own) or may_differ(path)
            texts = with_texts(frame, lambda at: written(usecols=at), labels, own, numeric=numeric)
        names = [composed(str(column)).strip() for column in frame.columns]
        # numpy.savetxt writes "# " before the names.
        frame.columns = [names[0].lstrip("# ") or names[0], *names[1:]]
        if frame.iloc[:, -1].isna().any():
            refuse_short(path, dialect)
        if frame.iloc[-1:].isna().to_numpy().all():
            blank = min(blank_below(path, dialect), len(frame) - 1)
            frame = frame.iloc[: len(frame) - blank]
            rows = "row" if blank == 1 else "rows"
            texts += [f"left out: {blank} blank {rows} at the end"] if blank else []
        return frame, [dialect.note, *texts]
    except ImportError as error:
        raise DataError(
            f"{path.name}: expected {engine} to be installed, which reads {path.suffix}; got none "
            f"({str(error).splitlines()[0]}). Install it (pip install {engine}), or save the "
            "table as .csv."
        ) from error
    except (*UNREADABLE, pd.errors.ParserWarning) as error:
        if isinstance(error, DataError):
            raise
        binary = path.suffix.lower() in BINARY
        raise DataError(
            f"{path.name}: expected a table with one header and rows of one width; it cannot be "
            f"read ({str(error).strip() or type(error).__name__}). "
            + ("Save it again." if binary else "Save it again, or state the separator: --sep.")
        ) from error


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
    if not len(frame):
        raise DataError(f"{source}: expected at least one row; got 0. Check the file.")
    x = (x,) if isinstance(x, str) else x
    if x is not None and not (isinstance(x, Sequence) and all(isinstance(n, str) for n in x)):
        raise DataError(f"x: expected names of columns; got {str(x)[:60]}. Pass x=['a', 'b'].")
    x = None if x is None else [composed(name) for name in x]
    columns = {
        name: composed(given) if isinstance(given, str) else [composed(c) for c in given]
        for name, given in (columns or {}).items()
    }
    frame, indexed = _with_levels(frame, {*(x or ()), *taken_by(columns)})
    frame = frame.set_axis([composed(str(c)) for c in frame.columns], axis=1)
    for names, remedy in ((list(frame.columns), "Rename them"), (x or (), "Name each once")):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            raise DataError(
                f"{source}: expected a name of its own for each column; got {twice[:6]} more than "
                f"once. {remedy}."
            )
    chosen, record = roles_of(source, frame, x, like, columns)
    taken = taken_by(chosen)
    used = {*taken, *(x or ()), *(known_names(like, "x") or ())}
    texts = {name: frame[name] for name in frame if name not in used and is_text(frame[name])}
    frame, row_names, record = without_counter(source, frame, used, record.noted(indexed))
    known_features = known_names(like, "x")
    if x is None or known_features is not None:
        x, record = features_of(source, frame, taken, record, known_features)
    absent = [c for c in [*x, *taken] if c not in frame.columns]
    if absent or not len(x):
        raise DataError(
            f"{source}: expected numeric columns for x, and columns {sorted(taken)}; missing "
            f"{absent[:12]}, the table has {list(frame.columns)[:12]}. Name them with x=[...], on "
            "the command line --columns x=NAME,NAME."
        )
    genes = said_genes(source, {"": row_names or (), **texts})
    values, note = features(source, frame, x)
    record = record.noted(genes, note).renamed("x", x)
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


def _with_levels(frame: pd.DataFrame, asked: set[str]) -> tuple[pd.DataFrame, str]:
    """The table with levels of its index that have a role as columns, and a note on all levels.

    Nothing is said of texts that name the rows.
    """
    index = frame.index
    named = [name for name in index.names if name is not None and name not in frame.columns]
    levels = [name for name in named if str(name) in asked or known_as(str(name)) in NAMED]
    others = [str(name) for name in named if name not in levels]
    note = f"levels of the index taken as columns: {levels}" if levels else ""
    if others and not (index.nlevels == 1 and index.is_unique and is_text(index.to_series())):
        left = f"left out: {', '.join(others)}, in the index; --columns {others[0]}={others[0]}"
        note = "; ".join(filter(None, (note, f"{left} reads it as a column of its own")))
    return (frame.reset_index(level=levels) if levels else frame), note


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
    import pandas as pd

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
    if isinstance(series.dtype, pd.CategoricalDtype) and series.cat.categories.dtype == bool:
        series = series.astype(object)
    numeric = name in COLUMNS or known_names(like, name) is None
    # Flags beside missing ones; those without are numbers.
    if numeric and is_text(series) and is_flags(series) and series.notna().any():
        flags = series.where(series.notna(), np.nan).to_numpy(dtype=np.float64)
        return flags, record.noted(f"{name}: false is 0, true is 1")
    if name not in COLUMNS and (is_text(series) or coded_names(like, name) is not None):
        texts = series.astype(object).where(series.notna(), None)
        return own_text(name, texts, record, like)
    if is_text(series):
        numbers, unit = factor_of_text(name, series.astype(object).where(series.notna(), None))
        known_unit(like, name, unit)
        return numbers, Record(record.names, {**record.units, **unit}, record.notes)
    numbers = numbers_of(source, str(series.name), series)
    # uint8 of an array is an intensity; a table has none.
    return (numbers.astype(np.int64) if numbers.dtype == np.uint8 else numbers), record
