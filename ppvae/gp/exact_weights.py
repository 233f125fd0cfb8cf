"""The exact posterior of the weights of an embedded GP, and the targets that it is given."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, register_kl

from ppvae.borders import typed
from ppvae.errors import ArgumentError

__all__ = ["ExactWeights", "columns_of_targets"]


class ExactWeights(dist.MultivariateNormal):
    """The weights' exact posterior, whose KL is taken at the draw: the ELBO is then exact."""


@register_kl(ExactWeights, Independent)
def _kl_at_the_draw(q: ExactWeights, p: Independent[Distribution]) -> Tensor:
    raise NotImplementedError


@typed()
def columns_of_targets(values: Tensor) -> Tensor:
    """(N) or (N, T) to (N, T); what is missing is NaN.

    Raises:
        ArgumentError: If the values have another shape, or are booleans.
    """
    if values.dim() not in (1, 2) or values.dtype == torch.bool:
        raise ArgumentError(
            f"target: expected numbers with shape (N) or (N, T), NaN where one is missing; got "
            f"{values.dtype} with shape {tuple(values.shape)}. Give each datum its targets."
        )
    return values[:, None] if values.dim() == 1 else values
