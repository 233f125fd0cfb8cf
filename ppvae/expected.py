"""Arguments held to their ranges at the border, each refused in the same words; and packages."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from ppvae.errors import ArgumentError, MissingPackageError

__all__ = [
    "as_numbers",
    "expect_device",
    "expect_flag",
    "expect_integer",
    "expect_number",
    "expect_package",
    "expect_real_rows",
    "expect_sequence",
    "expect_share",
    "is_path",
    "path_of",
]


def expect_integer(
    name: str,
    value: object,
    least: int,
    remedy: str = "Use the default.",
    *,
    most: int = 2**63 - 1,
) -> None:
    """Refuse what is no integer from ``least`` to ``most``.

    Arguments:
        name: Name of the argument.
        value: Its value.
        least: Smallest value that is allowed.
        remedy: What to do, in a sentence.
        most: Largest value that is allowed.

    Raises:
        ArgumentError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ArgumentError(f"{name}: expected an integer >= {least}; got {value!r}. {remedy}")
    if int(value) > most:
        raise ArgumentError(
            f"{name}: expected an integer from {least} to {most}; got {value!r}. {remedy}"
        )


def expect_flag(name: str, value: object, remedy: str = "Use the default.") -> None:
    """Refuse what is neither True nor False.

    Arguments:
        name: Name of the argument.
        value: Its value.
        remedy: What to do, in a sentence.

    Raises:
        ArgumentError: If it is neither.
    """
    if not isinstance(value, bool):
        raise ArgumentError(f"{name}: expected True or False; got {str(value)[:60]!r}. {remedy}")


def expect_number(
    name: str, value: object, remedy: str = "Use the default.", *, least: float | None = None
) -> None:
    """Refuse what is no finite number, or one below ``least``.

    Arguments:
        name: Name of the argument.
        value: Its value.
        remedy: What to do, in a sentence.
        least: Smallest value that is allowed; by default any.

    Raises:
        ArgumentError: If it is none.
    """
    words = "a finite number" if least is None else f"a finite number >= {least:g}"
    error = ArgumentError(f"{name}: expected {words}; got {str(value)[:60]}. {remedy}")
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise error
    if least is not None and float(value) < least:
        raise error


def expect_sequence(name: str, value: object, remedy: str) -> None:
    """Refuse what is no list or tuple of values.

    Arguments:
        name: Name of the argument.
        value: Its value.
        remedy: What to do, in a sentence.

    Raises:
        ArgumentError: If it is none.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ArgumentError(f"{name}: expected a list or a tuple; got {str(value)[:60]}. {remedy}")


def expect_device(device: object) -> torch.device:
    """An available device: a CPU, a GPU of CUDA or MPS.

    Arguments:
        device: Its name, such as "cuda:1", or the device itself.

    Raises:
        ArgumentError: If there is no such device.
    """
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


def expect_share(name: str, value: object, remedy: str = "Use 0.9.") -> None:
    """Refuse what is no number between 0 and 1.

    Arguments:
        name: Name of the argument.
        value: Its value.
        remedy: What to do, in a sentence.

    Raises:
        ArgumentError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ArgumentError(
            f"{name}: expected a number between 0 and 1; got {str(value)[:60]}. {remedy}"
        )


def expect_real_rows(**values: Tensor) -> None:
    """Refuse what is no tensor of finite real numbers with at least one row.

    Arguments:
        values: Tensors by the names of the arguments.

    Raises:
        ArgumentError: Naming the first that is none.
    """
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise ArgumentError(
                f"{name}: expected a tensor; got a {type(value).__name__}. Use torch.as_tensor."
            )
        if value.dim() == 0 or len(value) == 0 or value.is_complex():
            raise ArgumentError(
                f"{name}: expected real numbers with shape (N, ...), N >= 1; got {value.dtype} "
                f"with shape {tuple(value.shape)}. Pass one row per datum."
            )
        if value.dtype == torch.bool:
            raise ArgumentError(
                f"{name}: expected numbers; got booleans with shape {tuple(value.shape)}. Pass "
                "them as .double(), classes as .long()."
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ArgumentError(
                f"{name}: expected finite numbers; got NaN or infinity. Leave out the rows that "
                "are missing."
            )


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
        raise ArgumentError(f"{name}: expected a path; got {value!r}. Name a file or a folder.")
    return Path(text)


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
