r"""Stationary kernels on the circle, by their Fourier series.

.. math::
    \kappa(a - b) = \sum_k c_k \cos k \omega (a - b)
"""

from __future__ import annotations

import math
import warnings

import torch
from gpytorch.constraints import Positive
from gpytorch.kernels import Kernel, PeriodicKernel
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import above
from ppvae.gp.features.feature_map import FeatureMap, finite, single

__all__ = ["FourierFeatures", "angular_kernel"]

# Views that span more periods than this are warned about: they are often in another unit.
PERIODS = 4


@typed(lengthscale=above(0), period=above(0))
def angular_kernel(lengthscale: float = 1.0, period: float = 2 * math.pi) -> PeriodicKernel:
    r"""GPyTorch's periodic kernel, :math:`\exp(-2 \sin^2(\pi (a - b) / T) / \ell^2)`, T fixed.

    GPyTorch's ``PeriodicKernel.lengthscale`` stands for :math:`\ell^2`; here ``lengthscale`` is
    :math:`\ell`, in radians of half the phase.

    Arguments:
        lengthscale: Initial :math:`\ell`.
        period: T, in the unit of the column.

    Raises:
        ArgumentError: If a number is not above 0.
    """
    kernel = PeriodicKernel(lengthscale_constraint=Positive(), period_length_constraint=Positive())
    kernel.initialize(lengthscale=lengthscale**2, period_length=period)
    kernel.raw_period_length.requires_grad_(False)
    return kernel


class FourierFeatures(FeatureMap):
    r"""A stationary kernel on the circle by its Fourier (Mercer) series.

    .. math::
        r(a) = \left[\sqrt{c_0}, \sqrt{c_k} \cos k \omega a, \sqrt{c_k} \sin k \omega a
            \right]_{k = 1 \ldots K}, \qquad \omega = 2 \pi / T,
        \qquad c_k = \frac{2 - \delta_{k0}}{J} \sum_{j < J} \kappa(j T / J) \cos(2 \pi j k / J)

    differentiable in the kernel's hyperparameters and valid at any angle, seen or not. The
    truncated series is rescaled to :math:`\kappa(0) = 1`. For
    :math:`\exp(-2 \sin^2(d / 2) / \ell^2)` at :math:`\ell = 1` the error is 3e-4 for K = 4, 2e-6
    for K = 6, 8e-9 for K = 8.

    Arguments:
        kernel: A stationary GPyTorch kernel with period T; :func:`angular_kernel` by default.
        num_frequencies: K; there are 2 K + 1 features.
        period: T, in the unit of the column.

    Raises:
        ArgumentError: If there are too few or too many frequencies, or the kernel's period is not
            T.
    """

    @typed(period=above(0))
    def __init__(
        self,
        kernel: Kernel | None = None,
        *,
        num_frequencies: int = 7,
        period: float = 2 * math.pi,
    ) -> None:
        super().__init__()
        if num_frequencies < 1 or num_frequencies > 31:
            raise ArgumentError(
                f"num_frequencies: expected an integer from 1 to 31; got {num_frequencies}. "
                "Use 4 to 8 for a smooth kernel."
            )
        self.kernel = angular_kernel(period=period) if kernel is None else kernel
        self.period = period
        self.num_features = 2 * num_frequencies + 1
        points = 64
        frequencies = torch.arange(num_frequencies + 1, dtype=torch.float64)
        nodes = torch.arange(points, dtype=torch.float64) / points
        cosines = torch.cos(2 * math.pi * torch.outer(frequencies, nodes)) * 2 / points
        cosines[0] /= 2
        self.register_buffer("nodes", (nodes * period)[:, None], persistent=False)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("frequencies", frequencies[1:], persistent=False)
        self.nodes: Tensor
        self.cosines: Tensor
        self.frequencies: Tensor
        self._check_period()

    @torch.no_grad()
    def _check_period(self) -> None:
        places = torch.tensor([0.0, 0.37]) * self.period
        here, a_turn_on = (self._kappa(p[:, None]) for p in (places, places + self.period))
        if (here - a_turn_on).abs().max() > 1e-3 * here.abs().max():
            raise ArgumentError(
                f"FourierFeatures: expected a kernel with period {self.period:g}; got "
                f"{type(self.kernel).__name__}, which differs a period on. Use angular_kernel("
                "period=...), or HilbertFeatures on a line."
            )

    def _kappa(self, places: Tensor) -> Tensor:
        """The kernel between places (J, 1) and 0, with shape (J), in float64."""
        dtype = next(self.kernel.parameters()).dtype
        places = places.to(dtype)
        return self.kernel(places, torch.zeros_like(places[:1])).to_dense().squeeze(-1).double()

    def coefficients(self) -> Tensor:
        r""":math:`c_0 \ldots c_K`, with shape (K + 1), summing to one."""
        kappa = self._kappa(self.nodes)
        coefficients = (self.cosines.double() @ kappa).clamp_min(1e-12)
        return coefficients / coefficients.sum()

    @torch.no_grad()
    def held(self) -> float:
        kappa = self._kappa(self.nodes)
        return float((self.cosines.double() @ kappa).sum() / kappa[0])

    def check(self, values: Tensor) -> None:
        single(values)
        finite(values, "views")

    def check_training(self, values: Tensor) -> None:
        self.check(values)
        low, high = float(values.min()), float(values.max())
        turns = (high - low) / self.period
        # Whole numbers, such as hours or numbers of views, have a period that is whole, too.
        numbered = turns > 1 and self.period % 1 != 0 and bool((values == values.round()).all())
        if turns > PERIODS or numbered:
            warnings.warn(
                f"views: expected to span a few periods of {self.period:g}; got "
                f"{'whole numbers from ' if numbered else ''}{low:g} to {high:g}, "
                f"{turns:.1f} periods. Set the period in the unit of the column "
                "(period=360, or --period 360, for degrees), or wrap the column by its period "
                "to train as it is.",
                stacklevel=2,
            )

    def forward(self, values: Tensor) -> Tensor:
        phase = (
            values.double()[..., None] * (2 * math.pi / self.period) * self.frequencies.double()
        )
        waves = torch.cat([torch.ones_like(phase[..., :1]), phase.cos(), phase.sin()], -1)
        c = self.coefficients()
        return waves * torch.cat([c, c[1:]]).sqrt()
