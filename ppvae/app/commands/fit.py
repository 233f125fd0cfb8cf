"""``ppvae fit``: train a model and write the folder of its run."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ppvae.app.commands.common import (
    Parser,
    Subparsers,
    add_device,
    add_model,
    add_reading,
    path_of,
    printable,
    reading,
    show,
    show_report,
)
from ppvae.app.launch import launch
from ppvae.app.users import entry_named
from ppvae.errors import Interrupted
from ppvae.typing import JsonObject

__all__ = ["add", "run"]

# Options of ppvae.fit that keep the model's own default unless they are given.
USERS = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")
SETTINGS = ("epochs", "batch_size", "learning_rate", "device")
# Seconds between two checkpoints where --checkpoint-every is not given.
EACH_MINUTE = 60.0


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command, with the options of the model that the arguments name."""
    shared = _shared()
    parser = commands.add_parser(
        "fit",
        parents=[shared],
        help="train a model and write the folder of its run",
        description="Train a model and write the folder of its run, with a report.",
        epilog="ppvae fit MODEL --help shows the options of a model.",
    )
    add_model(parser)
    assert isinstance(parser, Parser)
    parser.set_defaults(command=run, given=tuple(arguments), flags=parser.given)
    if arguments and arguments[0] == "fit":
        _add_model_options(parser, shared, arguments[1:])


def _shared() -> argparse.ArgumentParser:
    """The arguments that do not depend on the model."""
    parser = Parser(prog="ppvae fit", add_help=False)
    parser.add_argument("--out", type=path_of, help="folder of the run (default runs/MODEL)")
    parser.add_argument(
        "--data",
        type=path_of,
        help="data: a folder of pictures, a table (.csv, .tsv, .parquet, ...), an .h5ad file, or "
        "a .npz file with one array per column (x; y, c, object, view if the model needs "
        "them; split: train, validation, test); ppvae inspect shows how they are read "
        "(default: the model's own example data)",
    )
    parser.add_argument(
        "--epochs", type=int, help="number of passes over the training data (default: the model's)"
    )
    parser.add_argument(
        "--batch-size", type=int, help="number of rows per optimiser step (default: the model's)"
    )
    parser.add_argument(
        "--learning-rate", type=float, help="learning rate of the optimiser (default: the model's)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the run in OUT, if there is one, once this run is complete (default: write "
        "to a new folder with a number, such as OUT-2)",
    )
    parser.add_argument(
        "--resume",
        type=path_of,
        metavar="RUN",
        help="continue an interrupted run, in its folder and with its data and options; --epochs "
        "includes the epochs already done",
    )
    parser.add_argument(
        "--checkpoint-every",
        type=int,
        metavar="EPOCHS",
        help="number of epochs between checkpoints, which are kept in OUT/checkpoint (default: "
        "one checkpoint a minute)",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    group = parser.add_argument_group("several devices")
    group.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="number of processes on this machine, one per GPU if there are GPUs; each computes a "
        "share of every batch, and the result is that of one process up to rounding",
    )
    group.add_argument(
        "--nodes",
        type=int,
        default=1,
        metavar="M",
        help="number of machines; run the same command on each (default 1)",
    )
    group.add_argument(
        "--meet",
        metavar="HOST:PORT",
        help="address at which the machines meet: the name of one of them, and a free port on it",
    )
    add_device(parser)
    add_reading(parser)
    return parser


def _add_model_options(
    parser: argparse.ArgumentParser, shared: argparse.ArgumentParser, arguments: Sequence[str]
) -> None:
    """Add the options of the model that the arguments name, if they name one."""
    from ppvae.zoo import add_options, names

    # The values of shared options are removed first: a folder named as a model is not a model.
    _, rest = shared.parse_known_args(arguments)
    for name in rest:
        if name not in names() and not USERS.fullmatch(name):
            continue
        model = entry_named(name)
        add_options(parser, model.options)
        parser.description = f"ppvae fit {name}: {model.help}"
        parser.epilog = None
        for action in parser._actions:
            if action.dest in model.fit and action.help:
                default = f"(default {model.fit[action.dest]})"
                action.help = action.help.replace("(default: the model's)", default)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return


def run(arguments: argparse.Namespace) -> None:
    """Fit, then print the metrics, the verdict and the path of the report."""
    if arguments.devices is not None or arguments.nodes != 1 or arguments.meet is not None:
        launch(
            arguments.given,
            devices=1 if arguments.devices is None else arguments.devices,
            nodes=arguments.nodes,
            meet=arguments.meet,
        )
        return
    from ppvae.app.resume import arguments_of
    from ppvae.fitting import keep_freed_memory
    from ppvae.zoo import entry
    from ppvae.zoo.options import read_options

    keep_freed_memory()
    model = entry(arguments.model)
    given: JsonObject = {
        "data": arguments.data,
        "seed": arguments.seed,
        "reading": reading(arguments),
        "options": read_options(arguments, model.options),
        **{n: getattr(arguments, n) for n in SETTINGS if getattr(arguments, n) is not None},
    }
    if arguments.resume is not None:
        given = arguments_of(arguments.resume, model, _as_typed(arguments, given))
    with ExitStack() as held:
        _fit(arguments, given, _folder(arguments, model.name, held))


def _fit(arguments: argparse.Namespace, given: JsonObject, out: Path) -> None:
    """Fit and show the result."""
    from ppvae.app.workflow import fit_entry
    from ppvae.fitting import Checkpoint, is_main
    from ppvae.runs.files import inside

    every = arguments.checkpoint_every
    checkpoint = Checkpoint(
        inside(out, "checkpoint"), every=every, seconds=EACH_MINUTE if every is None else None
    )
    try:
        result = fit_entry(
            arguments.model,
            out,
            progress=not arguments.quiet,
            callbacks=[checkpoint],
            interruptible=True,
            **given,
        )
    except Interrupted as interruption:
        if interruption.run is not None:
            again = f"ppvae fit {shlex.quote(arguments.model)} --resume {shlex.quote(str(out))}"
            interruption.remedy = f"Saved in {out}. Go on with: {again}"
        raise
    if not is_main():
        return
    for note in result.config["data"].get("notes", ()):
        print(f"data: {printable(note)}")
    show(result.metrics)
    show_report(out)


def _as_typed(arguments: argparse.Namespace, given: JsonObject) -> JsonObject:
    """The arguments without the defaults of options and seed that were not typed."""
    from ppvae.zoo.options import DEST

    typed = arguments.flags
    options = {n: value for n, value in given["options"].items() if DEST + n in typed}
    return {**given, "options": options, "seed": given["seed"] if "seed" in typed else None}


def _folder(arguments: argparse.Namespace, name: str, held: ExitStack) -> Path:
    """The folder to write to: that of the run to resume, or one that holds no run.

    It is reserved until ``held`` is closed, so that a fit that is started meanwhile takes another.
    """
    from ppvae.app.resume import refuse_other_run
    from ppvae.fitting import is_main
    from ppvae.fitting.processes import launched
    from ppvae.runs.folder import CHECKPOINT, free_name
    from ppvae.runs.reserving import reserve
    from ppvae.runs.run import is_run

    wanted = Path(arguments.out or arguments.resume or Path("runs") / name)
    only = arguments.resume is not None or arguments.overwrite
    if arguments.resume is not None and not arguments.overwrite:
        refuse_other_run(wanted, arguments.resume)

    def is_taken(path: Path) -> bool:
        return not only and (is_run(path) or (path / "checkpoint" / CHECKPOINT).exists())

    if launched(os.environ) is not None:
        free = free_name(wanted, is_taken)  # The same in all processes.
    else:
        free = reserve(wanted, is_taken, held, only=only)
    if free != wanted and is_main():
        holds = "holds a run" if is_taken(wanted) else "is reserved for a fit that still runs"
        replaces = " (--overwrite replaces it)" if is_taken(wanted) else ""
        print(f"ppvae: {wanted} {holds}; this one goes to {free}{replaces}", file=sys.stderr)
    return free
