"""``ppvae sample``: draws of a model's prior, and of data given them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppvae.app.commands.common import Subparsers, add_device, add_run, path_of, printable

__all__ = ["add", "run"]


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sample",
        help="draw data from the prior: .npz and a picture",
        description="Draw latents from the prior and decode them. Writes the draws and their "
        "means to samples.npz, and a picture of them.",
    )
    add_run(parser)
    parser.add_argument("--count", type=int, default=64, help="number of draws (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the draws (default 0)")
    parser.add_argument("--out", type=path_of, help="folder to write to (default RUN/samples)")
    add_device(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Draw, then print how many and where they are."""
    from ppvae.app.exports import sample_run
    from ppvae.runs.files import inside

    out = arguments.out or inside(arguments.run, "samples")
    sample_run(
        arguments.run,
        out,
        num_samples=arguments.count,
        seed=arguments.seed,
        device=arguments.device,
    )
    print(printable(f"sampled: {arguments.count} data, in {out}"))
