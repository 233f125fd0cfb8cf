"""Priors against their formulas."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppvae.nets import MLP, ClassNormal, FlowPrior, MixtureNormal, StandardNormal, VampPrior, heads
from ppvae.nets.heads import positive
from ppvae.programs import columns_of


def normal(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    squares = ((z - loc) / scale).square() + 2 * scale.log() + math.log(2 * math.pi)
    return -0.5 * squares.sum(-1)


def test_a_normal_a_class_is_that_of_its_class():
    prior = ClassNormal(3, 2)
    torch.nn.init.normal_(prior.raw_scale)
    z, y = torch.randn(4, 2), torch.tensor([2, 0, 0, 1])
    exact = normal(z, prior.loc[y], positive(prior.raw_scale)[y])
    torch.testing.assert_close(prior(y).log_prob(z), exact)
    enumerated = prior(torch.arange(3)[:, None])
    assert enumerated.batch_shape == (3, 1)
    torch.testing.assert_close(enumerated.log_prob(z)[y, torch.arange(4)], exact)


def test_a_mixture_is_the_sum_over_its_components():
    prior = MixtureNormal(3, 2)
    torch.nn.init.normal_(prior.raw_scale), torch.nn.init.normal_(prior.logits)
    z = torch.randn(4, 2)
    parts = normal(z[:, None], prior.loc, positive(prior.raw_scale))
    exact = (prior.logits.log_softmax(0) + parts).logsumexp(-1)
    torch.testing.assert_close(prior().log_prob(z), exact)


def test_a_vamp_prior_is_the_mean_of_the_encoders_posteriors():
    encoder = MLP(5, heads.DiagonalNormal(2), hidden=[4])
    prior = VampPrior(encoder, torch.randn(3, 5))
    z = torch.randn(4, 2)
    densities = torch.stack([encoder(u).log_prob(z).exp() for u in prior.inputs])
    torch.testing.assert_close(prior().log_prob(z), densities.mean(0).log())
    assert prior().sample((6,)).shape == (6, 2)
    assert prior.encoder is encoder


def test_a_flow_is_a_change_of_variables():
    prior = FlowPrior(3, couplings=3, hidden=4)
    for net in prior.nets:
        nn.init.normal_(net[-1].weight)
    u = torch.randn(3)

    def forward(u: Tensor) -> Tensor:
        for coupling in prior().transforms:
            u = coupling(u)
        return u

    jacobian = torch.autograd.functional.jacobian(forward, u)
    base = normal(u, torch.zeros(3), torch.ones(3))
    exact = base - torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(prior().log_prob(forward(u)), exact)
    assert not torch.allclose(forward(u), u)


def test_priors_say_which_columns_they_need():
    assert list(columns_of(StandardNormal(2), ClassNormal(3, 2))) == ["y"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: MixtureNormal(0, 2), "components: expected at least 1; got 0"),
        (lambda: FlowPrior(1), "latent_dim >= 2"),
        (lambda: VampPrior(nn.Identity(), torch.zeros(0, 3)), "one pseudo-input or more"),
        (lambda: VampPrior(nn.Identity(), torch.zeros(2, 3).long()), "floating-point"),
        (lambda: ClassNormal(3, 2).check({"y": torch.tensor([0, 3])}), "from 0 to 2; got 3"),
        (lambda: ClassNormal(3, 2).prepare({"y": torch.tensor([0, -1])}), "got -1"),
    ],
)
def test_what_cannot_be_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_priors_print_what_they_are():
    assert repr(StandardNormal(2)) == "StandardNormal(latent_dim=2)"
    assert "num_classes=3" in repr(ClassNormal(3, 2))
    assert isinstance(StandardNormal(2)(), dist.Independent)
