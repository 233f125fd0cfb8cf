"""``ppvae list``: the models by name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppvae.app.commands.common import Subparsers

__all__ = ["add", "run"]


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "list", help="list the models", description="List the models that ppvae fit trains."
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Print a line for each model."""
    from ppvae.zoo import entry, names

    width = max(map(len, names()))
    for name in names():
        print(f"{name:{width}}  {entry(name).summary}")
