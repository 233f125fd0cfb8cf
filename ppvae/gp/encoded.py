"""The base class of GP priors that are trained from a table of encodings."""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.data.mapped import Columns
from ppvae.gp.features import FeatureMap
from ppvae.gp.weighted import WeightedNormal
from ppvae.nets.priors import Prior
from ppvae.programs import batches, evaluating, marginal_of
from ppvae.programs.marginals import absent

__all__ = ["HELD", "EncodedPrior"]

# Least share of a kernel's variance that its features should hold.
HELD = 0.95


class EncodedPrior(Prior):
    """Base class of priors that use the guide's encodings of the training data.

    Attributes:
        site: Name of the latent site with this prior.
        block: Dimensions of the site that have this prior; a :class:`~ppvae.gp.JoinedPrior` sets
            them.
    """

    site: str = "z"
    block: slice = slice(None)

    def encodings(
        self, posteriors: Mapping[str, dist.TorchDistribution]
    ) -> tuple[Tensor, Tensor] | None:
        """Means and variances of a batch, (N, L) each; those of the first of particles.

        Arguments:
            posteriors: Latent site to the guide's distribution, with shape (..., N | L).

        Returns:
            None where there are none: a :class:`~ppvae.gp.WeightedNormal` needs no table.

        Raises:
            ContractError: If there is no such latent site.
        """
        q = posteriors.get(self.site)
        if q is None:
            raise absent(self.site, posteriors)
        if isinstance(q, WeightedNormal):
            return None
        mean, variance = (
            moment.reshape(-1, *moment.shape[-2:])[0]
            for moment in (q.mean[..., self.block], q.variance[..., self.block])
        )
        return mean, variance

    def caution(self) -> str:
        maps = [part for part in self.modules() if isinstance(part, FeatureMap)]
        return " ".join(
            f"{part.name or type(part).__name__}: its {part.num_features} features hold "
            f"{part.held():.0%} of the kernel's variance at the hyperparameters that were "
            f"learned, less than {HELD:.0%}: the model's kernel is a smoother one. Train with "
            "more features (num_features or num_frequencies; the third number in the text of a "
            "kernel; --frequencies)."
            for part in maps
            if part.held() < HELD
        )

    @torch.no_grad()
    def encode_all(self, guide: nn.Module, data: Columns, chunk: int) -> tuple[Tensor, Tensor]:
        """Means and variances of all training data, (N, L) each.

        Arguments:
            guide: A guide with the site of this prior.
            data: The training data that ``prepare`` saw.
            chunk: Rows encoded at a time.
        """
        means, variances = [], []
        with evaluating(guide):
            for batch in batches(guide, data, chunk):
                q = marginal_of(guide, batch, self.site)
                means.append(q.mean[..., self.block])
                variances.append(q.variance[..., self.block])
        return torch.cat(means), torch.cat(variances)
