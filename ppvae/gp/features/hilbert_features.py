r"""Stationary kernels on an interval, by the eigenfunctions of the Laplacian on a wider one.

With spectral density :math:`S(\omega) = \int \kappa(\tau) e^{-i \omega \tau} d\tau`,

.. math::
    \kappa(a - b) \approx \sum_{j=1}^{J} S\left(\tfrac{\pi j}{2 B}\right) \varphi_j(a)
        \varphi_j(b), \qquad
    \varphi_j(a) = \sqrt{\tfrac{1}{B}} \sin\left(\tfrac{\pi j (a - c + B)}{2 B}\right)

on :math:`[c - B, c + B]`; exact in the limit of J and B. Differentiable in the kernel's
hyperparameters, and valid at any place of the domain, seen or not.

References:
    | Hilbert space methods for reduced-rank Gaussian process regression
    | (Solin and Sarkka, 2020)
    | https://arxiv.org/abs/1401.5508
"""

from __future__ import annotations

import math

import torch
from gpytorch.kernels import (
    AdditiveKernel,
    Kernel,
    MaternKernel,
    RBFKernel,
    ScaleKernel,
    SpectralMixtureKernel,
)
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import ROWS, above, at_least
from ppvae.gp.features.feature_map import FeatureMap, finite, is_kind, single, unit_rows

__all__ = ["HilbertFeatures", "spectral_density"]


@typed(frequencies=ROWS)
def spectral_density(kernel: Kernel, frequencies: Tensor) -> Tensor:
    r""":math:`S(\omega)` of a stationary GPyTorch kernel on the line, at (J) angular frequencies.

    Known for RBF, Matern and spectral-mixture kernels, and for sums and multiples of them.

    Raises:
        ArgumentError: For any other kernel.
    """
    return _density_at(kernel, frequencies.double())


def _density_at(kernel: Kernel, omega: Tensor) -> Tensor:
    """:func:`spectral_density` in float64, without a look at the frequencies: within a step."""
    active = kernel.active_dims
    if active is not None and active.tolist() != [0]:
        raise ArgumentError(
            f"kernel: expected one of the only column; got active_dims {active.tolist()}. Choose "
            "the column by ppvae.gp.Column, and leave active_dims out."
        )
    if is_kind(kernel, ScaleKernel):
        return kernel.outputscale.double() * _density_at(kernel.base_kernel, omega)
    if is_kind(kernel, AdditiveKernel):
        return torch.stack([_density_at(k, omega) for k in kernel.kernels]).sum(0)
    if is_kind(kernel, SpectralMixtureKernel):
        weights = kernel.mixture_weights.double().reshape(-1, 1)
        means = 2 * math.pi * kernel.mixture_means.double().reshape(-1, 1)
        scales = 2 * math.pi * kernel.mixture_scales.double().reshape(-1, 1)
        bells = [(-0.5 * ((omega - m) / scales).square()).exp() for m in (means, -means)]
        return (weights * math.sqrt(math.pi / 2) / scales * (bells[0] + bells[1])).sum(0)
    if is_kind(kernel, RBFKernel):
        scale = _lengthscale(kernel)
        return math.sqrt(2 * math.pi) * scale * (-0.5 * (scale * omega).square()).exp()
    if is_kind(kernel, MaternKernel):
        nu = float(kernel.nu)
        scale = _lengthscale(kernel)
        constant = 2 * math.sqrt(math.pi) * math.gamma(nu + 0.5) / math.gamma(nu)
        rate = 2 * nu / scale.square()
        return constant * rate**nu * (rate + omega.square()) ** (-nu - 0.5)
    raise ArgumentError(
        f"kernel: expected RBFKernel, MaternKernel or SpectralMixtureKernel, or a sum or multiple "
        f"of them; got {type(kernel).__name__}. Use InducingFeatures, which takes any kernel."
    )


def _lengthscale(kernel: Kernel) -> Tensor:
    scale = kernel.lengthscale.double()
    if scale.numel() != 1:
        raise ArgumentError(
            f"kernel: expected one lengthscale, for one column; got {scale.numel()}. Multiply "
            "kernels of single columns by ProductFeatures."
        )
    return scale.reshape(())


class HilbertFeatures(FeatureMap):
    r"""A stationary GPyTorch kernel of a number in a domain.

    Rows are rescaled to unit norm, which sets :math:`\kappa(0) = 1` and mends the truncation's
    error on the diagonal.

    Arguments:
        kernel: On the line; see :func:`spectral_density`.
        domain: Least and greatest value there will be, in training and in prediction.
        num_features: J. The error is small once :math:`\pi J / 2 B` is well past the kernel's
            bandwidth: three or four over the lengthscale for RBF, more for Matern.
        boundary: B over the domain's half-width; at least one. The nearer the lengthscale comes
            to the domain's width, the larger it must be.

    Raises:
        ArgumentError: If the domain is empty, ``boundary`` is below one, or the kernel unknown.
    """

    frequencies: Tensor

    @typed(num_features=at_least(1), boundary=above(0))
    def __init__(
        self,
        kernel: Kernel,
        domain: tuple[float, float],
        *,
        num_features: int = 24,
        boundary: float = 1.5,
    ) -> None:
        super().__init__()
        low, high = domain
        if not low < high:
            raise ArgumentError(
                f"domain: expected its least value, then its greatest; got {domain}. "
                "Use the least and greatest value of the column."
            )
        if boundary < 1 or num_features < 1:
            raise ArgumentError(
                f"HilbertFeatures: expected boundary >= 1 and num_features >= 1; got {boundary} "
                f"and {num_features}. Use the defaults."
            )
        self.kernel = kernel
        self.domain = (float(low), float(high))
        self.num_features = num_features
        self.half_width = boundary * (high - low) / 2
        steps = torch.arange(1, num_features + 1, dtype=torch.float64)
        self.register_buffer(
            "frequencies", steps * math.pi / (2 * self.half_width), persistent=False
        )
        _density_at(kernel, self.frequencies)

    def check(self, values: Tensor) -> None:
        low, high = self.domain
        single(values)
        finite(values, "views")
        # float32 has the ends of a domain that is far from zero up to its rounding alone.
        slack = 1e-6 * (high - low) + torch.finfo(torch.float32).eps * max(abs(low), abs(high))
        if len(values) > 0 and (values.min() < low - slack or values.max() > high + slack):
            raise ArgumentError(
                f"views: expected values within the domain [{low:g}, {high:g}]; got "
                f"{values.min().item():g} to {values.max().item():g}. Train with a wider domain "
                "(--lowest and --highest of gpvae); beyond it the kernel is not known."
            )

    @torch.no_grad()
    def shares(self) -> Tensor:
        """Shares of the kernel's variance that the first 1, ..., 4096 functions hold, (4096)."""
        steps = torch.arange(1, 4097).to(self.frequencies)
        density = _density_at(self.kernel, steps * math.pi / (2 * self.half_width))
        return density.cumsum(0) / density.sum()

    def held(self) -> float:
        return float(self.shares()[self.num_features - 1])

    def forward(self, values: Tensor) -> Tensor:
        low, high = self.domain
        place = values.double()[..., None] - ((low + high) / 2 - self.half_width)
        frequencies = self.frequencies.double()
        waves = (place * frequencies).sin()
        return unit_rows(waves * _density_at(self.kernel, frequencies).sqrt())
