"""Scopes in which programs run: evaluation mode, and random numbers of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["evaluating", "forked_rng", "seeded"]


@contextmanager
def forked_rng(*tensors: Tensor) -> Iterator[None]:
    """Leave the random number generators of the CPU and of the tensors' devices as they were."""
    devices = sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, each sub-module's own mode restored after."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def seeded(seed: int, *tensors: Tensor) -> Iterator[None]:
    """Random numbers of this seed; the caller's generators are as they were after."""
    with forked_rng(*tensors):
        torch.manual_seed(seed)
        yield
