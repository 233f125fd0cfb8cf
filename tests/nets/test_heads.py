"""Likelihood heads: their null models, and data with missing values."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.errors import ArgumentError
from ppvae.nets import MLP, Calibrated, MaskedEncoder, heads

N, D = 200, 3
LIBRARY = (3.0, 0.2)


def reals() -> torch.Tensor:
    return torch.randn(N, D) * torch.tensor([0.5, 1, 2]) + torch.tensor([0.0, 1, -1])


def counts() -> torch.Tensor:
    rates = torch.distributions.Gamma(2.0, torch.tensor([0.5, 0.1, 0.05])).sample((N,))
    return torch.poisson(rates)


def inflated() -> torch.Tensor:
    kept = torch.rand(N, D) > torch.tensor([0.5, 0.1, 0.3])
    return torch.where(kept, counts() + 1, 0.0)


KINDS = {
    "bernoulli": (lambda: heads.Bernoulli((D,)), lambda: (reals() > 0) * 1.0),
    "continuous": (lambda: heads.ContinuousBernoulli((D,)), lambda: reals().sigmoid()),
    "normal": (lambda: heads.Normal((D,)), reals),
    "normal-shape": (lambda: heads.Normal((D,), heads.Shared(shape=(D,))), reals),
    "normal-element": (lambda: heads.Normal((D,), heads.PerElement()), reals),
    "normal-fixed": (lambda: heads.Normal((D,), heads.Fixed(0.7)), reals),
    "laplace": (lambda: heads.Laplace((D,)), reals),
    "poisson": (lambda: heads.Poisson((D,)), counts),
    "poisson-library": (lambda: heads.Poisson((D,), library=LIBRARY), counts),
    "nb": (lambda: heads.NegativeBinomial((D,)), counts),
    "nb-library": (lambda: heads.NegativeBinomial((D,), library=LIBRARY), counts),
    "zinb-library": (
        lambda: heads.ZeroInflatedNegativeBinomial((D,), library=LIBRARY),
        inflated,
    ),
    "categorical": (lambda: heads.Categorical((D,), num_classes=3), lambda: counts() % 3),
}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_the_null_model_is_what_the_head_reaches_without_latents(name, missing):
    make, data = KINDS[name]
    head, x = make(), data()
    if missing:
        head = heads.Masked(head)
        x[torch.rand(N, D) < 0.3] = math.nan
    raw = torch.nn.Parameter(torch.zeros(head.raw_shape))
    optimizer = torch.optim.LBFGS(
        [raw, *head.parameters()], lr=0.5, max_iter=400, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = -head(raw.expand(N, *head.raw_shape)).log_prob(x).mean()
        value.backward()
        return value

    optimizer.step(loss)
    reached = -float(loss().detach())
    found = float(head.marginal(x).log_prob(x).mean())
    # Half counts, and a median of an even number, are near the best rather than at it.
    assert reached - 0.02 < found < reached + 0.05


def test_the_null_model_of_zero_inflated_counts_is_above_that_without():
    x = inflated()
    plain = heads.NegativeBinomial((D,), library=LIBRARY).marginal(x).log_prob(x).mean()
    fn = heads.ZeroInflatedNegativeBinomial((D,), library=LIBRARY).marginal(x)
    assert fn.log_prob(x).mean() > plain + 0.1


def test_a_masked_head_takes_independent_elements_alone():
    with pytest.raises(ArgumentError, match="Masked: expected a head of independent elements"):
        heads.Masked(heads.FullNormal(2))


def test_a_masked_calibrated_head_scores_what_was_seen_in_both_modes():
    decoder = MLP(2, heads.Masked(heads.Normal((D,))), hidden=[4])
    net = Calibrated(decoder)
    z, x = torch.randn(5, 2), torch.randn(5, D)
    x[0] = math.nan
    x[1, 0] = math.nan
    for mode in (True, False):
        fn = net.train(mode)(z)
        found = fn.log_prob(x)
        assert found.isfinite().all()
        assert found[0] == 0
        if mode:
            torch.testing.assert_close(fn.expand((4, 5)).log_prob(x), found.expand(4, 5))
            assert fn.held().log_prob(x).isfinite().all()


def test_a_masked_encoder_sees_zeros_and_the_mask():
    seen = {}

    def encoder(x, c):
        seen["x"], seen["c"] = x, c

    x = torch.tensor([[1.0, math.nan], [math.nan, 4]])
    MaskedEncoder(encoder, event_dim=1)(x, "c")
    assert seen["x"].tolist() == [[1, 0, 1, 0], [0, 4, 0, 1]]
    assert seen["c"] == "c"
    images = torch.full((2, 1, 3, 3), math.nan)
    MaskedEncoder(encoder, event_dim=3)(images, None)
    assert seen["x"].shape == (2, 2, 3, 3)
