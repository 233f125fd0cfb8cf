"""Freed memory that the C library keeps for the next step, not returned to the system."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Constants of malloc.h. Arrays larger than the second are mapped and unmapped one by one; free
# memory at the end of the heap is returned to the system where it exceeds the first.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**30


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, up to a GiB per piece; True if that worked.

    A step on a CPU allocates the same large arrays again and again. By default, glibc maps each
    array above 32 MiB again, and returns the free end of the heap after every step; the system
    then clears each page at its next use, which can take as long as the arithmetic. The setting
    affects the entire process, so :func:`ppvae.fit` does not make it; the command line, which has
    a process of its own, does. In a script of yours, call it once, before the first fit.

    It has no effect on a GPU's memory, or where the C library is not glibc.

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
