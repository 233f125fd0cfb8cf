r"""Embeddings for deep kernels: the mean of an encoder, and a residual on a linear projection.

A network trained on the evidence of few measurements collapses the data onto them; guards are a
residual that begins at a fixed embedding, and layers whose Lipschitz constant is bounded.

References:
    | The Promises and Pitfalls of Deep Kernel Learning (Ober et al., 2021)
    | https://arxiv.org/abs/2102.12108
    | Spectral-normalized Neural Gaussian Process (Liu et al., 2020)
    | https://arxiv.org/abs/2006.10108
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least

__all__ = ["Beside", "BoundedLinear", "Mean", "NoEmbedding", "ResidualEmbedding"]

# Squarings of W'W, 16 power iterations: the norm is then within a few per cent, from below.
SQUARINGS = 4


class Mean(nn.Module):
    """The mean of a distribution that an encoder returns, such as that of z given x."""

    def forward(self, q: dist.TorchDistribution) -> Tensor:
        """The mean, with shape (..., N, \\*event)."""
        return q.mean


class BoundedLinear(nn.Linear):
    r"""A linear layer whose weights are divided by :math:`\max(1, \|W\|_2 / b)`.

    Arguments:
        in_features: Size of the input.
        out_features: Size of the output.
        bound: b, the largest spectral norm.
    """

    def __init__(self, in_features: int, out_features: int, *, bound: float = 1.0) -> None:
        super().__init__(in_features, out_features)
        self.bound = bound

    def norm(self) -> Tensor:
        """The spectral norm, (), by power iterations from the sum of the rows."""
        with torch.no_grad():
            power = self.weight.mT @ self.weight
            for _ in range(SQUARINGS):
                power = power @ power / power.square().sum().clamp_min(1e-30)
            right = power @ (self.weight.sum(0) + self.weight.abs().sum(0))
            right = nn.functional.normalize(right, dim=0)
        return (self.weight @ right).norm()

    def forward(self, value: Tensor) -> Tensor:
        weight = self.weight / (self.norm() / self.bound).clamp_min(1)
        return nn.functional.linear(value, weight, self.bias)


class ResidualEmbedding(nn.Module):
    r""":math:`\phi(x) = [P (x - \bar x)]_{1 \ldots D} + g(P (x - \bar x))`.

    The rows of P are the principal axes of the data, scaled to variance one.
    The network g, of layers with bounded spectral norm, sees more components than the embedding
    has; its last layer begins at zero, so that training starts at the fixed embedding.

    Arguments:
        x: Data without labels, of which the components are those of most variance, with shape
            (N, ...).
        dim: D, the size of the embedding.
        components: How many components g sees.
        hidden: Sizes of the hidden layers of g.
        bound: Largest spectral norm of its layers.

    Raises:
        ArgumentError: If there are fewer components than ``dim``, or more than data or elements.
    """

    center: Tensor
    axes: Tensor

    @typed(hidden=at_least(1))
    def __init__(
        self,
        x: Tensor,
        dim: int,
        *,
        components: int = 24,
        hidden: Sequence[int] = (32, 32),
        bound: float = 2.0,
    ) -> None:
        super().__init__()
        flat = x.reshape(len(x), -1).double()
        if not 1 <= dim <= components <= min(flat.shape):
            raise ArgumentError(
                f"ResidualEmbedding: expected 1 <= dim <= components <= {min(flat.shape)}, the "
                f"data's rank at most; got {dim} and {components}. Use fewer."
            )
        center = flat.mean(0)
        covariance = (flat - center).mT @ (flat - center) / len(flat)
        values, vectors = torch.linalg.eigh(covariance)
        scales = values[-components:].flip(0).clamp_min(1e-12 * values[-1]).rsqrt()
        axes = vectors[:, -components:].flip(1) * scales
        # The sign of an axis is that of its largest element, on any machine.
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
        self.dim = dim
        self.in_shape = tuple(x.shape[1:])
        self.register_buffer("center", center.float())
        self.register_buffer("axes", axes.float().contiguous())
        widths = [components, *hidden, dim]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [BoundedLinear(before, after, bound=bound), nn.SiLU()]
        self.net: nn.Module | None = nn.Sequential(*layers[:-1])
        last = layers[-2]
        assert isinstance(last, BoundedLinear)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)

    def fixed(self) -> ResidualEmbedding:
        """The embedding without its network: the first D components alone."""
        self.net = None
        return self

    def forward(self, x: Tensor) -> Tensor:
        shape = self.in_shape
        whole = len(shape) > 1 and tuple(x.shape[-len(shape) :]) == shape
        flat = x.flatten(-len(shape)) if whole else x  # Rows that are flat already stay so.
        parts = (flat - self.center.to(flat)) @ self.axes.to(flat)
        first = parts[..., : self.dim]
        return first if self.net is None else first + self.net(parts)


class Beside(nn.Module):
    """An embedding of the first elements of a row, with the last beside it, scaled.

    Arguments:
        embedding: Of the first elements of a row.
        last: Rows of the last elements, whose mean and standard deviation they are scaled by,
            with shape (N, K).
    """

    center: Tensor
    unit: Tensor

    def __init__(self, embedding: nn.Module, last: Tensor) -> None:
        super().__init__()
        self.embedding = embedding
        self.register_buffer("center", last.float().mean(0))
        self.register_buffer("unit", last.float().std(0).clamp_min(1e-12))

    def forward(self, rows: Tensor) -> Tensor:
        count = len(self.center)
        last = (rows[..., -count:] - self.center.to(rows)) / self.unit.to(rows)
        return torch.cat([self.embedding(rows[..., :-count]), last], -1)


class NoEmbedding(nn.Module):
    """Nothing of x: rows (..., F) to (..., 0), such as where the position alone counts."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :0]
