"""Options of an entry: declared in its signature, checked in one place, and added to a parser."""

from __future__ import annotations

import argparse
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias, get_args, get_type_hints

from ppvae.errors import ArgumentError
from ppvae.expected import (
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
    Rule,
    above,
    at_least,
    expect,
    one_of,
    within,
)

__all__ = [
    "AUTO",
    "Option",
    "Options",
    "add_options",
    "auto_options",
    "option",
    "options_of",
    "parse_options",
    "parse_value",
    "read_options",
]

AUTO, DEST = "auto", "option_"
# The value of an option; and the type of an option, which Python's typing cannot express.
Value: TypeAlias = "bool | int | float | str | tuple[int, ...]"
Kind: TypeAlias = Any
INTEGERS = Rule(
    "integers such as 32,16", lambda v: isinstance(v, tuple) and all(map(INTEGER.holds, v))
)
KINDS: dict[Kind, Rule] = {
    bool: FLAG,
    int: INTEGER,
    float: NUMBER,
    str: Rule(TEXT.words, lambda v: TEXT.holds(v) or (isinstance(v, str) and not v)),
    tuple[int, ...]: INTEGERS,
}
METAVARS: dict[Kind, str] = {
    bool: "{true,false}",
    int: "N",
    float: "NUMBER",
    str: "TEXT",
    tuple[int, ...]: "N,N,...",
}
# Sizes and counts beyond this are slips, which torch would refuse late and in its own words.
SMALL = Rule(f"a number below {2**31:,}", lambda v: abs(v) < 2**31)


@dataclass(frozen=True)
class Option:
    """Explanation and range of an option, in its annotation.

    Attributes:
        help: Explanation on the command line.
        choices: Values allowed, if they are words from a list.
        least: Smallest value allowed; for a tuple, of each of its numbers.
        above: Exclusive lower bound, in place of ``least``.
    """

    help: str = ""
    choices: tuple[str, ...] | None = None
    least: float = 0
    above: float | None = None

    @property
    def is_chosen(self) -> bool:
        """Whether the value is chosen from the data unless it is given."""
        return AUTO in (self.choices or ())

    def rules(self, kind: Kind) -> list[Rule]:
        """The rules of a value of this type, each to be held after those before it."""
        if self.choices:
            return [one_of(self.choices)]
        rule = KINDS[kind]
        if kind in (bool, str):
            return [rule]
        limits = [at_least(self.least) if self.above is None else above(self.above)]
        if not math.isfinite(self.least):
            limits = []
        if kind is float:
            return [within(rule, limit) for limit in limits] or [rule]
        each = [within(INTEGER, limit) for limit in (*limits, SMALL)]
        return each if kind is int else [rule, *map(_of_each, each)]


def _of_each(rule: Rule) -> Rule:
    words = rule.words.replace(INTEGER.words, "integers")
    return Rule(words, lambda values: all(map(rule.holds, values)))


def option(
    help: str,  # noqa: A002
    *,
    choices: tuple[str, ...] | None = None,
    least: float = 0,
    above: float | None = None,
) -> Option:
    """Declare an option: ``beta: Annotated[float, option("weight of the KL")] = 1.0``.

    Arguments:
        help: Explanation on the command line.
        choices: Values allowed, if they are words from a list.
        least: Smallest value allowed; for a tuple, of each of its numbers.
        above: Exclusive lower bound, in place of ``least``.
    """
    return Option(help, choices, least, above)


@dataclass(frozen=True)
class Options:
    """Values of options, checked when an instance is made.

    A subclass is a group that several entries share: a parameter annotated with it stands for all
    of its fields, with the values of its default.

    Raises:
        ArgumentError: If a value is of another type than declared, or out of range.
    """

    def __post_init__(self) -> None:
        for f in fields(self):
            kind, declared = _declared(type(self))[f.name]
            value = getattr(self, f.name)
            for rule in declared.rules(kind):
                expect(rule, f"Leave it out for {_written(f.default)}.", **{f.name: value})
            object.__setattr__(self, f.name, _plain(value))


def _plain(value: Kind) -> Value:
    """Numbers of numpy as Python's, which a run's config can hold."""
    if isinstance(value, tuple):
        return tuple(int(number) for number in value)
    return value.item() if type(value).__module__ == "numpy" else value


def _split(annotation: Kind) -> tuple[Kind, Option]:
    """Type and declaration of an annotation."""
    if not hasattr(annotation, "__metadata__"):
        return annotation, Option()
    kind, *rest = get_args(annotation)
    return kind, next((part for part in rest if isinstance(part, Option)), Option())


def _declared(options: type[Options]) -> dict[str, tuple[Kind, Option]]:
    hints = get_type_hints(options, include_extras=True)
    return {f.name: _split(hints[f.name]) for f in fields(options)}


def groups_of(function: Callable[..., object]) -> dict[str, type[Options] | None]:
    """Keyword-only parameters of an entry; the type of those that are groups of options."""
    hints = _hints(function)
    return {
        name: hint if inspect.isclass(hint) and issubclass(hint, Options) else None
        for name, hint in hints.items()
    }


def _hints(function: Callable[..., object]) -> dict[str, Kind]:
    # The other annotations may name what is only imported for type checking.
    parameters = inspect.signature(function).parameters.values()
    named = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    space = getattr(function, "__globals__", {})
    return get_type_hints(SimpleNamespace(__annotations__=named), space, include_extras=True)


def options_of(
    function: Callable[..., object],
    *,
    extends: type[Options] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> type[Options]:
    """A dataclass of the options that the keyword-only parameters of a function declare.

    Arguments:
        function: The entry's constructor.
        extends: Options that the constructor takes as ``**options``, listed after its own.
        defaults: Defaults that replace those of ``extends``, by name.

    Raises:
        ArgumentError: If a parameter has no default, or a type that a command line cannot say.
    """
    parameters = inspect.signature(function).parameters
    declared: dict[str, tuple[Kind, object]] = {}
    for name, hint in _hints(function).items():
        default = parameters[name].default
        if inspect.isclass(hint) and issubclass(hint, Options):
            values = hint() if default is inspect.Parameter.empty else default
            inner = get_type_hints(hint, include_extras=True)
            declared |= {f.name: (inner[f.name], getattr(values, f.name)) for f in fields(hint)}
            continue
        if default is inspect.Parameter.empty or _split(hint)[0] not in KINDS:
            raise ArgumentError(
                f"{function.__name__}: expected options with a default, each a bool, int, float, "
                f"str or tuple[int, ...]; got {name!r}. Annotate it so, and give it a default."
            )
        declared[name] = (hint, default)
    if extends is not None:
        inner = get_type_hints(extends, include_extras=True)
        rest = {f.name: (inner[f.name], f.default) for f in fields(extends)}
        declared = {**rest, **declared}
    chosen = dict(defaults or {})
    return make_dataclass(
        f"{function.__name__}_options",
        [
            (name, hint, field(default=chosen.get(name, default)))
            for name, (hint, default) in declared.items()
        ],
        bases=(Options,),
        frozen=True,
    )


def _written(value: object) -> str:
    """A value as the command line takes it, a number to six digits."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _boolean(text: str) -> bool:
    """True or false of a word.

    Raises:
        KeyError: If it is neither.
    """
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return words[text.lower()]


_PARSERS: dict[Kind, Callable[[str], Value]] = {
    bool: _boolean,
    int: int,
    float: float,
    str: str,
    tuple[int, ...]: lambda text: tuple(map(int, text.split(","))),
}


def _converter(kind: Kind) -> Callable[[str], Value]:
    def convert(text: str) -> Value:
        try:
            return _PARSERS[kind](text)
        except (KeyError, ValueError):
            words = KINDS[kind].words
            raise argparse.ArgumentTypeError(f"expected {words}; got {text!r}") from None

    return convert


def add_options(parser: argparse.ArgumentParser, options: type[Options]) -> None:
    """Add an argument for each option.

    Arguments:
        parser: Parser of the command.
        options: Dataclass of the options.

    Raises:
        ArgumentError: If the parser has a flag of that name.
    """
    group = parser.add_argument_group("options of the model")
    for f in fields(options):
        kind, declared = _declared(options)[f.name]
        flag = "--" + f.name.replace("_", "-")
        chosen = f"{AUTO} with --data, else " if declared.is_chosen else ""
        default = f" (default {chosen}{_written(f.default)})" if f.default != "" else ""
        text = f"{declared.help}{default}".strip()
        try:
            group.add_argument(
                flag,
                dest=DEST + f.name,
                type=_converter(kind),
                default=argparse.SUPPRESS if declared.is_chosen else f.default,
                choices=declared.choices,
                help=text.replace("%", "%%"),
                metavar=None if declared.choices else METAVARS[kind],
            )
        except argparse.ArgumentError as error:
            raise ArgumentError(
                f"{f.name}: expected options that ppvae fit has no flag for; got {flag}, which it "
                "has. Rename the option."
            ) from error


def read_options(arguments: argparse.Namespace, options: type[Options]) -> dict[str, object]:
    """Parsed values of the options that :func:`add_options` added, by name."""
    given = {f.name: DEST + f.name for f in fields(options)}
    return {n: getattr(arguments, dest) for n, dest in given.items() if hasattr(arguments, dest)}


def auto_options(options: type[Options]) -> dict[str, str]:
    """The options that can be chosen from the data, each with the value ``auto``."""
    return {name: AUTO for name, (_, declared) in _declared(options).items() if declared.is_chosen}


def parse_value(options: type[Options], name: str, text: str) -> Value:
    """The value of one option from its text; several numbers are joined by x.

    Raises:
        ArgumentError: If there is no such option, or the value is out of its range.
    """
    declared = _declared(options)
    if name not in declared:
        parse_options(options, {name: text})  # Raises an error that lists the options.
    kind = declared[name][0]
    try:
        value = _converter(kind)(text.replace("x", ",") if kind == tuple[int, ...] else text)
    except argparse.ArgumentTypeError as error:
        raise ArgumentError(f"{name}: {error}. Leave it out for its default.") from error
    parse_options(options, {name: value})
    return value


def parse_options(options: type[Options], values: Mapping[str, object]) -> Options:
    """The options with these values, which may come from a JSON file.

    Raises:
        ArgumentError: If a name is unknown, or a value is out of its option's range.
    """
    if not (isinstance(options, type) and issubclass(options, Options)):
        raise ArgumentError(
            f"options: expected a class of Options, such as ppvae.zoo.entry(name).options; got "
            f"{str(options)[:60]}. Pass that."
        )
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise ArgumentError(
            f"options: expected values by name; got {str(values)[:60]!r}. Pass a dict."
        )
    known = {f.name for f in fields(options)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ArgumentError(
            f"options: expected {sorted(known)}; got {unknown}. See ppvae fit MODEL --help."
        )
    return options(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
