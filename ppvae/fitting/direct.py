"""The optimiser's share of a step, with as little Python as the optimiser allows.

Three quarters of the time of ``Adam.step`` on small tensors are Python around its fused kernel.
:class:`Update` calls this kernel itself, with the same arguments, so that the weights are the same
bit for bit. On CUDA, where a compiled step leaves its gradients in one place, the call is captured
as a CUDA graph and replayed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim import optimizer as hooks

__all__ = ["Update", "captured"]

logger = logging.getLogger(__name__)

# Steps with the same arguments before they are captured, as capturing waits for the device.
_REPEATS = 10

Capture = Callable[[Callable[[], None]], Callable[[], None]]


def captured(function: Callable[[], None]) -> Callable[[], None]:
    """Capture a function of CUDA tensors, without running it; the result replays it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


@dataclass
class _Arguments:
    """Arguments of Adam's fused kernel, for one group of parameters."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]
    options: dict[str, Any]

    def run(self) -> None:
        # On a CPU a number is made a tensor for each of them; a tensor is taken as it is.
        if self.steps[0].is_cpu:
            torch._foreach_add_(self.steps, torch.ones(()), alpha=1.0)
        else:
            torch._foreach_add_(self.steps, 1)
        torch._fused_adam_(
            self.parameters,
            self.gradients,
            self.means,
            self.squares,
            [],
            self.steps,
            amsgrad=False,
            maximize=False,
            **self.options,
        )

    def key(self) -> Hashable:
        """Where the tensors are, and the numbers."""
        tensors = [getattr(self, f.name) for f in fields(self) if f.name != "options"]
        places = tuple(tensor.data_ptr() for part in tensors for tensor in part)
        return places, tuple(self.options.values())


class Update:
    """One step of an optimiser, bit for bit that of ``optimizer.step()``.

    Arguments:
        optimizer: The optimiser. Only torch's Adam with its fused kernel is called directly, and
            only once it has a state; any other takes its own step.
        capture: Function that captures another one for replaying; by default CUDA graphs, for
            parameters on CUDA, and none elsewhere.
    """

    def __init__(self, optimizer: Optimizer, *, capture: Capture | None = None) -> None:
        self.optimizer = optimizer
        tensors = [p for group in optimizer.param_groups for p in group["params"]]
        on_cuda = all(tensor.is_cuda for tensor in tensors)
        self.capture = captured if capture is None and on_cuda else capture
        self._last: Hashable = None
        self._repeats = 0
        self._key: Hashable = None
        self._replay: Callable[[], None] | None = None

    @torch.no_grad()
    def __call__(self) -> None:
        groups = self._groups()
        if groups is None:
            self.optimizer.step()
        elif self.capture is None:
            for group in groups:
                group.run()
        else:
            self._captured(groups, self.capture)

    def _captured(self, groups: list[_Arguments], capture: Capture) -> None:
        """Replay what was captured for these arguments; capture those that come repeatedly."""

        def run() -> None:
            for group in groups:
                group.run()

        key = tuple(group.key() for group in groups)
        self._repeats = self._repeats + 1 if key == self._last else 0
        self._last = key
        if key != self._key and self._repeats >= _REPEATS:
            self._capture(run, capture, key)
        if key == self._key and self._replay is not None:
            self._replay()
        else:
            run()

    def _capture(self, run: Callable[[], None], capture: Capture, key: Hashable) -> None:
        try:
            self._replay, self._key = capture(run), key
        except RuntimeError as error:
            self.capture = None
            logger.warning(
                "compile: the optimiser's kernels are launched at each step, because capturing "
                "them as a CUDA graph raises %s (%s).",
                type(error).__name__,
                error,
            )

    def _groups(self) -> list[_Arguments] | None:
        """Arguments of the kernel; None where the optimiser itself must take the step."""
        optimizer = self.optimizer
        if type(optimizer) is not Adam or _has_hooks(optimizer):
            return None
        groups = []
        for group in optimizer.param_groups:
            used = [p for p in group["params"] if p.grad is not None]
            states: list[dict[str, Tensor]] = [optimizer.state.get(p, {}) for p in used]
            if not used or not all(states) or not _plain(group):
                return None
            first = used[0]
            if any(p.device != first.device or p.dtype != first.dtype for p in used):
                return None
            beta1, beta2 = group["betas"]
            groups.append(
                _Arguments(
                    list(used),
                    [p.grad for p in used],
                    [state["exp_avg"] for state in states],
                    [state["exp_avg_sq"] for state in states],
                    [state["step"] for state in states],
                    {
                        "lr": group["lr"],
                        "beta1": beta1,
                        "beta2": beta2,
                        "weight_decay": group["weight_decay"],
                        "eps": group["eps"],
                    },
                )
            )
        return groups


def _plain(group: dict[str, Any]) -> bool:
    """Whether a group has the fused kernel, numbers for its options, and none of the variants."""
    variants = ("amsgrad", "maximize", "differentiable", "decoupled_weight_decay")
    numbers = (group["lr"], *group["betas"])
    return (
        bool(group["fused"])
        and not any(group.get(name) for name in variants)
        and not any(isinstance(number, Tensor) for number in numbers)
    )


def _has_hooks(optimizer: Optimizer) -> bool:
    """Whether something else is to run before or after the optimiser's step."""
    own = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    everywhere = (hooks._global_optimizer_pre_hooks, hooks._global_optimizer_post_hooks)
    return any(len(kept) > 0 for kept in (*own, *everywhere))
