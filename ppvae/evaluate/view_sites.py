r"""Gaussian sites: what the data alone say of the latents of each object in a set of views.

At the optimum of the ELBO the mean-field guide :math:`q(z_n) = N(m_n, s_n^2)` of a datum joins the
prior N(0, K) of its object's views to a Gaussian site :math:`N(y_n; z_n, 1 / \lambda_n)` that
stands for the likelihood (the indices of object and latent left out; P is the inverse of K):

.. math::
    \frac{1}{s_n^2} = \lambda_n + P_{nn}, \qquad
    (\lambda_n + P_{nn}) \, m_n = \lambda_n y_n
        - \sum_{n' \neq n} P_{nn'} \, E[m_{n'} \mid x_n]

An encoder sees x_n and not the object's other data, so that their means enter by what x_n says of
them: :math:`E[m_{n'} \mid x_n] = b_{n'n} m_n`, with b the slope of the encodings of one view on
those of another, over all objects that have both. Hence

.. math::
    \lambda_n = \frac{1}{s_n^2} - P_{nn}, \qquad
    y_n = \Big(\lambda_n + P_{nn} + \sum_{n' \neq n} P_{nn'} \, b_{n'n}\Big)
        \frac{m_n}{\lambda_n}

References:
    | Expectation Propagation for Approximate Bayesian Inference (Minka, 2001), on sites
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor

from ppvae.data import Dataset
from ppvae.errors import ArgumentError
from ppvae.gp import FreeFormFeatures, GPPrior
from ppvae.programs import batches, evaluating, marginal_of
from ppvae.runs.run import Run

__all__ = ["ViewSites", "free_prior", "view_sites"]

# Least precision of a site, as a share of the prior's, that counts as information.
LEAST = 0.01


@dataclass(frozen=True)
class ViewSites:
    r"""What the data say of the latents: Gaussian sites, each with shape (P, L, Q), in float64.

    Attributes:
        value: y; zero where there is no site.
        noise: :math:`1 / \lambda`; one where there is no site.
        known: Whether there is a site: the object has the view, and the likelihood knows the
            latent.
        present: Whether the object has the view, with shape (P, Q).
    """

    value: Tensor
    noise: Tensor
    known: Tensor
    present: Tensor

    def log_density(self, correlation: Tensor, log_scale: Tensor) -> Tensor:
        r""":math:`\sum_{pl} \log N(y_{pl}; 0, a_l^2 C_{tt} + \mathrm{diag}(1 / \lambda_{pl}))`.

        All objects at once: rows and columns of views that an object lacks are those of the unit
        matrix.

        Arguments:
            correlation: C, with shape (..., Q, Q).
            log_scale: :math:`\log a`, with shape (..., L).

        Returns:
            In nats, with shape (...).
        """
        both = (self.known[..., :, None] & self.known[..., None, :]).to(correlation)
        scaled = correlation[..., None, :, :] * (2 * log_scale).exp()[..., None, None]
        covariance = both * scaled[..., None, :, :, :] + torch.diag_embed(self.noise)
        factor = torch.linalg.cholesky(covariance)
        value = self.value.expand(factor.shape[:-1])[..., None]
        white = torch.linalg.solve_triangular(factor, value, upper=False)[..., 0]
        log_roots = factor.diagonal(dim1=-2, dim2=-1).log()
        constant = 0.5 * math.log(2 * math.pi) * self.known.sum()
        return -(0.5 * white.square() + log_roots).sum((-1, -2, -3)) - constant


def view_sites(run: Run, columns: Dataset, *, batch_size: int = 1024) -> tuple[ViewSites, Tensor]:
    """The sites of all objects, latents and views, and the prior's K with shape (Q, Q).

    Arguments:
        run: As for :func:`ppvae.evaluate.view_correlation`.
        columns: Training data with the columns ``object`` and ``view``.
        batch_size: Rows encoded at a time.

    Raises:
        ArgumentError: As for :func:`ppvae.evaluate.view_correlation`.
    """
    prior, levels = free_prior(run)
    objects, views = (torch.as_tensor(columns[name]).cpu() for name in ("object", "view"))
    prior.check({"object": objects, "view": views})
    who, object_codes = torch.unique(objects, dim=0, return_inverse=True)
    view_codes = (views.double()[:, None] - levels).abs().argmin(1)
    present = torch.zeros(len(who), len(levels), dtype=torch.int64)
    present.index_put_((object_codes, view_codes), torch.ones_like(view_codes), accumulate=True)
    _check_design(prior, who, levels, present)
    means, variances = _encodings(run, prior, columns, batch_size)

    device = prior.raw_noise.device
    with torch.no_grad():
        rows = prior.views(levels.to(device)).double().cpu()
        v0, v1 = (v.cpu() for v in prior.variances())
    eye = torch.eye(len(levels), dtype=torch.float64)
    learned = v0 * rows @ rows.mT + v1 * eye
    there = present > 0
    both = (there[:, :, None] & there[:, None, :]).double()
    precision = torch.linalg.inv(both * learned + torch.diag_embed((~there).double()))[:, None]

    shape = (len(who), means.size(1), len(levels))
    m, s2 = torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
    m[object_codes, :, view_codes] = means
    s2[object_codes, :, view_codes] = variances
    own = precision.diagonal(dim1=-2, dim2=-1)
    site = 1 / s2 - own
    known = there[:, None] & (site > LEAST * own)
    site = torch.where(known, site, torch.ones_like(site))
    # Slopes (Q', Q) of the means in view q' on those in view q; means of absent views are zero.
    squares = torch.einsum("plq,pr->rq", m.square(), there.double())
    slopes = torch.einsum("plr,plq->rq", m, m) / squares.clamp_min(1e-12)
    others = (precision[:, 0] * slopes.mT).sum(-1)[:, None]  # the view's own slope is one
    value = torch.where(known, (1 + others / site) * m, torch.zeros_like(m))
    return ViewSites(value, 1 / site, known, there), learned


def free_prior(run: Run) -> tuple[GPPrior, Tensor]:
    """The model's prior with a free covariance of views, and the Q views in ascending order.

    Raises:
        ArgumentError: If the model has none, or several, or there are fewer than two views.
    """
    priors = [part for part in run.model.modules() if isinstance(part, GPPrior)]
    views = priors[0].views if len(priors) == 1 else None
    if not isinstance(views, FreeFormFeatures):
        got = [f"GPPrior with {type(part.views).__name__}" for part in priors] or ["no GPPrior"]
        raise ArgumentError(
            "view_correlation: expected a model with one GPPrior and FreeFormFeatures as its "
            f"views; got {', '.join(got)}. Fit one as examples/tasks.py does."
        )
    if len(views.values) < 2:
        raise ArgumentError(
            "view_correlation: expected two or more views; got one. There is nothing to correlate."
        )
    return priors[0], views.values.cpu()


def _check_design(prior: GPPrior, who: Tensor, levels: Tensor, present: Tensor) -> None:
    if len(who) < 2:
        raise ArgumentError(
            f"object: expected two or more objects; got {len(who)}. Each is one observation of "
            "the correlation; pass the training data."
        )
    if (present > 1).any():
        p, q = (present > 1).nonzero()[0].tolist()
        raise ArgumentError(
            f"object and view: expected at most one datum each; got {int(present[p, q])} of "
            f"object {who[p].tolist()} in view {float(levels[q]):g}. Average them."
        )
    with torch.no_grad():
        x = prior.objects(who.to(prior.raw_noise.device)).double()
        between = (x @ x.mT).fill_diagonal_(0).abs()
    if between.max() > 1e-3:
        p, q = divmod(int(between.argmax()), len(who))
        raise ArgumentError(
            "object: expected a kernel of objects that are independent of each other; got "
            f"{float(between.max()):.2g} between {who[p].tolist()} and {who[q].tolist()}. Give an "
            "ObjectTable unit vectors that are not trained, as examples/tasks.py does."
        )


@torch.no_grad()
def _encodings(
    run: Run, prior: GPPrior, columns: Dataset, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Means and variances of the guide, each with shape (N, L), in float64."""
    means, variances = [], []
    with evaluating(run.guide):
        for batch in batches(run.guide, columns, batch_size):
            q = marginal_of(run.guide, batch, prior.site)
            if not isinstance(getattr(q, "base_dist", None), dist.Normal) or q.mean.dim() != 2:
                raise ArgumentError(
                    "view_correlation: expected a guide with a diagonal normal at "
                    f"{prior.site!r}; got {type(q).__name__} with shape {tuple(q.mean.shape)}. "
                    "Use GPGuide with heads.DiagonalNormal."
                )
            means.append(q.mean[..., prior.block].double().cpu())
            variances.append(q.variance[..., prior.block].double().cpu())
    return torch.cat(means), torch.cat(variances)
