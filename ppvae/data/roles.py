"""The roles of a table's columns: classes, factors and others by name, row numbers, features."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ppvae.data.columns import COLUMNS, SPLIT, found_as, kind_of
from ppvae.data.features import is_flags, is_text, refuse_written, some_numbers
from ppvae.data.identifiers import IDENTIFIER
from ppvae.data.record import Record, known_names
from ppvae.data.words import part_of
from ppvae.errors import DataError
from ppvae.typing import Spec

if TYPE_CHECKING:
    import pandas as pd

# Column of the table, or several, for each dataset column.
Roles: TypeAlias = "dict[str, str | Sequence[str]]"

__all__ = [
    "AS_CLASS",
    "CLASSLIKE",
    "COUNTERS",
    "NAMED",
    "Roles",
    "counts",
    "features_of",
    "is_nameless",
    "roles_of",
    "taken_by",
    "without_counter",
]

# Table columns that become dataset columns of the same names; x is made of the others.
NAMED = tuple(name for name in COLUMNS if name not in ("x", "source"))
# Names that tables have for a column without one, of pandas and of Parquet.
NAMELESS = r"unnamed: \d+(?:\.\d+)*|__index_level_\d+__"
# Names of columns that identify the rows, and those that do if they count them.
COUNTING = r"#|n|i|no|nr|num|number|key|sample|obs|observation|record|case|entry|item|count"
PLACE = r"(?:(?:row|cell|sample|obs|observation|record|case|entry|item)[_ .-]?)?(?:index|idx)|row"
COUNTERS = re.compile(
    rf"(?i)(?:(?P<nameless>{NAMELESS})|(?P<plain>{PLACE}|row[_ .-]?names?)|(\w*[_ .-])?id"
    rf"|(?-i:\w*[a-z0-9]I[Dd])|(?P<counting>\w*[_ .-](?:index|idx|row|row[_ .-]?names?)"
    rf"|(?:row[_ .-]?)?(?:{COUNTING})\.?))?"
)
CLASSLIKE = re.compile(r"(?i)y|labels?|class(es)?|targets?|categor(y|ies)|species|diagnosis")
# Names of flags and numbers that divide the rows, and of CellProfiler's numbers of things.
DIVIDING = re.compile(r"(?i)(is|in)[_ .-]?(train(ing)?|test|val(id(ation)?)?)|(cv[_ .-]?)?folds?")
NUMBERING = re.compile(r"(\w+_)?(ImageNumber|ObjectNumber|Number_Object_Number)")
PARENT = re.compile(r"(\w+_)?Parent_\w+")  # beside one of them
# Names of one letter with a role, what they are read as, and the letters that they may go on with.
LETTERS = {"y": ("classes", ("x", "z")), "c": ("a factor", ("b", "d"))}
# How a column that was left out is read, for a note.
AS_CLASS = "; --columns y={} reads one as classes"
# Number of rows from which on a column that counts them is mentioned.
FEW = 3


def taken_by(roles: Mapping[str, str | Sequence[str]]) -> set[str]:
    """The columns of the table that have a role."""
    return {c for v in roles.values() for c in ([v] if isinstance(v, str) else v)}


def roles_of(
    source: str,
    frame: pd.DataFrame,
    x: Sequence[str] | None,
    like: Spec | None,
    given: Mapping[str, str | Sequence[str]],
    *,
    features_here: bool = True,
) -> tuple[Roles, Record]:
    """The table's columns for each dataset column, and a record with notes on them.

    Arguments:
        source: Name of the table, for messages.
        frame: The table.
        x: Columns that the caller named as features.
        like: Spec of the columns of a fitted run.
        given: Roles that the caller named.
        features_here: Whether the table has the features, too.

    Raises:
        DataError: If several columns have the words of a split, or y is a coordinate.
    """
    roles: Roles = dict(given)
    features = {*(x or ()), *(known_names(like, "x") or ())}
    free = [c for c in frame.columns if c not in features and c not in taken_by(given)]
    record = Record()
    for name in NAMED:
        column = found_as(name, free)
        if column is not None and name not in roles:
            roles[name] = column
            record = record.noted("" if column == name else f"{name}: from the column {column!r}")
    if like is None:
        if SPLIT not in roles:
            record = _split_of_words(source, frame, free, roles, record)
        series = {name: frame[name] for name in free if name not in taken_by(roles)}
        for name in [name for name in LETTERS if name in roles and name not in given]:
            series[name] = frame[str(roles[name])]
            record = record.noted(_in_a_series(source, name, series, features_here))
        return roles, record
    roles = {  # New data need not have all columns of the run.
        name: column
        for name, column in roles.items()
        if all(c in frame.columns for c in ([column] if isinstance(column, str) else column))
    }
    for name in like:
        if name not in COLUMNS and name in frame.columns:
            roles.setdefault(name, name)
        known = None if kind_of(name).coded else known_names(like, name)
        if name not in roles and name not in ("x", "source") and known:
            if all(n in frame.columns for n in known):
                roles[name] = known
    return roles, record


def _in_a_series(
    source: str, name: str, columns: Mapping[str, pd.Series], features_here: bool
) -> str:
    """A note on numbers whose one letter has a role, but may go on with those beside it.

    Arguments:
        source: Name of the table, for messages.
        name: The letter.
        columns: The column of that name, and those without a role.
        features_here: Whether the table has the features, too.

    Raises:
        DataError: If they have fractions, so that they cannot be classes.
    """
    what, letters = LETTERS[name]
    numeric = [n for n in (name, *letters) if n in columns and columns[n].dtype.kind in "iuf"]
    if name not in numeric or len(numeric) < 2:
        return ""
    both = ",".join(sorted(numeric))
    remedy = f"--columns x={both},NAME lists the features"
    values = columns[name].dropna()
    if not kind_of(name).coded or not features_here or bool((values == values.round()).all()):
        if not features_here:
            remedy = f"--columns {name}=NAME names another, or rename it"
        return (
            f"{name}: column {name!r} is read as {what}, though beside {numeric[1]!r} it may be "
            f"a coordinate or a feature; {remedy}"
        )
    raise DataError(
        f"{source}: expected whole numbers or text in column {name!r}, which has the classes; got "
        f"{values[values != values.round()].iloc[0]}, beside a column {numeric[1]!r}. If both are "
        f"coordinates or features, list the features: x=[...], on the command line --columns "
        f"x={both},NAME."
    )


def _split_of_words(
    source: str, frame: pd.DataFrame, free: Iterable[str], roles: Roles, record: Record
) -> Record:
    """Take a column of another name as the split if its words are train and validation or test."""
    meant = []
    for column in free:
        if column in taken_by(roles) or not is_text(frame[column]):
            continue
        values = frame[column].dropna()
        if not all(isinstance(value, str) for value in values):
            continue
        parts = {part_of(word) for word in set(values)}
        if None not in parts and 0 in parts and len(parts) > 1:
            meant.append(column)
    if len(meant) > 1:
        raise DataError(
            f"{source}: expected one column of the words train, validation and test; got "
            f"{meant[:6]}. Name the one that is meant: split=..., on the command line "
            f"--columns split={meant[0]}."
        )
    if not meant:
        return record
    roles[SPLIT] = meant[0]
    return record.noted(f"split: from the column {meant[0]!r}, which has the words of a split")


def without_counter(
    source: str, frame: pd.DataFrame, used: set[str], record: Record
) -> tuple[pd.DataFrame, list[str] | None, Record]:
    """The table without columns that number or name its rows; the names of rows; notes.

    Raises:
        DataError: If a column after the first has no name, and is neither empty nor a counter.
    """
    import pandas as pd

    names = None
    if not isinstance(frame.index, pd.RangeIndex) and frame.index.is_unique:
        names = [str(i) for i in frame.index]
    for position, column in enumerate(list(frame.columns)):
        values, match = frame[column], COUNTERS.fullmatch(column)
        if column in used or match is None:
            continue
        nameless = is_nameless(column)
        if nameless and position and not values.isna().all() and not counts(values):
            raise DataError(
                f"{source}: expected a name for each column; column {position}, after "
                f"{frame.columns[position - 1]!r}, has none. Name it in the header."
            )
        whole, unique = pd.api.types.is_integer_dtype(values), values.is_unique
        if nameless and bool(values.isna().all()):
            record = record.noted(f"left out: column {position} without a name, which is empty")
        elif whole and (counts(values) or (unique and not match["counting"])):
            names = [str(v) for v in values]
            record = record.noted(f"left out: column {column!r}, which numbers the rows")
        elif position == 0 and unique and is_text(values):
            names = [str(v) for v in values]
            what = repr(column) if column else "without a name"
            record = record.noted(f"left out: the first column, {what}, which names the rows")
        elif nameless or (whole and match["plain"] and _counts_again(values)):
            repeats = "" if unique else ", some of which repeat"
            what, remedy = f"column {column!r}", "--columns x=NAME,NAME keeps it"
            if nameless:
                what, remedy = "the first column, without a name", "name it if it is a feature"
            record = record.noted(
                f"left out: {what}, taken as labels of the rows{repeats}; {remedy}"
            )
        else:
            continue
        frame = frame.drop(columns=column)
    return frame, names, record


def is_nameless(column: str) -> bool:
    """Whether a column has no name in the table, as an index that pandas wrote."""
    match = COUNTERS.fullmatch(column)
    return match is not None and (column == "" or match["nameless"] is not None)


def counts(values: pd.Series) -> bool:
    """Whether whole numbers count the rows from 0 or 1."""
    if not len(values) or values.dtype.kind not in "iuf" or values.isna().any():
        return False
    numbers = values.to_numpy()
    return numbers[0] in (0, 1) and bool((numbers == np.arange(len(numbers)) + numbers[0]).all())


def _counts_again(values: pd.Series) -> bool:
    """Whether whole numbers count from 0 or 1 several times, as those of stacked tables do."""
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    again = numbers[1:] == numbers[0]
    steps = numbers[1:] == numbers[:-1] + 1
    return bool(numbers[0] in (0, 1) and steps.any() and (steps | again).all())


def features_of(
    source: str,
    frame: pd.DataFrame,
    taken: set[str],
    record: Record,
    known: Sequence[str] | None,
) -> tuple[list[str], Record]:
    """Names of the columns of x: those of a run, in its order, or else all unused numeric ones.

    Raises:
        DataError: If a column of the run is absent, or text represents numbers.
    """
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
        more = f" and {len(texts) - 12} more" if len(texts) > 12 else ""
        # The likeliest class has the fewest values; names of rows have as many as there are rows.
        kinds = {name: frame[name].nunique() for name in texts}
        classlike = min(texts, key=kinds.__getitem__)
        hint = AS_CLASS.format(classlike) if kinds[classlike] < len(frame) else ""
        record = record.noted(f"left out: columns of text {', '.join(texts[:12])}{more}{hint}")
    flags = [name for name in features if is_flags(frame[name])]
    record = record.noted(f"x: {', '.join(flags)}: false is 0, true is 1" if flags else "")
    return features, record.noted(*_doubts(frame, features, "y" in taken))


def _doubts(frame: pd.DataFrame, features: Sequence[str], has_class: bool) -> list[str]:
    """Notes on features that by their names or values may have another role."""
    notes = []
    of_cellprofiler = any(NUMBERING.fullmatch(str(name)) for name in frame)
    for name in features:
        said = f"x: column {name!r} is a feature"
        if not has_class and CLASSLIKE.fullmatch(name):
            notes.append(f"{said}; --columns y={name} makes it the class")
        elif IDENTIFIER.fullmatch(name):
            notes.append(f"{said}; --columns object={name} makes it the object")
        elif DIVIDING.fullmatch(name):
            notes.append(
                f"{said}, though by its name it may divide the rows; --columns x=NAME,NAME leaves "
                "it out, and a column split of the words train, validation and test divides them"
            )
        elif NUMBERING.fullmatch(name) or (of_cellprofiler and PARENT.fullmatch(name)):
            notes.append(
                f"{said}, though CellProfiler gives this number to an image or an object, and "
                "measures nothing by it; --columns x=NAME,NAME leaves it out"
            )
        elif name.startswith("Metadata_"):
            notes.append(
                f"{said}, though by its name it is no measurement; --columns x=NAME,NAME leaves "
                "it out"
            )
        elif len(frame) >= FEW and frame[name].dtype.kind in "iu" and counts(frame[name]):
            notes.append(f"{said}, and counts the rows; --columns x=NAME,NAME leaves it out")
        elif _may_number(name, frame[name]):
            notes.append(
                f"{said}, though its name is that of a number of rows; --columns x=NAME,NAME "
                "leaves it out"
            )
    return notes


def _may_number(name: str, values: pd.Series) -> bool:
    """Whether a feature has the name of an index, and no two rows one number, or a plain name."""
    match = COUNTERS.fullmatch(name)
    if match is None or values.dtype.kind not in "iu":
        return False
    named = re.search(r"(?i)(index|idx|row)$", name) is not None
    return match["plain"] is not None or (named and bool(values.is_unique))
