"""Models by name: constructors of (model, guide, objective) whose signatures are their options.

``ppvae.zoo.cvae(columns, beta=4.0)`` builds one, ``ppvae.zoo.entry("cvae")`` says how it is
fitted by default, and :func:`register` makes one of a user's own function.
"""

from __future__ import annotations

from ppvae.zoo.entry import REGISTRY, Entry, Pair, Spec, build, entry, names, register
from ppvae.zoo.options import Options, add_options, option, parse_options

__all__ = [
    "REGISTRY",
    "Entry",
    "Options",
    "Pair",
    "Spec",
    "add_options",
    "build",
    "entry",
    "names",
    "option",
    "parse_options",
    "register",
]


def __getattr__(name: str) -> Entry:
    if name.replace("_", "-") in names():
        return entry(name.replace("_", "-"))
    raise AttributeError(f"module 'ppvae.zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(name.replace("-", "_") for name in names())})
