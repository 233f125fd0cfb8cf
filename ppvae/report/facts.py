"""The contents of a run's folder: settings, numbers, history, pictures; nothing is recomputed."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ppvae.errors import RunError
from ppvae.plots.files import CAPTIONS, CONTROLS, FAILURES, Failure
from ppvae.runs.config import read_config, read_history, read_metrics, verify
from ppvae.runs.files import is_folder, read_bytes, read_json
from ppvae.runs.history import History
from ppvae.runs.schema import NAME
from ppvae.typing import JsonObject

__all__ = ["Facts", "Picture", "read"]


@dataclass(frozen=True)
class Picture:
    """A PNG of the run.

    Attributes:
        name: Name of the file, without its suffix.
        caption: Caption; empty if there is none.
        data: Contents of the file, as base64.
        width: Width in pixels.
        height: Height in pixels.
        inches: Width of the figure, in inches.
    """

    name: str
    caption: str
    data: str
    width: int
    height: int
    inches: float


@dataclass(frozen=True)
class Facts:
    """Everything that a report is made from.

    Attributes:
        config: Contents of ``config.json``.
        metrics: Contents of ``metrics.json``, the names of nested tables joined by dots.
        history: Contents of ``history.csv``.
        pictures: Pictures in the report's order.
        failures: Figures and metrics that could not be had, and why.
        controls: Data of the page's controls (:mod:`ppvae.report.gallery.controls`), if any.
    """

    config: JsonObject = field(default_factory=dict)
    metrics: JsonObject = field(default_factory=dict)
    history: History = field(default_factory=History)
    pictures: list[Picture] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    controls: JsonObject = field(default_factory=dict)

    def number(self, name: str) -> float | None:
        """A metric; None if there is none or it is not a finite number."""
        value = self.metrics.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None

    def text(self, name: str) -> str:
        """A top-level text of ``config.json``; empty if there is none."""
        value = self.config.get(name)
        return value if isinstance(value, str) else ""

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Epochs and values of a column of the history, at the epochs that have a value."""
        if name not in self.history.columns:
            return [], []
        pairs = [
            (int(row.get("epoch", i + 1)), row[name])
            for i, row in enumerate(self.history)
            if name in row
        ]
        return [epoch for epoch, _ in pairs], [value for _, value in pairs]

    @property
    def model(self) -> str:
        """Name of the run's entry, or else of its builder, or of its model and guide."""
        recipe, pair = self.section("recipe"), self.section("pair")
        both = f"{pair['model']} with {pair['guide']}" if {"model", "guide"} <= set(pair) else ""
        return str(recipe.get("name") or recipe.get("builder") or both or "A fitted pair")

    @property
    def part(self) -> str:
        """What the evaluated rows are: "test", "validation", or "evaluated" if not known.

        Or "fitted", all rows of the data that the run was fitted with.
        """
        if self.section("evaluation").get("fitted"):
            return "fitted"
        part = self.section("data").get("evaluated")
        if part is None:  # A run of an earlier version.
            sizes = {name: self.number(f"n_{name}") or 0 for name in ("test", "validation")}
            part = next((name for name, size in sizes.items() if size), "evaluated")
        return str(part)

    @property
    def shared(self) -> frozenset[str]:
        """Latent sites that all data share."""
        return frozenset(map(str, self.section("pair").get("shared") or ()))

    @property
    def classes(self) -> int | None:
        """Number of classes in the data's column ``y``."""
        count: int | None = self.section("data", "columns", "y").get("classes")
        return count

    def section(self, *names: str) -> JsonObject:
        """A section of ``config.json``, by the names that lead to it; empty if there is none."""
        section: JsonObject = self.config
        for name in names:
            section = section.get(name) or {}
        return section


def read(folder: str | Path) -> Facts:
    """Read a run's folder; its weights are not needed.

    Raises:
        RunError: If the folder is not that of a run, or a file is missing or damaged.
    """
    folder = Path(folder)
    config = read_config(folder)
    metrics = read_metrics(folder)
    _check_sections(folder / "config.json", config)
    history = read_history(folder, config["epochs"])
    verify(folder, config)
    return Facts(
        config,
        _flat(metrics),
        history,
        _pictures(folder),
        _failures(folder),
        _controls(folder),
    )


# Sections of config.json that a report reads, each by the names that lead to it.
_SECTIONS = (
    ("recipe",),
    ("recipe", "options"),
    ("fit",),
    ("objective",),
    ("data",),
    ("data", "columns"),
    ("pair",),
)


def _check_sections(path: Path, config: JsonObject) -> None:
    """Refuse sections of another type than a run writes."""
    columns = Facts(config).section
    for *above, name in _SECTIONS:
        part = columns(*above).get(name)
        if part is not None and not isinstance(part, dict):
            raise _damaged(path, ".".join((*above, name)), "names and values", part)
    for name, spec in columns("data", "columns").items():
        where = f"data.columns.{name}"
        if not isinstance(spec, dict):
            raise _damaged(path, where, "names and values", spec)
        count, shape = spec.get("classes"), spec.get("shape", [])
        if not isinstance(spec.get("names") or [], list):
            raise _damaged(path, f"{where}.names", "a list of names", spec["names"])
        if not (count is None or (isinstance(count, int) and count >= 0)):
            raise _damaged(path, f"{where}.classes", "a number of classes", count)
        if not (isinstance(shape, list) and all(isinstance(n, int) for n in shape)):
            raise _damaged(path, f"{where}.shape", "a list of sizes", shape)
    notes = columns("data").get("notes") or []
    if not (isinstance(notes, list) and all(isinstance(note, str) for note in notes)):
        raise _damaged(path, "data.notes", "a list of sentences", notes)
    description = columns("data").get("description")
    if description is not None and not isinstance(description, str):
        raise _damaged(path, "data.description", "a text", description)


def _damaged(path: Path, name: str, expected: str, value: object) -> RunError:
    return RunError(
        f"{path}: expected {name} to be {expected}; got {str(value)[:60]!r}, so the file is "
        "damaged. Restore it from a copy, or train again."
    )


def _flat(metrics: JsonObject, prefix: str = "") -> JsonObject:
    flat: JsonObject = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _pictures(folder: Path) -> list[Picture]:
    plots = folder / "plots"
    if not is_folder(plots):
        return []
    if not (plots / CAPTIONS).exists():
        return [_picture(path, "") for path in sorted(plots.glob("*.png"))]
    listed = read_json(plots / CAPTIONS)
    try:
        pairs = [(str(entry["file"]), str(entry["caption"])) for entry in listed]
    except (TypeError, KeyError) as error:
        raise RunError(
            f"{plots / CAPTIONS}: expected a list of file and caption; got a damaged file "
            f"({error}). Evaluate the run again: ppvae evaluate."
        ) from error
    for name, _ in pairs:
        if Path(name).name != name or len(name) > NAME or not name.isprintable():
            raise RunError(
                f"{plots / CAPTIONS}: expected plain file names; got {name[:60]!r}. "
                "Put the picture into the folder plots."
            )
    return [_picture(plots / name, caption) for name, caption in pairs]


def _failures(folder: Path) -> list[Failure]:
    path = folder / "plots" / FAILURES
    if not path.exists():
        return []
    listed = read_json(path)
    try:
        return [{key: str(entry[key]) for key in ("kind", "name", "reason")} for entry in listed]
    except (TypeError, KeyError) as error:
        raise RunError(
            f"{path}: expected a list of kind, name and reason; got a damaged file ({error}). "
            "Evaluate the run again: ppvae evaluate."
        ) from error


def _controls(folder: Path) -> JsonObject:
    path = folder / "plots" / CONTROLS
    if not path.exists():
        return {}
    content = read_json(path)
    latents = content.get("latents") if isinstance(content, dict) else None
    if not isinstance(latents, list) or not all(isinstance(part, dict) for part in latents):
        raise RunError(
            f"{path}: expected a list of latents; got a damaged file. "
            "Evaluate the run again: ppvae evaluate."
        )
    return {"latents": latents}


def _picture(path: Path, caption: str) -> Picture:
    if not path.exists():
        raise RunError(
            f"{path.parent}: expected the picture {path.name!r}; got none. "
            "Evaluate the run again: ppvae evaluate."
        )
    try:
        content = read_bytes(path)
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            image.load()
            width, height = image.size
            dots = float(image.info.get("dpi", (120.0, 120.0))[0])
    except RunError:
        raise
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
    ) as error:
        raise RunError(
            f"{path}: expected a PNG; got a damaged file ({error}). "
            "Evaluate the run again: ppvae evaluate."
        ) from error
    text = base64.b64encode(content).decode("ascii")
    return Picture(path.stem, caption, text, width, height, width / max(dots, 1.0))
