r"""Joint VAE: content, classes and factors, all of them latent.

.. math::
    p(x, z, y, c) = p(z) \; \prod_k \frac1{K_k} \; N(c; 0, I) \; p(x \mid z, y, c),
    \qquad p(z) = N(z; 0, I)

Without labels, the classes are clusters (JointVAE); with some labels, they are those of the labels
(:class:`~ppvae.models.SemiSupervisedVAE`): the program is the same, the guide differs. With a
guide that enumerates the classes, they are summed exactly.

References:
    | Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018)
    | https://arxiv.org/abs/1804.00104 (which samples relaxed classes; here they are summed)
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets import OneHot, Prior
from ppvae.nets.priors import prior_or_normal
from ppvae.programs import arguments, columns_of, data_plate

__all__ = ["JointVAE"]


class JointVAE(nn.Module):
    r""":math:`p(x, z, y, c)`.

    Arguments:
        decoder: z, with shape (..., N, Z), then the one-hot classes (..., N, K) and the factors
            (..., N, C), in the order given below, to a distribution of x.
        latent_dim: Z, for :math:`p(z) = N(0, I)`.
        classes: Number of classes K of the site ``y``, or such numbers by site name.
        factors: Sizes C of further continuous sites by name, such as ``{"c": 1}``.
        prior: Another p(z), as in :class:`~ppvae.models.VAE`, or p(z | sites): one that takes
            ``y``, such as :class:`~ppvae.nets.ClassNormal`, takes the model's site.

    Raises:
        ArgumentError: Unless exactly one of ``latent_dim`` and ``prior`` is given, or if a site
            is named x or z.
    """

    zero: Tensor

    @typed(latent_dim=at_least(1))
    def __init__(
        self,
        decoder: nn.Module,
        *,
        latent_dim: int | None = None,
        classes: int | Mapping[str, int] = 10,
        factors: Mapping[str, int] | None = None,
        prior: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.counts = {"y": classes} if isinstance(classes, int) else dict(classes)
        self.one_hots = nn.ModuleDict({name: OneHot(k) for name, k in self.counts.items()})
        self.factors = dict(factors or {})
        taken = sorted({"x", "z"} & {*self.counts, *self.factors})
        if taken:
            raise ArgumentError(
                f"JointVAE: expected sites other than x and z; got {taken}. Rename them."
            )
        self.register_buffer("zero", torch.zeros(()), persistent=False)
        self.prior = prior_or_normal(prior, latent_dim, "JointVAE")
        others = [*self.counts, *self.factors]
        first = [name for name in others if name in columns_of(self.prior)]
        if isinstance(self.prior, Prior):
            self.prior.latent = frozenset(first)
        self.order = [*first, "z", *(name for name in others if name not in first)]

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns``: those of the prior that are not sites of the model."""
        return {n: p for n, p in columns_of(self.prior).items() if n not in self.order}

    def forward(
        self, x: Tensor | None = None, *, size: int | None = None, **columns: Tensor
    ) -> Tensor:
        with data_plate(x, *columns.values(), size=size):
            values = dict(columns)
            for name in self.order:  # sites that z depends on come before z
                values[name] = pyro.sample(name, self._prior_of(name, values))
            one_hots = [self.one_hots[name](values[name]) for name in self.counts]
            factors = [values[name] for name in self.factors]
            inputs = [values["z"], *one_hots, *factors]
            return pyro.sample("x", self.decoder(*inputs), obs=x)  # (..., N | C, H, W)

    def _prior_of(self, name: str, values: Mapping[str, Tensor]) -> dist.TorchDistribution:
        """The prior of z (..., N | Z), of a class (..., N |), or of factors (..., N | C)."""
        if name in self.counts:
            return dist.Categorical(logits=self.zero.new_zeros(self.counts[name]))
        if name in self.factors:
            return dist.Normal(self.zero.new_zeros(self.factors[name]), 1.0).to_event(1)
        prior: dist.TorchDistribution = self.prior(**arguments(self.prior, values))
        return prior
