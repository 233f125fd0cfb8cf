"""Five implementations of the same step, each a function without arguments.

The library's are those of :func:`ppvae.fit`: fused Adam, convolutions channels last. The others
have fused Adam where it is theirs to choose, and torch's usual layout.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack

import pyro
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from rows import Row
from torch import nn

from ppvae.fitting.compiled.gradients import CompiledGradients
from ppvae.fitting.layout import channels_last
from ppvae.fitting.step import Critic, Gradients, Step, adam, split_parameters
from ppvae.programs import hooks_of

Batch = dict[str, torch.Tensor]
TakingBatch = Callable[..., object]

RATE = 1e-3

# Name in the table to how it is made.
NAMES = ("eager", "compiled", "Pyro SVI", "hand-written", "hand-written, compiled")


def library(
    row: Row,
    device: torch.device,
    *,
    compile: bool,
    precision: torch.dtype | None = None,
    factor: int = 1,
) -> tuple[Callable[[], object], str]:
    """A step, and the reason why it is not compiled; a batch is ``factor`` times the row's."""
    model, guide, spec = row.pair()
    batches = [row.batch() for _ in range(factor)]
    batch = {name: torch.cat([b[name] for b in batches]).to(device) for name in batches[0]}
    objective = spec(model, guide, num_data=len(batch["x"])).to(device).train()
    objective.check(batch)
    parameters, critics = split_parameters(objective)
    gradients = Gradients(objective, parameters, precision=precision, context=bool(critics))
    compiled = CompiledGradients(gradients) if compile else None
    step = Step(
        objective,
        compiled or gradients,
        parameters,
        adam(parameters, RATE),
        critics=[Critic(term) for term in critics],
    )
    layout = ExitStack()
    layout.enter_context(channels_last(objective))  # As fit does; kept for as long as the step.
    step.layout = layout
    step(batch)
    return lambda: step(batch), "" if compiled is None else (compiled.reason or "")


class Stored(nn.Module):
    """A program with parameters that Pyro's SVI can collect."""

    def __init__(self, name: str, program: nn.Module) -> None:
        super().__init__()
        self.name, self.program = name, program

    def forward(self, **columns: object) -> object:
        pyro.module(self.name, self.program)
        return self.program(**columns)


def pyro_svi(row: Row, device: torch.device) -> tuple[TakingBatch, TakingBatch]:
    """A step, and the loss per datum of a batch."""
    pyro.clear_param_store()
    model, guide, spec = row.pair()
    batch = {name: column.to(device) for name, column in row.batch().items()}
    structure = spec(model.to(device), guide.to(device)).check(batch)
    model.train(), guide.train()
    elbo = TraceEnum_ELBO(max_plate_nesting=1) if structure.enumerated else Trace_ELBO()
    index = batch.pop("index", None)
    run_guide, run_model = Stored("guide", guide), Stored("model", model)
    # Pyro's own steps do not update a GP that stores encodings and is solved every few steps.
    hooks = hooks_of(model, guide)

    def q(**given: object) -> None:
        trace = poutine.trace(run_guide).get_trace(x=given["x"])
        if index is not None:
            for hook in hooks:
                hook.record(index, {name: trace.nodes[name]["fn"] for name in structure.latent})

    svi = SVI(run_model, q, pyro.optim.Adam({"lr": RATE}), elbo)

    def step(given: Batch = batch) -> float:
        loss = svi.step(**given)
        for hook in hooks:
            hook.advance()
        return loss / len(given["x"])

    step()
    return step, lambda given: svi.evaluate_loss(**given) / len(given["x"])


def hand_written(
    row: Row, device: torch.device, *, compile: bool
) -> tuple[TakingBatch, TakingBatch]:
    """A step, and the loss per datum of a batch."""
    twin = row.twin().to(device).train()
    batch = {name: column.to(device) for name, column in row.batch().items()}
    loss = torch.compile(twin, dynamic=False) if compile else twin
    optimizer = adam(twin.parameters(), RATE)
    advance = getattr(twin, "advance", lambda: None)

    def step(given: Batch = batch) -> torch.Tensor:
        value = loss(given)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        advance()
        return value.detach()

    step()
    return step, twin


def contenders(row: Row, device: torch.device) -> tuple[dict[str, Callable], dict, str]:
    """Steps by name, the seconds to make each, and the reason why one is not compiled."""
    steps, seconds = {}, {}
    makers = {
        "eager": lambda: library(row, device, compile=False)[0],
        "Pyro SVI": lambda: pyro_svi(row, device)[0],
        "hand-written": lambda: hand_written(row, device, compile=False)[0],
        "hand-written, compiled": lambda: hand_written(row, device, compile=True)[0],
    }
    if not row.pyro:
        makers.pop("Pyro SVI")
    if row.twin is None:
        makers.pop("hand-written")
    if row.twin is None or not row.dynamo:
        makers.pop("hand-written, compiled")
    started = time.perf_counter()
    steps["compiled"], reason = library(row, device, compile=True)
    seconds["compiled"] = time.perf_counter() - started
    for name, make in makers.items():
        torch.manual_seed(0)
        started = time.perf_counter()
        steps[name] = make()
        seconds[name] = time.perf_counter() - started
    return {name: steps[name] for name in NAMES if name in steps}, seconds, reason
