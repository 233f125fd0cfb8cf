"""Every tensor of a module by name, copies of them, and an average of them over steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

# Nested dicts, lists and tuples of numbers, strings and tensors, by name.
State: TypeAlias = dict[str, Any]

__all__ = ["Average", "State", "copied", "kept_buffers", "named_tensors", "restore", "snapshot"]


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, including non-persistent ones; shared ones once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of every tensor of ``module``."""
    return {name: value.detach().clone() for name, value in named_tensors(module).items()}


def copied(value: Any) -> Any:
    """Nested dicts, lists and tuples with copies of their tensors."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: copied(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(part) for part in value)
    return value


@torch.no_grad()
def restore(module: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Restore the tensors of a :func:`snapshot`, in place."""
    for name, value in named_tensors(module).items():
        if value.shape == kept[name].shape:
            value.copy_(kept[name])
        else:
            _set(module, name, kept[name].clone())


@contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """Restore the buffers on exit: both their values and the tensors themselves."""
    kept = [(name, value, value.clone()) for name, value in module.named_buffers()]
    try:
        yield
    finally:
        for name, value, copy in kept:
            value.copy_(copy)
            _set(module, name, value)


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(owner), leaf, value)


class Average:
    r"""An exponential moving average of weights, :math:`a_t = d_t a_{t-1} + (1 - d_t) w_t`.

    :math:`d_t = \min(d, (1 + t) / (10 + t))`, so that the untrained first weights soon have little
    weight.

    Arguments:
        parameters: Parameters to average.
        decay: Decay d, between zero and one.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters = parameters
        self.decay = decay
        self.values = [parameter.detach().clone() for parameter in parameters]
        self.steps = 0

    def update(self) -> None:
        """Include the current weights in the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        current = [parameter.detach() for parameter in self.parameters]
        get_ema_multi_avg_fn(decay)(self.values, current, self.steps)
        self.steps += 1

    @torch.no_grad()
    def apply(self) -> None:
        """Set the parameters to their averages."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            parameter.copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the parameters to their averages within this scope, and restore them on exit."""
        kept = [parameter.detach().clone() for parameter in self.parameters]
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, kept, strict=True):
                    parameter.copy_(value)
