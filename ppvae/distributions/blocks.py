r"""Independent vectors side by side, such as a direction and Euclidean latents.

.. math::
    p(z) = \prod_i p_i(z_i), \qquad z = (z_1, z_2, \ldots)

References:
    | Increasing Expressivity of a Hyperspherical VAE (Davidson et al., 2019), where the blocks are
    | spheres, https://arxiv.org/abs/1910.02912
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    constraints,
    kl_divergence,
    register_kl,
)
from torch.distributions.constraints import Constraint

from ppvae.distributions.supports import on_reals
from ppvae.errors import ArgumentError

__all__ = ["Blocks"]


class _Blocks(Constraint):
    """Vectors whose blocks lie in supports of their own."""

    event_dim = 1

    def __init__(self, parts: Sequence[Constraint], sizes: Sequence[int]) -> None:
        self.parts, self.sizes = tuple(parts), list(sizes)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        split = zip(self.parts, value.split(self.sizes, -1), strict=True)
        return torch.stack([part.check(block) for part, block in split]).all(0)


class Blocks(TorchDistribution):
    """Independent blocks side by side, with shape (N | L), L the sum of theirs.

    Arguments:
        parts: Distributions with one batch shape and shapes (N | L_i).

    Raises:
        ArgumentError: If one is not of vectors, or the batch shapes differ.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def __init__(self, parts: Sequence[TorchDistribution]) -> None:
        self.parts = tuple(parts)
        shapes = [(tuple(part.batch_shape), tuple(part.event_shape)) for part in self.parts]
        if any(len(event) != 1 for _, event in shapes) or len({batch for batch, _ in shapes}) != 1:
            raise ArgumentError(
                f"{type(self).__name__}: expected vectors with one batch shape; got {shapes}. "
                "Declare event dimensions with .to_event(1)."
            )
        self.sizes = [part.event_shape[0] for part in self.parts]
        event_shape = torch.Size([sum(self.sizes)])
        super().__init__(self.parts[0].batch_shape, event_shape, validate_args=False)

    @property
    def support(self) -> Constraint:
        """Vectors whose blocks lie in the supports of the parts."""
        if all(on_reals(part) for part in self.parts):
            return constraints.real_vector
        supports = [part.support for part in self.parts]
        return _Blocks([s for s in supports if s is not None], self.sizes)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Blocks:
        return type(self)([part.expand(batch_shape) for part in self.parts])

    @property
    def mean(self) -> Tensor:
        """The parts' means side by side, with shape (..., N, L)."""
        return torch.cat([part.mean for part in self.parts], -1)

    @property
    def variance(self) -> Tensor:
        """The parts' variances side by side, with shape (..., N, L)."""
        return torch.cat([part.variance for part in self.parts], -1)

    def entropy(self) -> Tensor:
        return torch.stack([part.entropy() for part in self.parts]).sum(0)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return torch.cat([part.rsample(torch.Size(sample_shape)) for part in self.parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        split = zip(self.parts, value.split(self.sizes, -1), strict=True)
        return torch.stack([part.log_prob(block) for part, block in split]).sum(0)


@register_kl(Blocks, Blocks)
def _kl_blocks(q: Blocks, p: Blocks) -> Tensor:
    if q.sizes != p.sizes:
        raise NotImplementedError
    return torch.stack([kl_divergence(*pair) for pair in zip(q.parts, p.parts, strict=True)]).sum(
        0
    )


@register_kl(Independent, Blocks)
def _kl_normal(q: Independent[Distribution], p: Blocks) -> Tensor:
    if not isinstance(q.base_dist, Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    locs, scales = q.base_dist.loc.split(p.sizes, -1), q.base_dist.scale.split(p.sizes, -1)
    blocks = [Independent(Normal(*moments), 1) for moments in zip(locs, scales, strict=True)]
    return torch.stack([kl_divergence(*pair) for pair in zip(blocks, p.parts, strict=True)]).sum(0)
