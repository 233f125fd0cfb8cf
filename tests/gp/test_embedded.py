"""Deep kernels against the dense algebra of GPs: evidence, posterior, leave-one-out, updates."""

from __future__ import annotations

import gpytorch
import pytest
import torch
from gpytorch.kernels import MaternKernel, PeriodicKernel, RBFKernel
from pyro.infer import Trace_ELBO
from torch import nn

import ppvae
from ppvae.errors import ArgumentError, ContractError, DataError
from ppvae.gp import EmbeddedGP, ExactFeatures, RandomFeatures
from ppvae.guides import ExactWeightsGuide, VariationalWeightsGuide
from ppvae.models import DeepKernel
from ppvae.nets import BoundedLinear, ResidualEmbedding, heads
from ppvae.objectives import ELBO
from ppvae.programs import evaluating

N = 14


def problem(*, outputs: int = 1, exact: bool = True):
    torch.manual_seed(0)
    x = torch.randn(N, 3)
    target = torch.stack([x[:, 0].sin() + 0.1 * x[:, 1], x.sum(1)], -1)[:, :outputs]
    noise = 0.1 + 0.2 * torch.rand(N, outputs)
    kernel = MaternKernel(nu=2.5, ard_num_dims=3)
    kernel.initialize(lengthscale=torch.tensor([1.0, 2.0, 1.5]))
    features = ExactFeatures(kernel, 3) if exact else RandomFeatures(kernel, 3, num_frequencies=8)
    gp = EmbeddedGP(nn.Identity(), features, outputs=outputs)
    nn.init.normal_(gp.raw_amplitude, std=0.3)
    return gp, x, target, noise


def dense(gp, x, target, noise, at, output=0):
    """Evidence, and mean and covariance at other points, by the covariance matrix."""
    with evaluating(gp):
        v0, v1 = (v[output] for v in gp.variances())
        both = torch.cat([x, at])
        if isinstance(gp.features, ExactFeatures):
            k = gp.features.kernel(both.double()).to_dense()
        else:
            k = gp.features.covariance(both)
    unit, center = gp.unit[output], gp.center[output]
    k = v0 * unit**2 * k
    inner = k[:N, :N] + torch.diag(unit**2 * v1 + noise[:, output].double() ** 2)
    y = target[:, output].double() - center
    normal = torch.distributions.MultivariateNormal(torch.zeros(N).double(), inner)
    solved = torch.linalg.solve(inner, k[:N, N:])
    return normal.log_prob(y), center + solved.mT @ y, k[N:, N:] - solved.mT @ k[:N, N:]


@pytest.mark.parametrize("exact", [True, False])
def test_the_elbo_is_the_evidence_at_every_draw_and_so_is_pyros(exact):
    gp, x, target, noise = problem(exact=exact, outputs=2)
    model, guide = DeepKernel(gp), ExactWeightsGuide(gp)
    batch = {"x": x, "target": target, "noise": noise}
    for part in (gp, guide):
        part.prepare(batch)
    objective = ELBO()(model, guide, num_data=N)
    evidence = sum(dense(gp, x, target, noise, x[:1], output=t)[0] for t in range(2))
    expected = float(evidence.detach())
    for seed in range(3):
        torch.manual_seed(seed)
        assert float(-objective(batch).loss.detach() * N) == pytest.approx(expected, abs=2e-3)
    loss = Trace_ELBO().differentiable_loss(model, guide, **batch)
    assert float(-loss.detach()) == pytest.approx(expected, abs=2e-3)
    closed = gp.log_evidence(gp.rows(x), target, noise)
    assert float(closed.detach()) == pytest.approx(expected, abs=1e-4)
    some = target.clone()
    some[3, 0] = torch.nan
    rest = [n for n in range(N) if n != 3]
    parts = [
        gp.log_evidence(gp.rows(x)[rows], y, s)
        for rows, y, s in (
            (rest, torch.stack([target[rest, 0], some[rest, 1] * torch.nan], -1), noise[rest]),
            (list(range(N)), torch.stack([some[:, 0] * torch.nan, target[:, 1]], -1), noise),
        )
    ]
    found = gp.log_evidence(gp.rows(x), some, noise)
    torch.testing.assert_close(found, parts[0] + parts[1])


def test_the_gradient_is_that_of_the_evidence():
    gp, x, target, noise = problem()
    model, guide = DeepKernel(gp), ExactWeightsGuide(gp)
    batch = {"x": x, "target": target, "noise": noise}
    for part in (gp, guide):
        part.prepare(batch)
    (ELBO()(model, guide, num_data=N)(batch).loss * N).backward()
    found = float(gp.raw_amplitude.grad)
    step, values = 1e-3, []
    for sign in (-1, 1):
        with torch.no_grad():
            gp.raw_amplitude += sign * step
        values.append(float(dense(gp, x, target, noise, x[:1])[0]))
        with torch.no_grad():
            gp.raw_amplitude -= sign * step
    assert found == pytest.approx(-(values[1] - values[0]) / (2 * step), rel=1e-2)


@pytest.mark.parametrize("exact", [True, False])
def test_predictions_are_those_of_the_dense_gp(exact):
    gp, x, target, noise = problem(exact=exact, outputs=2)
    at = torch.randn(5, 3)
    batch = {"x": x, "target": target, "noise": noise}
    guide = ExactWeightsGuide(gp)
    for part in (gp, guide):
        part.prepare(batch)
    with evaluating(gp, guide):
        guide.settle(guide, batch)
        mean, covariance = gp.predict(at)
        means, variances = gp.marginals(at)
    for t in range(2):
        _, loc, spread = dense(gp, x, target, noise, at, output=t)
        torch.testing.assert_close(mean[:, t], loc, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(covariance[t], spread, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(means[:, t], loc, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(variances[:, t], spread.diagonal(), atol=1e-4, rtol=1e-4)


def test_an_exact_deep_kernel_is_gpytorchs_exact_gp():
    gp, x, target, _ = problem()
    batch = {"x": x, "target": target}
    guide = ExactWeightsGuide(gp)
    for part in (gp, guide):
        part.prepare(batch)
    v0, v1 = gp.variances()

    class Oracle(gpytorch.models.ExactGP):
        def __init__(self, x, y, likelihood):
            super().__init__(x, y, likelihood)
            self.mean, self.kernel = gpytorch.means.ZeroMean(), gp.features.kernel

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(
                self.mean(x), v0.detach() * self.kernel(x)
            )

    y = ((target[:, 0].double() - gp.center[0]) / gp.unit[0]).detach()
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = v1.detach()
    oracle = Oracle(x.double(), y, likelihood).double().eval()
    at = torch.randn(4, 3).double()
    with evaluating(gp, guide), torch.no_grad():
        guide.settle(guide, batch)
        mean, covariance = gp.predict(at)
        predicted = oracle(at)
    torch.testing.assert_close(
        mean[:, 0], gp.center + gp.unit * predicted.mean, atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(
        covariance[0], gp.unit**2 * predicted.covariance_matrix, atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("exact", [True, False])
def test_leave_one_out_is_that_of_a_gp_without_the_datum(exact):
    gp, x, target, noise = problem(exact=exact)
    gp.prepare({"x": x, "target": target, "noise": noise})
    with torch.no_grad():
        found = gp.leave_one_out(gp.rows(x), target, noise)
    kept = torch.arange(N) != 3
    center, unit = gp.center.clone(), gp.unit.clone()
    with evaluating(gp):
        gp.store(x[kept], target[kept], noise[kept])
        assert torch.equal(gp.center, center)
        mean, variance = gp.marginals(x[3:4])
        total = variance + unit**2 * gp.variances()[1] + noise[3].double() ** 2
    assert float(found.mean[3]) == pytest.approx(float(mean), abs=1e-4)
    assert float(found.variance[3]) == pytest.approx(float(total), rel=1e-3)


def test_rank_one_updates_are_the_solution_with_all_data():
    gp, x, target, noise = problem(exact=False, outputs=2)
    target = target.clone()
    target[11, 0] = torch.nan
    gp.prepare({"x": x, "target": target, "noise": noise})
    with evaluating(gp):
        gp.store(x, target, noise)
        mean, covariance = gp.mean, gp.covariance
        gp.store(x[:9], target[:9], noise[:9])
        gp.condition(x[9:], target[9:], noise[9:])
    torch.testing.assert_close(gp.mean, mean, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gp.covariance, covariance, atol=1e-6, rtol=1e-6)
    exact, *_ = problem()
    with pytest.raises(ArgumentError, match="Call store"):
        exact.condition(x, target)


@pytest.mark.parametrize("kernel", [RBFKernel(), MaternKernel(nu=1.5), MaternKernel(nu=0.5)])
def test_random_features_are_the_kernel(kernel):
    torch.manual_seed(0)
    values = torch.randn(6, 2)
    kernel.initialize(lengthscale=1.3)
    features = RandomFeatures(kernel, 2, num_frequencies=4000)
    expected = kernel(values).to_dense().double()
    torch.testing.assert_close(features.covariance(values), expected, atol=0.06, rtol=0)
    torch.testing.assert_close(features(values).norm(dim=-1), torch.ones(6).double())
    with pytest.raises(ArgumentError, match="values \\(N, 2\\)"):
        features.check(values[:, 0])


def test_fit_trains_a_deep_kernel_and_predicts_unseen_data():
    gp, x, _, _ = problem()
    torch.manual_seed(1)
    x = torch.randn(60, 3)
    target = (x[:, :1] * 2).sin()
    model, guide = DeepKernel(gp), ExactWeightsGuide(gp)
    run = ppvae.fit(
        model,
        guide,
        {"x": x[:40], "target": target[:40]},
        epochs=60,
        batch_size=40,
        learning_rate=0.05,
        progress=False,
    )
    with evaluating(gp):
        mean, _ = gp.marginals(x[40:])
    drawn = run.predict({"x": x[40:]}).mean.double()
    torch.testing.assert_close(drawn, mean, atol=0.05, rtol=0)
    assert float((mean - target[40:]).square().mean()) < 0.3 * float(target.var())


def test_a_batch_of_some_data_is_refused_by_the_exact_guide():
    gp, x, target, _ = problem()
    with pytest.raises(ArgumentError, match="expected all 14 training data in a batch; got 7"):
        ppvae.fit(
            DeepKernel(gp),
            ExactWeightsGuide(gp),
            {"x": x, "target": target},
            epochs=1,
            batch_size=7,
            progress=False,
        )


def test_combinations_that_have_no_answer_are_refused():
    kernel = RBFKernel()
    with pytest.raises(ArgumentError, match="Use RandomFeatures"):
        EmbeddedGP(nn.Identity(), ExactFeatures(kernel, 1), head=heads.Poisson((1,)))
    counts = EmbeddedGP(nn.Identity(), RandomFeatures(kernel, 1), head=heads.Poisson((1,)))
    with pytest.raises(ArgumentError, match="Use VariationalWeightsGuide"):
        ExactWeightsGuide(counts)
    with pytest.raises(ArgumentError, match="Use RandomFeatures, and 0.3"):
        VariationalWeightsGuide(EmbeddedGP(nn.Identity(), ExactFeatures(kernel, 1)))
    with pytest.raises(ArgumentError, match="noise: expected a number > 0; got 0.0"):
        EmbeddedGP(nn.Identity(), RandomFeatures(kernel, 1), noise=0.0)
    with pytest.raises(ArgumentError, match="got PeriodicKernel"):
        RandomFeatures(PeriodicKernel(), 1)
    with pytest.raises(DataError, match="at least one measured value of each output"):
        counts.prepare({"x": torch.zeros(3, 1), "target": torch.full((3,), torch.nan)})
    with pytest.raises(ContractError, match="expected a column 'x'"):
        DeepKernel(counts)(target=torch.zeros(3, 1))


def test_a_constant_target_keeps_its_unit():
    gp, x, target, _ = problem()
    gp.prepare({"x": x, "target": torch.full_like(target, 3.0)})
    assert float(gp.unit) == 1.0
    assert float(gp.center) == 3.0


def test_bounded_layers_and_the_residual_embedding_begin_at_principal_components():
    torch.manual_seed(0)
    layer = BoundedLinear(5, 4, bound=0.5)
    nn.init.normal_(layer.weight, std=3.0)
    a, b = torch.randn(2, 30, 5)
    stretch = (layer(a) - layer(b)).detach().norm(dim=1) / (a - b).norm(dim=1)
    assert float(stretch.max()) <= 0.5 * 1.05
    assert float(layer.norm().detach()) == pytest.approx(
        float(torch.linalg.matrix_norm(layer.weight.detach(), 2)), rel=0.05
    )
    x = torch.randn(200, 1, 3, 4) * torch.linspace(1, 3, 4)
    embedding = ResidualEmbedding(x, 2, components=6, hidden=(8,))
    values = embedding(x)
    assert values.shape == (200, 2)
    torch.testing.assert_close(values.std(0), torch.ones(2), atol=0.05, rtol=0)
    torch.testing.assert_close(embedding(x.flatten(1)), values)
    with pytest.raises(ArgumentError, match="components <= 12"):
        ResidualEmbedding(x, 2, components=13)
