r"""Decoders with coordinates: images as functions of position, and poses.

Positions are (right, up), from -1 to 1 between the outer edges of the image: a shift is in half
image sides, positive to the right and up; an angle is in radians, counter-clockwise; a scale above
one enlarges. The posed image at position g is the unposed image at

.. math::
    T^{-1}(g) = \tfrac1s R(-\gamma) (g - t)

for angle :math:`\gamma`, shift t and scale s.

References:
    | Explicitly disentangling image content from translation and rotation with
    | spatial-VAE (Bepler et al., 2019), https://arxiv.org/abs/1909.11663
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets.heads import Head, Raw
from ppvae.nets.heads.base import head_of
from ppvae.nets.mlp import AddedInputs, sizes_of

__all__ = [
    "CanvasDecoder",
    "CoordinateDecoder",
    "Pose",
    "grid",
    "place_grid",
    "resample",
    "transform_grid",
]


class Pose(NamedTuple):
    """The pose of the content; a field that is None has no effect.

    Attributes:
        angle: Angle counter-clockwise, in radians, with shape (...).
        shift: Shift right and up, in half image sides, with shape (..., 2), or (..., 1) in one
            dimension.
        scale: Factor of size, with shape (...).
    """

    angle: Tensor | None = None
    shift: Tensor | None = None
    scale: Tensor | None = None


def grid(*size: int) -> Tensor:
    """Positions of the pixels of an image (H, W), or of a spectrum (W): (H W, 2), or (W, 1).

    The first coordinate points right and the second up, each in (-1, 1); rows of pixels go down.

    Raises:
        ArgumentError: Unless there are one or two sizes.
    """
    axes = [(2 * torch.arange(n) + 1) / n - 1 for n in size]
    if len(size) == 1:
        return axes[0][:, None]
    if len(size) != 2:
        raise ArgumentError(f"grid: expected one or two sizes; got {size}. Pass (W) or (H, W).")
    up, right = torch.meshgrid(-axes[0], axes[1], indexing="ij")
    return torch.stack([right, up], -1).flatten(0, 1)


def transform_grid(places: Tensor, pose: Pose) -> Tensor:
    r""":math:`T^{-1}(g)` for each position: (G, D) and a pose (...) to (..., G, D).

    Arguments:
        places: Places g, with shape (G, D).
        pose: Pose, with batch shape (...).
    """
    linear = _linear(places, pose.angle, pose.scale).mT
    if pose.scale is not None:
        linear = linear / pose.scale[..., None, None].square()
    if pose.shift is None:
        return places @ linear.mT
    # One product of matrices, and one pass over the positions.
    return places @ linear.mT - (linear @ pose.shift[..., None]).mT


def place_grid(places: Tensor, pose: Pose) -> Tensor:
    r""":math:`T(g) = s R(\gamma) g + t` for each position: (G, D), pose (...) to (..., G, D).

    Arguments:
        places: Places g, with shape (G, D).
        pose: Pose, with batch shape (...).
    """
    placed = places @ _linear(places, pose.angle, pose.scale).mT
    return placed if pose.shift is None else placed + pose.shift[..., None, :]


def _linear(places: Tensor, angle: Tensor | None, scale: Tensor | None) -> Tensor:
    r""":math:`s R(\gamma)`, with shape (..., D, D)."""
    dims = places.size(-1)
    if angle is None:
        linear = torch.eye(dims, dtype=places.dtype, device=places.device)
    elif dims != 2:
        raise ArgumentError(
            f"pose: expected two dimensions for an angle; got {dims}. "
            "Use a shift or a scale alone."
        )
    else:
        cos, sin = angle.cos(), angle.sin()
        linear = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return linear if scale is None else linear * scale[..., None, None]


def resample(images: Tensor, places: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Interpolate images at positions, bilinearly; the border is continued beyond the image.

    Arguments:
        images: Images with shape (..., C, H, W), or (..., C, W) in one dimension.
        places: Position for each pixel of the result, with shape (..., H W, 2), or (..., W, 1).
        size: Height and width, or width, of the result; by default those of the images.

    Returns:
        Images with the leading dimensions of both, broadcast.
    """
    flat = places.size(-1) == 1
    own = images.shape[-1:] if flat else images.shape[-2:]
    size = own if size is None else torch.Size(size)
    if flat:
        images, size = images.unsqueeze(-2), torch.Size([1, *size])
        places = torch.cat([places, torch.zeros_like(places)], -1)
    leading = torch.broadcast_shapes(images.shape[:-3], places.shape[:-2])
    # grid_sample counts rows downwards.
    places = (places * places.new_tensor([1.0, -1.0])).unflatten(-2, size)
    sampled = functional.grid_sample(
        images.expand(*leading, *images.shape[-3:]).reshape(-1, *images.shape[-3:]),
        places.expand(*leading, *size, 2).reshape(-1, *size, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    sampled = sampled.reshape(*leading, images.size(-3), *size)
    return sampled.squeeze(-2) if flat else sampled


class CoordinateDecoder(nn.Module):
    r"""A decoder that computes the raw output from position and latents.

    .. math::
        \mathrm{raw}(g) = \mathrm{MLP}\left(W_g \, \phi(T^{-1} g) + W_z z + \ldots\right)

    It has any size and number of channels. Terms that depend on the position alone, or on the
    datum alone, are computed once and added.

    Arguments:
        in_features: Z, or one size an input.
        head: The likelihood, with an event shape (C, H, W), or (C, W) in one dimension.
        hidden: Sizes of the hidden layers.
        num_frequencies: Number of frequencies of the Fourier features :math:`\phi` of the
            coordinates, at 1 to this many half turns across the image; 0 for plain coordinates.
        activation: Makes the activations.

    Raises:
        ArgumentError: If the event shape is another, or a size is below 1; when called, if there
            are more or fewer inputs than sizes, or a spectrum is given an angle.
    """

    places: Tensor

    @typed(hidden=at_least(1))
    def __init__(
        self,
        in_features: int | Sequence[int],
        head: Head,
        *,
        hidden: Sequence[int] = (128, 128),
        num_frequencies: int = 0,
        activation: Callable[[], nn.Module] = nn.Tanh,
    ) -> None:
        super().__init__()
        if len(head.event_shape) not in (2, 3):
            raise ArgumentError(
                f"CoordinateDecoder: expected an event shape (C, H, W) or (C, W); got "
                f"{head.event_shape}. Give the head the data's shape with its channels."
            )
        self.size = head.event_shape[1:]
        self.register_buffer("places", grid(*self.size), persistent=False)
        self.num_frequencies = num_frequencies
        dims = len(self.size)
        sizes = (dims * (1 + 2 * num_frequencies), *sizes_of(in_features, "CoordinateDecoder"))
        self.first = AddedInputs(sizes, hidden[0])
        layers: list[nn.Module] = [activation()]
        widths = [*hidden, head.raw_shape[0]]
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(before, after), activation()]
        self.rest = nn.Sequential(*layers[:-1])
        self.head = head

    def _features(self, places: Tensor) -> Tensor:
        if self.num_frequencies == 0:
            return places
        turns = torch.arange(1, self.num_frequencies + 1).to(places) * math.pi / 2
        phases = (places[..., None] * turns).flatten(-2)
        return torch.cat([places, phases.cos(), phases.sin()], -1)

    def forward(self, *inputs: Tensor, pose: Pose | None = None) -> dist.TorchDistribution:
        places = self.places if pose is None else transform_grid(self.places, pose)
        hidden = self.first(self._features(places), *(value[..., None, :] for value in inputs))
        raw = self.rest(hidden).mT
        return self.head(raw.reshape(*raw.shape[:-1], *self.size))


class CanvasDecoder(nn.Module):
    """Decode once to a canvas, then resample the canvas through the pose.

    It takes the same pose as :class:`CoordinateDecoder` at a small fraction of the cost, one
    bilinear interpolation per pixel. The border of the canvas is continued beyond it.

    Arguments:
        canvas: A network that ends in ``heads.Raw(head.raw_shape)``.
        head: The likelihood, with the event shape (C, H, W), or (C, W) in one dimension.

    Raises:
        ArgumentError: If the event shape is another, or the canvas ends in another shape.
    """

    places: Tensor

    def __init__(self, canvas: nn.Module, head: Head) -> None:
        super().__init__()
        if len(head.event_shape) not in (2, 3):
            raise ArgumentError(
                f"CanvasDecoder: expected an event shape (C, H, W) or (C, W); got "
                f"{head.event_shape}. Give the head the data's shape with its channels."
            )
        shape = getattr(getattr(canvas, "head", None), "event_shape", head.raw_shape)
        if tuple(shape) != tuple(head.raw_shape):
            raise ArgumentError(
                f"CanvasDecoder: expected a canvas with shape {head.raw_shape}; got {shape}. "
                "End the canvas network in heads.Raw(head.raw_shape)."
            )
        self.canvas = canvas
        self.head = head
        self.register_buffer("places", grid(*head.event_shape[1:]), persistent=False)

    @classmethod
    def of(cls, network: nn.Module) -> CanvasDecoder:
        """From a decoder without poses: its output is the canvas, its head the likelihood.

        Arguments:
            network: Decoder with the attribute ``head``, such as an :class:`~ppvae.nets.MLP`; it
                becomes part of the canvas decoder, and then ends in raw numbers.
        """
        head = head_of(network)
        network.head = Raw(head.raw_shape)
        return cls(network, head)

    def forward(self, *inputs: Tensor, pose: Pose | None = None) -> dist.TorchDistribution:
        raw = self.canvas(*inputs).mean
        if pose is not None:
            raw = resample(raw, transform_grid(self.places, pose))
        return self.head(raw)
