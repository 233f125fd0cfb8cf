"""Additive priors in arrow form against dense float64 algebra and GPyTorch."""

from __future__ import annotations

import gpytorch
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

from ppvae.gp.additive import (
    RBF,
    AdditivePrior,
    Categorical,
    leave_subjects_out,
    leave_visits_out,
    with_visits,
)
from tests.gp.additive.problems import L, columns, covariances, dense, fill, prior_of

SHARED = pytest.mark.parametrize("shared", [False, True])
KERNELS = pytest.mark.parametrize(
    "kernel",
    [
        "rbf(age) + cat(id) + rbf(age)*cat(id) + rbf(age)*cat(sex) + rbf(disease)*obs(disease)"
        " + matern(disease)*obs(disease)*cat(id)",
        "cat(id) + rbf(age)*cat(id)",
        "rbf(age) + rbf(age)*cat(sex)",
        "rbf(age) + free(task) + free(task)*rbf(age)*cat(id)",
    ],
)


def encodings(n):
    return torch.randn(n, L, dtype=torch.float64), 0.2 + torch.rand(n, L, dtype=torch.float64)


@SHARED
@KERNELS
def test_bound_is_the_dense_kl_with_its_gradients(kernel, shared):
    data = columns()
    prior = prior_of(data, kernel=kernel, shared_variances=shared)
    loc, scale = (value.requires_grad_() for value in encodings(len(data["id"])))
    fill(prior, loc.detach(), scale.detach())
    ours = kl_divergence(dist.Normal(loc, scale).to_event(1), prior(**data)).sum()
    p = dist.MultivariateNormal(torch.zeros_like(loc.mT), covariances(prior, data))
    q = dist.MultivariateNormal(loc.mT, torch.diag_embed(scale.mT.square()))
    exact = kl_divergence(q, p).sum()
    torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-9)
    parameters = [loc, scale, *(p for p in prior.parameters() if p.requires_grad)]
    torch.testing.assert_close(
        torch.autograd.grad(ours, parameters),
        torch.autograd.grad(exact, parameters),
        rtol=1e-7,
        atol=1e-8,
    )


def dense_posterior(prior, data, values, scale, new, *, variances=True):
    """Predictive mean and variance of rows by dense algebra, (L, N') each."""
    v = prior.variances().expand(L, -1)
    between = torch.einsum("lj,jnm->lnm", v[:, :-1], dense(prior, data, new))
    own = torch.einsum("lj,jn->ln", v[:, :-1], dense(prior, new).diagonal(dim1=1, dim2=2))
    solved = torch.linalg.solve(covariances(prior, data), between)
    mean = (solved.mT @ values.mT[..., None])[..., 0]
    spread = (solved.square() * scale.mT.square()[..., None]).sum(1) if variances else 0.0
    return mean, own - (solved * between).sum(1) + spread + v[:, -1:]


def new_rows(data):
    """Seen subjects at other ages, and subjects that nothing is known of."""
    rows = columns((2, 2, 1))
    return {**rows, "id": torch.tensor([10, 13, 10, -1, -1])}


@SHARED
@KERNELS
def test_predictions_are_the_dense_posterior_encodings_uncertain(kernel, shared):
    data = columns()
    prior = prior_of(data, kernel=kernel, shared_variances=shared)
    loc, scale = encodings(len(data["id"]))
    fill(prior, loc, scale)
    new = new_rows(data)
    mean, variance = prior.moments(new)
    expected = dense_posterior(prior, data, loc, scale, new)
    torch.testing.assert_close((mean.mT, variance.mT), expected, rtol=1e-9, atol=1e-9)
    q = prior.eval()(**new)
    torch.testing.assert_close(q.mean, mean)
    torch.testing.assert_close(q.variance, variance)


def test_features_are_gpytorchs_kernels_in_its_exact_gp():
    data = columns()
    # Many features: the interval's kernel is then GPyTorch's on the line.
    prior = AdditivePrior(_many_features(), latent_dim=L, shared_variances=True).double()
    prior.prepare(data)
    loc, scale = encodings(len(data["id"]))
    fill(prior, loc, torch.zeros_like(scale))
    v = prior.variances()[0]
    centre, half = prior.kernel.terms[0].factors[0].scale
    place = ((data["age"] - centre) / half)[:, None]
    smooth = gpytorch.kernels.RBFKernel().double()
    smooth.lengthscale = 0.5
    gram = smooth(place).to_dense()
    same = data["id"][:, None] == data["id"]
    covariance = v[0] * gram + v[1] * gram * same + v[2] * torch.eye(len(gram))
    given = loc.mT[0]
    mean = (covariance - v[2] * torch.eye(len(gram))) @ torch.linalg.solve(covariance, given)
    torch.testing.assert_close(prior.moments(data)[0][:, 0], mean, rtol=1e-5, atol=1e-6)


def _many_features():
    kinds = [RBF("age", num_features=40, margin=0.5) for _ in range(2)]
    for kind in kinds:
        kind.features.kernel.lengthscale = 0.5
    return kinds[0] + kinds[1] * Categorical("id")


@SHARED
def test_any_posterior_held_gives_a_bound_that_mini_batches_estimate(shared):
    data = columns()
    n = len(data["id"])
    prior = prior_of(data, shared_variances=shared)
    loc, scale = encodings(n)
    fill(prior, loc + 0.1 * torch.randn_like(loc), scale * 1.1)
    with torch.no_grad():
        prior.raw_variances.add_(0.1 * torch.randn_like(prior.raw_variances))
    q = dist.Normal(loc, scale).to_event(1)
    shares = kl_divergence(q, prior(**data))
    p = dist.MultivariateNormal(torch.zeros_like(loc.mT), covariances(prior, data))
    exact = kl_divergence(
        dist.MultivariateNormal(loc.mT, torch.diag_embed(scale.mT.square())), p
    ).sum()
    assert shares.sum() > exact
    rows = torch.tensor([3, 7, 1])
    some = {name: values[rows] for name, values in data.items()}
    batch = kl_divergence(dist.Normal(loc[rows], scale[rows]).to_event(1), prior(**some))
    torch.testing.assert_close(batch, shares[rows])


@SHARED
def test_leaving_out_is_solving_without(shared):
    data = columns()
    prior = prior_of(data, shared_variances=shared)
    loc, scale = encodings(len(data["id"]))
    fill(prior, loc, scale)
    visits, subjects = leave_visits_out(prior), leave_subjects_out(prior)
    for row in (0, 4, 9):
        one = {name: values[row : row + 1] for name, values in data.items()}
        others = {
            "visit": torch.arange(len(loc)) != row,
            "subject": data["id"] != data["id"][row],
        }
        for name, found in (("visit", visits), ("subject", subjects)):
            kept = others[name]
            rest = {key: values[kept] for key, values in data.items()}
            expected = dense_posterior(prior, rest, loc[kept], scale[kept], one, variances=False)
            torch.testing.assert_close(found.mean[row], expected[0][:, 0], rtol=1e-8, atol=1e-9)
            torch.testing.assert_close(
                found.variance[row], expected[1][:, 0], rtol=1e-8, atol=1e-9
            )


@SHARED
def test_further_visits_are_as_if_they_had_been_there(shared):
    data = columns()
    prior = prior_of(data, shared_variances=shared)
    loc, scale = encodings(len(data["id"]))
    fill(prior, loc, scale)
    # A new subject between the known ones, another after them, more visits of a known one.
    more = columns((2, 1, 2))
    more["id"] = torch.tensor([11, 50, 11, 13, 13])
    more["age"] = more["age"].clamp(data["age"].min(), data["age"].max())
    known = data["disease"][~data["disease"].isnan()]
    more["disease"] = more["disease"].clamp(known.min(), known.max())
    values, spread = encodings(5)
    extended = with_visits(prior, more, values, spread.square())
    together = {name: torch.cat([data[name], more[name]]) for name in data}
    new = {**new_rows(data), "id": torch.tensor([11, 13, 50, -1, 10])}
    expected = dense_posterior(
        prior, together, torch.cat([loc, values]), torch.cat([scale, spread]), new
    )
    mean, variance = extended.moments(new)
    torch.testing.assert_close((mean.mT, variance.mT), expected, rtol=1e-8, atol=1e-9)


@SHARED
@pytest.mark.parametrize("order", ["age", None])
def test_what_is_left_out_in_training_is_solved_without(shared, order):
    data = columns()
    prior = prior_of(data, shared_variances=shared, order=order)
    loc, scale = encodings(len(data["id"]))
    fill(prior, loc, scale)
    p = prior(**data)
    index = torch.arange(len(loc))
    found, _, out = p.left_out(index)
    kept = p.held.left_out.kept
    assert torch.equal(out, ~kept)
    assert kept.any()
    for subject in data["id"].unique():
        mine = data["id"] == subject
        assert out[mine].any()
        if order == "age" and kept[mine].any():
            assert data["age"][mine & kept].max() < data["age"][mine & out].min()
    # Each subject is a fold here: shared weights from the others, own from what is kept.
    for row in (0, 5, 11):
        others = data["id"] != data["id"][row]
        mine = (data["id"] == data["id"][row]) & kept
        rest = {name: values[others] for name, values in data.items()}
        without = prior_of(rest, shared_variances=shared)
        without.load_state_dict(prior.state_dict())
        without.prepare(rest)
        fill(without, loc[others], scale[others])
        arrow = without.state()[0]
        f, b = prior.features(data)
        scales = prior.scales()
        f, b, v1 = f[:, None] * scales.shared, b[:, None] * scales.own, scales.noise
        residual = (loc - (f * arrow.shared_mean).sum(-1))[mine]
        expected = []
        for k in range(L):
            part = 0 if shared else k
            design = b[mine][:, part]
            gram = torch.eye(design.size(1)) * v1[part] + design.mT @ design
            own = torch.linalg.solve(gram, design.mT @ residual[:, k])
            expected.append(f[row, part] @ arrow.shared_mean[k] + b[row, part] @ own)
        torch.testing.assert_close(found[row], torch.stack(expected), rtol=1e-7, atol=1e-8)
