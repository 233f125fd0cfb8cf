r"""The contribution of each term of an additive kernel to the latents.

.. math::
    z_{nl} = \sum_j z_{nl}^{(j)} + \epsilon_{nl}, \qquad
    z_{nl}^{(j)} = \phi_n^{(j)} \cdot w_l^{(j)}

The weights' posterior is that of all terms together; a term's part uses only its own features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.programs.batches import placed

if TYPE_CHECKING:
    from ppvae.gp.additive.prior import AdditivePrior

__all__ = ["Contribution", "contribution", "decompose", "share_table", "shares"]


@dataclass(frozen=True)
class Contribution:
    """The contribution of some terms to the latents of rows.

    Attributes:
        mean: Mean of the contribution, with shape (N, L).
        variance: Variance of the function, without noise, with shape (N, L).
        draws: Draws, joint over rows, with shape (S, N, L); None if not requested.
    """

    mean: Tensor
    variance: Tensor
    draws: Tensor | None = None


@torch.no_grad()
def contribution(
    prior: AdditivePrior,
    columns: Mapping[str, Tensor],
    *names: str,
    num_draws: int = 0,
) -> Contribution:
    """The contribution of the terms with these names, together.

    Arguments:
        prior: A settled prior.
        columns: The kernel's columns of the rows, each with shape (N).
        names: Names among ``prior.kernel.names``; all terms if none is given.
        num_draws: Number of draws S, from torch's global generator.

    Raises:
        ArgumentError: If there is no such term.
    """
    known = prior.kernel.names
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ArgumentError(
            f"terms: expected names among {known}; got {unknown}. See prior.kernel.names."
        )
    columns = placed(prior, columns)
    prior.check(columns)
    chosen = [name in names or not names for name in known]
    scales, arrow, codes = prior.scales(chosen), prior.posterior, prior.codes(columns)
    f, b = prior.features(columns)
    f, b = f[:, None] * scales.shared, b[:, None] * scales.own
    marginal = arrow.moments(f, b, codes)
    variance = (marginal.leverage + arrow.spread(marginal.g, b, codes)).expand_as(marginal.loc)
    draws = None
    if num_draws > 0:
        parts = [arrow.draw(marginal.g, b, codes) for _ in range(num_draws)]
        draws = marginal.loc + torch.stack(parts)
    return Contribution(marginal.loc, variance.clamp_min(0), draws)


def decompose(
    prior: AdditivePrior, columns: Mapping[str, Tensor], *, num_draws: int = 0
) -> dict[str, Contribution]:
    """The contribution of each term by name; see :func:`contribution`.

    Arguments:
        prior: A settled prior.
        columns: The kernel's columns of the rows, each with shape (N).
        num_draws: Number of draws S, from torch's global generator.
    """
    return {
        name: contribution(prior, columns, name, num_draws=num_draws)
        for name in prior.kernel.names
    }


@torch.no_grad()
def shares(prior: AdditivePrior) -> dict[str, Tensor]:
    """Each term's share of the variance, and the noise's, of each latent: names to (L)."""
    variances = prior.variances().expand(prior.latent_dim, -1)
    return dict(zip([*prior.kernel.names, "noise"], variances.unbind(1), strict=True))


def share_table(prior: AdditivePrior, *, latents: bool = True) -> str:
    """The shares as text, in percent: a row per term, the mean over latents, then each latent.

    Arguments:
        prior: A settled prior.
        latents: Whether each latent has a column, beside the mean, and the columns have names.
    """
    table = shares(prior)
    width = max(map(len, table))
    number = len(next(iter(table.values())))
    heads = "".join(f"{f'z {i + 1}':>5}" for i in range(number))
    lines = [f"{'':{width}}  mean  {heads}"] if latents else []
    for name, values in sorted(table.items(), key=lambda item: -float(item[1].mean())):
        each = "".join(f"{100 * v:5.0f}" for v in values.tolist()) if latents else ""
        lines.append(f"{name:{width}} {100 * float(values.mean()):5.1f} %{each}")
    return "\n".join(lines)
