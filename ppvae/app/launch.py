"""Start the processes of one fit on this machine, which may be one of several machines."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence

from ppvae.errors import ArgumentError, RunError

__all__ = ["launch", "without"]

LAUNCHING = ("--devices", "--nodes", "--meet")
# Largest number of processes for each core.
PER_CORE = 8


def launch(
    arguments: Sequence[str], *, devices: int, nodes: int = 1, meet: str | None = None
) -> None:
    """Run a command of the command line in several processes, by torchrun's launcher.

    Arguments:
        arguments: Arguments of ``ppvae``.
        devices: Number of processes on this machine, one per GPU where there are GPUs.
        nodes: Number of machines; the same command is given on each.
        meet: ``HOST:PORT``, a free port of one of the machines; needed with several.

    Raises:
        ArgumentError: If a number is out of its range, or there are several machines and no
            ``meet``, or one machine and a ``meet``.
        RunError: If a process fails; the process itself has printed the reason.
        SystemExit: After a signal, which is passed to every process so that each saves.
    """
    most = PER_CORE * (os.cpu_count() or 1)
    if devices > most:
        raise ArgumentError(
            f"--devices: expected at most {most}, {PER_CORE} for each core of this machine; got "
            f"{devices}. Leave it out for one."
        )
    if meet is not None and (nodes == 1 or not re.fullmatch(r"[\w.:\[\]-]+:\d{1,5}", meet, re.A)):
        raise ArgumentError(
            f"--meet: expected HOST:PORT, with --nodes of 2 or more; got {meet[:60]!r} and "
            f"{nodes} nodes. Leave it out for one machine."
        )
    if devices < 1 or nodes < 1 or (nodes > 1 and meet is None):
        raise ArgumentError(
            f"--devices and --nodes: expected at least 1 of each, and --meet HOST:PORT with "
            f"several nodes; got {devices} devices, {nodes} nodes and {meet}. Name a free port of "
            "one node, such as --meet node1:29500."
        )
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Each process prints its own error.
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=devices,
        run_id="ppvae",
        rdzv_backend="c10d",
        rdzv_endpoint=meet or "localhost:0",
        max_restarts=0,
    )
    command = [sys.executable, "-u", "-m", "ppvae", *without(arguments)]
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise RunError(
            f"--devices: expected {devices * nodes} processes to complete; process {rank} failed "
            f"first, with status {failure.exitcode}. Its message is above; continue from the "
            "last checkpoint, if there is one: --resume RUN."
        ) from error
    except SignalException as error:
        # The processes have received the signal, saved, and printed how to go on.
        raise SystemExit(128 + int(error.sigval)) from error


def without(arguments: Sequence[str]) -> list[str]:
    """The arguments of one process: all but those that set the number of processes."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if skip or name in LAUNCHING:
            skip = not skip and not equals
            continue
        kept.append(argument)
    return kept
