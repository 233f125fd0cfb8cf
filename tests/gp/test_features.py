"""Feature maps against the GPyTorch kernels they stand for, in float64."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from gpytorch.kernels import (
    LinearKernel,
    MaternKernel,
    PeriodicKernel,
    RBFKernel,
    RQKernel,
    ScaleKernel,
    SpectralMixtureKernel,
)
from gpytorch.priors import GammaPrior, NormalPrior
from torch import Tensor, nn
from torch.distributions import Gamma

from ppvae.gp import (
    Column,
    FeatureMap,
    FourierFeatures,
    FreeFormFeatures,
    HilbertFeatures,
    HyperPriors,
    InducingFeatures,
    Lookup,
    NetworkFeatures,
    ObjectTable,
    ProductFeatures,
    SumFeatures,
    angular_kernel,
    log_hyperprior,
    spectral_density,
)

P, D = 7, 3


def rbf(lengthscale: float, **options) -> RBFKernel:
    kernel = RBFKernel(**options)
    kernel.lengthscale = lengthscale
    return kernel


def matern(nu: float, lengthscale: float = 0.5) -> MaternKernel:
    kernel = MaternKernel(nu=nu)
    kernel.lengthscale = lengthscale
    return kernel


def mixture() -> SpectralMixtureKernel:
    kernel = SpectralMixtureKernel(num_mixtures=2)
    kernel.mixture_weights = torch.tensor([0.7, 0.3])
    kernel.mixture_means = torch.tensor([0.2, 0.9]).reshape(2, 1, 1)
    kernel.mixture_scales = torch.tensor([0.3, 0.15]).reshape(2, 1, 1)
    return kernel


def dense(kernel, a: Tensor, b: Tensor) -> Tensor:
    a, b = (v if v.dim() > 1 else v[:, None] for v in (a, b))
    return kernel(a, b).to_dense()


COVARIATES = torch.linspace(-1, 1, P * D, dtype=torch.float64).sin().reshape(P, D) + 0.3

MAPS = {
    "fourier": (lambda: FourierFeatures(num_frequencies=3), torch.rand(5) * 6),
    "free-form": (lambda: FreeFormFeatures(torch.arange(4.0), rank=3), torch.arange(4.0)),
    "hilbert, rbf": (lambda: HilbertFeatures(rbf(0.5), (0.0, 2.0)), torch.rand(5)),
    "hilbert, mixture": (lambda: HilbertFeatures(mixture(), (0.0, 2.0)), torch.rand(5)),
    "table": (lambda: ObjectTable(P, 3), torch.arange(P)),
    "linear": (
        lambda: Lookup(COVARIATES, NetworkFeatures(nn.Linear(D, 2, bias=False), 2)),
        torch.arange(P),
    ),
    "inducing": (
        lambda: InducingFeatures(RQKernel(), COVARIATES[:4], learn_points=True, coverage=0.1),
        COVARIATES,
    ),
    "product": (
        lambda: ProductFeatures(
            Column(FourierFeatures(num_frequencies=2), 0),
            Column(HilbertFeatures(matern(1.5), (0.0, 1.0), num_features=6), 1),
        ),
        torch.rand(5, 2),
    ),
    "sum": (
        lambda: SumFeatures(
            FourierFeatures(num_frequencies=2), HilbertFeatures(rbf(0.5), (0.0, 2.0))
        ),
        torch.rand(5),
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_rows_of_unit_norm_that_every_parameter_moves(name):
    make, values = MAPS[name]
    features: FeatureMap = make()
    features.check(values)
    rows = features(values)
    assert rows.shape == (len(values), features.num_features)
    assert rows.dtype == torch.float64
    torch.testing.assert_close(rows.square().sum(-1), torch.ones(len(values)).double())
    torch.testing.assert_close(features.covariance(values), rows @ rows.T)
    (rows * torch.randn_like(rows)).sum().backward()
    for parameter_name, parameter in features.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize(
    ("kernel", "num_features", "tolerance"),
    [
        (rbf(0.4), 36, 1e-8),
        (matern(0.5), 800, 5e-3),
        (matern(1.5), 128, 1e-4),
        (matern(2.5), 96, 1e-5),
        (mixture(), 48, 3e-5),
        (ScaleKernel(rbf(0.4)) + ScaleKernel(rbf(0.8)), 32, 1e-5),
    ],
    ids=["rbf", "matern 1/2", "matern 3/2", "matern 5/2", "spectral mixture", "sum"],
)
def test_hilbert_features_are_gpytorchs_kernel(kernel, num_features, tolerance):
    features = HilbertFeatures(kernel, (-1.0, 1.5), num_features=num_features, boundary=2.5)
    a, b = torch.rand(9) * 2.5 - 1, torch.rand(6) * 2.5 - 1
    exact = dense(kernel, a, b) / dense(kernel, a[:1], a[:1])
    torch.testing.assert_close(features.covariance(a, b), exact, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("lengthscale", "period"), [(1.0, 2 * math.pi), (2.0, 5.0)])
def test_fourier_features_are_the_periodic_kernel(lengthscale, period):
    features = FourierFeatures(
        angular_kernel(lengthscale, period=period), num_frequencies=9, period=period
    )
    places = torch.linspace(0, 2 * period, 11)
    rows = features(places)
    waves = (math.pi * (places[:, None] - places) / period).sin()
    expected = (-2 * waves.square() / lengthscale**2).exp()
    torch.testing.assert_close(rows @ rows.mT, expected, rtol=0, atol=1e-6)


def test_the_spectral_density_is_the_kernels_fourier_transform():
    tau = torch.linspace(-40, 40, 40_001)
    omega = torch.tensor([0.0, 0.7, 2.0, 6.0])
    for kernel in (rbf(0.6), matern(1.5), mixture(), ScaleKernel(rbf(0.6)) + matern(2.5)):
        kappa = dense(kernel, tau, torch.zeros(1))[:, 0]
        transform = torch.trapezoid(kappa * torch.cos(omega[:, None] * tau), tau)
        torch.testing.assert_close(
            spectral_density(kernel, omega), transform, atol=1e-5, rtol=1e-5
        )


def test_inducing_points_are_exact_where_they_are():
    for kernel in (rbf(0.7), RQKernel(), matern(0.5), PeriodicKernel()):
        points = torch.linspace(0, 0.8, 5)
        features = InducingFeatures(kernel, points)
        exact = dense(kernel, points, points)
        torch.testing.assert_close(features.covariance(points), exact, atol=1e-6, rtol=0)
    features = InducingFeatures(rbf(0.7), torch.linspace(-2, 2, 12))
    a, b = torch.rand(5), torch.rand(4)
    exact = dense(features.kernel, a, b)
    torch.testing.assert_close(features.covariance(a, b), exact, atol=1e-5, rtol=0)


def test_inducing_points_take_covariates_and_composed_kernels():
    kernel = LinearKernel() + rbf(1.0, ard_num_dims=D)
    features = InducingFeatures(kernel, COVARIATES)
    exact = dense(kernel, COVARIATES, COVARIATES)
    root = exact.diagonal().sqrt()
    exact = exact / root[:, None] / root
    torch.testing.assert_close(features.covariance(COVARIATES), exact, atol=1e-5, rtol=0)


def test_products_and_sums_are_those_of_the_kernels():
    angle, time = FourierFeatures(num_frequencies=3), HilbertFeatures(rbf(0.4), (0.0, 1.0))
    values = torch.rand(6, 2)
    separate = angle.covariance(values[:, 0]), time.covariance(values[:, 1])
    product = ProductFeatures(Column(angle, 0), Column(time, 1))
    torch.testing.assert_close(product.covariance(values), separate[0] * separate[1])
    total = SumFeatures(Column(angle, 0), Column(time, 1))
    total.raw_shares.data = torch.tensor([0.0, 1.0])
    share = torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))
    expected = (1 - share) * separate[0] + share * separate[1]
    torch.testing.assert_close(total.covariance(values), expected)


def test_hyperpriors_are_summed_once_and_shared_among_the_data():
    kernel = rbf(0.5, lengthscale_prior=GammaPrior(3.0, 6.0))
    scaled = ScaleKernel(kernel, outputscale_prior=NormalPrior(0.0, 2.0))
    views = HilbertFeatures(scaled, (0.0, 1.0))
    expected = Gamma(3.0, 6.0).log_prob(kernel.lengthscale).sum()
    expected = expected + torch.distributions.Normal(0.0, 2.0).log_prob(scaled.outputscale)
    torch.testing.assert_close(log_hyperprior(views, nn.ModuleList([kernel])), expected)
    term = HyperPriors()
    term.prepare({"x": torch.zeros(20)})
    loss = term(SimpleNamespace(model=views, guide=nn.Identity()))
    torch.testing.assert_close(loss, -expected / 20)
    loss.backward()
    assert kernel.raw_lengthscale.grad.abs() > 0
    with pytest.raises(ValueError, match="expected a GPyTorch prior"):
        term(SimpleNamespace(model=nn.Identity(), guide=nn.Identity()))


def angle_of(maximum: float) -> Tensor:
    return torch.tensor([0.1, maximum])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: FourierFeatures().check(angle_of(math.nan)), "views: expected finite numbers"),
        (lambda: HilbertFeatures(rbf(1.0), (0, 1)).check(angle_of(2.0)), "within the domain"),
        (lambda: FourierFeatures().check(torch.zeros(3, 2)), "views: expected one number per row"),
        (lambda: HilbertFeatures(rbf(1.0), (0, 1)).check(torch.zeros(3, 1)), "one number per row"),
        (lambda: HilbertFeatures(rbf(1.0), (1, 0)), "domain: expected its least value"),
        (lambda: HilbertFeatures(rbf(1.0), (0, 1), boundary=0.5), "expected boundary >= 1"),
        (lambda: HilbertFeatures(RQKernel(), (0, 1)), "got RQKernel. Use InducingFeatures"),
        (
            lambda: FourierFeatures(angular_kernel(period=3.0)),
            "expected a kernel with period 6.28319; got PeriodicKernel",
        ),
        (lambda: FourierFeatures(rbf(1.0)), "got RBFKernel, which differs a period on"),
        (lambda: FourierFeatures(num_frequencies=0), "expected an integer from 1 to 31; got 0"),
        (
            lambda: HilbertFeatures(rbf(1.0, ard_num_dims=2), (0, 1)),
            "expected one lengthscale, for one column; got 2",
        ),
        (lambda: Column(FourierFeatures(), 1).check(torch.zeros(3)), "expected values"),
        (lambda: ProductFeatures(FourierFeatures()), "expected two kernels or more; got 1"),
        (
            lambda: InducingFeatures(rbf(1.0), torch.zeros(3)),
            "got 2 repeated, which make the kernel singular",
        ),
        (
            lambda: InducingFeatures(rbf(0.1), torch.arange(2.0)).check(angle_of(9.0)),
            "explain at least 1%",
        ),
        (
            lambda: InducingFeatures(rbf(0.1), torch.arange(2.0)).check_training(angle_of(0.2)),
            "explain at least 50%",
        ),
        (lambda: FreeFormFeatures(torch.zeros(2)), "expected distinct values"),
        (lambda: FreeFormFeatures(torch.arange(3.0)).check(angle_of(0.5)), "interpolates"),
        (lambda: ObjectTable(3, 2).check(torch.tensor([-1, 0])), "expected ids from 0 to 2"),
        (lambda: ObjectTable(3, 2).check(torch.tensor([0.0])), "expected integer ids"),
        (
            lambda: ObjectTable(4, 2).check_training(torch.tensor([0, 0, 3])),
            r"got no view of 2, such as \[1, 2\]",
        ),
        (
            lambda: Lookup(COVARIATES, NetworkFeatures(nn.Identity(), D)).check(torch.tensor([P])),
            "expected ids from 0 to 6",
        ),
        (lambda: Lookup(COVARIATES, NetworkFeatures(nn.Identity(), 2)), "2 outputs; got 3"),
        (
            lambda: Lookup(torch.zeros(2, 3), NetworkFeatures(nn.Identity(), 3)),
            "features of norm zero in row 0",
        ),
    ],
)
def test_bad_input_is_refused_by_name(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_the_share_that_features_hold_of_a_kernel_is_known():
    kernel = MaternKernel(nu=0.5)
    for scale in (0.02, 0.1, 1.0):
        kernel.lengthscale = scale
        features = HilbertFeatures(kernel, (-1.0, 1.0), num_features=32, boundary=1.25)
        # Of the density 2 l / (1 + (l w)^2), up to the last frequency and half a step.
        share = 2 / math.pi * math.atan(32.5 * math.pi / 2.5 * scale)
        assert features.held() == pytest.approx(share, abs=0.01)
    angles = torch.arange(4096, dtype=torch.float64) * 2 * math.pi / 4096
    for scale in (0.3, 1.0):
        kappa = (-2 * (angles / 2).sin().square() / scale**2).exp()
        terms = torch.fft.rfft(kappa).real / 4096
        share = float(terms[0] + 2 * terms[1:5].sum())
        assert FourierFeatures(angular_kernel(scale), num_frequencies=4).held() == pytest.approx(
            share, abs=1e-4
        )
