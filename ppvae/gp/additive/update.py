r"""The posterior given further visits, of new subjects or of known ones, without new training.

The arrow's blocks of the subjects concerned are changed, and the shared weights with them: the
result is that of solving with all data at once (at held kernels and variances).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from ppvae.data.mapped import Columns
from ppvae.errors import DataError
from ppvae.gp.additive.arrow import Arrow, Scales, shared_sums
from ppvae.gp.additive.checks import check_visits
from ppvae.gp.additive.prior import AdditivePrior
from ppvae.gp.additive.visits import Visits
from ppvae.programs import copied

__all__ = ["given_visits", "with_visits"]

M = TypeVar("M", bound=nn.Module)


def given_visits(model: M, guide: nn.Module, data: Columns, *, chunk: int = 512) -> M:
    """A copy of a model with predictions given further visits, encoded by its guide.

    Arguments:
        model: A fitted model with an :class:`~ppvae.gp.additive.AdditivePrior` with a subject.
        guide: Guide of the model.
        data: Further visits, of new subjects or of known ones: ``x`` and the kernel's columns.
        chunk: Number of rows encoded at a time.

    Raises:
        DataError: If a visit is given twice or has no observed value, or a subject is none.
    """
    changed = copied(model)
    for name, prior in model.named_modules():
        if isinstance(prior, AdditivePrior):
            columns = check_visits(prior.kernel, data, prior.subject)
            codes, variances = prior.encode_all(guide, data, chunk)
            changed.set_submodule(name, with_visits(prior, columns, codes, variances))
    return changed


@torch.no_grad()
def with_visits(
    prior: AdditivePrior,
    columns: Mapping[str, Tensor],
    codes: Tensor,
    variances: Tensor | None = None,
) -> AdditivePrior:
    r"""A copy of a prior with predictions given further visits.

    ``model.prior = with_visits(model.prior, columns, encoded.mean, encoded.variance)`` and the
    model predicts the new subjects at any time.

    Arguments:
        prior: A settled prior with a subject.
        columns: The kernel's columns of the visits, each with shape (K).
        codes: Posterior means of their latents, with shape (K, L).
        variances: Their posterior variances, with shape (K, L); zero by default.

    Raises:
        DataError: If the columns do not fit the kernel, or the numbers of rows differ.
    """
    ids, levels = torch.as_tensor(columns[prior.subject or ""]).long(), prior.subjects
    if len(ids) != len(codes) or (ids < 0).any():
        raise DataError(
            f"visits: expected one encoding per row and subjects from 0; got {len(codes)} "
            f"encodings of {len(ids)} rows, the least subject {int(ids.min())}. Number new "
            "subjects with ids that the training data do not have."
        )
    prior.check(columns, new_subjects=True)
    f, b = prior.features(columns)
    visits = Visits(ids)
    both = torch.cat([levels, visits.levels]).unique()
    before = torch.searchsorted(levels, visits.levels).clamp_max(len(levels) - 1)
    before = torch.where(levels[before] == visits.levels, before, len(levels))
    noise = torch.zeros_like(codes) if variances is None else variances
    old, changed = _updated(
        prior.posterior, before, visits, f, b, codes.double(), noise.double(), prior.scales()
    )
    extended = copy.deepcopy(prior)
    extended.subjects = both
    # Each subject's block: the changed one, else its own; the unseen subject stays last.
    source = torch.searchsorted(levels, both).clamp_max(len(levels) - 1)
    at = torch.searchsorted(both, visits.levels)
    merged = {}
    for name in ("own_mean", "own_covariance", "link", "cross_noise", "own_noise"):
        blocks = getattr(old, name)[torch.cat([source, source.new_tensor([len(levels)])])]
        blocks[at] = getattr(changed, name)
        merged[name] = blocks
    extended._keep(replace(old, **merged))
    return extended


def _updated(
    arrow: Arrow,
    before: Tensor,
    visits: Visits,
    f: Tensor,
    b: Tensor,
    values: Tensor,
    weights: Tensor,
    scales: Scales,
) -> tuple[Arrow, Arrow]:
    """The posterior of all subjects given the shared weights' new one, and the changed blocks."""
    v1 = scales.noise[:, None, None]
    inner = scales.own[:, :, None] * scales.own[:, None]
    outer = scales.shared[:, :, None] * scales.own[:, None]
    precision = torch.linalg.inv(arrow.shared_covariance)
    right = _times(precision, arrow.shared_mean)
    # The blocks as they were, from the posterior.
    c, link = torch.linalg.inv(arrow.own_covariance[before]), arrow.link[before]
    coupling = link @ c
    base = arrow.own_mean + _times(arrow.link.mT, arrow.shared_mean)
    projection = _times(c, base[before])
    apart = c @ arrow.own_noise[before] @ c
    reduced = precision @ arrow.cross_noise[before] @ c
    gram, shared_right = shared_sums(f, values, scales)
    total = precision @ arrow.shared_noise @ precision
    weighted = torch.stack([(f * w[:, None]).mT @ f for w in weights.unbind(1)])
    squares = scales.shared[:, :, None] * scales.shared[:, None] / v1.square()
    total = total + weighted * squares + _through(reduced, link, apart)
    precision = precision + gram + _gram(link, coupling)
    right = right + shared_right + _times(link, projection).sum(0)
    # With the new visits.
    crossed = reduced + link @ apart + visits.sums(f, b, weights) * (outer / v1.square())
    apart = apart + visits.sums(b, b, weights) * (inner / v1.square())
    c = c + visits.sums(b, b)[:, None] * (inner / v1)
    coupling = coupling + visits.sums(f, b)[:, None] * (outer / v1)
    projection = projection + visits.sums(values, b) * scales.own / scales.noise[:, None]
    own = torch.linalg.inv(c)
    link = coupling @ own
    reduced = crossed - link @ apart
    covariance = torch.linalg.inv(precision - _gram(link, coupling))
    total = total - _through(reduced, link, apart)
    mean = _times(covariance, right - _times(link, projection).sum(0))
    old_precision = torch.linalg.inv(arrow.shared_covariance)
    old = replace(
        arrow,
        shared_mean=mean,
        shared_covariance=covariance,
        own_mean=base - _times(arrow.link.mT, mean),
        shared_noise=covariance @ total @ covariance,
        cross_noise=covariance @ old_precision @ arrow.cross_noise,
    )
    changed = replace(
        old,
        own_mean=_times(own, projection) - _times(link.mT, mean),
        own_covariance=own.expand_as(arrow.own_covariance[before]),
        link=link.expand_as(arrow.link[before]),
        cross_noise=covariance @ reduced @ own,
        own_noise=own @ apart @ own,
    )
    return old, changed


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]


def _gram(link: Tensor, coupling: Tensor) -> Tensor:
    return torch.einsum("pkhr,pkjr->khj", link, coupling)


def _through(reduced: Tensor, link: Tensor, apart: Tensor) -> Tensor:
    r""":math:`\sum_p \Gamma_p T_p^\top + T_p \Gamma_p^\top + T_p M_p T_p^\top`."""
    both = reduced @ link.mT
    return (both + both.mT + link @ apart @ link.mT).sum(0)
