"""The base classes of heads."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.errors import ArgumentError

__all__ = [
    "Elementwise",
    "Head",
    "Raw",
    "Shape",
    "event_of",
    "head_of",
    "positive",
    "raw_positive",
    "unit",
]

Shape: TypeAlias = Sequence[int]
FLOOR = 1e-4


def positive(raw: Tensor, floor: float = FLOOR) -> Tensor:
    r""":math:`\log(1 + e^{raw}) + \mathrm{floor}` of raw numbers (...), with the same shape.

    Arguments:
        raw: Real numbers, with shape (...).
        floor: The least result.
    """
    return functional.softplus(raw) + floor


def raw_positive(value: float, floor: float = FLOOR) -> float:
    """The raw number for which :func:`positive` gives ``value``."""
    if not (math.isfinite(value) and value > floor):
        raise ArgumentError(f"scale: expected a number above {floor}; got {value}. Use 0.1 or so.")
    return value - floor + math.log(-math.expm1(floor - value))


def unit(vector: Tensor, spare: Tensor) -> Tensor:
    """The direction of a vector, that of ``spare`` where it is too short to have one.

    Arguments:
        vector: With shape (..., D).
        spare: A unit vector, broadcastable to it.
    """
    square = vector.square().sum(-1, keepdim=True)
    short = square < 1e-12
    length = torch.where(short, torch.ones_like(square), square).sqrt()
    return torch.where(short, spare, vector / length)


class Head(nn.Module, ABC):
    """From raw numbers to a distribution.

    To write one, set both shapes and turn raw numbers (..., \\*raw_shape) into a distribution with
    batch shape (...) and event shape ``event_shape``, declared by ``.to_event``.

    Attributes:
        event_shape: Shape of one draw.
        raw_shape: Shape of the network's output for one draw.
        is_count: Whether data are counts, which encoders take as log(1 + x).
    """

    event_shape: tuple[int, ...]
    raw_shape: tuple[int, ...]
    is_count = False

    @abstractmethod
    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        """The distribution of raw numbers with shape (..., \\*raw_shape)."""

    def declare(self, fn: dist.TorchDistribution) -> dist.TorchDistribution:
        """A distribution with its event dimensions declared."""
        return fn.to_event(len(self.event_shape))

    def marginal(self, x: Tensor) -> dist.TorchDistribution | None:
        """The null model: the distribution that fits rows (N, \\*event_shape) best without any
        latent, each element by itself; NaN is missing. None where there is no such fit.
        """
        return None


def head_of(network: nn.Module) -> Head:
    """The head that a network ends in.

    Raises:
        ArgumentError: If it has none.
    """
    head = getattr(network, "head", None)
    if not isinstance(head, Head):
        raise ArgumentError(
            f"{type(network).__name__}: expected a network that ends in a head; got one without. "
            "Use ppvae.nets.MLP or ConvDecoder, or give yours the attribute head."
        )
    return head


def event_of(shape: Shape, name: str) -> tuple[int, ...]:
    """An event shape as a tuple.

    Raises:
        ArgumentError: If it is empty, or a size is below 1.
    """
    event = tuple(int(s) for s in shape)
    if not event or min(event) < 1:
        raise ArgumentError(
            f"{name}: expected an event shape such as (1, 28, 28) or (50,); got {event}. "
            "Pass data['x'].shape[1:]."
        )
    return event


class Elementwise(Head):
    """A head with independent elements and ``k`` raw values for each.

    Arguments:
        event_shape: Shape of a datum, (E, ...).
        k: Raw values per element.
    """

    def __init__(self, event_shape: Shape, *, k: int = 1) -> None:
        super().__init__()
        self.event_shape = event_of(event_shape, type(self).__name__)
        self.k = k
        self.raw_shape = (k * self.event_shape[0], *self.event_shape[1:])

    def parts(self, raw: Tensor) -> tuple[Tensor, ...]:
        """k tensors with shape (..., *event_shape)."""
        return raw.chunk(self.k, dim=-len(self.raw_shape))


class Raw(Elementwise):
    """The raw numbers as a point mass, for a network that is used for its mean only."""

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return dist.Delta(raw, event_dim=len(self.event_shape))
