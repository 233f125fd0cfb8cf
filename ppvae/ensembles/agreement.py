"""The agreement of members on classes, aligned by Hungarian matching."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.expected import REAL_ROWS, expect, integer

__all__ = ["Agreement", "agreement"]


@dataclass(frozen=True)
class Agreement:
    r"""The aligned class probabilities of an ensemble's members on the same data.

    Attributes:
        mean: :math:`\bar q`, with shape (N, K).
        dispersion: d, with shape (N); 0 where all members agree.
        stability: Agreement of the members on which data belong to each class, with shape (K),
            beyond chance: :math:`(J - E) / (1 - E)`, the mean over pairs of members, with
            :math:`J = \sum_n \min(q_m, q_{m'}) / \sum_n \max(q_m, q_{m'})` and E its value
            over all pairs of data, :math:`(n, n')` in place of :math:`(n, n)`. It is 1 if the
            class holds the same data in every member, and 0 if the members' classes have nothing
            to do with each other, or a class has the same probability for all data.
        order: :math:`\pi_m(k)`, with shape (M, K): the member's own number of class k.
    """

    mean: Tensor
    dispersion: Tensor
    stability: Tensor
    order: Tensor


def agreement(probs: Tensor, *, reference: int = 0, rounds: int = 5) -> Agreement:
    """Align members by Hungarian matching, first with one of them, then with the mean of all.

    Arguments:
        probs: Class probabilities, with shape (M, N, K).
        reference: Member whose class numbers are kept, such as the one with the best ELBO.
        rounds: Largest number of alignments with the mean.

    Raises:
        ArgumentError: If ``probs`` has another shape, or there is no member ``reference``.
    """
    expect(REAL_ROWS, probs=probs)
    expect(integer(0), "Use 0.", reference=reference)
    expect(integer(0), "Use 5.", rounds=rounds)
    if probs.dim() != 3 or reference >= len(probs):
        raise ArgumentError(
            f"agreement: expected probabilities (M, N, K) and a member from 0 to M - 1; got "
            f"{tuple(probs.shape)} and {reference}. Stack the members' probabilities."
        )
    target, order = probs[reference], probs.new_empty(0)
    for _ in range(rounds + 1):
        found = torch.stack([_match(member, target) for member in probs])
        if torch.equal(found, order):
            break
        order = found
        aligned = torch.stack([m[:, own] for m, own in zip(probs, order, strict=True)])
        target = aligned.mean(0)
    mean = aligned.mean(0)
    return Agreement(
        mean=mean,
        dispersion=(aligned - mean).square().sum(-1).mean(0).sqrt(),
        stability=_stability(aligned),
        order=order,
    )


def _match(member: Tensor, target: Tensor) -> Tensor:
    """The member's own number of each class of the target, with shape (K)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment((target.mT @ member).cpu().numpy(), maximize=True)
    return torch.as_tensor(columns)[torch.as_tensor(rows).argsort()].to(member.device)


def _stability(aligned: Tensor) -> Tensor:
    if len(aligned) == 1:
        return aligned.new_ones(aligned.size(-1))
    found, precise = [], aligned.double()
    for i, first in enumerate(precise):
        for second in precise[i + 1 :]:
            total = first.sum(0) + second.sum(0)
            overlap = _overlap(torch.minimum(first, second).sum(0), total)
            chance = _overlap(_shared_by_chance(first, second), total)
            found.append((overlap - chance) / (1 - chance).clamp_min(1e-9))
    return torch.stack(found).mean(0).to(aligned)


def _overlap(shared: Tensor, total: Tensor) -> Tensor:
    """What two memberships share, of all that either holds: min + max is their total."""
    return shared / (total - shared).clamp_min(1e-12)


def _shared_by_chance(first: Tensor, second: Tensor) -> Tensor:
    """The sum of the smaller probabilities over all pairs of data, over N, with shape (K)."""
    lower, upper = first.mT.contiguous(), second.mT.contiguous().sort(-1).values
    sums = torch.cat([torch.zeros_like(upper[:, :1]), upper.cumsum(-1)], -1)
    below = torch.searchsorted(upper, lower)  # How many of the second each of the first exceeds.
    rows = upper.size(-1)
    return (sums.gather(-1, below) + lower * (rows - below)).sum(-1) / rows
