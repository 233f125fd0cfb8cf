"""What a function, a term or a callback is made of, as JSON, to compare it with that of a run.

A name does not tell two functions apart that one function has made, nor two lambdas: what tells
is their code, its constants and the values that they use.
"""

from __future__ import annotations

import json
import math
import sys
from ast import literal_eval
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from os.path import commonprefix
from types import CodeType, FunctionType, MethodType

import numpy as np
import torch
from torch import Tensor, nn

from ppvae.fitting.plain import plain_state
from ppvae.objectives import Term
from ppvae.runs.files import digest_of

__all__ = ["contents", "difference", "layers"]

# Depth to which values are looked into, and the largest number of entries and of numbers.
DEPTH, ENTRIES, NUMBERS = 8, 100, 2**20
# Characters of a value in a message, and of a text that is read as a collection.
SHOWN, LONGEST = 60, 2**16
# Bytecode is that of one version of Python.
CODE = f"code of Python {sys.version_info.major}.{sys.version_info.minor}"
# Packages whose functions are known by their names.
KNOWN = ("ppvae", "torch", "pyro", "numpy", "math", "builtins")
# Attributes that a fit sets itself.
_MOVING = ("training", "nesting", "event_dims", "shards")


def contents(value: object, above: tuple[int, ...] = ()) -> object:
    """A value as JSON that is equal for equal values, without addresses.

    Arguments:
        value: A function, an objective's term, a schedule, a number, or a collection of them.
        above: Identities of the objects that hold it.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if len(above) > DEPTH or id(value) in above:
        return _name(type(value))
    inside = (*above, id(value))
    if isinstance(value, Mapping):
        return {str(key): contents(part, inside) for key, part in [*value.items()][:ENTRIES]}
    if isinstance(value, list | tuple):
        return [contents(part, inside) for part in value[:ENTRIES]]
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(contents(part, inside)) for part in value)[:ENTRIES]
    if isinstance(value, Tensor | np.ndarray):
        return _array(value)
    if isinstance(value, type):
        return _name(value)
    if isinstance(value, partial):
        parts = {"partial": value.func, "arguments": value.args, "keywords": value.keywords}
        return contents(parts, inside)
    if isinstance(value, MethodType):
        return contents({"method": value.__func__, "of": value.__self__}, inside)
    if isinstance(value, FunctionType):
        return _function(value, inside)
    if isinstance(value, nn.Module) and not isinstance(value, Term):
        return _name(type(value))  # Of a pair, which is compared by itself.
    held = getattr(value, "__dict__", {})
    if isinstance(value, Term):
        parts = layers(nn.ModuleDict(dict(value.named_children())))
        held = {k: v for k, v in held.items() if not k.startswith("_") and k not in _MOVING}
        if not type(value).__module__.startswith("ppvae."):
            # What else a term of the user's own holds may be counted up by the fit.
            held = {k: v for k, v in held.items() if k == "weight"}
        held |= {"layers": parts} if parts else {}
    name = _name(value if callable(value) and not held else type(value))
    return {"type": name, **{k: contents(v, inside) for k, v in [*held.items()][:ENTRIES]}}


def layers(*modules: nn.Module) -> dict[str, object]:
    """The sub-modules of modules by their names, and their numbers and texts.

    As :func:`ppvae.fitting.plain.plain_state`, whatever the mode is that they are in.

    Arguments:
        modules: The modules.
    """
    return {
        name.removesuffix(".training"): "a layer" if name.endswith(".training") else value
        for name, value in plain_state(*modules).items()
    }


def difference(before: object, now: object, where: str = "") -> str:
    """The first difference of two :func:`contents` in words, empty if there is none.

    Bytecode of two versions of Python is not compared.

    Arguments:
        before: Contents of the run that stopped.
        now: Contents of the run that resumes it.
        where: Name of what is compared.
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in {**before, **now}:
            if name in before and name in now:
                told = difference(before[name], now[name], f"{where}.{name}" if where else name)
            elif name.startswith("code of Python "):
                continue
            else:
                told = f"{where} {name} in one of both alone".strip()
            if told:
                return told
        return ""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return next(filter(None, (difference(*pair, f"{where}[{i}]") for i, pair in pairs)), "")
    if before == now:
        return ""
    if isinstance(before, str) and isinstance(now, str):
        # Of a collection in one text (numbers_and_texts), the entry that differs is named.
        told = difference(_read(before), _read(now), where)
        if told:
            return told
    was, got = _around_difference(str(before), str(now))
    return f"{where} was {was}, now {got}".strip()


def _read(text: str) -> object:
    """The collection whose ``repr`` a text is; None if it is of none."""
    if not text.startswith(("{", "[")) or len(text) > LONGEST:
        return None
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None  # Such as one with nan.


def _around_difference(was: str, now: str) -> tuple[str, str]:
    """Two texts, each cut to what is shown, from shortly before the first difference."""
    if max(len(was), len(now)) <= SHOWN:
        return was, now
    same = len(commonprefix([was, now]))
    start = 0 if same < SHOWN // 2 else same - SHOWN // 4
    dots = "..." if start else ""
    return dots + was[start : start + SHOWN], dots + now[start : start + SHOWN]


def _array(value: Tensor | np.ndarray) -> object:
    if isinstance(value, Tensor):
        if value.requires_grad or value.is_meta or value.layout != torch.strided:
            return {"tensor": list(value.shape)}
        value = value.detach().cpu().float().numpy() if value.numel() <= NUMBERS else value
    told: dict[str, object] = {"tensor": list(value.shape)}
    if isinstance(value, np.ndarray) and value.size <= NUMBERS and value.dtype.kind in "biuf":
        told["values"] = digest_of(np.ascontiguousarray(value).tobytes())
    return told


def _function(function: FunctionType, above: tuple[int, ...]) -> object:
    told: dict[str, object] = {"function": _name(function)}
    code = function.__code__
    values: dict[str, object] = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # A cell that is empty yet.
            values[name] = cell.cell_contents
    if (function.__module__ or "").partition(".")[0] not in KNOWN:
        told[CODE] = _code(code)
        for name in code.co_names:
            value = function.__globals__.get(name)
            own = isinstance(value, FunctionType) and value.__module__ == function.__module__
            if own or isinstance(value, bool | int | float | str):
                values[name] = value
    values["defaults"] = [function.__defaults__, function.__kwdefaults__]
    told["values"] = contents(values, above)
    return told


def _code(code: CodeType) -> str:
    """A checksum of what a function does, whatever the lines are that it is in."""
    parts: list[object] = [code.co_code.hex(), list(code.co_names), list(code.co_varnames)]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            parts.append(_code(constant))
        elif isinstance(constant, frozenset):
            parts.append(sorted(map(repr, constant)))
        else:
            parts.append(repr(constant))
    return digest_of(parts)


def _name(value: object) -> str:
    """Without the module, which is another one where a script is imported."""
    return str(getattr(value, "__qualname__", type(value).__qualname__))
