"""Support for :class:`pyro.infer.SVI`, which trains the parameters that a program declares.

Pyro's SVI collects the parameters of ``pyro.param`` and ``pyro.module`` statements, and a plain
:class:`torch.nn.Module` has none: SVI would run and train nothing.
:func:`ppvae.programs.data_plate` therefore makes such statements for the program that calls it,
only while SVI collects them and without the global parameter store.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

from pyro.distributions import constraints
from pyro.poutine.runtime import _PYRO_STACK, effectful
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.hooks import FitHooks, hooks_of

__all__ = ["declare_parameters"]


def declare_parameters(frame: FrameType | None) -> None:
    """Declare the parameters of the program whose ``forward`` runs in ``frame`` or around it.

    Does nothing unless a handler collects parameters alone, as :class:`pyro.infer.SVI` does.

    Raises:
        ContractError: If there is no module whose parameters could be declared, or if it has
            parts that only :func:`ppvae.fit` keeps up to date.
    """
    collectors = [h for h in _PYRO_STACK if isinstance(h, TraceMessenger) and h.param_only]
    if not collectors:
        return
    if "pyro.ops.jit" in _callers(frame):
        raise ContractError(
            "pyro.infer.SVI: expected an ELBO that runs the programs at each step; got one of "
            "Pyro's compiled ones (Jit), which look parameters up in the global store. Use "
            "Trace_ELBO, TraceMeanField_ELBO or TraceEnum_ELBO; ppvae.fit compiles its steps."
        )
    module = next(_modules(frame), None)
    if module is None:
        raise ContractError(
            "pyro.infer.SVI: expected data_plate to be called in the forward of a module; got a "
            "function, whose parameters it cannot see. Call pyro.module(...) in it for each of "
            "its networks, or make it a torch.nn.Module."
        )
    prefix = f"{type(module).__name__}-{id(module):x}."
    learned = {name: p for name, p in module.named_parameters() if p.requires_grad}
    nodes = collectors[-1].trace.nodes.items()
    # Each particle of an ELBO has traces of its own, in which the parameters are declared again.
    others = {
        id(node["value"].unconstrained())
        for name, node in nodes
        if node["value"] is not None and not name.startswith(prefix)
    }
    if all(id(parameter) in others for parameter in learned.values()):
        return  # The caller has declared them, by pyro.module.
    for hook in hooks_of(module):
        if type(hook).record is not FitHooks.record or type(hook).advance is not FitHooks.advance:
            raise ContractError(
                f"pyro.infer.SVI: expected programs with no state besides parameters; got a "
                f"{type(hook).__name__}, which keeps a state of the training data. Use ppvae.fit."
            )
    for name, parameter in learned.items():
        _declare(prefix + name, parameter)


def _declare(name: str, parameter: nn.Parameter) -> None:
    """A param statement whose value is not looked up in the global store."""
    value: Any = parameter.view_as(parameter)
    value.unconstrained = weakref.ref(parameter)

    def own(*args: object, **kwargs: object) -> Tensor:
        result: Tensor = value
        return result

    statement: Any = effectful(own, type="param")
    statement(name, constraint=constraints.real, event_dim=None, name=name)


def _callers(frame: FrameType | None) -> set[str]:
    """The names of the modules whose functions are running."""
    names = set()
    while frame is not None:
        names.add(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    return names


def _modules(frame: FrameType | None) -> Iterator[nn.Module]:
    """The modules whose ``forward`` is running, the innermost first."""
    while frame is not None:
        first = frame.f_code.co_varnames[:1]  # self, by whatever name.
        owner = frame.f_locals.get(first[0]) if first else None
        if frame.f_code.co_name == "forward" and isinstance(owner, nn.Module):
            yield owner
        frame = frame.f_back
