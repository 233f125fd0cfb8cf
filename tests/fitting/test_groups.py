"""Learning rates of their own for parts of a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppvae.fitting import grouped_adam, warmup_cosine


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
