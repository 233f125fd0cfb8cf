"""What a program reads besides tensors, and whether its parameters are trained: for changes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ppvae.errors import ArgumentError
from ppvae.programs import FitHooks

__all__ = ["changed", "numbers_and_texts", "plain_state", "refuse_other_parameters", "trainable"]

# Number of entries up to which a list or a dictionary is looked into.
ENTRIES = 100


def plain_state(*modules: nn.Module) -> dict[str, object]:
    """Numbers, texts and modes of modules and their sub-modules, by their full names.

    A compiled step has them as they were when it was traced. Left out are private attributes,
    those of :class:`~ppvae.programs.FitHooks` of ppvae itself, which change by design and are not
    read in a traced ``forward``, and what is neither a number, a text nor a few of them.
    """
    found: dict[str, object] = {}
    for module in modules:
        for name, part in module.named_modules():
            if isinstance(part, FitHooks) and type(part).__module__.startswith("ppvae."):
                continue
            where = f"{type(part).__name__}.{name}." if name else f"{type(part).__name__}."
            found |= {where + key: value for key, value in numbers_and_texts(part).items()}
    return found


def numbers_and_texts(value: object) -> dict[str, str]:
    """The numbers, texts and short collections of them among an object's public attributes.

    Arguments:
        value: The object.
    """
    held = getattr(value, "__dict__", {})
    return {k: repr(v) for k, v in held.items() if not k.startswith("_") and _is_plain(v)}


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) <= ENTRIES and all(map(_is_plain, value))
    if isinstance(value, dict):
        return len(value) <= ENTRIES and all(map(_is_plain, value.values()))
    return value is None or isinstance(value, (bool, int, float, str))


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """The first change in words, empty if there is none: ``Decoder.beta (0.1, then 0.2)``."""
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            return f"{name} ({before.get(name, 'none')}, then {after.get(name, 'none')})"
    return ""


def trainable(module: nn.Module) -> dict[str, bool]:
    """Whether each parameter requires a gradient, by its name."""
    return {name: parameter.requires_grad for name, parameter in module.named_parameters()}


def refuse_other_parameters(module: nn.Module, before: Mapping[str, bool]) -> None:
    """Refuse parameters that a callback has frozen, thawed, added or removed.

    Raises:
        ArgumentError: If there are any: the optimiser has those of the start of the fit.
    """
    now = trainable(module)
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        raise ArgumentError(
            f"callbacks: expected the trained parameters of the start of the fit; got other ones: "
            f"{', '.join(names[:4])}. Freeze or thaw them before a further fit, or use "
            "ppvae.fitting.Phases."
        )
