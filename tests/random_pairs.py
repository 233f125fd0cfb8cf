"""Random pairs of a model and a guide, for comparisons with Pyro's own estimators.

A pair has up to four latent sites beside its data: global or local, with or without parents, of
the reals, the positive numbers, the unit interval, the simplex or three classes, masked or scaled,
in another order in the guide than in the model; and one or two observed sites.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppvae.programs import data_plate

__all__ = ["Guide", "Model", "Plan", "plan"]

ROWS = 6
CLASSES = 3


def _positive(value: Tensor) -> Tensor:
    return softplus(value) + 0.3


def _exponential_of_normal(a: Tensor, b: Tensor) -> Any:
    return dist.TransformedDistribution(
        dist.Normal(a, _positive(b)), [dist.transforms.ExpTransform()]
    ).to_event(1)


def _sigmoid_of_normal(a: Tensor, b: Tensor) -> Any:
    return dist.TransformedDistribution(
        dist.Normal(a, _positive(b)), [dist.transforms.SigmoidTransform()]
    ).to_event(1)


# By support, from two free parameters of shape (..., 2); each has draws with gradients.
FAMILIES: list[list[Any]] = [
    [
        lambda a, b: dist.Normal(a, _positive(b)).to_event(1),
        lambda a, b: dist.Laplace(a, _positive(b)).to_event(1),
        lambda a, b: dist.StudentT(torch.full_like(a, 5.0), a, _positive(b)).to_event(1),
        lambda a, b: dist.MultivariateNormal(a, scale_tril=torch.diag_embed(_positive(b))),
        lambda a, b: dist.LowRankMultivariateNormal(a, 0.3 * b.unsqueeze(-1), _positive(b)),
    ],
    [
        lambda a, b: dist.LogNormal(a, _positive(b)).to_event(1),
        lambda a, b: dist.Gamma(_positive(a) + 1, _positive(b)).to_event(1),
        lambda a, b: dist.Weibull(_positive(a) + 0.5, _positive(b) + 1).to_event(1),
        lambda a, b: dist.HalfNormal(_positive(b)).to_event(1),
        lambda a, b: dist.Exponential(_positive(b)).to_event(1),
        lambda a, b: dist.InverseGamma(_positive(a) + 3, _positive(b)).to_event(1),
        _exponential_of_normal,
    ],
    [
        lambda a, b: dist.Beta(_positive(a) + 0.5, _positive(b) + 0.5).to_event(1),
        lambda a, b: dist.Kumaraswamy(_positive(a) + 0.5, _positive(b) + 0.5).to_event(1),
        _sigmoid_of_normal,
    ],
    [lambda a, b: dist.Dirichlet(_positive(a) + 0.5)],
]


@dataclass(frozen=True)
class Site:
    """A latent site.

    Attributes:
        name: Its name.
        in_model: Its family in the model.
        in_guide: Its family in the guide, with the same support.
        everywhere: Whether all data share it.
        classes: Whether it is a class, summed over by enumeration.
        masked: Whether every second row is left out.
        scale: Weight of its log-density; None for none.
        parents: Numbers of the sites that it depends on in the model.
    """

    name: str
    in_model: Any
    in_guide: Any
    everywhere: bool
    classes: bool
    masked: bool
    scale: float | None
    parents: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A pair, as drawn.

    Attributes:
        sites: Latent sites in the model's order.
        order: Their numbers in the guide's order.
        given: By number, those that the site depends on in the guide.
        observed: Kind of the observed sites.
        factor: Whether the model has a factor.
        amortised: Whether the guide's local sites depend on x.
    """

    sites: tuple[Site, ...]
    order: tuple[int, ...]
    given: dict[int, tuple[int, ...]]
    observed: str
    factor: bool
    amortised: bool

    @property
    def shared(self) -> int:
        """Number of sites that all data share."""
        return sum(site.everywhere for site in self.sites)


def plan(seed: int) -> Plan:
    """A random pair's plan."""
    draw = random.Random(seed)
    count = draw.randint(1, 4)
    shared = draw.randint(0, 1) if count > 1 else 0
    sites = []
    for number in range(count):
        family, everywhere = draw.choice(FAMILIES), number < shared
        kind = "" if everywhere else draw.choice(["", "", "", "", "classes", "masked", "scaled"])
        sites.append(
            Site(
                name=f"{draw.choice('asuz')}{number}",
                in_model=draw.choice(family),
                in_guide=draw.choice(family),
                everywhere=everywhere,
                classes=kind == "classes",
                masked=kind == "masked",
                scale=0.5 if kind == "scaled" else None,
                parents=tuple(i for i in range(number) if draw.random() < 0.6),
            )
        )
    local = draw.sample(range(shared, count), count - shared)
    order, given = [*range(shared), *local], {}
    for place, number in enumerate(order):
        earlier = [i for i in order[:place] if not sites[i].classes]
        given[number] = tuple(i for i in earlier if draw.random() < 0.5)
    return Plan(
        sites=tuple(sites),
        order=tuple(order),
        given=given,
        observed=draw.choice(["normal", "binary", "counts", "masked", "scaled", "two"]),
        factor=draw.random() < 0.15,
        amortised=draw.random() < 0.8,
    )


class Parameters(nn.Module):
    """Two parameters of shape (..., 2) from values of any support, of shape (..., 2 or more)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.6 * torch.randn(2, max(1, count), 2, 2))
        self.bias = nn.Parameter(0.5 * torch.randn(2, 2))

    def forward(self, values: list[Tensor]) -> tuple[Tensor, Tensor]:
        a, b = self.bias
        for value, to_a, to_b in zip(values, *self.weight, strict=False):
            feature = (value.abs().log1p() * value.sign()).tanh()
            a, b = a + feature @ to_a, b + feature @ to_b
        return a, b


class Program(nn.Module):
    """What a random model and its guide share: how a site is drawn."""

    def __init__(self, plan: Plan, inputs: int) -> None:
        super().__init__()
        self.plan = plan
        self.parameters_of = nn.ModuleList(Parameters(inputs) for _ in plan.sites)
        self.logits = nn.Parameter(torch.randn(len(plan.sites), CLASSES))

    def draw(self, number: int, family: Any, values: list[Tensor]) -> Tensor:
        """A draw of a site, or of the class's code."""
        site = self.plan.sites[number]
        a, b = self.parameters_of[number](values)
        if site.classes:
            logits = self.logits[number] + a[..., :1] * self.logits.new_tensor([1.0, 0.0, -1.0])
            to = {"enumerate": "parallel"}
            y = pyro.sample(site.name, dist.Categorical(logits=logits), infer=to)
            return torch.stack([y, (y == 1).to(y)], -1).to(logits)
        q = family(a, b)
        if site.masked:
            q = q.mask(torch.arange(ROWS) % 2 == 0)
        if site.scale is not None:
            with poutine.scale(scale=site.scale):
                return pyro.sample(site.name, q)
        return pyro.sample(site.name, q)


class Model(Program):
    """A random model of x with shape (6, 2)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, len(plan.sites))
        self.head, self.second = Parameters(len(plan.sites)), Parameters(len(plan.sites))

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        values: list[Tensor] = []
        for number in range(self.plan.shared):
            values.append(self._site(number, values))
        with data_plate(x, size=size):
            for number in range(self.plan.shared, len(self.plan.sites)):
                values.append(self._site(number, values))
            a, b = self.head(values)
            if self.plan.factor:
                pyro.factor("penalty", -0.1 * a.square().sum(-1))
            if self.plan.observed == "two":
                loc, scale = self.second(values)
                first = None if x is None else x[..., 0]
                pyro.sample("w", dist.Normal(loc[..., 0], _positive(scale[..., 0])), obs=first)
            if self.plan.observed == "scaled":
                with poutine.scale(scale=2.0):
                    return pyro.sample("x", self._likelihood(a, b), obs=x)
            return pyro.sample("x", self._likelihood(a, b), obs=x)

    def _site(self, number: int, values: list[Tensor]) -> Tensor:
        site = self.plan.sites[number]
        return self.draw(number, site.in_model, [values[i] for i in site.parents])

    def _likelihood(self, a: Tensor, b: Tensor) -> Any:
        if self.plan.observed == "binary":
            return dist.Bernoulli(logits=a).to_event(1)
        if self.plan.observed == "counts":
            return dist.Poisson(_positive(a)).to_event(1)
        x = dist.Normal(a, _positive(b))
        if self.plan.observed == "masked":
            x = x.mask(torch.tensor([True, False]))
        return x.to_event(1)

    def data(self) -> Tensor:
        """Data that the model can score."""
        x = torch.randn(ROWS, 2)
        if self.plan.observed == "binary":
            return (x > 0).to(x)
        return torch.poisson(x.exp()) if self.plan.observed == "counts" else x


class Guide(Program):
    """The guide of a random model."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, len(plan.sites) + 1)

    def forward(self, x: Tensor) -> None:
        values: dict[int, Tensor] = {}
        for number in self.plan.order[: self.plan.shared]:
            self._site(number, values, [])
        with data_plate(x):
            for number in self.plan.order[self.plan.shared :]:
                self._site(number, values, [x] if self.plan.amortised else [])

    def _site(self, number: int, values: dict[int, Tensor], also: list[Tensor]) -> None:
        given = [values[i] for i in self.plan.given[number]]
        values[number] = self.draw(number, self.plan.sites[number].in_guide, given + also)
