"""A search in its folder: ``search.json`` and the surrogate's weights, consistent at any time.

The weights are written first, under a new name, and the JSON file, which contains that name and
the checksum, is then renamed into place: a crash in between leaves the previous step.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save as tensors_to_bytes

from ppvae.errors import RunError
from ppvae.runs.files import digest_of, read_bytes, read_json, written
from ppvae.runs.folder import write_json
from ppvae.runs.weights import LARGEST, fill, gather, parse_tensors

if TYPE_CHECKING:
    from ppvae.active.search import Search

__all__ = ["SEARCH", "Step", "read_search", "write_search"]

SEARCH = "search.json"
FORMAT = 1


@dataclass(frozen=True)
class Step:
    """One measurement.

    Attributes:
        place: Number of the candidate.
        y: Result of the measurement, T numbers; NaN where the instrument failed.
        noise: Known standard deviations of the result, if there are any.
        mean: Earlier prediction of the weighted outputs; None before the first fit.
        scale: Standard deviation of that prediction, including noise.
    """

    place: int
    y: tuple[float, ...]
    noise: tuple[float, ...] | None = None
    mean: float | None = None
    scale: float | None = None


def _settings(search: Search) -> dict[str, Any]:
    """The settings that a resumed search must share with the search in the folder."""
    named = search.acquisition
    return {
        "candidates": digest_of(search.candidates.contiguous().numpy().tobytes()),
        "acquisition": named if isinstance(named, str) else getattr(named, "__name__", "function"),
        "start": search.start,
        "batch": search.batch,
        "seed": search.seed,
        "fit_every": search.fit_every,
        "weights": None if search.weights is None else search.weights.tolist(),
        "moves": None
        if search.moves is None
        else [search.moves.price, None if math.isinf(search.moves.reach) else search.moves.reach],
    }


def _plain(numbers: Any) -> Any:
    """Numbers for JSON, with NaN as null."""
    if isinstance(numbers, list | tuple):
        return [_plain(number) for number in numbers]
    return None if isinstance(numbers, float) and math.isnan(numbers) else numbers


def write_search(folder: Path, search: Search) -> None:
    """Write a search; the old files are replaced only when the new ones are on the disk.

    Raises:
        RunError: If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tensors, shared = gather(search.surrogate)
        content = tensors_to_bytes(tensors)
        name = f"surrogate-{digest_of(content)[:16]}.safetensors"
        if not (folder / name).exists():
            with written(folder / name) as new:
                new.write_bytes(content)
        steps = [{k: _plain(v) for k, v in asdict(step).items()} for step in search.steps]
        state = {
            "format": FORMAT,
            "settings": _settings(search),
            "steps": steps,
            "asked": search.asked,
            "fitted": search.fitted,
            "surrogate": {"file": name, "sha256": digest_of(content), "shared": shared},
        }
        with written(folder / SEARCH) as new:
            write_json(new, state)
    except OSError as error:
        raise RunError(
            f"{folder}: expected a folder that can be written; got {error.strerror or error}. "
            "Name another."
        ) from error
    for old in folder.glob("surrogate-*.safetensors"):
        if old.name != name:
            with suppress(OSError):
                old.unlink()


def read_search(folder: Path, search: Search) -> None:
    """Restore a search from its folder.

    Raises:
        RunError: If the folder's search has other candidates or settings, or is damaged.
    """
    state = read_json(folder / SEARCH)
    try:
        settings, steps, file = state["settings"], state["steps"], state["surrogate"]
        if state["format"] != FORMAT:
            raise KeyError("format")
        mine = _settings(search)
        # Folders of earlier versions do not name the moves.
        other = sorted(name for name in mine if settings.get(name, mine[name]) != mine[name])
        gap = math.nan
        parsed = [
            Step(
                int(step["place"]),
                tuple(gap if n is None else float(n) for n in step["y"]),
                None if step["noise"] is None else tuple(map(float, step["noise"])),
                step["mean"],
                step["scale"],
            )
            for step in steps
        ]
        asked, fitted = [int(place) for place in state["asked"]], int(state["fitted"])
        name, digest, shared = str(file["file"]), str(file["sha256"]), dict(file["shared"])
        places = [*asked, *(step.place for step in parsed)]
        if Path(name).name != name or not all(0 <= p < len(search.candidates) for p in places):
            raise ValueError(name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{folder / SEARCH}: expected a search of format {FORMAT}; got a damaged or another "
            f"file ({error}). Restore it from a copy, or name another folder."
        ) from error
    if other:
        raise RunError(
            f"{folder}: expected a search with the same {', '.join(other)}; got another. Name "
            "another folder, or the arguments that it was begun with."
        )
    content = read_bytes(folder / name, LARGEST)
    if digest_of(content) != digest:
        raise RunError(
            f"{folder / name}: expected the weights of {SEARCH}; got others. Restore the folder "
            "from a copy."
        )
    tensors = parse_tensors(folder / name, content)
    try:
        fill(search.surrogate, tensors, shared)
    except RunError as error:
        raise RunError(
            f"{folder}: expected the surrogate that the search was begun with; got another "
            f"({str(error).partition('. ')[0]}). Name another folder, or build the same one: "
            "--embedding, --ensemble and --with-position as they were."
        ) from error
    search.steps, search.asked, search.fitted = parsed, asked, fitted
