"""Paths to data."""

from __future__ import annotations

import lzma
import os
import struct
import zlib
from pathlib import Path
from typing import TypeAlias

from ppvae.errors import DataError

__all__ = ["UNREADABLE", "PathLike", "existing", "refuse_larger"]

PathLike: TypeAlias = "str | Path"
# What readers raise at a file that is damaged, cut off, or no file of its kind.
UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
    struct.error,
    lzma.LZMAError,
    zlib.error,
)


def existing(path: PathLike) -> Path:
    """The path, with the user's home in place of ``~``.

    Raises:
        DataError: If nothing is there.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path}: expected a file or a folder; there is none. Check the path.")
    return path


def refuse_larger(path: Path, size: int) -> None:
    """Refuse what is unpacked into memory and is larger than this machine's.

    Arguments:
        path: The file, which is named.
        size: Bytes when it is unpacked.

    Raises:
        DataError: If memory is smaller.
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if size > memory:
        raise DataError(
            f"{path.name}: expected data that fit into memory, {memory / 2**30:.1f} GiB; got "
            f"{size / 2**30:.1f} GiB unpacked. Save x with numpy.save as .npy, which is read by "
            "rows."
        )
