"""What the leave-one-view-out term trains, and what the ELBO beside it then does not."""

from __future__ import annotations

import torch

from ppvae.gp import FourierFeatures, GPPrior, LeaveViewOut, ObjectTable
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, Calibrated, heads
from ppvae.objectives import ELBO
from ppvae.programs import hooks_of

P, Q, D = 4, 3, 2


def problem(decoder):
    """A GP-prior pair of P objects in Q views, and the batch of all of them."""
    prior = GPPrior(ObjectTable(P, 2), FourierFeatures(num_frequencies=2), latent_dim=2, folds=Q)
    model = GPVAE(prior, decoder)
    guide = GPGuide(MLP(D, heads.DiagonalNormal(2), hidden=[4]), prior)
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(Q))
    batch = {
        "x": torch.randn(P * Q, D),
        "object": cells[:, 0],
        "view": cells[:, 1] * 2.0,
        "index": torch.arange(P * Q),
    }
    for hook in hooks_of(model, guide):
        hook.prepare(batch)
    return model, guide, batch


def test_a_calibrated_scale_is_trained_by_predicted_views_alone_where_there_are_any():
    decoder = Calibrated(MLP(2, heads.Normal((D,)), hidden=[4]))
    model, guide, batch = problem(decoder)
    scale = [*decoder.net.parameters(), decoder.raw_freedom]
    mean = list(decoder.decoder.parameters())

    def trained(value, parameters):
        grads = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        return {grad is not None and bool((grad != 0).any()) for grad in grads}

    terms = []
    for spec in (ELBO(), ELBO() + LeaveViewOut()):
        torch.manual_seed(0)
        terms.append(spec(model, guide, num_data=P * Q)(batch))
    plain, beside = terms
    torch.testing.assert_close(plain.log_likelihood["x"], beside.log_likelihood["x"])
    assert trained(plain.log_likelihood["x"].sum(), scale) == {True}
    assert trained(beside.log_likelihood["x"].sum(), scale) == {False}
    assert trained(beside.extras["leave_view_out"], scale) == {True}
    for one, other in zip(
        torch.autograd.grad(plain.log_likelihood["x"].sum(), mean),
        torch.autograd.grad(beside.log_likelihood["x"].sum(), mean),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_latents_are_drawn_from_the_prediction_without_the_view(monkeypatch):
    model, guide, batch = problem(MLP(2, heads.Normal((D,)), hidden=[4]))
    _, context = ELBO()(model, guide, num_data=P * Q).evaluate(batch)
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    p = context.p["z"]
    z = p.left_out(batch["index"]) + p.variance.sqrt()
    expected = -context.log_likelihood_at({"z": z})["x"].mean()
    torch.testing.assert_close(LeaveViewOut()(context), expected)
