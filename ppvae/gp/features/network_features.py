r"""A kernel by a network, :math:`k(a, b) = g(a)^\top g(b)`."""

from __future__ import annotations

from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.gp.features.feature_map import FeatureMap, finite, unit_rows

__all__ = ["NetworkFeatures"]


class NetworkFeatures(FeatureMap):
    r""":math:`k(a, b) = g(a)^\top g(b)` with g a network, its outputs scaled to unit norm.

    ``nn.Linear`` gives the kernel linear in the covariates, ``nn.Identity`` their cosine.

    Arguments:
        network: Covariates (N, D) to (N, M).
        num_features: M.

    Raises:
        ArgumentError: If ``num_features`` is below 1.
    """

    @typed(num_features=at_least(1))
    def __init__(self, network: nn.Module, num_features: int) -> None:
        super().__init__()
        self.network = network
        self.num_features = num_features

    def check(self, values: Tensor) -> None:
        finite(values, "covariates")
        rows = self._outputs(values)
        if rows.size(-1) != self.num_features:
            raise ArgumentError(
                f"NetworkFeatures: expected a network with {self.num_features} outputs; got "
                f"{rows.size(-1)}. Set num_features to the network's last width."
            )
        nil = (rows.norm(dim=-1) < 1e-12).nonzero()[:, 0]
        if len(nil) > 0:
            raise ArgumentError(
                f"covariates: expected a direction from each; got features of norm zero in row "
                f"{int(nil[0])}. Add a constant covariate, or a bias."
            )

    def forward(self, values: Tensor) -> Tensor:
        return unit_rows(self._outputs(values))

    def _outputs(self, values: Tensor) -> Tensor:
        parameter = next(self.network.parameters(), values)
        rows: Tensor = self.network(values.to(parameter.dtype))
        return rows
