r"""Networks for images rotated by known angles.

The decoder draws upright content and rotates it by the known angle, and the encoder rotates the
image back first, so that the latents represent content only.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from ppvae.errors import ArgumentError
from ppvae.nets.coordinate import Pose, grid, resample, transform_grid
from ppvae.nets.heads import Head
from ppvae.nets.heads.base import head_of
from ppvae.nets.mlp import over_leading

__all__ = ["TurnedDecoder", "TurnedEncoder"]


class TurnedDecoder(nn.Module):
    """Latents (..., N, Z) and angles (N), in radians, to a distribution of images turned by them.

    Arguments:
        canvas: Network to a canvas (C, k H, k W), ending in ``heads.Raw``. The canvas is rotated
            and then averaged down to the image's size; with k = 2, interpolation hardly blurs.
        head: The likelihood, with the event shape (C, H, W).

    Raises:
        ArgumentError: If canvas and likelihood differ in channels, or k is not an integer.
    """

    places: Tensor

    def __init__(self, canvas: nn.Module, head: Head) -> None:
        super().__init__()
        size, raw = tuple(head_of(canvas).event_shape), tuple(head.raw_shape)
        self.factor = size[-1] // raw[-1]
        if (
            len(raw) != 3
            or self.factor < 1
            or size != (raw[0], *(self.factor * s for s in raw[1:]))
        ):
            raise ArgumentError(
                f"TurnedDecoder: expected a canvas with shape {raw}, height and width a whole "
                f"number of times that; got {size}. End the canvas network in heads.Raw(shape)."
            )
        self.canvas = canvas
        self.head = head
        self.register_buffer("places", grid(*size[1:]), persistent=False)

    def forward(self, z: Tensor, angle: Tensor) -> dist.TorchDistribution:
        raw = self.canvas(z).mean
        turned = transform_grid(self.places, Pose(angle=angle.to(z)))
        image = resample(raw, turned)
        if self.factor > 1:
            image = over_leading(lambda flat: avg_pool2d(flat, self.factor), image, 3)
        return self.head(image)


class TurnedEncoder(nn.Module):
    """Rotates images (N, C, H, W) back by angles (N), in radians, then encodes them.

    Arguments:
        encoder: Network from images to a distribution.
        event_shape: (C, H, W).
    """

    places: Tensor

    def __init__(self, encoder: nn.Module, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.event_shape = tuple(event_shape)
        self.register_buffer("places", grid(*self.event_shape[1:]), persistent=False)

    def forward(self, x: Tensor, angle: Tensor) -> dist.TorchDistribution:
        back = transform_grid(self.places, Pose(angle=-angle.to(x)))
        fn: dist.TorchDistribution = self.encoder(resample(x, back))
        return fn
