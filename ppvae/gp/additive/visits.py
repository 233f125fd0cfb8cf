r"""The subject of each training datum, and sums over a subject's data.

Subjects have different numbers of data. They are sorted into groups of similar size, each padded
to its largest subject, so that at most half of the padded rows are empty and each group is one
batched product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Group", "Visits"]


@dataclass(frozen=True)
class Group:
    """Subjects of similar size.

    Attributes:
        subjects: Their codes, with shape (P').
        rows: Their data's row numbers, padded with row 0, with shape (P', n).
        present: One where a row is a datum and zero where it is padding, with shape (P', n).
    """

    subjects: Tensor
    rows: Tensor
    present: Tensor


class Visits:
    """The subject of each datum.

    Arguments:
        subjects: Subject ids, with shape (N).
        order: Numbers that order a subject's data, such as ages, with shape (N); by default the
            order of the rows.

    Attributes:
        levels: The distinct ids in ascending order, with shape (P).
        codes: Subject of each datum as an index into ``levels``, with shape (N).
        counts: Number of data per subject, with shape (P).
        ranks: Position of each datum among those of its subject, from 0, with shape (N).
        groups: The subjects by size.
    """

    def __init__(self, subjects: Tensor, order: Tensor | None = None) -> None:
        self.levels, self.codes, self.counts = torch.unique(
            subjects, return_inverse=True, return_counts=True
        )
        self.num_rows = len(subjects)
        self.num_subjects = len(self.levels)
        rows = torch.arange(self.num_rows, device=subjects.device)
        if order is not None:
            rows = rows[torch.argsort(order, stable=True)]
        rows = rows[torch.argsort(self.codes[rows], stable=True)]
        starts = self.counts.cumsum(0) - self.counts
        self.ranks = torch.empty_like(rows)
        self.ranks[rows] = (
            torch.arange(self.num_rows, device=rows.device) - starts[self.codes[rows]]
        )
        self.groups = []
        sizes = self.counts.double().log2().ceil().long()
        for size in sizes.unique().tolist():
            chosen = (sizes == size).nonzero()[:, 0]
            places = torch.arange(int(self.counts[chosen].max()), device=rows.device)
            present = places < self.counts[chosen, None]
            indices = torch.where(present, starts[chosen, None] + places, 0)
            padded = torch.where(present, rows[indices], 0)
            self.groups.append(Group(chosen, padded, present.double()))

    def sums(self, left: Tensor, right: Tensor, weights: Tensor | None = None) -> Tensor:
        r""":math:`\sum_{n \in p} c_n a_n b_n^\top` of each subject.

        Arguments:
            left: a, with shape (N, A).
            right: b, with shape (N, B).
            weights: c, with shape (N) or (N, W); ones by default.

        Returns:
            With shape (P, A, B), or (P, W, A, B) with weights (N, W).
        """
        middle = () if weights is None else weights.shape[1:]
        total = left.new_zeros(self.num_subjects, *middle, left.size(1), right.size(1))
        for group in self.groups:
            share = group.present.to(left)[..., None]
            a, b = left[group.rows] * share, right[group.rows]
            if weights is None:
                total[group.subjects] = a.mT @ b
            elif weights.dim() == 1:
                total[group.subjects] = (a * weights[group.rows][..., None]).mT @ b
            else:
                scaled = a[:, None] * weights[group.rows].mT[..., None]
                total[group.subjects] = scaled.mT @ b[:, None]
        return total
