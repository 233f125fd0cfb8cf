"""Memory that the C library keeps for the next step, rather than give it back to the system."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Names of malloc.h. Arrays above the second are mapped and unmapped one by one; free memory above
# the first at the heap's end is given back.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**30


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, up to a GiB a piece; whether that was possible.

    A step on a CPU allocates the same large arrays again and again. By default glibc maps each
    above 32 MiB afresh, and gives the heap's free end back after every step; the system then
    clears each page that is touched again, which can take as long as the arithmetic. It is a
    setting of the whole process, so :func:`ppvae.fit` leaves it alone; the command line, whose
    process is its own, makes it. In a script of yours call it once, before the first fit.

    Without effect on a GPU's memory, and where the C library is not glibc.

    References:
        | mallopt(3), https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    done = [library.mallopt(name, _MOST) for name in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD)]
    return all(done)
