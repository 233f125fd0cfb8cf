r"""Fully connected networks over one or more inputs.

Each input has a separate first linear layer, and the results are added. This equals one layer on
the concatenation, :math:`W [a, b] = W_a a + W_b b`, but inputs that are broadcast (an enumerated
class with shape (K, 1, C) and z with shape (N, Z)) stay small until they are added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets.featured import FeatureNetwork
from ppvae.nets.heads import Head

__all__ = ["MLP", "AddedInputs", "sizes_of"]


def sizes_of(in_features: int | Sequence[int], name: str) -> tuple[int, ...]:
    """Input sizes as a tuple.

    Raises:
        ArgumentError: If there is none, or one below 1.
    """
    sizes = (in_features,) if isinstance(in_features, int) else tuple(in_features)
    if not sizes or min(sizes) < 1:
        raise ArgumentError(
            f"{name}: expected input sizes of at least 1; got {sizes}. Give one size per input."
        )
    return sizes


class AddedInputs(nn.Module):
    """The first layer: the sum of one linear map per input, and one bias.

    Arguments:
        in_features: Sizes of the inputs.
        out_features: Size of the output.

    Raises:
        ArgumentError: When called, if the number of inputs is another.
    """

    def __init__(self, in_features: Sequence[int], out_features: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            nn.Linear(size, out_features, bias=i == 0) for i, size in enumerate(in_features)
        )
        # Initialised like one layer on the concatenation.
        bound = 1 / math.sqrt(sum(in_features))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The sum, with shape (..., F), of inputs (..., F_i) whose leading shapes broadcast.

        Raises:
            ArgumentError: Unless there are as many inputs as sizes.
        """
        if len(inputs) != len(self.maps):
            raise ArgumentError(
                f"network: expected {len(self.maps)} inputs; got {len(inputs)}. "
                "Pass them in the order of in_features."
            )
        total = self.maps[0](inputs[0])
        for linear, value in zip(list(self.maps)[1:], inputs[1:], strict=True):
            total = total + linear(value)
        return total


class MLP(FeatureNetwork):
    """Linear layers and activations between inputs (..., F) and a head.

    Arguments:
        in_features: Size of the input, or one size per input; with ``in_shape``, the first size is
            the number of elements of a datum.
        head: Head from the raw output to a distribution.
        hidden: Sizes of the hidden layers.
        activation: Function that makes the activation between layers.
        in_shape: Shape of one datum of the first input, which is then flattened.
        join: Number of hidden layers before the further inputs are joined; these layers are
            computed once for all enumerated classes.
        norm: Whether each hidden layer is normalised (LayerNorm) before its activation.

    Raises:
        ArgumentError: If a size is below 1, ``join`` exceeds the number of hidden layers, or
            ``in_shape`` has another number of elements than the first input; when called, if the
            inputs have another number or shape.
    """

    @typed(in_features=at_least(1), hidden=at_least(1))
    def __init__(
        self,
        in_features: int | Sequence[int],
        head: Head,
        *,
        hidden: Sequence[int] = (256, 256),
        activation: Callable[[], nn.Module] = nn.SiLU,
        in_shape: Sequence[int] | None = None,
        join: int = 0,
        norm: bool = False,
    ) -> None:
        super().__init__()
        sizes = sizes_of(in_features, "MLP")
        if not 0 <= join <= len(hidden):
            raise ArgumentError(
                f"join: expected 0 to {len(hidden)}, the number of hidden layers; got {join}. "
                "Use 0, or 1."
            )
        self.in_shape = shape_of_input(in_shape, sizes[0], "MLP")
        widths = [*hidden, math.prod(head.raw_shape)]
        alone = [sizes[0], *hidden[:join]]
        layers: list[nn.Module] = []
        for before, after in zip(alone, alone[1:], strict=False):
            layers += [nn.Linear(before, after), *self._norm(norm, after), activation()]
        self.alone = nn.Sequential(*layers)
        self.first = AddedInputs((alone[-1], *sizes[1:]), widths[join])
        layers = []
        for before, after in zip(widths[join:], widths[join + 1 :], strict=False):
            layers += [*self._norm(norm, before), activation(), nn.Linear(before, after)]
        self.rest = nn.Sequential(*layers)
        self.feature_shape = (widths[-2] if len(self.rest) > 0 else widths[-1],)
        self.head = head

    @staticmethod
    def _norm(wanted: bool, size: int) -> list[nn.Module]:
        return [nn.LayerNorm(size)] if wanted else []

    def features(self, *inputs: Tensor) -> Tensor:
        """Inputs of the last linear layer, with shape (..., *feature_shape)."""
        first = flattened(inputs[0], self.in_shape, "MLP")
        return self.rest[:-1](self.first(self.alone(first), *inputs[1:]))

    def emit(self, features: Tensor) -> dist.TorchDistribution:
        """The distribution from :meth:`features`."""
        raw = self.rest[-1](features) if len(self.rest) > 0 else features
        return self.head(raw.reshape(*raw.shape[:-1], *self.head.raw_shape))


def shape_of_input(in_shape: Sequence[int] | None, size: int, name: str) -> tuple[int, ...] | None:
    """``in_shape`` as a tuple, which has to have ``size`` elements; None for vectors.

    Raises:
        ArgumentError: If it has another number of elements.
    """
    shape = None if in_shape is None else tuple(in_shape)
    if shape is not None and math.prod(shape) != size:
        raise ArgumentError(
            f"{name}: expected in_features {math.prod(shape)} for in_shape {shape}; got {size}. "
            "Use math.prod(in_shape)."
        )
    return shape


def flattened(value: Tensor, in_shape: tuple[int, ...] | None, name: str) -> Tensor:
    """Data (..., *in_shape) as vectors (..., F), checked to have this shape."""
    if in_shape is None:
        return value
    check_datum(value, in_shape, name)
    return value.flatten(value.dim() - len(in_shape))


def check_datum(value: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Raise a ValueError unless ``value`` ends in ``shape``."""
    if tuple(value.shape[-len(shape) :]) != shape:
        raise ArgumentError(
            f"{name}: expected data with shape (..., {', '.join(map(str, shape))}); got "
            f"{tuple(value.shape)}. Build the network for the data's shape."
        )


def over_leading(net: Callable[[Tensor], Tensor], value: Tensor, event_dim: int) -> Tensor:
    """Apply ``net``, which takes (B, *event), to (..., *event)."""
    leading = value.shape[: value.dim() - event_dim]
    result = net(value.reshape(math.prod(leading), *value.shape[value.dim() - event_dim :]))
    return result.reshape(torch.Size(leading) + result.shape[1:])
