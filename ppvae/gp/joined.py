r"""Latents in blocks, each with a prior of its own: per-latent kernels, and styles beside a GP.

    JoinedPrior(
        GPPrior(objects, slow_views, latent_dim=8),     # one kernel for the first eight,
        GPPrior(objects, fast_views, latent_dim=4),     # another for the next four,
        StandardNormal(2),                              # and two that no GP explains
    )

stands wherever a prior does, and needs the columns that its parts need. With :class:`Mixing`
before the decoder it is the linear model of coregionalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    constraints,
    kl_divergence,
    register_kl,
)

from ppvae.errors import ArgumentError
from ppvae.gp.collapsed import CollapsedGP
from ppvae.gp.encoded import EncodedPrior
from ppvae.nets.priors import Prior, StandardNormal
from ppvae.programs import columns_of, deal

__all__ = ["Joined", "JoinedPrior", "Mixing", "StandardPrior"]


class Joined(TorchDistribution):
    """Independent blocks side by side, with shape (N | L), L the sum of theirs.

    Arguments:
        parts: Distributions with shape (N | L_i).
    """

    support = constraints.real_vector
    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def __init__(self, parts: Sequence[TorchDistribution]) -> None:
        self.parts = tuple(parts)
        self.sizes = [part.event_shape[0] for part in parts]
        event_shape = torch.Size([sum(self.sizes)])
        super().__init__(parts[0].batch_shape, event_shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Joined:
        return Joined([part.expand(batch_shape) for part in self.parts])

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], -1)

    @property
    def variance(self) -> Tensor:
        return torch.cat([part.variance for part in self.parts], -1)

    def left_out(self, index: Tensor) -> Tensor:
        """Each datum without its own fold where a GP says, else the mean: (N) to (N, L)."""
        found = [p.left_out(index) if isinstance(p, CollapsedGP) else p.mean for p in self.parts]
        return torch.cat(found, -1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return torch.cat([part.rsample(torch.Size(sample_shape)) for part in self.parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        split = zip(self.parts, value.split(self.sizes, -1), strict=True)
        return torch.stack([part.log_prob(block) for part, block in split]).sum(0)


@register_kl(Independent, Joined)
def _kl_joined(q: Independent[Distribution], p: Joined) -> Tensor:
    if not isinstance(q.base_dist, Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    locs, scales = q.base_dist.loc.split(p.sizes, -1), q.base_dist.scale.split(p.sizes, -1)
    blocks = [dist.Normal(*moments).to_event(1) for moments in zip(locs, scales, strict=True)]
    return torch.stack([kl_divergence(*pair) for pair in zip(blocks, p.parts, strict=True)]).sum(0)


StandardPrior = StandardNormal


class JoinedPrior(Prior):
    """Blocks of latents, each under its own prior.

    Arguments:
        parts: Priors of vectors, such as :class:`~ppvae.gp.GPPrior`,
            :class:`~ppvae.gp.additive.AdditivePrior` and :class:`~ppvae.nets.StandardNormal`.
    """

    def __init__(self, *parts: Prior) -> None:
        super().__init__()
        if not parts:
            raise ArgumentError("JoinedPrior: expected a prior or more; got none. Use GPPrior.")
        self.parts = nn.ModuleList(parts)
        start = 0
        for part in parts:
            size: Any = part.latent_dim
            if isinstance(part, EncodedPrior):
                part.block = slice(start, start + size)
            start += size
        self.latent_dim = start

    @property
    def columns(self) -> dict[str, Parameter]:
        """What ``**columns`` are: those of the parts."""
        return columns_of(*self.parts)

    def forward(self, *args: Tensor, **columns: Tensor) -> TorchDistribution:
        """The parts side by side; columns by name, or in the order of :attr:`columns`."""
        columns |= dict(zip(self.columns, args, strict=False))
        given = zip(self.parts, deal(columns, *self.parts), strict=True)
        priors = [part(**own) for part, own in given]
        shape = torch.broadcast_shapes(*(p.batch_shape for p in priors))
        return Joined([p.expand(shape) for p in priors])


class Mixing(nn.Module):
    r"""Coregionalisation: :math:`u = B z`, mixtures of independent GPs.

    .. math::
        \mathrm{cov}(u_i(a), u_j(b)) = \sum_l B_{il} B_{jl} \, k_l(a, b)

    ``nn.Sequential(Mixing(L, K), decoder)`` is a decoder of coregionalised latents: the prior on
    z stays a product of GPs, and all that is exact of it stays so.

    Arguments:
        latent_dim: L, independent GPs.
        out_features: K, coregionalised latents; fewer or more.

    References:
        | Kernels for Vector-Valued Functions: a Review (Alvarez, Rosasco and Lawrence, 2012)
        | https://arxiv.org/abs/1106.6251
    """

    def __init__(self, latent_dim: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, latent_dim) / latent_dim**0.5)

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.weight.mT

    def covariance(self, kernels: Tensor) -> Tensor:
        """Between coregionalised latents: (L, N, N') of the GPs to (K, K, N, N')."""
        return torch.einsum("il,jl,lnm->ijnm", self.weight, self.weight, kernels.to(self.weight))
