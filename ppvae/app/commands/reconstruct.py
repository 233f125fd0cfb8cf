"""``ppvae reconstruct``: new data, encoded and decoded."""

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
        "reconstruct",
        help="reconstruct data from their latents: .npz and a picture",
        description="Decode the posterior mean of each datum and write the result to "
        "reconstructions.npz. Missing values of x (empty cells, NaN) are imputed there as "
        "x_imputed, with standard deviations and 90 % intervals.",
    )
    add_run(parser)
    parser.add_argument(
        "--data",
        type=path_of,
        required=True,
        help="data to reconstruct: a file, or a folder of pictures",
    )
    parser.add_argument(
        "--out", type=path_of, help="folder to write to (default RUN/reconstructions)"
    )
    add_label_table(parser)
    add_device(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Reconstruct, then print how many and where they are."""
    import numpy as np

    from ppvae.app.exports import reconstruct_run
    from ppvae.runs.files import inside

    out = arguments.out or inside(arguments.run, "reconstructions")
    arrays = reconstruct_run(
        arguments.run, arguments.data, out, labels=arguments.labels, device=arguments.device
    )
    print(printable(f"reconstructed: {len(arrays['row'])} data, in {out}"))
    if "x_imputed" in arrays:
        missing = int(np.isnan(arrays["x"]).sum())
        print(f"imputed: {missing:,} missing values, as x_imputed with sd and 90 % intervals")
