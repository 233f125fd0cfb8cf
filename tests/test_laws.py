"""Laws that hold for every model with its guide."""

from __future__ import annotations

import copy

import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor, nn

from ppvae.objectives import ELBO, Objective
from ppvae.programs import arguments, check_pair
from tests.pairs import PAIRS, Pair, build, prepare

laws = pytest.mark.parametrize("name", PAIRS)


def objective(pair: Pair, spec: ELBO | None = None) -> Objective:
    made = (pair.objective if spec is None else spec)(
        pair.model, pair.guide, num_data=len(pair.batch["x"])
    )
    made.check(pair.batch)
    return made


def loss(pair: Pair, spec: ELBO | None = None, *, seed: int = 1) -> Tensor:
    made = objective(pair, spec)
    torch.manual_seed(seed)
    return made(pair.batch).loss


def train(pair: Pair, steps: int = 30) -> tuple[float, float]:
    """The loss with the same noise before and after."""
    made = objective(pair)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps + 1):
        torch.manual_seed(1)
        value = made(pair.batch).loss
        losses.append(float(value.detach()))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return losses[0], losses[-1]


def values(pair: Pair) -> list[Tensor]:
    return [v.clone() for v in nn.ModuleList([pair.model, pair.guide]).state_dict().values()]


@laws
def test_model_and_guide_fit_together(name, device):
    pair = build(name, device=device)
    structure = check_pair(pair.model, pair.guide, pair.batch)
    assert structure.latent
    assert any(site.startswith("x") for site in structure.observed)
    assert structure.num_rows == len(pair.batch["x"])


@laws
def test_terms_are_finite_and_one_a_datum(name, device):
    pair = build(name, device=device)
    terms = objective(pair)(pair.batch)
    assert torch.isfinite(terms.loss)
    for value in [terms.elbo, *terms.kl.values(), *terms.log_likelihood.values()]:
        assert value.shape == (len(pair.batch["x"]),)
        assert torch.isfinite(value).all()


@laws
def test_every_parameter_gets_a_finite_gradient(name, device):
    pair = build(name, device=device)
    made = objective(pair)
    made(pair.batch).loss.backward()
    learned = {k: v for k, v in made.named_parameters() if v.requires_grad}
    for parameter_name, parameter in learned.items():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert (parameter.grad != 0).any(), parameter_name


@laws
def test_many_particles_have_the_mean_of_one(name, device):
    pair = build(name, device=device)
    one = objective(pair, ELBO())
    many = objective(pair, ELBO(num_particles=64))
    with torch.no_grad():
        singles = torch.stack([one(pair.batch).elbo.mean() for _ in range(64)])
        vectorised = torch.stack([many(pair.batch).elbo.mean() for _ in range(4)])
    error = singles.std() * (1 / 64 + 1 / 256) ** 0.5
    assert (singles.mean() - vectorised.mean()).abs() < 5 * error + 1e-6


@laws
def test_the_loss_falls_in_thirty_steps(name, device):
    before, after = train(build(name, device=device))
    assert after < before


@laws
def test_without_the_data_it_samples_them(name, device):
    pair = build(name, device=device)
    model = pair.model.eval()
    observed = check_pair(model, pair.guide, pair.batch).observed
    known = {column: v for column, v in pair.batch.items() if column not in (*observed, "x")}
    drawn = model(**arguments(model, known)) if arguments(model, known) else model(size=5)
    rows = len(pair.batch["x"]) if arguments(model, known) else 5
    assert drawn.shape == (rows, *pair.batch["x"].shape[1:])
    assert torch.isfinite(drawn).all()


@laws
def test_a_state_dict_carries_all_that_is_learned(name, device):
    pair, other = build(name, device=device), build(name, seed=1, device=device)
    assert loss(pair) != loss(other._replace(batch=pair.batch))
    pair, other = build(name, device=device), build(name, seed=1, device=device)
    other.model.load_state_dict(pair.model.state_dict())
    other.guide.load_state_dict(pair.guide.state_dict())
    other = prepare(other._replace(batch=pair.batch))
    torch.testing.assert_close(loss(pair), loss(other))


@laws
def test_a_copy_is_the_same_and_its_own(name, device):
    pair = build(name, device=device)
    copied = Pair(*copy.deepcopy(tuple(pair)))
    before = values(pair)
    torch.testing.assert_close(loss(copied), loss(build(name, device=device)))
    train(copied, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, values(pair), strict=True))


@laws
def test_two_instances_leave_each_other_alone(name, device):
    first, second = build(name, device=device), build(name, device=device)
    before = values(second)
    train(first, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, values(second), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, values(first), strict=True))


@laws
def test_the_objective_is_pyros(name, device, dtype):
    pair, twin = build(name, device=device), build(name, device=device)
    enumerated = check_pair(twin.model, twin.guide, twin.batch).enumerated
    oracle = (TraceEnum_ELBO if enumerated else Trace_ELBO)(max_plate_nesting=1)
    ours = loss(pair, ELBO(analytic=False)) * len(pair.batch["x"])
    torch.manual_seed(1)
    theirs = oracle.differentiable_loss(
        lambda batch: twin.model(**arguments(twin.model, batch)),
        lambda batch: twin.guide(**arguments(twin.guide, batch)),
        twin.batch,
    )
    tolerance = 1e-8 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
