"""The data of a run, found again by path, and used only if their contents are the same.

A run's config records the path of its data (``source``) and the checksum of the file or folder
(``source_digest``). The path may come from a stranger, so it is read only if it is a regular file
with that checksum, or a folder of such files; otherwise an error asks for the data. The same holds
for a table of labels for pictures (``reading["labels"]``, ``labels_digest``).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ppvae.errors import RunError
from ppvae.expected import real_path
from ppvae.runs.schema import OPTIONS, check_fields, optional
from ppvae.typing import JsonObject, Keywords

__all__ = ["digest_of_data", "followed_reading", "followed_source", "noted_source"]

# Size in bytes up to which a file is read in full; of a larger one, this many pieces are read.
WHOLE, PIECE, PIECES = 2**30, 2**20, 256


def digest_of_data(path: Path) -> str | None:
    """SHA-256 of a file, or of the files below a folder by name; None if it cannot be read.

    For a file above 1 GiB, it covers the size and 256 evenly spaced pieces of 1 MiB.
    """
    digest = hashlib.sha256()
    try:
        for name, file in _files(path):
            # Opening a device may set it in motion: a tape, a serial port, a watchdog.
            if not stat.S_ISREG(file.stat().st_mode):
                return None
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
    """The file, or all files in the folder in order, with names relative to the path."""
    if not path.is_dir():
        yield "", path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            yield file.relative_to(path).as_posix(), file


def noted_source(data: str | Path | None, reading: Keywords | None = None) -> dict[str, object]:
    """The entries of a config on the path of its data, and on how they are read.

    Arguments:
        data: A file or a folder; None for data of the package.
        reading: Options of the reader; ``labels`` is a path.
    """
    noted: dict[str, object] = {"source": None, "source_digest": None}
    if data is not None:
        path = real_path(data)
        noted = {"source": str(path), "source_digest": digest_of_data(path)}
    if reading is not None:
        options = dict(reading)
        if options.get("labels") is not None:
            table = real_path(options["labels"])
            options["labels"] = str(table)
            noted["labels_digest"] = digest_of_data(table)
        noted["reading"] = options
    return noted


def followed_source(folder: Path, config: JsonObject) -> Path | None:
    """The path of the data that a run was fitted with; None for those of the package.

    Raises:
        RunError: If the recorded path does not hold the data that the run was fitted with.
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
        RunError: If they are not valid options, if the table of labels among them is not the one
            that the run was fitted with, or if columns are in files of their own.
    """
    check_fields(folder, config, {"reading": optional(OPTIONS)})
    reading = config.get("reading") or {}
    if reading.get("columns") and str(config.get("source")).lower().endswith(".npy"):
        # The paths of further files may come from a stranger, and have no checksum.
        raise RunError(
            f"{folder}: expected its data in one file; got columns in further .npy files. Save "
            "them together with numpy.savez, and name the archive: --data PATH."
        )
    labels = reading.get("labels")
    wrong = None if labels is None else _differs(labels, config.get("labels_digest"))
    if wrong is not None:
        raise RunError(
            f"{folder}: expected its table of labels at {labels!r}; {wrong}. Put it back; to go "
            "on with training, --label-table PATH names another place."
        )
    return dict(reading)


def _differs(source: str, digest: str | None) -> str | None:
    """What is wrong with the data at a recorded path; None if they have the checksum."""
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
