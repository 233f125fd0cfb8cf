r"""The evidence lower bound of any (model, guide) pair, as typed terms per datum.

For observed sites x, latent sites z and a guide q,

.. math::
    \log p(x) \geq \sum_{x} E_q[\log p(x \mid \mathrm{pa}_x)]
        - \sum_{z} E_q\left[\mathrm{KL}\left(q(z \mid \mathrm{pa}^q_z) \,\|\,
          p(z \mid \mathrm{pa}^p_z)\right)\right]

One implementation over Pyro's traces serves every model. The two axes of each term:

- how the inner KL is found: in closed form where torch has one registered for the two
  distributions and the guide draws z after all that p(z) depends on
  (:mod:`ppvae.programs.order`), else as :math:`\log q(z) - \log p(z)` at the sampled z;
- the outer expectation: exact over sites that the guide marks with
  ``infer={"enumerate": "parallel"}``, and over ``num_particles`` draws of all others.

The loss weights these terms (:class:`ELBO`); the plain ELBO is always computed, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from pyro import poutine
from torch import Tensor, nn

from ppvae.borders import expect_fields
from ppvae.errors import ArgumentError, ContractError
from ppvae.expected import at_least, expect, integer
from ppvae.objectives.kl import site_kl
from ppvae.objectives.schedules import Capacity, Schedule, as_schedule
from ppvae.objectives.shards import ALONE, Shards
from ppvae.objectives.terms import Context, Term, Terms, by_name
from ppvae.objectives.weights import log_weights
from ppvae.programs import (
    INDEX,
    PerDatum,
    Site,
    Structure,
    check_pair,
    hooks_of,
    log_prob,
    marginals,
    nodes_of,
    trace_program,
)
from ppvae.programs.threads import unvalidated

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ELBO", "Objective"]


SiteKey = str | tuple[str, ...]


@dataclass(frozen=True)
class ELBO:
    r"""Definition of an objective; called on a model and a guide, it gives an :class:`Objective`.

    .. math::
        \mathrm{loss} = - \sum_x w_x(t) \, \overline{\log p}_x
            + \sum_z w_z(t) \, \overline{\mathrm{KL}}_z
            + \sum_g \gamma_g(t) \, \left| \sum_{z \in g} \overline{\mathrm{KL}}_z - C_g(t) \right|
            + \sum_j \mathrm{term}_j

    Arguments:
        weights: Weights :math:`w(t)` by site name, each a number or a schedule; one by default.
            The weight of a latent site multiplies its KL (beta-VAE, annealing), that of an
            observed site its log-likelihood.
        capacity: :class:`Capacity` by site name, or by a tuple of site names that share one; it
            replaces the weights of these sites' KLs.
        num_particles: Monte Carlo draws per datum.
        analytic: Whether closed forms of the KL are used where registered.
        terms: Further terms; usually added with ``+``.

    Example:
        >>> objective = ELBO(weights={"z": Linear(0.0, 4.0, steps=2000)})
    """

    weights: Mapping[str, float | Schedule] | None = None
    capacity: Mapping[SiteKey, Capacity] | None = None
    num_particles: int = 1
    analytic: bool = True
    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        expect_fields(self, num_particles=at_least(1))
        for value in (self.weights or {}).values():
            as_schedule(value)
        names = [name for key in (self.capacity or {}) for name in _names(key)]
        twice = sorted({n for n in names if names.count(n) > 1 or n in (self.weights or {})})
        if twice:
            raise ArgumentError(
                f"capacity: expected each site once, and not among the weights; got {twice} "
                "twice. Use gamma in Capacity as the site's weight."
            )

    def __add__(self, term: Term) -> ELBO:
        if not isinstance(term, Term):
            return NotImplemented
        if term.name in {t.name for t in self.terms}:
            raise ArgumentError(
                f"terms: expected distinct names; got {term.name!r} twice. Rename one of them."
            )
        return replace(self, terms=(*self.terms, term))

    def __call__(
        self, model: nn.Module, guide: nn.Module, *, num_data: int | None = None
    ) -> Objective:
        """The objective of a pair.

        Arguments:
            model: The generative program.
            guide: The variational program.
            num_data: Number of data that the batches are drawn from, by which the KL of a global
                latent (outside the data plate) is divided; a pair without one needs none.
        """
        return Objective(self, model, guide, num_data=num_data)


_NUM_DATA = "Pass the number of training rows, such as len(data['x'])."


def _names(key: SiteKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


class Objective(nn.Module):
    """An :class:`ELBO` of one (model, guide) pair: call it on a batch to get :class:`Terms`.

    It has the model, the guide and the terms as sub-modules, and the optimiser step t of the
    schedules as the buffer ``step``, which ``advance`` increments. The first call checks the pair
    (:func:`ppvae.programs.check_pair`); later calls check only that the sites are the same, and
    never wait for the device.

    Arguments:
        spec: Definition of the objective.
        model: The generative program.
        guide: The variational program.
        num_data: Number of data that the batches are drawn from; only global latents need it.

    Raises:
        ArgumentError: If ``num_data`` is below 1.

    Sub-modules that are in evaluation mode within a model or a guide in training mode, as frozen
    ones are, stay so when the objective is put into training mode.
    """

    step: Tensor
    # The division of rows among processes, if several train.
    shards: Shards = ALONE

    # Whether scales that programs set by poutine.scale are ignored, as in evaluations.
    unscaled: bool = False
    # Names of the terms that are no longer computed, as their weights stay zero.
    ended: frozenset[str] = frozenset()

    def __init__(
        self, spec: ELBO, model: nn.Module, guide: nn.Module, *, num_data: int | None = None
    ) -> None:
        super().__init__()
        if num_data is not None:
            expect(integer(1), _NUM_DATA, num_data=num_data)
        self.spec = spec
        self.model = model
        self.guide = guide
        self.terms = nn.ModuleList(spec.terms)
        self.num_data = num_data
        self.weights = {k: as_schedule(v) for k, v in (spec.weights or {}).items()}
        self.capacity = dict(spec.capacity or {})
        self.structures: dict[frozenset[str], Structure] = {}
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=False)
        self.hooks = tuple(hooks_of(model, guide, self.terms))
        self.ends = {t.name: t.idle_from for t in spec.terms if t.idle_from is not None}
        self._frozen = [
            module
            for program in (model, guide)
            for module in program.modules()
            if program.training and not module.training
        ]

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002
        """Set the mode of all sub-modules but those that are frozen."""
        super().train(mode)
        for module in self._frozen:
            module.training = False
        return self

    def advance(self) -> None:
        """Count one optimiser step, here and in the :class:`~ppvae.programs.FitHooks`."""
        self.step += 1
        for hook in self.hooks:
            hook.advance()

    def begin(self, step: int) -> None:
        """Leave out the terms that have ended by an optimiser step, a number on the CPU."""
        self.ended = frozenset(name for name, end in self.ends.items() if step >= end)

    def check(self, batch: Mapping[str, Tensor]) -> Structure:
        """Check the pair on a batch (N, ...), and that weights and capacities name its sites.

        Raises:
            ContractError: As :func:`ppvae.programs.check_pair`, or if a weight or a capacity
                names a site that the pair does not have.
        """
        structure = check_pair(self.model, self.guide, batch, training=not self.unscaled)
        capacities = {name for key in self.capacity for name in _names(key)}
        known = set(structure.latent)
        unknown = sorted(capacities - known) + sorted(
            set(self.weights) - known - set(structure.scored)
        )
        if unknown:
            raise ContractError(
                f"weights and capacity: expected latent sites {list(structure.latent)} or (for "
                f"weights) observed sites {list(structure.scored)}; got {unknown}. "
                "Use the model's site names."
            )
        if structure.shared and self.num_data is None:
            raise ContractError(
                f"num_data: expected the number of training rows, by which the KL of "
                f"{list(structure.shared)} is divided, as all data share it; got none. {_NUM_DATA}"
            )
        self.structures[frozenset(batch)] = structure
        return structure

    def forward(self, batch: Mapping[str, Tensor]) -> Terms:
        """The terms of a batch, columns (N, ...) by name, in nats per datum."""
        return self.evaluate(batch)[0]

    def evaluate(self, batch: Mapping[str, Tensor]) -> tuple[Terms, Context]:
        """The terms of a batch (N, ...), and the context from which further terms are computed."""
        structure = self.structures.get(frozenset(batch)) or self.check(batch)
        with unvalidated(), self.shards.drawing(self, batch):
            guide_trace, model_trace = self._traces(batch, structure)
            reduce = PerDatum(
                structure,
                guide_trace,
                model_trace,
                particles=self.spec.num_particles > 1,
                num_data=self.num_data or 1,
            )
            sites = nodes_of(model_trace)
            scores = {name: self._score(sites[name]) for name in structure.scored}
            log_likelihood = {name: reduce(sites[name], v) for name, v in scores.items()}
            kl = self._kls(structure, guide_trace, model_trace, reduce)
            averages = self.shards.averages(by_name(log_likelihood, kl))
            loss = self._weighted(averages, observed=log_likelihood, latent=kl)
            context = self._context(batch, structure, guide_trace, model_trace, reduce, kl, scores)
            extras = {
                term.name: loss.new_zeros(()) if term.name in self.ended else term(context)
                for term in self.spec.terms
            }
            if extras:
                loss = torch.stack([loss, *extras.values()]).sum()
        return Terms(loss, log_likelihood, kl, extras, averages), context

    def _traces(
        self, batch: Mapping[str, Tensor], structure: Structure
    ) -> tuple[poutine.Trace, poutine.Trace]:
        """Run the guide, record its encodings, then run the model against it."""
        guide_trace = self._trace(self.guide, batch, structure)
        if self.training and INDEX in batch:
            posteriors = marginals(structure, guide_trace, particles=self.spec.num_particles > 1)
            index = self.shards.gather(batch[INDEX]) if self.hooks else batch[INDEX]
            gathered = self.shards.posteriors(posteriors)
            for hook in self.hooks:
                hook.record(index, gathered)
        return guide_trace, self._trace(self.model, batch, structure, replay=guide_trace)

    def _trace(
        self,
        program: nn.Module,
        batch: Mapping[str, Tensor],
        structure: Structure,
        *,
        replay: poutine.Trace | None = None,
        given: Mapping[str, Tensor] | None = None,
    ) -> poutine.Trace:
        """A run of a program with the objective's particles."""
        particles = self.spec.num_particles if self.spec.num_particles > 1 else None
        return trace_program(
            program,
            batch,
            structure,
            particles=particles,
            replay=replay,
            given=given,
            unscaled=self.unscaled,
        )

    def _score(self, site: Site) -> Tensor:
        """The log-density of an observed site, without gradient for parts that a term trains."""
        fn = site["fn"]
        for term in self.spec.terms:
            fn = term.likelihood(fn)
        scored: Site = {**site, "fn": fn}
        return log_prob(scored)

    def _kls(
        self,
        structure: Structure,
        guide_trace: poutine.Trace,
        model_trace: poutine.Trace,
        reduce: PerDatum,
    ) -> dict[str, Tensor]:
        """The KL (N) of each latent site, including auxiliary sites drawn before it."""
        sampled = structure.sampled.union(structure.enumerated)
        drawn, priors = nodes_of(guide_trace), nodes_of(model_trace)
        kl: dict[str, Tensor] = {}
        pending: list[Tensor] = []
        last = structure.latent[-1]
        for name in [n for n in drawn if n in structure.drawn]:
            q = drawn[name]
            if name in structure.auxiliary:
                pending.append(reduce(q, log_prob(q)))
                continue
            p = priors[name]
            value = reduce(p, site_kl(q, p, analytic=self.spec.analytic and name not in sampled))
            kl[name] = torch.stack([value, *pending]).sum(0) if pending else value
            pending = []
        if pending:
            kl[last] = torch.stack([kl[last], *pending]).sum(0)
        return {name: kl[name] for name in structure.latent}

    def _weighted(
        self, averages: Mapping[str, Tensor], *, observed: Iterable[str], latent: Iterable[str]
    ) -> Tensor:
        """The loss without its further terms, from the means over the batch."""
        means = {name: -averages[f"log_likelihood/{name}"] for name in observed}
        means |= {name: averages[f"kl/{name}"] for name in latent}
        parts = []
        for key, capacity in self.capacity.items():
            kl = torch.stack([means.pop(name) for name in _names(key)]).sum()
            parts.append(capacity(kl, self.step))
        for name, mean in means.items():
            weight = self.weights.get(name)
            parts.append(mean if weight is None else weight(self.step).to(mean) * mean)
        return torch.stack(parts).sum()

    def _context(
        self,
        batch: Mapping[str, Tensor],
        structure: Structure,
        guide_trace: poutine.Trace,
        model_trace: poutine.Trace,
        reduce: PerDatum,
        kl: Mapping[str, Tensor],
        scores: Mapping[str, Tensor],
    ) -> Context:
        sites = (*structure.latent, *structure.scored)
        q, p = nodes_of(guide_trace), nodes_of(model_trace)
        # A term may have taken gradients from the scores.
        known = {} if self.spec.terms else scores
        weights = partial(log_weights, structure, guide_trace, model_trace)
        return Context(
            batch=batch,
            values={name: p[name]["value"] for name in sites},
            q={name: q[name]["fn"] for name in structure.latent},
            p={name: p[name]["fn"] for name in sites},
            step=self.step,
            expectation=reduce.expectation,
            model=self.model,
            guide=self.guide,
            enumerated=structure.enumerated,
            shards=self.shards,
            structure=structure,
            particles=self.spec.num_particles,
            log_weights=partial(weights, particles=self.spec.num_particles, scores=known),
            kl=kl,
            log_likelihood_at=partial(
                self._log_likelihood_at, batch, structure, guide_trace, reduce
            ),
        )

    def _log_likelihood_at(
        self,
        batch: Mapping[str, Tensor],
        structure: Structure,
        guide_trace: poutine.Trace,
        reduce: PerDatum,
        values: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """The log-likelihoods (N) with some latents at other values than the guide's draws."""
        trace = self._trace(self.model, batch, structure, replay=guide_trace, given=values)
        sites = nodes_of(trace)
        return {name: reduce(sites[name], log_prob(sites[name])) for name in structure.scored}
