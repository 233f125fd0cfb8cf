"""``ppvae inspect``: what was understood of data, and what a model would do with it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ppvae.app.commands.common import Subparsers, add_reading, reading

__all__ = ["add", "run"]


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "inspect",
        help="say what is understood of data: rows, columns, ranges, classes, what is left out",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="a file or a folder of pictures")
    parser.add_argument("--model", metavar="NAME", help="say what this model would do with it")
    parser.add_argument("--out", type=Path, help="a .png file for a contact sheet of pictures")
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
    if arguments.out is not None:
        print(f"contact sheet: {arguments.out}")
