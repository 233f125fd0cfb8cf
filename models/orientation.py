r"""A rotation in space as a latent site of any model, apart from the content.

.. math::
    p(R) \, p(x \mid z, R), \qquad p(R) = 1 / 8 \pi^2

A decoder that samples the rotation it draws with, as :class:`~ppvae.models.PosedDecoder` does the
pose in the plane: hand it to a model in place of its decoder.

References:
    | Explorations in Homeomorphic Variational Auto-Encoding (Falorsi et al., 2018)
    | https://arxiv.org/abs/1807.04689
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.nets import AnyRotation

__all__ = ["OrientedDecoder"]


class OrientedDecoder(nn.Module):
    r""":math:`p(R) \, p(x \mid z, R)`.

    Samples the site ``rotation`` (..., N | 3, 3) inside the plate of the model that calls it.

    With J modes there is a site ``turn`` (..., N |), which of the modes of the guide's posterior
    a rotation is from: an auxiliary of the guide that the image does not depend on,
    :math:`p(k) = 1 / J`, which takes at most :math:`\log J` from the bound.

    Arguments:
        decoder: The latents, then the rotation (..., N, 3, 3), to a distribution of x, such as a
            :class:`~ppvae.nets.PointDecoder` or a :class:`~ppvae.nets.IrrepDecoder`.
        modes: J, of the guide's posterior of the rotation.
        prior: p(R); every rotation alike by default.

    Raises:
        ArgumentError: If J is below 1.

    References:
        | Auxiliary Deep Generative Models (Maaloe et al., 2016)
        | https://arxiv.org/abs/1602.05473
    """

    even: Tensor

    def __init__(
        self, decoder: nn.Module, *, modes: int = 1, prior: nn.Module | None = None
    ) -> None:
        super().__init__()
        if modes < 1:
            raise ArgumentError(f"modes: expected 1 or more; got {modes}. Use 4.")
        self.decoder = decoder
        self.prior = AnyRotation() if prior is None else prior
        self.modes = modes
        self.register_buffer("even", torch.zeros(modes), persistent=False)

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        if self.modes > 1:
            pyro.sample("turn", dist.Categorical(logits=self.even))  # (..., N |)
        rotation = pyro.sample("rotation", self.prior())  # (..., N | 3, 3)
        fn: dist.TorchDistribution = self.decoder(*inputs, rotation)
        return fn
