"""The commands, a module each: ``add`` declares its arguments, ``run`` does it.

A module stands in :data:`COMMANDS` and has two functions: ``add(commands, arguments)`` adds a
parser to the subparsers, with ``set_defaults(command=run)``, and ``run(arguments)`` does the work.
What costs time to import (torch, matplotlib and all that needs them) is imported inside ``run``,
so that help and lists are quick.
"""

__all__ = ["COMMANDS"]

COMMANDS = (
    "list",
    "inspect",
    "fit",
    "sweep",
    "compare",
    "evaluate",
    "report",
    "predict",
    "encode",
    "reconstruct",
    "sample",
)
