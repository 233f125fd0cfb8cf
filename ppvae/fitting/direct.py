"""The optimiser's share of a step, with as little Python as the optimiser allows.

Three quarters of the time of ``Adam.step`` on small tensors are Python around its fused kernel.
:class:`Update` calls this kernel itself, with the same arguments: on a CPU, the weights are the
same bit for bit. On CUDA, where a captured step leaves its gradients in one place, the call is
captured as well, with the learning rate as a tensor, so that a schedule may change it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim import optimizer as hooks

from ppvae.fitting.captured import captured
from ppvae.typing import JsonObject

__all__ = ["Update"]

logger = logging.getLogger(__name__)

# Steps with the same tensors and numbers before they are captured, as capturing takes time.
REPEATS = 10

Capture = Callable[[Callable[[], None], torch.device], tuple[Callable[[], None], None]]


@dataclass
class _Arguments:
    """Arguments of Adam's fused kernel, for one group of parameters."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]
    rate: float | Tensor
    options: JsonObject

    def run(self) -> None:
        if self.steps[0].is_cpu:
            # A number is made a tensor for each of them; a tensor is taken as it is.
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
            lr=self.rate,
            amsgrad=False,
            maximize=False,
            **self.options,
        )

    def key(self) -> Hashable:
        """Where the tensors are, and the numbers but for the learning rate."""
        lists = (self.parameters, self.gradients, self.means, self.squares, self.steps)
        places = tuple(tensor.data_ptr() for tensors in lists for tensor in tensors)
        return places, tuple(self.options.values())


class Update:
    """One step of an optimiser, on a CPU bit for bit that of ``optimizer.step()``.

    Arguments:
        optimizer: The optimiser. Only torch's Adam with its fused kernel is called directly, and
            only once it has a state; any other takes its own step.
        replayed: Whether the gradients are those of a captured step, which are in the same place
            at each; on CUDA only their update is called directly, and captured.
        capture: Function that captures another one for replaying.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        replayed: Callable[[], bool] = lambda: False,
        capture: Capture = captured,
    ) -> None:
        self.optimizer = optimizer
        self.replayed = replayed
        self.capture: Capture | None = capture
        self._rates: list[Tensor] = []
        self._numbers: list[float] = []
        self._last: Hashable = None
        self._repeats = 0
        self._key: Hashable = None
        self._replay: Callable[[], None]

    @torch.no_grad()
    def __call__(self) -> None:
        groups = self._groups()
        if groups is None:
            self.optimizer.step()
        elif self.replayed():
            self._replayed(groups)
        else:
            for group in groups:
                group.run()

    def _replayed(self, groups: list[_Arguments]) -> None:
        """Replay what was captured for these arguments; capture those that come repeatedly."""
        self._set_rates(groups)
        key = tuple(group.key() for group in groups)
        self._repeats = self._repeats + 1 if key == self._last else 0
        self._last = key
        if key != self._key and self._repeats >= REPEATS and self.capture is not None:
            self._captured(groups, self.capture, key)
        if key == self._key:
            self._replay()
            return
        for group in groups:
            group.run()

    def _captured(self, groups: list[_Arguments], capture: Capture, key: Hashable) -> None:
        def run() -> None:
            for group in groups:
                group.run()

        try:
            self._replay, _ = capture(run, groups[0].parameters[0].device)
            self._key = key
        except RuntimeError as error:
            self.capture = None
            logger.warning(
                "compile: the optimiser's kernels are launched at each step, because capturing "
                "them as a CUDA graph raises %s (%s).",
                type(error).__name__,
                str(error).partition("\n")[0],
            )

    def _set_rates(self, groups: list[_Arguments]) -> None:
        """Make each learning rate a tensor, which a replay reads again."""
        numbers = [float(group.rate) for group in groups]
        if len(numbers) != len(self._rates):
            # The kernel reads a float32.
            place = groups[0].parameters[0].device
            self._rates = [torch.empty((), dtype=torch.float32, device=place) for _ in groups]
            self._numbers = [float("nan")] * len(numbers)
        for i, (group, rate) in enumerate(zip(groups, self._rates, strict=True)):
            if numbers[i] != self._numbers[i]:
                rate.fill_(numbers[i])
            group.rate = rate
        self._numbers = numbers

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
            if not first.is_cpu and not self.replayed():
                return None
            beta1, beta2 = group["betas"]
            groups.append(
                _Arguments(
                    list(used),
                    [p.grad for p in used],
                    [state["exp_avg"] for state in states],
                    [state["exp_avg_sq"] for state in states],
                    [state["step"] for state in states],
                    group["lr"],
                    {
                        "beta1": beta1,
                        "beta2": beta2,
                        "weight_decay": group["weight_decay"],
                        "eps": group["eps"],
                    },
                )
            )
        return groups


def _plain(group: JsonObject) -> bool:
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
