"""SIGTERM and SIGINT end training after the current step, with the run saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["ending_on_signals", "pending_signal"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PENDING: list[int] = []


def pending_signal() -> int | None:
    """The signal received within :func:`ending_on_signals`, if any."""
    return _PENDING[0] if _PENDING else None


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT end :func:`ppvae.fit` after the current step; a second one, at once.

    The fit then writes its checkpoint, if it has a :class:`~ppvae.fitting.Checkpoint`, and its
    run, and raises :class:`~ppvae.errors.Interrupted`. The command line uses this scope; a script
    may, in its main thread. The previous signal handlers are restored afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _PENDING.clear()


def _handle(number: int, frame: FrameType | None) -> None:
    if _PENDING:
        # A file is replaced as one, so that ending at any moment loses nothing.
        os._exit(128 + number)
    _PENDING.append(number)
    name = signal.Signals(number).name
    message = f"\nppvae: {name}: this step ends, then all is saved; again to end at once\n"
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, message.encode())
