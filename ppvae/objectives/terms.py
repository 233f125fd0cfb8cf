"""The result of an objective (:class:`Terms`), and terms that can be added (:class:`Term`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.objectives.schedules import Schedule, as_schedule, zero_from
from ppvae.objectives.shards import ALONE, Shards
from ppvae.programs import Structure

__all__ = ["Context", "Penalty", "Term", "Terms", "by_name"]


@dataclass(frozen=True)
class Terms:
    r"""One evaluation of an objective, in nats.

    Attributes:
        loss: Scalar that is minimised, with shape (), a mean over the batch.
        log_likelihood: :math:`E_q[\log p(x \mid \cdot)]` by observed site, with shape (N).
        kl: :math:`\mathrm{KL}(q \| p)` by latent site, with shape (N). A global latent (outside
            the data plate) adds :math:`1 / N_\mathrm{data}` of its KL to each datum.
        extras: Further terms of the loss by name, each with shape ().
        averages: Means of the log-likelihoods and KLs by name (``kl/z``), each with shape (), over
            the rows of all processes, if they have been computed.
    """

    loss: Tensor
    log_likelihood: Mapping[str, Tensor]
    kl: Mapping[str, Tensor]
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    averages: Mapping[str, Tensor] | None = None

    @property
    def elbo(self) -> Tensor:
        """The plain ELBO, with unit weights, with shape (N)."""
        parts = [*self.log_likelihood.values(), *(-kl for kl in self.kl.values())]
        return torch.stack(parts).sum(0)

    def means(self) -> dict[str, Tensor]:
        """Batch means by name, each with shape (): ``loss``, ``elbo``, ``kl/z``, ..."""
        averages = ALONE.averages(self.by_name()) if self.averages is None else self.averages
        signed = [-mean if name.startswith("kl/") else mean for name, mean in averages.items()]
        means = {"loss": self.loss, "elbo": torch.stack(signed).sum(), **averages, **self.extras}
        return {name: value.detach() for name, value in means.items()}

    def by_name(self) -> dict[str, Tensor]:
        """The log-likelihoods and KLs by the names of their means, each with shape (N)."""
        return by_name(self.log_likelihood, self.kl)


def by_name(log_likelihood: Mapping[str, Tensor], kl: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Log-likelihoods and KLs by the names of their means, such as ``kl/z``."""
    return {
        **{f"log_likelihood/{name}": value for name, value in log_likelihood.items()},
        **{f"kl/{name}": value for name, value in kl.items()},
    }


@dataclass(frozen=True)
class Context:
    r"""The quantities of one evaluation, from which a :class:`Term` is computed.

    Attributes:
        batch: Columns by name, each with shape (N, ...).
        values: Values by site, with shape (..., N, *event); the leading dimensions are those of
            enumeration and of particles.
        q: The guide's distribution by latent site.
        p: The model's distribution by site.
        step: Optimiser step, with shape ().
        expectation: Function that reduces a tensor with shape (..., N) to (N): exact over
            enumerated sites, the mean over particles.
        model: The generative program.
        guide: The variational program.
        log_weights: Function that returns the logarithms of the importance weights, with shape
            (S, N); see :func:`ppvae.objectives.weights.log_weights`.
        kl: KL by latent site, in nats, with shape (N), as in :class:`Terms`.
        log_likelihood_at: Function from values of latent sites, in place of the guide's draws, to
            :math:`E_q[\log p(x \mid \cdot)]` by observed site, with shape (N).
        enumerated: Latent sites that are summed exactly.
        shards: Division of rows among processes; a mean over the batch is ``shards.mean(value)``.
        structure: Structure of the pair, for a further run of the model or the guide.
        particles: Number of draws per datum, in a dimension of its own if above one.
    """

    batch: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    q: Mapping[str, TorchDistribution]
    p: Mapping[str, TorchDistribution]
    step: Tensor
    expectation: Callable[[Tensor], Tensor]
    model: nn.Module
    guide: nn.Module
    log_weights: Callable[[], Tensor]
    kl: Mapping[str, Tensor]
    log_likelihood_at: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    enumerated: tuple[str, ...] = ()
    shards: Shards = ALONE
    structure: Structure | None = None
    particles: int = 1

    def detach(self) -> Context:
        """The batch and the values only, without gradients, for the training of a critic."""
        values = {name: value.detach() for name, value in self.values.items()}
        return replace(self, values=values, q={}, p={})


class Term(nn.Module, ABC):
    """A further term of an objective: ``ELBO() + SomeTerm(...)``.

    To write one, give it a ``name`` (its key among the extras) and a ``forward(context)`` that
    returns what is to be *minimised*, a tensor () in nats per datum.

    A term with a *critic*, a network with a loss of its own, defines ``critic_parameters`` and
    ``critic_loss``. :func:`ppvae.fit` leaves these parameters out of the main optimiser, and takes
    ``critic_updates`` steps of the critic's optimiser after each main step, on the same samples.

    A term that gets all it needs of other rows from ``context.shards`` sets ``sharded``, and can
    then be trained by several processes.
    """

    name: str
    sharded: bool = False
    critic_updates: int = 1
    critic_learning_rate: float = 1e-4

    @abstractmethod
    def forward(self, context: Context) -> Tensor:
        """The contribution to the loss, with shape ()."""

    @property
    def idle_from(self) -> int | None:
        """The optimiser step from which on the term is zero; None, the default, if there is none.

        From there on :func:`ppvae.fit` leaves it out of eager steps. A term that is ``weight``
        times a number returns :func:`ppvae.objectives.zero_from` of its weight.
        """
        return None

    def likelihood(self, fn: TorchDistribution) -> TorchDistribution:
        """The distribution by which the ELBO scores an observed site; ``fn`` by default.

        A term that trains a part of a likelihood itself returns it without gradient for that part.
        """
        return fn

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """The critic's parameters; none by default."""
        return iter(())

    def critic_loss(self, context: Context) -> Tensor:
        """The loss of the critic, with shape (); ``context`` is from :meth:`Context.detach`.

        Raises:
            NotImplementedError: If a term has critic parameters, and does not define their loss.
        """
        raise NotImplementedError(
            f"{type(self).__name__}: expected critic_loss beside critic_parameters; got none. "
            "Define what the critic minimises."
        )


class Penalty(Term):
    r"""A soft constraint: :math:`\lambda(t) \, \frac1N \sum_n E_q[r(\mathrm{sites})_n]`.

    Arguments:
        name: Name of the term.
        residual: Function from the :class:`Context` to penalties, with shape (..., N).
        weight: :math:`\lambda`, a number or a schedule.
    """

    sharded = True

    @typed()
    def __init__(
        self,
        name: str,
        residual: Callable[[Context], Tensor],
        *,
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__()
        self.name = name
        self.residual = residual
        self.weight = as_schedule(weight)

    @property
    def idle_from(self) -> int | None:
        """The end of the ramp, if the weight is one to zero."""
        return zero_from(self.weight)

    def forward(self, context: Context) -> Tensor:
        penalty = context.shards.mean(context.expectation(self.residual(context)))
        return self.weight(context.step).to(penalty) * penalty
