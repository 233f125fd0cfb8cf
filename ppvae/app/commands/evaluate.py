"""``ppvae evaluate``: metrics, draws, plots and report of a run, computed again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppvae.app.commands.common import (
    Subparsers,
    add_device,
    add_label_table,
    add_run,
    path_of,
    printable,
    show,
    show_report,
)

__all__ = ["add", "run"]


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a run again, or on new data: metrics, arviz.nc, plots, report",
        description="Evaluate a run on its test data, or on new data that are matched to the run "
        "by the names of their columns, features and classes. Writes metrics.json, arviz.nc, "
        "plots and report.html.",
    )
    add_run(parser)
    parser.add_argument(
        "--data",
        type=path_of,
        help="new data, every row of which is scored (default: the run's test data)",
    )
    parser.add_argument(
        "--out",
        type=path_of,
        help="folder to write to, with --data (default RUN/evaluations/NAME)",
    )
    add_label_table(parser)
    add_device(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate, then print the metrics, the verdict and the path of the report."""
    from ppvae.app.workflow import evaluate_run, evaluation_folder

    result = evaluate_run(
        arguments.run,
        data=arguments.data,
        labels=arguments.labels,
        out=arguments.out,
        device=arguments.device,
    )
    show(result.metrics)
    folder = evaluation_folder(arguments.run, arguments.data, arguments.out)
    if arguments.data is not None:
        own = (
            ", among them those that the run was trained on. Without --data, only its test rows "
            "are scored"
        )
        among = own if result.config["evaluation"]["fitted"] else ""
        scored = f"scored: {result.metrics['n_test']} data, all rows of {arguments.data}{among}"
        print(printable(scored))
    show_report(folder)
