"""The GP prior in weight space against dense algebra in float64, on an incomplete grid."""

from __future__ import annotations

import math

import gpytorch
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ppvae.gp import (
    FourierFeatures,
    FreeFormFeatures,
    GPPrior,
    LeaveViewOut,
    ObjectTable,
    angular_kernel,
)
from ppvae.objectives import ELBO
from ppvae.programs import data_plate

P, Q, M, L = 9, 6, 3, 2


def angles() -> Tensor:
    return torch.arange(Q) * 2 * math.pi / Q


def columns(*, double: bool = True) -> dict[str, Tensor]:
    """A grid with a third of its cells missing, one cell seen twice, rows in random order."""
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(Q))
    # Every object in some view, else in random ones.
    one_each = torch.arange(P) * Q + torch.arange(P) % Q
    order = torch.cat([one_each, torch.randperm(P * Q)])
    order = torch.tensor(list(dict.fromkeys(order.tolist())))
    kept = cells[order[: 2 * P * Q // 3]]
    assert len(kept[:, 0].unique()) == P
    kept = torch.cat([kept, kept[:1]]) if double else kept
    return {"object": kept[:, 0], "view": angles()[kept[:, 1]]}


class Data(dict):
    num_rows = property(lambda self: len(self["object"]))

    def batch(self, rows, dtype=None, device=None):
        return {name: column[rows] for name, column in self.items()}


def make_prior(noise: float = 0.3, **options) -> GPPrior:
    prior = GPPrior(
        ObjectTable(P, M), FourierFeatures(num_frequencies=2), latent_dim=L, noise=noise, **options
    )
    prior.objects.table.data += 0.3
    return prior


def dense(prior: GPPrior, data: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """F (N, H) and K = F F^T + v1 I."""
    v0, v1 = prior.variances()
    x, r = prior.objects(data["object"]), prior.views(data["view"])
    f = v0.sqrt() * torch.einsum("nm,nr->nmr", x, r).flatten(1)
    return f, f @ f.T + v1 * torch.eye(len(f))


def trained_prior(
    table: Tensor, data: dict[str, Tensor], variances: Tensor | None = None, **options
) -> GPPrior:
    """A prior solved for these encodings (N, L) and their variances (N, L)."""
    prior = make_prior(**options)
    prior.prepare(data)
    fill(prior, table, variances)
    return prior


def fill(prior: GPPrior, table: Tensor, variances: Tensor | None = None) -> None:
    prior.table.copy_(table)
    if variances is not None:
        prior.table_variances.copy_(variances.sum(-1))
    prior.solve()


def test_bound_is_the_dense_kl_at_the_best_weights_with_its_gradients():
    data = columns()
    n = len(data["view"])
    loc, scale = torch.randn(n, L, requires_grad=True), torch.rand(n, L).add_(0.2)
    scale.requires_grad_()
    prior = trained_prior(loc.detach(), data, scale.detach().square())
    q = dist.Normal(loc, scale).to_event(1)
    ours = kl_divergence(q, prior(**_named(data))).sum()

    _, covariance = dense(prior, data)
    p = dist.MultivariateNormal(torch.zeros(n), covariance)
    exact = kl_divergence(dist.Normal(loc.T, scale.T).to_event(1), p).sum()
    torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-9)

    parameters = [loc, scale, prior.raw_noise, prior.objects.table, *_kernel(prior)]
    torch.testing.assert_close(
        torch.autograd.grad(ours, parameters),
        torch.autograd.grad(exact, parameters),
        rtol=1e-7,
        atol=1e-8,
    )


def _named(data):
    return {"object": data["object"], "view": data["view"]}


def _kernel(prior):
    return [p for p in prior.views.parameters() if p.requires_grad]


def test_any_other_weights_give_a_looser_bound_by_the_known_slack():
    data = columns()
    n = len(data["view"])
    loc, scale = torch.randn(n, L), torch.rand(n, L) + 0.2
    prior = trained_prior(loc + 0.5 * torch.randn(n, L), data)
    q = dist.Normal(loc, scale).to_event(1)
    p = prior(**_named(data))
    ours, stale = kl_divergence(q, p).sum(), p.frozen.mean.clone()
    fill(prior, loc)
    best = prior(**_named(data))
    exact = kl_divergence(q, best).sum()
    gap = stale - best.frozen.mean
    slack = 0.5 * torch.einsum("hl,hk,kl->", gap, best.frozen.covariance.inverse(), gap)
    assert slack > 0.01
    torch.testing.assert_close(ours - exact, slack, rtol=1e-8, atol=1e-8)


def test_a_bound_solved_at_other_variances_is_looser():
    data = columns()
    n = len(data["view"])
    loc, scale = torch.randn(n, L), torch.full((n, L), 1e-6)
    q = dist.Normal(loc, scale).to_event(1)
    prior = trained_prior(loc, data)
    with torch.no_grad():
        prior.raw_noise += 0.7
        prior.objects.table += 0.2
        stale = kl_divergence(q, prior(**_named(data))).sum()
        prior.solve()
        exact = kl_divergence(q, prior(**_named(data))).sum()
    assert stale > exact + 0.1


def test_mini_batches_of_a_partition_average_to_the_whole():
    data = columns()
    n = len(data["view"])
    loc, scale = torch.randn(n, L), torch.rand(n, L) + 0.2
    prior = trained_prior(torch.randn(n, L), data)
    whole = kl_divergence(dist.Normal(loc, scale).to_event(1), prior(**_named(data)))
    parts = []
    for rows in torch.randperm(n).split(5):
        p = prior(data["object"][rows], data["view"][rows])
        parts.append(kl_divergence(dist.Normal(loc[rows], scale[rows]).to_event(1), p))
    torch.testing.assert_close(torch.cat(parts).sum(), whole.sum(), rtol=1e-12, atol=1e-10)


def test_full_covariance_and_monte_carlo_agree_with_the_closed_form():
    data = columns()
    n = len(data["view"])
    loc = torch.randn(n, L)
    tril = torch.randn(n, L, L).tril() * 0.3 + torch.eye(L)
    prior = trained_prior(loc, data)
    p = prior(**_named(data))
    full = kl_divergence(dist.MultivariateNormal(loc, scale_tril=tril), p).sum()
    _, covariance = dense(prior, data)
    big = torch.einsum("nij,nm,mkj->nimk", tril, torch.eye(n), tril).reshape(n * L, n * L)
    prior_cov = torch.kron(covariance, torch.eye(L))
    exact = kl_divergence(
        dist.MultivariateNormal(loc.flatten(), big),
        dist.MultivariateNormal(torch.zeros(n * L), prior_cov),
    )
    torch.testing.assert_close(full, exact, rtol=1e-9, atol=1e-8)

    scale = torch.full((n, L), 0.4)
    q = dist.Normal(loc, scale).to_event(1)
    z = q.sample((4000,))
    sampled = (q.log_prob(z) - p.log_prob(z)).mean(0).sum()
    v1 = prior.variances()[1]
    mean_field_gap = 0.5 * (scale.square() * p.leverage[:, None]).sum() / v1.square()
    expected = kl_divergence(q, p).sum() + mean_field_gap
    torch.testing.assert_close(sampled, expected, rtol=0.02, atol=0.5)


class Encoder(nn.Module):
    """A linear encoder of two-pixel data with a scale of its own for every datum."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 2 * L)

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        loc, raw = self.net(x).chunk(2, -1)
        return dist.Normal(loc, raw.exp()).to_event(1)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(L, 4)

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.net(z), 0.5).to_event(1)


class Model(nn.Module):
    def __init__(self, prior: GPPrior) -> None:
        super().__init__()
        self.prior, self.decoder = prior, Decoder()

    def forward(self, x=None, *, object, view):  # noqa: A002
        with data_plate(x, object, view):
            z = pyro.sample("z", self.prior(object, view))
            return pyro.sample("x", self.decoder(z), obs=x)


class Guide(nn.Module):
    def __init__(self, prior: GPPrior) -> None:
        super().__init__()
        self.prior, self.encoder = prior, Encoder()

    def forward(self, x):
        with data_plate(x):
            pyro.sample("z", self.encoder(x))


def make_pair(**options) -> tuple[Model, Guide, Data]:
    data = Data(columns())
    data["x"] = torch.randn(len(data["view"]), 4)
    prior = make_prior(**options)
    prior.prepare(data)
    return Model(prior), Guide(prior), data


def test_settled_predictions_are_the_dense_gp_posterior():
    model, guide, data = make_pair()
    prior = model.prior
    prior.settle(guide, data)
    model.eval()
    new = {"object": torch.arange(P), "view": torch.full((P,), 1.234)}
    predicted = prior(**new)

    f, covariance = dense(prior, data)
    v0, v1 = prior.variances()
    x, r = prior.objects(new["object"]), prior.views(new["view"])
    f_new = v0.sqrt() * torch.einsum("nm,nr->nmr", x, r).flatten(1)
    q = guide.encoder(data["x"])
    solve = torch.linalg.solve(covariance, f @ f_new.T)  # (N, P)
    loc = solve.T @ q.mean
    conditional = (f_new * f_new).sum(1) - ((f @ f_new.T) * solve).sum(0) + v1
    # The encodings are uncertain too: their variances pass through the same weights.
    variance = conditional[:, None] + solve.square().T @ q.variance
    torch.testing.assert_close(predicted.mean, loc, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(predicted.variance, variance, rtol=1e-8, atol=1e-9)


def test_predictions_agree_with_gpytorch_on_exact_encodings():
    data = columns(double=False)
    n = len(data["view"])
    table = torch.randn(n, L)
    prior = trained_prior(table, data)
    kernel = angular_kernel()
    state = prior.state()
    with torch.no_grad():
        x, (v0, v1) = prior.objects(data["object"]), prior.variances()
        exact = FourierFeatures(angular_kernel(), num_frequencies=12)
        view = data["view"][:, None]
        torch.testing.assert_close(
            exact.covariance(data["view"]), kernel(view, view).to_dense(), rtol=1e-8, atol=1e-8
        )
        likelihood = gpytorch.likelihoods.GaussianLikelihood()
        likelihood.noise = v1
        features = v0.sqrt() * torch.einsum("nm,nr->nmr", x, prior.views(data["view"])).flatten(1)

        class Exact(gpytorch.models.ExactGP):
            def __init__(self):
                super().__init__(features, table[:, 0], likelihood)
                self.mean_module = gpytorch.means.ZeroMean()
                self.covar_module = gpytorch.kernels.LinearKernel()
                self.covar_module.variance = 1.0

            def forward(self, rows):
                return gpytorch.distributions.MultivariateNormal(
                    self.mean_module(rows), self.covar_module(rows)
                )

        gp = Exact().eval()
        likelihood.eval()
        f = prior.rows(torch.arange(P), torch.full((P,), 0.7))
        reference = gp(f)
        torch.testing.assert_close((f @ state.mean)[:, 0], reference.mean, rtol=1e-4, atol=1e-5)
        leverage = (f @ state.covariance * f).sum(-1)
        torch.testing.assert_close(leverage, reference.variance, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("folds", [Q, 2])
def test_leaving_views_out_is_the_fit_without_their_rows(folds):
    data = columns()
    table = torch.randn(len(data["view"]), L)
    prior = trained_prior(table, data, folds=folds)
    f, _ = dense(prior, data)
    v1 = prior.variances()[1]
    codes = torch.round(data["view"] / angles()[1]).long() % folds
    assert len(prior.frozen_left_out) == folds
    for fold in range(folds):
        stays = codes != fold
        rows = f[stays]
        precision = torch.eye(rows.size(1)) + rows.T @ rows / v1
        expected = torch.linalg.solve(precision, rows.T @ table[stays] / v1)
        torch.testing.assert_close(prior.frozen_left_out[fold], expected, rtol=1e-9, atol=1e-9)


def test_the_weights_of_a_step_do_not_depend_on_its_batch():
    model, guide, data = make_pair(refresh=2)
    prior = model.prior
    objective = ELBO()(model, guide)
    rows = torch.arange(5)
    batch = data.batch(rows) | {"index": rows}
    objective.check(batch)
    assert not prior.table.any()
    first = objective(batch)
    # An empty table gives m = 0: the KL of this batch knows nothing of its own encodings.
    q = guide.encoder(data["x"][rows])
    v1 = prior.variances()[1]
    f = prior.rows(data["object"][rows], data["view"][rows])
    h = (f @ prior.frozen_covariance * f).sum(-1)
    size = f.size(1)
    share = q.mean.square().sum(-1) / v1 + q.variance.sum(-1) * (1 - h / v1) / v1
    share = share + L * (v1.log() - 1 + h / v1) - q.variance.log().sum(-1)
    covariance = prior.frozen_covariance
    slack = L * (covariance.trace() - covariance.logdet() - size) / len(data["x"])
    torch.testing.assert_close(first.kl["z"], 0.5 * (share + slack))
    torch.testing.assert_close(prior.table[rows], q.mean)
    torch.testing.assert_close(prior.table_variances[rows], q.variance.sum(-1))
    again = objective(batch)
    torch.testing.assert_close(again.kl["z"], first.kl["z"])
    objective.advance()
    torch.testing.assert_close(objective(batch).kl["z"], first.kl["z"])
    objective.advance()  # the second step: solved anew
    assert objective(batch).kl["z"].sum() < first.kl["z"].sum()


def test_evaluation_records_nothing():
    model, guide, data = make_pair()
    objective = ELBO()(model, guide).eval()
    rows = torch.arange(5)
    objective(data.batch(rows) | {"index": rows})
    assert not model.prior.table.any()
    assert torch.isfinite(objective(data.batch(rows)).elbo).all()


def test_pyros_own_elbo_takes_the_pair():
    model, guide, data = make_pair()
    rows = torch.arange(5)
    batch = data.batch(rows)
    fill(model.prior, torch.randn_like(model.prior.table))
    ours = ELBO(analytic=False)(model, guide)
    ours.check(batch)
    torch.manual_seed(1)
    loss = ours(batch).loss * 5
    torch.manual_seed(1)

    def program(x, object, view):  # noqa: A002
        return model(x, object=object, view=view)

    def variational(x, object, view):  # noqa: A002
        return guide(x)

    expected = Trace_ELBO().differentiable_loss(
        program, variational, batch["x"], batch["object"], batch["view"]
    )
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)


def test_leave_view_out_trains_decoder_kernel_and_objects():
    model, guide, data = make_pair(folds=Q)
    fill(model.prior, torch.randn_like(model.prior.table))
    spec = ELBO(weights={"x": 0.0, "z": 0.0}) + LeaveViewOut()
    objective = spec(model, guide, num_data=len(data["x"]))
    rows = torch.arange(len(data["x"]))
    terms = objective(data.batch(rows) | {"index": rows})
    assert terms.extras["leave_view_out"] > 0
    parameters = [model.decoder.net.weight, model.prior.objects.table, *_kernel(model.prior)]
    for grad in torch.autograd.grad(terms.loss, parameters, retain_graph=True):
        assert torch.isfinite(grad).all()
        assert grad.abs().sum() > 0
    encoder = torch.autograd.grad(terms.loss, guide.encoder.net.weight, allow_unused=True)[0]
    assert encoder is None or not encoder.any()


def test_leave_view_out_value_by_hand():
    model, guide, data = make_pair(folds=Q)
    fill(model.prior, torch.randn_like(model.prior.table))
    n = len(data["x"])
    spec = ELBO(weights={"x": 0.0, "z": 0.0}) + LeaveViewOut(weight=0.5)
    rows = torch.arange(n)
    table = model.prior.table.clone()
    objective = spec(model, guide)
    with torch.no_grad():
        draws = [objective(data.batch(rows) | {"index": rows}).loss for _ in range(400)]
    loss = torch.stack(draws)
    f, _ = dense(model.prior, data)
    v1 = model.prior.variances()[1]
    total = torch.zeros(())
    for view in angles():
        out = (data["view"] - view).abs() < 1e-6
        kept = f[~out]
        precision = torch.eye(f.size(1)) + kept.T @ kept / v1
        z = f[out] @ torch.linalg.solve(precision, kept.T @ table[~out] / v1)
        total = total - model.decoder(z).log_prob(data["x"][out]).sum()
    # What the latents' noise adds to the loss of a linear decoder, on average.
    h = (f @ model.prior.frozen_covariance * f).sum(-1)
    added = (v1 + h).sum() * model.decoder.net.weight.square().sum() / (2 * 0.5**2)
    expected = 0.5 * (total + added) / n
    assert (loss.mean() - expected).abs() < 4 * loss.std() / 400**0.5
    assert added / n > 20 * loss.std() / 400**0.5


@pytest.mark.parametrize(("refresh", "expected"), [(None, 20), (1, 1), (5, 5)])
def test_with_many_data_the_gp_is_solved_after_a_sixteenth_of_them(refresh, expected, monkeypatch):
    rows = 16 * 20 * 4
    data = {"object": torch.arange(rows) % P, "view": angles()[torch.arange(rows) % Q]}
    prior = make_prior(refresh=refresh)
    prior.prepare(data)
    solved, steps = [], iter(range(1, 61))
    monkeypatch.setattr(prior, "solve", lambda: solved.append(step))
    while step := next(steps, None):
        index = torch.randint(rows, (4,))
        prior.record(index, {"z": dist.Normal(torch.zeros(4, L), 1.0).to_event(1)})
        prior.advance()
    assert prior.refresh.interval == expected
    assert solved == list(range(expected, 61, expected))


@pytest.mark.parametrize(("share", "expected"), [(0, 8), (1 / 3, 3), (1, 1)])
def test_with_few_data_the_gp_is_solved_every_eight_steps_or_every_pass(share, expected):
    model, _, data = make_pair()
    prior = model.prior
    prior.prepare(data)
    prior.refresh.note(max(1, math.ceil(share * len(data["view"]))))
    assert prior.refresh.interval == expected


def test_a_resumed_prior_is_solved_after_the_same_steps():
    prior, resumed = make_prior().refresh, make_prior().refresh
    for every, sizes in ((prior, (24, 25)), (resumed, (24,))):
        every.reset(97)
        if every is resumed:
            every.age.copy_(prior.age)
            every.largest.copy_(prior.largest)
        for size in sizes:
            every.note(size)
            every.due()
    assert prior.interval == resumed.interval == 4


def test_leave_view_out_asks_for_folds():
    model, guide, data = make_pair()
    rows = torch.arange(4)
    with pytest.raises(ValueError, match="folds=16"):
        (ELBO() + LeaveViewOut())(model, guide)(data.batch(rows) | {"index": rows})


def test_bad_priors_and_data_are_refused_in_words():
    prior = make_prior()
    with pytest.raises(ValueError, match="expected ids from 0 to 8; got 0 to 9"):
        prior.prepare({"object": torch.arange(10), "view": torch.zeros(10)})
    with pytest.raises(ValueError, match="refresh: expected an integer >= 1"):
        make_prior(refresh=0)
    with pytest.raises(ValueError, match="columns of one length; got 9 and 3"):
        prior.prepare({"object": torch.arange(9), "view": torch.zeros(3)})
    with pytest.raises(RuntimeError, match="prepare"):
        prior.state()
    with pytest.raises(ValueError, match="0 < floor < noise < 1"):
        make_prior(noise=1.5)
    free = FreeFormFeatures(angles())
    with pytest.raises(ValueError, match="interpolates"):
        free.check(torch.tensor([0.1]))
    free.check(angles())
    torch.testing.assert_close(free.covariance(angles()).diagonal(), torch.ones(Q))
    with pytest.raises(ValueError, match="1 to 31"):
        FourierFeatures(num_frequencies=0)
    with pytest.raises(ValueError, match="num_objects"):
        ObjectTable(0, 3)
