"""``ppvae encode``: latents of new data, as a table."""

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
)

__all__ = ["add", "run"]


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "encode",
        help="write the latents of data as a table: means, standard deviations, classes, ELBO",
        description="Write a table with one row per datum: its name, the posterior mean and "
        "standard deviation of each latent, the most probable class and the probability of "
        "each, and the ELBO in nats.",
    )
    add_run(parser)
    parser.add_argument(
        "--data",
        type=path_of,
        required=True,
        help="data to encode: a file, or a folder of pictures",
    )
    parser.add_argument(
        "--out",
        type=path_of,
        required=True,
        help="table to write: a .csv, .parquet, .npz or .h5ad file",
    )
    add_label_table(parser)
    add_device(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Encode, then print how many rows there are and where they are."""
    from ppvae.app.exports import encode_run

    table = encode_run(
        arguments.run,
        arguments.data,
        arguments.out,
        labels=arguments.labels,
        device=arguments.device,
    )
    print(printable(f"encoded: {len(table['row'])} data, in {arguments.out}"))
