r"""The correlation of latents between a finite set of views, with intervals.

A GP prior with a free covariance over Q views, independent between objects, says of the latents of
one object in its views t

.. math::
    z_{p \cdot l} \sim N(0, K_{tt}), \qquad K = v_0 R + v_1 I

with ones on K's diagonal. A fit gives one K. What the data themselves say of a latent is a
Gaussian site y with variance :math:`1 / \lambda` (:mod:`ppvae.evaluate.view_sites`), so that each
object and latent is one observation of the correlation matrix C,

.. math::
    y_{p \cdot l} \sim N\left(0, \; a_l^2 C_{tt} + \mathrm{diag}(1 / \lambda)\right), \qquad
    C \sim \mathrm{LKJ}(\eta), \qquad \log a_l \sim N(0, 0.5^2)

The prior that was learned has no part in it, as it is divided out again: what is estimated is the
total correlation C, :math:`v_0 R` between two views, which the data determine; v0 and R apart they
do not. The scale a of each latent is a nuisance: it is one in the model, as the decoder's weights
are free, but those are estimated, and an error of theirs would pass for a correlation.

The posterior of C and a has few dimensions and is unimodal where there are data. Draws come from a
Student t at its mode, moved twice to the mean and the covariance of the weighted draws, and are
weighted by importance; Pareto's k says whether they can be trusted.

References:
    | Generating random correlation matrices based on vines and extended onion method
    | (Lewandowski, Kurowicka and Joe, 2009), Journal of Multivariate Analysis 100
    | Adaptive importance sampling in general mixture classes (Cappe et al., 2008)
    | https://arxiv.org/abs/0710.4242
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import CorrCholeskyTransform

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.evaluate.pareto import TRUSTED_K, pareto_k
from ppvae.evaluate.view_sites import ViewSites, free_prior, view_sites
from ppvae.expected import SHARE, above, at_least
from ppvae.programs import forked
from ppvae.runs.run import Run

__all__ = ["PairOfViews", "ViewCorrelation", "view_correlation"]

logger = logging.getLogger(__name__)

# Standard deviation of the prior of log a, and degrees of freedom of the proposals.
SCALE_SPREAD, FREEDOM = 0.5, 10.0
# Rounds in which the proposals' mean and covariance are adapted to the weighted draws.
ROUNDS = 2
# Least number of effective draws for an interval, and largest share of data without information.
FEW_DRAWS, MANY_IDLE = 200.0, 0.1
# Numbers of the covariances that are factorised at once.
_AT_ONCE = 2_000_000


class PairOfViews(TypedDict):
    """Two views, and the posterior of their correlation."""

    first: str
    second: str
    mean: float
    lower: float
    upper: float


@dataclass(frozen=True)
class ViewCorrelation:
    """The posterior of the latents' correlation between views, in float64 on the CPU.

    Attributes:
        names: Names of the Q views.
        draws: Draws of C, with shape (S, Q, Q).
        mean: Posterior mean, with shape (Q, Q).
        lower: Lower end of the central interval, with shape (Q, Q).
        upper: Upper end, with shape (Q, Q).
        interval: Probability mass of the interval.
        learned: The prior's own K, which training ended with, with shape (Q, Q).
        pareto_k: Pareto's k of the importance weights; above 0.7 they cannot be trusted.
        effective: Effective number of proposals.
        observations: Number of pairs of an object and a latent with a site.
        idle: Share of the data's latents of which the likelihood knows nothing.
        cautions: What makes the intervals doubtful, in words; empty if nothing does.
    """

    names: tuple[str, ...]
    draws: Tensor
    mean: Tensor
    lower: Tensor
    upper: Tensor
    interval: float
    learned: Tensor
    pareto_k: float
    effective: float
    observations: int
    idle: float
    cautions: tuple[str, ...]

    def rows(self) -> list[PairOfViews]:
        """One row per pair of views, in the order of the upper triangle."""
        return [
            {
                "first": self.names[i],
                "second": self.names[j],
                "mean": float(self.mean[i, j]),
                "lower": float(self.lower[i, j]),
                "upper": float(self.upper[i, j]),
            }
            for i, j in torch.triu_indices(len(self.names), len(self.names), 1).T.tolist()
        ]

    def __str__(self) -> str:
        rows = self.rows()
        pairs = [f"{row['first']}, {row['second']}" for row in rows]
        width = max(len(pair) for pair in pairs)
        lines = [f"{'':<{width}}   mean  {self.interval:.0%} interval"]
        lines += [
            f"{pair:<{width}}  {row['mean']:5.2f}  {row['lower']:5.2f} to {row['upper']:5.2f}"
            for pair, row in zip(pairs, rows, strict=True)
        ]
        return "\n".join([*lines, *self.cautions])


@typed(interval=SHARE, num_draws=at_least(100), concentration=above(0), seed=at_least(0))
def view_correlation(
    run: Run,
    data: object,
    *,
    names: Sequence[str] | None = None,
    interval: float = 0.9,
    num_draws: int = 2000,
    concentration: float = 1.0,
    batch_size: int = 1024,
    seed: int = 0,
) -> ViewCorrelation:
    r"""The posterior of the total correlation C of latents between views, :math:`v_0 R` off the
    diagonal.

    .. math::
        y_{p \cdot l} \sim N\left(0, \; a_l^2 C_{tt} + \mathrm{diag}(1 / \lambda)\right), \qquad
        \lambda_n = \frac{1}{s_n^2} - P_{nn}, \qquad
        y_n = \Big(\lambda_n + P_{nn} + \sum_{n' \neq n} P_{nn'} \, b_{n'n}\Big)
            \frac{m_n}{\lambda_n}

    for the views t of object p: from the encoder's :math:`N(m_n, s_n^2)` the prior
    :math:`N(0, P^{-1})` that was learned is divided out (b is the slope of one view's encodings
    on another's), so that what is left is what the data themselves say of the latents.

    Arguments:
        run: Run whose model has a :class:`~ppvae.gp.GPPrior` with
            :class:`~ppvae.gp.FreeFormFeatures` over the views, and objects that are independent.
        data: Training data, as for :meth:`ppvae.runs.Run.columns`, with a datum at most per object
            and view.
        names: Names of the views in ascending order; by default those of the data, else the
            values.
        interval: Probability mass of the central intervals.
        num_draws: S, draws of C; twice as many are proposed.
        concentration: :math:`\eta` of the LKJ prior of C; one is uniform over correlation
            matrices, more draws them to the unit matrix.
        batch_size: Rows encoded at a time.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If the prior is another, its views are fewer than two, objects are
            correlated by its kernel, an object has two data in a view, there is but one object,
            or the guide's distribution of the latents is no diagonal normal.
    """
    columns = run.columns(data)
    with forked(seed=seed):
        sites, learned = view_sites(run, columns, batch_size=batch_size)
    if names is None:
        levels = free_prior(run)[1].tolist()
        names = columns.names.get("view") or tuple(f"{level:g}" for level in levels)
    if len(names) != len(learned):
        raise ArgumentError(
            f"names: expected {len(learned)}, one per view; got {len(names)}. Name the views in "
            "ascending order of their values."
        )
    with forked(seed=seed):
        draws, log_weights = _draw(sites, 2 * num_draws, concentration)
        weights = log_weights.softmax(0)
        # Systematic resampling: a proposal of weight w is taken about S w times.
        places = (torch.arange(num_draws, dtype=weights.dtype) + torch.rand(())) / num_draws
        at = torch.searchsorted(weights.cumsum(0), places).clamp_max(len(weights) - 1)
        draws = draws[at]
    tail = torch.tensor([(1 - interval) / 2, (1 + interval) / 2], dtype=draws.dtype)
    lower, upper = draws.quantile(tail, 0)
    k, effective = float(pareto_k(log_weights[:, None])), float(1 / weights.square().sum())
    given = sites.present[:, None].expand_as(sites.known)
    idle = float((given & ~sites.known).sum() / given.sum())
    cautions = tuple(_cautions(sites, names, k, effective, idle))
    for caution in cautions:
        logger.warning("view_correlation: %s", caution)
    return ViewCorrelation(
        names=tuple(names),
        draws=draws,
        mean=draws.mean(0),
        lower=lower,
        upper=upper,
        interval=interval,
        learned=learned,
        pareto_k=k,
        effective=effective,
        observations=int(sites.known.any(-1).sum()),
        idle=idle,
        cautions=cautions,
    )


def _draw(sites: ViewSites, number: int, concentration: float) -> tuple[Tensor, Tensor]:
    """Proposals of C (S, Q, Q), and the logarithms of their importance weights (S)."""
    _, latents, size = sites.value.shape
    rows = max(1, _AT_ONCE // (sites.value.numel() * size))
    pairs = size * (size - 1) // 2
    transform = CorrCholeskyTransform()
    lkj = dist.LKJCholesky(size, torch.tensor(concentration, dtype=torch.float64))

    def log_density(u: Tensor) -> Tensor:
        free, log_scale = u[..., :pairs], u[..., pairs:]
        root = transform(free)
        likelihood = sites.log_density(root @ root.mT, log_scale)
        prior = lkj.log_prob(root) + transform.log_abs_det_jacobian(free, root)
        return likelihood + prior - 0.5 * (log_scale / SCALE_SPREAD).square().sum(-1)

    mode = torch.zeros(pairs + latents, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([mode], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -log_density(mode)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
        mode = mode.detach()
        curvature = torch.autograd.functional.hessian(lambda u: -log_density(u), mode)
    # A direction without information has the spread of the prior, which is about one.
    values, vectors = torch.linalg.eigh(curvature)
    center, root = mode, vectors * values.clamp_min(0.1).rsqrt()
    with torch.no_grad():
        for _ in range(ROUNDS):
            proposals, log_weights = _propose(log_density, center, root, number // 2, rows)
            # Weights truncated as by Ionides (2008), for moments that one draw does not decide.
            weights = log_weights.softmax(0).clamp_max((number // 2) ** -0.5)[:, None]
            center = (weights * proposals).sum(0) / weights.sum()
            rest = weights.sqrt() * (proposals - center)
            root = torch.linalg.cholesky(rest.mT @ rest / weights.sum())
        proposals, log_weights = _propose(log_density, center, root, number, rows)
        factor = transform(proposals[:, :pairs])
    return factor @ factor.mT, log_weights


def _propose(
    log_density: Callable[[Tensor], Tensor], center: Tensor, root: Tensor, number: int, rows: int
) -> tuple[Tensor, Tensor]:
    """Draws (S, D) of a Student t, and the logarithms of their weights (S) up to a constant."""
    white = torch.randn(number, len(center), dtype=torch.float64)
    shrunk = torch.distributions.Chi2(torch.tensor(FREEDOM, dtype=torch.float64))
    white /= (shrunk.sample((number, 1)) / FREEDOM).sqrt()
    proposals = center + white @ root.mT
    target = torch.cat([log_density(part) for part in proposals.split(rows)])
    proposed = -0.5 * (FREEDOM + len(center)) * (white.square().sum(-1) / FREEDOM).log1p()
    return proposals, target - proposed


def _cautions(
    sites: ViewSites, names: Sequence[str], k: float, effective: float, idle: float
) -> list[str]:
    cautions = []
    if not k <= TRUSTED_K or effective < FEW_DRAWS:
        cautions.append(
            f"The importance weights have a Pareto k of {k:.2f} (up to {TRUSTED_K} is usable) and "
            f"{effective:.0f} effective draws (expected {FEW_DRAWS:.0f}): the intervals cannot be "
            "trusted. Use more objects, or a larger num_draws."
        )
    if idle > MANY_IDLE:
        cautions.append(
            f"Of {idle:.0%} of the data's latents the likelihood knows nothing; they are left "
            "out. Use fewer latents, or train longer."
        )
    together = sites.present.double().mT @ sites.present.double()
    alone = [
        f"{names[i]} and {names[j]}" for i, j in (together.triu() == 0).nonzero().tolist() if i < j
    ]
    if alone:
        cautions.append(
            f"No object has both {alone[0]}"
            + (f", nor {alone[1]}" if alone[1:] else "")
            + f" ({len(alone)} pairs in all): their correlation is what the prior and the other "
            "views leave."
        )
    return cautions
