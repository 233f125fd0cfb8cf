"""Checks of values from a file: types, ranges, depth of nesting, and printable names."""

from __future__ import annotations

from collections.abc import Mapping

from ppvae.errors import RunError
from ppvae.expected import Rule

__all__ = [
    "COLUMNS",
    "LISTED",
    "NAMED",
    "NUMBER",
    "OPTIONS",
    "TEXT",
    "TEXTS",
    "Rule",
    "check_fields",
    "check_tree",
    "optional",
]

# Largest depth of nesting of a config or a metric, and length of a name in it.
DEPTH, NAME = 40, 200


def _is_number(value: object) -> bool:
    """Whether a value is an int or a float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def optional(rule: Rule) -> Rule:
    """The rule, or None."""
    return Rule(f"{rule.words} or null", rule.holds, True, rule.remedy)


TEXT = Rule("text", lambda v: isinstance(v, str))
NUMBER = Rule("a number", _is_number)
LISTED = Rule("a list", lambda v: isinstance(v, list))
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
COLUMNS = Rule(
    "names and properties of columns",
    lambda v: (
        isinstance(v, dict)
        and all(isinstance(c, dict) and isinstance(c.get("shape"), list) for c in v.values())
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
