"""Scores of places: BoTorch's acquisition functions by name, and two that do not need BoTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from torch import Tensor

from ppvae.active.botorch_model import botorch, botorch_model, weighted_joint, weighted_noise
from ppvae.active.surrogate import Surrogate
from ppvae.borders import typed
from ppvae.errors import ArgumentError

if TYPE_CHECKING:
    from botorch.models.model import FantasizeMixin
    from botorch.posteriors.gpytorch import GPyTorchPosterior
    from botorch.sampling.base import MCSampler

__all__ = ["ACQUISITIONS", "Acquisition", "Asked", "acquisition_named"]

# Number of places at which a function is drawn jointly; the cost grows as its cube.
DRAWN = 800
BETA = 4.0
# Number of places that a knowledge gradient compares, those of the highest upper confidence bound,
# and number of outcomes of a measurement that it imagines.
COMPARED, OUTCOMES = 64, 16


@dataclass(frozen=True)
class Asked:
    """The input of an acquisition function.

    Attributes:
        surrogate: The fitted model.
        x: Inputs of the places that can be measured, with shape (N, F).
        best: The largest measurement so far, of the weighted outputs.
        pending: Inputs chosen in this batch and not measured yet, with shape (P, F).
        weights: Weights of the outputs, with shape (T), or None for the first.
    """

    surrogate: Surrogate
    x: Tensor
    best: float
    pending: Tensor
    weights: Tensor | None = None


Acquisition: TypeAlias = Callable[[Asked], Tensor]


def random(asked: Asked) -> Tensor:
    """Uniform random numbers, for a random choice."""
    return torch.rand(len(asked.x), dtype=torch.float64)


def max_variance(asked: Asked) -> Tensor:
    """The logarithm of the standard deviation, given measurements at the pending places."""
    joined = asked.x[:, None]
    _, covariance = weighted_joint(asked.surrogate, joined, asked.weights)
    variance = covariance[:, 0, 0]
    if len(asked.pending):
        both = torch.cat([joined, asked.pending.expand(len(asked.x), -1, -1)], 1)
        _, covariance = weighted_joint(asked.surrogate, both, asked.weights)
        inner, cross = covariance[:, 1:, 1:], covariance[:, 1:, :1]
        noise = weighted_noise(asked.surrogate, asked.weights)
        inner = inner + noise * torch.eye(len(asked.pending)).to(inner)
        explained = (cross * torch.linalg.solve(inner, cross)).sum((-2, -1))
        variance = variance - explained
    return 0.5 * variance.clamp_min(1e-300).log()


def log_expected_improvement(asked: Asked) -> Tensor:
    """BoTorch's LogExpectedImprovement, or qLogExpectedImprovement for a batch."""
    botorch("log-ei")
    from botorch.acquisition.analytic import LogExpectedImprovement
    from botorch.acquisition.logei import qLogExpectedImprovement

    model = botorch_model(asked.surrogate, weights=asked.weights)
    if not len(asked.pending):
        return _values(LogExpectedImprovement(model, best_f=asked.best), asked.x)
    batch = qLogExpectedImprovement(
        model, best_f=asked.best, sampler=_sampler(), X_pending=asked.pending
    )
    return _values(batch, asked.x)


def upper_confidence_bound(asked: Asked) -> Tensor:
    """BoTorch's UpperConfidenceBound at two standard deviations, or its q form for a batch."""
    botorch("ucb")
    from botorch.acquisition.analytic import UpperConfidenceBound
    from botorch.acquisition.monte_carlo import qUpperConfidenceBound

    model = botorch_model(asked.surrogate, weights=asked.weights)
    if not len(asked.pending):
        return _values(UpperConfidenceBound(model, beta=BETA), asked.x)
    batch = qUpperConfidenceBound(model, beta=BETA, sampler=_sampler(), X_pending=asked.pending)
    return _values(batch, asked.x)


def thompson(asked: Asked) -> Tensor:
    """A function drawn from BoTorch's posterior, jointly at up to 800 random places."""
    botorch("thompson")
    model = botorch_model(asked.surrogate, weights=asked.weights)
    chosen = torch.randperm(len(asked.x))[:DRAWN]
    drawn = model.posterior(asked.x[chosen]).rsample(torch.Size([1]))[0, :, 0]
    values = torch.full((len(asked.x),), -torch.inf, dtype=drawn.dtype)
    values[chosen] = drawn
    return values


@torch.no_grad()
def knowledge_gradient(asked: Asked) -> Tensor:
    """BoTorch's qKnowledgeGradient: how much a measurement raises the largest predicted mean.

    The best place after each imagined outcome is one of those compared, exactly.
    """
    botorch("knowledge-gradient")
    from botorch.acquisition.knowledge_gradient import qKnowledgeGradient

    model = botorch_model(asked.surrogate, weights=asked.weights)
    bounds = upper_confidence_bound(asked)
    chosen = bounds.topk(min(COMPARED, len(asked.x))).indices
    x, count = asked.x[chosen], len(chosen)
    sampler = _sampler(OUTCOMES)
    both = torch.cat([x[:, None], asked.pending.expand(count, -1, -1)], 1)
    given = cast("FantasizeMixin", model).fantasize(both, sampler)
    means = cast("GPyTorchPosterior", given.posterior(x)).mean[..., 0]  # (S, N, N)
    after = x[means.argmax(-1)].transpose(0, 1)
    gradient = qKnowledgeGradient(
        model,
        num_fantasies=OUTCOMES,
        sampler=sampler,
        current_value=weighted_joint(asked.surrogate, x[:, None], asked.weights)[0].max(),
        X_pending=asked.pending if len(asked.pending) else None,
    )
    values = torch.full((len(asked.x),), -torch.inf, dtype=torch.float64)
    values[chosen] = gradient(torch.cat([x[:, None], after], 1)).double()
    return values


def _sampler(count: int = 64) -> MCSampler:
    from botorch.sampling.normal import SobolQMCNormalSampler

    return SobolQMCNormalSampler(torch.Size([count]), seed=0)


@torch.no_grad()
def _values(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([function(part[:, None]) for part in x.split(4096)])


ACQUISITIONS: dict[str, Acquisition] = {
    "log-ei": log_expected_improvement,
    "ucb": upper_confidence_bound,
    "thompson": thompson,
    "knowledge-gradient": knowledge_gradient,
    "max-variance": max_variance,
    "random": random,
}


@typed()
def acquisition_named(name: str | Acquisition) -> Acquisition:
    """An acquisition function by its name, or the function itself.

    Raises:
        ArgumentError: If there is none of that name.
        MissingPackageError: If it needs BoTorch, which is not installed.
    """
    if callable(name):
        return name
    if name not in ACQUISITIONS:
        raise ArgumentError(
            f"acquisition: expected one of {', '.join(ACQUISITIONS)}; got {name!r}. Name one: "
            "--acquisition ucb."
        )
    if name not in ("random", "max-variance"):
        botorch(name)
    return ACQUISITIONS[name]
