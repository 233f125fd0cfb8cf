"""The data that a run was fitted with, found again: a path is followed to those very bytes alone.

A run's config says where its data were (``source``) and the checksum of the file or folder
(``source_digest``). The path is somebody's word, so it is read only if a regular file with that
checksum, or a folder of them, is there; else the data are asked for.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ppvae.errors import RunError
from ppvae.typing import JsonObject

__all__ = ["digest_of_data", "followed_source"]

# Bytes that are read of a file whole; of a larger one, so many pieces evenly spaced.
WHOLE, PIECE, PIECES = 2**30, 2**20, 256


def digest_of_data(path: Path) -> str | None:
    """SHA-256 of a file, or of the files below a folder by name; None if it cannot be read.

    Of a file above 1 GiB, of its size and of 256 pieces of 1 MiB, evenly spaced.
    """
    digest = hashlib.sha256()
    try:
        for name, file in _files(path):
            descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(descriptor, "rb") as content:
                status = os.fstat(content.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return None
                digest.update(f"{name}\0{status.st_size}\0".encode())
                step = (status.st_size - PIECE) // (PIECES - 1)
                if status.st_size <= WHOLE:
                    while piece := content.read(PIECE):
                        digest.update(piece)
                    continue
                for number in range(PIECES):
                    content.seek(number * step)
                    digest.update(content.read(PIECE))
    except OSError:
        return None
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """The file, or all below the folder in order, with names from there."""
    if not path.is_dir():
        yield "", path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            yield file.relative_to(path).as_posix(), file


def followed_source(folder: Path, config: JsonObject) -> Path | None:
    """The path of the data that a run was fitted with; None for those of the package.

    Raises:
        RunError: If what is at the recorded path is not what the run was fitted with.
    """
    source = config.get("source")
    if source is None:
        return None
    path, digest = Path(source), config.get("source_digest")
    if digest is None:
        what = "its config has no checksum of them"
    elif not path.exists():
        what = "there is nothing"
    elif digest_of_data(path) != digest:
        what = "there is something else"
    else:
        return path
    raise RunError(
        f"{folder}: expected its data at {source!r}; {what}. Say where they are: --data PATH."
    )
