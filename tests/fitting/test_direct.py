"""The direct call of Adam's kernel is the optimiser's own step, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from ppvae.fitting.direct import Update


def weights(device="cpu"):
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (3,), (), (2, 3, 2)]
    return [nn.Parameter(torch.randn(s, generator=generator).to(device)) for s in shapes]


def set_gradients(parameters, step):
    generator = torch.Generator().manual_seed(step)
    for i, parameter in enumerate(parameters):
        value = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        # As a replayed graph leaves them: in one place; one parameter has none at some steps.
        if parameter.grad is None:
            parameter.grad = torch.empty_like(parameter)
        parameter.grad.copy_(value)
        if i == 2 and step == 3:
            parameter.grad = None


def states(optimizer, parameters):
    return [optimizer.state[p][name] for p in parameters for name in sorted(optimizer.state[p])]


def groups(parameters):
    return [
        {"params": parameters[:2], "weight_decay": 0.1},
        {"params": parameters[2:], "lr": 0.3, "betas": (0.5, 0.9), "eps": 1e-3},
    ]


def test_weights_and_states_are_those_of_the_optimizers_own_step():
    ours, theirs = weights(), weights()
    optimizers = [Adam(groups(p), lr=0.1, fused=True) for p in (ours, theirs)]
    update = Update(optimizers[0])
    for step in range(8):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        update()
        optimizers[1].step()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] *= 0.9
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one, two)
    for one, two in zip(states(optimizers[0], ours), states(optimizers[1], theirs), strict=True):
        assert torch.equal(one, two)


class Own(Adam):
    """A user's optimiser."""


OTHERS = {
    "another optimiser": lambda p: SGD(p, lr=0.1),
    "a subclass": lambda p: Own(p, lr=0.1, fused=True),
    "another kernel": lambda p: Adam(p, lr=0.1, fused=False),
    "decoupled decay": lambda p: AdamW(p, lr=0.1, fused=True),
    "amsgrad": lambda p: Adam(p, lr=0.1, fused=True, amsgrad=True),
    "ascent": lambda p: Adam(p, lr=0.1, fused=True, maximize=True),
    "a rate on the device": lambda p: Adam(p, lr=torch.tensor(0.1), fused=True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_optimizers_take_their_own_step(name, monkeypatch):
    parameters, twins = weights(), weights()
    optimizer, other = OTHERS[name](parameters), OTHERS[name](twins)
    calls, step = [], optimizer.step
    monkeypatch.setattr(optimizer, "step", lambda: (calls.append(1), step()))
    update = Update(optimizer)
    for number in range(4):
        set_gradients(parameters, number)
        set_gradients(twins, number)
        update()
        other.step()
    assert len(calls) == 4
    for one, two in zip(parameters, twins, strict=True):
        assert torch.equal(one, two)


def test_hooks_of_the_optimizer_are_run():
    parameters = weights()
    optimizer, calls = Adam(parameters, lr=0.1, fused=True), []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    for number in range(3):
        set_gradients(parameters, number)
        Update(optimizer)()
    assert len(calls) == 3
