"""``ppvae explore``: a search for the places of most interest, on data known everywhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppvae.app.commands.common import Subparsers, path_of, printable, show
from ppvae.errors import Interrupted
from ppvae.zoo.parts import EMBEDDINGS

if TYPE_CHECKING:
    from ppvae.active import Search

__all__ = ["add", "run"]

# The keys of ppvae.active.acquisition.ACQUISITIONS, which imports torch; a test compares them.
NAMES = ("log-ei", "ucb", "thompson", "knowledge-gradient", "max-variance", "random")
NUMBERS = (
    ("--budget", int, 100, "total number of measurements"),
    ("--start", int, 15, "number of random measurements before the first fit"),
    ("--batch", int, 1, "number of places chosen at a time"),
    ("--ensemble", int, 3, "number of deep kernels in the ensemble"),
    ("--steps", int, 20, "optimiser steps of each later fit"),
    ("--first-steps", int, 200, "optimiser steps of the first fit"),
    (
        "--price",
        float,
        0.0,
        "amount subtracted from the score of a place per unit of distance to it",
    ),
    ("--reach", float, float("inf"), "longest move from one place to the next"),
    ("--seed", int, 0, "random seed"),
)


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "explore",
        help="simulate a search that chooses its measurements, on data that are known everywhere",
        description="Simulate a search on data that are known everywhere: a deep kernel, fitted "
        "to the measurements so far, chooses where to measure next. For measurements by an "
        "instrument, use ppvae.active.Search in Python: ask it for a place, and tell it the "
        "result.",
    )
    parser.add_argument(
        "--data",
        type=path_of,
        help="file with columns x, position and spectrum or target (.npz), or an NSID file (.h5) "
        "(default: a simulated lattice)",
    )
    parser.add_argument(
        "--out",
        type=path_of,
        default=Path("runs/explore"),
        help="folder of the search; if it holds one, that is continued (default runs/explore)",
    )
    parser.add_argument(
        "--scalar",
        default="area",
        help="number computed from a spectrum, to be maximised: area, log-area, peak, "
        "peak:LOW:HIGH, ratio:LOW:HIGH:LOW:HIGH (default area)",
    )
    parser.add_argument(
        "--acquisition",
        choices=NAMES,
        default=NAMES[0],
        help=f"score by which the next place is chosen (default {NAMES[0]})",
    )
    parser.add_argument(
        "--embedding",
        choices=EMBEDDINGS,
        default=EMBEDDINGS[0],
        help=f"network that embeds x for the kernel (default {EMBEDDINGS[0]})",
    )
    parser.add_argument(
        "--with-position", action="store_true", help="give the position to the kernel as well"
    )
    parser.add_argument(
        "--maps-at",
        type=int,
        nargs="+",
        default=(),
        metavar="N",
        help="numbers of measurements after which maps of the predictions are plotted (default: "
        "the start and half of the rest); those at the end always are",
    )
    for flag, kind, default, text in NUMBERS:
        parser.add_argument(flag, type=kind, default=default, help=f"{text} (default {default})")
    parser.add_argument("--quiet", action="store_true", help="print nothing while it runs")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Search, then print the metrics and the verdict on the predictions."""
    from ppvae.app.exploring import explore_data

    given = dict(vars(arguments))
    moves = given.pop("price"), given.pop("reach")
    measurements = given.pop("start"), given.pop("budget")
    progress = None if given.pop("quiet") else _said
    del given["command"]
    try:
        exploration = explore_data(
            **given, measurements=measurements, moves=moves, progress=progress
        )
    except Interrupted as interruption:
        interruption.remedy = (
            f"The measurements so far are saved in {arguments.out}; the same command goes on."
        )
        raise
    for note in exploration.notes:
        print(f"data: {printable(note)}")
    show(exploration.metrics)
    print(f"{exploration.search.calibration.verdict}.")
    print(printable(f"figures: {arguments.out / 'plots'}"))


def _said(search: Search) -> None:
    count = len(search.steps)
    if count % 10 == 0:
        print(f"{count} measurements, best {search.values.max():.5g}", file=sys.stderr)
