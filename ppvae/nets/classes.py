"""Known properties of data as inputs of networks: numbers of classes, continuous factors."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from inspect import Parameter

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data.mapped import Column
from ppvae.data.quantities import PAIR, names_of
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets.scaling import FactorScaling
from ppvae.programs.hooks import FitHooks

__all__ = ["Columns", "Conditions", "Embedding", "OneHot", "check_labels"]


def check_labels(y: Tensor, num_classes: int, *, missing: bool = False) -> None:
    """Raise a ValueError unless every y is from 0 to ``num_classes`` - 1, or -1 if ``missing``."""
    least, greatest = int(y.min()), int(y.max())
    if greatest >= num_classes or least < (-1 if missing else 0):
        wrong = greatest if greatest >= num_classes else least
        rule = f"labels from 0 to {num_classes - 1}" + (", or -1 where missing" if missing else "")
        remedy = (
            "Drop the rows without a label, or use a semi-supervised model."
            if wrong == -1
            else "Number the classes from 0, or raise num_classes."
        )
        raise ArgumentError(f"y: expected {rule}; got {wrong}. {remedy}")


class OneHot(nn.Module):
    """Classes (...) to indicators (..., C), without waiting for the device.

    Labels are checked while Pyro's validation is on, as in :func:`ppvae.programs.check_pair`; the
    objective turns it off, and a class out of range is then all zeros.

    Arguments:
        num_classes: C.

    Raises:
        ArgumentError: If ``num_classes`` is below 1; when called, if a checked label is not from 0
            to C - 1.
    """

    ids: Tensor
    unit: Tensor

    @typed(num_classes=at_least(1))
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = self.size = num_classes
        self.register_buffer("ids", torch.arange(num_classes), persistent=False)
        self.register_buffer("unit", torch.ones(()), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        if dist.is_validation_enabled():
            check_labels(y, self.num_classes)
        return (y.unsqueeze(-1) == self.ids).to(self.unit.dtype)


class Embedding(nn.Module):
    """Classes (...) to learned vectors (..., E): for many classes, or classes that are alike.

    Arguments:
        num_classes: C.
        size: E.

    Raises:
        ArgumentError: If a number is below 1.
    """

    @typed(num_classes=at_least(1), size=at_least(1))
    def __init__(self, num_classes: int, size: int) -> None:
        super().__init__()
        self.one_hot = OneHot(num_classes)
        self.num_classes, self.size = num_classes, size
        self.weight = nn.Parameter(torch.randn(num_classes, size))

    def forward(self, y: Tensor) -> Tensor:
        return self.one_hot(y) @ self.weight


class Conditions(FitHooks):
    """The columns ``y`` and ``c`` as further inputs of a decoder and an encoder.

    Arguments:
        classes: Network for ``y``, :class:`OneHot` or :class:`Embedding`; None for no class.
        factor_dim: Number of continuous factors in ``c``; 0 for none. They are in any unit:
            :class:`FactorScaling` brings those far from -2 to 2 to that size.

    Attributes:
        sizes: Sizes of the inputs, in order, for the networks' ``in_features``.

    Raises:
        ArgumentError: If there are neither classes nor factors; in training, if a label is out of
            range.
    """

    def __init__(self, classes: OneHot | Embedding | None = None, *, factor_dim: int = 0) -> None:
        super().__init__()
        if classes is None and factor_dim < 1:
            raise ArgumentError(
                "Conditions: expected classes, factors or both; got neither. "
                "Pass OneHot(num_classes), factor_dim, or use a VAE."
            )
        self.classes = classes
        self.factor_dim = factor_dim
        self.scaling = FactorScaling(factor_dim) if factor_dim else None
        class_size = () if classes is None else (classes.size,)
        self.sizes: tuple[int, ...] = (*class_size, *((factor_dim,) if factor_dim else ()))

    def check(self, data: Mapping[str, Column]) -> None:
        """Refuse labels out of range."""
        if self.classes is not None and "y" in data:
            check_labels(torch.as_tensor(data["y"]), self.classes.num_classes)

    def prepare(self, data: Mapping[str, Column]) -> None:
        """Refuse labels out of range."""
        self.check(data)

    def forward(self, y: Tensor | None = None, c: Tensor | None = None) -> tuple[Tensor, ...]:
        """The inputs of the networks, from ``y`` (..., N) and ``c`` (N, C), or (N) if C is 1.

        Raises:
            ArgumentError: If a column is missing, or ``c`` has another number of factors.
        """
        inputs: list[Tensor] = []
        if self.classes is not None:
            inputs.append(self.classes(_given("y", y)))
        if self.scaling is not None:
            inputs.append(self.scaling(_given("c", c)))
        return tuple(inputs)


class Columns(FitHooks):
    """Columns, unchanged, as further inputs of a decoder and an encoder.

    A fit warns of columns of more than two names, whose numbers a network takes as quantities.

    Arguments:
        names: Columns, each with shape (N, ...), in the order of the networks' inputs.
    """

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.columns = {name: Parameter(name, Parameter.KEYWORD_ONLY) for name in names}

    def extra_repr(self) -> str:
        return ", ".join(self.columns)

    def prepare(self, data: Mapping[str, Column]) -> None:
        """Warn of text, which was numbered in sorted order."""
        for name in self.columns:
            names = names_of(data, name)
            if len(names) > PAIR:
                warnings.warn(
                    f"column {name!r}: the numbers of the names {', '.join(names[:4])}, ... are "
                    "inputs of the networks as they are, in the order of the text. Write "
                    "quantities as numbers; OneHot and Embedding take classes.",
                    stacklevel=2,
                )

    def forward(self, **columns: Tensor) -> tuple[Tensor, ...]:
        return tuple(columns[name] for name in self.columns)


def _given(name: str, column: Tensor | None) -> Tensor:
    if column is None:
        raise ArgumentError(
            f"{name}: expected a column, which this model is conditioned on; got None. "
            f"Pass {name}=..., or leave it out of Conditions."
        )
    return column
