"""Safe reading and writing of files in a folder that somebody else may have filled.

A file is opened without following a link and without blocking, and checked before it is read: a
link, a FIFO, a device or a file above a size limit is refused. New files are written under a
temporary name that nobody else can have created, and renamed into place; a rename replaces a link
and never follows one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ppvae.errors import RunError
from ppvae.runs.schema import check_tree

__all__ = [
    "PENDING",
    "digest_of",
    "inside",
    "is_folder",
    "is_kind",
    "read_bytes",
    "read_json",
    "size_of",
    "sync",
    "written",
]

# The folder of a complete save, until its files are moved to their places.
PENDING = ".ppvae-saved"
# Size limit of a JSON or CSV file, in bytes.
TEXT_LIMIT = 256 * 2**20
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)


def is_kind(path: Path, kind: str) -> bool:
    """Whether a path is a JSON file with this ``kind``.

    Arguments:
        path: Path of the file, which need not exist.
        kind: The kind.
    """
    try:
        document = read_json(path)
    except RunError:
        return False
    return isinstance(document, dict) and document.get("kind") == kind


def is_folder(path: Path) -> bool:
    """Whether the path is a folder, and not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def inside(folder: Path, *parts: str) -> Path:
    """A path below a folder that somebody else may have filled, where nothing is a link.

    Arguments:
        folder: Folder, which may be a link itself, as the user named it.
        parts: Names of folders, each in the one before it; they need not exist.

    Raises:
        RunError: If one of them is a link.
    """
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise RunError(
                f"{path}: expected a file or folder of its own; got a link. Remove the link, or "
                "name the place that it leads to."
            )
    return path


def _open(path: Path) -> int:
    """A descriptor of a run's file, also where an interrupted save has left it.

    Raises:
        RunError: If there is no such regular file.
    """
    pending = path.parent / PENDING
    places = [path]
    if is_folder(pending):
        # Tried twice, as the file may be moved to its place in between.
        places = [pending / path.name, path, pending / path.name]
    for place in places:
        if os.name == "nt" and place.is_symlink():
            raise _irregular(path)
        try:
            descriptor = os.open(place, _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
                raise _irregular(path) from error
            raise RunError(
                f"{path}: expected a file that can be read; got a damaged one "
                f"({error.strerror or error}). Look at its permissions."
            ) from error
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise _irregular(path)
    raise RunError(
        f"{path.parent}: expected a file {path.name!r}; got none. "
        "Name the folder that fit or save wrote, or restore it from a copy."
    )


def _irregular(path: Path) -> RunError:
    return RunError(
        f"{path}: expected a regular file; got a link, a folder or a device. "
        "Put a copy of the file in its place if you know where it is from."
    )


def size_of(path: Path) -> int:
    """The size of a regular file, in bytes.

    Raises:
        RunError: If there is none.
    """
    descriptor = _open(path)
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def read_bytes(path: Path, limit: int = TEXT_LIMIT) -> bytes:
    """The content of a regular file.

    Arguments:
        path: Path of the file, which must not be a link or a device.
        limit: Largest size in bytes.

    Raises:
        RunError: If there is none, or it is larger.
    """
    with os.fdopen(_open(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise RunError(
                f"{path}: expected at most {limit:,} bytes; got a damaged file of {size:,}. "
                "Restore it from a copy; for a large model, pass model and guide to ppvae.load."
            )
        try:
            return file.read(size)  # Not limit, as a buffer of the given size is allocated.
        except OSError as error:
            raise RunError(
                f"{path}: expected a file that can be read; got a damaged one "
                f"({error.strerror or error}). Restore it from a copy."
            ) from error


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        RunError: If the file is missing, damaged, too large or nested too deep.
    """
    content = read_bytes(path)
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path}: expected JSON; got a damaged file ({error}). "
            "Restore the folder from a copy, or train again."
        ) from error
    check_tree(path, value)
    return value


def digest_of(value: object) -> str:
    """SHA-256 of bytes, or of a JSON value in a fixed notation."""
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True).encode("utf-8")
    return hashlib.sha256(value).hexdigest()


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems do not support this.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A new file beside ``path`` that replaces it if the block ends without an error.

    Raises:
        RunError: If the folder of ``path`` is a link.
    """
    if path.parent.is_symlink():
        raise RunError(
            f"{path.parent}: expected a folder; got a link. Name the folder that it leads to."
        )
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
