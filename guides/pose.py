r"""The pose of an image, and the image with its pose undone.

.. math::
    q(\gamma, t, s \mid x) \; q(z, \ldots \mid T_{\gamma, t, s}^{-1} x)

where the angle's posterior may have J modes, evenly spaced around the circle and summed exactly,
:math:`q(\gamma \mid x) = \sum_k q(k \mid x) \, q(\gamma - 2 \pi k / J \mid x)`: an image that is
first estimated upside down can then be corrected, which a gradient along the circle cannot do.

It is a first stage for any guide: it samples the pose and returns the image with the pose undone,
so that the networks for content and class do not depend on the pose. The family of spatial-VAE and
pyroVED, :math:`q(\gamma, t, s \mid x) \, q(z \mid x)`, is ``undo=False``.

References:
    | Spatial Transformer Networks (Jaderberg et al., 2015), https://arxiv.org/abs/1506.02025
    | Explicitly disentangling image content from translation and rotation with
    | spatial-VAE (Bepler et al., 2019), https://arxiv.org/abs/1909.11663
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
from torch import Tensor, nn

from ppvae.distributions import WrappedNormal
from ppvae.errors import ArgumentError
from ppvae.nets import Pose, grid, place_grid, resample

__all__ = ["Align"]


class Align(nn.Module):
    r""":math:`q(\gamma, t, s \mid x)`, then :math:`T^{-1} x`.

    Arguments:
        network: x, with shape (N, C, H, W), to the distributions of ``rotation``,
            ``translation`` and ``scale`` by name: a network that ends in
            :class:`~ppvae.nets.Sites`. If ``turn``, a class of J, is among them, ``rotation`` is
            that of the first mode, and J is the number of modes of the model's
            :class:`~ppvae.models.PosedDecoder`.
        event_shape: (C, H, W), or (C, W) in one dimension.
        undo: Whether to return the image with its pose undone, rather than unchanged.

    Example:
        >>> sites = Sites({"rotation": Angle(), "translation": Shift()})
        >>> trunk = Align(MLP(784, sites, in_shape=(1, 28, 28)), (1, 28, 28))
        >>> guide = AmortizedGuide(nn.Sequential(trunk, encoder))
    """

    places: Tensor

    def __init__(
        self, network: nn.Module, event_shape: Sequence[int], *, undo: bool = True
    ) -> None:
        super().__init__()
        self.network = network
        self.undo = undo
        self.register_buffer("places", grid(*event_shape[1:]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Sample the pose of images (N, C, H, W).

        Returns:
            The images with the pose undone, with shape (..., N, C, H, W): leading dimensions are
            those of the pose. With ``undo=False``, the images as given.

        Raises:
            ArgumentError: If the network returns a site that is none of a pose.
        """
        distributions = dict(self.network(x))
        if "turn" in distributions:
            way = distributions.pop("turn")
            turn = pyro.sample("turn", way, infer={"enumerate": "parallel"})  # (..., N |)
            first = distributions["rotation"]
            further = turn * (2 * math.pi / way.logits.size(-1))
            distributions["rotation"] = WrappedNormal(first.loc + further, first.scale)
        pose = {
            name: pyro.sample(name, q)  # (..., N |), of the translation (..., N | 2)
            for name, q in distributions.items()
        }
        unknown = sorted(set(pose) - {"rotation", "translation", "scale"})
        if unknown:
            raise ArgumentError(
                f"Align: expected the sites rotation, translation and scale; got {unknown}. "
                "Sample other sites in the guide itself."
            )
        if not self.undo:
            return x
        at = Pose(pose.get("rotation"), pose.get("translation"), pose.get("scale"))
        return resample(x, place_grid(self.places, at))
