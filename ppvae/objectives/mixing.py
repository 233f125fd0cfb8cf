"""Pairs whose terms for some rows depend on the other rows of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppvae.objectives.elbo import Objective
from ppvae.programs.scopes import forked

__all__ = ["mixed_columns"]


def mixed_columns(
    objective: Objective, batch: Mapping[str, Tensor], *, seed: int = 0
) -> list[str]:
    """Columns of some rows on which the ELBOs of other rows depend.

    One half of the rows is tried against the other, by gradients, so that columns of whole numbers
    count for nothing. A pair with latents that all data share has none: its rows may depend on
    each other through these.

    Arguments:
        objective: The objective of a pair, checked on columns of the same names.
        batch: Columns by name, each with shape (N, ...).
        seed: Random seed of the draws; the caller's generators are restored.
    """
    if any(structure.shared for structure in objective.structures.values()):
        return []
    leaves = {
        name: column.detach().clone().requires_grad_()
        for name, column in batch.items()
        if column.is_floating_point() and column.dim()
    }
    if not leaves:
        return []
    with torch.enable_grad(), forked(*batch.values(), seed=seed):
        elbo = objective({**batch, **leaves}).elbo
        if not elbo.requires_grad:
            return []
        first, last = slice(0, len(elbo) // 2), slice(len(elbo) // 2, None)
        mixed = set()
        for rows, others in ((first, last), (last, first)):
            slopes = torch.autograd.grad(
                elbo[rows].sum(), [*leaves.values()], allow_unused=True, retain_graph=True
            )
            mixed |= {
                name
                for name, slope in zip(leaves, slopes, strict=True)
                if slope is not None and bool(slope[others].nan_to_num().any())
            }
    return sorted(mixed)
