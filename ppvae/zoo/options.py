"""Options of a model as a dataclass, and the command line's arguments made from it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, get_type_hints

from ppvae.errors import ArgumentError

__all__ = ["AUTO", "Options", "add_options", "auto_options", "option", "parse_options"]

AUTO = "auto"


@dataclass(frozen=True)
class Options:
    """Base of every model's options; each field is made by :func:`option`.

    Raises:
        ArgumentError: If a value is outside what its field takes.
    """

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            choices, least, above = (f.metadata[key] for key in ("choices", "least", "above"))
            numbers = value if isinstance(value, tuple) else (value,)
            rule = None
            if choices:
                rule = None if value in choices else f"one of {', '.join(choices)}"
            elif not isinstance(value, str):
                low = above if above is not None else least
                good = all(n > low if above is not None else n >= low for n in numbers)
                if not (good and all(map(math.isfinite, numbers))):
                    bound = "above" if above is not None else "from"
                    rule = f"a number {bound} {low:g}" if math.isfinite(low) else "a finite number"
            if rule:
                raise ArgumentError(
                    f"{f.name}: expected {rule}; got {_written(value)}. "
                    f"Leave it out for {_written(f.default)}."
                )


def option(
    default: Any,
    help: str,  # noqa: A002
    *,
    choices: tuple[str, ...] | None = None,
    least: float = 0,
    above: float | None = None,
) -> Any:
    """A field with its explanation; a tuple of integers is written as ``32,16``.

    Arguments:
        default: Its value where none is given.
        help: What it is.
        choices: The words it takes.
        least: The least number it takes; of a tuple, each of its numbers.
        above: It takes numbers above this one alone.
    """
    rest = {"choices": choices, "least": least, "above": above}
    return field(default=default, metadata={"help": help, **rest})


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers such as 32,16; got {text!r}"
        ) from None


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "yes", "1"):
        return True
    if text.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false; got {text!r}")


def _converter(kind: Any) -> Callable[[str], Any]:
    if kind is bool:
        return _boolean
    if kind in (int, float, str):
        return kind
    return _integers


def _is_chosen(f: Field[Any]) -> bool:
    """Whether the option is chosen from the data where nobody gives it."""
    return AUTO in (f.metadata["choices"] or ())


def _default(f: Field[Any]) -> str:
    written = _written(f.default)
    return f"{AUTO} with --data, else {written}" if _is_chosen(f) else written


def add_options(parser: argparse.ArgumentParser, options: type[Options]) -> None:
    """Add an argument for each field."""
    hints = get_type_hints(options)
    group = parser.add_argument_group("the model's own options")
    for f in fields(options):
        group.add_argument(
            "--" + f.name.replace("_", "-"),
            type=_converter(hints[f.name]),
            default=argparse.SUPPRESS if _is_chosen(f) else f.default,
            choices=f.metadata["choices"],
            help=f"{f.metadata['help']} (default {_default(f)})",
            metavar=None if f.metadata["choices"] else f.name.upper(),
        )


def auto_options(options: type[Options]) -> dict[str, str]:
    """The options that are chosen from the data, as ``auto``."""
    return {f.name: AUTO for f in fields(options) if _is_chosen(f)}


def parse_options(options: type[Options], values: Mapping[str, Any]) -> Options:
    """The options with these values, those of a JSON file too.

    Raises:
        ArgumentError: If a name is unknown, or a value is outside what its field takes.
    """
    known = {f.name for f in fields(options)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ArgumentError(
            f"options: expected {sorted(known)}; got {unknown}. See ppvae fit MODEL --help."
        )
    return options(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
