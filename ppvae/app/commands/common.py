"""Arguments that several commands share, and printing of numbers and tables."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias
from unicodedata import category

from ppvae.app.users import this_folder
from ppvae.errors import ArgumentError
from ppvae.expected import is_path
from ppvae.typing import Keywords

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = [
    "Parser",
    "Subparsers",
    "add_device",
    "add_model",
    "add_reading",
    "add_run",
    "add_trust",
    "commands_of",
    "path_of",
    "printable",
    "reading",
    "refuse_unknown",
    "show",
    "show_report",
    "show_table",
    "trust",
]

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Parser(argparse.ArgumentParser):
    """A parser that refuses a flag given twice, rather than to lose its first value."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.given: set[str] = set()
        for name in (None, "store"):
            self.register("action", name, _Once)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Write help; argparse would say nothing of a disk that is full."""
        if message and file is not None and file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


class _Once(argparse._StoreAction):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if isinstance(parser, Parser) and option_string is not None:
            if self.dest in parser.given:
                parser.error(f"argument {option_string}: expected once; got two. Leave one out.")
            parser.given.add(self.dest)
        setattr(namespace, self.dest, values)


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands, by name."""
    group = parser._subparsers
    actions = [] if group is None else group._group_actions
    return dict(next(action.choices for action in actions if isinstance(action.choices, dict)))


def refuse_unknown(
    commands: Mapping[str, argparse.ArgumentParser],
    arguments: Sequence[str],
    unknown: Sequence[str],
) -> NoReturn:
    """End with arguments that a command does not have, and the nearest flag that it has."""
    name = next(word for word in arguments if word in commands)
    parser = commands[name]
    flag = next((word for word in unknown if word.startswith("--")), "").partition("=")[0]
    known = [f for f in parser._option_string_actions if f.startswith("--")]
    near = get_close_matches(flag.replace("_", "-"), known, n=1, cutoff=0.8)
    if near:
        remedy = f"The nearest is {near[0]}."
    elif name == "sweep" and flag:
        remedy = f"Settings and options of the model are given by --set {flag[2:]}=VALUES."
    else:
        model = " MODEL" if name == "fit" else ""
        remedy = f"ppvae {name}{model} --help shows those that there are."
    parser.error(f"unrecognized arguments: {' '.join(map(printable, unknown))}. {remedy}")


def path_of(text: str) -> Path:
    """A path; an empty text, which would be this folder, or one that is too long is refused."""
    if not is_path(text):
        raise argparse.ArgumentTypeError(f"expected a path; got {text[:60]!r}")
    return Path(text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best one available)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the name of an entry, as the first argument."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a name from ppvae list, or module:function of an entry of your own",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the folder of a run, as the first argument, and ``--trust``."""
    parser.add_argument("run", type=path_of, metavar="RUN", help="folder of the run")
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """``--trust``."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="MODULE",
        help="your module that may be imported to rebuild the model of the run; without this "
        "option, only the models of ppvae list are rebuilt, whatever the run's folder asks for",
    )


def trust(modules: Sequence[str]) -> None:
    """Import the modules that the user named, and trust their builders in this process.

    Raises:
        ArgumentError: If one cannot be imported.
    """
    if not modules:
        return
    from ppvae.runs import register_builder

    for name in modules:
        try:
            with this_folder():
                file = importlib.import_module(name).__file__
        except (ImportError, TypeError, ValueError) as error:
            raise _untrusted(name, str(error)) from error
        if file is None:
            raise _untrusted(name, "a folder without code")
        register_builder(name)


def _untrusted(name: str, reason: str) -> ArgumentError:
    return ArgumentError(
        f"--trust: expected a module that can be imported; got {name!r} ({reason}). Install it, "
        "or change to its folder."
    )


def printable(text: str) -> str:
    """The text on one line, with control characters escaped."""
    joined = " ".join(part for part in text.split("\n") if part)
    return "".join(
        c.encode("unicode_escape").decode("ascii") if category(c).startswith("C") else c
        for c in joined
    )


def _assigned(text: str) -> tuple[str, str | list[str]]:
    column, _, names = text.partition("=")
    parts = [part for part in names.split(",") if part]
    if not column or not parts:
        raise argparse.ArgumentTypeError(f"expected COLUMN=NAME[,NAME...]; got {text!r}")
    return column, parts if len(parts) > 1 or column == "x" else parts[0]


# Options of the readers of ppvae.data: flag, name of the argument there, and how it is parsed.
READING: tuple[tuple[str, str, Keywords], ...] = (
    (
        "--size",
        "size",
        {
            "type": int,
            "nargs": 2,
            "metavar": ("HEIGHT", "WIDTH"),
            "help": "size that pictures are resized to",
        },
    ),
    (
        "--crop",
        "crop",
        {
            "action": "store_true",
            "help": "crop pictures around their centre before resizing, so that they are not "
            "stretched",
        },
    ),
    (
        "--picture-channels",
        "channels",
        {
            "type": int,
            "metavar": "C",
            "help": "1 for grey pictures, 3 for colour (default: as in the files)",
        },
    ),
    (
        "--range",
        "range",
        {
            "type": float,
            "nargs": 2,
            "metavar": ("LOW", "HIGH"),
            "help": "pixel values that become 0 and 1 (default: the range of the file's type)",
        },
    ),
    (
        "--label-table",
        "labels",
        {
            "type": path_of,
            "metavar": "FILE",
            "help": "table of the pictures' classes, one row each: file, then class",
        },
    ),
    (
        "--sep",
        "sep",
        {
            "metavar": "CHAR",
            "help": "separator of the fields of a table (default: detected, and reported)",
        },
    ),
    (
        "--decimal",
        "decimal",
        {
            "metavar": "CHAR",
            "help": "decimal sign of a table (default: detected, and reported)",
        },
    ),
    (
        "--thousands",
        "thousands",
        {
            "metavar": "CHAR",
            "help": "sign between groups of three digits in a table, such as , in 1,000",
        },
    ),
    (
        "--columns",
        "columns",
        {
            "nargs": "+",
            "type": _assigned,
            "metavar": "COLUMN=NAME",
            "help": "columns of a table, or of the label table, that become x, y, c and so on, "
            "such as y=kind c=age,dose x=height,width",
        },
    ),
    (
        "--na",
        "na",
        {
            "nargs": "+",
            "metavar": "TEXT",
            "help": "texts that stand for a missing value in a table",
        },
    ),
    (
        "--layer",
        "layer",
        {
            "metavar": "NAME",
            "help": "layer of an .h5ad file that holds the raw counts (default: X)",
        },
    ),
    (
        "--layout",
        "layout",
        {
            "choices": ("first", "last"),
            "help": "whether an array's channels are its first axis or its last (default: the "
            "last if it is the shortest, and reported)",
        },
    ),
)


def add_label_table(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the table of the classes of new pictures."""
    flag, _, how = next(option for option in READING if option[1] == "labels")
    parser.add_argument(flag, dest="labels", **how)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how pictures, tables and arrays are read."""
    group = parser.add_argument_group("reading data")
    for flag, name, how in READING:
        group.add_argument(flag, dest=f"read_{name}", **how)


def reading(arguments: argparse.Namespace) -> dict[str, object]:
    """The options of :func:`add_reading` that were given."""
    given = {name: getattr(arguments, f"read_{name}") for _, name, _ in READING}
    return {
        name: dict(value)
        if name == "columns" and value is not None
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in given.items()
        if value is not None and value is not False
    }


def show(metrics: Mapping[str, object]) -> None:
    """Print names and values, one line each."""
    width = max(map(len, metrics), default=0)
    for name, value in metrics.items():
        text = f"{value:.5g}" if isinstance(value, float) else str(value)
        print(f"{printable(name):{width}}  {printable(text)}")


def show_table(rows: Iterable[Mapping[str, str]]) -> None:
    """Print rows of texts in aligned columns, with a header."""
    listed = list(rows)
    names = list(dict.fromkeys(name for row in listed for name in row))
    lines = [{name: name for name in names}, *listed]
    widths = {name: max(len(line.get(name, "")) for line in lines) for name in names}
    for line in lines:
        text = "  ".join(f"{line.get(name, ''):{widths[name]}}" for name in names)
        print(printable(text).rstrip())


def show_report(folder: Path) -> None:
    """Print the verdict of a run's report, and the path of the report."""
    from ppvae.report import verdict
    from ppvae.report.facts import read

    answers = verdict(read(folder))
    print("; ".join(f"{answer.question} {answer.short}" for answer in answers) + ".")
    print(printable(f"report: {folder / 'report.html'}"))
