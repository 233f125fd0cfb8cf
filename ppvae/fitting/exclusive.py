"""One fit at a time in a process: Pyro's handlers and torch's generators are the process's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["exclusive"]

_LOCK = threading.RLock()


@contextmanager
def exclusive() -> Iterator[None]:
    """Wait until no other thread is within; a callback may fit again in the same thread."""
    with _LOCK:
        yield


def _renew() -> None:
    """In a child process no other thread lives to give the lock back."""
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
