"""``ppvae sweep``: many runs of a model, by grid or by search."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ppvae.app.commands.common import (
    Subparsers,
    add_device,
    add_model,
    add_reading,
    add_trust,
    path_of,
    reading,
    show_table,
)
from ppvae.app.users import entry_named, trusting
from ppvae.errors import Interrupted, RunError

__all__ = ["add", "run"]


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sweep",
        help="run a model with many settings: all combinations of values, or a search",
        description="Run a model with every combination of the values given by --set, and every "
        "seed; or, with --trials, search over that many configurations, each with every seed. "
        "Each run has its own folder in OUT/runs. The same command given again, here or on "
        "another machine that shares OUT, continues with what is left; several at once "
        "share the work. "
        "Needs the extra: pip install 'ppvae[sweep]', or 'ppvae[cluster]' for --engine ray.",
    )
    add_model(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="NAME=VALUES",
        help="option of the model (see ppvae fit MODEL --help), or epochs, batch_size, "
        "learning_rate, clip_norm, average or "
        "patience, with its values: latent_dim=2,5,10; hidden=64x64,128 where one value is "
        "several numbers; learning_rate=1e-4..1e-2 for a range (with --trials)",
    )
    parser.add_argument(
        "--seeds", default="0", help="random seeds, such as 0..4 or 0,3,7 (default 0)"
    )
    parser.add_argument(
        "--trials",
        type=int,
        help="number of configurations that a search tries (default: no search, but all "
        "combinations)",
    )
    parser.add_argument(
        "--prune",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="end a run early if its validation ELBO is below the median of the others at the "
        "same epoch (default: in a search only)",
    )
    parser.add_argument(
        "--engine",
        default="optuna",
        metavar="ENGINE",
        help="optuna (the default), or ray: Ray Tune runs the trials on all CPUs or GPUs of this "
        "machine or of a cluster, and searches at random",
    )
    parser.add_argument(
        "--address",
        help="address of a running Ray cluster, or auto to find one (default: with --engine ray, "
        "start one on this machine); OUT must be on a file system that all its machines share",
    )
    parser.add_argument("--data", type=path_of, help="file or folder of data, as for ppvae fit")
    parser.add_argument("--out", type=path_of, help="folder of the sweep (default sweeps/MODEL)")
    add_trust(parser)
    add_device(parser)
    add_reading(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Run what is left of the sweep, then print the runs, the best first."""
    from ppvae.app.axes import seeds_of
    from ppvae.app.sweep import Sweep, run_sweep
    from ppvae.fitting import keep_freed_memory

    keep_freed_memory()
    entry_named(arguments.model)
    out = arguments.out or Path("sweeps") / re.sub(r"\W", "-", arguments.model)
    device = {} if arguments.device is None else {"device": arguments.device}
    sweep = Sweep(
        arguments.model,
        out,
        sets=arguments.sets,
        seeds=seeds_of(arguments.seeds),
        trials=arguments.trials,
        prune=arguments.prune,
        data=arguments.data,
        reading=reading(arguments),
        settings=device,
        engine=arguments.engine,
        address=arguments.address,
    )
    try:
        trials = run_sweep(sweep)
    except Interrupted as interruption:
        interruption.remedy = f"Stopped; the same command goes on with what is left in {out}."
        raise
    show_table(
        {
            **trial.values,
            "seed": str(trial.seed),
            "status": trial.status,
            "ELBO": "" if trial.elbo is None else f"{trial.elbo:.6g}",
            "folder": str(trial.folder) if trial.elbo is not None else trial.error,
        }
        for trial in trials
    )
    failed = [trial for trial in trials if trial.status in ("failed", "diverged")]
    if trials and len(failed) == len(trials):
        raise RunError(
            f"sweep: expected some runs to complete; all {len(failed)} failed, the first with: "
            f"{failed[0].error} Then start a new sweep: --out FOLDER."
        )
    done = [str(trial.folder) for trial in trials if trial.status == "completed"]
    if len(done) > 1 and len(done) == len(sweep.seeds):
        print(f"ensemble: ppvae.ensembles.load({str(out)!r})")
    if len(done) > 1:
        runs, comparison = (shlex.quote(str(out / name)) for name in ("runs", "comparison"))
        places = f"{runs}/* --out {comparison}"
        print(f"compare: ppvae compare {places}{trusting(arguments.model)}")
