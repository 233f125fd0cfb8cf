"""Learning rates of their own for parts of a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppvae.errors import ArgumentError
from ppvae.fitting import cosine, fit, grouped_adam, warmup_cosine
from ppvae.objectives import ELBO, MutualInformation, critic_between
from tests.fitting.programs import pair, splits


def quiet(model, guide, **options):
    return fit(model, guide, splits(), epochs=1, seed=0, progress=False, compile=False, **options)


def test_named_parameters_move_faster_and_no_other():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = grouped_adam((net[1].parameters(), 5.0), betas=(0.5, 0.6))(net.parameters(), 0.01)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = [(p - b).abs().mean() for p, b in zip(net.parameters(), before, strict=True)]
    torch.testing.assert_close(torch.stack(moved), torch.tensor([0.01, 0.05]))
    assert {group["betas"] for group in optimizer.param_groups} == {(0.5, 0.6)}


def test_a_schedule_moves_every_group():
    net = nn.Linear(2, 2)
    optimizer = grouped_adam(([net.bias], 0.1))(net.parameters(), 1.0)
    schedule = warmup_cosine(0.5, floor=0.0)(optimizer, 4)
    rates = []
    for _ in range(3):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert rates == [[0.5, 0.05], [1.0, 0.1], [1.0, 0.1]]


def test_a_parameter_in_two_groups_is_refused():
    net = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="in two"):
        grouped_adam((net.parameters(), 2.0), ([net.bias], 3.0))


def test_parameters_of_another_model_are_refused_before_the_first_step():
    model, guide = pair()
    other, others_guide = pair()
    optimizer = grouped_adam(([model.weight], 0.1))
    assert quiet(model, guide, optimizer=optimizer).status == "completed"
    before = other.weight.detach().clone()
    with pytest.raises(ArgumentError, match=r"grouped_adam: expected .* shape \(4, 2\) of somet"):
        quiet(other, others_guide, optimizer=optimizer)
    model.weight.requires_grad_(False)
    with pytest.raises(ArgumentError, match="grouped_adam: expected parameters of what is fitted"):
        quiet(other, others_guide, optimizer=optimizer)
    assert torch.equal(other.weight, before)
    # A frozen one of the same model has no rate to multiply, and is none of another.
    assert quiet(model, guide, optimizer=optimizer).status == "completed"


def test_parameters_of_a_critic_have_no_factor():
    critic = critic_between((4,), (2,), features=4, hidden=[8])
    objective = ELBO() + MutualInformation("x", "z", critic)
    optimizer = grouped_adam((critic.parameters(), 0.1))
    with pytest.raises(ArgumentError, match="a critic has a learning rate of its own"):
        quiet(*pair(), objective=objective, optimizer=optimizer)


def test_an_optimiser_of_another_models_parameters_is_refused():
    model, guide = pair()
    kept = torch.optim.Adam([*model.parameters(), *guide.parameters()])
    assert quiet(model, guide, optimizer=lambda parameters, lr: kept).status == "completed"
    with pytest.raises(ArgumentError, match="optimizer: expected parameters of what is fitted"):
        quiet(*pair(), optimizer=lambda parameters, lr: kept)
    # Fewer parameters than there are may be meant.
    model, guide = pair()
    quiet(model, guide, optimizer=lambda parameters, lr: torch.optim.Adam(guide.parameters()))


def test_a_scheduler_of_another_optimiser_is_refused():
    kept = []

    def schedule(optimizer, steps):
        kept.append(cosine(optimizer, steps))
        return kept[0]

    assert quiet(*pair(), schedule=schedule).status == "completed"
    with pytest.raises(ArgumentError, match="schedule: expected a scheduler of the optimiser"):
        quiet(*pair(), schedule=schedule)
