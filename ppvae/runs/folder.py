"""Folders that are there whole or not at all, and what goes wrong with them in words."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppvae.errors import RunError

__all__ = ["RunError", "read_json", "refuse_unwritable", "replaced", "write_json"]


def refuse_unwritable(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    """Find out before the work is done whether its result can be written.

    Arguments:
        folder: Where it is to go.
        is_ours: Says of an existing folder whether it may be replaced.

    Raises:
        RunError: If it cannot be written there, or if something else is there.
    """
    if folder.exists():
        if not folder.is_dir():
            raise RunError(
                f"out: expected a folder; got the file {str(folder)!r}. Name another place."
            )
        if any(folder.iterdir()) and not is_ours(folder):
            raise RunError(
                f"out: expected a new folder or an earlier result; got {str(folder)!r}, "
                "which holds other files. Name another folder."
            )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)).rmdir()
    except OSError as error:
        raise RunError(
            f"out: expected a place that can be written; got {str(folder)!r} "
            f"({error.strerror or error}). Name another folder."
        ) from error


@contextmanager
def replaced(folder: Path, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place if the block ends without error.

    Raises:
        RunError: As :func:`refuse_unwritable`.
    """
    refuse_unwritable(folder, is_ours)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new = temporary / "new"
        new.mkdir()
        try:
            yield new
            if folder.exists():
                folder.rename(temporary / "old")
            new.rename(folder)
        except OSError as error:
            old = temporary / "old"
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise RunError(
                f"out: could not write {str(folder)!r} ({error.strerror or error}). "
                "Free some space, or name another folder."
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Indented, with a final newline."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote.

    Raises:
        RunError: If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"{path.parent}: expected a file {path.name!r}; got none. "
            "Name the folder that fit or save wrote."
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: expected JSON; got a damaged file ({error}). "
            "Restore the folder from a copy, or train again."
        ) from error
