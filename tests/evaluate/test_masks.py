"""Observations left out by a mask: what stands in their place must not count anywhere."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from ppvae import evaluate
from ppvae.data import Splits
from ppvae.errors import ArgumentError
from ppvae.evaluate.predict import predict
from ppvae.gp import FourierFeatures, GPPrior, ObjectTable
from ppvae.guides import AmortizedGuide, GPGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.programs import data_plate
from ppvae.report.gallery import Subject, common, unseen
from ppvae.runs import Run

N, D = 40, 3


class Halves(nn.Module):
    """Two observed sites, of which some rows or elements of the second are masked."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (MLP(2, heads.Normal((D,)), hidden=[8]) for _ in range(2))
        self.register_buffer("zero", torch.zeros(2))

    def forward(self, seen: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        with data_plate(seen, a, b):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            pyro.sample("a", self.first(z), obs=a)
            return self.observe(self.second(z), seen > 0, b)

    def observe(self, fn: dist.TorchDistribution, seen: Tensor, b: Tensor | None) -> Tensor:
        with poutine.mask(mask=seen[:, 0]):
            return pyro.sample("b", fn, obs=b)


class Elements(Halves):
    def observe(self, fn: dist.TorchDistribution, seen: Tensor, b: Tensor | None) -> Tensor:
        return pyro.sample("b", dist.Normal(fn.mean, 1.0).mask(seen).to_event(1), obs=b)


class Counted(Halves):
    """Whole numbers, which cannot be NaN."""

    def observe(self, fn: dist.TorchDistribution, seen: Tensor, b: Tensor | None) -> Tensor:
        rates = dist.Poisson(fn.mean.exp()).mask(seen).to_event(1)
        return pyro.sample("b", rates, obs=None if b is None else b.round().abs().long())


class HalvesGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = MLP(D, heads.DiagonalNormal(2), hidden=[8])

    def forward(self, a: Tensor) -> None:
        with data_plate(a):
            pyro.sample("z", self.encoder(a))


@pytest.mark.parametrize("model", [Halves, Elements, Counted])
def test_what_is_masked_does_not_count(model):
    run = Run(model(), HalvesGuide())
    seen = (torch.rand(N, D) < 0.6).to(torch.get_default_dtype())
    seen[:2] = torch.tensor([[0.0], [1.0]])
    if model is Halves:
        seen = seen[:, :1].expand(N, D)
    data = {"a": torch.randn(N, D), "b": 3 * torch.rand(N, D), "seen": seen}
    other = {**data, "b": torch.where(seen > 0, data["b"], 7.0)}
    for check in (evaluate.check_predictions, evaluate.check_reconstructions):
        found, same = (check(run, rows, num_draws=16, site="b") for rows in (data, other))
        assert found.means() == same.means()
        assert torch.equal(found.pit.isnan(), seen == 0)
        # The first row has no element, and so no statistic.
        assert len(found.statistics["intensity"].observed) == int(seen.any(1).sum()) < N
    tree = evaluate.to_arviz(run, data, num_draws=2, unseen=None)
    assert torch.equal(torch.as_tensor(tree["observed_data"]["b"].isnull().values), seen == 0)
    found, same = (run.predict(rows, site="b", num_draws=16, ranks=True) for rows in (data, other))
    assert torch.equal(found.truth.isnan(), seen == 0)
    assert torch.equal(found.ranks.isnan(), seen == 0)
    torch.testing.assert_close(found.truth, same.truth, equal_nan=True)
    torch.testing.assert_close(found.log_density, same.log_density)
    if model is not Counted:
        assert torch.equal(Subject(run, data).observed["b"].isnan(), seen == 0)
        assert [name for name, _, _ in common.reconstructions(Subject(run, data))] == [
            "reconstructions_a.png",
            "reconstructions_b.png",
        ]


def test_rows_of_which_all_is_masked_are_no_data_to_check():
    run = Run(Halves(), HalvesGuide())
    data = {"a": torch.randn(4, D), "b": torch.randn(4, D), "seen": torch.zeros(4, D)}
    with pytest.raises(ArgumentError, match="all are missing or masked.*site="):
        evaluate.check_predictions(run, data, num_draws=4)
    assert evaluate.check_predictions(run, data, num_draws=4, site="a").crps.isfinite().all()


class Tenth(VAE):
    """A model of a tenth of its column."""

    def forward(self, x: Tensor | None = None, **columns: Tensor) -> Tensor:
        return super().forward(None if x is None else x / 10, **columns)


def test_predictions_of_computed_values_are_measured_against_those():
    prior = GPPrior(ObjectTable(2, 2), FourierFeatures(), latent_dim=2)
    encoder = MLP(D, heads.DiagonalNormal(2), hidden=[4])
    model = Tenth(MLP(2, heads.Normal((D,)), hidden=[4]), prior=prior)
    guide = GPGuide(encoder, prior)
    rows = {"object": torch.arange(6) % 2, "view": torch.linspace(0, 5, 6)}
    data = {"x": 20 + torch.randn(6, D), **rows}
    subject = Subject(Run(model, guide), Splits(data, None, data))
    prior.prepare(subject.splits.train)
    prior.settle(guide, subject.splits.train)
    found = unseen.unseen_metrics(subject)
    mean = predict(model, data).mean
    expected = (mean - data["x"].to(mean) / 10).square().mean()
    assert found["test_mse"] == pytest.approx(float(expected))
    # The column's own mean and views are no measure of its tenth.
    assert not {"mse_nearest_view", "mse_train_mean"} & found.keys()
    assert unseen.predictions(subject)
    plain = Subject(Run(VAE(model.decoder, prior=prior), guide), subject.splits)
    assert {"mse_nearest_view", "mse_train_mean"} <= unseen.unseen_metrics(plain).keys()


def test_information_of_a_flow_without_a_method_sample():
    class Called(dist.TransformedDistribution):
        """Draws by a call alone, as a flow of pyro.contrib.zuko."""

        def sample(self, *args: object) -> Tensor:
            raise NotImplementedError

    class Flow(nn.Module):
        def forward(self, x: Tensor) -> dist.TorchDistribution:
            base = dist.Normal(x[:, :2], 0.2).to_event(1)
            return Called(base, [dist.transforms.AffineTransform(0.0, 2.0, event_dim=1)])

    run = Run(VAE(MLP(2, heads.Normal((D,))), latent_dim=2), AmortizedGuide(Flow()))
    x = torch.randn(50, D)
    bounds = evaluate.information(run, {"x": x})
    assert 1 < bounds.lower <= min(bounds.upper, bounds.limit)
