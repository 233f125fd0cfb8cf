r"""The encoder-free guide of a GP prior: a normal posterior of the GP's weights.

.. math::
    q(Z, w) = \prod_l N(w_l; m_l, S_l) \; \prod_n p(z_n \mid w), \qquad
    q(z_{nl}) = N(f_n \cdot m_l, \; f_n^\top S_l f_n + v_1)

The ELBO is an ordinary one, unbiased in mini-batches: the decoder is trained on the GP's own
predictions, so that nothing differs between training and test.

References:
    | Gaussian Processes for Big Data (Hensman, Fusi and Lawrence, 2013)
    | https://arxiv.org/abs/1309.6835 (with the GP's values at inducing points in place of weights)
    | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
    | https://arxiv.org/abs/1810.11738 (the prior)
"""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppvae.data.mapped import Columns
from ppvae.errors import ArgumentError
from ppvae.gp import GPPrior, WeightedNormal
from ppvae.programs import FitHooks, data_plate

__all__ = ["WeightSpaceGuide"]


class WeightSpaceGuide(FitHooks):
    r""":math:`q(w_l) = N(m_l, S_l)`, and the latents it implies.

    Arguments:
        prior: The model's GP prior, the same module. As the prior's own solutions are not used in
            training, give it a large ``refresh``.
        full: Whether each :math:`S_l` is dense, with an H x H Cholesky factor per latent, rather
            than diagonal.
        scale: Initial standard deviation of every weight.

    Raises:
        ArgumentError: If ``scale`` is not above 0.
    """

    def __init__(self, prior: GPPrior, *, full: bool = False, scale: float = 0.1) -> None:
        super().__init__()
        if not scale > 0:
            raise ArgumentError(f"scale: expected a number > 0; got {scale}. Use 0.1.")
        size, latent_dim = prior.mean.shape
        self.prior = prior
        self.loc = nn.Parameter(0.1 * torch.randn(size, latent_dim))
        raw = torch.tensor(scale).expm1().log()
        self.raw_scale = nn.Parameter(raw.expand(latent_dim, size).clone())
        self.lower = nn.Parameter(torch.zeros(latent_dim, size, size)) if full else None
        self.num_data = 1

    def prepare(self, data: Columns) -> None:
        """Store the number of training data."""
        self.num_data = len(data["object"])

    @torch.no_grad()
    def settle(self, guide: nn.Module, data: Columns) -> None:
        """Pass the weights' posterior to the prior for predictions."""
        self.prior.mean.copy_(self.loc)
        self.prior.covariance.copy_(self.covariance())

    def scales(self) -> Tensor:
        """Diagonals of the Cholesky factors of S, with shape (L, H)."""
        return softplus(self.raw_scale) + 1e-6

    def covariance(self) -> Tensor:
        """S, with shape (L, H, H)."""
        factor = self._factor()
        return factor @ factor.mT

    def _factor(self) -> Tensor:
        diagonal = torch.diag_embed(self.scales())
        return diagonal if self.lower is None else diagonal + self.lower.tril(-1)

    def weights_kl(self) -> Tensor:
        r""":math:`\sum_l \mathrm{KL}(N(m_l, S_l) \| N(0, I))`, in nats, with shape ()."""
        scales = self.scales()
        trace = scales.square().sum()
        if self.lower is not None:
            trace = trace + self.lower.tril(-1).square().sum()
        return 0.5 * (self.loc.square().sum() + trace - self.loc.numel()) - scales.log().sum()

    def forward(self, object: Tensor, view: Tensor) -> Tensor:  # noqa: A002
        """Sample the latents from objects (N) and views (N) or (N, V), with shape (..., N, L)."""
        with data_plate(object, view):
            f = self.prior.rows(object, view)
            if self.lower is None:
                spread = f.square() @ self.scales().square().mT
            else:
                spread = torch.einsum("...h,lhk->...lk", f, self._factor()).square().sum(-1)
            variance = spread + self.prior.variances()[1].to(f)
            kl = (self.weights_kl() / self.num_data).expand(f.shape[:-1])
            return pyro.sample(
                "z", WeightedNormal(f @ self.loc, variance.sqrt(), kl)
            )  # (..., N | L)
