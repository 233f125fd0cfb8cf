"""Evaluation of pairs that users write: global latents, flows, observed sites of any kind."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ppvae import evaluate
from ppvae.data import Dataset, Splits
from ppvae.errors import ArgumentError, ContractError, DataError
from ppvae.guides import AmortizedGuide, ConditionalGuide
from ppvae.models import VAE, ConditionalVAE
from ppvae.nets import MLP, Conditions, OneHot, heads
from ppvae.programs import data_plate, decode, encode
from ppvae.runs.run import Run
from tests.pairs import build

N = 300
VARIANCE = 1 / (1 / 9 + N)


class Mean(nn.Module):
    """mu ~ N(0, 9), x_n ~ N(mu, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        mu = pyro.sample("mu", dist.Normal(self.zero, 3.0))
        with data_plate(x, size=size):
            return pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


class MeanGuide(nn.Module):
    """The exact posterior of mu."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.loc = nn.Parameter(VARIANCE * x.sum())

    def forward(self, x: Tensor) -> None:
        pyro.sample("mu", dist.Normal(self.loc, VARIANCE**0.5))


def mean_run() -> tuple[Run, Tensor]:
    x = 2 + torch.randn(N)
    return Run(Mean(), MeanGuide(x), config={"data": {"rows": {"train": N}}}), x


def test_a_global_latent_is_charged_once_and_encoded_once():
    run, x = mean_run()
    covariance = torch.eye(N).double() + 9
    joint = torch.distributions.MultivariateNormal(torch.zeros(N).double(), covariance)
    evidence = float(joint.log_prob(x.double())) / N
    data = {"x": x}
    estimate = evaluate.log_likelihood(run, data, num_particles=64, batch_size=50)
    assert estimate.means()["elbo"] == pytest.approx(evidence, abs=0.01)
    assert evaluate.summary(run, data)["elbo"] == pytest.approx(evidence, abs=0.01)
    fitted = evaluate.quality_of_fit(run, data, batch_size=50)
    assert float(fitted.elbo.mean()) == pytest.approx(evidence, abs=0.02)
    assert torch.equal(fitted.kl["mu"], fitted.kl["mu"][:1].expand(N))
    # The predictive density of a datum given all others, but for its own small part in mu.
    predictive = dist.Normal(run.guide.loc.detach(), (1 + VARIANCE) ** 0.5).log_prob(x).mean()
    found = estimate.means()["log_likelihood"]
    assert found == pytest.approx(float(predictive), abs=0.01)
    # Few rows of many: what they are charged is N's part, not the rows'.
    few = evaluate.quality_of_fit(run, {"x": x[:10]})
    torch.testing.assert_close(few.kl["mu"][0], fitted.kl["mu"][0])
    encoded = run.encode(data, batch_size=50)["mu"]
    assert encoded.shape == ()
    torch.testing.assert_close(encoded, run.guide.loc.detach())
    assert run.decode({"mu": encoded}, x=x)["x"].shape == (N,)
    tree = evaluate.to_arviz(run, {"x": x[:7]}, num_draws=5, chunk=3)
    assert tree["posterior"]["mu"].dims == ("chain", "draw")
    with pytest.raises(ArgumentError, match="a guide of global latents alone"):
        evaluate.amortization_gap(run, data, steps=1, max_rows=1)


class PerBatch(nn.Module):
    def forward(self, x: Tensor) -> None:
        pyro.sample("mu", dist.Normal(x.mean(), 1.0))


def test_a_global_posterior_that_differs_between_batches_is_no_posterior():
    run = Run(Mean(), PerBatch())
    x = torch.arange(6.0)
    assert run.encode({"x": x})["mu"] == x.mean()
    with pytest.raises(ContractError, match="got 2 that differ from batch to batch"):
        run.encode({"x": x}, batch_size=3)


class Factors(nn.Module):
    """W ~ N(0, I), z_n ~ N(0, I), x_n ~ N(z_n W, 0.25)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(2, 5))

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        weights = pyro.sample("W", dist.Normal(self.zero, 1.0).to_event(2))
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero[:, 0], 1.0).to_event(1))
            loc = (z.unsqueeze(-2) @ weights).squeeze(-2)
            return pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)


class FactorsGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.randn(2, 5))
        self.encoder = MLP(5, heads.DiagonalNormal(2), hidden=(8,))

    def forward(self, x: Tensor) -> None:
        pyro.sample("W", dist.Normal(self.loc, 0.1).to_event(2))
        with data_plate(x):
            pyro.sample("z", self.encoder(x))


def test_refining_on_one_datum_leaves_what_all_data_share():
    run = Run(Factors(), FactorsGuide(), config={"data": {"rows": {"train": 40}}})
    x = torch.randn(40, 5)
    gap = evaluate.amortization_gap(run, {"x": x}, steps=30, max_rows=2, learning_rate=1e-2)
    # Charged whole to one datum, W's KL alone would be about 20 nats.
    whole = 0.5 * (run.guide.loc.detach().square().sum() + 10 * (0.01 - 1 - math.log(0.01)))
    elbo = evaluate.log_likelihood(run, {"x": x}).elbo
    assert float(gap.amortized.min()) > float(elbo.min()) - 0.5 * float(whole)
    assert (gap.gap > -0.1).all()
    run.encode({"x": x})
    assert evaluate.check_reconstructions(run, {"x": x}, num_draws=4).crps.shape == (40,)
    assert evaluate.elbo_surgery(run, {"x": x}).rate > 0


class Flow(nn.Module):
    """q(z | x), a conditional autoregressive flow: no mean in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.base = nn.Linear(8, 4)
        self.step = transforms.conditional_affine_autoregressive(2, 8, hidden_dims=[16])

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        h = self.body(x)
        loc, raw = self.base(h).chunk(2, -1)
        base = dist.Normal(loc, heads.positive(raw)).to_event(1)
        return dist.ConditionalTransformedDistribution(base, [self.step]).condition(h)


def test_a_flow_is_encoded_by_draws_that_repeat():
    run = Run(VAE(MLP(2, heads.Normal((6,)), hidden=[8]), latent_dim=2), AmortizedGuide(Flow()))
    x = torch.randn(20, 6)
    state = torch.random.get_rng_state()
    z = run.encode({"x": x})["z"]
    assert torch.equal(z, run.encode({"x": x})["z"])
    assert torch.equal(state, torch.random.get_rng_state())
    with torch.no_grad():
        draws = run.guide.encoder(x).sample((4096,))
    error = draws.std(0) * (1 / 256 + 1 / 4096) ** 0.5
    assert ((z - draws.mean(0)).abs() < 5 * error).all()
    assert all(math.isfinite(v) for v in evaluate.summary(run, {"x": x}).values())
    assert run.decode({"z": z})["x"].shape == (20, 6)
    assert evaluate.to_arviz(run, {"x": x}, num_draws=3)["posterior"]["z"].shape == (1, 3, 20, 2)


def test_a_flow_of_zuko_is_encoded_and_exported():
    pytest.importorskip("zuko")
    pair = build("zuko, flow posterior")
    run, x = Run(pair.model, pair.guide), pair.batch["x"]
    z = run.encode({"x": x})["z"]
    assert torch.equal(z, run.encode({"x": x})["z"])
    with torch.no_grad():
        draws = run.guide.flow(x.flatten(1)).sample((4096,))
    error = draws.std(0) * (1 / 256 + 1 / 4096) ** 0.5
    assert ((z - draws.mean(0)).abs() < 5 * error).all()
    assert all(math.isfinite(v) for v in evaluate.summary(run, {"x": x}).values())
    tree = evaluate.to_arviz(run, {"x": x}, num_draws=3)
    assert tree["posterior"]["z"].shape == (1, 3, *z.shape)


class Named(nn.Module):
    """An observed site that is not called as its column, and a deterministic one."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = MLP(2, heads.Normal((6,)), hidden=[8])
        self.register_buffer("zero", torch.zeros(2))

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            pyro.deterministic("norm", z.norm(dim=-1), event_dim=0)
            return self.observe(z, x)

    def observe(self, z: Tensor, x: Tensor | None) -> Tensor:
        return pyro.sample("spectrum", self.decoder(z), obs=x)


class Share(Named):
    def observe(self, z: Tensor, x: Tensor | None) -> Tensor:
        share = None if x is None else x / x.sum(-1, keepdim=True)
        return pyro.sample("share", self.decoder(z), obs=share)


class Slices(Named):
    def observe(self, z: Tensor, x: Tensor | None) -> Tensor:
        mean = self.decoder(z).mean
        parts = [
            pyro.sample(
                f"x{t}", dist.Normal(mean[..., t], 1.0), obs=None if x is None else x[..., t]
            )
            for t in range(3)
        ]
        return torch.stack(parts, -1)


SITES = {Named: ["spectrum"], Share: ["share"], Slices: ["x0", "x1", "x2"]}


@pytest.mark.parametrize("kind", SITES)
def test_observed_sites_of_any_name_and_number(kind):
    model = kind()
    run = Run(model, AmortizedGuide(MLP(6, heads.DiagonalNormal(2), hidden=[8])))
    x = torch.rand(12, 6) + 0.1
    expected = {
        "spectrum": x,
        "share": x / x.sum(-1, keepdim=True),
        **{f"x{t}": x[:, t] for t in range(6)},
    }
    z = run.encode({"x": x})["z"]
    decoded = run.decode({"z": z})
    assert list(decoded) == SITES[kind]
    mean = model.decoder(z).mean.detach()
    for name, value in decoded.items():
        torch.testing.assert_close(value, mean[:, int(name[1])] if name[0] == "x" else mean)
        # An observed column is no matter: what is decoded is what the latents say.
        torch.testing.assert_close(run.decode({"z": z}, x=x)[name], value)
    tree = evaluate.to_arviz(run, {"x": x}, num_draws=3, unseen=None)
    observed = tree["observed_data"]
    assert list(observed) == SITES[kind]
    for name in SITES[kind]:
        np.testing.assert_allclose(observed[name], expected[name], rtol=1e-6)
        assert name in tree["prior_predictive"]
    assert list(tree["log_likelihood"]) == (SITES[kind] if len(SITES[kind]) == 1 else ["joint"])
    for name in SITES[kind]:
        for check in (evaluate.check_predictions, evaluate.check_reconstructions):
            found = check(run, {"x": x}, num_draws=8, site=name)
            assert math.isfinite(found.means()["crps"])
            first = next(iter(found.statistics.values())).observed
            torch.testing.assert_close(first, expected[name].reshape(12, -1).mean(1))
        prediction = run.predict({"x": x}, site=name, num_draws=16)
        assert prediction.mean.shape == expected[name].shape
        assert prediction.log_density.shape == (12,)
    if kind is Named:
        assert evaluate.simulation_based_calibration(
            run, {"x": x}, num_datasets=4, num_draws=4
        ).pit["z"].shape == (4, 2)
    else:
        with pytest.raises(ArgumentError, match=r"computed from columns.*obs=x"):
            evaluate.simulation_based_calibration(run, {"x": x}, num_datasets=4, num_draws=4)


class Always(Named):
    """A model that cannot be run without its data."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def test_a_model_that_always_observes_says_what_to_change():
    run = Run(Always(), AmortizedGuide(MLP(6, heads.DiagonalNormal(2), hidden=[8])))
    x = torch.rand(5, 6)
    assert evaluate.check_reconstructions(run, {"x": x}, num_draws=4).crps.shape == (5,)
    with pytest.raises(ContractError, match="the default None, and pass obs=None where it is"):
        evaluate.check_predictions(run, {"x": x}, num_draws=4)


class Inner(nn.Module):
    """A site in a plate of its own within the data's."""

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            with pyro.plate("parts", 4, dim=-2):
                z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(z.sum(-2), 1.0), obs=x)


class InnerGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.arange(4.0)[:, None])

    def forward(self, x: Tensor) -> None:
        with data_plate(x), pyro.plate("parts", 4, dim=-2):
            pyro.sample("z", dist.Normal(self.gain * x, 1.0))


def test_rows_come_first_whatever_plates_there_are():
    run, x = Run(Inner(), InnerGuide()), torch.arange(5.0)
    z = run.encode({"x": x}, batch_size=2)["z"]
    assert torch.equal(z, x[:, None] * torch.arange(4.0))
    assert torch.equal(run.decode({"z": z})["x"], z.sum(-1))


def test_one_row_without_its_dimension_is_refused():
    spec = {"columns": {"x": {"shape": [6]}}, "rows": {"train": 5}}
    run = Run(Named(), AmortizedGuide(MLP(6, heads.DiagonalNormal(2))), config={"data": spec})
    x = torch.rand(5, 6)
    assert run.encode({"x": x[:1]})["z"].shape == (1, 2)
    for call in (run.encode, lambda data: evaluate.summary(run, data)):
        with pytest.raises(ArgumentError, match=r"expected shape \(N, 6\).*x\[None\]"):
            call({"x": x[0]})


def test_a_run_takes_all_that_fit_takes_as_one_dataset():
    names = [f"f{i}" for i in range(6)]
    spec = {"columns": {"x": {"shape": [6], "names": names}}, "rows": {"train": 5}}
    run = Run(Named(), AmortizedGuide(MLP(6, heads.DiagonalNormal(2))), config={"data": spec})
    x = torch.rand(5, 6)
    expected = run.encode({"x": x})["z"]
    frame = pd.DataFrame(x.numpy(), columns=names)
    for data in (x, x.numpy(), Dataset({"x": x}), frame, frame[names[::-1]]):
        torch.testing.assert_close(run.encode(data)["z"], expected)
    for splits in (Splits(x, x), {"train": {"x": x}, "test": {"x": x}}):
        with pytest.raises(DataError, match=r"one dataset; got splits.*splits\.test"):
            run.encode(splits)
    with pytest.raises(DataError, match="torch.cat"):
        run.encode(DataLoader(TensorDataset(x)))


@pytest.mark.parametrize("wrong", [-1, 7])
def test_labels_out_of_range_are_refused_by_all_that_looks_at_data(wrong):
    conditions = Conditions(OneHot(3))
    model = ConditionalVAE(MLP([2, 3], heads.Normal((6,)), hidden=[8]), conditions, latent_dim=2)
    guide = ConditionalGuide(MLP([6, 3], heads.DiagonalNormal(2), hidden=[8]), conditions)
    run, y = Run(model, guide), torch.arange(9) % 3
    data = {"x": torch.randn(9, 6), "y": y}
    assert evaluate.check_predictions(run, data, num_draws=3).crps.shape == (9,)
    data["y"] = torch.cat([y[:-1], torch.tensor([wrong])])
    for call in (
        lambda: evaluate.check_predictions(run, data, num_draws=3),
        lambda: evaluate.check_reconstructions(run, data, num_draws=3),
        lambda: evaluate.to_arviz(run, data, num_draws=3),
        lambda: evaluate.summary(run, data),
    ):
        with pytest.raises(ValueError, match=r"y: expected|expected.*class"):
            call()


def test_predictions_take_arrays_lists_and_numbers_and_models_without_columns():
    vae = VAE(MLP(2, heads.Normal((6,)), hidden=[8]), latent_dim=2)
    assert evaluate.predict.predict(vae, {}).mean.shape == (1, 6)
    assert evaluate.predict.predict(vae, {}, rows=3).mean.shape == (3, 6)
    conditions = Conditions(OneHot(3))
    model = ConditionalVAE(MLP([2, 3], heads.Normal((6,)), hidden=[8]), conditions, latent_dim=2)
    first = evaluate.predict.predict(model, {"y": torch.tensor([1])})
    for y in ([1], np.array([1]), 1, (1,)):
        assert torch.equal(evaluate.predict.predict(model, {"y": y}).mean, first.mean)
    with pytest.raises(ArgumentError, match="y: expected a column"):
        evaluate.predict.predict(model, {})
    with pytest.raises(ArgumentError, match="expected columns of one length"):
        evaluate.predict.predict(model, {"y": [1, 2], "x": torch.zeros(3, 6)})
    with pytest.raises(ArgumentError, match="expected one of the model's sites"):
        evaluate.predict.predict(model, {"y": [1]}, site="picture")


class Median(nn.Module):
    """A guide without any mean."""

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            pyro.sample("z", dist.Cauchy(x, 1.0))


def test_a_distribution_without_a_mean_is_encoded_by_its_mode():
    x = torch.arange(3.0)
    assert torch.equal(encode(Median(), {"x": x})["z"], x)


def test_categories_are_decoded_to_the_most_probable_one():
    head = heads.Categorical((6,), num_classes=4)
    model = VAE(MLP(2, head, hidden=[8]), latent_dim=2)
    z = torch.randn(5, 2)
    decoded = decode(model, {"z": z})
    assert decoded["x_probs"].shape == (5, 6, 4)
    torch.testing.assert_close(decoded["x_probs"].sum(-1), torch.ones(5, 6))
    assert torch.equal(decoded["x"], decoded["x_probs"].argmax(-1))
    prediction = evaluate.predict.predict(model, {}, rows=5)
    assert torch.equal(prediction.mean, prediction.probs.argmax(-1))
    assert prediction.scale.isnan().all()
