r"""Mutual information between two sites, as a term of an objective.

.. math::
    \mathrm{loss} \mathrel{+}= -\alpha(t) \, \hat I(a; b), \qquad
    I(a; b) = \mathrm{KL}\left(q(a, b) \,\|\, q(a) \, q(b)\right)

With a = x, the data, and b = z, a latent, this is InfoMax-VAE. :math:`\hat I` is an estimator's
(:mod:`ppvae.objectives.estimators`) from the scores of a critic (:mod:`ppvae.objectives.critics`)
that has its own optimiser and learns from detached samples.

References:
    | InfoMax-VAE: Variational Information Maximization in Variational Autoencoders
    | (Rezaabad and Vishwanath, 2020), https://arxiv.org/abs/1912.13361
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import above, at_least
from ppvae.objectives.classes import depends_on_classes
from ppvae.objectives.critics import Critic
from ppvae.objectives.estimators import MINE, Estimator
from ppvae.objectives.measuring import measure
from ppvae.objectives.schedules import Schedule, as_schedule
from ppvae.objectives.terms import Context, Term

__all__ = ["MutualInformation"]


class MutualInformation(Term):
    r""":math:`-\alpha(t) \, \hat I(a; b)`: a reward for mutual information.

    The values of a datum have the shape of the site's event; of a site in plates within that of
    the data, all entries count, and the shape is (plates..., \*event).

    A fit's history has the term as ``information_a_b``, and the critic's loss as
    ``critic/information_a_b``, which is :math:`-\hat I(a; b)`, plus a small term for the level of
    the scores with :class:`MINE`: both fall as information rises.

    Arguments:
        first: Name of a, a site or a column of floating-point numbers.
        second: Name of b, in the same way; at least one of the two is a latent site.
        critic: Network that scores pairs of a and b; its parameters are not part of the model.
        estimator: Estimator of the information from the scores; :class:`MINE` by default.
        weight: :math:`\alpha`, a number or a schedule; negative to lower the information.
        updates: Steps of the critic per step of the main optimiser.
        learning_rate: Learning rate of the critic's optimiser.

    Raises:
        ArgumentError: When called on a batch, if a name is unknown, if a site is discrete,
            depends on an enumerated one or is outside the data plate, or if there is only one
            datum.

    Example:
        >>> critic = critic_between((1, 28, 28), (10,))
        >>> ELBO(weights={"z": 4.0}) + MutualInformation("x", "z", critic, weight=4.0)
    """

    sharded = True

    @typed(updates=at_least(1), learning_rate=above(0))
    def __init__(
        self,
        first: str,
        second: str,
        critic: Critic,
        *,
        estimator: Estimator | None = None,
        weight: float | Schedule = 1.0,
        updates: int = 1,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        if first == second:
            raise ArgumentError(
                f"MutualInformation: expected two sites; got {first!r} twice. Name another one."
            )
        self.name = f"information_{first}_{second}"
        self.first, self.second = first, second
        self.critic = critic
        self.estimator = MINE() if estimator is None else estimator
        self.weight = as_schedule(weight)
        self.critic_updates = updates
        self.critic_learning_rate = learning_rate
        # Of the sites in the last context; numbers, so that a compiled step may set them.
        self.nesting = 1
        self.event_dims: dict[str, int] = {}

    def forward(self, context: Context) -> Tensor:
        estimate = self.information(context)
        return -self.weight(context.step).to(estimate) * estimate

    def information(self, context: Context) -> Tensor:
        r""":math:`\hat I(a; b)` in nats, with shape ()."""
        self._read(context)
        return self.estimator(*self._scores(context))

    def measure(self, context: Context) -> float:
        r""":math:`\hat I(a; b)` in nats, for data that the critic was not trained on."""
        self._read(context)
        return measure(self.critic, self.estimator, *self._pair(context))

    def _read(self, context: Context) -> None:
        """Keep the layout of the sites' values, for the critic's steps after this one."""
        structure = context.structure
        self.nesting = 1 if structure is None else structure.max_plate_nesting
        dims = {name: _event_dim(context, name) for name in (self.first, self.second)}
        self.event_dims = {name: dim for name, dim in dims.items() if dim is not None}

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        return self.critic.parameters()

    def critic_loss(self, context: Context) -> Tensor:
        return self.estimator.loss(*self._scores(context))

    def _scores(self, context: Context) -> tuple[Tensor, Tensor]:
        codes = self.critic.encode(*self._pair(context))
        return self.critic.score(*(context.shards.gather(code) for code in codes))

    def _pair(self, context: Context) -> tuple[Tensor, Tensor]:
        return self._draw(context, self.first), self._draw(context, self.second)

    def _draw(self, context: Context, name: str) -> Tensor:
        """The first particle's draws, with shape (N, ...)."""
        value = context.values[name] if name in context.values else context.batch[name]
        event_dim = self.event_dims.get(name)
        if event_dim is not None:
            while value.dim() > self.nesting + event_dim:
                value = value[0]
            rows = value.dim() - event_dim - 1
            value = value.movedim(rows, 0)
            inner = [size for size in value.shape[1 : rows + 1] if size > 1]
            value = value.reshape(len(value), *inner, *value.shape[rows + 1 :])
        return value.unsqueeze(-1) if value.dim() == 1 else value


def _event_dim(context: Context, name: str) -> int | None:
    """The number of dimensions of a site's event; None for a column."""
    if name not in context.values and name not in context.batch:
        raise ArgumentError(
            f"MutualInformation: expected one of the sites {sorted(context.values)} or the "
            f"columns {sorted(context.batch)}; got {name!r}. Use one of these names."
        )
    value = context.values[name] if name in context.values else context.batch[name]
    q, structure = context.q.get(name), context.structure
    if not value.is_floating_point() or (q is not None and q.has_enumerate_support):
        raise ArgumentError(
            f"MutualInformation: expected continuous sites; {name!r} is discrete, and no gradient "
            "passes through its draws. Use Balance, whose docstring gives its information."
        )
    if name not in context.values or structure is None:
        return None
    if name in structure.shared:
        raise ArgumentError(
            f"MutualInformation: expected sites in the data plate; {name!r} is one value that all "
            "data share, and has no information on any of them. Name another one."
        )
    if q is not None and depends_on_classes(context, q):
        raise ArgumentError(
            f"MutualInformation: expected a site that depends on no class that is summed over; "
            f"{name!r} depends on {list(context.enumerated)}. Use a guide where it does not."
        )
    fn = context.p[name] if q is None else q
    return len(fn.event_shape)
