"""Learning rates as closed forms of the step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppvae.fitting import constant, cosine, one_cycle, warmup_cosine
from ppvae.fitting.rates import halve

STEPS = 40


def rates(schedule) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule(optimizer, STEPS)
    seen = []
    for _ in range(STEPS + 1):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_constant_stays():
    assert set(rates(constant)) == {2.0}


def test_a_halved_rate_stays_half_of_its_schedule():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = cosine(optimizer, STEPS)
    expected = rates(cosine)
    for step in range(STEPS):
        if step == 3:
            halve(optimizer, scheduler)
        share = 1.0 if step < 3 else 0.5
        assert optimizer.param_groups[0]["lr"] == pytest.approx(share * expected[step])
        optimizer.step()
        scheduler.step()


def test_cosine_falls_from_the_rate_to_zero():
    seen = rates(cosine)
    assert seen[0] == 2.0
    assert seen[STEPS // 2] == pytest.approx(1.0)
    assert seen[-1] == pytest.approx(0.0)
    assert seen == sorted(seen, reverse=True)


def test_warmup_rises_in_a_line_and_falls_to_its_floor():
    seen = rates(warmup_cosine(0.25, floor=0.1))
    assert seen[:10] == pytest.approx([0.2 * (t + 1) for t in range(10)])
    assert seen[-1] == pytest.approx(0.2)
    assert seen[10:] == sorted(seen[10:], reverse=True)
    assert rates(warmup_cosine(0.0)) == rates(cosine)


def test_one_cycle_has_its_top_at_three_tenths():
    seen = rates(one_cycle)
    assert seen[0] == pytest.approx(2.0 / 25)
    assert max(seen) == seen[12] == pytest.approx(2.0)
    assert seen[-1] == pytest.approx(2.0 / 25e4)


@pytest.mark.parametrize("shares", [(1.0, 0.0), (-0.1, 0.0), (0.1, 1.5)])
def test_shares_out_of_range_are_refused(shares):
    with pytest.raises(ValueError, match="warmup_cosine: expected 0 <= warmup < 1"):
        warmup_cosine(shares[0], floor=shares[1])
