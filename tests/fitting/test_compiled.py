"""Compiled steps: they do what eager ones do, and step aside where they cannot."""

from __future__ import annotations

import copy
import ctypes
import logging
import os
import random
import re
import signal
from collections import deque
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from ppvae.errors import ArgumentError, Interrupted
from ppvae.fitting import Checkpoint, ending_on_signals, fit
from ppvae.fitting.compiled import gradients as module
from ppvae.fitting.compiled.gradients import CompiledGradients, pays
from ppvae.fitting.compiled.python_state import PythonState
from ppvae.fitting.compiled.rewrites import (
    copy_where_needed,
    draws_apart,
    is_random,
    place_constants,
)
from ppvae.fitting.step import Gradients, split_parameters
from ppvae.objectives import ELBO, Capacity, Linear, Schedule
from ppvae.programs import data_plate
from tests.fitting.programs import D, Z, pair, splits
from tests.fitting.test_callbacks import StopAfter
from tests.fitting.test_critics import Regression
from tests.pairs import PAIRS, build


class Backend:
    """Runs the graph as it was traced, and counts how often it is asked to compile."""

    def __init__(self, change=lambda code: code) -> None:
        self.change = change
        self.calls = 0
        self.shapes: list[list[torch.Size]] = []
        # Graphs compiled by one backend are not another's.
        self.__module__, self.__qualname__ = __name__, f"Backend{id(self)}"

    def __call__(self, code, examples):
        self.calls += 1
        self.shapes.append([example.shape for example in examples])
        return self.change(code)


@pytest.fixture
def backend(monkeypatch):
    made = Backend()
    monkeypatch.setattr(module, "inductor", made)
    monkeypatch.setattr(module, "_COMPILED", type(module._COMPILED)())
    return made


def quiet(model, guide, objective=None, **options):
    # 50 data in batches of 16: three of the compiled shape, one of 2 rows.
    options = {"epochs": 13, "batch_size": 16, "seed": 0, "progress": False, **options}
    return fit(model, guide, splits(), objective, **options)


def column(run, name="loss"):
    return torch.tensor(run.history.column(name))


def assert_same(ours, theirs):
    for name in theirs.history[0].keys() - {"seconds", "compile_seconds"}:
        torch.testing.assert_close(column(ours, name), column(theirs, name), rtol=1e-4, atol=1e-4)


def test_a_compiled_run_has_the_losses_of_an_eager_one(backend):
    objective = ELBO(weights={"z": Linear(0.0, 1.0, steps=30)})
    run = quiet(*pair(), objective, compile=True)
    assert_same(run, quiet(*pair(), objective, compile=False))
    assert run.metrics["compiled"]
    assert run.epochs == 13
    # One graph: the smaller batch and the moving weight made no second one.
    assert backend.calls == 1
    assert torch.Size([16, D]) in backend.shapes[0]
    assert run.history[0]["compile_seconds"] == run.metrics["compile_seconds"] > 0
    assert "compile_seconds" not in run.history[1]


def test_a_capacity_and_an_average_and_a_clipped_gradient(backend):
    objective = ELBO(capacity={"z": Capacity(Linear(0.0, 2.0, steps=40), gamma=3.0)})
    options = {"average": 0.9, "clip_norm": 1.0}
    run = quiet(*pair(), objective, compile=True, **options)
    assert_same(run, quiet(*pair(), objective, compile=False, **options))
    assert run.metrics["compiled"]


def test_a_second_fit_reuses_the_graph_and_another_model_does_not(backend):
    quiet(*pair(), compile=True, epochs=1)
    quiet(*pair(3), compile=True, epochs=1)
    assert backend.calls == 1
    # The same operations with another constant in them.
    quiet(*pair(), ELBO(weights={"z": 0.5}), compile=True, epochs=1)
    assert backend.calls == 2
    assert_same(
        quiet(*pair(), ELBO(weights={"z": 0.5}), compile=True, epochs=2),
        quiet(*pair(), ELBO(weights={"z": 0.5}), compile=False, epochs=2),
    )


def gradients(model, guide, spec=None, *, num_data=12, backend=None, batch=None, capture=None):
    objective = (spec or ELBO())(model, guide, num_data=num_data).train()
    objective.check(batch)
    parameters, _ = split_parameters(objective)
    eager = Gradients(objective, parameters)
    return CompiledGradients(eager, backend=backend, capture=capture)


def test_noise_is_new_at_each_step_and_follows_the_seed(backend):
    batch = {"x": splits().train["x"][:16]}
    step = gradients(*pair(), batch=batch, backend=backend)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = step(batch)[0]["log_likelihood/x"]
    second = step(batch)[0]["log_likelihood/x"]
    assert first != second
    assert not torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert step(batch)[0]["log_likelihood/x"] == first
    assert step(batch)[0]["log_likelihood/x"] == second


def test_columns_are_taken_by_name(backend):
    model, guide, batch, spec = build("ssvae, class")
    step = gradients(model, guide, spec, batch=batch, backend=backend)
    torch.manual_seed(1)
    step(batch)
    torch.manual_seed(2)
    ours = step(batch)[0]["loss"]
    torch.manual_seed(2)
    assert step(dict(reversed(batch.items())))[0]["loss"] == ours


def test_mixed_precision(backend):
    torch.set_default_dtype(torch.float32)  # What autocast applies to.
    options = {"epochs": 2, "precision": torch.bfloat16}
    run = quiet(*pair(), compile=True, **options)
    assert run.metrics["compiled"]
    ours, theirs = column(run), column(quiet(*pair(), compile=False, **options))
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)
    assert (ours - column(quiet(*pair(), compile=False, epochs=2))).abs().max() > 1e-6


class Twins(nn.Module):
    """Two sites of one shape and one distribution: their noise must not be shared."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(Z))

    def forward(self, x=None):
        with data_plate(x):
            base = dist.Normal(self.scale.new_zeros(Z), self.scale).to_event(1)
            a, b = pyro.sample("a", base), pyro.sample("b", base)
            pyro.sample("x", dist.Normal((a - b).sum(-1), 1.0), obs=x)


class TwinsGuide(Twins):
    def forward(self, x=None):
        with data_plate(x):
            for name in "ab":
                pyro.sample(name, dist.Normal(self.scale.new_zeros(Z), self.scale).to_event(1))


def test_two_like_sites_have_noise_of_their_own(backend):
    batch = {"x": torch.zeros(16)}
    step = gradients(Twins(), TwinsGuide(), batch=batch, backend=backend)
    # With one noise for both the residual would be nil.
    assert step(batch)[0]["log_likelihood/x"] < -1.2
    assert step.reason is None


UNTRACEABLE = {
    "deep kernel, exact": "equal",  # GPyTorch's base kernel compares its inputs
}

# The others with --slow: tracing takes a second each.
BRIEFLY = (
    *("vae, conv, normal", "jvae", "gpvae, leave view out", "ssvae, class", "jtrvae"),
    *("vae, missing values", "vae, sphere, von Mises-Fisher"),
    *UNTRACEABLE,
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in BRIEFLY else pytest.mark.slow) for name in PAIRS],
)
def test_every_pair_is_traced_and_agrees_with_eager(name, backend):
    model, guide, batch, spec = build(name)
    step = gradients(model, guide, spec, batch=batch, backend=backend)
    torch.manual_seed(1)
    ours = step(batch)[0], [p.grad for p in step.eager.parameters]
    if name in UNTRACEABLE:
        assert UNTRACEABLE[name] in str(step.reason)
        return
    assert step.reason is None
    torch.manual_seed(1)
    for parameter in step.eager.parameters:
        parameter.grad = None
    theirs = step.eager(batch)[0], [p.grad for p in step.eager.parameters]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class Across(nn.Linear):
    """A network whose weight's gradient comes out transposed."""

    def forward(self, x):
        return x @ self.weight.T.contiguous().sin() + self.bias


def test_gradients_lie_as_their_parameters_do(backend):
    # Adam's fused kernel would pair them wrongly, and say nothing.
    runs = []
    for compile in (True, False):
        torch.manual_seed(0)
        model, guide = pair()
        guide.net = Across(D, Z)
        runs.append(quiet(model, guide, compile=compile, learning_rate=0.05))
    assert runs[0].metrics["compiled"]
    assert_same(*runs)


def with_gaps(matrix):
    return functional.pad(matrix, (0, 3))[:, :-3]


def transposed(matrix):
    return matrix.T.contiguous().T


@pytest.mark.parametrize("other", [with_gaps, transposed])
def test_a_compiler_may_lay_gradients_out_otherwise(other, backend):
    backend.change = lambda code: lambda *ts: [other(t) if t.ndim == 2 else t for t in code(*ts)]
    run = quiet(*pair(), compile=True, learning_rate=0.05)
    assert run.metrics["compiled"]
    assert_same(run, quiet(*pair(), compile=False, learning_rate=0.05))


@pytest.mark.parametrize(("draws", "kept"), [(1, False), (2, True)])
def test_the_order_of_draws_that_depend_on_values_is_kept(monkeypatch, draws, kept):
    given = []
    monkeypatch.setattr(
        "torch._inductor.compile", lambda code, inputs, options: given.append(options) or code
    )
    code = make_fx(lambda x: x + sum(torch.poisson(x) for _ in range(draws)))(torch.ones(3))
    module.inductor(code, [torch.ones(3)])
    assert (given[0].get("reorder_for_peak_memory") is False) == kept
    assert (given[0].get("reorder_for_locality") is False) == kept


class Normalised(nn.Module):
    """A guide that keeps statistics of its batches, in place and not."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(D)
        self.net = nn.Linear(D, Z)
        self.register_buffer("total", torch.zeros(D))
        self.total: torch.Tensor

    def forward(self, x):
        if self.training:
            self.total = self.total + x.sum(0)
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.net(self.norm(x)), 1.0).to_event(1))


def test_buffers_move_as_in_eager(backend):
    runs = {}
    for compile in (True, False):
        torch.manual_seed(0)
        model, guide = pair()[0], Normalised()
        runs[compile] = quiet(model, guide, compile=compile, epochs=3), guide
    assert runs[True][0].metrics["compiled"]
    assert_same(runs[True][0], runs[False][0])
    torch.testing.assert_close(runs[True][1].state_dict(), runs[False][1].state_dict())
    assert runs[True][1].norm.num_batches_tracked == 3 * 4
    torch.testing.assert_close(runs[True][1].total, 3 * splits().train["x"].sum(0))


@pytest.mark.parametrize("updates", [1, 2])
def test_critics_are_trained_beside_a_compiled_step(backend, updates):
    def term():
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return Regression(updates=updates)

    run = quiet(*pair(), ELBO() + term(), compile=True, epochs=3)
    assert run.metrics["compiled"]
    assert "critic/regression" in run.history[0]
    assert_same(run, quiet(*pair(), ELBO() + term(), compile=False, epochs=3))


def test_a_critic_of_several_particles_is_trained_in_eager(backend, caplog):
    run = quiet(*pair(), ELBO(num_particles=2) + Regression(), compile=True, epochs=1)
    assert not run.metrics["compiled"]
    assert "because a critic sees enumerated sites or several particles." in caplog.text


class Labelled(nn.Module):
    """A guide told a class, which it turns into one-hot numbers as anyone would."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.classes = classes
        self.net = nn.Linear(D + 3, Z)

    def forward(self, x, y):
        with data_plate(x):
            given = torch.cat([x, functional.one_hot(y, self.classes).to(x)], -1)
            pyro.sample("z", dist.Normal(self.net(given), 1.0).to_event(1))


@pytest.mark.parametrize(
    ("classes", "reason"), [(3, None), (-1, "one_hot is called without the number")]
)
def test_a_one_hot_class(classes, reason, backend):
    batch = {"x": splits().train["x"][:16], "y": torch.arange(16) % 3}
    guide = Labelled(classes)
    step = gradients(pair()[0], guide, batch=batch, backend=backend)
    torch.manual_seed(1)
    ours = step(batch)[0]["loss"]
    torch.manual_seed(1)
    torch.testing.assert_close(ours, step.eager(batch)[0]["loss"])
    assert (step.reason is None) if reason is None else (reason in step.reason)


class Branching(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.mean() > -100 else x[:, :Z]


class Counting(nn.Linear):
    count = 0

    def forward(self, x):
        self.count += 1
        return super().forward(x) / self.count**0.5


class Growing(nn.Linear):
    def __init__(self, *sizes) -> None:
        super().__init__(*sizes)
        self.seen: list[int] = []

    def forward(self, x):
        self.seen.append(len(x))
        return super().forward(x)


class Unregistered(nn.Linear):
    def __init__(self, *sizes) -> None:
        super().__init__(*sizes)
        self.shift = [torch.zeros(Z)]
        self.gain = torch.ones(Z)

    def forward(self, x):
        return super().forward(x) * self.gain


class Reading(nn.Linear):
    """A layer whose output is scaled by a number that it reads out of its input."""

    def forward(self, x):
        return super().forward(x) / (1 + abs(self.number(x.detach())))

    def number(self, x):
        raise NotImplementedError


class Listed(Reading):
    def number(self, x):
        return max(x[:, 0].tolist())


class Numpy(Reading):
    def number(self, x):
        return torch.from_numpy(np.log1p(np.abs(x[:, :1].numpy())))


class Array(Reading):
    def number(self, x):
        return float(np.asarray(x[:, 0]).mean())


class Written(Reading):
    def number(self, x):
        return len(str(x[:3]))


class Addressed(Reading):
    """Reads the number where torch does not see it; only other rows tell."""

    def number(self, x):
        return ctypes.c_double.from_address(x.double().contiguous().data_ptr()).value


class Counted(Reading):
    def number(self, x):
        return len((x[:, 0] > 0).nonzero())


class Distinct(Reading):
    def number(self, x):
        return len(x[:, 0].round().unique())


class Masked(Reading):
    def number(self, x):
        return x[x[:, 0] > 0].sum()


class Plain:
    """An object that counts."""

    total = 0

    def __init__(self) -> None:
        self.n = 0
        self.held: dict[str, list[int]] = {"seen": []}
        self.rng = np.random.default_rng(0)


class Slotted:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


GLOBAL = 0
PLAIN = Plain()


def ticks():
    count = 0
    while True:
        count += 1
        yield count


class Stateful(nn.Linear):
    """A layer with a counter somewhere, which matters after a thousand steps alone."""

    def __init__(self, *sizes) -> None:
        super().__init__(*sizes)
        self.plain, self.slotted, self.ticks = Plain(), Slotted(), ticks()
        n = 0

        def variable() -> int:
            nonlocal n
            n += 1
            return n

        self.variable = variable

    def forward(self, x):
        return super().forward(x) * (0.5 if self.count() > 1_000 else 1.0)

    def count(self):
        raise NotImplementedError


class OfObject(Stateful):
    def count(self):
        self.plain.n += 1
        return self.plain.n


class OfSlot(Stateful):
    def count(self):
        self.slotted.n += 1
        return self.slotted.n


class OfList(Stateful):
    def count(self):
        self.plain.held["seen"].append(1)
        return len(self.plain.held["seen"])


class OfGlobal(Stateful):
    def count(self):
        global GLOBAL
        GLOBAL += 1
        return GLOBAL


class OfGlobalObject(Stateful):
    def count(self):
        return [raise_by_one() for _ in range(1)][0]


def raise_by_one() -> int:
    PLAIN.n += 1
    return PLAIN.n


class OfClass(Stateful):
    def count(self):
        type(self.plain).total += 1
        return Plain.total


class OfVariable(Stateful):
    def count(self):
        return self.variable()


class OfPython(Stateful):
    def count(self):
        return 2_000 * (random.random() < 0.3)


class OfNumpy(Stateful):
    def count(self):
        return 2_000 * (np.random.rand() < 0.3)  # noqa: NPY002


class OfGenerator(Stateful):
    def count(self):
        return 2_000 * (self.plain.rng.random() < 0.3)


class Ticking(Stateful):
    """Counts where nothing can be seen: only a second trace tells."""

    def forward(self, x):
        return super().forward(x) / next(self.ticks)

    def count(self):
        return 0


READS = r"raises RuntimeError \({} reads numbers of a traced tensor\)"
SIZED = r"tensors whose size depends on numbers \(aten.{}\)\.$"
AGAIN = "because a second trace, with other rows, has other operations or constants: "

CANNOT = {
    "tolist": (Listed, READS.format("tolist")),
    "numpy": (Numpy, READS.format("numpy")),
    "an array": (Array, READS.format("__array__")),
    "a text": (Written, READS.format("__repr__")),
    "an address": (Addressed, AGAIN),
    "a count": (Counted, SIZED.format("nonzero")),
    "distinct values": (Distinct, SIZED.format("_unique2")),
    "a mask": (Masked, SIZED.format("index")),
    "a counting object": (OfObject, r"because a step sets the Python attribute Plain.n\.$"),
    "a counting slot": (OfSlot, r"because a step sets the Python attribute Slotted.n\.$"),
    "a list of an object": (OfList, r"because a step sets the Python attribute Plain.held\.$"),
    "a global": (OfGlobal, r"because a step sets the global variable GLOBAL\.$"),
    "a global object": (OfGlobalObject, r"because a step sets the Python attribute Plain.n\.$"),
    "a class": (OfClass, r"because a step sets the Python attribute Plain.total\.$"),
    "a variable": (OfVariable, r"because a step sets the variable n\.$"),
    "random": (OfPython, r"because a step draws random numbers from Python's random\.$"),
    "numpy.random": (OfNumpy, r"because a step draws random numbers from numpy.random\.$"),
    "a generator": (OfGenerator, r"because a step draws random numbers from Plain.rng\.$"),
    "a generator function": (Ticking, AGAIN),
    "a branch on a value": (Branching, r"because test_compiled.py:\d+ \(return .* raises Runt"),
    "a counter": (Counting, "because a step sets the Python attribute Counting.count."),
    "a list that grows": (Growing, "because a step sets the Python attribute Growing.seen."),
    "a bare tensor": (Unregistered, r"neither a parameter nor a buffer \(Unregistered.gain\)."),
}


@pytest.mark.parametrize("case", CANNOT)
def test_what_cannot_be_traced_is_trained_in_eager_and_said_once(case, backend, caplog):
    network, reason = CANNOT[case]
    runs, guides = [], []
    for compile in (True, False):
        torch.manual_seed(0), random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        model, guide = pair()
        guide.net = network(D, Z)
        runs.append(quiet(model, guide, compile=compile, epochs=2))
        guides.append(guide)
    assert backend.calls == 0
    messages = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(messages) == 1
    assert messages[0].startswith("compile: the steps run in eager torch, because ")
    assert re.search(reason, messages[0])
    assert not runs[0].metrics["compiled"]
    if network is not Ticking:  # A generator function cannot be put back.
        assert_same(*runs)
    if case == "a list that grows":
        assert guides[0].net.seen == guides[1].net.seen


class Repeating(nn.Linear):
    """A layer with a size that comes of constants alone."""

    def forward(self, x):
        scale = x.new_ones(2).repeat_interleave(torch.tensor([1, Z - 1]))
        chosen = scale[torch.tensor([True] * Z)]
        return super().forward(x) * chosen


def test_a_size_that_comes_of_constants_is_compiled(backend):
    model, guide = pair()
    guide.net = Repeating(D, Z)
    assert quiet(model, guide, compile=True, epochs=1).metrics["compiled"]


class Warm(Schedule):
    """A weight that counts by itself how often it is asked for."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, step):
        self.n += 1
        return torch.as_tensor(min(1.0, self.n / 2e4 + 0.1))


@pytest.mark.parametrize("place", ["weight", "capacity"])
def test_a_schedule_that_counts_is_trained_in_eager(place, backend, caplog):
    schedules = [Warm(), Warm()]
    runs = []
    for compile, schedule in zip((True, False), schedules, strict=True):
        objective = (
            ELBO(weights={"z": schedule})
            if place == "weight"
            else ELBO(capacity={"z": Capacity(1.0, gamma=schedule)})
        )
        runs.append(quiet(*pair(), objective, compile=compile, epochs=2))
    assert backend.calls == 0
    assert "because a step sets the Python attribute Warm.n." in caplog.text
    assert schedules[0].n == schedules[1].n
    assert_same(*runs)


def test_the_second_trace_has_other_rows_in_the_layout_of_the_first(backend):
    model, guide = pair()
    first, rest = splits().train["x"][:6], splits().train["x"][6:12]
    made = gradients(model, guide, batch={"x": first}, backend=backend)
    for laid_out in (transposed, with_gaps):
        batch = {"x": laid_out(first)}
        assert torch.equal(made._other(batch)["x"], first.flip(0))
        assert made._other(batch)["x"].stride() == batch["x"].stride() != first.stride()
    assert torch.equal(made._other({"x": first[:1].expand(6, D)})["x"], first[:1].expand(6, D))
    made.other = lambda: {"x": rest}
    assert torch.equal(made._other(batch)["x"], rest.flip(0))
    made.other = lambda: {"x": rest[:2]}  # Fewer data than a batch has.
    assert torch.equal(made._other(batch)["x"], first.flip(0))


def test_python_values_are_put_back():
    def default(seen=[1]):  # noqa: B006
        return seen

    held = Plain()
    held.items = {1: [2, {3}], "array": np.zeros(3), "same": [0]}
    held.rest, held.default, held.space = deque([1], maxlen=2), default, SimpleNamespace(a=1)
    held.itself = held
    state = PythonState(held)
    assert not state.changes()
    held.items["same"] = [0]
    assert not state.changes()  # Another list with the same contents.
    held.items[1][1].add(4)
    held.items["array"][0] = 1
    held.rest.append(2)
    default().append(2)
    held.space.a = 2
    held.new = 0
    drawn = held.rng.random()
    assert state.changes() == [
        "changes a default of default",
        "draws random numbers from Plain.rng",
        *(f"sets the Python attribute {n}" for n in ("Plain.items", "Plain.new", "Plain.rest")),
        "sets the Python attribute SimpleNamespace.a",
    ]
    state.restore()
    assert not state.changes()
    assert held.items[1] == [2, {3}]
    assert not held.items["array"].any()
    assert (list(held.rest), default(), held.space.a) == ([1], [1], 1)
    assert held.rng.random() == drawn


def refuse(code):
    raise NotImplementedError("no compiler here")


def twice_the_means(code):
    return lambda *tensors: [2 * tensor for tensor in code(*tensors)]


def raises_when_run(code):
    def raises(*tensors):
        raise TypeError("expected Tensor() for op: mkldnn_rnn_layer")

    return raises


def wrong_gradients(code):
    def wrong(*tensors):
        means, *gradients = code(*tensors)
        return [means, *(gradient + 1 for gradient in gradients)]

    return wrong


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (refuse, "the compiler raises NotImplementedError (no compiler here)."),
        (twice_the_means, "its compiled step has 'loss' = "),
        (raises_when_run, "its compiled step raises TypeError (expected Tensor() for op: mk"),
        (wrong_gradients, "its compiled step has gradients that differ by "),
    ],
)
def test_a_compiler_that_fails_or_is_wrong_is_not_used(change, reason, backend, caplog):
    backend.change = change
    run = quiet(*pair(), compile=True, epochs=2)
    assert reason in caplog.text
    assert not run.metrics["compiled"]
    assert_same(run, quiet(*pair(), compile=False, epochs=2))


@pytest.mark.parametrize("when", ["while it compiles", "before"])
def test_a_signal_does_not_wait_for_the_compiler(when, backend, tmp_path):
    def compiles(code):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the compiler went on after a signal")

    class Early:
        def on_fit_start(self, training):
            if when == "before":
                os.kill(os.getpid(), signal.SIGTERM)

    backend.change = compiles
    kept = Checkpoint(tmp_path / "kept")
    with ending_on_signals(), pytest.raises(Interrupted, match="SIGTERM after 0 of 2 epochs"):
        quiet(*pair(), compile=True, epochs=2, callbacks=[Early(), kept])
    assert backend.calls == (when != "before")
    run = quiet(*pair(), compile=False, epochs=2, resume=tmp_path / "kept")
    assert_same(run, quiet(*pair(), compile=False, epochs=2))


def test_a_capture_that_fails_leaves_the_compiled_step(backend, monkeypatch, caplog):
    def failing(runner, state, inputs):
        runner(*state, *inputs)  # Draws noise, and may change buffers.
        raise RuntimeError("Cannot copy between CPU and CUDA tensors during CUDA graph capture")

    defaults = {"backend": None, "capture": failing}
    monkeypatch.setattr(CompiledGradients.__init__, "__kwdefaults__", defaults)
    run = quiet(*pair(), compile=True, epochs=2)
    assert "launched kernel by kernel, because capturing it as a CUDA graph raises " in caplog.text
    assert "RuntimeError (Cannot copy between CPU and CUDA tensors" in caplog.text
    assert run.metrics["compiled"]
    assert_same(run, quiet(*pair(), compile=False, epochs=2))


def test_a_captured_step_is_the_compiled_one(backend):
    captured = []

    def capture(runner, state, inputs):
        captured.append([tensor.shape for tensor in inputs])
        return lambda state, inputs: runner(*state, *inputs)

    batch = {"x": splits().train["x"][:16]}
    step = gradients(*pair(), batch=batch, backend=backend, capture=capture)
    step(batch)
    assert step.used
    assert captured == [[torch.Size([16, D])]]


def test_constants_lie_where_their_operations_compute():
    def step(x):
        shifted = torch.zeros_like(x) + torch.tensor(2.0)
        here = torch.arange(2) * torch.tensor(3)
        return x * shifted, here

    code = make_fx(step)(torch.ones(2, device="meta"))
    place_constants(code, torch.device("meta"))
    places = {c.dtype: c.device.type for c in vars(code).values() if isinstance(c, torch.Tensor)}
    places |= {buffer.dtype: buffer.device.type for buffer in code.buffers()}
    assert places == {torch.get_default_dtype(): "meta", torch.int64: "cpu"}


def test_a_view_copies_where_its_input_is_laid_out_otherwise_unless_it_is_written_to():
    def step(x):
        y = x * 2
        y.view(6).mul_(3)
        return (x + y).view(6)

    x = torch.arange(6.0).reshape(2, 3)
    code, expected = make_fx(step)(x), step(x)
    copy_where_needed(code)
    torch.testing.assert_close(code(x), expected)
    called = [node.target for node in code.graph.nodes if node.op == "call_function"]
    assert called.count(torch.ops.aten.view.default) == 1  # the one that mul_ writes through
    code = make_fx(lambda x: x.view(6))(x)
    copy_where_needed(code)
    otherwise = x.t().contiguous().t()
    torch.testing.assert_close(code(otherwise), otherwise.reshape(6))


def test_draws_are_made_before_the_graph_or_depend_on_those_before_them():
    def step(x):
        a = torch.empty_strided((2, 3), (1, 2)).normal_(0.0, 2.0)
        b = torch.empty_like(a).bernoulli_(0.5)
        c = torch.randn_like(x) + torch.randint(4, (3,))
        counts = torch.poisson(x.exp())
        kinds = torch.multinomial(x.softmax(-1), 2)
        d = torch.empty(4).uniform_(-1, 1)
        dropped, mask = torch.native_dropout(x, 0.5, True)
        later = [
            dropped * mask,
            torch.rand(3),
            torch.randn(2, 3).T + 1,
            torch.randint(2, 9, (5,)),
            d,
            d * 2,
        ]
        return [a * b, a + 1, c, counts, kinds, torch.rand_like(x), *later, torch.randint(9, (2,))]

    x = torch.linspace(-1, 1, 3)
    code = make_fx(step)(x)
    torch.manual_seed(0)
    expected = step(x)
    apart, draws = draws_apart(code)
    torch.manual_seed(0)
    drawn = [draw.draw() for draw in draws]
    torch.testing.assert_close(apart(x, *drawn), expected, rtol=0, atol=0)
    assert [(d.empty().stride(), d.empty().dtype) for d in draws] == [
        (value.stride(), value.dtype) for value in drawn
    ]
    assert len(draws) == 4
    # What comes after the counts depends on them.
    first, *others = filter(is_random, apart.graph.nodes)
    assert str(first.target) == "aten.poisson.default"
    assert len(others) == 8
    for before, node in zip([first, *others], others, strict=False):
        drawn_before = node.args[0].args[1]
        assert before in (drawn_before, *drawn_before.args)
    torch.manual_seed(0)
    torch.testing.assert_close(code(x), expected, rtol=0, atol=0)  # It is as it was.


def test_a_tensor_that_is_viewed_before_it_is_filled_stays_in_the_graph():
    def step(x):
        counts = torch.poisson(x.abs())
        filled = torch.empty(4, 3)
        row = filled[0]
        filled.normal_()
        row.mul_(2)
        return [counts, filled]

    x = torch.linspace(-1, 1, 3)
    code = make_fx(step)(x)
    torch.manual_seed(0)
    expected = step(x)
    apart, draws = draws_apart(code)
    assert draws == []
    torch.manual_seed(0)
    torch.testing.assert_close(apart(x), expected, rtol=0, atol=0)


def test_it_is_by_default_for_long_runs_only(backend):
    run = quiet(*pair(), epochs=2)
    assert not run.metrics["compiled"]
    assert run.config["fit"]["compile"] == "auto"
    assert "compile_seconds" not in run.metrics
    assert pays(torch.device("cpu"), 8_000)
    assert not pays(torch.device("cpu"), 7_999)
    assert not pays(torch.device("mps"), 8_000)
    with pytest.raises(ValueError, match='compile: expected True, False or "auto"; got maybe'):
        quiet(*pair(), compile="maybe")


def test_a_resumed_run_is_compiled_as_the_run_that_it_resumes(backend, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "FROM_STEPS", 13 * 4)
    first, rest = [StopAfter(11), Checkpoint(tmp_path / "c")], [StopAfter(12)]
    stopped, resumed = (
        quiet(*pair(), callbacks=first),
        quiet(*pair(), callbacks=rest, resume=tmp_path / "c"),
    )
    assert stopped.metrics["compiled"]
    assert resumed.metrics["compiled"], "one epoch was left of thirteen"
    assert not quiet(*pair(), epochs=12).metrics["compiled"]


def test_the_cache_forgets_what_was_used_longest_ago(backend, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    for weight in (0.1, 0.2, 0.3, 0.1):
        quiet(*pair(), ELBO(weights={"z": weight}), compile=True, epochs=1)
    assert backend.calls == 4
    quiet(*pair(), ELBO(weights={"z": 0.3}), compile=True, epochs=1)
    assert backend.calls == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae, mlp", "jvae", "gpvae"])
def test_inductor_agrees_with_eager_step_for_step(name):
    model, guide, batch, spec = build(name)
    step = gradients(model, guide, spec, batch=batch)
    torch.manual_seed(1)
    ours = [step(batch)[0]["loss"] for _ in range(3)]
    assert step.reason is None
    torch.manual_seed(1)
    theirs = [step.eager(batch)[0]["loss"].detach() for _ in range(3)]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert len(set(map(float, ours))) == 3


@pytest.mark.slow
def test_inductor_trains_as_eager_and_is_reused(monkeypatch):
    monkeypatch.setattr(module, "_COMPILED", type(module._COMPILED)())
    inductor, compiled = module.inductor, []
    monkeypatch.setattr(
        module, "inductor", lambda *given: compiled.append(inductor(*given)) or compiled[-1]
    )
    first = quiet(*pair(), compile=True)
    assert_same(first, quiet(*pair(), compile=False))
    again = quiet(*pair(), compile=True)
    assert_same(again, first)
    assert len(compiled) == 1


@pytest.mark.slow
def test_inductor_looks_in_its_cache_for_the_graph_of_an_earlier_process(monkeypatch):
    from torch._dynamo.utils import counters

    runs = []
    for _ in range(2):
        monkeypatch.setattr(module, "_COMPILED", type(module._COMPILED)())
        hits = counters["inductor"]["fxgraph_cache_hit"]
        runs.append(quiet(*pair(), compile=True))
    assert runs[1].metrics["compiled"]
    assert counters["inductor"]["fxgraph_cache_hit"] == hits + 1
    assert_same(*runs)


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 5000])
def test_graphs_of_other_constants_are_not_taken_for_each_other(size):
    results = []
    for value in (2.0, 3.0):

        class Scaled(nn.Module):
            def __init__(self, value=value):
                super().__init__()
                self.register_buffer("constant", torch.linspace(1, value, size))

            def forward(self, x):
                return (x * self.constant,)

        code = symbolic_trace(Scaled())
        results.append(module.inductor(code, [torch.ones(size)])(torch.ones(size))[0])
    torch.testing.assert_close(results[0], torch.linspace(1, 2.0, size))
    torch.testing.assert_close(results[1], torch.linspace(1, 3.0, size))


@pytest.mark.cuda
def test_a_captured_graph_trains_as_eager():
    runs = [quiet(*pair(), compile=compile, device="cuda") for compile in (True, False)]
    assert runs[0].metrics["compiled"]
    assert_same(*runs)


class Recurrent(nn.Module):
    """A guide that reads a row as a sequence."""

    def __init__(self, kind) -> None:
        super().__init__()
        self.rnn, self.net = kind(1, 4, batch_first=True), nn.Linear(4, Z)

    def forward(self, x):
        states, _ = self.rnn(x[..., None])
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.net(states[:, -1]), 0.5).to_event(1))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_networks_are_traced(kind, backend):
    codes = []
    backend.change = lambda code: codes.append(code.code) or code
    runs = []
    for compile in (True, False):
        model, _ = pair()
        torch.manual_seed(0)
        runs.append(quiet(model, Recurrent(kind), compile=compile, epochs=3))
    assert runs[0].metrics["compiled"]
    assert "mkldnn" not in codes[0]
    assert torch.backends.mkldnn.enabled == torch.backends.mkldnn.is_available()
    assert_same(*runs)
    copy.deepcopy(runs[0].guide)


class Setting:
    """Sets something of the modules at the end of an epoch."""

    def __init__(self, change, *, at=5) -> None:
        self.change, self.at = change, at

    def on_epoch_end(self, training):
        if training.epoch == self.at:
            self.change(training)


class Scaled(nn.Module):
    """A model whose latent has a weight that is a Python number."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Linear(Z, D)
        self.register_buffer("zero", torch.zeros(Z))
        self.beta = 0.1

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            with pyro.poutine.scale(scale=self.beta):
                z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.loc(z), 1.0).to_event(1), obs=x)


class ScaledGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loc, self.drop, self.beta = nn.Linear(D, Z), nn.Dropout(0.5), 0.1

    def forward(self, x):
        with data_plate(x), pyro.poutine.scale(scale=self.beta):
            pyro.sample("z", dist.Normal(self.loc(self.drop(x)), 0.5).to_event(1))


def scaled():
    torch.manual_seed(0)
    return Scaled(), ScaledGuide()


def raise_beta(training):
    training.model.beta = training.guide.beta = 0.8


def end_dropout(training):
    training.guide.drop.p = 0.0


@pytest.mark.parametrize("change", [raise_beta, end_dropout])
def test_a_number_that_a_callback_changes_ends_the_compiled_steps(backend, caplog, change):
    callbacks = [Setting(change)]
    ours = quiet(*scaled(), compile=True, callbacks=callbacks)
    assert "from here on steps run in eager torch" in caplog.text
    assert backend.calls == 1
    assert_same(ours, quiet(*scaled(), compile=False, callbacks=callbacks))
    kept = quiet(*scaled(), compile=True)
    assert column(kept)[:5].tolist() == column(ours)[:5].tolist()
    assert (column(kept)[5:] - column(ours)[5:]).abs().min() > 1e-2


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_parameters_that_a_callback_freezes_or_thaws_are_refused(backend, compiled, frozen):
    model, guide = scaled()
    guide.loc.requires_grad_(not frozen)
    callbacks = [Setting(lambda training: guide.loc.requires_grad_(frozen), at=2)]
    with pytest.raises(ArgumentError, match=r"got other ones: guide.loc.weight, guide.loc.bias"):
        quiet(model, guide, compile=compiled, callbacks=callbacks)
