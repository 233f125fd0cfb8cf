"""``ppvae report``: the report of a run, from the files in its folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppvae.app.commands.common import Subparsers, add_run, printable

__all__ = ["add", "run"]


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "report",
        help="write report.html again from the folder of a run",
        description="Write report.html again from the metrics and plots in the folder of a run, "
        "without evaluating it; ppvae evaluate does both.",
    )
    add_run(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the report, then print its path."""
    from ppvae.app.workflow import report_run

    print(printable(f"report: {report_run(arguments.run)}"))
