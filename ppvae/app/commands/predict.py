"""``ppvae predict``: predictions at objects and views, or at classes or factors."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppvae.app.commands.common import Subparsers, add_device, add_run, path_of, printable

__all__ = ["add", "run"]

COLUMNS = (
    ("--objects", "object", str, "objects, by number or name"),
    ("--views", "view", float, "views, in the unit of the data (radians for rotations)"),
    ("--classes", "y", str, "classes, by number or name"),
    ("--factors", "c", float, "values of the continuous factor"),
)


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "predict",
        help="predict x at given objects and views, classes, factors or visits",
        description="Predict x at every combination of the given values. Writes means, standard "
        "deviations and intervals to predictions.npz, and a picture of them to "
        "predictions.png.",
    )
    add_run(parser)
    for flag, column, kind, text in COLUMNS:
        parser.add_argument(
            flag, dest=column, type=kind, nargs="+", help=text, metavar=column.upper()
        )
    parser.add_argument(
        "--at",
        type=path_of,
        help="table (.csv, .parquet) of the columns that the model is given, one row per "
        "prediction, in place of the options above; -1 in the column of subjects stands for a "
        "new subject without any visit",
    )
    parser.add_argument(
        "--visits",
        type=path_of,
        help="observed visits (.npz or a table, as for fit) of new subjects, or new ones of known "
        "subjects; the predictions of a run with an additive kernel are then conditioned on "
        "them, without training",
    )
    parser.add_argument("--out", type=path_of, help="folder to write to (default RUN/predictions)")
    parser.add_argument(
        "--draws", type=int, default=200, help="number of predictive draws per datum (default 200)"
    )
    parser.add_argument(
        "--keep-draws", action="store_true", help="write the draws to predictions.npz as well"
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=0.9,
        help="probability mass of the central predictive interval (default 0.9)",
    )
    add_device(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Predict, then print how many predictions there are and where they are."""
    from ppvae.app.workflow import predict_run
    from ppvae.runs.files import inside

    given = {column: getattr(arguments, column) for _, column, _, _ in COLUMNS}
    out = arguments.out or inside(arguments.run, "predictions")
    prediction, _ = predict_run(
        arguments.run,
        {name: values for name, values in given.items() if values is not None},
        out,
        at=arguments.at,
        visits=arguments.visits,
        keep_draws=arguments.keep_draws,
        num_draws=arguments.draws,
        interval=arguments.interval,
        device=arguments.device,
    )
    print(printable(f"predicted: {len(prediction.mean)} data, in {out}"))
