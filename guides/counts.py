r"""The amortised guide of a VAE of counts.

.. math::
    q(z, l \mid x, s, c) = q(z \mid x, s, c) \, q(l \mid x, s, c)

References:
    | scVI (Lopez et al., 2018), https://doi.org/10.1038/s41592-018-0229-2
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.nets import FactorScaling, OneHot
from ppvae.programs import data_plate

__all__ = ["CountGuide"]


class CountGuide(nn.Module):
    r""":math:`q(z \mid x, s, c)`, and :math:`q(l)` centred near the logarithm of the total.

    .. math::
        q(l \mid x) = N\left(\log \sum_g x_g + b, \; \sigma^2\right)

    Arguments:
        encoder: x, with shape (N, G), then indicators of the batch and covariates, if there are
            any, to a distribution of z.
        batches: Number of batches in the column ``batch``; 0 without that column.
        scaling: The covariates in ``c`` as inputs of the encoder, the model's; None to pass them
            as they are.
        latent_library: Whether the library is latent, with b and :math:`\sigma` learned.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        batches: int = 0,
        scaling: FactorScaling | None = None,
        latent_library: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.one_hot = OneHot(batches) if batches else None
        self.scaling = scaling
        self.shift = nn.Parameter(torch.zeros(())) if latent_library else None
        self.raw_scale = nn.Parameter(torch.tensor(-2.0)) if latent_library else None

    def forward(
        self, x: Tensor, *, batch: Tensor | None = None, c: Tensor | None = None
    ) -> Tensor:
        given = [] if self.one_hot is None or batch is None else [self.one_hot(batch)]
        if c is not None:
            c = c.unsqueeze(-1) if c.dim() == 1 else c
            given.append(c if self.scaling is None else self.scaling(c))
        with data_plate(x, *given):
            if self.shift is not None and self.raw_scale is not None:
                loc = x.nansum(-1).clamp_min(1).log() + self.shift
                scale = functional.softplus(self.raw_scale).expand_as(loc) + 1e-4
                pyro.sample("l", dist.Normal(loc, scale))  # (N)
            return pyro.sample("z", self.encoder(x, *given))  # (..., N | Z)
