"""Memory layout of tensors: convolutions channels last, gradients and states as their weights.

Adam's fused kernel pairs a weight with its gradient and its state by their position in memory, and
does not check that their layouts are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["align_state", "channels_last", "same_layout"]

_KINDS = (nn.Conv2d, nn.ConvTranspose2d)


@contextmanager
def channels_last(module: nn.Module) -> Iterator[None]:
    """Convert the weights of 2-d convolutions to channels last; afterwards back to contiguous.

    Their outputs then are channels last, too; values, shapes and the parameters do not change.
    """
    weights = [m.weight for m in module.modules() if isinstance(m, _KINDS)]
    _lay_out(weights, torch.channels_last)
    try:
        yield
    finally:
        _lay_out(weights, torch.contiguous_format)


def _lay_out(weights: Sequence[Tensor], order: torch.memory_format) -> None:
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=order)


def same_layout(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of the same shape have the same memory layout."""
    strides = zip(a.shape, a.stride(), b.stride(), strict=True)
    return all(one == two for size, one, two in strides if size > 1)


def align_state(optimizer: Optimizer) -> None:
    """Convert the optimiser's state to the memory layout of its parameters."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
