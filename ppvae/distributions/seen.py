r"""Independent elements, some of which are missing.

.. math::
    \log p(x) = \sum_{i \text{ seen}} \log p(x_i)

A missing element is NaN in the scored value, so that the value contains its own mask through
models, plates, particles and enumeration.

References:
    | Handling Incomplete Heterogeneous Data using VAEs (Nazabal et al., 2018)
    | https://arxiv.org/abs/1807.03653
    | MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets
    | (Mattei and Frellsen, 2019), https://arxiv.org/abs/1812.02633
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.utils import _sum_rightmost

__all__ = ["Seen"]


class Seen(dist.Independent):
    """Independent elements; elements that are NaN in a value are not scored.

    Arguments:
        base_dist: Distribution of the elements; its support must include zero.
        reinterpreted_batch_ndims: Number of dimensions of the event.
    """

    @property
    def support(self) -> constraints.Constraint:
        """All real numbers, and NaN for a missing element."""
        return constraints.independent(constraints.real, self.reinterpreted_batch_ndims)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Seen:
        base = self.base_dist.expand(Size(batch_shape) + self.event_shape)
        return Seen(base, self.reinterpreted_batch_ndims)

    def log_prob(self, value: Tensor) -> Tensor:
        seen = ~value.isnan()
        # Missing elements are filled before scoring, as the gradient of NaN times zero is NaN.
        scored = self.base_dist.log_prob(torch.where(seen, value, torch.zeros_like(value)))
        kept = torch.where(seen, scored, torch.zeros_like(scored))
        total: Tensor = _sum_rightmost(kept, self.reinterpreted_batch_ndims)
        return total
