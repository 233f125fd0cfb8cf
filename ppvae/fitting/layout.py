"""How tensors lie in memory: convolutions channels last, and what goes with a weight as it does.

Adam's fused kernel pairs a weight with its gradient and its state by their place in memory, and
does not check that these lie alike.
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
    """Lay the weights of 2-d convolutions out channels last; afterwards row by row, as usual.

    Their outputs then lie so, too; values, shapes and the parameters themselves stay.
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
    """Whether two tensors of one shape lie in memory alike."""
    strides = zip(a.shape, a.stride(), b.stride(), strict=True)
    return all(one == two for size, one, two in strides if size > 1)


def align_state(optimizer: Optimizer) -> None:
    """Lay the optimiser's state out as its parameters."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
