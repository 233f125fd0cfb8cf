r"""A scale of the latents that an encoder and a decoder share, as a parameter of its own.

A decoder that begins with a linear layer, as most do, takes latents of any scale: :math:`c z` and
:math:`W / c` give the same data. The prior alone determines c, and its pull is small against the
likelihood's, which holds decoder and encoder to each other: c moves only if both change together,
weight by weight, in many thousands of steps. As a parameter of both,

.. math::
    q(z \mid x) = c \odot q_0(\cdot \mid x), \qquad p(x \mid z) = p_0(x \mid z / c),

it leaves what the likelihood sees as it is, and the KL moves it directly. Networks with linear
layers next to z represent the same functions with it as without.

References:
    | Parameter Expansion to Accelerate EM: The PX-EM Algorithm (Liu, Rubin and Wu, 1998)
    | Biometrika 85 (4)
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least

__all__ = ["ScaledDecoder", "ScaledEncoder", "shared_scale"]


@typed(latent_dim=at_least(1))
def shared_scale(
    encoder: nn.Module, decoder: nn.Module, *, latent_dim: int
) -> tuple[ScaledEncoder, ScaledDecoder]:
    """An encoder and a decoder with a learned scale of each latent, one to begin with.

    Arguments:
        encoder: x, with shape (N, ...), to a normal distribution of z with shape (N | L).
        decoder: z, with shape (..., N, L), and further inputs, to a distribution of x.
        latent_dim: L.

    Returns:
        The two with one parameter in common; hand them to a model and a guide.

    Raises:
        ArgumentError: If ``latent_dim`` is below 1.
    """
    log_scale = nn.Parameter(torch.zeros(latent_dim))
    return ScaledEncoder(encoder, log_scale), ScaledDecoder(decoder, log_scale)


class ScaledEncoder(nn.Module):
    r"""An encoder whose normal distribution is stretched, :math:`z = c \odot z_0`.

    Arguments:
        net: Encoder with a diagonal or multivariate normal distribution of z.
        log_scale: :math:`\log c`, with shape (L), shared with a decoder.

    Raises:
        ArgumentError: When called, if the encoder's distribution is another.
    """

    def __init__(self, net: nn.Module, log_scale: nn.Parameter) -> None:
        super().__init__()
        self.net = net
        self.log_scale = log_scale

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        """The distribution of z, with shape (..., N | L)."""
        q, scale = self.net(*inputs), self.log_scale.exp()
        if isinstance(q, dist.MultivariateNormal):
            return dist.MultivariateNormal(q.loc * scale, scale_tril=scale[:, None] * q.scale_tril)
        base = getattr(q, "base_dist", None)
        if not isinstance(base, dist.Normal) or len(q.event_shape) != 1:
            raise ArgumentError(
                "shared_scale: expected an encoder with a normal distribution of vectors; got "
                f"{type(base or q).__name__} with event shape {tuple(q.event_shape)}. Use "
                "heads.DiagonalNormal or heads.FullNormal."
            )
        return dist.Normal(base.loc * scale, base.scale * scale).to_event(1)


class ScaledDecoder(nn.Module):
    r"""A decoder of :math:`z / c`.

    Arguments:
        net: Takes z, with shape (..., N, L), and further inputs.
        log_scale: :math:`\log c`, with shape (L), shared with an encoder.
    """

    def __init__(self, net: nn.Module, log_scale: nn.Parameter) -> None:
        super().__init__()
        self.net = net
        self.log_scale = log_scale

    def forward(self, z: Tensor, *others: Tensor) -> dist.TorchDistribution:
        """The distribution of x, from z (..., N, L) and further inputs as they are."""
        decoded: dist.TorchDistribution = self.net(z * (-self.log_scale).exp(), *others)
        return decoded
