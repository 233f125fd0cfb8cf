"""The data that a run was fitted with, found again: a path is followed to those very bytes alone.

A run's config says where its data were (``source``) and the checksum of the file or folder
(``source_digest``). The path is somebody's word, so it is read only if a regular file with that
checksum, or a folder of them, is there; else the data are asked for. A table of labels beside
pictures (``reading["labels"]``, ``labels_digest``) is held to the same rule.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ppvae.errors import RunError
from ppvae.runs.schema import OPTIONS, check_fields, optional
from ppvae.typing import JsonObject, Keywords

__all__ = ["digest_of_data", "followed_reading", "followed_source", "noted_source"]

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


def noted_source(data: str | Path | None, reading: Keywords | None = None) -> dict[str, object]:
    """What a config says of where its data are, and how they are read.

    Arguments:
        data: A file or a folder; None for data of the package.
        reading: Options of the reader; ``labels`` is a path.
    """
    noted: dict[str, object] = {"source": None, "source_digest": None}
    if data is not None:
        path = Path(data).resolve()
        noted = {"source": str(path), "source_digest": digest_of_data(path)}
    if reading is not None:
        options = dict(reading)
        if options.get("labels") is not None:
            table = Path(options["labels"]).resolve()
            options["labels"] = str(table)
            noted["labels_digest"] = digest_of_data(table)
        noted["reading"] = options
    return noted


def followed_source(folder: Path, config: JsonObject) -> Path | None:
    """The path of the data that a run was fitted with; None for those of the package.

    Raises:
        RunError: If what is at the recorded path is not what the run was fitted with.
    """
    source = config.get("source")
    if source is None:
        return None
    wrong = _differs(source, config.get("source_digest"))
    if wrong is None:
        return Path(source)
    raise RunError(
        f"{folder}: expected its data at {source!r}; {wrong}. Say where they are: --data PATH."
    )


def followed_reading(folder: Path, config: JsonObject) -> JsonObject:
    """The options of the reader that a run was fitted with.

    Raises:
        RunError: If they are no options, or if the table of labels among them is not the one that
            the run was fitted with.
    """
    check_fields(folder, config, {"reading": optional(OPTIONS)})
    reading = config.get("reading") or {}
    labels = reading.get("labels")
    wrong = None if labels is None else _differs(labels, config.get("labels_digest"))
    if wrong is not None:
        raise RunError(
            f"{folder}: expected its table of labels at {labels!r}; {wrong}. Put it back; to go "
            "on with training, --label-table PATH names another place."
        )
    return dict(reading)


def _differs(source: str, digest: str | None) -> str | None:
    """What is wrong with what is at a recorded path; None if it has the checksum."""
    path = Path(source)
    if digest is None:
        return "its config has no checksum of them"
    try:
        there = path.exists()
    except (OSError, ValueError):
        there = False
    if not there:
        return "there is nothing"
    return None if digest_of_data(path) == digest else "there is something else"
