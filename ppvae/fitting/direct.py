"""The optimiser's share of a step, with as little Python as the optimiser allows.

Three quarters of the time of ``Adam.step`` on small tensors are Python around its fused kernel.
:class:`Update` calls this kernel itself, with the same arguments, so that the weights are the same
bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim import optimizer as hooks

from ppvae.typing import JsonObject

__all__ = ["Update"]


@dataclass
class _Arguments:
    """Arguments of Adam's fused kernel, for one group of parameters."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]
    options: JsonObject

    def run(self) -> None:
        # A number is made a tensor for each of them; a tensor is taken as it is.
        torch._foreach_add_(self.steps, torch.ones(()), alpha=1.0)
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


class Update:
    """One step of an optimiser, bit for bit that of ``optimizer.step()``.

    Arguments:
        optimizer: The optimiser. Only torch's Adam with its fused kernel for the CPU is called
            directly, and only once it has a state; any other takes its own step.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    @torch.no_grad()
    def __call__(self) -> None:
        groups = self._groups()
        if groups is None:
            self.optimizer.step()
            return
        for group in groups:
            group.run()

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
            if any(not p.is_cpu or p.dtype != first.dtype for p in used):
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
