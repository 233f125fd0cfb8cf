"""The commands, one module each: ``add`` declares the arguments, ``run`` does the work.

A module is listed in :data:`COMMANDS` and has two functions: ``add(commands, arguments)`` adds a
parser to the subparsers, with ``set_defaults(command=run)``, and ``run(arguments)`` does the work.
Modules that are slow to import (torch, matplotlib and all that need them) are imported inside
``run``, so that ``--help`` and ``ppvae list`` are quick.
"""

__all__ = ["COMMANDS"]

COMMANDS = (
    "list",
    "inspect",
    "fit",
    "sweep",
    "compare",
    "explore",
    "evaluate",
    "report",
    "predict",
    "encode",
    "reconstruct",
    "sample",
    "completion",
)
