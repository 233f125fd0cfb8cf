r"""Feature maps: a kernel as an inner product of features, :math:`k(a, b) = r(a)^\top r(b)`.

Every map keeps the kernel's diagonal at one, :math:`|r(a)| = 1`: the scale of a GP prior is in
its variances alone, else features, variances and the latents' scale are not identified.
The kernels, their constraints and their priors are GPyTorch's.

Maps of single columns are here; :mod:`ppvae.gp.line`, :mod:`ppvae.gp.covariates` and
:mod:`ppvae.gp.inducing` have others, and :mod:`ppvae.gp.compose` makes sums and products of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from gpytorch.constraints import Positive
from gpytorch.kernels import Kernel, PeriodicKernel
from torch import Tensor, nn

from ppvae.errors import ArgumentError

__all__ = [
    "FeatureMap",
    "FourierFeatures",
    "FreeFormFeatures",
    "ObjectTable",
    "angular_kernel",
    "finite",
    "kronecker_rows",
    "single",
    "unit_rows",
]


class FeatureMap(nn.Module, ABC):
    """A kernel on one dataset column, by its features.

    Attributes:
        num_features: R, the number of features.
    """

    num_features: int

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """Features of the column's values: (N) or (N, V) to (N, R), rows of unit norm."""

    def check(self, values: Tensor) -> None:
        """Raise a ValueError if the kernel cannot say anything about some of ``values``."""

    def check_training(self, values: Tensor) -> None:
        """As :meth:`check`, for the whole column of training data: what must be there, too."""
        self.check(values)

    def covariance(self, a: Tensor, b: Tensor | None = None) -> Tensor:
        """:math:`k(a, b)`, with shape (N, N')."""
        features = self(a)
        return features @ (features if b is None else self(b)).mT


def unit_rows(rows: Tensor) -> Tensor:
    """Rows (..., R) divided by their norms, in float64; a row of zeros stays one."""
    rows = rows.double()
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def kronecker_rows(a: Tensor, b: Tensor) -> Tensor:
    r""":math:`a_n \otimes b_n` of each row: (..., A), (..., B) to (..., A B)."""
    return (a[..., :, None] * b[..., None, :]).flatten(-2)


def finite(values: Tensor, what: str) -> None:
    """Raise a ValueError if some of ``values`` is not a finite number."""
    bad = ~torch.isfinite(values)
    if bad.any():
        row = int(bad.reshape(len(values), -1).any(-1).nonzero()[0])
        raise ArgumentError(
            f"{what}: expected finite numbers; got {values[row].tolist()} in row {row}. "
            "Drop the rows that lack one."
        )


def single(values: Tensor) -> None:
    """Raise a ValueError if ``values`` have more than one number a row."""
    if values.dim() != 1:
        raise ArgumentError(
            f"views: expected one number a row, shape (N); got shape {tuple(values.shape)}. "
            "Squeeze a column (N, 1), or compose kernels of single columns with "
            "ppvae.gp.Column and ProductFeatures."
        )


def angular_kernel(lengthscale: float = 1.0, period: float = 2 * math.pi) -> PeriodicKernel:
    r"""GPyTorch's periodic kernel, :math:`\exp(-2 \sin^2(\pi (a - b) / T) / \ell^2)`, T fixed.

    GPyTorch's ``PeriodicKernel.lengthscale`` stands for :math:`\ell^2`; here ``lengthscale`` is
    :math:`\ell`, in radians of half the phase.
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

    def check(self, values: Tensor) -> None:
        single(values)
        finite(values, "views")

    def forward(self, values: Tensor) -> Tensor:
        phase = (
            values.double()[..., None] * (2 * math.pi / self.period) * self.frequencies.double()
        )
        waves = torch.cat([torch.ones_like(phase[..., :1]), phase.cos(), phase.sin()], -1)
        c = self.coefficients()
        return waves * torch.cat([c, c[1:]]).sqrt()


class FreeFormFeatures(FeatureMap):
    r"""A covariance of its own over a finite set of Q values: rows of a Cholesky-like factor.

    :math:`k(a, b) = (B B^\top)_{ab}` with rows of B of unit norm. It knows only the values it was
    made for; ``check`` refuses others.

    Arguments:
        values: The Q values, with shape (Q).
        rank: Columns of B (default Q).
    """

    def __init__(self, values: Tensor, *, rank: int | None = None) -> None:
        super().__init__()
        if values.dim() != 1 or len(values.unique()) != len(values):
            raise ArgumentError(
                f"FreeFormFeatures: expected distinct values with shape (Q); got shape "
                f"{tuple(values.shape)}. Pass torch.unique(column)."
            )
        self.num_features = len(values) if rank is None else rank
        order = values.double().sort().values
        self.register_buffer("values", order)
        self.values: Tensor
        eye = torch.eye(len(values), self.num_features)
        self.root = nn.Parameter(eye + 0.1 * torch.randn_like(eye))

    def _codes(self, values: Tensor) -> Tensor:
        after = torch.searchsorted(self.values, values.double()).clamp_max(len(self.values) - 1)
        before = (after - 1).clamp_min(0)
        gap_after = (self.values[after] - values).abs()
        return torch.where((self.values[before] - values).abs() < gap_after, before, after)

    def check(self, values: Tensor) -> None:
        nearest = self.values[self._codes(values)]
        unknown = values[(nearest - values).abs() > 1e-4]
        if len(unknown) > 0:
            raise ArgumentError(
                f"views: expected one of the {len(self.values)} values that the free-form kernel "
                f"was made for; got {unknown[:3].tolist()}. Use a kernel that interpolates, such "
                "as FourierFeatures or HilbertFeatures."
            )

    def forward(self, values: Tensor) -> Tensor:
        return unit_rows(self.root)[self._codes(values)]


class ObjectTable(FeatureMap):
    r"""A learned vector for each of P objects: :math:`k(p, p') = x_p^\top x_{p'}`, unit rows.

    Arguments:
        num_objects: P.
        num_features: M, the rank of the object covariance.
    """

    def __init__(self, num_objects: int, num_features: int) -> None:
        super().__init__()
        if num_objects < 1 or num_features < 1:
            raise ArgumentError(
                f"ObjectTable: expected num_objects, num_features >= 1; got {num_objects}, "
                f"{num_features}. Count the distinct values of the object column."
            )
        self.num_objects = num_objects
        self.num_features = num_features
        # Short rows: an optimiser's step of a given size turns them further.
        self.table = nn.Parameter(torch.randn(num_objects, num_features) / num_features**0.5)

    def check(self, values: Tensor) -> None:
        if values.is_floating_point():
            raise ArgumentError(
                f"objects: expected integer ids; got {values.dtype}. Number the objects from 0."
            )
        if len(values) > 0 and (values.min() < 0 or values.max() >= self.num_objects):
            raise ArgumentError(
                f"objects: expected ids from 0 to {self.num_objects - 1}; got "
                f"{int(values.min())} to {int(values.max())}. Number the objects from 0, or "
                "train with more objects."
            )

    def check_training(self, values: Tensor) -> None:
        self.check(values)
        counts = torch.bincount(values, minlength=self.num_objects)
        absent = (counts == 0).nonzero()[:, 0]
        if len(absent) > 0:
            raise ArgumentError(
                f"objects: expected every id from 0 to {self.num_objects - 1} among the training "
                f"data; got no view of {len(absent)}, such as {absent[:3].tolist()}. Number only "
                "the objects that are there; infer_objects finds the features of new ones."
            )

    def forward(self, values: Tensor) -> Tensor:
        return unit_rows(self.table[values])
