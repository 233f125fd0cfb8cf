"""What the check of a pair refuses, in words, and what it says of the rest."""

from __future__ import annotations

import traceback

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.transforms import conditional_spline
from pyro.infer import Trace_ELBO, config_enumerate
from pyro.nn import PyroModule
from torch import nn

import ppvae
from ppvae.errors import ArgumentError, ContractError
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.programs import check_pair, data_plate, signature

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


def test_a_transform_for_one_draw_alone_is_refused_in_words():
    # Pyro's splines index the value by a mask of the shape of their parameters.
    spline = conditional_spline(5, 2, [4], count_bins=4)

    def observe(self, z, x):
        flow = dist.TransformedDistribution(
            dist.Normal(torch.zeros(5), 1.0).to_event(1), [spline.condition(z)]
        )
        pyro.sample("x", flow, obs=x)

    model, guide, batch = pair(model_of(observe), sample_z)
    with pytest.raises(ContractError, match=r"site 'x': .* scores several draws side by side"):
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


@pytest.mark.parametrize("seed", [torch.manual_seed, pyro.set_rng_seed])
@pytest.mark.parametrize("role", ["guide", "model"])
def test_a_program_that_seeds_its_draws_is_refused(seed, role):
    def seeding(self, x):
        seed(0)
        sample_z(self, x)

    def observe(self, z, x):
        if role == "model":
            seed(0)
        pyro.sample("x", dist.Normal(z[..., :1] + 0 * x, 1.0).to_event(1), obs=x)

    model, guide, batch = pair(model_of(observe), seeding if role == "guide" else sample_z)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with pytest.raises(ContractError, match=f"{role} Program: expected other draws at every step"):
        check_pair(model, guide, batch)
    torch.testing.assert_close(torch.get_rng_state(), state)


def test_a_program_may_seed_draws_of_its_own():
    def observe(self, z, x):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            weight = torch.randn(5)
        pyro.sample("x", dist.Normal(z[..., :1] + weight, 1.0).to_event(1), obs=x)

    check_pair(*pair(model_of(observe), sample_z))


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


def test_data_that_torch_would_broadcast_are_refused():
    def one_number(self, z, x):
        pyro.sample("x", dist.Normal(z[..., :1], 1.0).to_event(1), obs=x[..., 0])

    model, guide, batch = pair(model_of(one_number), sample_z)
    message = r"event shape \(1,\).*got one with shape \(6,\), which torch would broadcast"
    with pytest.raises(ContractError, match=message):
        check_pair(model, guide, batch)

    def five_numbers(self, z, x):
        pyro.sample("x", dist.Normal(z[..., :1], 1.0).to_event(1), obs=x)

    model, guide, batch = pair(model_of(five_numbers), sample_z)
    with pytest.raises(ContractError, match=r"got one with shape \(6, 5\)"):
        check_pair(model, guide, batch)


@pytest.mark.parametrize("inside", [True, False])
def test_rows_that_are_a_part_of_the_event_are_refused(inside):
    def body(self, x):
        plate = data_plate(x)
        with plate:
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with plate if inside else poutine.scale(scale=1.0):
            fn = dist.Normal(nn.functional.pad(z, (0, 3)), 1.0).to_event(2)
            pyro.sample("x", fn, obs=x)

    model, guide, batch = pair(body, sample_z)
    with pytest.raises(ContractError, match=r"starts with the 6 rows.*\.to_event\(1\)"):
        check_pair(model, guide, batch)


def test_a_guide_over_all_reals_is_refused_for_a_positive_latent():
    def body(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.Exponential(torch.ones(2)).to_event(1))
            loc = nn.functional.pad(z, (0, 3))
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def far(self, x):  # so that no draw is negative
        with data_plate(x):
            pyro.sample("z", dist.Normal(9 + self.weight * x[:, :2], 0.1).to_event(1))

    model, guide, batch = pair(body, far)
    with pytest.raises(ContractError, match="support of the model's Exponential.*got Normal"):
        check_pair(model, guide, batch)

    def point(self, x):
        with data_plate(x):
            pyro.sample("z", dist.Delta(self.weight * x[:, :2].square()).to_event(1))

    assert check_pair(model, Program(point), batch).latent == ("z",)


def test_two_precisions_are_refused_with_their_cure():
    def observe(self, z, x):
        pyro.sample("x", dist.Normal(z @ self.weight.half().expand(2, 5), 1.0).to_event(1))

    model, guide, batch = pair(model_of(observe), sample_z)
    with pytest.raises(ContractError, match=r"one precision: \.float\(\) or \.double\(\)"):
        check_pair(model, guide, batch)


def test_a_prior_in_a_precision_that_the_decoder_does_not_take_is_refused():
    """In training z comes from the guide, so that only predictions would fail."""

    def body(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).half(), 1.0).to_event(1))
            loc = z @ self.weight.expand(2, 5)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    model, guide, batch = pair(body, sample_z)
    with pytest.raises(ContractError, match=r"'z': expected draws.*got torch.float16, for which"):
        check_pair(model, guide, batch)


def test_functions_and_networks_are_refused_as_programs():
    model, guide, batch = pair(model_of(lambda self, z, x: None), sample_z)
    with pytest.raises(ContractError, match="guide: expected a torch.nn.Module.*got 'forward'"):
        check_pair(model, guide.forward, batch)
    network = MLP(5, heads.DiagonalNormal(2), hidden=[4])
    with pytest.raises(ContractError, match=r"wrap it in ppvae.guides.AmortizedGuide\(network\)"):
        check_pair(model, network, batch)


def test_a_data_plate_that_is_not_the_rightmost_is_refused():
    def left(observe):
        def body(self, x):
            with pyro.plate("data", len(x), dim=-2):
                z = dist.Normal(self.weight * torch.ones(1, 2), 1.0).to_event(1)
                z = pyro.sample("z", z)
                if observe:
                    fn = dist.Normal(nn.functional.pad(z, (0, 3)), 1.0).to_event(1)
                    pyro.sample("x", fn, obs=x.unsqueeze(-2))

        return body

    model, guide, batch = pair(left(True), left(False))
    with pytest.raises(ContractError, match=r"plate 'data': expected dim=-1.*got \[-2\]"):
        check_pair(model, guide, batch)


@pytest.mark.parametrize("summed", [True, False])
def test_a_factor_outside_the_data_plate_says_where_it_belongs(summed):
    def body(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = nn.functional.pad(z, (0, 3))
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)
        pull = -z.square().sum(-1)
        pyro.factor("pull", pull.sum() if summed else pull)

    model, guide, batch = pair(body, sample_z)
    with pytest.raises(ContractError, match=r"'pull': .*Call pyro.factor inside the data plate"):
        check_pair(model, guide, batch)


def test_a_distribution_of_torch_alone_is_refused():
    def observe(self, z, x):
        fn = torch.distributions.Normal(nn.functional.pad(z, (0, 3)), 1.0)
        pyro.sample("x", torch.distributions.Independent(fn, 1), obs=x)

    model, guide, batch = pair(model_of(observe), sample_z)
    with pytest.raises(ContractError, match="'x': expected a distribution of pyro.distributions"):
        check_pair(model, guide, batch)


def test_sites_that_differ_from_run_to_run_are_refused():
    def loop(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            for t in pyro.plate("steps", 5, subsample_size=4):
                pyro.sample(f"x{t}", dist.Normal(z[..., 0], 1.0), obs=x[:, t])

    model, guide, batch = pair(loop, sample_z)
    with pytest.raises(ContractError, match="'steps': expected a loop over all 5 steps; got"):
        check_pair(model, guide, batch)

    def second_run(self, z, x):
        self.runs = getattr(self, "runs", 0) + 1
        pyro.sample("x", dist.Normal(nn.functional.pad(z, (0, 3)), 1.0).to_event(1), obs=x)
        if self.runs % 2:
            pyro.sample("extra", dist.Normal(z[..., 0], 1.0), obs=x[:, 0])

    model, guide, batch = pair(model_of(second_run), sample_z)
    with pytest.raises(ContractError, match=r"the same sites in each run; got \['extra'\]"):
        check_pair(model, guide, batch)


def test_loops_over_data_other_plates_and_classes_of_the_model_alone_are_refused_in_words():
    def rows(self, x):
        for n in pyro.plate("data", len(x)):
            pyro.sample(f"x{n}", dist.Normal(torch.zeros(5), 1.0).to_event(1), obs=x[n])

    model, guide, batch = pair(rows, lambda self, x: None)
    with pytest.raises(ContractError, match="in place of a loop over data"):
        check_pair(model, guide, batch)

    def inside(self, x):
        with data_plate(x):
            pyro.sample("W", dist.Normal(self.weight * torch.ones(2, 5), 1.0).to_event(2))
            pyro.sample("z", dist.Normal(self.weight * x[:, :2], 1.0).to_event(1))

    model, guide, batch = pair(global_matrix, inside)
    model.plain = False
    with pytest.raises(ContractError, match=r"in the plates \[\] in the model but \['data'\]"):
        check_pair(model, guide, batch)

    def classes(self, z, x):
        logits = torch.zeros(3)
        y = pyro.sample("y", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})
        loc = nn.functional.pad(z, (0, 3)) + y.unsqueeze(-1)
        pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    model, guide, batch = pair(model_of(classes), sample_z)
    with pytest.raises(ContractError, match="'y': expected an enumerated site in the guide, too"):
        check_pair(model, guide, batch)


def test_a_model_without_latents_is_refused():
    def observe(self, x):
        with data_plate(x):
            pyro.sample("x", dist.Normal(self.weight * torch.ones(5), 1.0).to_event(1), obs=x)

    model, guide, batch = pair(observe, lambda self, x: None)
    with pytest.raises(ContractError, match="latent sites: expected at least one"):
        check_pair(model, guide, batch)


def relaxed(self, x):
    with data_plate(x):
        fn = dist.RelaxedBernoulliStraightThrough(torch.tensor(0.5), logits=self.weight * x)
        pyro.sample("z", fn.to_event(1))


def deterministic(self, x):
    with data_plate(x):
        pyro.deterministic("z", self.weight * x[:, :2], event_dim=1)


def relaxed_prior(self, x):
    with data_plate(x):
        fn = dist.RelaxedBernoulliStraightThrough(torch.tensor(0.5), torch.full((5,), 0.5))
        z = pyro.sample("z", fn.to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def discrete_prior(self, x):
    with data_plate(x):
        z = pyro.sample("z", dist.Bernoulli(torch.full((5,), 0.5)).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def bernoulli(self, x):
    with data_plate(x):
        fn = dist.Bernoulli(logits=self.weight * x).to_event(1)
        pyro.sample("z", fn, infer={"enumerate": "parallel"})


def one_bit(self, x):
    with data_plate(x):
        z = pyro.sample("z", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(z[..., None] * torch.ones(5), 1.0).to_event(1), obs=x)


def two_draws(self, x):
    with data_plate(x):
        infer = {"enumerate": "parallel", "num_samples": 2}
        pyro.sample("z", dist.Bernoulli(logits=self.weight * x[:, 0]), infer=infer)


def with_obs_mask(self, z, x):
    seen = torch.arange(N) % 2 == 0
    pyro.sample(
        "x", dist.Normal(self.weight * torch.ones(5), 1.0).to_event(1), obs=x, obs_mask=seen
    )


def mask_of_numbers(self, z, x):
    fn = dist.Normal(torch.zeros(5), 1.0).to_event(1)
    pyro.sample("x", fn, obs=x, obs_mask=torch.ones(N))


def poisson(self, x):
    with data_plate(x):
        pyro.sample("z", dist.Poisson(x[:, :2].exp()).to_event(1))


def twice(self, x):
    sample_z(self, x)
    with data_plate(x):
        pyro.sample("z2", dist.Normal(self.weight * x[:, :2], 1.0).to_event(1))


def scored(self, x):
    with data_plate(x):
        z = pyro.sample("z", dist.Normal(self.weight * x[:, :2], 1.0).to_event(1))
        pyro.factor("f", z.sum(-1))


def observe_x(self, z, x):
    pyro.sample("x", dist.Normal(z.repeat_interleave(3, -1)[..., :5], 1.0).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("model", "guide", "message"),
    [
        (model_of(observe_x), deterministic, r"Delta\(value, event_dim=1\)\) in place of"),
        (relaxed_prior, relaxed, "of the value alone.*RelaxedOneHotCategorical in place of"),
        (discrete_prior, relaxed, "which is continuous. Sample it from a discrete one"),
        (discrete_prior, bernoulli, "Sample each element as a site of its own"),
        (one_bit, two_draws, "a sum over all values.*got num_samples=2"),
        (model_of(with_obs_mask), sample_z, "'x_unobserved': expected in the guide as well"),
        (model_of(mask_of_numbers), sample_z, r"obs_mask=seen.bool\(\)"),
        (model_of(observe_x), poisson, "got Poisson.*that has rsample"),
        (model_of(observe_x), twice, r"Make the plate once, plate = data_plate\(x\)"),
        (model_of(observe_x), scored, "Give pyro.factor the argument has_rsample=True"),
    ],
)
def test_what_a_pair_lacks_is_said_with_a_remedy(model, guide, message):
    model, guide, batch = pair(model, guide)
    with pytest.raises(ContractError, match=message):
        check_pair(model, guide, batch)


@pytest.mark.parametrize(
    ("wrap", "remedy"),
    [
        (config_enumerate, "enter the handler in its forward"),
        (type, r"Pass an instance: Program\(\.\.\.\)"),
        (lambda guide: guide.forward, "Pass the Program itself, without its method"),
        (lambda guide: lambda x: guide(x), "Make the function the method forward"),
    ],
)
def test_programs_that_are_no_modules_are_refused_with_a_remedy(wrap, remedy):
    model, guide, batch = pair(model_of(observe_x), sample_z)
    with pytest.raises(ContractError, match=remedy):
        check_pair(model, wrap(guide), batch)
    with pytest.raises(ArgumentError, match=remedy):
        ppvae.fit(model, wrap(guide), batch, progress=False)


class Decorated(nn.Module):
    """A mixture whose forward a handler of Pyro decorates, which hides its argument names."""

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.randn(3, 5))

    @config_enumerate
    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            y = pyro.sample("y", dist.OneHotCategorical(torch.ones(3)))
            return pyro.sample("x", dist.Normal(y @ self.means, 1.0).to_event(1), obs=x)


class DecoratedGuide(Decorated):
    @config_enumerate
    def forward(self, x):
        with data_plate(x):
            pyro.sample("y", dist.OneHotCategorical(logits=x @ self.means.T))


def test_the_arguments_of_a_decorated_program_are_known():
    model, guide = Decorated(), DecoratedGuide()
    assert list(signature(model)) == ["x", "size"]
    assert list(signature(guide)) == ["x"]
    columns = {"x": torch.randn(20, 5), "weight": torch.ones(20)}
    run = ppvae.fit(model, guide, columns, epochs=1, batch_size=8, seed=0, progress=False)
    decoded = run.decode(run.encode({"x": columns["x"]}))
    assert decoded["x"].shape == (20, 5)


class Positional(nn.Module):
    def forward(self, x, /):
        with data_plate(x):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))


class Stored(PyroModule):
    """Parameters in the global store, as Pyro's EasyGuide is used."""

    def forward(self, x):
        with data_plate(x):
            loc = pyro.param("loc", torch.zeros(2))
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


@pytest.mark.parametrize(
    ("guide", "remedy"),
    [
        (Positional, "Name the columns in its forward"),
        (Stored, "Make its parameters attributes, as torch.nn.Parameter or pyro.nn.PyroParam"),
    ],
)
def test_programs_as_pyro_alone_takes_them_are_refused_with_a_remedy(guide, remedy):
    model, _, batch = pair(model_of(observe_x), sample_z)
    with pytest.raises(ContractError, match=remedy):
        check_pair(model, guide(), batch)


class Unexpandable(dist.Normal):
    """As a mixture of zuko, whose expand takes no list of sizes."""

    def expand(self, batch_shape, _instance=None):
        return super().expand(batch_shape + torch.Size(), _instance)


def test_a_distribution_that_a_plate_cannot_expand_is_said_so():
    def sample_x(self, x):
        with data_plate(x):
            z = pyro.sample("z", Unexpandable(torch.zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(self.weight * z, 1.0).expand([N]), obs=x)

    def guess(self, x):
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.weight * x, 1.0))

    model, guide, _ = pair(sample_x, guess)
    with pytest.raises(ContractError, match="expanded to the rows of the data plate"):
        check_pair(model, guide, {"x": torch.randn(N)})


class Visits(nn.Module):
    """z of a datum, and u of each of its three visits."""

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            with pyro.plate("visits", 3, dim=-2):
                u = pyro.sample("u", dist.Normal(z, 1.0))
                seen = None if x is None else x.T
                return pyro.sample("x", dist.Normal(u, 0.5), obs=seen)


class FromVisits(nn.Module):
    """q(u | x), then q(z | mean of u): the plate's dimension is reduced."""

    def __init__(self, *, keepdim: bool) -> None:
        super().__init__()
        self.slope, self.keepdim = nn.Parameter(torch.tensor(0.5)), keepdim

    def forward(self, x):
        with data_plate(x):
            with pyro.plate("visits", 3, dim=-2):
                u = pyro.sample("u", dist.Normal(self.slope * x.T, 0.5))
            loc = self.slope * u.mean(-2, keepdim=self.keepdim)
            pyro.sample("z", dist.Normal(loc, 0.5))


@pytest.mark.parametrize("keepdim", [True, False])
def test_a_value_reduced_over_a_plate_is_refused_with_the_form_that_works(keepdim):
    with pytest.raises(ContractError, match=r"entries as (one|an) event.*\.to_event\(1\)"):
        check_pair(Visits(), FromVisits(keepdim=keepdim), {"x": torch.randn(5, 3)})


class Registering(nn.Module):
    """A program that registers its network, as Pyro's tutorials do."""

    def __init__(self, *, guide: bool) -> None:
        super().__init__()
        self.net, self.guide = nn.Linear(2, 2), guide

    def forward(self, x=None, *, size=None):
        pyro.module("net of the guide" if self.guide else "net of the model", self.net)
        with data_plate(x, size=size):
            if self.guide:
                return pyro.sample("z", dist.Normal(self.net(x), 0.5).to_event(1))
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.net(z), 0.5).to_event(1), obs=x)


def test_pyro_module_of_one_pair_does_not_take_the_names_of_another():
    pyro.clear_param_store()
    kept = pyro.param("kept", torch.ones(2))
    x = torch.randn(5, 2)
    for _ in range(2):
        pair = Registering(guide=False), Registering(guide=True)
        assert check_pair(*pair, {"x": x}).latent == ("z",)
        ppvae.fit(*pair, {"x": x}, epochs=1, progress=False)
    assert pyro.param("kept") is kept
    pyro.clear_param_store()


def observe_x(self, z, x):
    pyro.sample("x", dist.Normal(nn.functional.pad(z, (0, 3)), 1.0).to_event(1), obs=x)


def test_a_computed_value_in_the_guide_is_taken():
    def with_value(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(self.weight * x[:, :2], 1.0).to_event(1))
            pyro.deterministic("norm", z.norm(dim=-1))
            pyro.deterministic("twice", 2 * z, event_dim=1)

    model, guide, batch = pair(model_of(observe_x), with_value)
    assert check_pair(model, guide, batch).auxiliary == ()
    without = elbo_of_pyro(model, Program(sample_z), **batch)  # Pyro warns of such values.
    assert ours(model, guide, **batch) == pytest.approx(without)
    assert torch.isfinite(ELBO(num_particles=3)(model, guide)(batch).elbo).all()


def test_a_plate_may_be_called_particles():
    def of(draw):
        def body(self, x):
            with data_plate(x), pyro.plate("particles", 5, dim=-2):
                draw(self, x.T)

        return body

    def observe(self, x):
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(self.weight * u, 0.5), obs=x)

    def sample_u(self, x):
        pyro.sample("u", dist.Normal(self.weight * x, 0.6))

    model, guide, batch = pair(of(observe), of(sample_u))
    found = ours(model, guide, **batch)
    assert found == pytest.approx(elbo_of_pyro(model, guide, **batch), rel=1e-5)
    several = ELBO(num_particles=4000)(model, guide)(batch).elbo.detach().mean()
    torch.testing.assert_close(several, torch.tensor(found), rtol=0.1, atol=0.5)


def test_a_likelihood_that_is_a_factor_is_refused_by_its_name():
    def score(self, z, x):
        pyro.factor("ll", -0.5 * (x[:, :2] - z).square().sum(-1))

    model, guide, batch = pair(model_of(score), sample_z)
    message = r"latent sites \['z'\] and the factors \['ll'\].*pyro\.sample\('x', \.\.\., obs=x\)"
    with pytest.raises(ContractError, match=message):
        check_pair(model, guide, batch)


def test_noise_without_a_site_is_refused_with_the_form_that_works():
    def without_site(self, x):
        loc, scale = self.weight * x[:, 0], torch.tensor(0.9)
        z = loc + scale * torch.randn_like(loc)
        with data_plate(x):
            log_q = dist.Normal(loc, scale).log_prob(z)
            pyro.sample("z", dist.Delta(z, log_density=log_q))

    def with_site(self, x):
        loc, scale = self.weight * x[:, 0], torch.tensor(0.9)
        with data_plate(x):
            noise = dist.Normal(torch.zeros(()), 1.0)
            e = pyro.sample("e", noise, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(loc + scale * e, log_density=-scale.log()))

    def plain(self, x):
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.weight * x[:, 0], 0.9))

    def body(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            loc = z[..., None].expand(*z.shape, 5)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    model, guide, batch = pair(body, without_site)
    with pytest.raises(
        ContractError, match=r"site 'z': .*'is_auxiliary': True.*log_density=-scale"
    ):
        check_pair(model, guide, batch)
    elbos = [ours(model, Program(each), **batch) for each in (with_site, plain)]
    assert elbos[0] == pytest.approx(elbos[1], rel=1e-5)


@pytest.mark.parametrize("shift", [0, 1])
def test_entries_that_depend_on_the_enumerated_classes_of_others_are_refused(shift):
    """Each entry's class is summed by itself: with a shift, two of them would have to be."""

    def observe(self, x):
        with data_plate(x), pyro.plate("t", 5, dim=-2):
            k = pyro.sample("k", dist.Bernoulli(torch.tensor(0.3)))
            k = k.expand(*k.shape[:-2], 5, N)
            pyro.sample("x", dist.Normal(k + 2 * k.roll(shift, -2), 1.0), obs=x.T)

    def classes(self, x):
        with data_plate(x), pyro.plate("t", 5, dim=-2):
            logits = self.weight * x.T
            pyro.sample("k", dist.Bernoulli(logits=logits), infer={"enumerate": "parallel"})

    model, guide, batch = pair(observe, classes)
    if shift == 0:
        assert check_pair(model, guide, batch).enumerated == ("k",)
        return
    with pytest.raises(
        ContractError, match=r"each entry of the plate 't' to depend on its own 'k'"
    ):
        check_pair(model, guide, batch)
