"""Objectives of the same kind as one module, evaluated by one call of torch.func.vmap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.overrides import TorchFunctionMode

from ppvae.errors import ArgumentError
from ppvae.fitting.tensors import State
from ppvae.objectives import Objective, Terms

__all__ = ["Stacked"]

_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]


class _Vmapped(TorchFunctionMode):
    """Replaces operations that vmap refuses: noise drawn in place, and ``Tensor.data``."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[Tensor] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is torch.Tensor.normal_ and len(args) == 1 and not kwargs:
            return torch.randn_like(args[0])
        if func == _DATA:
            return args[0].detach()
        return func(*args, **(kwargs or {}))


class Stacked(nn.Module):
    """Objectives of the same kind side by side: one call of torch.func.vmap for all.

    Its loss is the sum over members, so that every member's gradient is its own, and an
    optimiser that works element by element, such as Adam, moves each as if it were alone. The
    members' own tensors are left as they were until :meth:`unstack`.

    Arguments:
        objectives: Objectives over models and guides of the same structure.
        batch: Batch on which the first pair is checked: columns by name, each with shape (N, ...).

    Raises:
        ArgumentError: When called, if torch.func.vmap does not take the programs (torch's samplers
            of Beta and Dirichlet, and with them those on spheres).
    """

    def __init__(self, objectives: Sequence[Objective], batch: Mapping[str, Tensor]) -> None:
        super().__init__()
        objectives[0].check(batch)
        self.members = tuple(objectives)  # A tuple: their parameters are not this module's.
        parameters, buffers = stack_module_state(list(objectives))
        self.names = list(parameters)
        # Each parameter once: torch's own handling of tied modules swaps a module with two names
        # twice, and does not restore its parameters.
        names = {id(p): name for name, p in objectives[0].named_parameters()}
        self.places = {
            f"{prefix}.{own}" if prefix else own: names[id(p)]
            for prefix, module in objectives[0].named_modules()
            for own, p in module.named_parameters(recurse=False, remove_duplicate=False)
        }
        trained = {name: p.requires_grad for name, p in objectives[0].named_parameters()}
        self.parameters_of = nn.ParameterList(
            nn.Parameter(value.detach(), requires_grad=trained[name])
            for name, value in parameters.items()
        )
        self.buffers_of = buffers

    def forward(self, batch: Mapping[str, Tensor]) -> Terms:
        """The loss, summed over members, and the means of their terms.

        Arguments:
            batch: Columns by name, each with shape (N, ...), the same for all members.

        Raises:
            ArgumentError: If torch.func.vmap does not take the programs.
        """
        base = self.members[0]
        base.structures.setdefault(frozenset(batch), next(iter(base.structures.values())))

        def one(parameters: State, buffers: State) -> tuple[Tensor, State, State, State]:
            placed = {place: parameters[name] for place, name in self.places.items()}
            terms: Terms = functional_call(base, (placed, buffers), (batch,), tie_weights=False)
            return terms.loss, dict(terms.log_likelihood), dict(terms.kl), dict(terms.extras)

        parameters = dict(zip(self.names, self.parameters_of, strict=True))
        try:
            with _Vmapped():
                together = vmap(one, randomness="different")(parameters, self.buffers_of)
        except RuntimeError as error:
            raise ArgumentError(
                "Stacked: expected programs that torch.func.vmap supports; it refuses these "
                f"({str(error).splitlines()[0]}). Train them in turn (side_by_side=False)."
            ) from error
        loss, log_likelihood, kl, extras = together
        means = [{k: v.mean(0) for k, v in part.items()} for part in (log_likelihood, kl, extras)]
        return Terms(loss.sum(), *means)

    def advance(self) -> None:
        """Count one optimiser step."""
        self.buffers_of["step"] = self.buffers_of["step"] + 1

    @torch.no_grad()
    def unstack(self) -> None:
        """Copy the trained values back into the members' own parameters."""
        for name, stacked in zip(self.names, self.parameters_of, strict=True):
            for member, value in zip(self.members, stacked, strict=True):
                member.get_parameter(name).copy_(value)
