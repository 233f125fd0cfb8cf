"""Schedules of weights: their values before, in and after a ramp."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.errors import ArgumentError
from ppvae.objectives.schedules import Constant, Cosine, Cyclic, Linear, as_schedule, zero_from

STEPS = [0, 10, 25, 40, 50, 60, 1000]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(3.0), [3.0] * 7),
        (Linear(1.0, 5.0, 40), [1.0, 2.0, 3.5, 5.0, 5.0, 5.0, 5.0]),
        (Linear(1.0, 5.0, 40, after=10), [1.0, 1.0, 2.5, 4.0, 5.0, 5.0, 5.0]),
        (Linear(5.0, 1.0, 40), [5.0, 4.0, 2.5, 1.0, 1.0, 1.0, 1.0]),
        (
            Cosine(0.0, 2.0, 40),
            [0.0, 1 - math.cos(math.pi / 4), 1 - math.cos(math.pi * 5 / 8), *[2.0] * 4],
        ),
        (Cyclic(0.0, 1.0, 50), [0.0, 0.4, 1.0, 1.0, 0.0, 0.4, 0.0]),
    ],
    ids=str,
)
def test_values_before_within_and_after(schedule, expected):
    values = [float(schedule(torch.tensor(step))) for step in STEPS]
    assert values == pytest.approx(expected)


def test_a_ramp_to_zero_is_zero_from_its_end():
    ramp = Linear(5.0, 0.0, 40, after=10)
    assert zero_from(ramp) == 50
    assert float(ramp(torch.tensor(49))) > 0 == float(ramp(torch.tensor(50)))
    assert zero_from(Linear(0.0, 1.0, 40)) is None
    assert zero_from(Constant(0.0)) is None


def test_a_ramp_of_no_steps_and_weights_that_are_no_numbers_are_refused():
    for kind in (Linear, Cosine, Cyclic):
        with pytest.raises(ArgumentError, match="start: expected a finite number; got '0.5'"):
            kind("0.5", 1.0, 3)
        with pytest.raises(ArgumentError, match="end: expected a finite number; got nan"):
            kind(0.0, math.nan, 3)
        with pytest.raises(ArgumentError, match="(steps|period): expected an integer >= 1; got 0"):
            kind(0.0, 1.0, 0)
    with pytest.raises(ArgumentError, match="expected a finite number; got nan"):
        as_schedule(math.nan)
    with pytest.raises(ArgumentError, match="expected a number or a Schedule; got str"):
        as_schedule("1")
