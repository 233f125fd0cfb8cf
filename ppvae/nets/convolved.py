"""Convolutions in forms that are faster where nothing is differentiated.

Their results are those of the layers but for rounding; backward they are slower, or no faster.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["convolved", "convolved_and_shuffled", "is_channels_last", "repeated_and_convolved"]


def is_channels_last(convolution: nn.Conv2d) -> bool:
    """Whether the weights of a convolution are channels last, and with them its results."""
    return convolution.weight.is_contiguous(memory_format=torch.channels_last)


def convolved(value: Tensor, convolution: nn.Conv2d) -> Tensor:
    """The result of a convolution of stride 1.

    To one filter, on a CPU with channels last: each channel is convolved on its own, and they are
    added. The usual kernel computes eight filters or more, of which all but one are zero.
    """
    alone = convolution.out_channels == 1 and value.is_cpu and is_channels_last(convolution)
    if torch.is_grad_enabled() or not alone:
        return convolution(value)
    each = functional.conv2d(
        value,
        convolution.weight.transpose(0, 1),
        padding=convolution.padding,
        groups=convolution.in_channels,
    )
    total = each.movedim(1, 3) @ each.new_ones(convolution.in_channels)
    return (total if convolution.bias is None else total + convolution.bias)[:, None]


def repeated_and_convolved(value: Tensor, convolution: nn.Conv2d) -> Tensor:
    """A convolution, by 3 x 3 and with a border of one pixel, of the image at twice its size.

    Repeating each pixel and convolving equals a transposed convolution of stride 2 with a kernel
    of 4 x 4, whose entries are sums of the former's: 2.25 times fewer products.
    """
    turned = convolution.weight.transpose(0, 1).flip(2, 3)
    ones = turned.new_ones(1, 1, 2, 2)
    kernel = functional.conv2d(turned.reshape(-1, 1, 3, 3), ones, padding=1)
    kernel = kernel.reshape(*turned.shape[:2], 4, 4)
    return functional.conv_transpose2d(value, kernel, convolution.bias, stride=2, padding=1)


def convolved_and_shuffled(value: Tensor, convolution: nn.Conv2d) -> Tensor:
    """A convolution, whose channels are then distributed by four over four new pixels.

    With the filters in the order of the new pixels, shuffling copies whole pixels where channels
    are last.
    """
    weight, bias = _by_pixel(convolution.weight), convolution.bias
    bias = None if bias is None else _by_pixel(bias)
    result = functional.conv2d(value, weight, bias, padding=convolution.padding)
    pixels = result.movedim(1, 3).unflatten(3, (2, 2, -1)).transpose(2, 3)
    return pixels.flatten(3, 4).flatten(1, 2).movedim(3, 1)


def _by_pixel(filters: Tensor) -> Tensor:
    """Filters (C * 4, ...) in the order (4 * C, ...)."""
    return filters.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)
