r"""A normalising flow as prior: affine couplings of a standard normal (RealNVP).

.. math::
    p(z) = N\left(f^{-1}(z); 0, I\right) \left| \det \frac{\partial f^{-1}}{\partial z} \right|,
    \qquad f = f_1 \circ \ldots \circ f_T, \qquad
    f_t(u) = \left[ u_a, \; u_b \odot e^{s_t(u_a)} + m_t(u_a) \right]

with the halves a and b exchanged from one coupling to the next.

References:
    | Density Estimation using Real NVP (Dinh, Sohl-Dickstein and Bengio, 2017)
    | https://arxiv.org/abs/1605.08803
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from ppvae.errors import ArgumentError
from ppvae.nets.priors.prior import Unconditional

__all__ = ["AffineCoupling", "FlowPrior"]


class AffineCoupling(Transform):
    """One coupling :math:`f_t`: the masked elements are kept, the others scaled and shifted.

    Arguments:
        net: The elements, with shape (..., Z), those that change at zero, to log-scales and
            shifts, with shape (..., 2 Z).
        mask: One where an element is kept, else zero, with shape (Z).
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, net: nn.Module, mask: Tensor) -> None:
        super().__init__()
        self.net, self.mask = net, mask

    def _parts(self, value: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(value * self.mask).chunk(2, -1)
        moved = 1 - self.mask
        return log_scale.tanh() * moved, shift * moved

    def _call(self, x: Tensor) -> Tensor:
        log_scale, shift = self._parts(x)
        return x * log_scale.exp() + shift

    def _inverse(self, y: Tensor) -> Tensor:
        log_scale, shift = self._parts(y)
        return (y - shift) * (-log_scale).exp()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self._parts(x)[0].sum(-1)


class FlowPrior(Unconditional):
    r""":math:`f(u), \; u \sim N(0, I)`; it starts near N(0, I).

    Arguments:
        latent_dim: Z, 2 or more.
        couplings: T.
        hidden: Units of each coupling's hidden layer.

    Raises:
        ArgumentError: If ``latent_dim`` is below 2, or another number below 1.
    """

    masks: Tensor

    def __init__(self, latent_dim: int, *, couplings: int = 4, hidden: int = 32) -> None:
        super().__init__(latent_dim)
        if latent_dim < 2 or couplings < 1 or hidden < 1:
            raise ArgumentError(
                f"FlowPrior: expected latent_dim >= 2, couplings and hidden >= 1; got "
                f"{latent_dim}, {couplings}, {hidden}. Use 4 couplings and 32 units."
            )
        parity = (torch.arange(couplings)[:, None] + torch.arange(latent_dim)) % 2
        self.register_buffer("masks", parity.to(self.zero), persistent=False)
        self.nets = nn.ModuleList()
        for _ in range(couplings):
            last = nn.Linear(hidden, 2 * latent_dim)
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)
            self.nets.append(nn.Sequential(nn.Linear(latent_dim, hidden), nn.SiLU(), last))

    def forward(self) -> dist.TorchDistribution:
        base = dist.Normal(self.zero, 1.0).to_event(1)
        couplings = [AffineCoupling(*pair) for pair in zip(self.nets, self.masks, strict=True)]
        return dist.TransformedDistribution(base, couplings)
