"""Compiled steps: the forward and backward pass as one graph that Python no longer runs.

:class:`CompiledGradients` stands where :class:`~ppvae.fitting.step.Gradients` does. It traces the
objective on the first batch (:mod:`ppvae.fitting.compiled.graph`), hands the graph to
TorchInductor, and holds the result against eager torch on that batch before it is used. On CUDA
the compiled graph is captured and replayed. There is one graph and no second one: a batch of
another shape, such as the last of an epoch, runs in eager torch, and so does all of a model that
cannot be traced, with one logged sentence that says why.

Random numbers are drawn by torch's own operations, so that a compiled run sees the stream that
an eager one sees.
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

from ppvae.fitting.compiled.graph import Graph, Tensors, UntraceableError, first_line
from ppvae.fitting.layout import same_layout
from ppvae.fitting.step import Batch, Gradients, Means
from ppvae.fitting.tensors import kept_buffers
from ppvae.objectives import Context
from ppvae.programs import forked

__all__ = ["CompiledGradients", "inductor", "pays"]

logger = logging.getLogger(__name__)

Runner = Callable[..., Sequence[Tensor]]
Backend = Callable[[GraphModule, list[Tensor]], Runner]

# Compiled graphs of this process by Graph.key(), the last used ones.
_COMPILED: OrderedDict[str, Runner] = OrderedDict()
_KEPT = 16

# Relative, of losses in full precision; sums in another order differ by far less.
_TOLERANCE = 1e-3


def inductor(code: GraphModule, examples: list[Tensor]) -> Runner:
    """TorchInductor, with random numbers from torch's own generators, and tanh by way of exp."""
    import torch._inductor

    inputs: list[Any] = list(examples)
    options = {"fallback_random": True, "cpp.use_decompose_tanh": True}
    runner: Runner = torch._inductor.compile(code, inputs, options=options)
    return runner


def pays(device: torch.device, steps: int) -> bool:
    """Whether compiling is known to be worth its time, of up to 30 s.

    A step gains about 2 ms on one core, by which 10,000 steps have paid for it.
    """
    return device.type in ("cpu", "cuda") and steps >= 10_000


class CompiledGradients:
    """Forward and backward of one batch as a compiled graph, where there can be one.

    Arguments:
        eager: What it stands in for, and falls back on.
        backend: Compiles a graph for example inputs.

    Attributes:
        compile_seconds: What tracing, compiling and checking took; None before the first batch.
        reason: Why all steps run in eager torch; None where they need not.
    """

    def __init__(self, eager: Gradients, *, backend: Backend | None = None) -> None:
        self.eager = eager
        self.backend = inductor if backend is None else backend
        self.compile_seconds: float | None = None
        self.reason: str | None = None
        self._graph: Graph | None = None
        self._means: list[str] = []
        self._values: list[str] = []
        self._run: Callable[[list[Tensor], list[Tensor]], Sequence[Tensor]]

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
        # Eager first: a program may set attributes at its first run, once and for all.
        expected = self._try(self.eager, batch)
        try:
            graph = Graph(self._function, self.eager.objective, self.eager.parameters, batch)
            self._run = self._compile(graph, batch)
            self._compare(expected, self._try(lambda batch: self._replay(graph, batch), batch))
            self._graph = graph
        except UntraceableError as error:
            self.reason = str(error)
        self.compile_seconds = time.perf_counter() - started
        if self.reason is not None:
            logger.warning("compile: the steps run in eager torch, because %s.", self.reason)
        else:
            logger.info("compile: the step was compiled in %.1f s.", self.compile_seconds)

    def _function(self, batch: Tensors) -> tuple[Tensor, list[Tensor]]:
        terms, context = self.eager.evaluate(batch)
        means = terms.means()
        self._means, self._values = list(means), []
        if not self.eager.context:
            return terms.loss, [*means.values()]
        structure = self.eager.objective.structures[frozenset(batch)]
        if structure.enumerated or self.eager.objective.spec.num_particles > 1:
            raise UntraceableError("a critic sees enumerated sites or several particles")
        self._values = list(context.values)
        return terms.loss, [*means.values(), *context.values.values()]

    def _compile(
        self, graph: Graph, batch: Batch
    ) -> Callable[[list[Tensor], list[Tensor]], Sequence[Tensor]]:
        key = f"{self.backend.__module__}.{self.backend.__qualname__} {graph.key()}"
        state, inputs = graph.state(), graph.arrange(batch)
        if key not in _COMPILED:
            try:
                with torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    _COMPILED[key] = self.backend(graph.code, [*state, *inputs])
            except Exception as error:
                raise UntraceableError(f"the compiler raises {first_line(error)}") from error
        _COMPILED.move_to_end(key)
        while len(_COMPILED) > _KEPT:
            _COMPILED.popitem(last=False)
        runner = _COMPILED[key]
        if state[0].is_cuda:
            with forked(state[0].device), kept_buffers(self.eager.objective):
                return CapturedGraph(runner, state, inputs)
        return lambda state, inputs: runner(*state, *inputs)

    def _try(
        self, gradients: Callable[[Batch], tuple[Means, Context | None]], batch: Batch
    ) -> tuple[Means, dict[int, Tensor]]:
        """Means and gradients of a step that leaves buffers and random numbers as they were."""
        objective, parameters = self.eager.objective, self.eager.parameters
        with torch.no_grad(), forked(parameters[0].device), kept_buffers(objective):
            with torch.enable_grad():
                means, _ = gradients(batch)
            kept = {i: p.grad.clone() for i, p in enumerate(parameters) if p.grad is not None}
            means = {name: value.clone() for name, value in means.items()}
        for parameter in parameters:
            parameter.grad = None
        return means, kept

    def _compare(
        self,
        eager: tuple[Means, dict[int, Tensor]],
        compiled: tuple[Means, dict[int, Tensor]],
    ) -> None:
        """Same weights, same noise, same batch: the two must agree."""
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
        if not all(same_layout(g, self.eager.parameters[i]) for i, g in compiled[1].items()):
            raise UntraceableError("its compiled step lays gradients out unlike their parameters")
        ours, theirs = list(eager[1].values()), list(compiled[1].values())
        norms = [_norm(ours), _norm(list(torch._foreach_sub(ours, theirs)))]
        if norms[1] > 10 * rtol * norms[0]:
            raise UntraceableError(
                f"its compiled step has gradients that differ by {norms[1]:.1e} of {norms[0]:.1e}"
            )

    def _replay(self, graph: Graph, batch: Batch) -> tuple[Means, Context | None]:
        with torch.no_grad():
            flat = self._run(graph.state(), graph.arrange(batch))
        outputs = graph.take(flat)
        means = dict(zip(self._means, outputs, strict=False))
        if not self.eager.context:
            return means, None
        objective = self.eager.objective
        return means, Context(
            batch=batch,
            values=dict(zip(self._values, outputs[len(means) :], strict=True)),
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


def _norm(tensors: list[Tensor]) -> float:
    norms = [n.double() for n in torch._foreach_norm(tensors)]
    return float(torch.stack(norms).norm())


def _not_kept() -> Tensor:
    raise RuntimeError(
        "context: expected an eager step; a compiled one does not keep log-densities for a "
        "critic. Use fit(..., compile=False)."
    )


class CapturedGraph:
    """A compiled function of tensors captured as a CUDA graph, which one launch replays.

    Arguments:
        runner: The function.
        state: Tensors that are read and written where they lie.
        inputs: Examples of those that are copied in at each call.
    """

    def __init__(self, runner: Runner, state: list[Tensor], inputs: list[Tensor]) -> None:
        self.runner = runner
        self.addresses = [tensor.data_ptr() for tensor in state]
        self.inputs = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(stream):
            for _ in range(3):
                runner(*state, *self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self.graph):
            self.outputs = runner(*state, *self.inputs)

    def __call__(self, state: list[Tensor], inputs: list[Tensor]) -> Sequence[Tensor]:
        if [tensor.data_ptr() for tensor in state] != self.addresses:
            return self.runner(*state, *inputs)
        torch._foreach_copy_(self.inputs, inputs, non_blocking=True)
        self.graph.replay()
        return self.outputs
