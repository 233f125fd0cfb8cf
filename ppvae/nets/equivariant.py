r"""The pose of an image, from a network that is equivariant to rotations, shifts and scaling.

A network that computes the angle directly from the pixels has to learn each angle. This network
learns the appearance of an upright image, and is equivariant by construction: a small network s
scores K rotated copies of the image, centred at t and with normalised size r,

.. math::
    p_k(x) = \mathrm{softmax}_k \; s(T_{\alpha_k, t, r}^{-1} x), \qquad
    \gamma = \arg \sum_k p_k e^{i \alpha_k}, \qquad \alpha_k = 2 \pi k / K

so that for an image rotated by :math:`\beta` about its centre the angle increases by
:math:`\beta`, exactly for multiples of the K angles, and approximately between them if the scores
are smooth. With J modes, the first is :math:`\tfrac1J \arg \sum_k p_k e^{i J \alpha_k}`, the
others are evenly spaced around the circle, and their probabilities are given by the scores in
their directions.
Centre and size are the first two moments of the image's intensity, which shift and scale with the
image; the network may correct them in the normalised frame.

References:
    | Group Equivariant Convolutional Networks (Cohen and Welling, 2016)
    | https://arxiv.org/abs/1602.07576
    | Explicitly disentangling image content from translation and rotation with
    | spatial-VAE (Bepler et al., 2019), https://arxiv.org/abs/1909.11663
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.borders import typed
from ppvae.distributions import WrappedNormal
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets.coordinate import Pose, grid, place_grid, resample
from ppvae.nets.heads import positive
from ppvae.nets.mlp import check_datum, over_leading

__all__ = ["EquivariantPose", "moments"]


def moments(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and radius of the intensity above the image's darkest pixel.

    Arguments:
        x: Images (..., C, H, W), or spectra (..., C, W).
        places: Coordinates of the pixels, (G, D).

    Returns:
        The mean position (..., D) and the root-mean-square distance from it (...).
    """
    weight = x.mean(-1 - places.size(-1)).flatten(-places.size(-1))
    weight = weight - weight.amin(-1, keepdim=True)
    tiny = torch.finfo(weight.dtype).tiny
    # An image of constant intensity has its centre in the middle.
    weight = weight + tiny
    weight = weight / weight.sum(-1, keepdim=True)
    centre = weight @ places
    squares = (places - centre.unsqueeze(-2)).square().sum(-1)
    return centre, (weight * squares).sum(-1).clamp_min(tiny).sqrt()


# The logit of a mode to which all copies point.
_SURE = 10.0


class EquivariantPose(nn.Module):
    r"""A network from x to the posteriors of ``rotation``, ``translation`` and ``scale``.

    The network of :class:`~ppvae.guides.Align`.

    Arguments:
        shape: Shape of a datum, (C, H, W), or (C, W) in one dimension.
        rotation: Whether to estimate the angle; square images only.
        translation: Whether to estimate the shift.
        scale: Whether to estimate the size.
        angles: Number of angles K.
        modes: Number of modes J of the angle's posterior; from 2 on, the site ``turn`` is the
            number of the mode, and ``rotation`` the angle of the first mode.
        side: Approximate number of pixels across at which copies are compared; the image's own by
            default.
        hidden: Sizes of the scoring network's hidden layers.
        activation: Function that makes an activation.
        init: Initial scale of the posteriors.
        corrected: Whether the network may correct centre and size, for images with intensity that
            is not content. Without correction, shift and size do not depend on the training.

    Raises:
        ArgumentError: If nothing is to be estimated; or, with an angle, if K is below 3, J is not
            fewer than half of K, or the data are not square images.
    """

    places: Tensor
    turns: Tensor
    turned: Tensor

    @typed(hidden=at_least(1))
    def __init__(
        self,
        shape: Sequence[int],
        *,
        rotation: bool = True,
        translation: bool = True,
        scale: bool = False,
        angles: int = 16,
        modes: int = 1,
        side: int = 28,
        hidden: Sequence[int] = (64, 64),
        activation: Callable[[], nn.Module] = nn.SiLU,
        init: float = 0.1,
        corrected: bool = False,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        size = self.shape[1:]
        if not (rotation or translation or scale):
            raise ArgumentError(
                "EquivariantPose: expected one or more of rotation, translation and scale; got "
                "none. Use an encoder without Align."
            )
        if rotation and (len(size) != 2 or size[0] != size[1]):
            raise ArgumentError(
                f"rotation: expected square images; got {size}. "
                "Pad them to a square, or leave the rotation out."
            )
        if rotation and angles < 3:
            raise ArgumentError(f"angles: expected at least 3; got {angles}. Use 16.")
        if rotation and not 1 <= modes <= (angles - 1) // 2:
            raise ArgumentError(
                f"modes: expected 1 to {(angles - 1) // 2}, fewer than half the {angles} angles; "
                f"got {modes}. Use fewer modes, or more angles."
            )
        self.rotation, self.translation, self.corrected = rotation, translation, corrected
        self.modes = modes
        dims = len(size)
        factor = max(1, max(size) // side)
        self.coarse = tuple(max(1, n // factor) for n in size)
        # score, spread of the angle | offset and its spread | log size and its spread
        self.sizes = [2, 2 * dims, 2]
        widths = [self.shape[0] * math.prod(self.coarse), *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(before, after), activation()]
        self.network = nn.Sequential(*layers, nn.Linear(widths[-1], sum(self.sizes)))
        # Of an image of size one.
        self.log_radius = nn.Parameter(torch.tensor(math.log(0.4))) if scale else None
        self.register_buffer("places", grid(*size), persistent=False)
        self.count = angles if rotation else 1
        turns = torch.arange(self.count) * 2 * math.pi / self.count
        self.register_buffer("turns", turns, persistent=False)
        # The places of the copies' pixels, turned by each angle: (K G, D).
        turned = grid(*self.coarse)
        turned = place_grid(turned, Pose(turns)) if rotation else turned
        self.register_buffer("turned", turned.reshape(-1, dims), persistent=False)
        self.offset = math.log(math.expm1(init))

    def forward(self, x: Tensor) -> dict[str, dist.TorchDistribution]:
        check_datum(x, self.shape, "EquivariantPose")
        centre, radius = moments(x, self.places.to(x))
        size = None if self.log_radius is None else (radius.log() - self.log_radius).exp()
        raw = self.network(self._at_rest(x, centre, size).flatten(-len(self.shape)))
        # (..., N, K, 2 + 2 D + 2)
        score, moved, grown = raw.split(self.sizes, -1)
        p = score[..., 0].softmax(-1).unsqueeze(-1)
        distributions: dict[str, dist.TorchDistribution] = {}
        if self.rotation:
            distributions |= self._angle(p[..., 0], score[..., 1])
        if self.translation:
            distributions["translation"] = self._shift(centre, size, p, moved)
        if size is not None:
            growth, spread = (p * grown).sum(-2).unbind(-1)
            loc = size.log() + growth if self.corrected else size.log()
            distributions["scale"] = dist.LogNormal(loc, self._spread(spread))
        return distributions

    def _angle(self, p: Tensor, spread: Tensor) -> dict[str, dist.TorchDistribution]:
        """The angle's posterior, from the copies' weights and spreads, both (..., N, K)."""
        turns = self.turns.to(p)
        right, up = ((p * part(self.modes * turns)).sum(-1) for part in (torch.cos, torch.sin))
        angle = torch.atan2(up, right) / self.modes
        distributions: dict[str, dist.TorchDistribution] = {}
        if self.modes > 1:
            modes = torch.arange(self.modes, device=p.device) * 2 * math.pi / self.modes
            gap = turns - (angle[..., None] + modes)[..., None]  # (..., N, J, K)
            distributions["turn"] = dist.Categorical(
                logits=_SURE * (p[..., None, :] * gap.cos()).sum(-1)
            )
        distributions["rotation"] = WrappedNormal(angle, self._spread((p * spread).sum(-1)))
        return distributions

    def _at_rest(self, x: Tensor, centre: Tensor, size: Tensor | None) -> Tensor:
        """x, with shape (..., C, H, W), without each pose and coarse: (..., K, C, H', W')."""
        places = self.turned.to(x)
        if size is not None:
            places = places * size[..., None, None]
        if self.translation:
            places = places + centre.unsqueeze(-2)
        dims = len(self.coarse)
        pool: Callable[..., Tensor] = (
            functional.adaptive_avg_pool2d if dims == 2 else functional.adaptive_avg_pool1d
        )
        if self.coarse != self.shape[1:]:
            x = over_leading(lambda images: pool(images, self.coarse), x, 1 + dims)
        height, *width = self.coarse
        # All K are looked up as one tall image, so that x is read K times and not copied.
        tall = resample(x, places, (self.count * height, *width))
        return tall.unflatten(-dims, (self.count, height)).movedim(-1 - dims, -2 - dims)

    def _spread(self, raw: Tensor) -> Tensor:
        return positive(raw + self.offset, 1e-3)

    def _shift(
        self, centre: Tensor, size: Tensor | None, p: Tensor, moved: Tensor
    ) -> dist.TorchDistribution:
        """The centre, with its correction transformed from the normalised to the image's frame."""
        offset, spread = moved.chunk(2, -1)
        scale = self._spread((p * spread).sum(-2))
        if not self.corrected:
            return dist.Normal(centre, scale).to_event(1)
        if self.rotation:
            cos, sin = self.turns.to(p).cos(), self.turns.to(p).sin()
            right, up = offset.unbind(-1)
            offset = torch.stack([cos * right - sin * up, sin * right + cos * up], -1)
        offset = (p * offset).sum(-2)
        if size is not None:
            offset = offset * size.unsqueeze(-1)
        return dist.Normal(centre + offset, scale).to_event(1)
