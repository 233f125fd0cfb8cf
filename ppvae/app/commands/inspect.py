"""``ppvae inspect``: how data are read, and what a model would do with them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppvae.app.commands.common import Subparsers, add_reading, path_of, reading

__all__ = ["add", "run"]


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "inspect",
        help="show how data are read: rows, columns, ranges, classes, and what is left out",
        description="Show how a file or folder is read, without training: rows, columns, ranges, "
        "classes, and what is left out.",
    )
    parser.add_argument(
        "data", type=path_of, metavar="DATA", help="a file, or a folder of pictures"
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="also show what this model would do with the data: a name from ppvae list",
    )
    parser.add_argument(
        "--out", type=path_of, help="file (.png) to write a contact sheet of the pictures to"
    )
    add_reading(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the description."""
    from ppvae.app.inspection import inspect_data

    print(
        inspect_data(
            arguments.data, model=arguments.model, out=arguments.out, reading=reading(arguments)
        )
    )
