"""Figures as files, listed for a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ppvae.errors import RunError
from ppvae.runs.files import written
from ppvae.runs.folder import write_json
from ppvae.typing import JsonObject

__all__ = ["CAPTIONS", "CONTROLS", "FAILURES", "Failure", "save"]

CAPTIONS = "captions.json"
FAILURES = "failures.json"
CONTROLS = "controls.json"
# A figure or metric that could not be had: its ``kind``, ``name`` and ``reason``.
Failure = dict[str, str]


def save(
    folder: str | Path,
    figures: Iterable[tuple[str, str, Figure]],
    *,
    failures: Sequence[Failure] = (),
    controls: JsonObject | None = None,
) -> list[Path]:
    """Write figures as PNG into a folder, and their captions, in order, into captions.json.

    Arguments:
        folder: Folder, created if it does not exist; figures of other names in it stay, but are
            not listed.
        figures: Tuples (file name, caption, figure); ``.png`` is added to names without it.
        failures: Figures and metrics that failed, with reasons: written into failures.json.
        controls: Data of a report's controls, written into controls.json.

    Raises:
        RunError: If two figures have the same name, a name contains a path, or a file cannot be
            written.
    """
    folder = Path(folder)
    listed: list[dict[str, str]] = []
    paths: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, caption, figure in figures:
            file = name if name.endswith(".png") else f"{name}.png"
            if Path(file).name != file or file in {entry["file"] for entry in listed}:
                raise RunError(
                    f"figures: expected plain file names, each once; got {name!r}. Rename it."
                )
            with written(folder / file) as new:
                # Unlike savefig, which lays out the axes in a drawing of its own before this one.
                FigureCanvasAgg(figure).print_png(new)
            listed.append({"file": file, "caption": caption})
            paths.append(folder / file)
        with written(folder / CAPTIONS) as new:
            write_json(new, listed)
        for file, content in ((FAILURES, list(failures)), (CONTROLS, controls)):
            (folder / file).unlink(missing_ok=True)
            if content:
                with written(folder / file) as new:
                    write_json(new, content)
    except OSError as error:
        raise RunError(
            f"plots: could not write {str(folder)!r} ({error.strerror or error}). "
            "Free some space, or name another folder."
        ) from error
    return paths
