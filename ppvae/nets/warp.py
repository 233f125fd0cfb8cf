"""Small random deformations that do not change the content of an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.errors import ArgumentError
from ppvae.nets.coordinate import Pose, grid, resample, transform_grid
from ppvae.nets.mlp import check_datum

__all__ = ["Warp"]


class Warp(nn.Module):
    r"""Images rotated, shifted, scaled and bent at random, each row by a separate draw.

    .. math::
        \gamma \sim N(0, \sigma_\gamma^2), \quad t \sim N(0, \sigma_t^2 I), \quad
        \log s \sim N(0, \sigma_s^2), \quad b(g) \sim N(0, \sigma_b^2 I)

    with b a field that is drawn at 4 points per side and smooth between them. The new image at
    position g is the old one at :math:`T^{-1}(g) + b(g)` (:func:`~ppvae.nets.transform_grid`).

    Arguments:
        event_shape: (C, H, W), or (C, W) for spectra, which cannot turn.
        rotation: :math:`\sigma_\gamma` in radians.
        translation: :math:`\sigma_t` in half image sides.
        scale: :math:`\sigma_s`.
        bend: :math:`\sigma_b` in half image sides.

    Raises:
        ArgumentError: If a width is negative, or a spectrum is to be rotated; when called, if x
            has another shape.

    References:
        | Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis
        | (Simard, Steinkraus and Platt, 2003)
    """

    places: Tensor

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        rotation: float = 0.0,
        translation: float = 0.0,
        scale: float = 0.0,
        bend: float = 0.0,
    ) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)
        self.size = self.event_shape[1:]
        if len(self.size) == 1 and rotation:
            raise ArgumentError(
                f"Warp: expected rotation 0 for data with shape {self.event_shape}; got "
                f"{rotation}. A spectrum cannot turn."
            )
        if min(rotation, translation, scale, bend) < 0:
            raise ArgumentError(
                f"Warp: expected widths of at least 0; got rotation {rotation}, translation "
                f"{translation}, scale {scale}, bend {bend}. Use 0 to leave one out."
            )
        self.rotation, self.translation = rotation, translation
        self.scale, self.bend = scale, bend
        self.register_buffer("places", grid(*self.size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, \\*event) to the same shape."""
        check_datum(x, self.event_shape, "Warp")
        dims = len(self.size)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(len(x), *shape, dtype=x.dtype, device=x.device)

        pose = Pose(
            angle=self.rotation * drawn() if self.rotation else None,
            shift=self.translation * drawn(dims),
            scale=(self.scale * drawn()).exp(),
        )
        places = transform_grid(self.places.to(x), pose)
        if self.bend:
            coarse = self.bend * drawn(dims, *(4,) * dims)
            mode = "bicubic" if dims == 2 else "linear"
            field = functional.interpolate(coarse, self.size, mode=mode, align_corners=True)
            places = places + field.flatten(2).mT
        return resample(x, places)
