"""The view of a run that figures and metrics use: its sites, columns, prior and terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from matplotlib.figure import Figure
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppvae.data import Dataset, as_splits
from ppvae.distributions import Blocks, rotation_matrix, unit_vector
from ppvae.distributions.supports import on_reals, support_of
from ppvae.evaluate.null import Likelihood, likelihood_of
from ppvae.evaluate.predict import Prediction, predict
from ppvae.evaluate.sites import seen_value
from ppvae.gp import GPPrior
from ppvae.gp.additive import AdditivePrior
from ppvae.programs import (
    Structure,
    batch_for,
    check_pair,
    decode,
    encode,
    evaluating,
    placement,
    posterior,
    sample_sites,
    seeded,
    signature,
    trace_program,
)
from ppvae.runs.run import Run

__all__ = ["POSE", "Figures", "Subject"]

Figures = list[tuple[str, str, Figure]]
Decoder = Callable[[Tensor], Tensor]

# Pose sites and their neutral values; ``turn`` chooses a mode of the angle.
POSE: Mapping[str, float] = {"rotation": 0.0, "translation": 0.0, "scale": 1.0, "turn": 0.0}
ROWS = 2000


class Subject:
    """A run and its data, with quantities that several figures and metrics need.

    Arguments:
        run: The fitted pair.
        data: Splits, or one dataset or mapping of columns.

    Attributes:
        run: The fitted pair.
        splits: The data.
    """

    def __init__(self, run: Run, data: object) -> None:
        self.run = run
        self.splits = as_splits(data)

    @property
    def train(self) -> Dataset | None:
        """The data of the fit; None where others are evaluated, and these are not at hand."""
        return None if "evaluation" in self.run.config else self.splits.train

    @cached_property
    def batch(self) -> dict[str, Tensor]:
        """The first held-out rows."""
        data = self.splits.held_out
        return batch_for(self.run.guide, data.take(torch.arange(min(ROWS, data.num_rows))))

    @cached_property
    def predicted(self) -> tuple[dict[str, Tensor], Prediction] | None:
        """Held-out rows, and their predictions by a GP prior from their other columns.

        None for other priors, without held-out data or without a site ``x``.
        """
        data = self.splits.test or self.splits.validation
        known = {"object", "view"} <= set(self.splits.train)
        over_views = self.gp is not None and known
        if not (over_views or self.additive) or data is None:
            return None
        if "x" not in self.structure.observed:
            return None
        batch = batch_for(self.run.model, data)
        prediction = predict(self.run.model, batch, ranks=True)
        return None if prediction.truth is None else (batch, prediction)

    @cached_property
    def structure(self) -> Structure:
        """Names and shapes of the pair's sites."""
        return check_pair(self.run.model, self.run.guide, self.first(2), training=False)

    @cached_property
    def likelihood(self) -> Likelihood | None:
        """Observed column and head of the pair, if it has one of each."""
        model, guide = self.run.model, self.run.guide
        with evaluating(model, guide), seeded(0, placement(guide)):
            return likelihood_of(self.run, self.first(2))

    def first(self, number: int) -> dict[str, Tensor]:
        """The first rows of :attr:`batch`, at most ``number``."""
        return {name: column[:number] for name, column in self.batch.items()}

    @cached_property
    def latents(self) -> dict[str, Tensor]:
        """Posterior means of the batch by site, as :func:`ppvae.programs.encode` returns them."""
        return encode(self.run.guide, self.batch)

    @cached_property
    def posteriors(self) -> dict[str, TorchDistribution]:
        """The guide's distribution of each latent site."""
        return posterior(self.run.guide, self.batch)

    @property
    def sites(self) -> list[str]:
        """The latent sites: those per datum first, then the global ones."""
        return sorted(self.structure.latent, key=lambda name: name in self.structure.shared)

    @property
    def num_rows(self) -> int:
        """Rows of :attr:`batch`."""
        return len(next(iter(self.batch.values())))

    @cached_property
    def vectors(self) -> dict[str, Tensor]:
        """Posterior means, with shape (N, Z), of the sites that are a real vector per datum."""
        return {
            name: self.latents[name]
            for name, q in self.posteriors.items()
            if name not in POSE and name not in self.structure.shared
            if on_reals(q) and self.latents[name].dim() == 2
        }

    def by_variance(self, name: str) -> list[int]:
        """Dimensions of a latent vector in order of the variance of its posterior means."""
        return self.vectors[name].var(0, correction=0).argsort(descending=True).tolist()

    @cached_property
    def directions(self) -> dict[str, tuple[int, int]]:
        """Latent sites that hold a unit vector: where it starts in their values, and ends."""
        found = {}
        for name, q in self.posteriors.items():
            start = 0
            for part in q.parts if isinstance(q, Blocks) else (q,):
                end = start + (part.event_shape[0] if part.event_dim else 1)
                if support_of(part) is unit_vector and name not in found:
                    found[name] = (start, end)
                start = end
        return found

    @cached_property
    def rotations(self) -> dict[str, Tensor]:
        """Latent sites that are rotations in space: means, with shape (N, 3, 3)."""
        return {
            name: self.latents[name]
            for name, q in self.posteriors.items()
            if support_of(q) is rotation_matrix
        }

    @cached_property
    def poses(self) -> dict[str, Tensor]:
        """Posterior means of the pair's pose sites, with shape (N, ...)."""
        return {name: self.latents[name] for name in POSE if name in self.latents}

    @cached_property
    def classes(self) -> dict[str, int]:
        """Number of classes of each discrete site and, where the model takes it, of column y."""
        sites = {
            name: self.latents[f"{name}_probs"].size(-1)
            for name in self.latents
            if f"{name}_probs" in self.latents and name not in POSE
        }
        spec = self.splits.train.spec
        if "y" in spec and "y" not in sites and "y" in signature(self.run.model):
            sites["y"] = int(spec["y"]["classes"] or 0)
        return sites

    @property
    def gp(self) -> GPPrior | None:
        """The model's GP prior over ``object`` and ``view``, if it has one."""
        if not {"object", "view"} <= signature(self.run.model).keys():
            return None
        return next((m for m in self.run.model.modules() if isinstance(m, GPPrior)), None)

    @property
    def additive(self) -> AdditivePrior | None:
        """The model's additive GP prior, if it has one."""
        return next((m for m in self.run.model.modules() if isinstance(m, AdditivePrior)), None)

    @cached_property
    def observed(self) -> dict[str, Tensor]:
        """Values of the model's observed sites for the batch, NaN where masked, (N, ...)."""
        sites = {name: self.latents[name] for name in self.structure.latent}
        with evaluating(self.run.model):
            trace = trace_program(self.run.model, self.batch, given=sites)
        nodes = sample_sites(trace)
        return {name: seen_value(nodes[name]) for name in self.structure.observed if name in nodes}

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Observed sites whose values are images."""
        return tuple(name for name, value in self.observed.items() if value.dim() == 4)

    @cached_property
    def typical(self) -> dict[str, Tensor]:
        """A typical value of each latent site and each column that the model takes.

        Poses are neutral, numbers are those of the datum nearest to the mean, and classes the most
        common; global latents are at their means.
        """
        values = {name: self.latents[name] for name in self.sites}
        taken = signature(self.run.model)
        values |= {name: column for name, column in self.batch.items() if name in taken}
        shared = self.structure.shared
        return {n: v if n in shared else _typical(n, v) for n, v in values.items()}

    def decoder(self, latent: str, site: str, **given: int) -> Decoder:
        """A function from values of a latent site, (K, ...), to means of an observed site.

        Arguments:
            latent: The latent site.
            site: The observed site.
            given: Classes by site or column; everything else is :attr:`typical`.
        """
        like, known = placement(self.run.model), signature(self.run.model)

        def decoded(value: Tensor) -> Tensor:
            shared = self.structure.shared
            rows = {
                name: rest if name in shared else rest.expand(len(value), *rest.shape)
                for name, rest in self.typical.items()
                if name != latent
            }
            for name, k in given.items():
                rows[name] = torch.full((len(value),), k, device=like.device)
            latents = {n: v for n, v in rows.items() if n in self.structure.latent}
            columns = {n: v for n, v in rows.items() if n not in latents and n in known}
            moved = {latent: value.to(like), **latents}
            return decode(self.run.model, moved, columns=columns, site=site)[site]

        return decoded

    @cached_property
    def drawn_by(self) -> dict[str, str]:
        """For each latent vector, the image site with a mean that depends on it, if any."""
        found = {}
        for latent, value in self.vectors.items():
            apart = torch.stack([value.mean(0) - 2, value.mean(0) + 2])
            for site in self.images:
                low, high = self.decoder(latent, site)(apart)
                if not torch.allclose(low, high):
                    found[latent] = site
                    break
        return found


def _typical(name: str, value: Tensor) -> Tensor:
    if value.shape[1:] == (3, 3) and name == "rotation":
        return torch.eye(3).to(value)
    if name in POSE:
        return torch.full_like(value[0], POSE[name])
    if not value.is_floating_point():
        known = value[value >= 0]
        return (known if len(known) else value.clamp(min=0)).mode().values
    rows = value.flatten(1) if value.dim() > 1 else value[:, None]
    distance = (rows - rows.nanmean(0)).norm(dim=1).nan_to_num(nan=torch.inf)
    return value[distance.argmin()]
