"""Where a command may write: over no run's own files, and over nothing that it reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ppvae.active.state import SEARCH
from ppvae.errors import ArgumentError, RunError
from ppvae.expected import real_path
from ppvae.report.page import FILE as REPORT
from ppvae.runs.config import CONFIG, HISTORY, METRICS, WEIGHTS, is_run, read_config
from ppvae.runs.files import inside
from ppvae.runs.folder import CHECKPOINT, free_name
from ppvae.runs.run import Run
from ppvae.typing import JsonObject

__all__ = ["expect_evaluation", "free_evaluation", "read_by", "refuse_taken"]

SWEEP, FITTING = "sweep.json", "checkpoint"
_RUN = (CONFIG, WEIGHTS, HISTORY, METRICS, REPORT, "arviz.nc", "arviz.zarr", "plots", FITTING)
_CHECKPOINT = (CHECKPOINT, Path(CHECKPOINT).with_suffix(".safetensors").name)


def _has(name: str) -> Callable[[Path], bool]:
    return lambda folder: (folder / name).is_file()


# What a folder holds, how that is seen, and the names in it that belong to that.
_HOLDINGS: tuple[tuple[str, Callable[[Path], bool], tuple[str, ...]], ...] = (
    ("a run", is_run, _RUN),
    ("a checkpoint", _has(CHECKPOINT), _CHECKPOINT),
    ("a search", _has(SEARCH), (SEARCH, METRICS, "plots", "maps")),
    ("a sweep", _has(SWEEP), (SWEEP, "study.log", "ray")),
)


def read_by(*runs: Run) -> tuple[str | None, ...]:
    """The paths of the data, and of their tables of labels, that these runs were fitted with."""
    found: list[str | None] = []
    for run in runs:
        reading = run.config.get("reading") or {}
        found += [run.config.get("source"), reading.get("labels")]
    return tuple(found)


def refuse_taken(*targets: Path, reads: tuple[str | Path | None, ...] = ()) -> None:
    """Refuse to write over files of a run, or over what the command reads.

    Arguments:
        targets: Paths of the files, or of the folders, that are to be written.
        reads: Paths of what the command reads, or a run was fitted with; None stands for nothing.

    Raises:
        ArgumentError: If a target is what is read, or a picture in a folder that is.
        RunError: If a target belongs to a run, a checkpoint, a search or a sweep.
    """
    for target in targets:
        # The folder is as the user named it; a link in the place of the file itself is replaced.
        place = real_path(target.parent) / target.name
        for folder, (name, *_) in _above(place):
            for holding, holds, names in _HOLDINGS:
                own = name.casefold() in names or name.startswith(".ppvae-")
                if own and holds(folder):
                    raise RunError(
                        f"out: expected a place of its own; got {str(target)!r}, which is a file "
                        f"of {holding} in {str(folder)!r}, or in one of its folders. Name another."
                    )
        for source in reads:
            if source is not None and _is_read(place, Path(source)):
                raise ArgumentError(
                    f"out: expected another file than the data, which would be lost; got "
                    f"{str(target)!r}, which is in {str(source)!r}. Name another: --out."
                )


def _above(place: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Each folder that a path is in, with the rest of the path."""
    for folder in place.parents:
        yield folder, place.relative_to(folder).parts


def _is_read(target: Path, source: Path) -> bool:
    """Whether a target is a source, or a picture in a folder that is."""
    try:
        if not os.path.lexists(target):
            return False
        if target.exists() and source.exists() and target.samefile(source):
            return not target.is_symlink()
        among = source.is_dir() and real_path(source) in target.parents
    except OSError:
        return False
    return among and target.suffix.lower() == ".png"


def expect_evaluation(folder: Path, run: str, source: str) -> None:
    """Refuse to replace anything but an earlier evaluation of the same run on the same data.

    Arguments:
        folder: Folder of the new evaluation, which need not exist.
        run: Path of the evaluated run, as in the config of an evaluation.
        source: Path of the data, as in the config of an evaluation.

    Raises:
        RunError: If the folder holds a run that was trained, or another evaluation.
    """
    refuse_taken(folder)
    if not is_run(folder):
        if (folder / FITTING / CHECKPOINT).exists():
            raise RunError(
                f"out: expected a new folder or an earlier evaluation; got {str(folder)!r}, which "
                "holds a run in training. Name another folder."
            )
        return
    held = read_config(folder)
    if "evaluation" not in held:
        raise RunError(
            f"out: expected a new folder or an earlier evaluation; got {str(folder)!r}, which "
            "holds a trained run. Name another folder."
        )
    # A run's own folder may have been copied or renamed since.
    own = real_path(Path(run) / "evaluations") == real_path(folder.parent)
    if not _same(held, run, source) and not (own and held.get("source") == source):
        raise RunError(
            f"out: expected a new folder or an evaluation of the same run on the same data; got "
            f"{str(folder)!r}, an evaluation of {_run_of(held)!r} on {held.get('source')!r}. Name "
            "another folder."
        )


def _run_of(config: JsonObject) -> object:
    return (config.get("evaluation") or {}).get("run")


def _same(config: JsonObject, run: str, source: str) -> bool:
    return bool(_run_of(config) == run and config.get("source") == source)


def free_evaluation(folder: Path, data: str | Path) -> Path:
    """The folder of an evaluation within a run's: ``evaluations/NAME``, or ``NAME-2`` and so on.

    The first that is free, or that holds an evaluation of the same file or folder.

    Arguments:
        folder: Folder of the run.
        data: Path of the new data.

    Raises:
        RunError: If a folder on the way to it is a link.
    """
    source = str(real_path(data))
    name = Path(os.path.abspath(data)).stem or "data"
    wanted = inside(folder, "evaluations", name)

    def is_taken(place: Path) -> bool:
        inside(folder, "evaluations", place.name)
        try:
            return is_run(place) and read_config(place).get("source") != source
        except RunError:
            return True

    return free_name(wanted, is_taken)
