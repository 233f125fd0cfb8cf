r"""The log-density of over-dispersed counts, with zero inflation or without, and its gradient.

.. math::
    \log \mathrm{NB}(x; \mu, \theta) = \log \frac{\Gamma(\theta + x)}{\Gamma(\theta) \, x!}
        + x \log \frac{\mu}{\theta + \mu} - \theta \log(1 + \mu / \theta)

Most counts of genes or words are zero, for which the first two terms vanish: outside of traced
programs on a CPU, gamma functions are computed for the other elements only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Size, Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn import functional

__all__ = ["log_negative_binomial"]

# Above it the two log-gamma functions of theta would cancel in float32.
LARGE = 32.0


def log_negative_binomial(
    x: Tensor, log_mean: Tensor, log_theta: Tensor, gate: Tensor | None = None
) -> Tensor:
    r"""The log-density of counts, exact in float32 for any :math:`\theta`.

    With a gate, the counts are zero with probability :math:`\pi`, otherwise negative binomial.

    Arguments:
        x: Counts, with shape (...), without a gradient.
        log_mean: :math:`\log \mu`, with shape (...), broadcastable with x.
        log_theta: :math:`\log \theta`, the logarithm of the inverse dispersion, with shape (...),
            broadcastable with x.
        gate: Logits of :math:`\pi`, with shape (...), broadcastable with x; None without zero
            inflation.

    Returns:
        The log-density of each count in nats, with shape (...), that of all arguments broadcast.
    """
    given = (x, log_mean, log_theta) if gate is None else (x, log_mean, log_theta, gate)
    if torch._C._are_functorch_transforms_active():
        # Stacked members of an ensemble, of which autograd finds the gradient.
        return _log_density(functional.softplus(log_mean - log_theta), None, *given)
    density: Tensor = _Density.apply(*given)
    return density


class _Context(FunctionCtx):
    """What the gradient needs of the forward pass."""

    some: Tensor | None
    saved_tensors: tuple[Tensor, ...]


class _Density(Function):
    """The log-density, from counts, log-means, log-dispersions and gates, if there are any."""

    @staticmethod
    def forward(ctx: _Context, *given: Tensor) -> Tensor:
        x, log_mean, log_theta, *_ = given
        ratio = functional.softplus(log_mean - log_theta)
        ctx.some = _positions(x, ratio.shape)
        ctx.save_for_backward(ratio, *given)
        return _log_density(ratio, ctx.some, *given)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), some = grads, ctx.some
        ratio, x, log_mean, log_theta, *gates = ctx.saved_tensors
        theta, change = log_theta.exp(), log_mean - log_theta
        if torch.is_grad_enabled():  # This gradient is differentiated, too.
            ratio = functional.softplus(change)
        to_gates = []
        for gate in gates:
            # The probability that a zero is one of the counts.
            counted = (-theta * ratio - gate).sigmoid()
            counted = _replaced(counted, some, x, torch.ones_like(grad))
            to_gates.append((grad * (1 - counted - gate.sigmoid())).sum_to_size(gate.shape))
            grad = grad * counted
        expected = (x + theta) * change.sigmoid()
        slope = expected - theta * ratio
        slope = _plus(slope, some, _slope, x, theta, theta.clamp(max=LARGE).digamma())
        to_mean = (grad * (x - expected)).sum_to_size(log_mean.shape)
        return None, to_mean, (grad * slope).sum_to_size(log_theta.shape), *to_gates


def _log_density(ratio: Tensor, some: Tensor | None, *given: Tensor) -> Tensor:
    r"""The log-density, from :math:`\log(1 + \mu / \theta)` and where counts are above zero."""
    x, log_mean, log_theta, *gates = given
    theta = log_theta.exp()
    nothing = -theta * ratio
    # A zero is one of the counts, or one of the others.
    inflated = [torch.logaddexp(gate, nothing) for gate in gates]
    density = _plus(
        nothing, some, _rising, x, log_mean - ratio, theta, theta.clamp(max=LARGE).lgamma()
    )
    for gate, nothing in zip(gates, inflated, strict=True):
        density = _replaced(nothing, some, x, density) - functional.softplus(gate)
    return density


def _positions(x: Tensor, shape: Size) -> Tensor | None:
    """Where x, broadcast to a shape, is not zero, by number; None if that is not worth it."""
    if x.device.type != "cpu" or get_proxy_mode() is not None:
        return None
    some = x.detach().expand(torch.broadcast_shapes(x.shape, shape)) > 0
    return torch.from_numpy(np.flatnonzero(some.numpy()))  # ten times as fast as torch's


def _plus(
    base: Tensor, some: Tensor | None, function: Callable[..., Tensor], *given: Tensor
) -> Tensor:
    """The base plus a function of what is given, the first x, that is zero where x is."""
    if some is None:
        return base + function(*given)
    shape = torch.broadcast_shapes(base.shape, given[0].shape)
    values = function(*(part.expand(shape).flatten().index_select(0, some) for part in given))
    return base.expand(shape).flatten().index_add(0, some, values).reshape(shape)


def _replaced(base: Tensor, some: Tensor | None, x: Tensor, values: Tensor) -> Tensor:
    """The base, but for values of the same shape where x is not zero."""
    if some is None:
        return torch.where(x > 0, values, base)
    flat = base.expand(values.shape).flatten()
    return flat.scatter(0, some, values.flatten().index_select(0, some)).reshape(values.shape)


def _rising(x: Tensor, odds: Tensor, theta: Tensor, low: Tensor) -> Tensor:
    r""":math:`\log \Gamma(\theta + x) / (\Gamma(\theta) \, x!)` and x times log odds.

    Arguments:
        x: Counts.
        odds: :math:`\log \mu - \log(1 + \mu / \theta)`; :math:`x \log \theta` is taken out.
        theta: :math:`\theta`.
        low: :math:`\log \Gamma(\theta)`, for theta below :data:`LARGE`.
    """
    small, large = theta.clamp(max=LARGE), theta.clamp(min=LARGE)
    direct = (small + x).lgamma() - low - x * small.log()
    # By Stirling's series.
    total = large + x
    first, last = 1 / large, 1 / total
    series = (total - 0.5) * (x * first).log1p() - x
    series = series + (last - first) / 12 - (last * last * last - first * first * first) / 360
    rising = torch.where(theta < LARGE, direct, series)
    return rising - (x + 1).lgamma() + x * odds


def _slope(x: Tensor, theta: Tensor, low: Tensor) -> Tensor:
    r""":math:`\theta` times the derivative of the first term, x subtracted.

    Arguments:
        x: Counts.
        theta: :math:`\theta`.
        low: :math:`\psi(\theta)`, for theta below :data:`LARGE`.
    """
    small, large = theta.clamp(max=LARGE), theta.clamp(min=LARGE)
    direct = small * ((small + x).digamma() - low) - x
    total = large + x
    first, last = 1 / large, 1 / total
    squares = (first * first, last * last)
    inner = (squares[0] - squares[1]) * (1 / 12 - (squares[0] + squares[1]) / 120)
    series = large * ((x * first).log1p() + inner) - (total - 0.5) * x * last
    return torch.where(theta < LARGE, direct, series)
