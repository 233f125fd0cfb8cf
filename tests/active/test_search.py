"""Searches: ask and tell, bad instruments, resuming, moves, batches, and BoTorch's functions."""

from __future__ import annotations

import json
import math
import sys

import pytest
import torch
from torch import Tensor

from ppvae.active import (
    DeepKernelSurrogate,
    Search,
    Surrogate,
    acquisition_named,
    botorch_model,
    calibration,
    explore,
)
from ppvae.active.acquisition import Asked
from ppvae.active.moves import Moves
from ppvae.errors import ArgumentError, MissingPackageError, RunError
from ppvae.zoo.surrogates import deep_kernel_surrogate, inputs_of

SIDE = 6
POSITION = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).double()


def places() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SIDE**2, 1, 2, 3, generator=generator, dtype=torch.float64)


def truth(x: Tensor) -> Tensor:
    return x.flatten(1)[:, 0] + 0.5 * x.flatten(1)[:, 1].sin()


def surrogate(**options) -> DeepKernelSurrogate:
    settings = {"ensemble": 2, "steps": 10, "first_steps": 10, "components": 4, "dim": 2}
    return deep_kernel_surrogate(places(), **{**settings, **options})


class Nearest(Surrogate):
    """A model without parameters: the nearest measurement, the surer the nearer."""

    def fit(self, x, y, noise=None):
        self.x, self.y = x, y

    def joint(self, x):
        gap, nearest = torch.cdist(x.double(), self.x.double()).min(-1)
        return self.y[nearest].double(), torch.diag_embed(gap)[..., None, :, :]

    def noise_variance(self):
        return torch.tensor([0.01], dtype=torch.float64)


def started(search: Search) -> Search:
    y = truth(places())
    for place in search.ask():
        search.tell(place, float(y[place]))
    return search


def test_a_search_finds_the_best_place_among_few():
    pytest.importorskip("botorch")
    y = truth(places())
    found = explore(
        surrogate(first_steps=40), places(), lambda i: float(y[i]), "ucb", 18, start=6, seed=1
    )
    assert len(found.steps) == 18
    assert len(set(found.places)) == 18
    assert y[found.best] >= y.sort().values[-2]


def test_what_is_asked_for_stays_until_it_is_told():
    search = started(Search(Nearest(), places(), "max-variance", start=4, batch=3))
    asked = search.ask()
    assert len(set(asked)) == 3
    assert search.ask() == asked
    search.tell(asked[0], 1.0)
    assert search.ask() == asked[1:]
    assert not set(asked) & set(search.places[:4])


@pytest.mark.parametrize(
    ("stop", "acquisition"), [(3, "thompson"), (5, "thompson"), (5, "random")]
)
def test_a_search_goes_on_where_it_stopped_to_the_last_bit(tmp_path, stop, acquisition):
    if acquisition == "thompson":
        pytest.importorskip("botorch")
    y = truth(places())

    def run(folder, budget):
        return explore(
            surrogate(),
            places(),
            lambda i: float(y[i]),
            acquisition,
            budget,
            start=3,
            folder=folder,
        )

    entire = run(tmp_path / "entire", 8)
    run(tmp_path / "parts", stop)
    found = run(tmp_path / "parts", 8)
    assert found.steps == entire.steps
    for a, b in zip(
        entire.surrogate.state_dict().values(), found.surrogate.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert len(list((tmp_path / "parts").glob("surrogate-*"))) == 1


def test_a_folder_of_another_search_or_a_damaged_one_is_refused(tmp_path):
    search = started(Search(Nearest(), places(), "random", start=3, folder=tmp_path))
    with pytest.raises(RunError, match="the same candidates, seed"):
        Search(Nearest(), places() + 1, "random", start=3, seed=2, folder=tmp_path).load()
    state = json.loads((tmp_path / "search.json").read_text())
    state["steps"][0]["place"] = 999
    (tmp_path / "search.json").write_text(json.dumps(state))
    with pytest.raises(RunError, match="damaged"):
        search.load()
    (tmp_path / "search.json").write_text("{")
    with pytest.raises(RunError, match="expected JSON"):
        search.load()
    with pytest.raises(ArgumentError, match="a search with a folder"):
        Search(Nearest(), places(), "random").load()


def test_another_surrogate_or_other_moves_are_refused(tmp_path):
    search = started(Search(surrogate(), places(), "random", start=5, folder=tmp_path))
    search.update()
    with pytest.raises(RunError, match=r"the surrogate that the search was begun with.*ensemble"):
        Search(surrogate(ensemble=3), places(), "random", start=5, folder=tmp_path).load()
    moves = Moves(POSITION, price=0.5)
    with pytest.raises(RunError, match="the same moves"):
        Search(surrogate(), places(), "random", start=5, folder=tmp_path, moves=moves).load()
    state = json.loads((tmp_path / "search.json").read_text())
    del state["settings"]["moves"]  # As versions wrote it that did not note them.
    (tmp_path / "search.json").write_text(json.dumps(state))
    Search(surrogate(), places(), "random", start=5, folder=tmp_path, moves=moves).load()


def test_weights_that_are_not_those_of_the_search_are_refused(tmp_path):
    search = started(Search(surrogate(), places(), "random", start=5, folder=tmp_path))
    search.update()
    (weights,) = tmp_path.glob("surrogate-*")
    weights.write_bytes(weights.read_bytes()[:-8] + b"damaged!")
    with pytest.raises(RunError, match="expected the weights"):
        Search(surrogate(), places(), "random", start=5, folder=tmp_path).load()


def test_a_constant_is_no_failure():
    search = Search(surrogate(), places(), "max-variance", start=6)
    for place in search.ask():
        search.tell(place, 2.5)
    (place,) = search.ask()
    mean, variance = search.surrogate.marginals(search.candidates)
    assert mean.isfinite().all()
    assert (variance >= 0).all()
    assert mean[place] == pytest.approx(2.5, abs=0.5)


def test_a_repeated_point_counts_as_a_second_measurement():
    search = started(Search(surrogate(), places(), "max-variance", start=5))
    first = search.places[0]
    search.tell(first, float(truth(places())[first]) + 0.1)
    asked = search.ask()
    assert search.places.count(first) == 2
    assert first not in asked
    assert search.surrogate.marginals(search.candidates)[0].isfinite().all()


def test_a_failed_measurement_is_left_out_and_not_asked_again():
    search = Search(surrogate(), places(), "max-variance", start=5)
    failed, *others = search.ask()
    search.tell(failed, math.nan)
    for place in others:
        search.tell(place, float(place))
    for _ in range(4):
        (place,) = search.ask()
        assert place != failed
        search.tell(place, float(place))
    assert len(search.surrogate.members[0].features.points) == 7  # Those before the last fit.
    assert search.best != failed


def test_where_all_fail_places_are_random():
    search = Search(surrogate(), places(), "max-variance", start=2)
    for _ in range(3):
        for place in search.ask():
            search.tell(place, math.nan)
    assert search.best is None
    assert not search.fitted


def test_explore_ends_where_all_fail_and_where_one_output_does():
    pytest.importorskip("botorch")
    found = explore(surrogate(), places(), lambda i: math.nan, "ucb", 6, start=3)
    assert found.best is None
    assert not found.fitted
    search = Search(
        surrogate(outputs=2), places(), "ucb", start=6, weights=torch.tensor([1.0, 0.0])
    )
    for place in search.ask():
        search.tell(place, [float(place), math.nan])
    assert search.values.isfinite().all()  # The output that failed has no weight.
    (place,) = search.ask()
    assert not search.fitted  # Nothing is known of the second output.
    search.tell(place, [1.0, 2.0])
    search.ask()
    assert search.fitted == 7


def test_one_measurement_alone_gives_a_prediction():
    search = started(Search(surrogate(), places(), "max-variance", start=1))
    assert len(search.ask()) == 1
    mean, variance = search.surrogate.marginals(search.candidates)
    assert mean.isfinite().all()
    assert (variance > 0).all()


def test_with_all_candidates_measured_nothing_is_left_to_ask():
    search = Search(Nearest(), places()[:3], "random", start=2)
    for _ in range(2):
        for place in search.ask():
            search.tell(place, 1.0)
    with pytest.raises(ArgumentError, match="none left of 3"):
        search.ask()


def test_moves_cost_and_have_a_reach():
    y = truth(places())
    near = Moves(POSITION, reach=1.5)
    search = explore(
        Nearest(), places(), lambda i: float(y[i]), "max-variance", 9, start=1, moves=near
    )
    steps = POSITION[search.places]
    assert float((steps[1:] - steps[:-1]).norm(dim=1).max()) <= 1.5
    dear = Moves(POSITION, price=100.0)
    cheap = explore(
        Nearest(), places(), lambda i: float(y[i]), "max-variance", 9, start=1, moves=dear
    )
    assert dear.length(cheap.places) <= 12
    with pytest.raises(ArgumentError, match="Allow longer moves"):
        Moves(POSITION, reach=0.5).reachable(0, torch.arange(1, 4))
    with pytest.raises(ArgumentError, match="price >= 0 and reach > 0"):
        Moves(POSITION, price=-1)


@pytest.mark.parametrize(
    ("place", "y", "noise", "words"),
    [
        (99, 1.0, None, "a candidate from 0 to 35; got 99"),
        (3, [1.0, 2.0], None, "expected 1 numbers"),
        (3, math.inf, None, "finite or NaN"),
        (3, 1.0, 0.1, "or with none; got 0.1"),
    ],
)
def test_what_cannot_be_told_is_refused(place, y, noise, words):
    search = started(Search(Nearest(), places(), "random", start=2))
    with pytest.raises(ArgumentError, match=words):
        search.tell(place, y, noise)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ArgumentError, match="start: expected from 1 to 36"):
        Search(Nearest(), places(), "random", start=40)
    with pytest.raises(ArgumentError, match="expected finite numbers"):
        Search(Nearest(), places() * math.nan, "random")
    with pytest.raises(ArgumentError, match="one of log-ei, ucb"):
        Search(Nearest(), places(), "best")
    with pytest.raises(ArgumentError, match="from 10, the start, to 36"):
        explore(Nearest(), places(), float, "random", 100)
    with pytest.raises(ArgumentError, match="a position of each of 36"):
        Search(Nearest(), places(), "random", moves=Moves(POSITION[:3]))
    with pytest.raises(ArgumentError, match="at least one pair"):
        DeepKernelSurrogate([])
    with pytest.raises(ArgumentError, match="expected positions for 'position'"):
        deep_kernel_surrogate(places(), embedding="position")


def test_without_botorch_its_functions_are_refused_and_others_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "botorch", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'ppvae\[active\]'"):
        Search(Nearest(), places(), "log-ei")
    with pytest.raises(MissingPackageError, match=r"pip install 'ppvae\[active\]'"):
        botorch_model(Nearest())
    assert len(started(Search(Nearest(), places(), "random", start=3)).ask()) == 1


@pytest.mark.parametrize("name", ["log-ei", "ucb", "thompson", "knowledge-gradient"])
def test_botorchs_functions_choose_batches(name):
    pytest.importorskip("botorch")
    search = started(Search(surrogate(), places(), name, start=6, batch=2))
    assert len(set(search.ask())) == 2


def test_the_posterior_is_botorchs_and_its_optimiser_chooses_as_we_do():
    pytest.importorskip("botorch")
    from botorch.acquisition.analytic import LogExpectedImprovement
    from botorch.optim import optimize_acqf_discrete

    search = started(Search(surrogate(), places(), "log-ei", start=8))
    (asked,) = search.ask()
    model = botorch_model(search.surrogate)
    posterior = model.posterior(search.candidates[:5])
    mean, covariance = search.surrogate.joint(search.candidates[:5])
    torch.testing.assert_close(posterior.mean[:, 0], mean[:, 0])
    torch.testing.assert_close(
        posterior.variance[:, 0], covariance[0].diagonal(), rtol=1e-4, atol=1e-6
    )
    free = search.available()
    free[asked] = True
    function = LogExpectedImprovement(model, best_f=float(search.values.max()))
    chosen, _ = optimize_acqf_discrete(function, q=1, choices=search.candidates[free])
    assert torch.equal(chosen[0], search.candidates[asked])
    assert search.surrogate.members[0].mean.dtype == torch.float64


def test_ensembles_have_the_mean_and_variance_of_the_mixture():
    search = started(Search(surrogate(), places(), "random", start=8))
    search.update()
    members = [gp.marginals(gp.embed(search.candidates)) for gp in search.surrogate.eval().members]
    mean, variance = search.surrogate.marginals(search.candidates)
    locs = torch.stack([m for m, _ in members])
    torch.testing.assert_close(mean, locs.mean(0))
    expected = torch.stack([v for _, v in members]).mean(0) + locs.var(0, correction=0)
    torch.testing.assert_close(variance, expected)
    joint = search.surrogate.joint(search.candidates)
    torch.testing.assert_close(joint[0], mean)
    torch.testing.assert_close(joint[1][0].diagonal(), variance[:, 0], rtol=1e-6, atol=1e-9)


def test_two_outputs_with_noise_are_weighted():
    pytest.importorskip("botorch")
    y = torch.stack([truth(places()), -truth(places())], -1)
    search = Search(
        surrogate(outputs=2), places(), "ucb", start=6, weights=torch.tensor([0.0, 1.0])
    )
    for place in search.ask():
        search.tell(place, y[place], noise=[0.1, 0.1])
    search.tell(search.ask()[0], y[search.asked[0]], noise=[0.1, 0.1])
    assert torch.equal(search.values, search.y[:, 1])
    assert search.best == search.places[int(search.y[:, 1].argmax())]


def test_calibration_says_who_is_too_sure():
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(200, generator=generator)
    right = calibration(y, torch.zeros(200), torch.ones(200))
    assert right.verdict.endswith("as predicted")
    normal = torch.distributions.Normal(0.0, 1.0)
    assert right.log_density == pytest.approx(float(normal.log_prob(y).mean()), abs=1e-5)
    assert "too narrow" in calibration(y, torch.zeros(200), 0.3 * torch.ones(200)).verdict
    assert "too wide" in calibration(y, torch.zeros(200), 5 * torch.ones(200)).verdict
    assert "too few to judge" in calibration(y[:3], torch.zeros(3), torch.ones(3)).verdict


def test_predictions_before_each_measurement_are_kept():
    y = truth(places())
    search = explore(surrogate(), places(), lambda i: float(y[i]), "random", 14, start=4)
    assert [step.mean for step in search.steps[:4]] == [None] * 4
    assert all(step.scale > 0 for step in search.steps[5:])


def test_an_acquisition_of_ones_own_is_a_function():
    def last(asked):
        return torch.arange(len(asked.x), dtype=torch.float64)

    assert acquisition_named(last) is last
    search = started(Search(Nearest(), places(), last, start=2))
    free = search.available().nonzero()[:, 0]
    assert search.ask() == [int(free[-1])]


def test_the_callers_random_numbers_are_left_alone():
    pytest.importorskip("botorch")
    state = torch.random.get_rng_state()
    search = started(Search(surrogate(), places(), "thompson", start=5))
    search.ask()
    assert torch.equal(state, torch.random.get_rng_state())
    assert inputs_of(places(), POSITION).shape == (36, 8)


class TwoOutputs(Surrogate):
    """Two outputs with a covariance that is known, the first of which is noisy."""

    def fit(self, x, y, noise=None):
        pass

    def joint(self, x):
        kernel = (-0.5 * torch.cdist(x, x).square()).exp()
        return x[..., :2], torch.stack([kernel, 3 * kernel], -3)

    def noise_variance(self):
        return torch.tensor([50.0, 0.5], dtype=torch.float64)


def test_a_batch_by_variance_has_the_noise_of_the_weighted_outputs():
    x = torch.randn(7, 2, dtype=torch.float64)
    weights = torch.tensor([0.5, 2.0])
    model = TwoOutputs()
    found = acquisition_named("max-variance")(Asked(model, x[:5], 0.0, x[5:], weights))
    covariance = (0.25 * 1 + 4 * 3) * (-0.5 * torch.cdist(x, x).square()).exp()
    noise = 0.25 * 50 + 4 * 0.5
    inner, cross = covariance[5:, 5:] + noise * torch.eye(2), covariance[:5, 5:]
    rest = covariance[0, 0] - (cross * torch.linalg.solve(inner, cross.mT).mT).sum(-1)
    torch.testing.assert_close(found, 0.5 * rest.log(), atol=1e-5, rtol=0)


def test_weights_are_one_per_output():
    search = Search(Nearest(), places(), "max-variance", weights=torch.tensor([1.0, 1.0]))
    with pytest.raises(ArgumentError, match=r"expected 2 numbers, finite or NaN; got \[1.0\]"):
        search.tell(0, 1.0)
    with pytest.raises(ArgumentError, match="one of them not zero"):
        Search(Nearest(), places(), "max-variance", weights=torch.zeros(2))
