"""What the check of a pair refuses, in words, and what it says of the rest."""

from __future__ import annotations

import traceback

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

from ppvae.errors import ContractError
from ppvae.objectives import ELBO
from ppvae.programs import check_pair, data_plate

N = 6


class Program(nn.Module):
    """A program from a function; ``weight`` is there to be trained."""

    def __init__(self, body) -> None:
        super().__init__()
        self.body = body
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x=None):
        return self.body(self, x)


def pair(model, guide) -> tuple[nn.Module, nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return Program(model), Program(guide), {"x": torch.randn(N, 5)}


def sample_z(self, x):
    with data_plate(x):
        pyro.sample("z", dist.Normal(self.weight * x[:, :2], 1.0).to_event(1))


def model_of(observe):
    """z ~ N(0, I), then whatever ``observe(self, z, x)`` does, inside the data plate."""

    def body(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            observe(self, z, x)

    return body


def elbo_of_pyro(model, guide, x) -> float:
    torch.manual_seed(3)
    return -Trace_ELBO().loss(model, guide, x) / N


def ours(model, guide, x) -> float:
    objective = ELBO(analytic=False)(model, guide)
    objective.check({"x": x})
    torch.manual_seed(3)
    return float(objective({"x": x}).elbo.detach().mean())


def global_matrix(self, x):
    w = pyro.sample("W", dist.Normal(torch.zeros(2, 5), 1.0).to_event(2))
    with data_plate(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        loc = z @ w if self.plain else (z.unsqueeze(-2) @ w).squeeze(-2)
        pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


def with_matrix(self, x):
    pyro.sample("W", dist.Normal(self.weight * torch.ones(2, 5), 1.0).to_event(2))
    sample_z(self, x)


def test_a_program_for_one_draw_alone_is_refused():
    model, guide, batch = pair(global_matrix, with_matrix)
    model.plain = False
    assert check_pair(model, guide, batch).shared == ("W",)
    model.plain = True
    with pytest.raises(ContractError, match=r"site 'x': .*several draws side by side"):
        check_pair(model, guide, batch)


@pytest.mark.parametrize(
    "mix",
    [
        lambda z: z.mean(0, keepdim=True).expand_as(z),
        lambda z: z.flip(0),
        lambda z: z - z.sum(0),
    ],
)
def test_draws_that_are_mixed_with_each_other_are_refused(mix):
    def observe(self, z, x):
        loc = nn.functional.pad(mix(z), (0, 3))
        pyro.sample("x", dist.Normal(loc, 0.1).to_event(1), obs=x)

    model, guide, batch = pair(model_of(observe), sample_z)
    with pytest.raises(ContractError, match=r"site 'x': expected the same log-density in each"):
        check_pair(model, guide, batch)


def test_reshapes_that_know_one_draw_are_refused():
    def observe(self, z, x):
        loc = z.reshape(N, 2)[:, :1].expand(N, 5)
        pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    model, guide, batch = pair(model_of(observe), sample_z)
    with pytest.raises(ContractError, match=r"fails for 2, after site 'z'"):
        check_pair(model, guide, batch)


def test_a_forgotten_to_event_is_named_with_its_cure():
    def observe(self, z, x):
        pyro.sample("x", dist.Normal(z[..., :1], 1.0), obs=x[:, :1])

    model, guide, batch = pair(model_of(observe), sample_z)
    with pytest.raises(ContractError, match=r"site 'x': expected batch shape \(6,\).*to_event\(1"):
        check_pair(model, guide, batch)

    def all_pixels(self, z, x):
        pyro.sample("x", dist.Normal(self.weight.expand(N, 5), 1.0), obs=x)

    model, guide, batch = pair(model_of(all_pixels), sample_z)
    with pytest.raises(ContractError, match=r"Declare the dimensions of one datum with .to_event"):
        check_pair(model, guide, batch)


def test_factors_and_deterministic_sites_are_supported():
    def observe(self, z, x):
        pyro.deterministic("norm", z.norm(dim=-1))
        pyro.factor("penalty", -z.square().sum(-1))
        pyro.sample("x", dist.Normal(z[..., :1] + 0 * x, 1.0).to_event(1), obs=x)

    model, guide, batch = pair(model_of(observe), sample_z)
    structure = check_pair(model, guide, batch)
    assert structure.observed == ("x",)
    assert structure.factors == ("penalty",)
    assert structure.deterministic == ("norm",)
    assert structure.columns == {"x": "x"}
    assert ours(model, guide, batch["x"]) == pytest.approx(
        elbo_of_pyro(model, guide, batch["x"]), rel=1e-5
    )


def test_auxiliary_sites_and_factors_of_the_guide_count():
    def guide_body(self, x):
        with data_plate(x):
            noise = dist.Normal(self.weight * x[:, :2], 0.7).to_event(1)
            u = pyro.sample("u", noise, infer={"is_auxiliary": True})
            density = -u.sum(-1)
            pyro.sample("z", dist.Delta(u.exp(), log_density=density, event_dim=1))
            pyro.factor("more", 0.1 * u.sum(-1), has_rsample=True)

    def observe(self, z, x):
        pyro.sample("x", dist.Normal(z[..., :1] + 0 * x, 1.0).to_event(1), obs=x)

    model, guide, batch = pair(model_of(observe), guide_body)
    structure = check_pair(model, guide, batch)
    assert structure.latent == ("z",)
    assert structure.auxiliary == ("u", "more")
    expected = elbo_of_pyro(model, guide, batch["x"])
    assert ours(model, guide, batch["x"]) == pytest.approx(expected, rel=1e-5)
    # The default: a Delta's registered KL would leave out its log-density.
    torch.manual_seed(3)
    default = ELBO()(model, guide)(batch).elbo.detach().mean()
    assert float(default) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("how", ["handler", "distribution"])
def test_masked_sites_are_supported(how):
    seen = torch.arange(N) % 2 == 0

    def observe(self, z, x):
        fn = dist.Normal(z[..., :1] + 0 * x, 1.0).to_event(1)
        if how == "handler":
            with poutine.mask(mask=seen):
                pyro.sample("x", fn, obs=x)
        else:
            pyro.sample("x", fn.mask(seen), obs=x)

    model, guide, batch = pair(model_of(observe), sample_z)
    assert ours(model, guide, batch["x"]) == pytest.approx(
        elbo_of_pyro(model, guide, batch["x"]), rel=1e-5
    )
    terms = ELBO()(model, guide)(batch)
    assert (terms.log_likelihood["x"][~seen] == 0).all()


def test_a_plate_subsampled_within_the_data_is_supported():
    def observe(self, z, x):
        with pyro.plate("pixels", 5, subsample_size=2, dim=-2) as rows:
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x.mT[rows])

    model, guide, batch = pair(model_of(observe), sample_z)
    assert ours(model, guide, batch["x"]) == pytest.approx(
        elbo_of_pyro(model, guide, batch["x"]), rel=1e-5
    )


def test_a_subsampled_data_plate_is_refused():
    def body(self, x):
        with pyro.plate("data", N, subsample_size=2, dim=-1) as rows:
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., :1] + 0 * x[rows], 1.0).to_event(1), obs=x[rows])

    def guide_body(self, x):
        with pyro.plate("data", N, subsample_size=2, dim=-1) as rows:
            pyro.sample("z", dist.Normal(self.weight * x[rows, :2], 1.0).to_event(1))

    model, guide, batch = pair(body, guide_body)
    with pytest.raises(ContractError, match=r"expected all rows of the batch; got a subsample"):
        check_pair(model, guide, batch)


def test_enumeration_under_markov_is_refused():
    def chain(self, x, observe):
        y = 0
        with data_plate(x):
            for t in pyro.markov(range(4)):
                probs = torch.full((2, 2), 0.5)[y] if isinstance(y, int) else torch.eye(2)[y] + 1
                infer = {} if observe else {"enumerate": "parallel"}
                y = pyro.sample(f"y{t}", dist.Categorical(probs=probs), infer=infer)
                if observe:
                    loc = y + 0 * x[..., t]
                    pyro.sample(f"x{t}", dist.Normal(loc.to(x), 1.0), obs=x[..., t])

    model, guide, batch = pair(
        lambda self, x: chain(self, x, True), lambda self, x: chain(self, x, False)
    )
    with pytest.raises(ContractError, match=r"pyro.markov: expected a dimension of its own"):
        check_pair(model, guide, batch)


def test_a_guide_that_observes_is_refused():
    def guide_body(self, x):
        sample_z(self, x)
        pyro.sample("u", dist.Normal(self.weight, 1.0), obs=torch.zeros(()))

    def observe(self, z, x):
        pyro.sample("x", dist.Normal(z[..., :1] + 0 * x, 1.0).to_event(1), obs=x)

    model, guide, batch = pair(model_of(observe), guide_body)
    with pytest.raises(ContractError, match=r"site 'u': expected the guide to sample it"):
        check_pair(model, guide, batch)


def test_an_error_of_the_program_keeps_its_traceback():
    def observe(self, z, x):
        raise KeyError("key: expected a; got b. Use c.")

    model, guide, batch = pair(model_of(observe), sample_z)
    with pytest.raises(
        ContractError, match=r"model Program: expected .* got an error, KeyError: "
    ) as caught:
        check_pair(model, guide, batch)
    assert isinstance(caught.value.__cause__, KeyError)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__cause__.__traceback__)]
    assert names[-1] == "observe"


def test_modes_of_frozen_parts_are_restored():
    def observe(self, z, x):
        pyro.sample("x", dist.Normal(z[..., :1] + 0 * x, 1.0).to_event(1), obs=x)

    model, guide, batch = pair(model_of(observe), sample_z)
    model.part = nn.Dropout().eval()
    check_pair(model, guide, batch)
    assert model.training
    assert not model.part.training
