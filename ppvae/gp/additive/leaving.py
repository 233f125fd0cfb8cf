r"""Predictions of training data from other training data: downdates of the arrow's blocks.

- In training, each subject keeps some of its data, the others are predicted from those and from
  the other subjects (:func:`leave_out`): which ones changes with each solution.
- After training, each datum from all others (:func:`leave_visits_out`), and each subject's data
  from the other subjects alone (:func:`leave_subjects_out`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch
from torch import Tensor

from ppvae.gp.additive.arrow import Blocks, Scales, shared_sums
from ppvae.gp.additive.distribution import LeftOut
from ppvae.gp.additive.visits import Visits

if TYPE_CHECKING:
    from ppvae.gp.additive.prior import AdditivePrior

__all__ = ["leave_out", "leave_subjects_out", "leave_visits_out"]

# Groups of subjects whose shared weights are found without them.
FOLDS = 8
# Steps of an additive recurrence (Martin Roberts' R2 sequence): even over subjects and over turns.
STEPS = (0.7548776662466927, 0.5698402909980532)
# Subjects whose matrices are solved at once.
CHUNK = 256


def kept_data(visits: Visits, turn: Tensor, *, later: bool) -> Tensor:
    """Mask of the data that are kept, with shape (N); at least one per subject is left out.

    Arguments:
        visits: Subjects of the training data.
        turn: Number of earlier calls, with shape ().
        later: Whether a subject's first data are kept, rather than random ones.
    """
    subject = torch.arange(visits.num_subjects, device=turn.device, dtype=torch.float64)
    share = (subject * STEPS[0] + turn * STEPS[1] + 0.5).frac()
    if later:
        return visits.ranks < (share * visits.counts).floor()[visits.codes]
    places = (visits.ranks + 1 + turn) * STEPS[0] + (subject * STEPS[1]).frac()[visits.codes]
    kept = places.frac() < share[visits.codes]
    return kept & (visits.ranks != (turn + visits.codes) % visits.counts[visits.codes])


@torch.no_grad()
def leave_out(
    visits: Visits,
    f: Tensor,
    b: Tensor,
    values: Tensor,
    scales: Scales,
    blocks: Blocks,
    *,
    turn: Tensor,
    later: bool,
) -> LeftOut:
    """The weights given some of each subject's data, and shared weights given other subjects'.

    Arguments:
        visits: Subjects of the training data.
        f: Unscaled shared features, with shape (N, H).
        b: Unscaled features of the subjects, with shape (N, R).
        values: Encodings, with shape (N, L).
        scales: The variances.
        blocks: The subjects' blocks given all data.
        turn: Number of earlier calls, with shape ().
        later: Whether a subject's first data are kept, rather than random ones.
    """
    kept = kept_data(visits, turn, later=later)
    count = min(FOLDS, visits.num_subjects)
    folds = torch.arange(visits.num_subjects, device=f.device) % count
    grams, projections = [], []
    for fold in range(count):
        subjects = folds == fold
        rows = subjects[visits.codes]
        gram, projection = shared_sums(f[rows], values[rows], scales)
        through, passed = blocks.sums(subjects)
        grams.append(gram - through)
        projections.append(projection - passed)
    all_grams, all_projections = torch.stack(grams), torch.stack(projections)
    precision = all_grams.sum(0) - all_grams
    precision.diagonal(dim1=-2, dim2=-1).add_(1.0)
    right = (all_projections.sum(0) - all_projections)[..., None]
    factor = torch.linalg.cholesky_ex(precision).L
    factor = factor.expand(*right.shape[:-2], *factor.shape[-2:])
    shared = torch.cholesky_solve(right, factor)[..., 0]
    own = Blocks.solve(visits, f, b * kept[:, None].to(b), values, scales)
    return LeftOut(
        shared_mean=shared,
        folds=folds,
        own_mean=own.means(shared[folds]),
        own_covariance=own.covariance,
        link=own.link,
        kept=kept,
        codes=visits.codes,
    )


@torch.no_grad()
def leave_visits_out(prior: AdditivePrior) -> dist.TorchDistribution:
    r"""Each training latent given all the others, in closed form.

    .. math::
        z_n^{-n} \sim N\left(\mu_n - \frac{\mu_n - \phi_n \cdot m}{1 - h_n / v_1}, \;
            \frac{v_1}{1 - h_n / v_1}\right)

    Arguments:
        prior: A prior with its training data.

    Returns:
        A normal with shape (N | L), in float64, in the order of the training data.

    References:
        | Gaussian Processes for Machine Learning, section 5.4.2 (Rasmussen and Williams, 2006)
        | http://gaussianprocess.org/gpml
    """
    arrow, _, _ = prior.state()
    visits, scales, values = prior.require_visits(), prior.scales(), prior.table.double()
    f, b = prior.features(prior.columns_seen)
    marginal = arrow.moments(f[:, None] * scales.shared, b[:, None] * scales.own, visits.codes)
    share = (1 - marginal.leverage / scales.noise).clamp_min(1e-9)
    scale = (scales.noise / share).sqrt().expand_as(values)
    return dist.Normal(values - (values - marginal.loc) / share, scale).to_event(1)


@torch.no_grad()
def leave_subjects_out(prior: AdditivePrior) -> dist.TorchDistribution:
    """Each training latent given those of the other subjects.

    Arguments:
        prior: A prior with its training data.

    Returns:
        A normal with shape (N | L), in float64, in the order of the training data.
    """
    visits, scales, values = prior.require_visits(), prior.scales(), prior.table.double()
    f, b = prior.features(prior.columns_seen)
    _, blocks, _ = prior.state()
    total, projection = shared_sums(f, values, scales)
    through, passed = blocks.sums()
    precision, right = total - through, projection - passed
    precision.diagonal(dim1=-2, dim2=-1).add_(1.0)
    outer = scales.shared[:, :, None] * scales.shared[:, None] / scales.noise[:, None, None]
    locs = torch.empty_like(values)
    variances = torch.empty_like(values)
    grams = visits.sums(f, f)
    projections = visits.sums(values, f) * scales.shared / scales.noise[:, None]
    for subjects in torch.arange(visits.num_subjects, device=f.device).split(CHUNK):
        link, coupling = blocks.link[subjects], blocks.coupling[subjects]
        without = precision - grams[subjects, None] * outer + link @ coupling.mT
        passed_on = (link @ blocks.projection[subjects][..., None])[..., 0]
        rest = right - projections[subjects] + passed_on
        covariance = torch.linalg.inv(without)
        means = (covariance @ rest[..., None])[..., 0]
        rows = torch.isin(visits.codes, subjects).nonzero()[:, 0]
        places = visits.codes[rows] - subjects[0]
        own, shared = b[rows, None] * scales.own, f[rows, None] * scales.shared
        locs[rows] = (shared * means[places]).sum(-1)
        solved = (covariance[places] @ shared[..., None])[..., 0]
        variance = scales.noise + own.square().sum(-1) + (solved * shared).sum(-1)
        variances[rows] = variance.expand(-1, values.size(1))
    return dist.Normal(locs, variances.sqrt()).to_event(1)
