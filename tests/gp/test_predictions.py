"""Predictions that need no training of their own: left out, of new objects, interpolated."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from ppvae.gp import (
    FourierFeatures,
    GPPrior,
    ObjectTable,
    infer_objects,
    interpolate_latents,
    latents_of,
    leave_one_out,
    state,
)

P, Q, M, L = 9, 6, 3, 4


def prior_with_data(noise: float = 0.2) -> tuple[GPPrior, dict[str, Tensor], Tensor]:
    """A settled prior, its columns (one cell twice) and F."""
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(Q))
    cells = torch.cat([cells[torch.randperm(len(cells))[:40]], cells[::Q]])
    data = {"object": cells[:, 0], "view": cells[:, 1] * 2 * math.pi / Q}
    prior = GPPrior(
        ObjectTable(P, M), FourierFeatures(num_frequencies=2), latent_dim=L, noise=noise
    )
    prior.prepare(data)
    f = prior.rows(data["object"], data["view"]).detach()
    weights = torch.randn(f.size(1), L)
    prior.table = f @ weights + noise**0.5 * torch.randn(len(f), L)
    state = prior.state()
    prior.mean.copy_(state.mean)
    prior.covariance.copy_(state.covariance.expand(L, -1, -1))
    return prior.eval(), data, f


def test_leave_one_out_is_every_refit():
    prior, data, f = prior_with_data()
    predicted = leave_one_out(prior, chunk=7)
    covariance = f @ f.T + prior.variances()[1].detach() * torch.eye(len(f))
    for row in range(0, len(f), 9):
        rest = torch.arange(len(f)) != row
        gain = torch.linalg.solve(covariance[rest][:, rest], covariance[rest, row])
        torch.testing.assert_close(predicted.mean[row], gain @ prior.table[rest])
        variance = covariance[row, row] - gain @ covariance[rest, row]
        torch.testing.assert_close(predicted.variance[row], variance.expand(L))


def test_variances_are_the_quadratic_forms_of_each_latent(dtype):
    rows, size = state.ROWS + 3, 5
    f, root = torch.randn(2, rows, size), torch.randn(L, size, size)
    covariance = root @ root.mT
    found = state.spreads(f, covariance)
    expected = torch.stack([((f @ s) * f).sum(-1) for s in covariance], -1)
    torch.testing.assert_close(found, expected)


def test_leave_one_out_needs_training_data():
    bare = GPPrior(ObjectTable(P, M), FourierFeatures(), latent_dim=L)
    with pytest.raises(RuntimeError, match="expected prepare"):
        leave_one_out(bare)


def test_a_new_object_is_the_ridge_solution_of_its_views():
    prior, _, _ = prior_with_data()
    views = torch.rand(5) * 6
    objects = torch.tensor([0, 1, 0, 0, 1])
    codes, variances = torch.randn(5, L), torch.rand(5, L)
    found = infer_objects(prior, codes, objects, views, variances=variances)
    v0, v1 = prior.variances()
    r = prior.views(views).detach()
    for number in range(2):
        rows = objects == number
        weights = prior.mean.unflatten(0, (M, -1))
        design = torch.cat(
            [v0.sqrt() * (weights[:, :, latent] @ r[rows].T).T for latent in range(L)]
        ).detach()
        noise = (v1 + variances[rows]).T.flatten().detach()
        targets = codes[rows].T.flatten()
        covariance = design @ design.T / M + noise.diag()
        exact = design.T @ torch.linalg.solve(covariance, targets) / M
        torch.testing.assert_close(found[number], exact / exact.norm())


def test_a_new_object_made_like_an_old_one_is_found():
    prior, data, f = prior_with_data(noise=2e-3)
    old = torch.tensor([4, 7])
    views = torch.arange(Q) * 2 * math.pi / Q + 0.1
    objects = torch.arange(2).repeat_interleave(Q)
    codes = prior.rows(old[objects], views.repeat(2)).detach() @ prior.mean
    found = infer_objects(prior, codes, objects, views.repeat(2))
    torch.testing.assert_close(found, prior.objects(old).detach(), atol=2e-2, rtol=0)
    predicted = latents_of(prior, prior.objects(old), torch.tensor([0.5, 2.0]))
    exact = prior(old, torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(predicted.mean, exact.mean)
    torch.testing.assert_close(predicted.variance, exact.variance)


def test_interpolation_weighs_the_two_nearest_views_of_the_object():
    turn = 2 * math.pi
    codes = torch.arange(4.0)[:, None] * torch.ones(2)
    objects = torch.tensor([0, 0, 0, 1])
    views = torch.tensor([0.0, 1.0, 6.0, 3.0])
    at = {"at_objects": torch.tensor([0, 0, 0, 1, 0])}
    at["at_views"] = torch.tensor([0.25, 1.0, 6.2, 0.7, 5.0])
    found = interpolate_latents(codes, objects, views, period=turn, **at)[:, 0]
    expected = torch.tensor([0.25, 1.0, 2 * (turn - 6.2) / (turn - 6), 3.0, 1 + 4 / 5])
    torch.testing.assert_close(found, expected)
    line = interpolate_latents(codes, objects, views, **at)[:, 0]
    expected[2] = 2.0
    torch.testing.assert_close(line, expected)


def test_interpolation_finds_the_view_below_a_turn_away():
    codes = torch.tensor([[1.0], [2.0]])
    at = {"at_objects": torch.tensor([0]), "at_views": torch.tensor([0.5])}
    found = interpolate_latents(
        codes, torch.tensor([0, 0]), torch.tensor([1.0, 6.0]), period=2 * math.pi, **at
    )
    below = 0.5 + 2 * math.pi - 6.0
    torch.testing.assert_close(found[0, 0], torch.tensor((below * 1 + 0.5 * 2) / (below + 0.5)))


def test_bad_input_is_refused_by_name():
    prior, _, _ = prior_with_data()
    codes = torch.randn(2, L)
    with pytest.raises(ValueError, match=r"got none of \[0\]"):
        infer_objects(prior, codes, torch.tensor([1, 1]), torch.rand(2))
    with pytest.raises(ValueError, match="of one length; got 2, 1 and 2"):
        infer_objects(prior, codes, torch.tensor([0]), torch.rand(2))
    with pytest.raises(ValueError, match="views: expected finite numbers"):
        infer_objects(prior, codes, torch.tensor([0, 0]), torch.tensor([0.0, math.nan]))
    with pytest.raises(ValueError, match=r"objects: expected an encoded view of each; got none"):
        interpolate_latents(
            codes,
            torch.tensor([0, 0]),
            torch.rand(2),
            at_objects=torch.tensor([3]),
            at_views=torch.rand(1),
        )


def test_repeated_views_and_little_noise_leave_the_solution_finite():
    """The kernel's matrix is singular where views repeat; in weight space nothing is."""
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(2)).repeat(20, 1)
    data = {"object": cells[:, 0], "view": cells[:, 1].double()}
    prior = GPPrior(
        ObjectTable(P, M),
        FourierFeatures(num_frequencies=2),
        latent_dim=L,
        noise=2e-8,
        floor=1e-8,
    ).float()
    prior.prepare(data)
    prior.table = torch.randn(len(cells), L, dtype=torch.float32)
    state = prior.state()
    assert torch.isfinite(state.mean).all()
    f = prior.rows(data["object"], data["view"]).double()
    v1 = prior.variances()[1]
    covariance = f @ f.T + v1 * torch.eye(len(f))
    exact = MultivariateNormal(torch.zeros(len(f)), covariance)._unbroadcasted_scale_tril
    log_det = 2 * exact.diagonal().log().sum()
    torch.testing.assert_close(state.log_det + len(f) * v1.log(), log_det, rtol=1e-3, atol=1.0)
    left_out = leave_one_out(prior)
    assert torch.isfinite(left_out.mean).all()
