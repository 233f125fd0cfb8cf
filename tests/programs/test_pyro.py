"""Our programs in Pyro's own hands: SVI, Predictive, condition and do."""

from __future__ import annotations

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    SVI,
    JitTrace_ELBO,
    Predictive,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from torch import nn

from ppvae.errors import ContractError
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.programs import data_plate
from tests.pairs import build


def pair(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    model = VAE(MLP(2, heads.Normal((6,)), hidden=[16]), latent_dim=2)
    return model, AmortizedGuide(MLP(6, heads.DiagonalNormal(2), hidden=[16]))


@pytest.fixture(autouse=True)
def empty_store():
    pyro.clear_param_store()
    yield
    assert not pyro.get_param_store().keys()


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_svi_trains_the_model_and_the_guide(elbo):
    model, guide = pair()
    x = torch.randn(64, 6) @ torch.randn(6, 6)
    before = [p.detach().clone() for p in (*model.parameters(), *guide.parameters())]
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), elbo())
    losses = [svi.step(x) for _ in range(60)]
    after = [*model.parameters(), *guide.parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert sum(losses[-10:]) < sum(losses[:10])


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, RenyiELBO])
def test_svi_takes_the_slope_of_every_particle(elbo):
    model, guide = pair()
    x, slopes = torch.randn(8, 6), []
    programs = {
        "plain": (model, guide),
        "declared": tuple(partial(declared, name, p) for name, p in [("m", model), ("g", guide)]),
    }
    for first, second in programs.values():
        torch.manual_seed(0)
        loss = elbo(num_particles=3)
        with poutine.trace(param_only=True):
            loss.loss_and_grads(first, second, x)
        slopes.append([p.grad.clone() for p in (*model.parameters(), *guide.parameters())])
        model.zero_grad()
        guide.zero_grad()
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)
    pyro.clear_param_store()


def declared(name, program, x):
    pyro.module(name, program)
    return program(x)


def test_svi_with_a_compiled_elbo_is_refused():
    svi = SVI(*pair(), pyro.optim.Adam({"lr": 1e-2}), JitTrace_ELBO())
    with pytest.raises(ContractError, match="got one of Pyro's compiled ones"):
        svi.step(torch.randn(8, 6))


def test_svi_trains_programs_that_functions_give_their_columns():
    model, guide = pair()
    before = [p.detach().clone() for p in (*model.parameters(), *guide.parameters())]
    svi = SVI(
        lambda source, x: model(x),
        lambda source, x: guide(source),
        pyro.optim.Adam({"lr": 1e-2}),
        Trace_ELBO(),
    )
    svi.step(source=torch.randn(8, 6), x=torch.randn(8, 6))
    after = [*model.parameters(), *guide.parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_svi_moves_two_models_of_one_class_apart():
    (first, guide), (second, _) = pair(), pair(1)
    before = [p.detach().clone() for p in second.parameters()]
    svi = SVI(first, guide, pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO())
    svi.step(torch.randn(8, 6))
    assert all(torch.equal(a, b) for a, b in zip(before, second.parameters(), strict=True))


def test_svi_leaves_frozen_parameters_alone():
    model, guide = pair()
    model.requires_grad_(requires_grad=False)
    before = [p.clone() for p in model.parameters()]
    SVI(model, guide, pyro.optim.SGD({"lr": 1e-2}), Trace_ELBO()).step(torch.randn(8, 6))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_svi_sums_over_classes():
    made = build("jvae")
    before = [p.detach().clone() for p in made.guide.parameters()]
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    svi = SVI(made.model, made.guide, pyro.optim.Adam({"lr": 1e-2}), elbo)
    svi.step(made.batch["x"])
    after = made.guide.parameters()
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_svi_with_a_gp_is_refused():
    made = build("gpvae")

    def guide(x, **columns):
        return made.guide(x)

    svi = SVI(made.model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    given = {k: v for k, v in made.batch.items() if k in ("object", "view")}
    with pytest.raises(ContractError, match=r"got a GPPrior, which keeps a state .* ppvae.fit"):
        svi.step(made.batch["x"], **given)


def test_svi_of_a_function_with_a_data_plate_is_refused():
    def program(x):
        with data_plate(x):
            pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))

    svi = SVI(program, program, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    with pytest.raises(ContractError, match="make it a torch.nn.Module"):
        svi.step(torch.randn(3))


def test_tracing_a_program_shows_its_sites_alone():
    model, _ = pair()
    nodes = poutine.trace(model).get_trace(torch.randn(3, 6)).nodes
    assert {name for name, node in nodes.items() if node["type"] == "param"} == set()


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_draws_latents_and_data(parallel):
    model, guide = pair()
    x = torch.randn(5, 6)
    drawn = Predictive(guide, num_samples=7, parallel=parallel)(x)
    assert drawn["z"].shape == (7, 5, 2)
    replicated = Predictive(model, posterior_samples=drawn, parallel=parallel)(size=5)
    assert replicated["x"].shape == (7, 5, 6)


def test_condition_and_do_on_a_latent():
    model, _ = pair()
    z = torch.randn(4, 2)
    for change in (pyro.condition, pyro.do):
        trace = poutine.trace(change(model, data={"z": z})).get_trace(size=4)
        mean = trace.nodes["x"]["fn"].mean
        torch.testing.assert_close(mean, model.decoder(z).mean)
    held = poutine.trace(pyro.condition(model, data={"z": z})).get_trace(size=4)
    expected = dist.Normal(torch.zeros(2), 1.0).to_event(1).log_prob(z)
    torch.testing.assert_close(held.nodes["z"]["fn"].log_prob(z), expected)
    assert (
        not poutine.trace(pyro.do(model, data={"z": z}))
        .get_trace(size=4)
        .nodes["z"]["is_observed"]
    )
