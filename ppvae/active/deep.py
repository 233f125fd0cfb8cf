"""Deep kernels as a surrogate: an ensemble, each member warm-started and stopped early."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppvae.active.surrogate import Surrogate
from ppvae.errors import ArgumentError, RunError
from ppvae.gp import EmbeddedGP, HyperPriors, log_hyperprior
from ppvae.objectives import ELBO
from ppvae.programs import evaluating

__all__ = ["DeepKernelSurrogate"]

# Optimiser steps between two looks at the leave-one-out density.
EVERY = 10
# Fewest measurements from which parameters are learned: leaving one out, some must remain.
FEWEST = 4


class DeepKernelSurrogate(Surrogate):
    r"""Deep kernels, trained on the evidence and stopped on the leave-one-out density.

    The prediction is the normal of the mixture's mean and covariance over the K members,

    .. math::
        \mu = \tfrac1K \sum_k \mu_k, \qquad
        \Sigma = \tfrac1K \sum_k \left[\Sigma_k + (\mu_k - \mu)(\mu_k - \mu)^\top\right]

    Each fit starts from the parameters of the last, so that all steps have the same cost. The
    parameters with the best leave-one-out density among those evaluated are kept, possibly those
    before the first step.

    Arguments:
        pairs: (model, guide) of each member, :class:`~ppvae.models.DeepKernel` with its exact
            guide, whose embeddings take rows (N, F).
        steps: Optimiser steps of a fit.
        first_steps: Optimiser steps of the first fit.
        learning_rate: Learning rate of Adam.
        patience: Evaluations without a better density after which a fit ends.

    Raises:
        ArgumentError: If there is no pair, or a number is below 1.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[nn.Module, nn.Module]],
        *,
        steps: int = 30,
        first_steps: int = 200,
        learning_rate: float = 0.02,
        patience: int = 5,
    ) -> None:
        super().__init__()
        if not pairs or min(steps, first_steps, patience) < 1 or not learning_rate > 0:
            raise ArgumentError(
                f"DeepKernelSurrogate: expected at least one pair, and steps, patience and "
                f"learning_rate above 0; got {len(pairs)} pairs, {steps}, {first_steps}, "
                f"{patience} and {learning_rate}. Use the defaults."
            )
        self.models = nn.ModuleList(model for model, _ in pairs)
        self.guides = nn.ModuleList(guide for _, guide in pairs)
        self.steps, self.first_steps = steps, first_steps
        self.learning_rate, self.patience = learning_rate, patience
        self.register_buffer("fits", torch.zeros((), dtype=torch.int64))
        self.fits: Tensor

    @property
    def members(self) -> list[EmbeddedGP]:
        """The GP of each member."""
        gps: list[EmbeddedGP] = [model.gp for model in self.models]  # type: ignore[misc]
        return gps

    def fit(self, x: Tensor, y: Tensor, noise: Tensor | None = None) -> None:
        batch = {"x": x, "target": y}
        if noise is not None:
            batch["noise"] = noise
        for model, guide in zip(self.models, self.guides, strict=True):
            self._fit_member(model, guide, batch)
        self.fits += 1

    def _fit_member(self, model: nn.Module, guide: nn.Module, batch: dict[str, Tensor]) -> None:
        gp: EmbeddedGP = model.gp  # type: ignore[assignment]
        spec = ELBO() if log_hyperprior(model) is None else ELBO() + HyperPriors()
        objective = spec(model, guide, num_data=len(batch["x"]))
        for hook in objective.hooks:
            hook.prepare(batch)
        if len(batch["x"]) >= FEWEST:
            self._train(objective, gp, batch)
        with evaluating(model, guide), torch.no_grad():
            noise = batch.get("noise")
            gp.store(gp.embed(batch["x"]), batch["target"], noise)

    def _train(self, objective: nn.Module, gp: EmbeddedGP, batch: dict[str, Tensor]) -> None:
        learned = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learned, lr=self.learning_rate)
        objective.train()
        best, kept, waited = self._density(gp, batch), _copies(learned), 0
        for step in range(1, 1 + (self.steps if int(self.fits) else self.first_steps)):
            optimizer.zero_grad()
            loss = objective(batch).loss
            loss.backward()
            optimizer.step()
            if step % EVERY:
                continue
            density = self._density(gp, batch)
            if density > best:
                best, kept, waited = density, _copies(learned), 0
            else:
                waited += 1
            if waited >= self.patience or not density > -torch.inf:
                break
        if best == -torch.inf:
            raise RunError(
                "DeepKernelSurrogate: expected a finite leave-one-out density; got none at any "
                "step. Use a smaller learning_rate, or scale the measurements."
            )
        with torch.no_grad():
            for parameter, value in zip(learned, kept, strict=True):
                parameter.copy_(value)

    @torch.no_grad()
    def _density(self, gp: EmbeddedGP, batch: dict[str, Tensor]) -> float:
        """Mean leave-one-out log-density of the measurements; minus infinity if not finite."""
        rows = gp.rows(batch["x"])
        left_out = gp.leave_one_out(rows, batch["target"], batch.get("noise"))
        total = float(left_out.log_prob(batch["target"].double()).mean())
        return total if total == total else -float("inf")

    @torch.no_grad()
    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with evaluating(self):
            parts = [gp.predict(gp.embed(x)) for gp in self.members]
        means = torch.stack([mean for mean, _ in parts])
        mean = means.mean(0)
        away = (means - mean).movedim(-1, -2)  # (K, ..., T, Q)
        between = (away[..., :, None] * away[..., None, :]).mean(0)
        return mean, torch.stack([part for _, part in parts]).mean(0) + between

    @torch.no_grad()
    def marginals(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with evaluating(self):
            parts = [gp.marginals(gp.embed(x)) for gp in self.members]
        means = torch.stack([mean for mean, _ in parts])
        variances = torch.stack([variance for _, variance in parts])
        return means.mean(0), variances.mean(0) + means.var(0, correction=0)

    @torch.no_grad()
    def noise_variance(self) -> Tensor:
        return torch.stack([gp.unit.square() * gp.variances()[1] for gp in self.members]).mean(0)

    @torch.no_grad()
    def embedding(self, x: Tensor) -> Tensor:
        """The embedding of the first member."""
        with evaluating(self):
            return self.members[0].embed(x)


def _copies(parameters: Sequence[Tensor]) -> list[Tensor]:
    return copy.deepcopy([parameter.detach() for parameter in parameters])
