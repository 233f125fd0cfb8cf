r"""Latents in blocks, each with a prior of its own: per-latent kernels, and styles beside a GP.

    JoinedPrior(
        GPPrior(objects, slow_views, latent_dim=8),     # one kernel for the first eight,
        GPPrior(objects, fast_views, latent_dim=4),     # another for the next four,
        StandardNormal(2),                              # and two that no GP explains
    )

can be used wherever a prior can, and needs the columns that its parts need. With :class:`Mixing`
before the decoder, it is the linear model of coregionalisation.
"""

from __future__ import annotations

from inspect import Parameter
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.distributions import Blocks
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.gp.collapsed import CollapsedGP
from ppvae.gp.encoded import EncodedPrior
from ppvae.nets.priors import Prior, StandardNormal
from ppvae.programs import columns_of, deal

__all__ = ["Joined", "JoinedPrior", "Mixing", "StandardPrior"]


class Joined(Blocks):
    """Independent blocks side by side, some of them a GP's.

    Arguments:
        parts: Distributions with shape (N | L_i).
    """

    def left_out(self, index: Tensor) -> Tensor:
        """Each datum without its own fold where a GP says, else the mean: (N) to (N, L)."""
        values = [p.left_out(index) if isinstance(p, CollapsedGP) else p.mean for p in self.parts]
        return torch.cat(values, -1)


StandardPrior = StandardNormal


class JoinedPrior(Prior):
    """Blocks of latents, each under its own prior.

    Arguments:
        parts: Priors of vectors, such as :class:`~ppvae.gp.GPPrior`,
            :class:`~ppvae.gp.additive.AdditivePrior` and :class:`~ppvae.nets.StandardNormal`.

    Raises:
        ArgumentError: If no part is given.
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
        """The columns in ``**columns``: those of the parts."""
        return columns_of(*self.parts)

    def forward(self, *args: Tensor, **columns: Tensor) -> TorchDistribution:
        """The parts side by side, with shape (N | L), L the sum of theirs.

        Arguments:
            args: Columns in the order of :attr:`columns`, each with shape (N, ...).
            **columns: Columns by name, each with shape (N, ...).
        """
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

    Raises:
        ArgumentError: If a number is below 1.

    References:
        | Kernels for Vector-Valued Functions: a Review (Alvarez, Rosasco and Lawrence, 2012)
        | https://arxiv.org/abs/1106.6251
    """

    @typed(latent_dim=at_least(1), out_features=at_least(1))
    def __init__(self, latent_dim: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, latent_dim) / latent_dim**0.5)

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.weight.mT

    def covariance(self, kernels: Tensor) -> Tensor:
        """Between coregionalised latents: (L, N, N') of the GPs to (K, K, N, N')."""
        return torch.einsum("il,jl,lnm->ijnm", self.weight, self.weight, kernels.to(self.weight))
