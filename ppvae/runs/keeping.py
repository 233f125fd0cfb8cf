"""Writing of a trained run so that neither it nor an earlier run is lost."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from ppvae.errors import RunError
from ppvae.runs.config import FINISHED, is_run, read_config
from ppvae.runs.folder import free_name
from ppvae.runs.run import Run

__all__ = ["keep", "write"]

logger = logging.getLogger(__name__)


def write(run: Run, folder: Path) -> Path:
    """Write a run to its folder, or beside it if that holds a finished run and this one is not.

    Returns:
        The folder that it was written to.

    Raises:
        RunError: If it cannot be written; the run is an attribute of the error and, if possible,
            in a temporary folder that the message names.
    """
    try:
        place = folder
        if run.status not in FINISHED and _holds_another(folder, run):
            place = free_name(folder, lambda path: path.exists())
            logger.warning(
                "out: %s holds a finished run, which stays; this one, %s, is in %s.",
                *(folder, run.status, place),
            )
        return run.save(place)
    except RunError as error:
        raise _rescued(run, folder, error) from error


def keep(run: Run, folder: Path) -> None:
    """:func:`write` for a run that ended with an error; an error in writing is logged only."""
    try:
        write(run, folder)
    except RunError as error:
        logger.error("%s", error)


def _holds_another(folder: Path, run: Run) -> bool:
    """Whether the folder holds a finished run, or one that cannot be read, other than ``run``."""
    if not is_run(folder):
        return False
    try:
        config = read_config(folder)
    except RunError:
        return True
    return config["status"] in FINISHED and config["id"] != run.id


def _rescued(run: Run, folder: Path, error: RunError) -> RunError:
    message = str(error)
    parent = None
    try:
        parent = Path(tempfile.mkdtemp(prefix="ppvae-"))
        place = run.save(parent / (folder.name or "run"))
        message += f" The trained run is in {str(place)!r}, and in this error's `run`."
    except (OSError, RunError):
        message += " The trained run is in this error's `run` alone."
        if parent is not None:
            shutil.rmtree(parent, ignore_errors=True)
    rescued = RunError(message)
    rescued.run = run
    return rescued
