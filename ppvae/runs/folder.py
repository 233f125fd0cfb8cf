"""Folders whose files change together or not at all.

A save writes its files into ``.ppvae-saving-*`` inside the folder, waits for the disk, and renames
that to ``.ppvae-saved``: from then on these are the folder's files, even after a crash. They are
then moved to their places one by one; a reader looks for each file in ``.ppvae-saved`` first, and
the next save completes an interrupted one. Nothing else in the folder is changed, and the folder
itself is never renamed, so that it may be a mount point.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from ppvae.errors import RunError
from ppvae.runs.files import PENDING, is_folder, read_json, sync

try:
    import fcntl
except ImportError:  # Windows, where no other process can hold the folder.
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "CHECKPOINT",
    "RunError",
    "free_name",
    "plain",
    "read_json",
    "refuse_unwritable",
    "replaced",
    "write_json",
]

SAVING = ".ppvae-saving-"
# The file that identifies the folder of a checkpoint, which may be inside a run's folder.
CHECKPOINT = "training.json"


def refuse_unwritable(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    """Check, before the work, that its result can be written.

    Arguments:
        folder: Folder of the result.
        is_ours: Function that tells whether an existing folder with files is an earlier result.

    Raises:
        RunError: If the folder cannot be written, or holds something else.
    """
    if folder.parts[:1] and folder.parts[0].startswith("~") and not folder.exists():
        raise RunError(
            f"out: expected a path; got {str(folder)!r}, in which the shell has not replaced the "
            "'~'. Write the folder's path in full, or put a blank before it: --out ~/runs."
        )
    if folder.exists() and not folder.is_dir():
        raise RunError(
            f"out: expected a folder; got the file {str(folder)!r}. Name another place."
        )
    try:
        if folder.exists():
            if any(map(_is_foreign, folder.iterdir())) and not is_ours(folder):
                raise RunError(
                    f"out: expected a new folder or an earlier result; got {str(folder)!r}, "
                    "which holds other files. Name another folder."
                )
            probe = Path(tempfile.mkdtemp(prefix=SAVING, dir=folder))
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            probe = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        with suppress(FileNotFoundError):  # Another process that saves here may remove it.
            probe.rmdir()
    except OSError as error:
        raise RunError(
            f"out: expected a place that can be written; got {str(folder)!r} "
            f"({error.strerror or error}). Name another folder."
        ) from error


def _is_foreign(path: Path) -> bool:
    """Whether a result must not be written beside ``path``."""
    if path.name.startswith(".") or path.name == "lost+found":
        return False
    return not (is_folder(path) and (path / CHECKPOINT).exists())


@contextmanager
def replaced(
    folder: Path, is_ours: Callable[[Path], bool], *, stale: Sequence[str] = ()
) -> Iterator[Path]:
    """An empty folder; its files become those of ``folder`` if the block ends without an error.

    Arguments:
        folder: Folder, created if it does not exist.
        is_ours: Test of the folder's content, as for :func:`refuse_unwritable`.
        stale: Names of files that are removed from the folder, if they exist.

    Raises:
        RunError: As :func:`refuse_unwritable`, or if a file cannot be written.
    """
    refuse_unwritable(folder, is_ours)
    is_new = not folder.exists()
    saving: Path | None = None
    try:
        folder.mkdir(exist_ok=True)
        with ExitStack() as locked:
            with _held(folder, wait=True):
                _finish(folder)
                _sweep(folder)
                saving = Path(tempfile.mkdtemp(prefix=SAVING, dir=folder))
                locked.enter_context(_held(saving))
            yield saving
            for path in saving.iterdir():
                sync(path)
            sync(saving)
            with _held(folder, wait=True):
                for name in stale:
                    _remove(folder / name)
                os.rename(saving, folder / PENDING)
                _finish(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"out: could not write {str(folder)!r} ({reason}). "
            "Free some space, or name another folder."
        ) from error
    finally:
        if saving is not None:
            shutil.rmtree(saving, ignore_errors=True)
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _finish(folder: Path) -> None:
    """Move the files of a complete save to their places."""
    pending = folder / PENDING
    if not is_folder(pending):
        return
    sync(folder)
    for path in sorted(pending.iterdir()):
        os.replace(path, folder / path.name)
    sync(folder)
    pending.rmdir()


def _sweep(folder: Path) -> None:
    """Remove the remains of interrupted saves."""
    for path in folder.glob(f"{SAVING}*"):
        if is_folder(path):
            with suppress(BlockingIOError), _held(path):
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _held(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder within this scope; raise BlockingIOError if another process has locked it.

    Arguments:
        folder: The folder.
        wait: Whether to wait for the other process.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, following no link."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def free_name(folder: Path, is_taken: Callable[[Path], bool]) -> Path:
    """``folder``, or the first of ``folder-2``, ``folder-3``, ... that is not taken."""
    number, free = 1, folder
    while is_taken(free):
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def write_json(path: Path, value: object) -> None:
    """Write JSON, indented, with a final newline.

    Arguments:
        path: File to write.
        value: Value that JSON can represent.
    """
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def plain(value: object) -> object:
    """JSON without NaN, tensors or paths."""
    if isinstance(value, Mapping):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Tensor) or hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
