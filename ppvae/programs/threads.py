"""Programs in several threads: one trace at a time, and separate random numbers per thread.

Pyro's stack of handlers belongs to the process, and so do torch's global generators. A trace is
therefore made under a lock (:func:`tracing`). Where other threads may draw, a
:func:`~ppvae.programs.forked` scope draws from generators of its own (:class:`OwnGenerators`),
which give the same numbers as the global ones would: seeds and draws of one thread do not affect
those of another.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import thread as pools
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ppvae.errors import ArgumentError

__all__ = [
    "OwnGenerators",
    "is_shared",
    "own_generators",
    "tracing",
    "unvalidated",
    "validated",
]

_LOCK = threading.RLock()
# For operations without a generator argument, the overload that has one.
_WITH_GENERATOR = {
    "default": "generator",
    "low": "low_generator",
    "Tensor": "Tensor_generator",
    "low_dtype": "low_generator_dtype",
}


class _Tracing(threading.local):
    # Number of scopes of tracing() that this thread is in.
    depth = 0


_TRACING = _Tracing()


@contextmanager
def tracing() -> Iterator[None]:
    """Wait until no other thread runs a program under Pyro's handlers."""
    with _LOCK:
        _TRACING.depth += 1
        try:
            yield
        finally:
            _TRACING.depth -= 1


class _Validation(threading.local):
    """Pyro's validation, which is one setting of the process, as several threads need it.

    Several threads may compute without it, or one may check with it.
    """

    gate = threading.Condition()
    without = 0
    checker: int | None = None
    scope: AbstractContextManager[None] | None = None
    # Of this thread: the number of scopes without validation that it is in.
    depth = 0


_VALIDATION = _Validation()


@contextmanager
def unvalidated() -> Iterator[None]:
    """Without Pyro's validation, which is as before when the last thread in such a scope ends.

    ``pyro.validation_enabled(False)`` would leave it off where two threads overlap.
    """
    shared, here = _Validation, threading.get_ident()
    with shared.gate:
        nested = bool(_VALIDATION.depth or _TRACING.depth)
        shared.gate.wait_for(lambda: nested or shared.checker in (None, here))
        if shared.without == 0:
            shared.scope = pyro.validation_enabled(False)
            shared.scope.__enter__()
        shared.without += 1
    _VALIDATION.depth += 1
    try:
        yield
    finally:
        _VALIDATION.depth -= 1
        with shared.gate:
            shared.without -= 1
            if shared.without == 0 and shared.scope is not None:
                shared.scope.__exit__(None, None, None)
            shared.gate.notify_all()


@contextmanager
def validated() -> Iterator[None]:
    """With Pyro's validation as the caller has set it: wait until no other thread is without.

    Nothing is waited for within :func:`unvalidated` or :func:`tracing`, whose lock the others
    may need to go on.
    """
    shared, here = _Validation, threading.get_ident()
    if _VALIDATION.depth or _TRACING.depth or shared.checker == here:
        yield
        return
    with shared.gate:
        shared.gate.wait_for(lambda: shared.checker is None)
        shared.checker = here  # No other thread begins to be without; those that are, end.
        shared.gate.wait_for(lambda: shared.without == 0)
    try:
        yield
    finally:
        with shared.gate:
            shared.checker = None
            shared.gate.notify_all()


def _renew() -> None:
    """Replace the locks in a child process, which has no other thread to release them."""
    global _LOCK
    _LOCK = threading.RLock()
    _Validation.gate, _Validation.checker = threading.Condition(), None
    if _Validation.without > _VALIDATION.depth and _VALIDATION.depth == 0:
        assert _Validation.scope is not None
        _Validation.scope.__exit__(None, None, None)
    _Validation.without = _VALIDATION.depth


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def is_shared() -> bool:
    """Whether another thread may use torch's global generators: this is not the main thread, or
    a thread beside it is at work. Daemons and a pool's threads that wait for work do not count.
    """
    main, here = threading.main_thread(), threading.current_thread()
    return here is not main or any(
        not thread.daemon and not _waits_in_pool(thread)
        for thread in threading.enumerate()
        if thread is not main
    )


def _waits_in_pool(thread: threading.Thread) -> bool:
    """Whether a thread belongs to a ``ThreadPoolExecutor`` and has nothing to do now.

    torch.compile leaves such a thread behind.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    worker = getattr(pools, "_worker", None)
    return frame is not None and worker is not None and frame.f_code is worker.__code__


class _Current(threading.local):
    generators: OwnGenerators | None = None


_CURRENT = _Current()


def own_generators() -> OwnGenerators | None:
    """The generators that this thread draws from; None for torch's global ones."""
    return _CURRENT.generators


class OwnGenerators(TorchDispatchMode):
    """A scope in which a thread's draws without an explicit generator come from its own ones.

    These generators begin in the state of the global ones.

    Raises:
        ArgumentError: At an operation that can draw from a global generator only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generators: dict[torch.device, torch.Generator] = {}

    def __enter__(self) -> OwnGenerators:
        _CURRENT.generators = self
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        _CURRENT.generators = None
        super().__exit__(*error)

    def on(self, device: torch.device) -> torch.Generator:
        """The generator of a device."""
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._generators:
            generator = torch.Generator(device)
            generator.set_state(_global_state(device))
            self._generators[device] = generator
        return self._generators[device]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        redirected = _with_generator(func)
        if redirected is None:
            return func(*args, **(kwargs or {}))
        chosen, place = redirected
        given = dict(kwargs or {})
        if given.get("generator") is None and (len(args) <= place or args[place] is None):
            given["generator"] = self.on(_device(args, given))
            args = args[:place]
        return chosen(*args, **given)


@cache
def _with_generator(func: Any) -> tuple[Callable[..., Any], int] | None:
    """The overload of a random operation with a generator, and that argument's position."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return None
    chosen = func
    if not any(argument.name == "generator" for argument in func._schema.arguments):
        chosen = getattr(func.overloadpacket, _WITH_GENERATOR.get(func._overloadname, ""), None)
    if chosen is None:
        raise ArgumentError(
            f"threads: expected draws that can be kept apart from those of other threads; got "
            f"{func}, which draws only from torch's global generator. Run this in the main "
            "thread, or in a process of its own."
        )
    return chosen, [argument.name for argument in chosen._schema.arguments].index("generator")


def _device(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.device:
    """The device of a draw."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    return tensors[0].device if tensors else torch.device("cpu")


def _global_state(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()
