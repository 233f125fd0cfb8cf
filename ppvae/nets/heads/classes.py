"""Classes: of a datum, or of each element."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.expected import at_least
from ppvae.nets.heads.base import Elementwise, Head, Shape

__all__ = ["Categorical", "Classes"]


class Categorical(Elementwise):
    """An element is one of ``num_classes`` (bases of a sequence, segmentation labels).

    Arguments:
        event_shape: Shape of a datum.
        num_classes: K.

    Raises:
        ArgumentError: If ``num_classes`` is below 2.
    """

    @typed(num_classes=at_least(2))
    def __init__(self, event_shape: Shape, *, num_classes: int) -> None:
        super().__init__(event_shape, k=num_classes)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.Categorical(logits=torch.stack(self.parts(raw), -1)))

    def marginal(self, x: Tensor) -> dist.TorchDistribution:
        counts = [(x == k).to(torch.get_default_dtype()).sum(0) for k in range(self.k)]
        return self.declare(dist.Categorical(probs=torch.stack(counts, -1) + 0.5))


class Classes(Head):
    """The class of a datum: a categorical with event shape (), from K raw numbers, the logits.

    Arguments:
        num_classes: K.

    Raises:
        ArgumentError: If ``num_classes`` is below 1.
    """

    @typed(num_classes=at_least(1))
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.event_shape, self.raw_shape = (), (num_classes,)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return dist.Categorical(logits=raw)
