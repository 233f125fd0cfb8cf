"""Work that is larger than the machine's memory, refused before it begins or told from a bug."""

from __future__ import annotations

import os
import re

from ppvae.errors import ArgumentError

__all__ = ["expect_memory", "is_about_memory"]

# What torch and numpy say of an array that cannot be allocated, or whose size cannot be counted.
_WORDS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|invalid buffer size"
    r"|storage size calculation overflowed|integer multiplication overflow"
    r"|array is too big|maximum allowed dimension exceeded|unable to allocate"
    r"|tried to allocate|numel overflow",
    re.IGNORECASE,
)


def is_about_memory(error: BaseException) -> bool:
    """Whether an error of Python, torch or numpy says that memory is too small."""
    return isinstance(error, MemoryError) or bool(_WORDS.search(str(error)))


def expect_memory(name: str, count: int, each: int) -> None:
    """Refuse a number of things that together are larger than this machine's memory.

    Arguments:
        name: Name of the argument that is the number.
        count: The number.
        each: Size of one, in bytes.

    Raises:
        ArgumentError: If the memory is smaller.
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if count * each > memory:
        raise ArgumentError(
            f"{name}: expected at most {memory // each:,}, for which this machine has memory; got "
            f"{count:,}. Ask for fewer at a time."
        )
