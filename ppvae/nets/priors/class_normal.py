r"""A normal for each class.

.. math::
    p(z \mid y) = N\left(z; \mu_y, \mathrm{diag} \, \sigma_y^2\right)

The class is a column (in a VAE or a conditional VAE) or a latent site (in a joint or
semi-supervised VAE, where the prior is a mixture of normals with an enumerated component).

References:
    | Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders
    | (Dilokthanakul et al., 2016)
    | https://arxiv.org/abs/1611.02648
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.data.mapped import Columns
from ppvae.nets.classes import OneHot, check_labels
from ppvae.nets.heads import positive
from ppvae.nets.priors.prior import Prior

__all__ = ["ClassNormal"]


class ClassNormal(Prior):
    r""":math:`N(\mu_y, \mathrm{diag} \, \sigma_y^2)`, means and scales learned.

    Arguments:
        num_classes: K.
        latent_dim: Z.
        spread: Standard deviation of the initial means; the scales start at one.
    """

    def __init__(self, num_classes: int, latent_dim: int, *, spread: float = 1.0) -> None:
        super().__init__()
        self.one_hot = OneHot(num_classes)
        self.latent_dim = latent_dim
        self.loc = nn.Parameter(spread * torch.randn(num_classes, latent_dim))
        raw = torch.tensor(1.0).expm1().log()
        self.raw_scale = nn.Parameter(raw.expand(num_classes, latent_dim).clone())

    def extra_repr(self) -> str:
        return f"num_classes={self.one_hot.num_classes}, latent_dim={self.latent_dim}"

    def check(self, data: Columns) -> None:
        """Refuse labels out of range."""
        if "y" in data and "y" not in self.latent:
            check_labels(torch.as_tensor(data["y"]), self.one_hot.num_classes)

    def prepare(self, data: Columns) -> None:
        """Refuse labels out of range."""
        self.check(data)

    def forward(self, y: Tensor) -> dist.TorchDistribution:
        k = self.one_hot(y)
        return dist.Normal(k @ self.loc, k @ positive(self.raw_scale)).to_event(1)
