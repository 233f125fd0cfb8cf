"""Random pairs: with the same draws, the ELBO and its gradients are those of Pyro's estimators."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO

from ppvae.objectives import ELBO
from tests.random_pairs import Guide, Model, plan


def value_and_gradients(function, parameters):
    torch.manual_seed(1)
    value = function()
    gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return value.detach(), gradients


# The KL is not taken in closed form, as Pyro's two estimators do not.
@pytest.mark.parametrize("seed", range(60))
def test_the_elbo_and_its_gradients_are_those_of_pyro(seed):
    pyro.clear_param_store()
    torch.manual_seed(seed)
    pair = plan(seed)
    model, guide = Model(pair), Guide(pair)
    x, parameters = model.data(), [*model.parameters(), *guide.parameters()]
    objective = ELBO(analytic=False)(model, guide, num_data=len(x))
    objective.check({"x": x})
    summed = any(site.classes for site in pair.sites)
    theirs = (TraceEnum_ELBO if summed else Trace_ELBO)(max_plate_nesting=1)
    ours = value_and_gradients(lambda: objective({"x": x}).elbo.mean(), parameters)
    pyros = value_and_gradients(
        lambda: -theirs.differentiable_loss(model, guide, x) / len(x), parameters
    )
    torch.testing.assert_close(ours, pyros, rtol=1e-9, atol=1e-9)
    assert torch.isfinite(ours[0])


def test_the_random_pairs_are_of_many_kinds():
    pairs = [plan(seed) for seed in range(60)]
    sites = [site for pair in pairs for site in pair.sites]
    for kind in ("everywhere", "classes", "masked", "scale", "parents"):
        assert sum(bool(getattr(site, kind)) for site in sites) >= 10
    assert sum(list(pair.order) != sorted(pair.order) for pair in pairs) >= 10
    assert {pair.observed for pair in pairs} == {
        *("normal", "binary", "counts"),
        *("masked", "scaled", "two"),
    }
