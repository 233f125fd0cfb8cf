r"""Critics: networks that score how well two values belong together.

A critic is called with a and b, with shapes (N, ...), and returns the scores :math:`T(a_i, b_i)`,
with shape (N), and the scores :math:`T(a_i, b_j)` of each a with the b of M other rows, with shape
(N, M). The other rows of row i are i + 1, ..., i + M, modulo N; the batch is in random order.

The two forms:

- :class:`SeparableCritic`, of :math:`\|f(a) - g(b)\|`: each value goes through its network once,
  so all N (N - 1) pairs cost one matrix product;
- :class:`JointCritic`, :math:`h(f(a), b)`: sees both at once, and costs a pass of h a pair.

An image a goes through f once in both; f is any network, convolutional ones too
(:func:`critic_between` makes one by the shapes).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets import MLP, ConvEncoder, heads

__all__ = ["Critic", "JointCritic", "SeparableCritic", "critic_between"]


def _others(size: int, count: int | None, device: torch.device) -> Tensor:
    """Row numbers of the M others of each row, with shape (N, M)."""
    if size < 2:
        raise ArgumentError(
            f"critic: expected at least 2 data, as each is distinguished from the others; got "
            f"{size}. Choose a batch_size that leaves no single row over."
        )
    shifts = torch.arange(1, min(count or size, size - 1) + 1, device=device)
    return (torch.arange(size, device=device)[:, None] + shifts) % size


class Critic(nn.Module, ABC):
    """Scores of pairs."""

    @abstractmethod
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of pairs that belong together, (N), and of those that do not, (N, M).

        Raises:
            ArgumentError: If there is one datum only.
        """

    def encode(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of each row alone, with shapes (N, ...): by default a and b themselves."""
        return a, b

    def score(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The scores from the codes of :meth:`encode`, for the rows of all processes.

        Arguments:
            a: Codes of a, with shape (N, ...).
            b: Codes of b, with shape (N, ...).

        Returns:
            Scores of pairs of the same row, with shape (N), and of other pairs, with shape (N, M).
        """
        scores: tuple[Tensor, Tensor] = self(a, b)
        return scores


class SeparableCritic(Critic):
    r""":math:`T(a, b) = -\tfrac12 \|f(a) - g(b)\|^2 + u(a) + v(b)`, with all others of the batch.

    It represents the same functions as the usual form :math:`f(a) \cdot g(b) + u(a) + v(b)`. But
    where a nearly determines b, the scores are a narrow ridge, along which the parts of the usual
    form would have to cancel (for correlated normals with 5 nats in one dimension and the same
    training, the estimates are 4.8 and 3.3 nats).

    Arguments:
        first: Network of f and u, from a, with shape (N, ...), to F + 1 numbers; it ends in
            ``heads.Raw((F + 1,))``.
        second: Network of g and v, in the same way, from b.
    """

    @typed()
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self.score(*self.encode(a, b))

    def encode(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """f and u of a, g and v of b, each with shape (N, F + 1)."""
        return self.first(a).mean, self.second(b).mean

    def score(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of pairs of codes."""
        others, (f, g) = _others(len(a), None, a.device), (a, b)
        scores = f[:, :-1] @ g[:, :-1].T + _offset(f)[:, None] + _offset(g)
        return scores.diagonal(), scores.gather(1, others)


def _offset(code: Tensor) -> Tensor:
    """The part of the scores that depends on one value alone: u minus half of the square of f."""
    return code[:, -1] - 0.5 * code[:, :-1].square().sum(1)


class JointCritic(Critic):
    r""":math:`T(a, b) = h(f(a), b)`.

    Arguments:
        network: Network h from the features of a, with shape (..., F), and b, with shape
            (..., B), to one number; it ends in ``heads.Raw((1,))``.
        features: Network f from a, with shape (N, ...), to F numbers; it ends in
            ``heads.Raw((F,))``. By default a itself, flattened.
        others: Number M of other rows; by default all others of the batch.

    Raises:
        ArgumentError: If ``others`` is below 1; when called, if there is one datum only.
    """

    @typed(others=at_least(1))
    def __init__(
        self, network: nn.Module, features: nn.Module | None = None, *, others: int | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.others = others

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self.score(*self.encode(a, b))

    def encode(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a, with shape (N, F), and b, with shape (N, B)."""
        return (a.flatten(1) if self.features is None else self.features(a).mean), b.flatten(1)

    def score(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of pairs of features and b."""
        others = _others(len(a), self.others, a.device)
        joint = self.network(a, b).mean
        marginal = self.network(a[:, None], b[others]).mean
        return joint.squeeze(-1), marginal.squeeze(-1)


def _embedding(
    shape: Sequence[int], size: int, hidden: Sequence[int], *, convolutions: bool
) -> nn.Module:
    head = heads.Raw((size,))
    if len(shape) == 3 and convolutions:
        return ConvEncoder(shape, head, channels=_thin(shape), hidden=hidden[0])
    return MLP(math.prod(shape), head, hidden=hidden, in_shape=shape)


def _thin(shape: Sequence[int]) -> tuple[int, ...]:
    """Filters that halve an image to 4 pixels or so: 8, 16, ... 64, fewer than an encoder has."""
    depth = max(1, min(5, round(math.log2(max(shape[1:]) / 4))))
    return tuple(min(8 * 2**i, 64) for i in range(depth))


@typed(features=at_least(1), others=at_least(1))
def critic_between(
    first: Sequence[int],
    second: Sequence[int],
    *,
    form: Literal["separable", "joint"] = "separable",
    features: int = 32,
    hidden: Sequence[int] = (128, 128),
    convolutions: bool = True,
    others: int | None = None,
) -> Critic:
    """A critic for values of these shapes: images through convolutions, the rest through an MLP.

    Arguments:
        first: Shape of one a, such as (3, 64, 64) or (10,).
        second: Shape of one b.
        form: :class:`SeparableCritic` or :class:`JointCritic`.
        features: Number of features F.
        hidden: Sizes of the hidden layers.
        convolutions: Whether images pass through convolutional layers, rather than an MLP.
        others: Number M of other rows in the joint form, which determines its cost; by default
            all others of the batch.

    Raises:
        ArgumentError: If a number is below 1, or ``form`` is another word.
    """
    if form == "separable":
        return SeparableCritic(
            *(
                _embedding(shape, features + 1, hidden, convolutions=convolutions)
                for shape in (first, second)
            )
        )
    image = len(first) == 3 and convolutions
    inputs = (features if image else math.prod(first), math.prod(second))
    return JointCritic(
        MLP(inputs, heads.Raw((1,)), hidden=hidden),
        _embedding(first, features, hidden, convolutions=True) if image else None,
        others=others,
    )
