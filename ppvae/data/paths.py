"""Paths to data."""

from __future__ import annotations

import csv
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import TypeAlias

from ppvae.errors import DataError
from ppvae.expected import path_of

__all__ = ["UNREADABLE", "PathLike", "existing", "name_of", "refuse_larger"]

PathLike: TypeAlias = str | Path
# Errors that readers raise at a file that is damaged, cut off, or of another kind.
UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    csv.Error,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def existing(path: PathLike) -> Path:
    """The path of an existing file or folder, with ``~`` replaced by the user's home.

    Raises:
        ArgumentError: If it is no path.
        DataError: If the path does not exist.
    """
    path = path_of("path", path).expanduser()
    if not path.exists():
        raise DataError(f"{path}: expected a file or a folder; there is none. Check the path.")
    return path


def name_of(path: PathLike) -> str:
    """The name of a file or a folder, for messages; the path of this folder and of the root."""
    return Path(path).name or str(path)


def refuse_larger(path: Path, size: int) -> None:
    """Refuse a file that, unpacked, is larger than this machine's memory.

    Arguments:
        path: Path of the file, for the message.
        size: Size of the unpacked file, in bytes.

    Raises:
        DataError: If the memory is smaller.
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
