r"""Any GPyTorch kernel, through inducing points Z.

.. math::
    r(a) = L^{-1} k(Z, a), \qquad L L^\top = K_{ZZ}, \qquad
    r(a)^\top r(b) = k(a, Z) K_{ZZ}^{-1} k(Z, b)

exact at the points, and as good as they cover the data elsewhere. Rows are rescaled to unit norm,
which keeps the kernel's variance where the points leave some out (as FITC does) and takes out the
kernel's own scale, which is the prior's to set.

References:
    | A Unifying View of Sparse Approximate Gaussian Process Regression
    | (Quinonero-Candela and Rasmussen, 2005)
    | https://www.jmlr.org/papers/v6/quinonero-candela05a.html
"""

from __future__ import annotations

import torch
from gpytorch.kernels import Kernel
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import ROWS, SHARE
from ppvae.gp.features.feature_map import FeatureMap, finite, unit_rows

__all__ = ["InducingFeatures"]

# Added to K_ZZ, relative to the mean of its diagonal.
JITTER = 1e-8
# Least share of the kernel's variance that the points must explain wherever they are asked.
LEAST = 0.01


class InducingFeatures(FeatureMap):
    r"""Features of any GPyTorch kernel: :math:`r(a) = L^{-1} k(Z, a)`, unit rows.

    Arguments:
        kernel: With a positive diagonal.
        points: Z, distinct, with shape (R) or (R, D) as the column's values.
        learn_points: Move the points with the other parameters.
        coverage: The least share of the kernel's variance that the points must explain at the
            training data; checked before training.

    Raises:
        ArgumentError: If points repeat, which makes :math:`K_{ZZ}` singular.
    """

    points: Tensor

    @typed(points=ROWS, coverage=SHARE)
    def __init__(
        self,
        kernel: Kernel,
        points: Tensor,
        *,
        learn_points: bool = False,
        coverage: float = 0.5,
    ) -> None:
        super().__init__()
        finite(points, "points")
        distinct = torch.unique(points, dim=0)
        if len(distinct) < len(points):
            raise ArgumentError(
                f"points: expected distinct ones; got {len(points) - len(distinct)} repeated, "
                "which make the kernel singular. Pass torch.unique(points, dim=0)."
            )
        self.kernel = kernel
        self.coverage = coverage
        self.num_features = len(points)
        if learn_points:
            self.points = nn.Parameter(points.clone())
        else:
            self.register_buffer("points", points.clone())

    def check(self, values: Tensor) -> None:
        self._check(values, LEAST)

    def check_training(self, values: Tensor) -> None:
        self._check(values, self.coverage)

    def _check(self, values: Tensor, least: float) -> None:
        """Refuse values where the points explain less than this share of the variance."""
        finite(values, "values")
        if len(values) == 0:
            return
        with torch.no_grad():
            variance = self.kernel(_rows(values), diag=True)
            share = self._rows(values).square().sum(-1) / variance.double()
        worst = int(share.argmin())
        if share[worst] < least:
            raise ArgumentError(
                f"points: expected them to explain at least {least:.0%} of the kernel's "
                f"variance everywhere; got {share[worst].item():.0%} at {values[worst].tolist()}. "
                "Add inducing points there, or start from a longer lengthscale."
            )

    def forward(self, values: Tensor) -> Tensor:
        return unit_rows(self._rows(values))

    def _rows(self, values: Tensor) -> Tensor:
        points = _rows(self.points)
        inner = self.kernel(points).to_dense()
        jitter = JITTER * inner.diagonal().mean().detach()
        eye = torch.eye(len(points), dtype=inner.dtype, device=inner.device)
        factor = torch.linalg.cholesky(inner + jitter * eye)
        cross = self.kernel(points, _rows(values)).to_dense()
        return torch.linalg.solve_triangular(factor, cross, upper=False).mT


def _rows(values: Tensor) -> Tensor:
    """(N) or (N, D) to (N, D) in float64."""
    return (values if values.dim() > 1 else values[:, None]).double()
