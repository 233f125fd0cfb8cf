r"""Ensembles: members trained from different seeds, and how far they agree on classes.

A latent class has no name: what one member calls 3 another calls 7. Members are aligned by the
permutation of their classes that agrees best with the others on the same data (Hungarian
matching), then averaged:

.. math::
    \bar q_{nk} = \frac1M \sum_m q_m(y_n = \pi_m(k)), \qquad
    d_n = \sqrt{\tfrac1M \sum_{mk} \left(q_m(y_n = \pi_m(k)) - \bar q_{nk}\right)^2}

A class that every member finds is stable; one that comes and goes says that there are too many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.overrides import TorchFunctionMode

from ppvae.data import Dataset, as_splits
from ppvae.errors import ArgumentError
from ppvae.fitting import fit
from ppvae.fitting.batches import columns_used, make_feed
from ppvae.fitting.devices import choose_device
from ppvae.fitting.step import Step, adam
from ppvae.fitting.tensors import State
from ppvae.objectives import ELBO, Objective, Terms
from ppvae.programs import batches, decode, forked, hooks_of, placement, posterior, seeded

__all__ = ["Agreement", "Ensemble", "Stacked", "agreement", "class_probs", "fit_ensemble"]

Builder = Callable[[], "tuple[nn.Module, nn.Module, ELBO]"]


@dataclass(frozen=True)
class Agreement:
    r"""The aligned class probabilities of an ensemble's members on the same data.

    Attributes:
        mean: :math:`\bar q`, with shape (N, K).
        dispersion: d, with shape (N); 0 where all members agree.
        stability: Agreement of the members on which data belong to each class, with shape (K):
            :math:`\sum_n \min(q_m, q_{m'}) / \sum_n \max(q_m, q_{m'})`, the mean over pairs of
            members; 1 if the class holds the same data in every member.
        order: :math:`\pi_m(k)`, with shape (M, K): the member's own number of class k.
    """

    mean: Tensor
    dispersion: Tensor
    stability: Tensor
    order: Tensor


def agreement(probs: Tensor, *, reference: int = 0, rounds: int = 5) -> Agreement:
    """Align members by Hungarian matching, first with one of them, then with the mean of all.

    Arguments:
        probs: Class probabilities, with shape (M, N, K).
        reference: Member whose class numbers are kept, such as the one with the best ELBO.
        rounds: Largest number of alignments with the mean.

    Raises:
        ArgumentError: If ``probs`` has another shape, or there is no member ``reference``.
    """
    if probs.dim() != 3 or not 0 <= reference < len(probs):
        raise ArgumentError(
            f"agreement: expected probabilities (M, N, K) and a member from 0 to M - 1; got "
            f"{tuple(probs.shape)} and {reference}. Stack the members' probabilities."
        )
    target, order = probs[reference], torch.zeros(0)
    for _ in range(rounds + 1):
        found = torch.stack([_match(member, target) for member in probs])
        if torch.equal(found, order):
            break
        order = found
        aligned = torch.stack([m[:, own] for m, own in zip(probs, order, strict=True)])
        target = aligned.mean(0)
    mean = aligned.mean(0)
    return Agreement(
        mean=mean,
        dispersion=(aligned - mean).square().sum(-1).mean(0).sqrt(),
        stability=_stability(aligned),
        order=order,
    )


def _match(member: Tensor, target: Tensor) -> Tensor:
    """The member's own number of each class of the target, with shape (K)."""
    rows, columns = linear_sum_assignment((target.mT @ member).cpu().numpy(), maximize=True)
    return torch.as_tensor(columns)[torch.as_tensor(rows).argsort()].to(member.device)


def _stability(aligned: Tensor) -> Tensor:
    if len(aligned) == 1:
        return aligned.new_ones(aligned.size(-1))
    overlaps = []
    for i, first in enumerate(aligned):
        for second in aligned[i + 1 :]:
            shared = torch.minimum(first, second).sum(0)
            either = torch.maximum(first, second).sum(0)
            overlaps.append(shared / either.clamp_min(1e-12))
    return torch.stack(overlaps).mean(0)


@dataclass
class Ensemble:
    """Members trained from different seeds.

    Attributes:
        members: Model and guide of each member, in evaluation mode.
        seeds: Random seed of each member.
        elbos: ELBO of each member, in nats per datum, on the validation data if there are any,
            else on the training data.
    """

    members: list[tuple[nn.Module, nn.Module]]
    seeds: list[int]
    elbos: list[float]

    @property
    def best(self) -> int:
        """The member with the highest ELBO."""
        return max(range(len(self.elbos)), key=self.elbos.__getitem__)

    def agree(self, batch: Mapping[str, Tensor], *, site: str = "y") -> Agreement:
        """The members' agreement on the classes of data, without their labels.

        Arguments:
            batch: Columns, with shape (N, ...); a column named as the site is left out.
            site: The discrete site.
        """
        known = {name: column for name, column in batch.items() if name != site}
        probs = torch.stack([class_probs(guide, known, site) for _, guide in self.members])
        return agreement(probs, reference=self.best)

    def images(
        self, order: Tensor, latents: Mapping[str, Tensor], *, site: str = "y"
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, over members, of the decoded means at the same latents.

        Arguments:
            order: :attr:`Agreement.order`, which translates ``latents[site]`` for each member.
            latents: Every latent site of the model, with shape (N, ...).
            site: The discrete site.

        Returns:
            Two tensors with the shape of ``x``.
        """
        means = []
        for (model, _), own in zip(self.members, order, strict=True):
            means.append(decode(model, {**latents, site: own[latents[site]]})["x"])
        stacked = torch.stack(means)
        return stacked.mean(0), stacked.std(0, correction=0)


def class_probs(
    guide: nn.Module, batch: Mapping[str, Tensor], site: str = "y", *, chunk: int = 1024
) -> Tensor:
    """The guide's probabilities of a discrete site that depends on no other, (N, K).

    Arguments:
        guide: The variational program.
        batch: Columns by name, each with shape (N, ...).
        site: Name of the site.
        chunk: Rows at a time.
    """
    pieces = [posterior(guide, part)[site] for part in batches(guide, batch, chunk)]
    return torch.cat([q.probs for q in pieces])


_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]


class _Vmapped(TorchFunctionMode):
    """Replaces operations that vmap refuses: noise drawn in place, and ``Tensor.data``."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[Tensor] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is torch.Tensor.normal_ and len(args) == 1 and not kwargs:
            return torch.randn_like(args[0])
        if func == _DATA:
            return args[0].detach()
        return func(*args, **(kwargs or {}))


class Stacked(nn.Module):
    """Objectives of the same kind side by side: one call of torch.func.vmap for all.

    Its loss is the sum over members, so that every member's gradient is its own, and an
    optimiser that works element by element, such as Adam, moves each as if it were alone. The
    members' own tensors are left as they were until :meth:`unstack`.

    Arguments:
        objectives: Objectives over models and guides of the same structure.
        batch: Batch on which the first pair is checked.

    Raises:
        ArgumentError: When called, if torch.func.vmap does not take the programs (torch's samplers
            of Beta and Dirichlet, and with them those on spheres).
    """

    def __init__(self, objectives: Sequence[Objective], batch: Mapping[str, Tensor]) -> None:
        super().__init__()
        objectives[0].check(batch)
        self.members = tuple(objectives)  # A tuple: their parameters are not this module's.
        parameters, buffers = stack_module_state(list(objectives))
        self.names = list(parameters)
        # Each parameter once: torch's own handling of tied modules swaps a module with two names
        # twice, and does not restore its parameters.
        names = {id(p): name for name, p in objectives[0].named_parameters()}
        self.places = {
            f"{prefix}.{own}" if prefix else own: names[id(p)]
            for prefix, module in objectives[0].named_modules()
            for own, p in module.named_parameters(recurse=False, remove_duplicate=False)
        }
        trained = {name: p.requires_grad for name, p in objectives[0].named_parameters()}
        self.parameters_of = nn.ParameterList(
            nn.Parameter(value.detach(), requires_grad=trained[name])
            for name, value in parameters.items()
        )
        self.buffers_of = buffers

    def forward(self, batch: Mapping[str, Tensor]) -> Terms:
        base = self.members[0]
        base.structures.setdefault(frozenset(batch), next(iter(base.structures.values())))

        def one(parameters: State, buffers: State) -> tuple[Tensor, State, State, State]:
            placed = {place: parameters[name] for place, name in self.places.items()}
            terms: Terms = functional_call(base, (placed, buffers), (batch,), tie_weights=False)
            return terms.loss, dict(terms.log_likelihood), dict(terms.kl), dict(terms.extras)

        parameters = dict(zip(self.names, self.parameters_of, strict=True))
        try:
            with _Vmapped():
                together = vmap(one, randomness="different")(parameters, self.buffers_of)
        except RuntimeError as error:
            raise ArgumentError(
                "Stacked: expected programs that torch.func.vmap supports; it refuses these "
                f"({str(error).splitlines()[0]}). Train them in turn (side_by_side=False)."
            ) from error
        loss, log_likelihood, kl, extras = together
        means = [{k: v.mean(0) for k, v in part.items()} for part in (log_likelihood, kl, extras)]
        return Terms(loss.sum(), *means)

    def advance(self) -> None:
        """Count one optimiser step."""
        self.buffers_of["step"] = self.buffers_of["step"] + 1

    @torch.no_grad()
    def unstack(self) -> None:
        """Copy the trained values back into the members' own parameters."""
        for name, stacked in zip(self.names, self.parameters_of, strict=True):
            for member, value in zip(self.members, stacked, strict=True):
                member.get_parameter(name).copy_(value)


class _Together:
    """The gradients of all members from one backward pass: a step's first part."""

    compile_seconds: float | None = None

    def __init__(self, stacked: Stacked) -> None:
        self.stacked = stacked

    def __call__(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], None]:
        terms: Terms = self.stacked(batch)
        terms.loss.backward()
        return terms.means(), None


def fit_ensemble(
    build: Builder,
    data: object,
    *,
    seeds: Sequence[int] = range(8),
    side_by_side: bool | None = None,
    epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    device: str | torch.device | None = None,
    **options: Any,
) -> Ensemble:
    """Train members that differ only in their seed.

    Arguments:
        build: Function that returns a new (model, guide, objective); called once per member, with
            torch's generator seeded for that member.
        data: Data, as for :func:`ppvae.fit`.
        seeds: Random seed of each member.
        side_by_side: Whether all members are trained at once, on the same batches with separate
            noise (:class:`Stacked`), or in turn by :func:`ppvae.fit`, each with an order of the
            data of its own. By default side by side on a GPU, which one small model leaves mostly
            idle, and in turn on a CPU, where training at once saves little or nothing. Modules
            that keep a state of the training data (a GP prior), and critics, must be trained in
            turn.
        epochs: Passes over the training data.
        batch_size: Rows per step.
        learning_rate: Learning rate of Adam.
        device: Device, as for :func:`ppvae.fit`.
        options: Further arguments of :func:`ppvae.fit`, for members trained in turn.

    Raises:
        ArgumentError: If there is no seed, or if ``options`` are given side by side.
    """
    if side_by_side is None:
        cuda = choose_device(device, nn.Identity()).type == "cuda"
        side_by_side = cuda and not options
    if len(seeds) == 0 or (side_by_side and options):
        raise ArgumentError(
            f"fit_ensemble: expected seeds, and no further options side by side; got "
            f"{list(seeds)} and {sorted(options)}. Use side_by_side=False for all options of fit."
        )
    splits = as_splits(data)
    built = []
    for seed in seeds:
        with forked(seed=seed):
            built.append(build())
    size = splits.train.num_rows
    if side_by_side:
        objectives = [spec(model, guide, num_data=size) for model, guide, spec in built]
        _train(objectives, splits.train, epochs, batch_size, learning_rate, device, seeds[0])
    else:
        for seed, (model, guide, spec) in zip(seeds, built, strict=True):
            fit(
                model,
                guide,
                splits,
                spec,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                device=device,
                seed=seed,
                **{"progress": False, **options},
            )
    members = [(model.eval(), guide.eval()) for model, guide, _ in built]
    held_out = splits.train if splits.validation is None else splits.validation
    elbos = [_mean_elbo(model, guide, held_out) for model, guide in members]
    return Ensemble(members, [int(seed) for seed in seeds], elbos)


def _train(
    objectives: Sequence[Objective],
    data: Dataset,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    device: str | torch.device | None,
    seed: int,
) -> None:
    """The members side by side, with the steps and the feed of :func:`ppvae.fit`."""
    place = choose_device(device, objectives[0])
    data = columns_used(
        data, objectives[0].model, objectives[0].guide, everything=len(objectives[0].terms) > 0
    ).to(place)
    for objective in objectives:
        for hook in hooks_of(objective.to(place)):
            hook.prepare(data)
    dtype = next(objectives[0].parameters()).dtype
    stacked = Stacked(objectives, data.batch(slice(0, batch_size), dtype=dtype, device=place))
    parameters = list(stacked.parameters())
    step = Step(stacked, _Together(stacked), parameters, adam(parameters, learning_rate))
    feed = make_feed(
        data,
        batch_size,
        seed=seed,
        dtype=dtype,
        index=False,
        device=place,
        resident=True,
        workers=0,
    )
    with forked(place, seed=seed):
        for _ in range(epochs):
            for batch in feed:
                step(batch)
    if not all(bool(torch.isfinite(p).all()) for p in parameters):
        raise ArgumentError(
            "fit_ensemble: a loss is not finite. "
            "Lower the learning rate, or use side_by_side=False to see where."
        )
    stacked.unstack()


@torch.no_grad()
def _mean_elbo(model: nn.Module, guide: nn.Module, data: Dataset) -> float:
    objective = ELBO()(model, guide, num_data=data.num_rows)
    with seeded(0, placement(model)):
        parts = [objective(batch).elbo.sum() for batch in batches(model, data, 1024)]
    return float(torch.stack(parts).sum()) / data.num_rows
