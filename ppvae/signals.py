"""SIGTERM and SIGINT: training ends after the current step, other work at once, with no file half.

The command line runs each command within :func:`raising_on_signals`; a fit in it, whose steps are
to end well, within :func:`ending_on_signals`. Files and folders are replaced as a whole wherever
ppvae writes them, so that ending at any moment loses nothing that was there before.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ppvae.errors import Interrupted

__all__ = [
    "Cut",
    "cut_by_signals",
    "ended_by_signals",
    "ending_on_signals",
    "pending_signal",
    "raising_on_signals",
]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PENDING: list[int] = []
# Scopes that a signal leaves at once.
_CUTTABLE: list[object] = []


class Cut(BaseException):
    """A signal within :func:`cut_by_signals`."""


def pending_signal() -> int | None:
    """The signal received within a scope of this module, if any."""
    return _PENDING[0] if _PENDING else None


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT end :func:`ppvae.fit` after the current step; a second one, at once.

    The fit then writes its checkpoint, if it has a :class:`~ppvae.fitting.Checkpoint`, and its
    run, and raises :class:`~ppvae.errors.Interrupted`. The command line uses this scope; a script
    may, in its main thread. The previous signal handlers are restored afterwards.

    Raises:
        Interrupted: By a fit in the scope, after a signal.
    """

    def note(number: int) -> None:
        name = signal.Signals(number).name
        message = f"\nppvae: {name}: this step ends, then all is saved; again to end at once\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, message.encode())
        if _CUTTABLE:
            raise Cut

    with _handling(note):
        yield


@contextmanager
def cut_by_signals() -> Iterator[None]:
    """Raise :class:`Cut` at a signal within :func:`ending_on_signals`, or if one has come before.

    For long work that may be left at any moment, such as compiling a step.
    """
    if pending_signal() is not None:
        raise Cut
    _CUTTABLE.append(None)
    try:
        yield
    finally:
        _CUTTABLE.pop()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise Interrupted at once, within :func:`ending_on_signals`, while nothing is to be saved.

    For the preparation of a fit: the data, the optimiser and what torch imports for it.
    """
    try:
        with cut_by_signals():
            yield
    except Cut as cut:
        raise Interrupted(_PENDING[0]) from cut


@contextmanager
def raising_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise :class:`~ppvae.errors.Interrupted`; a second one ends at once.

    A library within the scope that raises KeyboardInterrupt of its own after a signal, as Ray
    does, raises ``Interrupted``, too. Outside of the main thread nothing is changed.
    """

    def end(number: int) -> None:
        raise Interrupted(number)

    with _handling(end):
        try:
            yield
        except KeyboardInterrupt as error:
            number = pending_signal()
            if number is None or isinstance(error, Interrupted):
                raise
            raise Interrupted(number) from error


@contextmanager
def _handling(first: Callable[[int], None]) -> Iterator[None]:
    """Call a function at the first signal; end the process at the second."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if _PENDING:
            # A file is replaced as one, so that ending at any moment loses nothing.
            os._exit(128 + number)
        _PENDING.append(number)
        first(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _PENDING.clear()
