"""Paths to data."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from ppvae.errors import DataError

__all__ = ["PathLike", "existing"]

PathLike: TypeAlias = "str | Path"


def existing(path: PathLike) -> Path:
    """The path, with the user's home in place of ``~``.

    Raises:
        DataError: If nothing is there.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path}: expected a file or a folder; there is none. Check the path.")
    return path
