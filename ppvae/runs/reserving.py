"""Reservation of a folder by the fit that will write to it, against another one beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from ppvae.errors import RunError
from ppvae.runs.folder import free_name

try:
    import fcntl
except ImportError:  # Windows, where no folder is reserved.
    fcntl = None  # type: ignore[assignment]

__all__ = ["reserve"]


def reserve(
    folder: Path, is_taken: Callable[[Path], bool], held: ExitStack, *, only: bool = False
) -> Path:
    """``folder``, or the first of ``folder-2``, ... that is free, reserved for this process.

    A hidden file beside the folder is locked until ``held`` is closed or the process ends, however
    it ends; on closing it is removed.

    Arguments:
        folder: Folder that the result is to be in.
        is_taken: Function that tells whether a folder holds a result that is to stay.
        held: Context that holds the reservation.
        only: Whether no other folder will do.

    Raises:
        RunError: If no other folder will do, and another process has reserved this one.
    """
    mine: dict[Path, int] = {}

    def taken(path: Path) -> bool:
        if is_taken(path):
            return True
        descriptor = _lock(_mark(path))
        if descriptor is None:
            return True
        mine[path] = descriptor
        return False

    if only and taken(folder):
        raise RunError(
            f"out: expected a folder that no other process writes to; got {str(folder)!r}, which "
            "another fit is to be written to. Wait for its end, or name another folder."
        )
    free = folder if only else free_name(folder, taken)
    if mine.get(free, -1) >= 0:
        held.callback(_release, _mark(free), mine[free])
    return free


def _mark(folder: Path) -> Path:
    place = Path(os.path.abspath(folder))
    return place.with_name(f".{place.name}.fitting")


def _lock(mark: Path) -> int | None:
    """Descriptor of the locked file; -1 where nothing can be locked, None if another has it."""
    if fcntl is None:
        return -1
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError:
        return -1  # What cannot be written is said where the result is written.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if mark.exists() and os.path.samestat(os.fstat(descriptor), mark.stat()):
            return descriptor
        os.close(descriptor)  # Removed by its holder between the two calls.
        return _lock(mark)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # A file system without locks.
        os.close(descriptor)
        return -1


def _release(mark: Path, descriptor: int) -> None:
    with suppress(OSError):
        mark.unlink()
    os.close(descriptor)
