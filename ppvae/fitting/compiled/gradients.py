"""Compiled steps: the forward and backward pass as one graph, without Python at each step.

:class:`CompiledGradients` replaces :class:`~ppvae.fitting.step.Gradients`. It traces the objective
on the first batch (:mod:`ppvae.fitting.compiled.graph`), and again on other rows, with which the
graph has to be the same; passes the graph to TorchInductor; and compares the result with eager
torch on both batches before using it. On CUDA the compiled graph is captured and replayed. There
is a single graph: a batch of another shape, such as the last of an epoch, runs in eager torch. A
model that cannot be traced runs in eager torch entirely, and a logged sentence gives the reason.

Random numbers are drawn by torch's own operations, so that a compiled run uses the same random
numbers as an eager one.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from ppvae.fitting.captured import CapturedGraph
from ppvae.fitting.compiled.graph import (
    Graph,
    Tensors,
    UntraceableError,
    first_line,
    shapes_of,
)
from ppvae.fitting.compiled.python_state import PythonState
from ppvae.fitting.compiled.rewrites import draws_apart, is_random
from ppvae.fitting.plain import changed, plain_state
from ppvae.fitting.record import StackedMeans
from ppvae.fitting.step import Batch, Gradients, Means
from ppvae.fitting.tensors import kept_buffers
from ppvae.objectives import Context
from ppvae.programs import forked
from ppvae.signals import Cut, cut_by_signals

__all__ = ["CompiledGradients", "inductor", "pays"]

logger = logging.getLogger(__name__)

Runner = Callable[..., Sequence[Tensor]]
Backend = Callable[[GraphModule, list[Tensor]], Runner]
Step = Callable[[list[Tensor], list[Tensor]], Sequence[Tensor]]  # Of state and inputs.
Capture = Callable[[Runner, list[Tensor], list[Tensor]], Step]

# The most recently used compiled graphs of this process, by Graph.key().
_COMPILED: OrderedDict[str, Runner] = OrderedDict()
_KEPT = 16

# Number of steps from which a run is compiled by default.
FROM_STEPS = 8_000

# Relative tolerance of losses in full precision; the order of sums changes them by far less.
_TOLERANCE = 1e-3


def inductor(code: GraphModule, examples: list[Tensor]) -> Runner:
    """TorchInductor, with random numbers from torch's own generators, and tanh by exp.

    It is given the shapes of the examples, not their values: only then does it look for the graph
    in its cache on disk, where a process before this one may have left it.
    """
    import torch._inductor
    from torch._guards import TracingContext, tracing
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    code, draws = draws_apart(code)
    examples = [*examples, *(draw.empty() for draw in draws)]
    options = {"fallback_random": True, "cpp.use_decompose_tanh": True}
    if sum(map(is_random, code.graph.nodes)) > 1:
        # Operations in another order would take each other's random numbers.
        options |= {"reorder_for_peak_memory": False, "reorder_for_locality": False}
    fake = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    inputs: list[Any] = [fake.from_tensor(e.detach(), static_shapes=True) for e in examples]
    with tracing(TracingContext(fake)):
        runner: Runner = torch._inductor.compile(code, inputs, options=options)
    return lambda *tensors: runner(*tensors, *[draw.draw() for draw in draws])


def pays(device: torch.device, steps: int) -> bool:
    """Whether a run is compiled by default: where compiling is known to be worth its time.

    With an empty cache, compiling takes as long as is then saved in 640 steps (an rVAE) to 7,900
    (a network of 32 units). The choice depends on the length of the run alone, and not on what is
    in TorchInductor's cache on disk: compiled steps differ from eager ones in the last bits, and
    the same command is to have the same result the second time.
    """
    return device.type in ("cpu", "cuda") and steps >= FROM_STEPS


class CompiledGradients:
    """Forward and backward pass of a batch as a compiled graph, where the objective allows it.

    Arguments:
        eager: Eager gradients that this object replaces, and falls back on.
        other: Function that makes a batch of other rows, of the same shapes as the first one; by
            default the first batch's rows in another order.
        backend: Function that compiles a graph for example inputs.
        capture: Function that captures a compiled function for replaying; by default
            :class:`CapturedGraph` on CUDA, and none elsewhere.

    Attributes:
        captured: Whether the compiled step is replayed, which leaves its gradients in one place.
        compile_seconds: Seconds of tracing, compiling and checking; None before the first batch.
        reason: Reason why all steps run in eager torch; None if they do not.
    """

    def __init__(
        self,
        eager: Gradients,
        *,
        other: Callable[[], Batch] | None = None,
        backend: Backend | None = None,
        capture: Capture | None = None,
    ) -> None:
        self.eager = eager
        self.other = other
        self.capture = capture
        self.backend = inductor if backend is None else backend
        self.captured = False
        self.compile_seconds: float | None = None
        self.reason: str | None = None
        self._graph: Graph | None = None
        self._names: list[str] = []
        self._means = StackedMeans((), torch.empty(0))
        self._values: list[str] = []
        self._plain: dict[str, object] = {}
        self._run: Step

    @property
    def used(self) -> bool:
        """Whether there is a compiled step."""
        return self._graph is not None

    def __call__(self, batch: Batch) -> tuple[Means, Context | None]:
        if self.compile_seconds is None:
            self._build(batch)
        if self._graph is None or not self._graph.fits(batch):
            return self.eager(batch)
        return self._replay(self._graph, batch)

    def _build(self, batch: Batch) -> None:
        started = time.perf_counter()
        # One graph for the whole run, so also with the terms that have ended.
        self.eager.objective.begin(0)
        before = PythonState(self.eager.objective)
        # Eager first: a program may set attributes in its first run that it then keeps.
        expected = self._try(self.eager, batch)
        try:
            graph, other = self._trace(batch), self._other(batch)
            if self._trace(other).program() != graph.program():
                raise UntraceableError(
                    "a second trace, with other rows, has other operations or constants: a number "
                    "from Python changes from step to step"
                )
            self._run = self._compile(graph, batch)
            self._compare(expected, self._try_compiled(graph, batch))
            expected = self._try(self.eager, other)
            self._compare(expected, self._try_compiled(graph, other))
            self._graph = graph
        except UntraceableError as error:
            self.reason, self.captured = str(error), False
            # The steps are to be those of a run that has tried nothing.
            before.restore()
        self.compile_seconds = time.perf_counter() - started
        if self.reason is not None:
            logger.warning("compile: the steps run in eager torch, because %s.", self.reason)
        else:
            logger.info("compile: the step was compiled in %.1f s.", self.compile_seconds)

    def _trace(self, batch: Batch) -> Graph:
        return Graph(self._function, self.eager.objective, self.eager.parameters, batch)

    def _other(self, batch: Batch) -> Batch:
        """A batch like this one with other rows, or the same ones in another order."""
        found = batch if self.other is None else self.other()
        if shapes_of(found) != shapes_of(batch):
            found = batch
        return {name: _reversed(found[name], column) for name, column in batch.items()}

    def mark(self) -> None:
        """Keep the numbers of the modules as they are, before a callback."""
        if self._graph is not None:
            self._plain = self._plain_state()

    def notice(self) -> None:
        """Return to eager steps if a number of the modules has changed since :meth:`mark`.

        Callbacks may do that: the weight of a KL, a probability of dropout.
        """
        if self._graph is None:
            return
        if what := changed(self._plain, self._plain_state()):
            self._graph, self.captured = None, False
            self.reason = f"{what} has changed since it was compiled; keep it in a buffer"
            logger.warning("compile: from here on steps run in eager torch, as %s.", self.reason)

    def _plain_state(self) -> dict[str, object]:
        return plain_state(self.eager.objective.model, self.eager.objective.guide)

    def _function(self, batch: Tensors) -> tuple[Tensor, list[Tensor]]:
        terms, context = self.eager.evaluate(batch)
        means = terms.means()
        self._names, self._values = list(means), []
        stacked = torch.stack([*means.values()])
        if not self.eager.context:
            return terms.loss, [stacked]
        structure = self.eager.objective.structures[frozenset(batch)]
        if structure.enumerated or self.eager.objective.spec.num_particles > 1:
            raise UntraceableError("a critic sees enumerated sites or several particles")
        self._values = list(context.values)
        return terms.loss, [stacked, *context.values.values()]

    def _compile(self, graph: Graph, batch: Batch) -> Step:
        key = f"{self.backend.__module__}.{self.backend.__qualname__} {graph.key()}"
        state, inputs = graph.state(), graph.arrange(batch)
        if key not in _COMPILED:
            try:
                with cut_by_signals(), torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    _COMPILED[key] = self.backend(graph.code, [*state, *inputs])
            except Cut as error:
                raise UntraceableError("a signal came before it was compiled") from error
            except Exception as error:
                raise UntraceableError(f"the compiler raises {first_line(error)}") from error
        _COMPILED.move_to_end(key)
        while len(_COMPILED) > _KEPT:
            _COMPILED.popitem(last=False)
        runner = _COMPILED[key]
        if state[0].is_cuda or self.capture is not None:
            try:
                with forked(state[0].device), kept_buffers(self.eager.objective):
                    step = (self.capture or CapturedGraph)(runner, state, inputs)
                self.captured = True
                return step
            except RuntimeError as error:
                logger.warning(
                    "compile: the compiled step is launched kernel by kernel, because capturing "
                    "it as a CUDA graph raises %s.",
                    first_line(error),
                )
        return lambda state, inputs: runner(*state, *inputs)

    def _try(
        self, gradients: Callable[[Batch], tuple[Means, Context | None]], batch: Batch
    ) -> tuple[Means, dict[int, Tensor]]:
        """Means and gradients of a step; buffers and random numbers are restored afterwards."""
        objective, parameters = self.eager.objective, self.eager.parameters
        with torch.no_grad(), forked(parameters[0].device), kept_buffers(objective):
            with torch.enable_grad():
                means, _ = gradients(batch)
            kept = {i: p.grad.clone() for i, p in enumerate(parameters) if p.grad is not None}
            means = {name: value.clone() for name, value in means.items()}
        for parameter in parameters:
            parameter.grad = None
        return means, kept

    def _try_compiled(self, graph: Graph, batch: Batch) -> tuple[Means, dict[int, Tensor]]:
        try:
            return self._try(lambda batch: self._replay(graph, batch), batch)
        except Exception as error:
            raise UntraceableError(f"its compiled step raises {first_line(error)}") from error

    def _compare(
        self,
        eager: tuple[Means, dict[int, Tensor]],
        compiled: tuple[Means, dict[int, Tensor]],
    ) -> None:
        """Refuse a compiled step that differs from the eager one at equal weights and noise."""
        rtol = _TOLERANCE if self.eager.precision is None else 30 * _TOLERANCE
        for name, value in eager[0].items():
            other = compiled[0][name]
            if not torch.allclose(value, other, rtol=rtol, atol=rtol, equal_nan=True):
                raise UntraceableError(
                    f"its compiled step has {name!r} = {float(other):g} where the eager one has "
                    f"{float(value):g}"
                )
        if eager[1].keys() != compiled[1].keys():
            raise UntraceableError("its compiled step leaves other parameters without gradient")
        ours, theirs = list(eager[1].values()), list(compiled[1].values())
        norms = [_norm(ours), _norm(list(torch._foreach_sub(ours, theirs)))]
        if norms[1] > 10 * rtol * norms[0]:
            raise UntraceableError(
                f"its compiled step has gradients that differ by {norms[1]:.1e} of {norms[0]:.1e}"
            )

    def _replay(self, graph: Graph, batch: Batch) -> tuple[Means, Context | None]:
        with torch.no_grad():
            flat = self._run(graph.state(), graph.arrange(batch))
        stacked, *outputs = graph.take(flat)
        if self._means.stacked is not stacked:  # What is replayed has its results in one place.
            self._means = StackedMeans(self._names, stacked)
        if not self.eager.context:
            return self._means, None
        objective = self.eager.objective
        return dict(self._means), Context(
            batch=batch,
            values=dict(zip(self._values, outputs, strict=True)),
            q={},
            p={},
            step=objective.step,
            expectation=lambda value: value.reshape(-1),
            model=objective.model,
            guide=objective.guide,
            log_weights=_not_kept,
            kl={},
            log_likelihood_at=lambda values: {"": _not_kept()},
        )


def _reversed(rows: Tensor, column: Tensor) -> Tensor:
    """Rows from the last to the first, in the strides of a column: compiled code asks for them."""
    if 0 in column.stride():
        return column  # Expanded: no copy has its strides.
    made = torch.empty_strided(
        column.shape, column.stride(), dtype=column.dtype, device=column.device
    )
    return made.copy_(rows.flip(0))


def _norm(tensors: list[Tensor]) -> float:
    norms = [n.double() for n in torch._foreach_norm(tensors)]
    return float(torch.stack(norms).norm())


def _not_kept() -> Tensor:
    raise RuntimeError(
        "context: expected an eager step; a compiled one does not keep log-densities for a "
        "critic. Use fit(..., compile=False)."
    )
