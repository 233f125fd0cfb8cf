"""Convolutional networks for images of any height, width and number of channels."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import pyro.distributions as dist
from torch import Tensor, is_grad_enabled, nn
from torch.nn import functional

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets.convolved import (
    convolved,
    convolved_and_shuffled,
    is_channels_last,
    repeated_and_convolved,
)
from ppvae.nets.featured import FeatureNetwork
from ppvae.nets.heads import Head
from ppvae.nets.mlp import AddedInputs, check_datum, over_leading, sizes_of

__all__ = ["ConvDecoder", "ConvEncoder"]


def _default_channels(height: int, width: int) -> tuple[int, ...]:
    """Filters 16, 32, ... 128, with as many halvings as leave about 7 pixels, at most 5."""
    depth = max(1, min(5, math.ceil(math.log2(max(height, width) / 7))))
    return tuple(min(16 * 2**i, 128) for i in range(depth))


def _sizes(height: int, width: int, depth: int) -> list[tuple[int, int]]:
    """Sizes from full to smallest, each half of the last, rounded up."""
    sizes = [(height, width)]
    for _ in range(depth):
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


def _image_shape(shape: Sequence[int], name: str) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape) < 1:
        raise ArgumentError(
            f"{name}: expected an image shape (C, H, W); got {tuple(shape)}. "
            "Pass data['x'].shape[1:], or use an MLP for data that are not images."
        )
    channels, height, width = (int(s) for s in shape)
    return channels, height, width


class ConvEncoder(nn.Module):
    """Images (..., C, H, W) to a distribution, by 3 x 3 convolutions of stride 2.

    Further inputs (..., F), such as a one-hot class, are joined after the convolutions, which are
    therefore computed once for all enumerated classes.

    Arguments:
        image_shape: (C, H, W), any size.
        head: Head from the raw output to a distribution.
        channels: Number of filters of each convolution, which halves height and width. By
            default as many convolutions as leave about 7 pixels, with 16 filters doubling to 128.
        conditions: Sizes F of the further inputs, a number each.
        hidden: Size of the layer after the convolutions.
        activation: Function that makes an activation.

    Raises:
        ArgumentError: If ``image_shape`` is not (C, H, W); when called, if x has another shape, or
            there are more or fewer further inputs.
    """

    @typed(channels=at_least(1), hidden=at_least(1))
    def __init__(
        self,
        image_shape: Sequence[int],
        head: Head,
        *,
        channels: Sequence[int] | None = None,
        conditions: Sequence[int] = (),
        hidden: int = 128,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        self.image_shape = _image_shape(image_shape, "ConvEncoder")
        first, height, width = self.image_shape
        widths = [first, *(_default_channels(height, width) if channels is None else channels)]
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), activation()]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        smallest = _sizes(height, width, len(widths) - 1)[-1]
        self.first = AddedInputs((widths[-1] * math.prod(smallest), *conditions), hidden)
        self.rest = nn.Sequential(activation(), nn.Linear(hidden, math.prod(head.raw_shape)))
        self.head = head

    def forward(self, x: Tensor, *conditions: Tensor) -> dist.TorchDistribution:
        """The distribution from images (..., C, H, W) and further inputs (..., F)."""
        check_datum(x, self.image_shape, "ConvEncoder")
        features = over_leading(self.convolutions, x, 3)
        raw = self.rest(self.first(features, *conditions))
        return self.head(raw.reshape(*raw.shape[:-1], *self.head.raw_shape))


class _Repeat(nn.Module):
    """Enlarges to a given size by repeating pixels; without checkerboards, also to odd sizes."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def doubles(self, value: Tensor) -> bool:
        """Whether height and width become exactly twice as large."""
        height, width = value.shape[-2:]
        return self.size == (2 * height, 2 * width)

    def forward(self, value: Tensor) -> Tensor:
        return functional.interpolate(value, self.size)


class _Shuffle(nn.Module):
    """Enlarges to a given size by distributing four channels over four new pixels."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def crop(self, value: Tensor) -> Tensor:
        """The part of an enlarged map that has the size."""
        height, width = self.size
        return value[..., :height, :width]

    def forward(self, value: Tensor) -> Tensor:
        return self.crop(functional.pixel_shuffle(value, 2))


class _Enlarging(nn.Sequential):
    """Layers in order; where nothing is differentiated, faster forms of two of them together."""

    def forward(self, value: Tensor) -> Tensor:
        layers = deque(self)
        while layers:
            layer = layers.popleft()
            fused = _fused(value, layer, layers[0]) if layers else None
            if fused is not None:
                layers.popleft()
            value = layer(value) if fused is None else fused
        return value


def _fused(value: Tensor, layer: nn.Module, following: nn.Module) -> Tensor | None:
    """The result of two layers that have a faster form together, if they have one."""
    if is_grad_enabled():
        return None
    if isinstance(layer, _Repeat) and isinstance(following, nn.Conv2d) and layer.doubles(value):
        return repeated_and_convolved(value, following)
    if (
        isinstance(layer, nn.Conv2d)
        and isinstance(following, _Shuffle)
        and is_channels_last(layer)
    ):
        return following.crop(convolved_and_shuffled(value, layer))
    return None


class ConvDecoder(FeatureNetwork):
    """Latents (..., Z), and further inputs (..., F), to a distribution of images.

    A linear layer makes the smallest feature map; each stage doubles height and width, either by
    repeating pixels before a convolution, or by a convolution to four times the channels, which
    are then distributed over the pixels (sub-pixel convolution, about three times faster and as
    good). Transposed convolutions would cause checkerboards.

    Arguments:
        in_features: Size Z, or one size per input.
        head: The likelihood, with an event shape (C, H, W) of any size.
        channels: Filters of the smallest map and after each stage but the last; by default
            those of :class:`ConvEncoder`, mirrored.
        last_channels: Filters at full size; by default the last of ``channels``.
        hidden: Size of a layer before the smallest feature map; none by default.
        upsample: ``"repeat"`` or ``"shuffle"``.
        activation: Function that makes an activation.
        kernel_size: Kernel size of the last convolution.

    Raises:
        ArgumentError: If the head's event shape is not (C, H, W), ``upsample`` is another word, or
            a size is below 1; when called, if there are more or fewer inputs than sizes.

    References:
        | Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
        | Convolutional Neural Network (Shi et al., 2016), https://arxiv.org/abs/1609.05158
    """

    @typed(channels=at_least(1), hidden=at_least(1))
    def __init__(
        self,
        in_features: int | Sequence[int],
        head: Head,
        *,
        channels: Sequence[int] | None = None,
        last_channels: int | None = None,
        hidden: int | None = None,
        upsample: str = "repeat",
        activation: Callable[[], nn.Module] = nn.SiLU,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        _, height, width = _image_shape(head.event_shape, "ConvDecoder")
        if upsample not in ("repeat", "shuffle"):
            raise ArgumentError(
                f"upsample: expected 'repeat' or 'shuffle'; got {upsample!r}. Use 'shuffle'."
            )
        if channels is None:
            channels = tuple(reversed(_default_channels(height, width)))
        sizes = list(reversed(_sizes(height, width, len(channels))))
        self.first_shape = (channels[0], *sizes[0])
        smallest = math.prod(self.first_shape)
        self.first = AddedInputs(
            sizes_of(in_features, "ConvDecoder"), smallest if hidden is None else hidden
        )
        self.rest = nn.Sequential(
            *([] if hidden is None else [activation(), nn.Linear(hidden, smallest)])
        )
        layers: list[nn.Module] = [activation()]
        widths = (*channels[1:], channels[-1] if last_channels is None else last_channels)
        for before, after, size in zip(channels, widths, sizes[1:], strict=True):
            if upsample == "repeat":
                layers += [_Repeat(size), nn.Conv2d(before, after, 3, padding=1)]
            else:
                layers += [nn.Conv2d(before, 4 * after, 3, padding=1), _Shuffle(size)]
            layers.append(activation())
        self.convolutions = _Enlarging(*layers)
        self.last = nn.Conv2d(widths[-1], head.raw_shape[0], kernel_size, padding=kernel_size // 2)
        self.feature_shape = (widths[-1], height, width)
        self.head = head

    def features(self, *inputs: Tensor) -> Tensor:
        """Inputs of the last convolution, with shape (..., *feature_shape)."""
        small = self.rest(self.first(*inputs))
        small = small.reshape(*small.shape[:-1], *self.first_shape)
        return over_leading(self.convolutions, small, 3)

    def emit(self, features: Tensor) -> dist.TorchDistribution:
        """The distribution of images from :meth:`features`."""
        raw = over_leading(lambda value: convolved(value, self.last), features, 3)
        return self.head(raw)
