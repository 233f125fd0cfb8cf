"""Modules and entries of the user, from the folder in which a command runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppvae.zoo.entry import Entry

__all__ = ["entry_named", "this_folder", "trusting"]


@contextmanager
def this_folder(path: str = "") -> Iterator[None]:
    """Import modules from this folder first: naming one is the consent to run it.

    Later the folder comes last, so that no other file in it is imported in place of a package.

    Arguments:
        path: The folder, where another process was in it.
    """
    sys.path.insert(0, path)
    try:
        yield
    finally:
        sys.path.remove(path)
        if path not in sys.path:
            sys.path.append(path)


def entry_named(name: str, path: str = "") -> Entry:
    """The entry of a name; a user's own is imported from this folder first.

    Arguments:
        name: Name of a shipped entry, or ``module:function``.
        path: The folder, where another process was in it.

    Raises:
        ArgumentError: If there is no such entry.
    """
    from ppvae.zoo import entry, names

    if name in names():
        return entry(name)
    with this_folder(path):
        return entry(name)


def trusting(name: str) -> str:
    """The flag by which a command rebuilds runs of this entry; empty for a shipped one."""
    module, colon, _ = name.partition(":")
    return f" --trust {shlex.quote(module)}" if colon else ""
