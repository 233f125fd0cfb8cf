"""A likelihood of data with missing elements."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from ppvae.distributions import Counts, Seen
from ppvae.errors import ArgumentError
from ppvae.nets.heads.base import Elementwise, Head

__all__ = ["Masked"]


class Masked(Head):
    r"""The likelihood of the observed elements: :math:`\sum_{i \text{ seen}} \log p(x_i)`.

    A missing element is NaN in x. The encoder that goes with it is
    :class:`ppvae.nets.MaskedEncoder`.

    Arguments:
        head: The likelihood of independent elements.

    Raises:
        ArgumentError: If the head's elements are not independent.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        if not isinstance(head, Elementwise):
            raise ArgumentError(
                f"Masked: expected a head of independent elements, such as Normal; got "
                f"{type(head).__name__}. Choose another likelihood, or remove the rows with "
                "missing values."
            )
        self.head = head
        self.is_count = head.is_count
        self.event_shape, self.raw_shape = head.event_shape, head.raw_shape

    def declare(self, fn: dist.TorchDistribution) -> dist.TorchDistribution:
        """A distribution with its event dimensions declared that does not score NaN."""
        return Seen(fn, len(self.event_shape))

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self._masked(self.head(raw))

    def marginal(self, x: Tensor) -> dist.TorchDistribution | None:
        fn = self.head.marginal(x)
        return None if fn is None else self._masked(fn)

    def _masked(self, fn: dist.TorchDistribution) -> dist.TorchDistribution:
        if isinstance(fn, Counts):
            return fn.like(missing=True)
        return self.declare(fn.base_dist)
