r"""Gradients of a pair's log-densities against their slopes, and sites that the data do not move.

A gradient that a program cuts (``z.detach()``, ``.item()``, a tensor made afresh of a value) is no
error: training goes on without a part of its gradient. Here a gradient along a random direction is
compared with the central difference of the same densities at given draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppvae.programs.contract import DATA_PLATE
from ppvae.programs.scopes import forked
from ppvae.programs.sites import Site
from ppvae.programs.structure import Structure
from ppvae.programs.threads import unvalidated
from ppvae.programs.traces import frames, log_prob, sample_sites, trace_program

__all__ = ["Pathway", "Slope"]

# Share of a slope by which a gradient may differ from it.
TOLERANCE = 0.2


@dataclass(frozen=True)
class Slope:
    """A directional derivative of log-densities, in nats.

    Attributes:
        gradient: By automatic differentiation.
        difference: By a central difference.
        error: Bound of the difference's error: rounding, and the change with twice the step.
    """

    gradient: float
    difference: float
    error: float

    @property
    def is_cut(self) -> bool:
        """Whether the gradient lacks a part."""
        gap = abs(self.gradient - self.difference)
        return gap > TOLERANCE * abs(self.difference) + 4 * self.error

    @property
    def is_zero(self) -> bool:
        """Whether nothing depends on what was moved."""
        return self.gradient == 0 and abs(self.difference) <= self.error


class Pathway:
    """The log-densities of a pair at fixed draws, as functions of its parameters and draws.

    Arguments:
        model: The generative program.
        guide: The variational program.
        batch: Columns by name, each with shape (N, ...).
        structure: Structure of the pair.

    Attributes:
        draws: Values of the guide's sites.
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        batch: Mapping[str, Tensor],
        structure: Structure,
    ) -> None:
        self.model, self.guide, self.batch, self.structure = model, guide, batch, structure
        self.draws = {
            name: node["value"].detach().clone()
            for name, node in self._run(guide, batch, {}).items()
            if name in structure.drawn
        }

    def of_parameter(self, parameter: nn.Parameter) -> Slope:
        """The slope of both programs' log-densities in a parameter."""
        return _slope(lambda: self._total(self.model, self.guide), parameter)

    def of_site(self, name: str) -> Slope:
        """The slope of the log-densities of the model's other sites in a latent site's draw."""
        return _slope(lambda: self._total(self.model, but=name), self.draws[name])

    def unmoved(self) -> tuple[set[str], set[str]]:
        """Latent sites with one posterior for all data, and observed ones with one value.

        Both are in the data plate, and stay as they are if all rows are replaced by the first.
        """
        first = {name: column[:1].expand_as(column) for name, column in self.batch.items()}
        if all(torch.equal(first[name], column) for name, column in self.batch.items()):
            return set(), set()
        latent, observed = (
            [self._run(program, batch, given) for batch in (self.batch, first)]
            for program, given in ((self.guide, {}), (self.model, self.draws))
        )
        same = {
            name
            for name in self.structure.latent
            if DATA_PLATE in frames(latent[0][name])
            if torch.equal(*(run[name]["fn"].log_prob(self.draws[name]) for run in latent))
        }
        values = {
            name
            for name in self.structure.observed
            if DATA_PLATE in frames(observed[0][name]) and name not in self.structure.columns
            if torch.equal(observed[0][name]["value"], observed[1][name]["value"])
        }
        return same, values

    def _total(self, *programs: nn.Module, but: str | None = None) -> Tensor:
        parts = [
            log_prob(node).sum()
            for program in programs
            for name, node in self._run(program, self.batch, self.draws).items()
            if name != but and name not in self.structure.deterministic
        ]
        # A point mass has no density beside its place.
        finite = [part.double() for part in parts if torch.isfinite(part)]
        return torch.stack(finite).sum()

    def _run(
        self, program: nn.Module, batch: Mapping[str, Tensor], given: Mapping[str, Tensor]
    ) -> dict[str, Site]:
        with unvalidated(), forked(*self.batch.values(), seed=0):
            return sample_sites(trace_program(program, batch, given=given))


def _slope(function: Callable[[], Tensor], at: Tensor) -> Slope:
    """The slope of a function of a tensor, which is changed in place and restored."""
    value, learned = at.detach().clone(), at.requires_grad
    direction = torch.randn_like(value) * value.abs().clamp_min(1e-2)
    precision = torch.finfo(value.dtype).eps
    step = precision ** (1 / 3)

    def moved(length: float) -> float:
        at.copy_(value + length * direction)
        return float(function())

    at.requires_grad_()
    try:
        with torch.enable_grad():
            total = function()
            gradient = None
            if total.requires_grad:
                (gradient,) = torch.autograd.grad(total, [at], allow_unused=True)
        with torch.no_grad():
            near, far = ((moved(h) - moved(-h)) / (2 * h) for h in (step, 2 * step))
    finally:
        with torch.no_grad():
            at.copy_(value)
        at.requires_grad_(learned)
    rounding = 4 * precision * abs(float(total.detach())) / step
    slope = 0.0 if gradient is None else float((gradient * direction).sum())
    return Slope(slope, near, abs(near - far) + rounding)
