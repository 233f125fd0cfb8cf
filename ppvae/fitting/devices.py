"""Where to compute, and random numbers that leave the caller's alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError

__all__ = ["choose_device", "forked", "random_states", "restore_random_states"]


def choose_device(device: str | torch.device | None, module: nn.Module) -> torch.device:
    """A device that is there; the best one where None: CUDA, then MPS, then the CPU.

    MPS has no float64, so a module that holds some (a GP prior does) goes elsewhere by default.

    Raises:
        ArgumentError: If there is no such device.
    """
    if device is None:
        double = any(
            tensor.dtype == torch.float64 for tensor in (*module.parameters(), *module.buffers())
        )
        if torch.cuda.is_available():
            device = "cuda"
        else:
            device = "mps" if torch.backends.mps.is_available() and not double else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(
            f"device: expected 'cuda', 'mps' or 'cpu'; got {device!r}. "
            "Leave it out for the best available one."
        ) from error
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if chosen.type not in counts or (chosen.index or 0) >= counts[chosen.type]:
        here = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        raise ArgumentError(
            f"device: expected one that is here ({here}); got {str(chosen)!r}. "
            "Leave it out for the best available one."
        )
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's global generators on the CPU and on ``device``."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_states(device: torch.device, states: dict[str, Tensor]) -> None:
    """Put back what :func:`random_states` returned."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def forked(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Draw from generators seeded by ``seed``; the caller's go on as if nothing had been drawn."""
    states = random_states(device)
    try:
        if seed is not None:
            # torch.manual_seed would seed every other GPU too, and not put it back.
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            elif device.type == "mps":
                torch.mps.manual_seed(seed)
        yield
    finally:
        restore_random_states(device, states)
