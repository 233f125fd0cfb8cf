r"""Stationary kernels of vectors by random Fourier features.

.. math::
    r(a) = \tfrac{1}{\sqrt{J}} \left[\cos \omega_j \cdot (a / \ell),
        \sin \omega_j \cdot (a / \ell)\right]_{j = 1 \ldots J}, \qquad
    \omega_j \sim \text{the kernel's spectral density}

whose rows have unit norm. The error of the kernel falls as :math:`1 / \sqrt{J}`.

References:
    | Random Features for Large-Scale Kernel Machines (Rahimi and Recht, 2007)
    | https://papers.nips.cc/paper/3182
"""

from __future__ import annotations

import torch
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.gp.features.feature_map import FeatureMap, finite, is_kind

__all__ = ["RandomFeatures"]


class RandomFeatures(FeatureMap):
    r"""An RBF or Matern kernel of vectors (N, D), with 2 J features.

    Arguments:
        kernel: GPyTorch's RBFKernel or MaternKernel, with one lengthscale or one for each column;
            with ``active_dims``, a kernel of those columns.
        dim: D.
        num_frequencies: J.
        seed: Random seed of the frequencies, which are fixed and saved with the weights.

    Raises:
        ArgumentError: For another kernel, or a count below 1.
    """

    frequencies: Tensor

    @typed(dim=at_least(1), num_frequencies=at_least(1), seed=at_least(0))
    def __init__(
        self, kernel: Kernel, dim: int, *, num_frequencies: int = 128, seed: int = 0
    ) -> None:
        super().__init__()
        if not is_kind(kernel, RBFKernel, MaternKernel):
            raise ArgumentError(
                f"kernel: expected RBFKernel or MaternKernel; got {type(kernel).__name__}. Use "
                "InducingFeatures, which takes any kernel."
            )
        if dim < 1 or num_frequencies < 1:
            raise ArgumentError(
                f"RandomFeatures: expected dim and num_frequencies >= 1; got {dim} and "
                f"{num_frequencies}. Use the number of columns, and 128."
            )
        self.kernel = kernel
        if (active := self._active()) is not None and int(active.max()) >= dim:
            raise ArgumentError(
                f"RandomFeatures: expected active_dims below dim; got {active.tolist()} and "
                f"{dim}. Set dim to the number of columns."
            )
        self.dim = dim
        self.num_features = 2 * num_frequencies
        generator = torch.Generator().manual_seed(seed)
        double = torch.float64
        omega = torch.randn(num_frequencies, dim, dtype=double, generator=generator)
        if isinstance(kernel, MaternKernel):  # A Student's t with 2 nu degrees of freedom.
            degrees = round(2 * kernel.nu)
            normals = torch.randn(num_frequencies, degrees, dtype=double, generator=generator)
            omega = omega / normals.square().mean(1, keepdim=True).sqrt()
        self.register_buffer("frequencies", omega)

    def _active(self) -> Tensor | None:
        """The columns that the kernel reads; None for all."""
        active: Tensor | None = self.kernel.active_dims
        return active

    def check(self, values: Tensor) -> None:
        finite(values, "values")
        if values.dim() != 2 or values.size(-1) != self.dim:
            raise ArgumentError(
                f"RandomFeatures: expected values (N, {self.dim}); got {tuple(values.shape)}. "
                "Set dim to the number of columns."
            )

    def forward(self, values: Tensor) -> Tensor:
        values, frequencies, active = values.double(), self.frequencies.double(), self._active()
        if active is not None:
            values, frequencies = values[..., active], frequencies[:, active]
        phase = (values / self.kernel.lengthscale.double()) @ frequencies.mT
        waves = torch.cat([phase.cos(), phase.sin()], -1)
        return waves * (2 / self.num_features) ** 0.5
