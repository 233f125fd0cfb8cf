r"""Fully connected networks in which conditions act on every layer.

An MLP that is given a class as one more input of its first layer can move its units by it, once.
Here the conditions c, such as a class, scale and shift the units of every hidden layer (FiLM),

.. math::
    h_l = a\bigl((1 + \gamma_l(c)) \odot W_l h_{l-1} + \beta_l(c)\bigr),
    \qquad [\gamma_l(c), \beta_l(c)] = V_l c + v_l

so that a class has a network of its own, made of shared parts. A latent then need not repeat the
class to make up for what the decoder does not do with it.

References:
    | FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2018)
    | https://arxiv.org/abs/1709.07871
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets.featured import FeatureNetwork
from ppvae.nets.heads import Head
from ppvae.nets.mlp import AddedInputs, flattened, shape_of_input, sizes_of

__all__ = ["ModulatedMLP"]


class ModulatedMLP(FeatureNetwork):
    """Linear layers, scaled and shifted by conditions, between an input (..., F) and a head.

    Arguments:
        in_features: Size of the first input, then the size of each condition; with ``in_shape``,
            the first size is the number of elements of a datum.
        head: Head from the raw output to a distribution.
        hidden: Sizes of the hidden layers.
        activation: Function that makes the activation between layers.
        in_shape: Shape of one datum of the first input, which is then flattened.

    Raises:
        ArgumentError: If there is no condition or no hidden layer, or ``in_features`` and
            ``in_shape`` do not agree.
    """

    @typed(hidden=at_least(1))
    def __init__(
        self,
        in_features: Sequence[int],
        head: Head,
        *,
        hidden: Sequence[int] = (256, 256),
        activation: Callable[[], nn.Module] = nn.SiLU,
        in_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        first, *conditions = sizes_of(in_features, "ModulatedMLP")
        if not conditions or not hidden:
            raise ArgumentError(
                "ModulatedMLP: expected conditions and hidden layers; got in_features "
                f"{in_features} and hidden {tuple(hidden)}. Use MLP where there are none."
            )
        self.in_shape = shape_of_input(in_shape, first, "ModulatedMLP")
        widths = [first, *hidden]
        pairs = list(zip(widths, widths[1:], strict=False))
        self.linear = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)
        self.modulation = nn.ModuleList(AddedInputs(conditions, 2 * b) for _, b in pairs)
        self.activation = activation()
        self.last = nn.Linear(widths[-1], math.prod(head.raw_shape))
        self.feature_shape = (widths[-1],)
        self.head = head

    def features(self, *inputs: Tensor) -> Tensor:
        """Inputs of the last linear layer, with shape (..., *feature_shape)."""
        first, *conditions = inputs
        value = flattened(first, self.in_shape, "ModulatedMLP")
        for linear, modulation in zip(self.linear, self.modulation, strict=True):
            gain, shift = modulation(*conditions).chunk(2, -1)
            value = self.activation((1 + gain) * linear(value) + shift)
        return value

    def emit(self, features: Tensor) -> dist.TorchDistribution:
        """The distribution from :meth:`features`."""
        raw = self.last(features)
        return self.head(raw.reshape(*raw.shape[:-1], *self.head.raw_shape))
