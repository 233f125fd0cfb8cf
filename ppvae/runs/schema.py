"""Checks of values from a file: types, ranges, depth of nesting, and printable names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ppvae.errors import RunError
from ppvae.expected import Rule

__all__ = [
    "COLUMNS",
    "LISTED",
    "LISTED_TEXTS",
    "NAME",
    "NAMED",
    "NUMBER",
    "OPTIONS",
    "PLAIN",
    "PLAINS",
    "TEXT",
    "TEXTS",
    "Rule",
    "check_fields",
    "check_tree",
    "is_plain",
    "optional",
]

# Largest depth of nesting of a config or a metric, and length of a name in it.
DEPTH, NAME = 40, 200
# Integers below this one are numbers that a float holds.
LARGEST = 2**1000


def _is_number(value: object) -> bool:
    """Whether a value is an int or a float, and not a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < LARGEST


def optional(rule: Rule) -> Rule:
    """The rule, or None."""
    return Rule(f"{rule.words} or null", rule.holds, True, rule.remedy)


def is_plain(value: object) -> bool:
    """Whether a value consists of numbers, texts, lists, and dictionaries with texts as keys."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


TEXT = Rule("text", lambda v: isinstance(v, str))
NUMBER = Rule("a number", _is_number)
LISTED = Rule("a list", lambda v: isinstance(v, list))
PLAIN = Rule("names, numbers and texts", lambda v: isinstance(v, dict) and is_plain(v))
PLAINS = Rule("a list of numbers and texts", lambda v: isinstance(v, list) and is_plain(v))
LISTED_TEXTS = Rule("a list of texts", lambda v: _are(v, lambda t: isinstance(t, str)))
NAMED = Rule("names and values", lambda v: isinstance(v, dict))
TEXTS = Rule(
    "names and texts",
    lambda v: isinstance(v, dict) and all(isinstance(text, str) for text in v.values()),
)
_SCALAR = str | int | float | None


def _are_options(value: object) -> bool:
    """Whether a value contains only allowed options of a reader, and names of columns."""
    return (
        isinstance(value, dict)
        and all(name.isidentifier() for name in value)
        and value.keys().isdisjoint(("path", "like", "missing_ok", "seed"))
        and all(_are_scalars(v) for name, v in value.items() if name != "columns")
        and isinstance(value.get("labels", ""), str)
        and isinstance(value.get("columns", {}), dict)
        and all(_are_texts(v) for v in value.get("columns", {}).values())
    )


def _are_scalars(value: object) -> bool:
    return all(isinstance(v, _SCALAR) for v in (value if isinstance(value, list) else [value]))


def _are_texts(value: object) -> bool:
    return all(isinstance(v, str) for v in (value if isinstance(value, list) else [value]))


OPTIONS = Rule("options of a reader of data", _are_options)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40


def _are(value: object, kind: Callable[[object], bool], count: int | None = None) -> bool:
    """Whether a value is a list of values of a kind, of a length if one is given."""
    return isinstance(value, list) and count in (None, len(value)) and all(map(kind, value))


def _has_units(column: Mapping[str, object]) -> bool:
    """Whether a column has both or none of mean and sd, one for each feature of a vector."""
    shape = column["shape"]
    count = shape[0] if isinstance(shape, list) and len(shape) == 1 else 1
    given = [column[name] for name in ("mean", "sd") if name in column]
    return len(given) != 1 and all(isinstance(v, list) and len(v) == count for v in given)


def _is_finite(value: object) -> bool:
    return _is_number(value) and math.isfinite(value)  # type: ignore[arg-type]


# Properties of a column; mean and sd are of each feature.
COLUMN = {
    "shape": Rule("sizes", lambda v: _are(v, _is_size)),
    "dtype": TEXT,
    "classes": Rule("a number of classes", _is_size, optional=True),
    "names": Rule("names", lambda v: _are(v, lambda n: isinstance(n, str)), optional=True),
    "unit": optional(TEXT),
    "missing": Rule("true or false", lambda v: isinstance(v, bool)),
    "library": Rule("two numbers", lambda v: _are(v, _is_finite, 2), optional=True),
    **dict.fromkeys(("mean", "sd"), Rule("numbers", lambda v: _are(v, _is_finite))),
}
COLUMNS = Rule(
    "names and properties of columns",
    lambda v: (
        isinstance(v, dict)
        and all(isinstance(c, dict) and isinstance(c.get("shape"), list) for c in v.values())
        and all(
            rule.allows(c[name]) for c in v.values() for name, rule in COLUMN.items() if name in c
        )
        and all(map(_has_units, v.values()))
    ),
)
PAIRS = Rule(
    "names and pairs of numbers",
    lambda v: (
        isinstance(v, dict)
        and all(
            isinstance(p, list) and len(p) == 2 and all(map(_is_number, p)) for p in v.values()
        )
    ),
)


def check_fields(where: object, values: Mapping[str, object], rules: Mapping[str, Rule]) -> None:
    """Check the values that are given against their rules.

    Arguments:
        where: File of the values, for the message.
        values: Values by name.
        rules: Rules by name.

    Raises:
        RunError: If a value breaks its rule.
    """
    for name, rule in rules.items():
        if name in values and not rule.allows(values[name]):
            raise RunError(
                f"{where}: expected {name} to be {rule.words}; got a damaged file with "
                f"{str(values[name])[:60]!r}. Restore it from a copy, or train again."
            )


def check_tree(where: object, value: object, depth: int = DEPTH) -> None:
    """Refuse values nested too deep, and names that are long or cannot be printed.

    Raises:
        RunError: If there is one.
    """
    if not isinstance(value, dict | list):
        return
    if depth == 0:
        raise RunError(
            f"{where}: expected values nested at most {DEPTH} deep; got a damaged file. "
            "Restore it from a copy, or train again."
        )
    if isinstance(value, dict):
        for name in value:
            if len(name) > NAME or not name.isprintable():
                raise RunError(
                    f"{where}: expected names of at most {NAME} printable characters; got a "
                    f"damaged file with {name[:40]!r}. Restore it from a copy, or train again."
                )
        value = value.values()
    for part in value:
        check_tree(where, part, depth - 1)
