"""Bad values in place of good ones, by kind of the good one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["spoiled"]

Named = Iterator[tuple[str, object]]


def spoiled(good: object) -> Named:
    """Bad values in place of a good one, each with a name; none is the good one itself."""
    for name, bad in _candidates(good):
        if isinstance(bad, int | float) and type(bad) is type(good) and bad == good:
            continue
        yield name, bad


def _candidates(good: object) -> Named:
    yield from (("None", None), ("object", object()))
    if isinstance(good, Tensor):
        yield from _tensors(good)
    elif isinstance(good, bool):
        yield from (("text", "no"), ("2", 2), ("0.0", 0.0))
    elif isinstance(good, int):
        yield from (("text", "3"), ("-1", -1), ("0", 0), ("1.5", 1.5), ("nan", math.nan))
        yield from (("True", True), ("1e30", 10**30), ("list", [good]), ("inf", math.inf))
    elif isinstance(good, float):
        yield from (("text", "0.5"), ("-1", -1.0), ("nan", math.nan), ("inf", math.inf))
        yield from (("True", True), ("list", [good]), ("complex", 1j))
    elif isinstance(good, str | Path):
        yield from (("3", 3), ("empty", ""), ("strange", "no such\0thing"), ("bytes", b"x"))
        yield from (("surrogate", "\ud800"), ("long", "x" * 5000), ("list", [good]))
    elif isinstance(good, Mapping):
        yield from _mappings(good)
    elif isinstance(good, nn.Module):
        yield from (("text", "text"), ("class", type(good)), ("other", nn.Linear(3, 3)))
    elif isinstance(good, Sequence):
        yield from (("3", 3), ("empty", ()), ("texts", ["a"]), ("nan", [math.nan]))
        yield from (("text", "text"), ("nested", [[good]]), ("Nones", [None]))
        yield "set", frozenset({"a", "b"})
    elif isinstance(good, Callable):
        yield from (("text", "text"), ("3", 3), ("none taken", lambda: None))
    else:
        yield from (("text", "text"), ("3", 3), ("class", type(good)))


def _mappings(good: Mapping[str, object]) -> Named:
    yield from (("text", "x"), ("empty", {}), ("list", [good]))
    name, first = next(iter(good.items()))
    rest = {key: value for key, value in good.items() if key != name}
    yield f"numbered {name}", {**rest, 3: first}
    yield f"without {name}", {**rest, "strange": first}
    if isinstance(first, Tensor):
        for label, value in _tensors(first):
            yield f"{name}: {label}", {**good, name: value}
        yield "wide", {**good, name: torch.cat([first, first], -1)}
        yield "uneven", {**good, "y": torch.zeros(len(first) + 1, dtype=torch.long)}
        yield "array", {**good, name: np.full(tuple(first.shape), "a", dtype=object)}
    else:
        yield f"{name}: None", {**good, name: None}
        yield f"{name}: object", {**good, name: object()}


def _tensors(good: Tensor) -> Named:
    yield from (("text", "values"), ("list", ["a"]), ("number", 3), ("scalar", good.flatten()[0]))
    yield from (("empty", good[:0]), ("half", good[: len(good) // 2]), ("one", good[:1]))
    yield from (("complex", good.to(torch.complex64)), ("deep", good[..., None, None]))
    yield "strings", np.full(tuple(good.shape), "a")
    if good.is_floating_point():
        holed = good.clone()
        holed.view(-1)[0] = math.nan
        yield from (("nan", holed), ("inf", torch.full_like(good, math.inf)))
        yield "boolean", good > 0
    else:
        yield from (("negative", -good - 5), ("fractions", good + 0.5))
