r"""Is a latent used, and does the aggregated posterior match the prior?

.. math::
    \underbrace{\frac1N \sum_n \mathrm{KL}(q(z \mid x_n) \| p(z))}_{\text{rate}}
        = \underbrace{I_q(x; z)}_{\leq \log N}
        + \underbrace{\mathrm{KL}(\bar q(z) \| p(z))}_{\text{marginal}}, \qquad
    \bar q(z) = \frac1N \sum_n q(z \mid x_n)

A large marginal KL means holes: draws of the prior fall where no datum is encoded.

References:
    | ELBO surgery (Hoffman and Johnson, 2016)
    | Importance Weighted Autoencoders (Burda et al., 2015), on active units
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError
from ppvae.evaluate.bounds import Pairs, is_same, posterior_of
from ppvae.evaluate.rows import thinned
from ppvae.expected import REAL_ROWS, TEXT, expect, integer, number
from ppvae.programs import evaluating, placement, seeded
from ppvae.programs.batches import on_one_device
from ppvae.runs.run import Run

__all__ = ["Surgery", "active_units", "elbo_surgery", "invariance"]


def active_units(means: Tensor, *, threshold: float = 0.01) -> Tensor:
    r"""Dimensions that vary with the data: :math:`\mathrm{Var}_n(E_q[z \mid x_n])` > threshold.

    Arguments:
        means: Posterior means, with shape (N, Z).
        threshold: In the prior's units; the paper's 0.01.

    Returns:
        Boolean, with shape (Z).

    Raises:
        ArgumentError: If the means have another shape, or the threshold is negative.
    """
    expect(REAL_ROWS, means=means)
    expect(number(0), "Use 0.01.", threshold=threshold)
    if means.dim() != 2 or len(means) < 2:
        raise ArgumentError(
            f"means: expected shape (N, Z) with N >= 2; got {tuple(means.shape)}. "
            "Pass run.encode(data)['z']."
        )
    return means.double().var(0) > threshold


@dataclass(frozen=True)
class Surgery:
    """The parts of a KL, in nats per datum; ``rate`` is their sum, up to Monte Carlo error.

    Attributes:
        rate: Mean KL of the posteriors from the prior.
        mutual_information: Information between rows and latents under the guide: a lower bound, at
            most log N (:func:`~ppvae.evaluate.information` adds an upper one).
        marginal_kl: KL of the mean posterior from the prior.
    """

    rate: float
    mutual_information: float
    marginal_kl: float


def elbo_surgery(
    run: Run,
    data: ColumnsLike,
    *,
    site: str = "z",
    num_draws: int = 16,
    max_rows: int = 1000,
    seed: int = 0,
) -> Surgery:
    """Split a site's KL into information on each datum and the KL of the mean posterior.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        site: A latent site whose posterior depends on the columns alone, and whose prior is the
            same for all rows; a column of this name, which holds known values of the latent, is
            left out.
        num_draws: Draws per datum.
        max_rows: Number of rows N, evenly spaced; N squared densities are evaluated, and the
            mutual information cannot exceed log N.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ArgumentError: If there is no such latent site, if the site is global, if its posterior
            depends on another latent or has no density, or if its prior differs between rows, as
            p(z | c) or that of a site that depends on another latent.
    """
    expect(integer(1), "Use 16.", num_draws=num_draws)
    expect(TEXT, "Use 'z'.", site=site)
    columns, _ = thinned(run, data, max_rows)
    columns = columns.select(*(name for name in columns if name != site))
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        q, context = posterior_of(run, columns, site)
        p = context.p[site]
        if not is_same(p, q().detach()):
            raise ArgumentError(
                f"site {site!r}: expected one prior for all rows, from which the mean posterior "
                "may differ; got one that depends on a column or on another latent. Choose "
                "another site, or use evaluate.information for bounds of its information."
            )
        rate = own = mixed = 0.0
        for _ in range(num_draws):
            z = q().detach()
            log = Pairs.of(q, z)
            log_p = p.log_prob(z)
            rate += float((log.own - log_p).mean()) / num_draws
            own += float((log.own - log.mixed).mean()) / num_draws
            mixed += float((log.mixed - log_p).mean()) / num_draws
    return Surgery(rate=rate, mutual_information=own, marginal_kl=mixed)


@on_one_device
def invariance(codes: Tensor, transformed: Tensor) -> float:
    r"""Invariance of codes to a transformation of the data: 1 is exact, 0 is none.

    .. math::
        1 - \frac{\sum_n \|z(x_n) - z(T x_n)\|^2}{2 \sum_n \|z(x_n) - \bar z\|^2}

    The denominator is the mean squared distance of two unrelated data; the score is below 0 if the
    transformation changes codes by more than that.

    Arguments:
        codes: Codes of the data, with shape (N, Z).
        transformed: Codes of the same data transformed, with shape (N, Z).

    Raises:
        ArgumentError: If the shapes differ or are others, or all codes are equal.
    """
    expect(REAL_ROWS, codes=codes, transformed=transformed)
    codes, transformed = codes.double(), transformed.double()
    if codes.shape != transformed.shape or codes.dim() != 2 or len(codes) < 2:
        raise ArgumentError(
            f"codes: expected two tensors of one shape (N, Z), N >= 2; got {tuple(codes.shape)} "
            f"and {tuple(transformed.shape)}. Encode the same rows before and after."
        )
    moved = (codes - transformed).double().square().sum()
    spread = (codes - codes.mean(0)).double().square().sum()
    if spread <= torch.finfo(torch.float64).tiny:
        raise ArgumentError("codes: expected codes that differ; got a constant. Train further.")
    return float(1 - moved / (2 * spread))
