r"""Kernels of single columns, multiplied to terms and added to an additive kernel.

    Categorical("id") + RBF("age") + RBF("age") * Categorical("id")
        + RBF("disease_age") * Observed("disease_age")

Each factor is a kernel :math:`k(a, b) = r(a)^\top r(b)` of one named column by its features, with
:math:`k(a, a) = 1`. Kernels and hyperparameters are GPyTorch's. What a factor must know of the
training data (categories, range) it reads once, and keeps with the weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, SpectralMixtureKernel
from torch import Tensor

from ppvae.errors import ArgumentError, DataError
from ppvae.gp.encoded import HELD
from ppvae.gp.features import HilbertFeatures
from ppvae.programs import SizedByData

if TYPE_CHECKING:
    from ppvae.gp.additive.terms import Additive, Term

__all__ = [
    "RBF",
    "Categorical",
    "Constant",
    "Factor",
    "Linear",
    "Matern",
    "Observed",
    "SpectralMixture",
]


class Factor(SizedByData, ABC):
    """A kernel of one column.

    Arguments:
        column: Name of the dataset's column; empty for a constant.

    Attributes:
        written: The factor in the notation of the command line.
    """

    def __init__(self, column: str, written: str) -> None:
        super().__init__()
        self.column = column
        self.written = written

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Number of features R."""

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """Features: (N) to (N, R), in float64."""

    def prepare(self, values: Tensor) -> None:
        """Read the training data's observed values, with shape (N)."""

    def check(self, values: Tensor) -> None:
        """Refuse values, with shape (N), at which the kernel is undefined."""

    def __mul__(self, other: Factor | Term) -> Term:
        from ppvae.gp.additive.terms import Term

        return Term(self) * other

    def __add__(self, other: Factor | Term | Additive) -> Additive:
        from ppvae.gp.additive.terms import Term

        return Term(self) + other


class Constant(Factor):
    """:math:`k(a, b) = 1`: a constant shared by all data."""

    def __init__(self) -> None:
        super().__init__("", "const")

    @property
    def num_features(self) -> int:
        """1."""
        return 1

    def forward(self, values: Tensor) -> Tensor:
        return values.new_ones(len(values), 1, dtype=torch.float64)


class Observed(Factor):
    r""":math:`k(a, b) = s_a s_b + (1 - s_a)(1 - s_b)`, s being 1 where the column has a value.

    In a product with kernels of the same column it keeps them to the rows that have a value:
    :math:`s_a s_b \, k(a, b) + (1 - s_a)(1 - s_b)`. A missing value is NaN.
    """

    def __init__(self, column: str) -> None:
        super().__init__(column, f"obs({column})")

    @property
    def num_features(self) -> int:
        """2: one for rows that have a value, one for the others."""
        return 2

    def forward(self, values: Tensor) -> Tensor:
        observed = (~torch.isnan(values.double())).double()
        return torch.stack([observed, 1 - observed], -1)


class Categorical(Factor):
    r""":math:`k(a, b) = \delta_{ab}`: categories are independent."""

    sized_by_data = ("levels",)
    levels: Tensor

    def __init__(self, column: str) -> None:
        super().__init__(column, f"cat({column})")
        self.register_buffer("levels", torch.zeros(0, dtype=torch.float64))

    @property
    def num_features(self) -> int:
        """The number of categories in the training data; 0 before training."""
        return len(self.levels)

    def prepare(self, values: Tensor) -> None:
        if len(self.levels) == 0:
            self.levels = _codes(values).unique()
        self.check(values)

    def check(self, values: Tensor) -> None:
        values = _codes(values)
        unknown = values[~torch.isin(values, self.levels)]
        if len(unknown) > 0:
            raise DataError(
                f"column {self.column!r}: expected categories that the training data have, "
                f"{_few(self.levels)}; got {_few(unknown.unique())}. Use one of those, or train "
                "with data of this category."
            )

    def forward(self, values: Tensor) -> Tensor:
        return (_codes(values)[:, None] == self.levels).double()


def _codes(values: Tensor) -> Tensor:
    """In float64. Fractions as float32 has them, to which training converts a float64 column."""
    return (values.float() if values.is_floating_point() else values).double()


class Linear(Factor):
    r""":math:`k(a, b) = \tilde a \tilde b`, standardised by the training data.

    Its diagonal is one on average over the training data, not at each value.
    """

    scale: Tensor

    def __init__(self, column: str) -> None:
        super().__init__(column, f"linear({column})")
        self.register_buffer("scale", torch.zeros(2, dtype=torch.float64))

    @property
    def num_features(self) -> int:
        """1."""
        return 1

    def prepare(self, values: Tensor) -> None:
        values = values.double()
        if float(self.scale[1]) == 0:
            self.scale.copy_(torch.stack([values.mean(), values.std(correction=0)]))

    def forward(self, values: Tensor) -> Tensor:
        return ((values.double() - self.scale[0]) / self.scale[1])[:, None]


class Line(Factor):
    """A stationary kernel on the range of the training data and a margin on both sides.

    Arguments:
        column: Name of the column.
        name: Name of the factor on the command line.
        kernel: Kernel of one coordinate, in units of half the training range.
        lengthscale: Initial lengthscale in the column's unit; half the range by default.
        num_features: Number J of features (:class:`~ppvae.gp.HilbertFeatures`), or None for usual.
        margin: Largest distance of predictions from the training data, in training ranges.
    """

    scale: Tensor
    usual = 16

    def __init__(
        self,
        column: str,
        name: str,
        kernel: Kernel,
        lengthscale: float | None,
        num_features: int | None,
        margin: float,
    ) -> None:
        given = "" if lengthscale is None else f", {lengthscale:g}"
        count = self.usual if num_features is None else num_features
        if given and count != self.usual:
            given += f", {count}"
        super().__init__(column, f"{name}({column}{given})")
        if margin < 0 or (lengthscale is not None and not lengthscale > 0):
            raise ArgumentError(
                f"{self.written}: expected margin >= 0 and lengthscale > 0; got {margin} and "
                f"{lengthscale}. Leave them out for the defaults."
            )
        self.lengthscale_given = lengthscale
        self.margin = margin
        reach = 1 + 2 * margin
        self.features = HilbertFeatures(kernel, (-reach, reach), num_features=count, boundary=1.25)
        self.features.name = self.written
        self.register_buffer("scale", torch.zeros(2, dtype=torch.float64))

    @property
    def num_features(self) -> int:
        return self.features.num_features

    @property
    def lengthscale(self) -> float | None:
        """The kernel's lengthscale in the column's unit; None if it has none."""
        if not self.features.kernel.has_lengthscale:
            return None
        return float(self.features.kernel.lengthscale.detach()) * float(self.scale[1])

    def prepare(self, values: Tensor) -> None:
        values = values.double()
        if float(self.scale[1]) == 0:
            low, high = values.min(), values.max()
            self.scale.copy_(torch.stack([(low + high) / 2, (high - low) / 2]))
            if self.lengthscale_given is not None:
                self.features.kernel.lengthscale = self.lengthscale_given / float(self.scale[1])
                self._check_features()
        self.check(values)

    def _check_features(self) -> None:
        """Refuse a lengthscale too short for the features: the kernel would be a longer one."""
        shares = self.features.shares()
        share = self.features.held()
        needed = int((shares < HELD).sum()) + 1
        if share < HELD:
            name = self.written.partition("(")[0]
            raise DataError(
                f"{self.written}: expected features that hold {HELD:.0%} of the kernel's variance "
                f"on the range of {self.column!r}; got {share:.0%} with {self.num_features}. "
                f"Write {name}({self.column}, {self.lengthscale:g}, {needed}) for {needed}."
            )

    def check(self, values: Tensor) -> None:
        centre, half = self.scale.tolist()
        reach = half * (1 + 2 * self.margin)
        outside = (values.double() - centre).abs() > reach * (1 + 1e-6)
        if outside.any():
            raise DataError(
                f"column {self.column!r}: expected values from {centre - reach:g} to "
                f"{centre + reach:g}, the training data's range and a margin of "
                f"{self.margin:g} ranges on both sides; got {_few(values[outside])}. Ask within "
                "that range, or train with a larger margin."
            )

    def forward(self, values: Tensor) -> Tensor:
        rows: Tensor = self.features((values.double() - self.scale[0]) / self.scale[1])
        return rows


class RBF(Line):
    """GPyTorch's RBF kernel.

    Arguments:
        column: Name of the column.
        lengthscale: Initial lengthscale in the column's unit; half the range by default.
        num_features: Number of features of the approximation, 12 by default.
        margin: Largest distance of predictions from the training data, in training ranges.

    Raises:
        DataError: In training, if ``lengthscale`` is too short for that number of features.
    """

    usual = 12

    def __init__(
        self,
        column: str,
        lengthscale: float | None = None,
        num_features: int | None = None,
        *,
        margin: float = 0.25,
    ) -> None:
        kernel = RBFKernel()
        kernel.lengthscale = 1.0
        super().__init__(column, "rbf", kernel, lengthscale, num_features, margin)


# Names on the command line, by smoothness.
MATERNS = {0.5: "matern12", 1.5: "matern32", 2.5: "matern"}


class Matern(Line):
    """GPyTorch's Matern kernel with smoothness ``nu``.

    On the command line it is ``matern12``, ``matern32`` or, with 2.5, ``matern``.

    Arguments:
        column: Name of the column.
        lengthscale: Initial lengthscale in the column's unit; half the range by default.
        num_features: Number of features of the approximation, 16 by default.
        margin: Largest distance of predictions from the training data, in training ranges.
        nu: Smoothness: 0.5, 1.5 or 2.5.

    Raises:
        ArgumentError: If ``nu`` is none of these.
        DataError: In training, if ``lengthscale`` is too short for that number of features.
    """

    def __init__(
        self,
        column: str,
        lengthscale: float | None = None,
        num_features: int | None = None,
        *,
        nu: float = 2.5,
        margin: float = 0.25,
    ) -> None:
        if nu not in MATERNS:
            raise ArgumentError(f"nu: expected one of {list(MATERNS)}; got {nu}. Use 2.5.")
        kernel = MaternKernel(nu=nu)
        kernel.lengthscale = 1.0
        super().__init__(column, MATERNS[nu], kernel, lengthscale, num_features, margin)


class SpectralMixture(Line):
    """GPyTorch's spectral mixture of ``num_mixtures`` components.

    Arguments:
        column: Name of the column.
        num_mixtures: Components of the mixture.
        num_features: Number of features of the approximation.
        margin: Largest distance of predictions from the training data, in training ranges.
    """

    def __init__(
        self, column: str, num_mixtures: int = 2, *, num_features: int = 24, margin: float = 0.25
    ) -> None:
        kernel = SpectralMixtureKernel(num_mixtures=int(num_mixtures))
        frequencies = torch.arange(int(num_mixtures)).float() * 0.5
        kernel.initialize(
            mixture_means=frequencies.clamp_min(1e-3)[:, None, None],
            mixture_scales=torch.full((int(num_mixtures), 1, 1), 0.2),
        )
        super().__init__(column, "sm", kernel, None, num_features, margin)
        self.written = f"sm({column}, {int(num_mixtures)})"


def _few(values: Tensor, most: int = 5) -> str:
    numbers = ", ".join(f"{v:g}" for v in values.flatten()[:most].tolist())
    return numbers + (", ..." if values.numel() > most else "")
