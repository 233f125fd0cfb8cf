r"""Pseudo-observations: the encoder gives normal pseudo-likelihoods, and q is the GP's posterior.

With :math:`N(y_{nl}; z_{nl}, s_{nl}^2)` in place of datum n's likelihood,

.. math::
    q(Z, w) = q(w) \prod_n q(z_n \mid w), \qquad
    q(z_{nl} \mid w) = N\left(a y_{nl} + (1 - a) f_n \cdot w_l, \; a s_{nl}^2\right), \quad
    a = \frac{v_1}{v_1 + s_{nl}^2}

and :math:`q(w_l) = N(m_l, A_l^{-1})`, :math:`A_l = I + F^\top D_l F`, :math:`m_l = A_l^{-1}
F^\top D_l y_l`, :math:`D_l = \mathrm{diag}(v_1 + s_{nl}^2)^{-1}`. The bound holds for any q(w),
so that with q(w) computed from the table of the last pseudo-observations, every ``refresh`` steps,
a mini-batch's estimate of it is unbiased. SVGPVAE uses inducing points; this is exact.

References:
    | Scalable Gaussian Process Variational Autoencoders (Jazbec et al., 2021)
    | https://arxiv.org/abs/2010.13472
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppvae.data.mapped import Columns
from ppvae.expected import expect, integer
from ppvae.gp import Every, GPPrior, WeightedNormal
from ppvae.gp.state import spreads
from ppvae.programs import FitHooks, batches, data_plate, evaluating

__all__ = ["PseudoGuide"]


class PseudoGuide(FitHooks):
    r""":math:`q(z \mid X)`, the GP's posterior given pseudo-observations of every training datum.

    Arguments:
        encoder: x, with shape (N, ...), to a normal distribution: the pseudo-observation
            :math:`y` and its standard deviation :math:`s`.
        prior: The model's GP prior, the same module. As the prior's own solutions are not used in
            training, give it a large ``refresh``.
        refresh: Optimiser steps between two solutions for :math:`q(w)`.
        shared: Whether all latents share one covariance of the weights, from their mean precision,
            which is L times cheaper. The bound still holds; q is the GP's posterior if the
            encoder's standard deviations are equal for all latents of a datum.

    Raises:
        ArgumentError: If ``refresh`` is below 1.
    """

    mean: Tensor
    covariance: Tensor
    table: Tensor
    table_variances: Tensor
    weights_kl: Tensor

    def __init__(
        self, encoder: nn.Module, prior: GPPrior, *, refresh: int = 16, shared: bool = False
    ) -> None:
        super().__init__()
        expect(integer(1), "Use 16.", refresh=refresh)
        self.encoder = encoder
        self.prior = prior
        self.refresh = Every(refresh)
        self.shared = shared
        size, latent_dim = prior.mean.shape
        self.register_buffer("mean", torch.zeros(size, latent_dim))
        self.register_buffer(
            "covariance", torch.eye(size).repeat(1 if shared else latent_dim, 1, 1)
        )
        self.register_buffer("table", torch.zeros(0, latent_dim), persistent=False)
        self.register_buffer("table_variances", torch.zeros(0, latent_dim), persistent=False)
        self.register_buffer("weights_kl", torch.zeros(()), persistent=False)

    def prepare(self, data: Columns) -> None:
        """Reset the table to the prior's mean at every training datum."""
        self.table = self.mean.new_zeros(len(data["object"]), self.mean.size(1))
        self.table_variances = torch.ones_like(self.table)
        self.refresh.reset()
        if self.prior.layout is None:
            self.prior.prepare(data)
        self.solve()

    def advance(self) -> None:
        """Count an optimiser step; solve for q(w) every ``refresh`` steps."""
        if len(self.table) == 0:
            return
        if self.refresh.due():
            self.solve()

    @torch.no_grad()
    def solve(self) -> None:
        """The posterior of the weights given the table of pseudo-observations."""
        layout, prior = self.prior.layout, self.prior
        assert layout is not None
        x, r = prior.objects(layout.objects), prior.views(layout.views)
        v0, v1 = prior.variances()
        precisions = 1 / (v1 + self.table_variances.double())
        if self.shared:
            precisions = precisions.mean(1, keepdim=True)
        gram = v0 * layout.gram(x, r, precisions.mT)
        gram.diagonal(dim1=-2, dim2=-1).add_(1.0)
        factor = torch.linalg.cholesky(gram)
        weighted = precisions * self.table.double()
        projection = v0.sqrt() * layout.fold_projections(x, r, weighted).sum(0)
        copies = len(projection.mT) // len(factor)
        rhs = projection.mT.unflatten(0, (-1, copies)).mT
        mean = torch.cholesky_solve(rhs, factor).mT.flatten(0, 1).mT
        covariance = torch.cholesky_inverse(factor)
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum()
        trace = covariance.diagonal(dim1=-2, dim2=-1).sum()
        spread = copies * (trace + log_det) - mean.numel()
        self.weights_kl.copy_(0.5 * (mean.square().sum() + spread))
        self.mean.copy_(mean)
        self.covariance.copy_(covariance)

    @torch.no_grad()
    def settle(self, guide: nn.Module, data: Columns, *, chunk: int = 512) -> None:
        """Encode all training data, solve, and pass q(w) to the prior for predictions."""
        if len(self.table) == 0:
            return
        rows = torch.arange(len(self.table), device=self.table.device).split(chunk)
        with evaluating(self.encoder):
            for index, batch in zip(rows, batches(self, data, chunk), strict=True):
                self._keep(index, self.encoder(batch["x"]))
        self.solve()
        self.prior.mean.copy_(self.mean)
        self.prior.covariance.copy_(self.covariance)

    def record(self, index: Tensor, posteriors: Mapping[str, TorchDistribution]) -> None:
        """Put a batch's pseudo-observations into the table.

        Arguments:
            index: Row numbers in the training data, with shape (N).
            posteriors: The guide's distributions by site, with their pseudo-observations.
        """
        pseudo = getattr(posteriors.get(self.prior.site), "pseudo", None)
        if pseudo is not None and len(self.table) > 0:
            self._keep(index, pseudo)

    @torch.no_grad()
    def _keep(self, index: Tensor, pseudo: TorchDistribution) -> None:
        """Put pseudo-observations (..., N | L) of training rows (N) into the table."""
        for table, values in (
            (self.table, pseudo.mean),
            (self.table_variances, pseudo.variance),
        ):
            table.index_copy_(0, index, values.reshape(-1, *values.shape[-2:])[0].to(table))

    def forward(self, x: Tensor, object: Tensor, view: Tensor) -> Tensor:  # noqa: A002
        with data_plate(x, object, view):
            pseudo = self.encoder(x)
            f = self.prior.rows(object, view)
            v1 = self.prior.variances()[1].to(f)
            fitted = f @ self.mean
            spread = spreads(f, self.covariance).clamp_min(0)
            share = v1 / (v1 + pseudo.variance)
            own = share * pseudo.variance
            squares = share.square() * ((pseudo.mean - fitted).square() + spread)
            kl = 0.5 * ((squares + own) / v1 - 1 - (own / v1).log()).sum(-1)
            kl = kl + self.weights_kl / max(1, len(self.table))
            q = WeightedNormal(
                share * pseudo.mean + (1 - share) * fitted,
                (own + (1 - share).square() * spread).sqrt(),
                kl,
                pseudo=pseudo,
            )
            return pyro.sample(self.prior.site, q)  # (..., N | L)
