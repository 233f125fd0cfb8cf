r"""Invariances: rotation, translation and scale as latent sites of any model.

.. math::
    p(\gamma) \, p(t) \, p(s) \, p(x \mid z, \gamma, t, s), \qquad
    \gamma \sim \mathrm{WrappedNormal}(0, w_\gamma^2), \;
    t \sim N(0, w_t^2 I), \; \log s \sim N(0, w_s^2)

The decoder samples the pose that it decodes with: in place of a model's decoder, it turns a VAE
into an rVAE and a joint VAE into a jrVAE, with nothing else changed.

References:
    | Explicitly disentangling image content from translation and rotation with
    | spatial-VAE (Bepler et al., 2019), https://arxiv.org/abs/1909.11663
"""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.distributions import CircularUniform, WrappedNormal
from ppvae.errors import ArgumentError
from ppvae.nets import Pose
from ppvae.nets.heads.base import head_of

__all__ = ["PosedDecoder"]


EVERY_ANGLE = ("rotation", math.inf)


class PosedDecoder(nn.Module):
    r""":math:`p(\gamma) \, p(t) \, p(s) \, p(x \mid z, \gamma, t, s)`.

    It samples the sites ``rotation`` (..., N |), ``translation`` (..., N | 2) and ``scale``
    (..., N |), as far as they have a width, inside the plate of the model that calls it.

    With J modes, there is a site ``turn`` (..., N |), the number of the mode of the guide's
    posterior that an angle is from: an auxiliary variable that the image does not depend on, with
    :math:`p(k) = 1 / J`, which lowers the bound by at most :math:`\log J`.

    Arguments:
        decoder: A :class:`~ppvae.nets.CoordinateDecoder` or :class:`~ppvae.nets.CanvasDecoder`.
        rotation: Width :math:`w_\gamma` in radians; ``math.inf`` for a uniform angle.
        translation: Width :math:`w_t` in half image sides.
        scale: Width :math:`w_s` of the logarithm of the factor of size.
        modes: Number of modes J of the guide's posterior of the angle.

    Raises:
        ArgumentError: If no width is given or one is not positive, for a rotation of data that
            are not square images, or for modes without a rotation.

    References:
        | Auxiliary Deep Generative Models (Maaloe et al., 2016)
        | https://arxiv.org/abs/1602.05473
    """

    zero: Tensor

    def __init__(
        self,
        decoder: nn.Module,
        *,
        rotation: float | None = None,
        translation: float | None = None,
        scale: float | None = None,
        modes: int = 1,
    ) -> None:
        super().__init__()
        if modes < 1 or (modes > 1 and rotation is None):
            raise ArgumentError(
                f"modes: expected 1 or more, of a rotation; got {modes} and rotation {rotation}. "
                "Leave them out."
            )
        self.modes = modes
        widths = {"rotation": rotation, "translation": translation, "scale": scale}
        given = {name: width for name, width in widths.items() if width is not None}
        if not given or not all(
            0 < width < math.inf or (name, width) == EVERY_ANGLE for name, width in given.items()
        ):
            raise ArgumentError(
                f"PosedDecoder: expected one or more widths > 0; got {widths}. "
                "Use rotation=1.0 or translation=0.1, or a decoder without a pose."
            )
        size = tuple(head_of(decoder).event_shape[1:])
        if rotation is not None and (len(size) != 2 or size[0] != size[1]):
            raise ArgumentError(
                f"rotation: expected square images; got {size}. "
                "Pad them to a square, or leave the rotation out."
            )
        self.decoder = decoder
        self.widths = given
        self.register_buffer("zero", torch.zeros(len(size)), persistent=False)

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        angle = shift = scale = None
        if self.modes > 1:
            even = dist.Categorical(logits=self.zero.new_zeros(self.modes))
            pyro.sample("turn", even)  # (..., N |)
        if width := self.widths.get("rotation"):
            angle = pyro.sample("rotation", self._angles(width))  # (..., N |)
        if width := self.widths.get("translation"):
            prior = dist.Normal(self.zero, width).to_event(1)
            shift = pyro.sample("translation", prior)  # (..., N | 2)
        if width := self.widths.get("scale"):
            scale = pyro.sample("scale", dist.LogNormal(self.zero[0], width))  # (..., N |)
        return self.decoder(*inputs, pose=Pose(angle, shift, scale))

    def _angles(self, width: float) -> dist.TorchDistribution:
        if width == math.inf:
            return CircularUniform(like=self.zero)
        return WrappedNormal(self.zero[0], width)
