r"""The rotation in space of what an image shows.

.. math::
    q(R \mid x) = \sum_k q(k \mid x) \, q_k(R \mid x)

with J modes summed exactly: an image first explained half a turn away is found the right way
round by another mode, which no gradient along the group leads to.

References:
    | Topological Obstructions and How to Avoid Them (Esmaeili et al., 2023)
    | https://arxiv.org/abs/2312.07529
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from pyro.poutine.runtime import InferDict
from torch import Tensor, nn

from ppvae.distributions import RotationNormal
from ppvae.errors import ArgumentError
from ppvae.nets import OneHot
from ppvae.nets.heads import Modes

__all__ = ["Orient"]


class Orient(nn.Module):
    r""":math:`q(R \mid x)`, as a first stage of any guide: x is handed on as it is.

    Arguments:
        network: x, with shape (N, ...), to the modes of its rotation: a network that ends in
            :class:`~ppvae.nets.heads.RotationModes`, with as many modes as the model's
            :class:`~ppvae.models.OrientedDecoder`.
        modes: J.

    Raises:
        ArgumentError: If ``modes`` is below 1; at the first call, if the network has another
            number of modes.

    Example:
        >>> trunk = Orient(MLP(784, heads.RotationModes(4), in_shape=(1, 28, 28)), modes=4)
        >>> guide = AmortizedGuide(nn.Sequential(trunk, encoder))
    """

    def __init__(self, network: nn.Module, *, modes: int = 1) -> None:
        super().__init__()
        if modes < 1:
            raise ArgumentError(f"modes: expected 1 or more; got {modes}. Use 4.")
        self.network = network
        self.modes = modes
        self.one_hot = OneHot(modes) if modes > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Sample the rotation, with shape (..., N, 3, 3), and return x (N, ...) unchanged.

        Raises:
            ArgumentError: If the network has another number of modes than ``modes``.
        """
        modes: Modes = self.network(x)
        if modes.logits.size(-1) != self.modes:
            raise ArgumentError(
                f"Orient: expected {self.modes} modes of the network; got "
                f"{modes.logits.size(-1)}. End it in heads.RotationModes({self.modes})."
            )
        if self.one_hot is None:
            loc, scale = modes.loc[..., 0, :, :], modes.scale[..., 0, :]
        else:
            infer: InferDict = {"enumerate": "parallel"}
            way = dist.Categorical(logits=modes.logits)
            chosen = self.one_hot(pyro.sample("turn", way, infer=infer))  # (..., N, J)
            loc = (chosen[..., None, None] * modes.loc).sum(-3)
            scale = (chosen[..., None] * modes.scale).sum(-2)
        pyro.sample("rotation", RotationNormal(loc, scale))  # (..., N | 3, 3)
        return x
