"""Users' own GPyTorch kernels in feature maps: what a kernel says is kept, or refused in words."""

from __future__ import annotations

import pytest
import torch
from gpytorch.kernels import LinearKernel, MaternKernel, RBFKernel, ScaleKernel
from torch import nn

from ppvae.errors import ArgumentError
from ppvae.gp import (
    Column,
    EmbeddedGP,
    ExactFeatures,
    FourierFeatures,
    FreeFormFeatures,
    GPPrior,
    HilbertFeatures,
    ObjectTable,
    RandomFeatures,
    SumFeatures,
)


class Halved(RBFKernel):
    """A kernel of one's own that computes something else than its base class."""

    def forward(self, x1, x2, diag=False, **params):
        return 0.5 + 0.5 * super().forward(x1, x2, diag=diag, **params)


@pytest.mark.parametrize("kind", [RBFKernel, MaternKernel])
def test_random_features_read_the_columns_of_active_dims(kind):
    kernel = kind(active_dims=[2, 0], ard_num_dims=2)
    kernel.lengthscale = torch.tensor([0.5, 2.0])
    values = torch.randn(6, 3)
    found = RandomFeatures(kernel, 3, num_frequencies=20_000).covariance(values)
    torch.testing.assert_close(found, kernel(values).to_dense(), atol=0.04, rtol=0)
    with pytest.raises(ArgumentError, match=r"active_dims below dim; got \[2, 0\] and 2"):
        RandomFeatures(kernel, 2)


def test_kernels_of_ones_own_are_not_taken_for_their_base_classes():
    for features in (lambda k: RandomFeatures(k, 1), lambda k: HilbertFeatures(k, (0.0, 1.0))):
        with pytest.raises(ArgumentError, match="got Halved. Use InducingFeatures"):
            features(Halved())
    with pytest.raises(ArgumentError, match=r"got active_dims \[1\]. Choose the column by"):
        HilbertFeatures(RBFKernel(active_dims=[1]), (0.0, 1.0))


@pytest.mark.parametrize(
    "kernel", [ScaleKernel(RBFKernel()), RBFKernel() + LinearKernel() * LinearKernel()]
)
def test_exact_features_are_of_the_kernel_over_its_diagonal(kernel):
    x, at = torch.randn(9, 2), 2 * torch.randn(4, 2)
    gp = EmbeddedGP(nn.Identity(), ExactFeatures(kernel, 2))
    gp.prepare({"x": x, "target": x[:, 0].sin()})
    gp.eval()
    gp.store(x, x[:, 0].sin())
    mean, variance = gp.marginals(at)
    joint_mean, covariance = gp.predict(at)
    torch.testing.assert_close(mean, joint_mean)
    torch.testing.assert_close(variance[:, 0], covariance[0].diagonal())
    with torch.no_grad():
        k = kernel(torch.cat([x, at])).to_dense()
        k = k / k.diagonal().sqrt() / k.diagonal().sqrt()[:, None]
        v0, v1 = gp.variances()
        inner = v0 * k[:9, :9] + (v1 + v0 * 1e-6) * torch.eye(9)
        solved = torch.linalg.solve(inner, v0 * k[:9, 9:])
    exact = v0 - (v0 * k[:9, 9:] * solved).sum(0)
    torch.testing.assert_close(variance[:, 0], exact * gp.unit**2, atol=1e-6, rtol=1e-4)


def test_exact_features_refuse_a_kernel_without_variance():
    gp = EmbeddedGP(nn.Identity(), ExactFeatures(LinearKernel(), 1))
    data = {"x": torch.tensor([[0.0], [1.0]]), "target": torch.tensor([0.0, 1.0])}
    with pytest.raises(ArgumentError, match=r"a positive variance at all values; got 0 at \[0"):
        gp.prepare(data)


def test_maps_that_grow_with_the_data_are_refused_where_sizes_are_fixed():
    exact = ExactFeatures(RBFKernel(), 1)
    message = "a fixed number; got ExactFeatures, which has one per datum"
    for build in (
        lambda: GPPrior(ObjectTable(3, 2), exact, latent_dim=2),
        lambda: SumFeatures(exact, FourierFeatures()),
        lambda: Column(exact, 0),
    ):
        with pytest.raises(ArgumentError, match=message):
            build()


def test_free_forms_know_their_values_at_any_scale():
    fine = FreeFormFeatures(1e-5 * torch.arange(4.0))
    fine.check(torch.tensor([1e-5, 3e-5]))
    with pytest.raises(ArgumentError, match="one of the 4 values"):
        fine.check(torch.tensor([1.5e-5]))
    late = FreeFormFeatures(torch.tensor([1234567.89, 1234568.89], dtype=torch.float64))
    late.check(torch.tensor([1234567.89, 1234568.89], dtype=torch.float32))
    FreeFormFeatures(torch.tensor([0.3927, 0.7854])).check(torch.pi * torch.tensor([0.125, 0.25]))


def test_the_ends_of_a_domain_are_within_it_as_float32_has_them():
    ends = (200000.1, 200009.9)
    features = HilbertFeatures(RBFKernel(), ends)
    features.check(torch.tensor(ends, dtype=torch.float32).double())
    with pytest.raises(ArgumentError, match="within the domain"):
        features.check(torch.tensor([200010.2]))
