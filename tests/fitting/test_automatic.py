"""Pyro's automatic guides on models of ours, as ``ppvae.fit`` takes them."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, autoguide
from pyro.nn import PyroModule, PyroSample
from torch import nn

import ppvae
from ppvae.errors import ContractError, RunError
from ppvae.evaluate.likelihood import log_likelihood
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.programs import check_pair, copied, data_plate
from ppvae.programs.automatic import program_of
from ppvae.testing import check_variant

NOISE = 0.5


class Regression(nn.Module):
    """w ~ N(0, I), x_n ~ N(c_n w, 1/4): conjugate."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(2))

    def forward(self, c, x=None, *, size=None):
        w = pyro.sample("w", dist.Normal(self.zero, 1.0).to_event(1))
        with data_plate(c, x, size=size):
            return pyro.sample("x", dist.Normal((c * w).sum(-1), NOISE), obs=x)


def data(rows: int = 24) -> dict[str, torch.Tensor]:
    c = torch.randn(rows, 2)
    return {"c": c, "x": c @ torch.tensor([1.0, -2.0]) + NOISE * torch.randn(rows)}


def conjugate(batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of p(w | all data)."""
    precision = torch.eye(2) + batch["c"].mT @ batch["c"] / NOISE**2
    covariance = precision.inverse()
    return covariance @ batch["c"].mT @ batch["x"] / NOISE**2, covariance


GUIDES = {
    "AutoNormal": autoguide.AutoNormal,
    "AutoDelta": autoguide.AutoDelta,
    "AutoDiagonalNormal": autoguide.AutoDiagonalNormal,
    "AutoMultivariateNormal": autoguide.AutoMultivariateNormal,
    "AutoLowRankMultivariateNormal": autoguide.AutoLowRankMultivariateNormal,
    "AutoIAFNormal": autoguide.AutoIAFNormal,
    "AutoStructured": lambda model: autoguide.AutoStructured(
        model, conditionals="normal", dependencies="linear"
    ),
}


@pytest.mark.parametrize("name", GUIDES)
def test_an_automatic_guide_has_the_elbo_of_pyro(name):
    model, batch = Regression(), data()
    guide = GUIDES[name](model)
    objective = ELBO(analytic=False)(model, guide, num_data=24)
    objective.check(batch)
    torch.manual_seed(1)
    ours = objective(batch).loss.detach() * 24
    torch.manual_seed(1)
    theirs = Trace_ELBO().differentiable_loss(lambda: model(**batch), lambda: guide(**batch))
    torch.testing.assert_close(ours, theirs.detach())


@pytest.mark.parametrize("name", ["AutoDelta", "AutoMultivariateNormal"])
def test_fit_finds_the_conjugate_posterior_in_mini_batches(name):
    model, batch = Regression(), data()
    guide = GUIDES[name](model)  # It has never run.
    run = ppvae.fit(
        model,
        guide,
        batch,
        ELBO(num_particles=4),
        epochs=50,
        batch_size=8,
        learning_rate=2e-1,
        schedule=lambda optimizer, steps: torch.optim.lr_scheduler.LinearLR(
            optimizer, 1.0, 0.0, total_iters=steps
        ),
        seed=0,
        progress=False,
        compile=False,
    )
    mean, covariance = conjugate(batch)
    found = run.encode(batch)["w"]
    assert not found.requires_grad
    torch.testing.assert_close(found, mean, rtol=0, atol=0.05)
    if name == "AutoMultivariateNormal":
        scale = guide.get_posterior().covariance_matrix.diagonal().sqrt()
        torch.testing.assert_close(scale, covariance.diagonal().sqrt(), rtol=0.2, atol=0)
        marginal = batch["c"] @ batch["c"].mT + NOISE**2 * torch.eye(24)
        evidence = dist.MultivariateNormal(torch.zeros(24), marginal).log_prob(batch["x"])
        estimate = log_likelihood(run, batch)
        assert float(estimate.elbo.sum()) == pytest.approx(float(evidence), abs=0.5)


def test_a_folder_of_a_run_is_loaded_into_a_guide_that_has_run(tmp_path):
    model, batch = Regression(), data()
    out = tmp_path / "run"
    fitted = ppvae.fit(
        model, autoguide.AutoNormal(model), batch, epochs=2, seed=0, progress=False, out=out
    )
    model = Regression()
    guide = autoguide.AutoNormal(model)
    with pytest.raises(RunError, match="AutoNormal has no weights until it has run: call"):
        ppvae.load(out, model, guide)
    check_pair(model, guide, {name: column[:3] for name, column in batch.items()})
    loaded = ppvae.load(out, model, guide)
    torch.testing.assert_close(loaded.encode(batch), fitted.encode(batch))


def test_an_automatic_guide_obeys_the_laws_and_keeps_its_model():
    model, batch = Regression(), data(12)
    guide = autoguide.AutoMultivariateNormal(model)
    check_variant(model, guide, batch)
    assert program_of(guide) is model
    copied(guide)
    assert program_of(guide) is model


class Bayesian(PyroModule):
    """w ~ N(0, I) as an attribute, x_n ~ N(c_n w, 1/4), as Pyro's regression is written."""

    def __init__(self) -> None:
        super().__init__()
        self.w = PyroSample(dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def forward(self, c, x=None, *, size=None):
        w = self.w
        with data_plate(c, x, size=size):
            return pyro.sample("x", dist.Normal((c * w).sum(-1), NOISE), obs=x)


@pytest.mark.parametrize("parts", [False, True])
def test_a_module_of_pyro_with_an_automatic_guide(parts):
    model, batch = Bayesian(), data(12)
    guide = autoguide.AutoNormal(model)
    if parts:
        guide = autoguide.AutoGuideList(model)
        guide.append(autoguide.AutoNormal(poutine.block(model, expose=["w"])))
    terms = ELBO()(model, guide, num_data=12)(batch)
    assert torch.isfinite(terms.elbo).all()
    assert set(terms.kl) == {"w"}


def test_one_value_a_row_is_refused_in_mini_batches():
    model = VAE(MLP(2, heads.Normal((4,)), hidden=[8]), latent_dim=2)
    for guide in (autoguide.AutoNormal(model), autoguide.AutoLowRankMultivariateNormal(model)):
        with pytest.raises(ContractError, match="it learns a value per row of the batch"):
            ppvae.fit(model, guide, {"x": torch.randn(12, 4)}, epochs=1, seed=0, progress=False)

    check_pair(model, guide := autoguide.AutoNormal(model), {"x": torch.randn(9, 4)})
    with pytest.raises(ContractError, match="it learns a value per row of the batch"):
        ppvae.fit(model, guide, {"x": torch.randn(12, 4)}, epochs=1, seed=0, progress=False)


class Both(nn.Module):
    """An automatic guide for the global latent beside an encoder for the others."""

    def __init__(self, model) -> None:
        super().__init__()
        self.automatic = autoguide.AutoNormal(poutine.block(model, expose=["w"]))
        self.encoder = MLP(2, heads.DiagonalNormal(2), hidden=[8])

    def forward(self, x):
        self.automatic(x)
        with data_plate(x):
            pyro.sample("z", self.encoder(x))


class Shifted(nn.Module):
    """w ~ N(0, I), z_n ~ N(0, I), x_n ~ N(z_n + w, I)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(2))

    def forward(self, x=None, *, size=None):
        w = pyro.sample("w", dist.Normal(self.zero, 1.0).to_event(1))
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z + w, 1.0).to_event(1), obs=x)


def test_an_automatic_guide_may_be_a_part_of_a_guide():
    model, batch = Shifted(), {"x": torch.randn(20, 2)}
    guide = Both(model)
    run = ppvae.fit(model, guide, batch, epochs=2, batch_size=7, seed=0, progress=False)
    assert run.encode(batch)["w"].shape == (2,)
    assert not pyro.get_param_store().keys()
    objective = ELBO(analytic=False)(model, guide, num_data=20)
    torch.manual_seed(3)
    ours = objective(batch).elbo.mean().detach()
    torch.manual_seed(3)
    with pyro.settings.context(module_local_params=True):
        theirs = -Trace_ELBO().loss(model, guide, batch["x"]) / 20
    assert float(ours) == pytest.approx(theirs, rel=1e-4)


def test_a_laplace_approximation_which_training_leaves_a_point_is_refused():
    model = Regression()
    with pytest.raises(ContractError, match="is a point until its laplace_approximation"):
        check_pair(model, autoguide.AutoLaplaceApproximation(model), data())


def test_guides_that_run_the_model_are_refused():
    model = Regression()
    with pytest.raises(ContractError, match="got one that runs the model"):
        check_pair(model, autoguide.AutoNormalMessenger(model), data())
