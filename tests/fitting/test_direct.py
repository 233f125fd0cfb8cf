"""The direct call of Adam's kernel is the optimiser's own step, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from ppvae.fitting.captured import captured
from ppvae.fitting.direct import REPEATS, Update


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


class Captures:
    """Stands in for CUDA graphs: replays a function on the tensors that it was captured with."""

    def __init__(self) -> None:
        self.made = self.replays = 0

    def __call__(self, function, device):
        self.made += 1

        def replay():
            self.replays += 1
            function()

        return replay, None


def test_repeated_arguments_are_captured_and_others_are_not_replayed():
    ours, theirs = weights(), weights()
    optimizers = [Adam(groups(p), lr=0.1, fused=True) for p in (ours, theirs)]
    captures = Captures()
    update = Update(optimizers[0], replayed=lambda: True, capture=captures)
    made = []
    for step in range(4, 4 + 5 * REPEATS):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        update()
        optimizers[1].step()
        made.append((captures.made, captures.replays))
        for optimizer in optimizers:  # A schedule needs no other capture.
            optimizer.param_groups[0]["lr"] *= 0.9
        if step == 4 * REPEATS:  # Other states do.
            optimizers[0].load_state_dict(optimizers[0].state_dict())
            for state in optimizers[0].state.values():
                state["exp_avg"] = state["exp_avg"].clone()
    # The first step makes the state, the second is new, then it repeats.
    assert made[REPEATS] == (0, 0)
    assert made[REPEATS + 1] == (1, 1)
    assert made[3 * REPEATS] == (1, 2 * REPEATS)
    assert captures.made == 2
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)  # The rate is a float32.


def test_an_update_that_cannot_be_captured_is_made_at_each_step(caplog):
    def capture(function, device):
        raise RuntimeError("operation failed\nfurther lines")

    ours, theirs = weights(), weights()
    optimizers = [Adam(p, lr=0.1, fused=True) for p in (ours, theirs)]
    update = Update(optimizers[0], replayed=lambda: True, capture=capture)
    for step in range(4, 4 + 2 * REPEATS):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        update()
        optimizers[1].step()
    assert caplog.text.count("capturing them as a CUDA graph raises RuntimeError") == 1
    assert "further" not in caplog.text
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


@pytest.mark.cuda
def test_a_captured_update_is_that_of_eager_adam():
    ours, theirs = weights("cuda"), weights("cuda")
    optimizers = [Adam(p, lr=0.125, fused=True) for p in (ours, theirs)]
    update = Update(optimizers[0], replayed=lambda: True)
    for step in range(4, 4 + 4 * REPEATS):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        update()
        optimizers[1].step()
        if step == 2 * REPEATS:
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = 0.0625
    assert update._key is not None
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one, two)
    for one, two in zip(states(optimizers[0], ours), states(optimizers[1], theirs), strict=True):
        assert torch.equal(one, two)


@pytest.mark.cuda
def test_random_numbers_are_drawn_after_a_capture_that_failed():
    def failing():
        return torch.randn(3, device="cuda").sum().item()  # waits for the device

    torch.cuda.manual_seed(0)
    stream, expected = torch.cuda.current_stream(), torch.randn(3, device="cuda")
    torch.cuda.manual_seed(0)
    with pytest.raises(RuntimeError):
        captured(failing, torch.device("cuda"))
    assert torch.cuda.current_stream() == stream
    assert torch.equal(torch.randn(3, device="cuda"), expected)
    replay, drawn = captured(lambda: torch.randn(3, device="cuda"), torch.device("cuda"))
    torch.cuda.manual_seed(0)
    replay()
    assert torch.equal(drawn, expected)
