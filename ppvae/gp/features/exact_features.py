r"""A kernel without approximation, by features that the training data themselves span.

.. math::
    r(a) = L^{-1} k(X, a), \qquad L L^\top = k(X, X)

so that the weights' posterior is that of the exact GP. Away from the data
:math:`k(a, b) - r(a)^\top r(b)` is left over, which :meth:`ExactFeatures.rest` returns and a
prediction adds. The cost grows as :math:`N^3`: for small data.

References:
    | Gaussian Processes for Machine Learning (Rasmussen and Williams, 2006)
    | http://gaussianprocess.org/gpml
"""

from __future__ import annotations

import torch
from gpytorch.kernels import Kernel
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.gp.features.feature_map import FeatureMap, finite
from ppvae.programs import SizedByData

__all__ = ["ExactFeatures"]

# Added to the kernel's diagonal of ones.
JITTER = 1e-6
MOST = 2000


class ExactFeatures(SizedByData, FeatureMap):
    r"""Any GPyTorch kernel, exactly: one feature per training datum.

    Divided by its diagonal, :math:`k(a, b) / \sqrt{k(a, a) \, k(b, b)}`, as all maps have
    :math:`k(a, a) = 1`.

    In training the values it is called on are the data X; in evaluation X is what
    :meth:`anchor` was given last.

    Arguments:
        kernel: A kernel of vectors, with a positive diagonal; the amplitude is the GP's.
        dim: D, the number of columns.

    Raises:
        ArgumentError: If ``dim`` is below 1; in training, if there are more than a few
            thousand data, values are not finite, or the kernel's diagonal is not positive at one.
    """

    points: Tensor
    sized_by_data = ("points",)

    @typed(dim=at_least(1))
    def __init__(self, kernel: Kernel, dim: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.dim = dim
        self.register_buffer("points", torch.zeros(0, dim, dtype=torch.float64))

    @property
    def num_features(self) -> int:  # type: ignore[override]
        """N."""
        return len(self.points)

    def check(self, values: Tensor) -> None:
        finite(values, "values")
        with torch.no_grad():
            variance = self.kernel(values.double(), diag=True)
        if len(values) > 0 and not bool((variance > 0).all()):
            worst = int(variance.argmin())
            raise ArgumentError(
                f"kernel: expected a positive variance at all values; got "
                f"{variance[worst].item():g} at {values[worst].tolist()}. Add a constant kernel."
            )

    def check_training(self, values: Tensor) -> None:
        self.check(values)
        if len(values) > MOST:
            raise ArgumentError(
                f"ExactFeatures: expected at most {MOST} training data; got {len(values)}. Use "
                "RandomFeatures or InducingFeatures, whose cost does not grow so fast."
            )

    def anchor(self, values: Tensor) -> None:
        """Take values (N, D) as the data X of later evaluations."""
        self.points = values.detach().double().clone()

    def _correlation(self, a: Tensor, b: Tensor) -> Tensor:
        """The kernel over the root of its diagonals: (..., P, D), (..., Q, D) to (..., P, Q)."""
        left, right = (self.kernel(v, diag=True).double().rsqrt() for v in (a, b))
        return self.kernel(a, b).to_dense().double() * left[..., :, None] * right[..., None, :]

    def _factor(self, points: Tensor) -> Tensor:
        inner = self._correlation(points, points)
        eye = torch.eye(len(points), dtype=inner.dtype, device=inner.device)
        return torch.linalg.cholesky(inner + JITTER * eye)

    def forward(self, values: Tensor) -> Tensor:
        values = values.double()
        if self.training:
            return self._factor(values)
        cross = self._correlation(self.points, values)
        return torch.linalg.solve_triangular(self._factor(self.points), cross, upper=False).mT

    def rest(self, values: Tensor, rows: Tensor) -> Tensor:
        """Covariance that the features leave over: (..., Q, D), (..., Q, N) to (..., Q, Q)."""
        values = values.double()
        return self._correlation(values, values) - rows @ rows.mT
