r"""Quality of the fit of each datum: likelihood by observed site, and KL by latent site.

.. math::
    \mathrm{ELBO}_n = \sum_x E_q[\log p(x_n \mid \cdot)]
        - \sum_z \mathrm{KL}(q(z \mid x_n) \,\|\, p(z))

A mean over the data hides the few that are fitted badly; these are the terms per datum.
:func:`ppvae.evaluate.log_likelihood` adds an estimate of :math:`\log p(x_n)`, with a diagnostic of
the guide at each datum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError
from ppvae.evaluate.rows import columns_of, plain_elbo
from ppvae.programs import batches, evaluating, placement, seeded
from ppvae.runs.run import Run

__all__ = ["QualityOfFit", "quality_of_fit"]


@dataclass(frozen=True)
class QualityOfFit:
    """Terms of N data, in nats, in the order of the data.

    Attributes:
        log_likelihood: Expected log-likelihood by observed site, with shape (N).
        kl: KL by latent site, with shape (N).
    """

    log_likelihood: dict[str, Tensor]
    kl: dict[str, Tensor]

    @property
    def elbo(self) -> Tensor:
        """The ELBO of each datum, with shape (N)."""
        parts = [*self.log_likelihood.values(), *(-kl for kl in self.kl.values())]
        return torch.stack(parts).sum(0)

    def worst(self, count: int, *, by: str = "elbo") -> Tensor:
        """Numbers of the rows that are fitted worst, worst first, with shape (count).

        Arguments:
            count: Number of rows.
            by: ``elbo``, an observed site (its lowest log-likelihoods) or a latent one (its
                highest KLs).

        Raises:
            ArgumentError: If ``by`` is none of these, or ``count`` is not between 1 and N.
        """
        scores = {
            "elbo": self.elbo,
            **self.log_likelihood,
            **{name: -kl for name, kl in self.kl.items()},
        }
        if by not in scores:
            raise ArgumentError(f"by: expected one of {list(scores)}; got {by!r}. Use 'elbo'.")
        if not 1 <= count <= len(self.elbo):
            raise ArgumentError(
                f"count: expected 1 to {len(self.elbo)}, the number of data; got {count}. "
                "Ask for fewer."
            )
        return scores[by].topk(count, largest=False).indices


def quality_of_fit(
    run: Run,
    data: ColumnsLike,
    *,
    num_particles: int = 8,
    batch_size: int = 128,
    seed: int = 0,
) -> QualityOfFit:
    """The terms of the plain ELBO of each datum.

    Arguments:
        run: Its model and guide, in evaluation mode.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        num_particles: Draws of the guide per datum.
        batch_size: Rows at a time.
        seed: Random seed of the draws; the caller's generators are restored.

    Raises:
        ContractError: If the data lack a column.
    """
    columns = columns_of(run, data)
    objective = plain_elbo(run, columns, num_particles=num_particles)
    parts = []
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        for batch in batches(run.guide, columns, batch_size):
            parts.append(objective(batch))
    sites, latents = parts[0].log_likelihood, parts[0].kl
    return QualityOfFit(
        {name: torch.cat([part.log_likelihood[name] for part in parts]) for name in sites},
        {name: torch.cat([part.kl[name] for part in parts]) for name in latents},
    )
