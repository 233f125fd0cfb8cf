"""``ppvae compare``: runs side by side on the same rows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ppvae.app.commands.common import (
    Subparsers,
    add_device,
    add_label_table,
    add_trust,
    path_of,
    printable,
    show_table,
)

__all__ = ["add", "run"]


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="compare runs on the same data: a table and one report",
        description="Compare runs by the log-likelihood of the same held-out rows, with the "
        "latents integrated out, and by each run's own metrics. Runs that differ only in their "
        "seed, were fitted to the same data and ended well share one row, with an interval over "
        "seeds.",
    )
    parser.add_argument(
        "runs", type=path_of, nargs="+", metavar="RUN", help="folders of at least two runs"
    )
    parser.add_argument(
        "--data",
        type=path_of,
        help="new data, every row of which is scored (default: the runs' test data)",
    )
    parser.add_argument(
        "--out",
        type=path_of,
        default=Path("comparison"),
        help="folder of the report (default comparison)",
    )
    parser.add_argument(
        "--draws", type=int, default=256, help="number of posterior draws per datum (default 256)"
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=1000,
        help="largest number of rows scored, evenly spaced (default 1000)",
    )
    add_label_table(parser)
    add_trust(parser)
    add_device(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Compare, then print the table and the path of the report."""
    from ppvae.app.comparison import compare_runs

    comparison = compare_runs(
        arguments.runs,
        arguments.out,
        data=arguments.data,
        labels=arguments.labels,
        num_particles=arguments.draws,
        max_rows=arguments.rows,
        device=arguments.device,
    )
    show_table(
        {
            "configuration": group.label,
            "seeds": ",".join(map(str, group.seeds)),
            "log p(x)": f"{group.log_likelihood}{'' if group.trusted else ' !'}",
            "ELBO": str(group.metrics.get("elbo", "")),
        }
        for group in comparison.groups
    )
    if not all(group.trusted for group in comparison.groups):
        print("!  probably too low: Pareto k is above 0.7, or there are few effective draws")
    if comparison.arviz is None:
        print(f"az.compare: not made, for {comparison.without}")
    print(printable(f"report: {comparison.report}"))
