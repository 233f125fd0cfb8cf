"""The processes that take part in a fit: those of torchrun, of SLURM, or this one alone."""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import torch
from torch import distributed as dist

from ppvae.errors import ArgumentError, RunError
from ppvae.fitting.distributed import ProcessShards
from ppvae.objectives.shards import ALONE, Shards
from ppvae.signals import ended_by_signals

__all__ = ["alone", "is_main", "processes"]

logger = logging.getLogger(__name__)

# How long a process waits for the others in one step.
TIMEOUT = timedelta(minutes=30)
# Seconds after which a signal that came while it waits is seen.
SLICE = 0.1
_ALONE = [False]


@contextmanager
def alone() -> Iterator[None]:
    """Let fits in this scope use this process only, as for runs side by side."""
    before, _ALONE[0] = _ALONE[0], True
    try:
        yield
    finally:
        _ALONE[0] = before


def is_main() -> bool:
    """Whether this process writes files: process 0, or the only one."""
    if _ALONE[0]:
        return True
    if dist.is_available() and dist.is_initialized():
        return bool(dist.get_rank() == 0)
    joined = launched(os.environ)
    return joined is None or joined["RANK"] == "0"


def processes() -> Shards:
    """The processes that a launcher started, connected; this one alone without a launcher.

    Raises:
        ArgumentError: If a launcher's variable holds no number.
        RunError: If they cannot be connected.
        Interrupted: If a signal comes while they are waited for.
    """
    if _ALONE[0] or not dist.is_available():
        return ALONE
    if not dist.is_initialized():
        joined = launched(os.environ)
        if joined is None:
            return ALONE
        _connect(joined)
    return ProcessShards() if dist.get_world_size() > 1 else ALONE


def launched(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Rank, size and address of torchrun's or SLURM's processes; None for a single process.

    Arguments:
        environment: Environment variables. ``srun`` starts a fit of many processes where a step
            has several tasks; in a batch script without ``srun`` there is one.

    Raises:
        ArgumentError: If a variable that is to hold a number holds something else.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if all(name in environment for name in names):
        chosen = {name: environment[name] for name in names}
    elif _number(environment, "SLURM_STEP_NUM_TASKS", 1) > 1 and "SLURM_PROCID" in environment:
        for name in ("SLURM_PROCID", "SLURM_LOCALID", "MASTER_PORT"):
            _number(environment, name, 0)
        job = _number(environment, "SLURM_JOB_ID", 0)
        chosen = {
            "RANK": environment["SLURM_PROCID"],
            "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
            "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
            "MASTER_ADDR": environment.get(
                "MASTER_ADDR", first_host(environment.get("SLURM_STEP_NODELIST", "localhost"))
            ),
            "MASTER_PORT": environment.get("MASTER_PORT", str(15000 + job % 20000)),
        }
    else:
        return None
    rank, size = (_number(chosen, name, 0) for name in ("RANK", "WORLD_SIZE"))
    for name in ("LOCAL_RANK", "MASTER_PORT"):
        _number(chosen, name, 0)
    if size > 1 and rank >= size:
        raise ArgumentError(
            f"several processes: expected a rank below their number {size}; got {rank}. Start the "
            "fit with torchrun or srun, or unset their variables."
        )
    return chosen if size > 1 else None


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    """A variable that holds a whole number from 0.

    Raises:
        ArgumentError: If it holds something else.
    """
    text = environment.get(name, str(default)).strip()
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ArgumentError(
            f"{name}: expected a whole number, as torchrun and SLURM set it; got {text[:60]!r}. "
            "Start the fit with torchrun or srun, or unset the variable."
        )
    return int(text)


def first_host(nodes: str) -> str:
    """The first host of SLURM's list, such as ``node[03-05,9],login``."""
    match = re.match(r"([^\[,]+)(?:\[(\w+)[^\]]*\])?([^,\[]*)", nodes)
    if match is None:
        raise ArgumentError(
            f"SLURM_STEP_NODELIST: expected host names; got {nodes!r}. Set MASTER_ADDR."
        )
    head, number, tail = match.groups()
    return head + (number or "") + (tail or "")


def _connect(joined: Mapping[str, str]) -> None:
    gpus = torch.cuda.is_available()
    if gpus:
        local = int(joined["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ArgumentError(
                f"several processes: expected a GPU each; got process {local} and "
                f"{torch.cuda.device_count()} GPUs. Start no more processes than GPUs."
            )
        torch.cuda.set_device(local)
    rank, size = int(joined["RANK"]), int(joined["WORLD_SIZE"])
    address, port = joined["MASTER_ADDR"], joined["MASTER_PORT"]
    try:
        _waited(
            partial(
                dist.init_process_group,
                "cpu:gloo,cuda:nccl" if gpus else "gloo",
                init_method=f"tcp://{address}:{port}" if "RANK" not in os.environ else "env://",
                rank=rank,
                world_size=size,
                timeout=TIMEOUT,
            )
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"several processes: expected {size} that meet at {address}:{port}; got "
            f"{str(error).splitlines()[0]}. Check that the port is free and the host reachable."
        ) from error
    atexit.register(_leave)
    if rank == 0:
        logger.warning("One fit by %d processes; process 0 writes the run.", size)


def _waited(wait: Callable[[], object]) -> None:
    """Call a function that may wait for long, so that a signal ends the wait.

    Python handles a signal between two steps of the main thread, which a function of torch's own
    would keep for as long as it waits.

    Raises:
        Interrupted: At a signal within :func:`~ppvae.fitting.ending_on_signals`.
    """
    errors: list[BaseException] = []

    def call() -> None:
        try:
            wait()
        except BaseException as error:  # Raised below.
            errors.append(error)

    thread = threading.Thread(target=call, name="ppvae-meeting", daemon=True)
    with ended_by_signals():
        thread.start()
        while thread.is_alive():
            thread.join(SLICE)
    if errors:
        raise errors[0]


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
