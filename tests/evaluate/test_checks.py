"""Predictive checks and calibration: uniform on the model's own data, extreme on another's."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.evaluate import (
    amortization_gap,
    check_predictions,
    check_reconstructions,
    log_likelihood,
    simulation_based_calibration,
    uniformity,
)
from ppvae.evaluate.checks import SCALAR
from ppvae.evaluate.sites import observed_values, sites_of
from ppvae.evaluate.statistics import STATISTICS, area, contrast, edges, intensity
from ppvae.programs import batches, data_plate
from ppvae.runs.run import Run
from tests.evaluate.programs import D, GaussianGuide, LinearGaussian, Z, linear_run, pair_run
from tests.pairs import PLAIN

SUMS = {"mean": lambda x: x.mean(1), "largest": lambda x: x.amax(1), "spread": lambda x: x.std(1)}


def test_p_values_are_uniform_on_the_models_own_data():
    run = linear_run()
    found = check_predictions(run, {"x": run.model.draw(200)}, statistics=SUMS)
    for check in found.statistics.values():
        assert uniformity(check.p_values) > 1e-3
        assert 0.001 < check.p_value < 0.999
        assert check.coverage[0.9] == pytest.approx(0.9, abs=0.08)
    for element in found.pit.T:
        assert uniformity(element) > 1e-3
    for probability, coverage in found.coverage.items():
        assert coverage.shape == (D,)
        assert (coverage - probability).abs().max() < 0.13


@pytest.mark.parametrize("num_draws", [2, 4, 16])
def test_coverage_of_a_right_model_does_not_depend_on_the_number_of_draws(num_draws):
    run = linear_run()
    data = {"x": run.model.draw(2000)}
    found = check_predictions(
        run, data, statistics=SUMS, intervals=(0.5, 0.9), num_draws=num_draws, max_rows=None
    )
    for probability, coverage in found.coverage.items():
        assert float(coverage.mean()) == pytest.approx(probability, abs=0.03)
    for check in found.statistics.values():
        assert check.coverage[0.9] == pytest.approx(0.9, abs=0.03)


def test_p_values_are_extreme_on_data_from_another_model():
    run = linear_run()
    wide = run.model.bias.detach() + 2.5 * (run.model.draw(200) - run.model.bias.detach())
    found = check_predictions(run, {"x": wide}, statistics=SUMS)
    assert found.statistics["spread"].p_value < 0.01
    assert uniformity(found.statistics["spread"].p_values) < 1e-6
    assert found.coverage[0.9].max() < 0.75
    assert all(uniformity(element) < 1e-3 for element in found.pit.T)
    own = check_predictions(run, {"x": run.model.draw(200)}, statistics=SUMS)
    assert found.crps.mean() > 1.5 * own.crps.mean()
    assert found.interval_score[0.9].mean() > 1.5 * own.interval_score[0.9].mean()


def test_reconstructions_use_the_data_twice():
    run = linear_run()
    x = run.model.draw(200)
    given = check_reconstructions(run, {"x": x}, statistics=SUMS)
    free = check_predictions(run, {"x": x}, statistics=SUMS)
    p = given.statistics["mean"].p_values
    assert p.std() < free.statistics["mean"].p_values.std()
    assert given.crps.mean() < free.crps.mean()


@pytest.mark.parametrize("name", PLAIN)
def test_checks_work_for_every_model(name):
    run, data = pair_run(name)
    batch = next(batches(run.guide, data, data.num_rows))
    truth = list(observed_values(run, batch, sites_of(run, batch)).values())[-1]
    shape = tuple(truth.shape) if truth.dim() > 1 else (data.num_rows, 1)
    expected = STATISTICS if truth[0].numel() > 1 else SCALAR
    seen = int((~truth.isnan()).reshape(len(truth), -1).any(1).sum())
    for check in (check_predictions, check_reconstructions):
        found = check(run, data, num_draws=5)
        assert found.pit.shape == shape
        assert found.statistics.keys() == expected.keys()
        for statistic in found.statistics.values():
            assert statistic.replicated.shape == (5, seen)
        means = found.means()
        assert all(0 <= v <= 1 for k, v in means.items() if k.startswith(("p_value", "coverage")))
        assert all(0 <= v < math.inf for v in means.values())
    again = check_predictions(run, data, num_draws=5)
    once_more = check_predictions(run, data, num_draws=5)
    torch.testing.assert_close(once_more.pit, again.pit, rtol=0, atol=0, equal_nan=True)


def test_statistics_by_hand():
    image = torch.tensor([[0.0, 1.0], [1.0, 1.0]])[None, None]
    assert float(intensity(image)) == pytest.approx(0.75)
    assert float(area(image)) == pytest.approx(0.75)
    assert float(contrast(image)) == pytest.approx((0.75 * 0.25) ** 0.5)
    assert float(edges(image)) == pytest.approx(0.5 + 0.5)
    assert float(edges(image[..., 0, :])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [*[(s, 1.5) for s in [(3, 1), (1, 3), (1, 3, 1), (1, 1, 3), (3, 1, 1)]], ((1,), 0.0)],
)
def test_edges_are_those_of_the_dimensions_that_have_neighbours(shape, expected):
    x = torch.tensor([0.0, 1.0, -1.0])[: math.prod(shape)]
    assert edges(x.reshape(1, *shape)).item() == expected


class Events(LinearGaussian):
    """Events of the shape (D, 1)."""

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.bias.new_zeros(Z), 1.0).to_event(1))
            loc = (z @ self.weight.T + self.bias)[..., None]
            return pyro.sample("x", dist.Normal(loc, self.sigma).to_event(2), obs=x)


class EventsGuide(GaussianGuide):
    def forward(self, x):
        return super().forward(x[..., 0])


@pytest.mark.parametrize("check", [check_predictions, check_reconstructions])
def test_events_with_a_last_dimension_of_one_have_the_default_statistics(check):
    model = Events()
    run = Run(model, EventsGuide(model))
    found = check(run, {"x": model.draw(20).detach()}, num_draws=20)
    assert set(found.statistics) == set(STATISTICS)
    assert torch.isfinite(found.statistics["edges"].replicated).all()


class Level(nn.Module):
    """mu ~ N(0, 9) for all data, z_n ~ N(mu, 1), x_n ~ N(z_n, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x=None, *, size=None):
        mu = pyro.sample("mu", dist.Normal(self.zero, 3.0))
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


class LevelGuide(nn.Module):
    """q(mu) after many data with a mean of 2, and p(z | x, mu), or a shifted one."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(2.0))
        self.shift = shift

    def forward(self, x):
        mu = pyro.sample("mu", dist.Normal(self.loc, 0.5))
        with data_plate(x):
            pyro.sample("z", dist.Normal((x + mu) / 2 + self.shift, 0.5**0.5))


def test_calibration_simulates_with_what_was_learned_of_all_data():
    x = {"x": torch.zeros(4)}
    found = simulation_based_calibration(Run(Level(), LevelGuide()), x, num_datasets=160)
    assert set(found.pit) == {"z"}
    assert found.p_values["z"] > 1e-3
    assert found.data["x"].mean() == pytest.approx(2.0, abs=0.6)
    found = simulation_based_calibration(Run(Level(), LevelGuide(0.7)), x, num_datasets=160)
    assert found.p_values["z"] < 1e-3


def test_calibration_is_uniform_with_the_exact_guide():
    run = linear_run()
    found = simulation_based_calibration(run, {"x": torch.zeros(1, D)}, num_datasets=200)
    assert found.pit["z"].shape == (200, Z)
    assert found.p_values["z"].shape == (Z,)
    assert found.p_values["z"].min() > 1e-3
    # The simulated data are the model's.
    simulated = torch.as_tensor(found.data["x"])
    expected = run.model.covariance.diagonal().sqrt().detach()
    torch.testing.assert_close(simulated.std(0), expected, rtol=0.2, atol=0.1)


@pytest.mark.parametrize("wrong", [{"spread": 0.4}, {"spread": 2.5}, {"shift": 0.5}])
def test_calibration_finds_a_wrong_guide(wrong):
    found = simulation_based_calibration(linear_run(**wrong), {"x": torch.zeros(1, D)})
    assert found.p_values["z"].max() < 1e-3


@pytest.mark.parametrize("name", ["jvae", "gpvae", "ssvae, class and factors", "jtrvae"])
def test_calibration_works_for_classes_and_columns(name):
    run, data = pair_run(name)
    found = simulation_based_calibration(run, data, num_datasets=15, num_draws=4)
    for site, value in run.encode(data).items():
        if not site.endswith("_probs"):
            assert found.pit[site].shape == (15, *value.shape[1:])
            assert ((found.pit[site] >= 0) & (found.pit[site] <= 1)).all()


def test_the_gap_of_an_exact_guide_is_nil_and_of_a_shifted_one_what_it_costs():
    exact = linear_run()
    x = exact.model.draw(4)
    kept = [p.clone() for p in exact.guide.parameters()]
    found = amortization_gap(exact, {"x": x}, steps=20, max_rows=4)
    assert found.gap.abs().max() < 0.15
    assert all(torch.equal(a, b) for a, b in zip(kept, exact.guide.parameters(), strict=True))
    shifted = linear_run(shift=0.5)
    found = amortization_gap(shifted, {"x": x}, steps=150, learning_rate=1e-2, max_rows=4)
    evidence = log_likelihood(shifted, {"x": x}, num_particles=5000).log_likelihood
    lost = evidence - found.amortized
    assert (lost > 0.1).all()
    assert (found.gap > 0.8 * lost).all()


@pytest.mark.parametrize("name", ["gpvae", "jvae", "ssvae, class"])
def test_the_gap_works_for_any_guide_and_repeats(name):
    run, data = pair_run(name)
    found = amortization_gap(run, data, steps=3, max_rows=2)
    assert found.rows.tolist() == [0, 6]
    assert torch.isfinite(found.gap).all()
    assert torch.equal(found.gap, amortization_gap(run, data, steps=3, max_rows=2).gap)


def test_bad_input_is_refused():
    run, data = pair_run("vae, mlp")
    with pytest.raises(ValueError, match="num_draws: expected an integer >= 2; got 1"):
        check_predictions(run, data, num_draws=1)
    with pytest.raises(ValueError, match=r"site: expected one of the observed sites \['x'\]"):
        check_reconstructions(run, data, site="z")
    with pytest.raises(ValueError, match="statistic 'whole': expected one number per datum"):
        check_predictions(run, data, statistics={"whole": lambda x: x.mean()}, num_draws=2)
    with pytest.raises(ValueError, match="num_draws: expected an integer >= 2"):
        simulation_based_calibration(run, data, num_draws=1)
    with pytest.raises(ValueError, match="steps: expected an integer >= 1; got 0"):
        amortization_gap(run, data, steps=0)
