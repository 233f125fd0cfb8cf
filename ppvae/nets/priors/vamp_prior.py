r"""The variational mixture of posteriors: a mixture of the encoder's at learned pseudo-inputs.

.. math::
    p(z) = \frac1K \sum_k q(z \mid u_k)

References:
    | VAE with a VampPrior (Tomczak and Welling, 2018)
    | https://arxiv.org/abs/1705.07120
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.nets.priors.prior import Prior

__all__ = ["VampPrior"]


class VampPrior(Prior):
    r""":math:`\frac1K \sum_k q(z \mid u_k)`.

    Arguments:
        encoder: The guide's encoder, the same module: x, with shape (N, ...), to a distribution
            of z.
        inputs: Initial pseudo-inputs :math:`u`, with shape (K, ...) as K data, such as rows of
            the training data.

    Raises:
        ArgumentError: If there are no pseudo-inputs, or they are not floating-point numbers.
    """

    even: Tensor

    def __init__(self, encoder: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        if len(inputs) < 1 or not inputs.is_floating_point():
            raise ArgumentError(
                f"inputs: expected one pseudo-input or more, of floating-point numbers; got "
                f"{inputs.dtype} with shape {tuple(inputs.shape)}. Pass some rows of x."
            )
        self.encoder = encoder
        self.inputs = nn.Parameter(inputs.clone())
        self.register_buffer("even", torch.zeros(len(inputs)), persistent=False)

    def extra_repr(self) -> str:
        return f"inputs={tuple(self.inputs.shape)}"

    def forward(self) -> dist.TorchDistribution:
        return dist.MixtureSameFamily(
            dist.Categorical(logits=self.even), self.encoder(self.inputs)
        )
