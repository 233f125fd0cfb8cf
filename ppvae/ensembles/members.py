"""Ensembles: the members, and their training one after another or side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data import Dataset, as_splits
from ppvae.ensembles.agreement import Agreement, agreement
from ppvae.ensembles.stacked import Stacked
from ppvae.errors import ArgumentError
from ppvae.expected import SEQUENCE, expect
from ppvae.fitting import fit
from ppvae.fitting.batches import columns_used, make_feed
from ppvae.fitting.devices import choose_device
from ppvae.fitting.step import Step, adam
from ppvae.objectives import ELBO, Objective, Terms
from ppvae.objectives.classes import class_logits
from ppvae.programs import batches, decode, forked, hooks_of, placement, posterior, seeded

__all__ = ["Ensemble", "class_probs", "fit_ensemble"]

Builder = Callable[[], "tuple[nn.Module, nn.Module, ELBO]"]


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
        """The members' agreement on the classes of data, without their labels, on the CPU.

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
            order: :attr:`Agreement.order`, with shape (M, K), which translates ``latents[site]``
                for each member.
            latents: Every latent site of the model, with shape (N, ...).
            site: The discrete site.

        Returns:
            Two tensors with the shape of ``x``, on the CPU.
        """
        means = []
        for (model, _), own in zip(self.members, order, strict=True):
            means.append(decode(model, {**latents, site: own[latents[site]]})["x"].cpu())
        stacked = torch.stack(means)
        return stacked.mean(0), stacked.std(0, correction=0)


def class_probs(
    guide: nn.Module, batch: Mapping[str, Tensor], site: str = "y", *, chunk: int = 1024
) -> Tensor:
    """The guide's probabilities of a discrete site that depends on no other, (N, K), on the CPU.

    Arguments:
        guide: The variational program.
        batch: Columns by name, each with shape (N, ...).
        site: Name of the site.
        chunk: Rows at a time.
    """
    pieces = [posterior(guide, part)[site] for part in batches(guide, batch, chunk)]
    return torch.cat([class_logits(q).exp().cpu() for q in pieces])


class _Together:
    """The gradients of all members from one backward pass: a step's first part."""

    captured = False
    compile_seconds: float | None = None

    def __init__(self, stacked: Stacked) -> None:
        self.stacked = stacked

    def mark(self) -> None:
        """Nothing, as in :meth:`notice`."""

    def notice(self) -> None:
        """Nothing: each step reads all anew."""

    def __call__(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], None]:
        terms: Terms = self.stacked(batch)
        terms.loss.backward()
        return terms.means(), None


@typed()
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
    out: str | Path | None = None,
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
        out: Folder for the runs of members trained in turn, one per seed, in the subfolder
            ``runs``; :func:`ppvae.ensembles.load` reads them, given a recipe.
        options: Further arguments of :func:`ppvae.fit`, for members trained in turn.

    Raises:
        ArgumentError: If there is no seed, or if ``options`` are given side by side.
    """
    if not callable(build):
        raise ArgumentError(
            f"build: expected a function that returns (model, guide, objective); got {build!r}. "
            "Wrap them in a function: each member is built anew."
        )
    expect(SEQUENCE, "Use range(8).", seeds=seeds)
    further = sorted([*options, *([] if out is None else ["out"])])
    if side_by_side is None:
        cuda = choose_device(device, nn.Identity()).type == "cuda"
        side_by_side = cuda and not further
    if len(seeds) == 0 or (side_by_side and further):
        raise ArgumentError(
            f"fit_ensemble: expected seeds, and no further options side by side; got "
            f"{list(seeds)} and {further}. Use side_by_side=False for all options of fit."
        )
    splits = as_splits(data)
    built = []
    for seed in seeds:
        with forked(seed=seed):
            made = build()
        if not isinstance(made, tuple) or len(made) != 3:
            raise ArgumentError(
                f"build: expected a function that returns (model, guide, objective); got "
                f"{str(made)[:60]}. Return all three, such as ELBO() as the last."
            )
        built.append(made)
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
                out=None if out is None else Path(out) / "runs" / f"seed={seed}",
                **{"progress": False, **options},
            )
    members = [(model.eval(), guide.eval()) for model, guide, _ in built]
    held_out = splits.train if splits.validation is None else splits.validation
    elbos = [_mean_elbo(model, guide, held_out, size) for model, guide in members]
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
def _mean_elbo(model: nn.Module, guide: nn.Module, data: Dataset, num_data: int) -> float:
    """The plain ELBO, as a fit validates by it: the KL of a global latent is divided among the
    training data, and scales that programs set do not count.
    """
    objective = ELBO()(model, guide, num_data=num_data)
    objective.unscaled = True
    with seeded(0, placement(model)):
        parts = [objective(batch).elbo.sum() for batch in batches(model, data, 1024)]
    return float(torch.stack(parts).sum()) / data.num_rows
