r"""Feature maps: a kernel as an inner product of features, :math:`k(a, b) = r(a)^\top r(b)`.

Every map keeps the kernel's diagonal at one, :math:`|r(a)| = 1`: the scale of a GP prior is in
its variances alone, else features, variances and the latents' scale are not identified.
The kernels, their constraints and their priors are GPyTorch's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from gpytorch.kernels import Kernel
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.programs import SizedByData

__all__ = [
    "FeatureMap",
    "finite",
    "fixed_number",
    "is_kind",
    "known_ids",
    "kronecker_rows",
    "single",
    "unit_rows",
]


class FeatureMap(nn.Module, ABC):
    """A kernel on one dataset column, by its features.

    Attributes:
        num_features: R, the number of features.
        name: What cautions call the kernel; empty for the class of the map.
    """

    num_features: int
    name: str = ""

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """Features of the column's values: (N) or (N, V) to (N, R), rows of unit norm."""

    def check(self, values: Tensor) -> None:
        """Refuse values for which the kernel is undefined, in training and in prediction.

        Raises:
            ArgumentError: If there are any.
        """

    def check_training(self, values: Tensor) -> None:
        """As :meth:`check`, for the training data; also refuse data that lack needed values."""
        self.check(values)

    def held(self) -> float:
        """Share of the kernel's variance that the features hold, at its hyperparameters."""
        return 1.0

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


def fixed_number(what: str, *maps: FeatureMap) -> None:
    """Raise an ArgumentError if the number of some map's features grows with the data."""
    parts = [part for each in maps for part in each.modules()]
    grown = [type(part).__name__ for part in parts if isinstance(part, SizedByData)]
    if grown:
        raise ArgumentError(
            f"{what}: expected features of a fixed number; got {grown[0]}, which has one per "
            "datum. Use RandomFeatures or InducingFeatures."
        )


def is_kind(kernel: Kernel, *kinds: type[Kernel]) -> bool:
    """Whether a kernel is one of GPyTorch's, not a subclass that computes something else."""
    return any(isinstance(kernel, kind) and type(kernel).forward is kind.forward for kind in kinds)


def finite(values: Tensor, what: str) -> None:
    """Raise an ArgumentError if some of ``values`` is not a finite number."""
    bad = ~torch.isfinite(values)
    if bad.any():
        row = int(bad.reshape(len(values), -1).any(-1).nonzero()[0])
        raise ArgumentError(
            f"{what}: expected finite numbers; got {values[row].tolist()} in row {row}. "
            "Drop the rows that lack one."
        )


def known_ids(values: Tensor, known: int, remedy: str) -> None:
    """Raise an ArgumentError unless ``values`` are integers from 0 to ``known`` - 1."""
    if values.dtype == torch.bool or values.is_floating_point() or values.is_complex():
        raise ArgumentError(
            f"objects: expected integer ids; got {values.dtype}. Number the objects from 0."
        )
    if len(values) > 0 and (values.min() < 0 or values.max() >= known):
        raise ArgumentError(
            f"objects: expected ids from 0 to {known - 1}; got {int(values.min())} to "
            f"{int(values.max())}. {remedy}"
        )


def single(values: Tensor) -> None:
    """Raise an ArgumentError if ``values`` have more than one number per row."""
    if values.dim() != 1:
        raise ArgumentError(
            f"views: expected one number per row, shape (N); got shape {tuple(values.shape)}. "
            "Squeeze a column (N, 1), or compose kernels of single columns with "
            "ppvae.gp.Column and ProductFeatures."
        )
