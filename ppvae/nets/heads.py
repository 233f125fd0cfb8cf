r"""Heads: from a network's raw output to a distribution.

The likelihood of a model, or the variational family of a guide, is a choice of head. A head says
what it needs (``raw_shape``) and what it gives (``event_shape``); every network ends in one. The
element-wise ones take k raw values an element, stacked along the first event dimension:
``event_shape = (E, ...)``, ``raw_shape = (k E, ...)``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.distributions import PowerSpherical, RotationNormal, VonMisesFisher
from ppvae.errors import ArgumentError

__all__ = [
    "Bernoulli",
    "Categorical",
    "Classes",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "Fixed",
    "FullNormal",
    "Head",
    "Laplace",
    "NegativeBinomial",
    "Normal",
    "PerElement",
    "Poisson",
    "PowerSphericalDirection",
    "Raw",
    "Rotation",
    "Scale",
    "Shared",
    "VonMisesFisherDirection",
    "positive",
]

Shape: TypeAlias = "Sequence[int]"
FLOOR = 1e-4


def positive(raw: Tensor, floor: float = FLOOR) -> Tensor:
    r""":math:`\log(1 + e^{raw}) + \mathrm{floor}`; the floor is 1e-4 unless said otherwise."""
    return functional.softplus(raw) + floor


def _raw_positive(value: float, floor: float = FLOOR) -> float:
    """The raw number for which :func:`positive` gives ``value``."""
    if not (math.isfinite(value) and value > floor):
        raise ArgumentError(f"scale: expected a number above {floor}; got {value}. Use 0.1 or so.")
    return value - floor + math.log(-math.expm1(floor - value))


class Head(nn.Module, ABC):
    """From raw numbers to a distribution.

    To write one, set both shapes and turn raw numbers (..., \\*raw_shape) into a distribution with
    batch shape (...) and event shape ``event_shape``, declared by ``.to_event``.

    Attributes:
        event_shape: Of one draw.
        raw_shape: Of what the network gives for it.
    """

    event_shape: tuple[int, ...]
    raw_shape: tuple[int, ...]

    @abstractmethod
    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        """The distribution of raw numbers with shape (..., \\*raw_shape)."""


def _event(shape: Shape, name: str) -> tuple[int, ...]:
    event = tuple(int(s) for s in shape)
    if not event or min(event) < 1:
        raise ArgumentError(
            f"{name}: expected an event shape such as (1, 28, 28) or (50,); got {event}. "
            "Pass data['x'].shape[1:]."
        )
    return event


class Elementwise(Head):
    """A head with independent elements and ``k`` raw values for each."""

    def __init__(self, event_shape: Shape, *, k: int = 1) -> None:
        super().__init__()
        self.event_shape = _event(event_shape, type(self).__name__)
        self.k = k
        self.raw_shape = (k * self.event_shape[0], *self.event_shape[1:])

    def parts(self, raw: Tensor) -> tuple[Tensor, ...]:
        """k tensors with shape (..., *event_shape)."""
        return raw.chunk(self.k, dim=-len(self.raw_shape))

    def declare(self, fn: dist.TorchDistribution) -> dist.TorchDistribution:
        """With the event dimensions declared."""
        return fn.to_event(len(self.event_shape))


class Raw(Elementwise):
    """The raw numbers themselves, as a point mass: a network used for its mean alone."""

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return dist.Delta(raw, event_dim=len(self.event_shape))


class Bernoulli(Elementwise):
    r"""Elements on or off: :math:`\log p(x) = x \log \pi + (1 - x) \log(1 - \pi)`.

    Grey values in [0, 1] are accepted; the number is then minus the cross-entropy, not a
    normalised log-density (:class:`ContinuousBernoulli` is).
    """

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(_GreyBernoulli(logits=raw, validate_args=False))


class _GreyBernoulli(dist.Bernoulli):
    """A Bernoulli that scores grey values."""

    support = torch.distributions.constraints.unit_interval

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> _GreyBernoulli:
        return type(self)(logits=self.logits.expand(batch_shape), validate_args=False)


class ContinuousBernoulli(Elementwise):
    r"""Elements in [0, 1], normalised: :math:`p(x) = C(\pi) \pi^x (1 - \pi)^{1 - x}`.

    References:
        | The continuous Bernoulli (Loaiza-Ganem and Cunningham, 2019)
        | https://arxiv.org/abs/1907.06845
    """

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.ContinuousBernoulli(logits=raw))


class Scale(nn.Module, ABC):
    """Where the scale of a :class:`Normal` or :class:`Laplace` head comes from.

    Attributes:
        k: Raw values an element that it takes from the network.
    """

    k: int = 0

    @abstractmethod
    def forward(self, loc: Tensor, raw: Tensor | None) -> Tensor:
        """The scale, broadcastable to ``loc``."""


class Fixed(Scale):
    """One given number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        _raw_positive(value)
        self.register_buffer("value", torch.tensor(float(value)))
        self.value: Tensor

    def forward(self, loc: Tensor, raw: Tensor | None) -> Tensor:
        return self.value.to(loc)


class Shared(Scale):
    """One learned number, or one for each element of the broadcastable ``shape``."""

    def __init__(self, init: float = 0.3, *, shape: Shape = (), floor: float = 1e-3) -> None:
        super().__init__()
        self.floor = floor
        self.raw = nn.Parameter(torch.full(tuple(shape), _raw_positive(init, floor)))

    def forward(self, loc: Tensor, raw: Tensor | None) -> Tensor:
        return positive(self.raw, self.floor).to(loc)


class PerElement(Scale):
    """The network's own number for each element, with a floor."""

    k = 1

    def __init__(self, init: float = 0.3, *, floor: float = 1e-2) -> None:
        super().__init__()
        self.floor = floor
        self.offset = _raw_positive(init, floor)

    def forward(self, loc: Tensor, raw: Tensor | None) -> Tensor:
        assert raw is not None
        return positive(raw + self.offset, self.floor)


class _LocationScale(Elementwise):
    def __init__(self, event_shape: Shape, scale: Scale | None = None) -> None:
        scale = Shared() if scale is None else scale
        super().__init__(event_shape, k=1 + scale.k)
        self.scale = scale

    def loc_scale(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        loc, *rest = self.parts(raw)
        scale = self.scale(loc, rest[0] if rest else None)
        return loc, scale.expand_as(loc)


class Normal(_LocationScale):
    r""":math:`N(x; \mathrm{raw}, \sigma^2)`; ``scale`` is :class:`Fixed`, :class:`Shared` or
    :class:`PerElement`.
    """

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.Normal(*self.loc_scale(raw)))


class Laplace(_LocationScale):
    r""":math:`\frac{1}{2 b} e^{-|x - \mathrm{raw}| / b}`; ``scale`` as of :class:`Normal`."""

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.Laplace(*self.loc_scale(raw)))


class Poisson(Elementwise):
    """Counts with rate softplus(raw) + 1e-4."""

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.Poisson(positive(raw)))


class NegativeBinomial(Elementwise):
    r"""Over-dispersed counts with mean :math:`\mu = \mathrm{softplus}(\mathrm{raw})` and variance
    :math:`\mu + \mu^2 / \theta`; the inverse dispersion :math:`\theta` is learned an element.

    References:
        | scVI (Lopez et al., 2018), https://doi.org/10.1038/s41592-018-0229-2
    """

    def __init__(self, event_shape: Shape) -> None:
        super().__init__(event_shape)
        self.raw_dispersion = nn.Parameter(torch.full(self.event_shape, _raw_positive(1.0)))

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        mean, theta = positive(raw), positive(self.raw_dispersion).to(raw)
        logits = mean.log() - theta.log()
        return self.declare(dist.NegativeBinomial(theta.expand_as(mean), logits=logits))


class Categorical(Elementwise):
    """An element is one of ``num_classes`` (bases of a sequence, segmentation labels)."""

    def __init__(self, event_shape: Shape, *, num_classes: int) -> None:
        if num_classes < 2:
            raise ArgumentError(
                f"num_classes: expected at least 2; got {num_classes}. Count them."
            )
        super().__init__(event_shape, k=num_classes)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return self.declare(dist.Categorical(logits=torch.stack(self.parts(raw), -1)))


class Classes(Head):
    """The class of a datum: a categorical with event shape ()."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise ArgumentError(
                f"num_classes: expected at least 1; got {num_classes}. Count them."
            )
        self.event_shape, self.raw_shape = (), (num_classes,)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        return dist.Categorical(logits=raw)


class DiagonalNormal(Head):
    r""":math:`N(z; \mu, \mathrm{diag} \, \sigma^2)`, with 2 Z raw numbers.

    Arguments:
        dim: Z.
        init: The scale at raw zero.
    """

    def __init__(self, dim: int, *, init: float = 1.0) -> None:
        super().__init__()
        self.event_shape, self.raw_shape = _event((dim,), "DiagonalNormal"), (2 * dim,)
        self.offset = _raw_positive(init)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        loc, spread = raw.chunk(2, -1)
        return dist.Normal(loc, positive(spread + self.offset)).to_event(1)


class FullNormal(Head):
    r""":math:`N(z; \mu, L L^\top)`, Z + Z (Z + 1) / 2 raw numbers; the identity at raw zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.event_shape = _event((dim,), "FullNormal")
        self.raw_shape = (dim + dim * (dim + 1) // 2,)
        rows, columns = torch.tril_indices(dim, dim, -1)
        self.register_buffer("below", rows * dim + columns, persistent=False)
        self.below: Tensor
        self.offset = _raw_positive(1.0)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        dim = self.event_shape[0]
        loc, diagonal, below = raw.split([dim, dim, raw.size(-1) - 2 * dim], -1)
        lower = raw.new_zeros(*raw.shape[:-1], dim * dim)
        lower = lower.index_copy(-1, self.below, below).unflatten(-1, (dim, dim))
        tril = lower + torch.diag_embed(positive(diagonal + self.offset))
        return dist.MultivariateNormal(loc, scale_tril=tril)


class _Direction(Head):
    """A direction and a concentration, from D + 1 raw numbers."""

    family: type[PowerSpherical] | type[VonMisesFisher]

    def __init__(self, dim: int, *, init: float = 10.0) -> None:
        super().__init__()
        if dim < 2:
            raise ArgumentError(f"dim: expected at least 2; got {dim}. Use 2 for the circle.")
        self.event_shape, self.raw_shape = (dim,), (dim + 1,)
        self.offset = _raw_positive(init)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        loc = functional.normalize(raw[..., :-1], dim=-1, eps=1e-6)
        return self.family(loc, positive(raw[..., -1] + self.offset))


class PowerSphericalDirection(_Direction):
    r"""A unit vector, :class:`~ppvae.distributions.PowerSpherical`, with D + 1 raw numbers.

    Arguments:
        dim: D, at least 2.
        init: The concentration at raw zero.
    """

    family = PowerSpherical


class VonMisesFisherDirection(_Direction):
    r"""A unit vector, :class:`~ppvae.distributions.VonMisesFisher`, with D + 1 raw numbers.

    Arguments:
        dim: D, at least 2.
        init: The concentration at raw zero.
    """

    family = VonMisesFisher


class Rotation(Head):
    r"""A rotation in three dimensions, :class:`~ppvae.distributions.RotationNormal`, with event
    shape (3, 3), from 9 raw numbers: two vectors that Gram and Schmidt make a frame, the
    identity at raw zero, and three scales.

    Arguments:
        init: The scale about each axis at raw zero, in radians.

    References:
        | On the Continuity of Rotation Representations in Neural Networks (Zhou et al., 2019)
        | https://arxiv.org/abs/1812.07035
    """

    frame: Tensor

    def __init__(self, init: float = 0.3) -> None:
        super().__init__()
        self.event_shape, self.raw_shape = (3, 3), (9,)
        self.offset = _raw_positive(init)
        self.register_buffer("frame", torch.eye(3)[:2], persistent=False)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        first, second = (raw[..., :6].unflatten(-1, (2, 3)) + self.frame).unbind(-2)
        first = functional.normalize(first, dim=-1, eps=1e-6)
        second = second - (first * second).sum(-1, keepdim=True) * first
        second = functional.normalize(second, dim=-1, eps=1e-6)
        third = torch.linalg.cross(first, second, dim=-1)
        loc = torch.stack([first, second, third], -1)
        return RotationNormal(loc, positive(raw[..., 6:] + self.offset))
