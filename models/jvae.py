r"""Joint VAE: content, classes and factors, all of them latent.

.. math::
    p(x, z, y, c) = N(z; 0, I) \; \prod_k \frac1{K_k} \; N(c; 0, I) \; p(x \mid z, y, c)

With no labels the classes are found (JointVAE), with some they are named
(:class:`~ppvae.models.SemiSupervisedVAE`): the program is the same, the guide differs. A guide
that enumerates the classes sums them exactly.

References:
    | Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018)
    | https://arxiv.org/abs/1804.00104 (which samples relaxed classes; here they are summed)
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.nets import OneHot
from ppvae.programs import data_plate

__all__ = ["JointVAE"]


class JointVAE(nn.Module):
    r""":math:`p(x, z, y, c)`.

    Arguments:
        decoder: z, with shape (..., N, Z), then the one-hot classes (..., N, K) and the factors
            (..., N, C), in the order given below, to a distribution of x.
        latent_dim: Z.
        classes: K of the site ``y``, or site name to K for several discrete sites.
        factors: Site name to C for further continuous sites, such as ``{"c": 1}``.
    """

    zero: Tensor

    def __init__(
        self,
        decoder: nn.Module,
        *,
        latent_dim: int,
        classes: int | Mapping[str, int] = 10,
        factors: Mapping[str, int] | None = None,
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
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))  # (..., N | Z)
            inputs = [z]
            for name, count in self.counts.items():
                even = dist.Categorical(logits=self.zero.new_zeros(count))
                inputs.append(self.one_hots[name](pyro.sample(name, even)))  # (..., N |)
            for name, dim in self.factors.items():
                prior = dist.Normal(self.zero.new_zeros(dim), 1.0).to_event(1)
                inputs.append(pyro.sample(name, prior))  # (..., N | C)
            return pyro.sample("x", self.decoder(*inputs), obs=x)  # (..., N | C, H, W)
