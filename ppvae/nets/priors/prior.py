r"""Priors of z: conditional distributions, as modules with a forward that returns one.

The names of ``forward``'s arguments are the columns that a prior needs, as in a model:
:math:`p(z)` takes none, :math:`p(z \mid y)` takes ``y``, a GP over objects and views takes
``object`` and ``view``. Pass a prior to any model as ``prior=``, and a head of the same event
shape to its guide; the model then takes the prior's columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ppvae.expected import expect, integer
from ppvae.programs import FitHooks

__all__ = ["Prior", "Unconditional"]


class Prior(FitHooks, ABC):
    """Base class of priors.

    To write one, name the columns it needs in ``forward`` and return a distribution with batch
    shape () or (..., N).

    Attributes:
        latent: Columns of the prior that the model samples; they are not checked in the data.
    """

    latent: frozenset[str] = frozenset()

    @abstractmethod
    def forward(self, *args: Any, **columns: Any) -> dist.TorchDistribution:
        """The distribution of z, given the columns."""


class Unconditional(Prior):
    """Base class of priors :math:`p(z)`, of any number of data.

    Attributes:
        zero: A buffer with shape (Z), in the model's dtype and on its device.
    """

    zero: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        expect(integer(1, 2**31 - 1), "Use 2 or more.", latent_dim=dim)
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    @property
    def latent_dim(self) -> int:
        """Z."""
        return len(self.zero)

    def extra_repr(self) -> str:
        return f"latent_dim={self.latent_dim}"

    @abstractmethod
    def forward(self) -> dist.TorchDistribution:
        """The distribution of one datum's z, with batch shape ()."""
