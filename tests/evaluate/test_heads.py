"""Every likelihood head goes through all that follows a fit, in both precisions."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ppvae import evaluate
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.runs.run import Run

D, N = 5, 9

UNIT = lambda: torch.rand(N, D)  # noqa: E731
REAL = lambda: torch.randn(N, D)  # noqa: E731
COUNTS = lambda: torch.poisson(3 * torch.rand(N, D))  # noqa: E731

HEADS: dict[str, tuple[Callable[[], heads.Head], Callable[[], Tensor]]] = {
    "Bernoulli": (lambda: heads.Bernoulli((D,)), UNIT),
    "ContinuousBernoulli": (lambda: heads.ContinuousBernoulli((D,)), UNIT),
    "Normal, shared scale": (lambda: heads.Normal((D,)), REAL),
    "Normal, fixed scale": (lambda: heads.Normal((D,), heads.Fixed(0.5)), REAL),
    "Normal, scale of each element": (lambda: heads.Normal((D,), heads.PerElement()), REAL),
    "Laplace": (lambda: heads.Laplace((D,)), REAL),
    "Poisson": (lambda: heads.Poisson((D,)), COUNTS),
    "NegativeBinomial": (lambda: heads.NegativeBinomial((D,)), COUNTS),
    "Categorical": (
        lambda: heads.Categorical((D,), num_classes=4),
        lambda: torch.randint(0, 4, (N, D)).float(),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_goes_through_all_that_follows_a_fit(name, dtype):
    make, data = HEADS[name]
    x = data().to(dtype)
    model = VAE(MLP(2, make(), hidden=[8]), latent_dim=2).to(dtype)
    guide = AmortizedGuide(MLP(D, heads.DiagonalNormal(2), hidden=[8])).to(dtype)
    run = Run(model, guide)
    columns = {"x": x}

    summary = evaluate.summary(run, columns, num_particles=24)
    assert all(math.isfinite(value) for value in summary.values())
    decoded = run.decode(run.encode(columns))
    assert decoded["x"].shape == x.shape
    assert all(torch.isfinite(value).all() for value in decoded.values())

    prediction = run.predict(columns, num_draws=20)
    assert torch.isfinite(prediction.mean).all()
    assert torch.isfinite(prediction.log_density).all()
    if name == "Categorical":  # Documented: categories have no scale and no interval.
        assert prediction.scale.isnan().all()
        torch.testing.assert_close(prediction.probs.sum(-1), torch.ones(N, D, dtype=dtype))
    else:
        assert decoded["x"].dtype == prediction.mean.dtype == dtype
        assert (prediction.scale > 0).all()
        assert (prediction.lower <= prediction.upper).all()
        fn = model.decoder(torch.zeros(1, 2, dtype=dtype))
        drawn = fn.sample((4000,))
        error = drawn.std(0) / 4000**0.5
        assert ((drawn.mean(0) - fn.mean).abs() <= 5 * error + 1e-6).all()

    for check in (evaluate.check_predictions, evaluate.check_reconstructions):
        assert all(math.isfinite(v) for v in check(run, columns, num_draws=8).means().values())
    tree = evaluate.to_arviz(run, columns, num_draws=4)
    assert bool(tree["log_likelihood"]["x"].notnull().all())
    assert tree["posterior_predictive"]["x"].shape == (1, 4, N, D)

    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(model.state_dict())
    again = Run(other, guide).decode(run.encode(columns))
    assert torch.equal(again["x"], decoded["x"])
