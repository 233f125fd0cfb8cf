"""Options of a model as a dataclass, and the command line's arguments made from it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

__all__ = ["Options", "add_options", "option", "parse_options"]


@dataclass(frozen=True)
class Options:
    """Base of every model's options; each field is made by :func:`option`."""


def option(default: Any, help: str, *, choices: tuple[str, ...] | None = None) -> Any:  # noqa: A002
    """A field with its explanation; a tuple of integers is written as ``32,16``."""
    return field(default=default, metadata={"help": help, "choices": choices})


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


def add_options(parser: argparse.ArgumentParser, options: type[Options]) -> None:
    """Add an argument for each field."""
    hints = get_type_hints(options)
    group = parser.add_argument_group("the model's own options")
    for f in fields(options):
        shown = ",".join(map(str, f.default)) if isinstance(f.default, tuple) else f.default
        group.add_argument(
            "--" + f.name.replace("_", "-"),
            type=_converter(hints[f.name]),
            default=f.default,
            choices=f.metadata["choices"],
            help=f"{f.metadata['help']} (default {shown})",
            metavar=None if f.metadata["choices"] else f.name.upper(),
        )


def parse_options(options: type[Options], values: Mapping[str, Any]) -> Options:
    """The options with these values, those of a JSON file too.

    Raises:
        ValueError: If a name is unknown.
    """
    known = {f.name for f in fields(options)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"options: expected {sorted(known)}; got {unknown}. See ppvae fit MODEL --help."
        )
    return options(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
