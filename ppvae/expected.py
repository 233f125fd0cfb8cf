"""What values may be: the one place where values are checked, each refused in the same words.

A check is a :class:`Rule`. :func:`expect` holds values to one; :mod:`ppvae.borders` derives the
rules of a public function from its annotations. Paths, arrays and optional packages are brought
into one form here, too. What depends on several arguments, on shapes or on a run is the function's
own to refuse; values from a file are held to rules by :mod:`ppvae.runs.schema`.

The command line's ``--help`` uses these rules and must be quick, so this module imports numpy and
torch only where a function has to have them.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeGuard

from ppvae.errors import ArgumentError, MissingPackageError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

__all__ = [
    "ARRAY",
    "FLAG",
    "FUNCTION",
    "INTEGER",
    "NUMBER",
    "NUMBER_SHARE",
    "NUMERIC",
    "PATH",
    "REAL_ROWS",
    "ROWS",
    "SEQUENCE",
    "SHARE",
    "TENSOR",
    "TEXT",
    "Rule",
    "above",
    "article",
    "as_numbers",
    "at_least",
    "between",
    "expect",
    "expect_device",
    "expect_package",
    "integer",
    "is_path",
    "number",
    "one_of",
    "path_of",
    "real_path",
    "taking",
    "within",
]


@dataclass(frozen=True)
class Rule:
    """The range of a value.

    Attributes:
        words: Range in words, to follow "expected".
        holds: Function that tells whether a value is in the range.
        optional: Whether None is allowed, too.
        remedy: Sentence on what to do with a value out of range.
    """

    words: str
    holds: Callable[..., bool]
    optional: bool = False
    remedy: str = "Use the default."

    def allows(self, value: object) -> bool:
        """Whether a value is in the range, or is None where that is allowed."""
        return (self.optional and value is None) or self.holds(value)


# The word that a range of numbers begins with, whatever their type.
NUMERIC = "a number"


def at_least(least: float) -> Rule:
    """Numbers from ``least``; a number within a union with other types."""
    return Rule(f"a number >= {least:g}", lambda v: not _is_number(v) or v >= least)


def above(low: float) -> Rule:
    """Numbers above ``low``; a number within a union with other types."""
    return Rule(f"a number > {low:g}", lambda v: not _is_number(v) or v > low)


def between(low: float, high: float) -> Rule:
    """Numbers from ``low`` to ``high``."""
    words = f"a number from {low:g} to {high:g}"
    return Rule(words, lambda v: not _is_number(v) or low <= v <= high)


def taking(count: int) -> Rule:
    """Functions that can be called with this number of arguments."""
    return Rule(
        f"a function of {count} argument{'s' * (count != 1)}",
        lambda v: not callable(v) or _takes(v, count),
        remedy="Pass one that takes them.",
    )


def _takes(function: Callable[..., object], count: int) -> bool:
    """Whether a function can be called so, or does not say what it takes."""
    try:
        declared = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        declared.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    try:
        return _is_number(value) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        return False


def _is_a(value: object, module: str, name: str) -> bool:
    """Whether a value is of a class of a package, which is imported if there are such values."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    return _is_a(value, "torch", "Tensor")


def _is_array(value: object) -> TypeGuard[np.ndarray]:
    return _is_a(value, "numpy", "ndarray")


def _are_rows(value: object) -> bool:
    if not _is_tensor(value):
        return True
    unusable = str(value.dtype).endswith(("bool", "uint16", "uint32", "uint64"))
    return value.dim() > 0 and len(value) > 0 and not unusable and _are_moderate(value)


def _is_dense(value: Tensor) -> bool:
    """Whether a tensor has values, one at each place."""
    return str(value.layout) == "torch.strided" and not (value.is_nested or value.is_meta)


def _are_moderate(value: Tensor) -> bool:
    """Whether numbers are finite, and their squares, too."""
    if not value.is_floating_point() or value.numel() == 0:
        return True
    wide = value.detach() if value.itemsize >= 4 else value.detach().float()
    return bool(wide.square().amax().isfinite())


SHARE = Rule("a number between 0 and 1", lambda v: not _is_number(v) or 0 < v < 1)
ROWS = Rule(
    "finite numbers with shape (N, ...), N >= 1",
    _are_rows,
    remedy="Pass one row per datum, without missing ones; booleans as .double() or .long().",
)
INTEGER = Rule(
    "an integer",
    lambda v: isinstance(v, Integral) and not isinstance(v, bool) and abs(int(v)) < 2**63,
)
NUMBER = Rule("a finite number", _is_finite)
FLAG = Rule("True or False", lambda v: isinstance(v, bool) or _is_a(v, "numpy", "bool_"))
TEXT = Rule("text", lambda v: isinstance(v, str) and _is_text(v))
PATH = Rule(
    "a path",
    lambda v: isinstance(v, str | Path) and is_path(os.fspath(v)),
    remedy="Name a file or a folder; each part has at most 255 bytes.",
)
TENSOR = Rule(
    "a tensor of real numbers",
    lambda v: _is_tensor(v) and _is_dense(v) and not v.is_complex(),
    remedy="Use torch.as_tensor.",
)
ARRAY = Rule("an array of numbers", lambda v: _is_array(v) and v.dtype.kind in "biuf")
SEQUENCE = Rule("a list or a tuple", lambda v: isinstance(v, Sequence) and not isinstance(v, str))
FUNCTION = Rule("a function", callable, remedy="Pass one, without calling it.")
REAL_ROWS = Rule(ROWS.words, lambda v: TENSOR.holds(v) and ROWS.holds(v), remedy=ROWS.remedy)


def _is_text(text: str) -> bool:
    """Whether text is not empty, and can be written to a file."""
    return text != "" and "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def within(rule: Rule, within: Rule) -> Rule:
    """The range of a type of numbers, or of a union with one, as one rule."""
    words = rule.words.replace(NUMBER.words, within.words)
    words = words.replace(INTEGER.words, within.words.replace(NUMERIC, INTEGER.words))
    return Rule(words, lambda v: rule.holds(v) and within.holds(v), remedy=rule.remedy)


NUMBER_SHARE = within(NUMBER, SHARE)


def integer(least: int, most: int | None = None) -> Rule:
    """Integers from ``least``, at most ``most``, which is the largest of 64 bits by default."""
    if most is None:
        return within(INTEGER, at_least(least))
    return Rule(
        f"an integer from {least} to {most}", lambda v: INTEGER.holds(v) and least <= v <= most
    )


def number(least: float) -> Rule:
    """Finite numbers from ``least``."""
    return within(NUMBER, at_least(least))


def one_of(values: Sequence[object]) -> Rule:
    """One of these values, of their type: True is not 1."""
    return Rule(
        f"one of {', '.join(map(repr, values))}",
        lambda v: any(type(v) is type(one) and v == one for one in values),
    )


def article(word: str) -> str:
    """The indefinite article of a word."""
    return "an" if word[0] in "AEIOUaeiou" else "a"


def _shown(value: object) -> str:
    if _is_tensor(value) or _is_array(value):
        kind = f"{value.dtype} with shape {tuple(value.shape)}"
        if _is_tensor(value) and not _is_dense(value):
            return f"{kind}, {value.layout} on {value.device}"
        if not _is_tensor(value) or _are_moderate(value):
            return kind
        return f"{kind}, up to {float(value.detach().abs().max()):.3g}"
    if isinstance(value, int) and abs(value) >= 2**63:
        return f"{str(value)[:30]}, more than 64 bits hold"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_shown(v)}" for k, v in list(value.items())[:4]) + "}"
    simple = isinstance(value, str | bytes | int | float | complex | list | tuple | Path | None)
    return (
        repr(value)[:80]
        if simple
        else f"{article(type(value).__name__)} "
        + (type(value).__name__ if not isinstance(value, type) else f"class {value.__name__}")
    )


def expect(rule: Rule, remedy: str = "", /, **values: object) -> None:
    """Refuse values that a rule does not allow.

    Arguments:
        rule: What the values may be.
        remedy: Sentence on what to do; the rule's own by default.
        values: Values by the names of the arguments.

    Raises:
        ArgumentError: Naming the first that is not allowed.
    """
    for name, value in values.items():
        if not rule.allows(value):
            raise ArgumentError(
                f"{name}: expected {rule.words}; got {_shown(value)}. {remedy or rule.remedy}"
            )


def expect_device(device: object) -> torch.device:
    """An available device: a CPU, a GPU of CUDA or MPS.

    Arguments:
        device: Its name, such as "cuda:1", or the device itself.

    Raises:
        ArgumentError: If there is no such device.
    """
    import torch

    try:
        chosen = torch.device(device)  # type: ignore[call-overload]
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(
            f"device: expected 'cuda', 'mps' or 'cpu'; got {str(device)[:60]!r}. "
            "Leave it out for the best available one."
        ) from error
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if chosen.type not in counts or (chosen.index or 0) >= counts[chosen.type]:
        here = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        raise ArgumentError(
            f"device: expected an available one ({here}); got {str(chosen)!r}. "
            "Leave it out for the best available one."
        )
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen


def expect_package(what: str, module: str, extra: str) -> ModuleType:
    """The module of an optional package.

    Arguments:
        what: What needs it, which opens the message.
        module: Name of the module.
        extra: The extra of ppvae that has the package.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{what}: expected the package {module.partition('.')[0]!r}; it is not installed. "
            f"Install it with: pip install 'ppvae[{extra}]'."
        ) from error


def path_of(name: str, value: object) -> Path:
    """A path from text or a path.

    Arguments:
        name: Name of the argument.
        value: Its value.

    Raises:
        ArgumentError: If it is none.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(text, str) or not is_path(text):
        raise ArgumentError(f"{name}: expected a path; got {_shown(value)}. {PATH.remedy}")
    return Path(text)


def real_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path, with links followed.

    ``Path.resolve`` does the same, but fails on a circle of links, which the system then refuses
    where the path is opened, in an error that the caller catches.

    Arguments:
        path: A path, which need not exist.
    """
    return Path(os.path.realpath(path))


def is_path(text: str) -> bool:
    """Whether a file system takes text as a path: not empty, encodable, and not too long."""
    try:
        parts = os.fsencode(text).split(os.fsencode(os.sep))
    except UnicodeEncodeError:
        return False
    return text != "" and "\0" not in text and all(len(part) < 256 for part in parts)


def as_numbers(name: str, value: object) -> Tensor:
    """A tensor of an array, a list or a number.

    Arguments:
        name: Name of the argument.
        value: Its value.

    Raises:
        ArgumentError: If it does not hold real numbers.
    """
    import torch

    refused = ArgumentError(
        f"{name}: expected real numbers; got {str(value)[:60]!r}. Use torch.as_tensor."
    )
    try:
        numbers = torch.as_tensor(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise refused from error
    if numbers.is_complex() or numbers.dtype == torch.bool:
        raise refused
    return numbers
