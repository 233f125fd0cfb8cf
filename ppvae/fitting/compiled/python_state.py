"""What a step may change besides tensors: attributes, containers, global variables, generators.

A compiled step runs no Python, so it changes none of these, and has their values as they were when
it was traced. :class:`PythonState` finds what of them a program changes, also where it does not
matter yet: a counter that turns something on after a thousand steps.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import (
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["PythonState"]

# Containers with more entries are held against themselves, but what is in them is not looked into.
_ENTRIES = 1_000
_PLACES = 50_000
# Bytes up to which the numbers of an array are kept.
_BYTES = 1_000_000

# Packages whose objects, classes and functions keep caches of their own, or nothing.
_ENGINES = {"gpytorch", "linear_operator", "numpy", "pyro", "scipy", "torch", "builtins"}
_ENGINES |= sys.stdlib_module_names
_TENSORS = ("_parameters", "_buffers", "_modules")
# A list of the same tensors, which a recurrent network makes anew where its parameters are others.
_RECURRENT = ("_flat_weights", "_flat_weight_refs")
_PLAIN = (
    *(bool, int, float, complex, str, bytes, np.generic),
    *(torch.Size, torch.dtype, torch.device),
)
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)

Held = dict[object, object]
State = TypeVar("State")


class PythonState:
    """The Python values that modules can reach, as they are now.

    Looked into are the attributes of modules and of plain objects, their classes' where these are
    not of ppvae or of the packages beneath it, containers, the variables of functions, the global
    variables that are named in them, and the generators of random numbers of Python and NumPy.

    Arguments:
        roots: Modules, or other objects.
    """

    def __init__(self, *roots: object) -> None:
        self._places: list[_Place] = []
        # Kept, so that no other object takes the identity of one that is gone.
        self._seen: dict[int, object] = {}
        self._pending: list[tuple[object, str]] = [(root, "") for root in roots]
        self._generator(*_state(random.getstate, random.setstate), "Python's random")
        self._generator(*_state(np.random.get_state, np.random.set_state), "numpy.random")
        while self._pending and len(self._places) < _PLACES:
            # A user's container that cannot be read, such as one of a file that is closed.
            with suppress(Exception):
                self._visit(*self._pending.pop())

    def changes(self) -> list[str]:
        """What has changed since, as predicates: ``sets the Python attribute Net.count``."""
        return sorted({change for place in self._places for change in place.changes()})

    def restore(self) -> None:
        """Restore what has changed since."""
        for place in self._places:
            if place.changes():
                place.write(place.held)

    def _visit(self, value: object, change: str) -> None:
        """Keep what a value holds.

        Arguments:
            value: The value.
            change: What a program does that changes the value, as a predicate.
        """
        if value is None or isinstance(value, (*_PLAIN, Tensor)) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, _GENERATORS):
            self._generator(*_state_of(value), change.rpartition(" ")[2] or type(value).__name__)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, MethodType | functools.partial | staticmethod | classmethod):
            parts = [getattr(value, name, None) for name in ("__func__", "__self__", "func")]
            self._push(parts, change)
            self._push([getattr(value, name, ()) for name in ("args", "keywords")], change)
        elif isinstance(value, property | functools.cached_property):
            names = ("fget", "fset", "func")
            self._push([getattr(value, name, None) for name in names], change)
        elif isinstance(value, itertools.count):
            self._keep(lambda: {0: repr(value)}, lambda held: None, lambda key: change)
        elif isinstance(value, np.ndarray):
            if value.nbytes <= _BYTES and not value.dtype.hasobject:
                self._keep(
                    lambda: {0: hashlib.sha256(value.tobytes()).digest()},
                    _filling(value),
                    lambda key: change,
                )
        elif isinstance(value, dict | MappingProxyType | list | set | deque | tuple | frozenset):
            self._container(value, change)
        elif isinstance(value, Mapping):
            return  # Such as a file, from which entries would be read.
        elif isinstance(value, type):
            self._class(value)
        elif not isinstance(value, ModuleType):
            self._object(value, change)

    def _push(self, values: Iterable[object], change: str) -> None:
        self._pending.extend((value, change) for value in values)

    def _keep(
        self,
        read: Callable[[], Held],
        write: Callable[[Held], object],
        change: Callable[[object], str],
    ) -> Held:
        place = _Place(read, write, change)
        self._places.append(place)
        return place.held

    def _generator(
        self, read: Callable[[], Held], write: Callable[[Held], object], name: str
    ) -> None:
        self._keep(read, write, lambda key: f"draws random numbers from {name}")

    def _container(self, value: object, change: str) -> None:
        read, write = _contents(value)
        held = read() if write is None else self._keep(read, write, lambda key: change)
        if len(held) <= _ENTRIES:
            self._push(held.values(), change)
        # A user's subclass of a container has attributes beside its entries.
        if hasattr(value, "__dict__"):
            self._object(value, change)

    def _object(self, value: object, change: str) -> None:
        cls = type(value)
        if not isinstance(value, nn.Module | SimpleNamespace) and _is_of_engine(cls):
            # functools.lru_cache makes an object of a function.
            self._push([getattr(value, "__dict__", {}).get("__wrapped__")], change)
            return
        read, write = _attributes(value)
        self._entries(read, write, f"sets the Python attribute {cls.__name__}.")
        if isinstance(value, nn.Module):
            self._push(value._modules.values(), "")
        self._visit(cls, "")

    def _class(self, value: type) -> None:
        for cls in value.__mro__:
            if not _is_of_engine(cls) and not _is_of(cls.__module__, {"ppvae"}):

                def read(cls: type = cls) -> Held:
                    return {k: v for k, v in vars(cls).items() if not _is_special(k)}

                def write(held: Held, cls: type = cls) -> None:
                    for added in [name for name in read(cls) if name not in held]:
                        delattr(cls, str(added))
                    for name, one in held.items():
                        if vars(cls).get(str(name)) is not one:
                            setattr(cls, str(name), one)

                self._entries(read, write, f"sets the Python attribute {cls.__name__}.")
                # __call__ and __init__ are special, but a step may call them.
                self._push([f for f in vars(cls).values() if isinstance(f, FunctionType)], "")

    def _function(self, value: FunctionType) -> None:
        name = value.__name__
        if _is_of(str(value.__globals__.get("__name__")), {*_ENGINES, "ppvae"}):
            # A function of a package may be a decorator's, around one of the user's.
            self._push([vars(value).get("__wrapped__"), *dict(_cells(value)).values()], "")
            return
        self._push([value.__defaults__, value.__kwdefaults__], f"changes a default of {name}")
        self._entries(*_attributes(value), f"sets the Python attribute {name}.")
        self._entries(*_closure(value), "sets the variable ")
        self._globals(value.__globals__, _names(value.__code__))

    def _globals(self, store: dict[str, object], names: set[str]) -> None:
        def read() -> Held:
            return {name: store[name] for name in names & store.keys()}

        def write(held: Held) -> None:
            for name in names & store.keys() - held.keys():
                del store[name]
            store.update({str(name): one for name, one in held.items()})

        for name, one in self._entries(read, write, "sets the global variable ").items():
            if isinstance(one, ModuleType) and not _is_of(one.__name__, {*_ENGINES, "ppvae"}):
                self._globals(vars(one), names - {str(name)})

    def _entries(self, read: Callable[[], Held], write: Callable[[Held], None], what: str) -> Held:
        """Keep values by name, and what each of them holds."""
        held = self._keep(read, write, lambda key: f"{what}{key}")
        self._pending.extend((value, f"{what}{key}") for key, value in held.items())
        return held


class _Place:
    """What holds values by name: what it held, and how it is read and put back."""

    def __init__(
        self,
        read: Callable[[], Held],
        write: Callable[[Held], object],
        change: Callable[[object], str],
    ) -> None:
        self.read, self.write, self.change = read, write, change
        self.held = read()

    def changes(self) -> list[str]:
        try:
            now = self.read()
        except Exception:
            return []  # It was read before; that it cannot be now is for the step to say.
        if now.keys() == self.held.keys():
            return [self.change(k) for k, v in now.items() if not _same(v, self.held[k])]
        names = now.keys() ^ self.held.keys()
        return [self.change(name) for name in names]


def _same(a: object, b: object) -> bool:
    """Whether two values are the same object, or equal numbers, texts or containers of them.

    Pyro's automatic guides make their dictionary of plates anew at each call.
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, _PLAIN):
        return bool(a == b or (a != a and b != b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(one, b[key]) for key, one in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, set | frozenset) and a == b


def _is_of(module: str, packages: set[str]) -> bool:
    return module.partition(".")[0] in packages


def _is_of_engine(cls: type) -> bool:
    return _is_of(str(cls.__module__), _ENGINES)


def _is_special(name: object) -> bool:
    return str(name).startswith("__") or str(name) == "_abc_impl"


def _names(code: CodeType) -> set[str]:
    """Names of global variables and of attributes in a function, and in those within it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _cells(value: FunctionType) -> list[tuple[str, object]]:
    """The variables that a function has from the one around it."""
    found = []
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:
            continue  # It has no value yet.
    return found


def _closure(value: FunctionType) -> tuple[Callable[[], Held], Callable[[Held], None]]:
    def write(held: Held) -> None:
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if name in held:
                cell.cell_contents = held[name]

    return lambda: dict(_cells(value)), write


def _attributes(value: object) -> tuple[Callable[[], Held], Callable[[Held], None]]:
    """The attributes of an object, in its dictionary and in slots."""
    store: dict[str, object] = getattr(value, "__dict__", {})
    hidden: tuple[str, ...] = _TENSORS if isinstance(value, nn.Module) else ()
    hidden += _RECURRENT if isinstance(value, nn.RNNBase) else ()
    slots = [
        name
        for cls in type(value).__mro__
        for name, slot in vars(cls).items()
        if "__slots__" in vars(cls) and isinstance(slot, MemberDescriptorType)
    ]

    def read() -> Held:
        held: Held = {name: one for name, one in store.items() if name not in hidden}
        return held | {name: getattr(value, name) for name in slots if hasattr(value, name)}

    def write(held: Held) -> None:
        for name in [name for name in store if name not in held and name not in hidden]:
            del store[name]
        for name in slots:
            if name in held:
                object.__setattr__(value, name, held[name])
        store.update({str(n): one for n, one in held.items() if n not in slots})

    return read, write


def _contents(value: object) -> tuple[Callable[[], Held], Callable[[Held], object] | None]:
    """The entries of a container, and how they are put back; None if they cannot change."""
    if isinstance(value, dict):
        return lambda: dict(value), lambda held: _refill(value, held)
    if isinstance(value, list | deque):
        return lambda: dict(enumerate(value)), lambda held: _refill(value, held)
    if isinstance(value, set):
        return lambda: {one: one for one in value}, lambda held: _refill(value, held)
    entries = value.values() if isinstance(value, MappingProxyType) else value
    return lambda: dict(enumerate(entries if isinstance(entries, Iterable) else ())), None


def _refill(value: object, held: Held) -> None:
    if isinstance(value, dict | list | deque | set):
        value.clear()
    if isinstance(value, list | deque):
        value.extend(held.values())
    elif isinstance(value, dict | set):
        value.update(held)


def _filling(array: np.ndarray) -> Callable[[Held], object]:
    kept = array.copy()
    return lambda held: np.copyto(array, kept)


def _state(
    get: Callable[[], State], put: Callable[[State], object]
) -> tuple[Callable[[], Held], Callable[[Held], object]]:
    """How the state of a generator is read, for comparison, and put back."""
    kept = get()
    return lambda: {0: _comparable(get())}, lambda held: put(kept)


def _state_of(value: object) -> tuple[Callable[[], Held], Callable[[Held], object]]:
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        return _state(lambda: bits.state, lambda state: setattr(bits, "state", state))
    if isinstance(value, np.random.RandomState):
        return _state(value.get_state, value.set_state)
    if isinstance(value, torch.Generator):
        return _state(value.get_state, value.set_state)
    assert isinstance(value, random.Random)
    return _state(value.getstate, value.setstate)


def _comparable(state: object) -> object:
    """The state of a generator as numbers, texts and tuples of them."""
    if isinstance(state, Tensor):
        return state.numpy().tobytes()
    if isinstance(state, np.ndarray):
        return state.tobytes()
    if isinstance(state, dict):
        return tuple((key, _comparable(value)) for key, value in state.items())
    return tuple(map(_comparable, state)) if isinstance(state, tuple) else state
