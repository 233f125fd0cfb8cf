"""Soft constraints: what a user knows of decoded images and of latents, as terms."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from ppvae.guides import FactorizedGuide
from ppvae.nets import Sites, heads
from ppvae.objectives import ELBO, Linear, Penalty
from ppvae.programs import data_plate
from tests.pairs import K, N, build, encoder


def ink(context):
    """Squared deviation of the decoded ink from 10 pixels."""
    return (context.p["x"].mean.sum((-1, -2, -3)) - 10).square()


def test_a_constraint_on_images_is_averaged_exactly_over_classes():
    pair = build("jvae")
    objective = (ELBO() + Penalty("ink", ink, weight=0.5))(pair.model, pair.guide)
    objective.check(pair.batch)
    q = pair.guide.encoder(pair.batch["x"])
    torch.manual_seed(3)
    z = q["z"].rsample()
    each = []
    for k in range(K):
        image = pair.model.decoder(z, torch.eye(K)[torch.full((N,), k)]).mean
        each.append((image.sum((-1, -2, -3)) - 10).square())
    expected = 0.5 * (q["y"].probs * torch.stack(each, -1)).sum(-1).mean()
    torch.manual_seed(3)
    terms = objective(pair.batch)
    torch.testing.assert_close(terms.extras["ink"], expected)
    torch.testing.assert_close(terms.loss, -terms.elbo.mean() + expected)


def test_a_constraint_that_grows_is_kept_better():
    left = []
    for weight in (0.0, Linear(0.0, 10.0, steps=50)):
        pair = build("vae, mlp")
        made = (ELBO() + Penalty("ink", ink, weight=weight))(pair.model, pair.guide)
        optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
        torch.manual_seed(0)
        for _ in range(100):
            optimizer.zero_grad()
            made(pair.batch).loss.backward()
            optimizer.step()
            made.advance()
        context = made.evaluate(pair.batch)[1]
        left.append(float(ink(context).mean().detach()))
    assert left[1] < 0.2 * left[0]


class Line(nn.Module):
    """p(position) N(x; exp(-(energy - position)^2), 0.1^2), position ~ N(5, 0.5^2)."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("energy", torch.linspace(0.0, 10.0, 40))
        self.width = width

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            prior = dist.Normal(self.energy.new_tensor([5.0]), self.width)
            position = pyro.sample("position", prior.to_event(1))  # (..., N | 1)
            shape = (-(self.energy - position).square()).exp()
            return pyro.sample("x", dist.Normal(shape, 0.1).to_event(1), obs=x)  # (..., N | 40)


def test_the_prior_of_a_physical_parameter_holds_it_where_it_is_expected():
    x = (-(torch.linspace(0.0, 10.0, 40) - 5.6).square()).exp().expand(20, -1)
    found = []
    for width in (1.0, 0.005):
        torch.manual_seed(0)
        head = Sites({"position": heads.DiagonalNormal(1)})
        model, guide = Line(width), FactorizedGuide(encoder(head, shape=(40,)))
        with torch.no_grad():
            guide.encoder.rest[-1].bias.copy_(torch.tensor([5.0, -2.0]))
        made = ELBO()(model, guide)
        optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            made({"x": x}).loss.backward()
            optimizer.step()
        with torch.no_grad():
            found.append(float(guide.encoder(x)["position"].mean.mean()))
    assert abs(found[0] - 5.6) < 0.05
    assert abs(found[1] - 5.0) < 0.1
