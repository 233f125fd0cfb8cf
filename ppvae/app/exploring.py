"""``ppvae explore`` as a function: a search replayed on data that are known everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ppvae import plots
from ppvae.active import Search, explore
from ppvae.active.moves import Moves
from ppvae.active.state import SEARCH
from ppvae.data import image_spectra
from ppvae.data.files import rows
from ppvae.data.spectra import targets_of
from ppvae.errors import ArgumentError, DataError
from ppvae.expected import expect, integer
from ppvae.programs import seeded
from ppvae.runs.files import written
from ppvae.runs.folder import refuse_unwritable, write_json
from ppvae.zoo.surrogates import deep_kernel_surrogate, inputs_of

__all__ = ["Exploration", "explore_data"]

# Most deep kernels in an ensemble: each is fitted after every measurement.
MEMBERS = 1000


@dataclass(frozen=True)
class Exploration:
    """A search and what it was about.

    Attributes:
        search: The search.
        y: Measurement at each place, with shape (N); NaN where none is possible.
        metrics: Numbers by name.
        notes: What was done to the data, a sentence each.
    """

    search: Search
    y: Tensor
    metrics: dict[str, float]
    notes: tuple[str, ...]


def explore_data(
    out: str | Path,
    *,
    data: str | Path | None = None,
    scalar: str = "area",
    acquisition: str = "log-ei",
    measurements: tuple[int, int] = (15, 100),
    batch: int = 1,
    embedding: str = "residual",
    with_position: bool = False,
    moves: tuple[float, float] = (0.0, math.inf),
    maps_at: Sequence[int] = (),
    seed: int = 0,
    progress: Callable[[Search], None] | None = None,
    **surrogate: int,
) -> Exploration:
    """Search data that are known everywhere; writes ``search.json``, figures and metrics.

    Arguments:
        out: The folder; a search that is in it goes on.
        data: A file with the columns ``x``, ``position`` and ``spectrum`` or ``target``; the
            simulated lattice by default.
        scalar: Quantity of a spectrum to search for.
        acquisition: Name of an acquisition function.
        measurements: Number of measurements at random first, and of all measurements.
        batch: Places chosen at a time.
        embedding: As of :func:`ppvae.zoo.surrogates.deep_gp`.
        with_position: Whether the position is an input of the kernel.
        moves: Price of a unit of distance, subtracted from the score, and the longest move.
        maps_at: Numbers of measurements after which the predictions are drawn; by default the
            start and half of the rest. They are drawn at the end in any case.
        seed: Random seed.
        progress: Called after each batch.
        surrogate: Further arguments of :func:`ppvae.zoo.surrogates.deep_kernel_surrogate`.

    Raises:
        ArgumentError: If an argument is out of range.
        DataError: If the data lack a column.
        RunError: If the folder holds another search, or other files.
    """
    expect(integer(1, MEMBERS), "Use 3.", ensemble=surrogate.get("ensemble", 1))
    refuse_unwritable(Path(out), lambda folder: (folder / SEARCH).exists())
    table = image_spectra() if data is None else rows(data, missing_ok=["target"])
    y = targets_of(table, scalar)
    if "position" not in table or "x" not in table:
        raise DataError(
            f"explore: expected columns 'x' and 'position'; got {list(table)}. Cut patches with "
            "ppvae.data.patches(image, positions, size)."
        )
    dtype = torch.get_default_dtype()
    position, x = (torch.as_tensor(table[name]).to(dtype) for name in ("position", "x"))
    used = position if with_position or embedding == "position" else None
    model = deep_kernel_surrogate(x, position=used, embedding=embedding, seed=seed, **surrogate)
    start, budget = measurements
    chosen = tuple(maps_at) or (start, (start + budget) // 2)
    if min(chosen) < 1:
        raise ArgumentError(
            f"maps_at: expected numbers of measurements above 0; got {list(chosen)}. Use the "
            "default."
        )
    maps = Maps(Path(out) / "maps", chosen)

    def after_each(search: Search) -> None:
        maps.note(search)
        if progress is not None:
            progress(search)

    limited = tuple(moves) != (0.0, math.inf)
    search = explore(
        model,
        inputs_of(x, used),
        lambda place: float(y[place]),
        acquisition,
        budget,
        start=start,
        batch=batch,
        moves=Moves(position, *moves) if limited else None,
        seed=seed,
        folder=out,
        progress=after_each,
    )
    exploration = Exploration(search, y, _metrics(search, y, position), table.notes)
    with written(Path(out) / "metrics.json") as new:
        write_json(new, {**exploration.metrics, "calibration": search.calibration.verdict})
    plots.save(
        Path(out) / "plots",
        [*_figures(search, y, position), *maps.figures(search, position)],
    )
    return exploration


class Maps:
    """Predictions for all candidates after chosen numbers of measurements, in a folder.

    A search that is resumed has those before.

    Arguments:
        folder: The folder, with a file per number.
        chosen: Numbers of measurements.
    """

    def __init__(self, folder: Path, chosen: Sequence[int]) -> None:
        self.folder = folder
        self.chosen = sorted(set(chosen))

    def _path(self, count: int) -> Path:
        return self.folder / f"{count:05d}.npz"

    def note(self, search: Search) -> None:
        """Store the predictions of the last fit, if they are the first after a chosen number."""
        due = [n for n in self.chosen if n <= search.fitted and not self._path(n).exists()]
        if not due:
            return
        mean, variance = search.surrogate.marginals(search.candidates)
        self.folder.mkdir(parents=True, exist_ok=True)
        for count in due:
            with written(self._path(count)) as new:
                np.savez(
                    new,
                    fitted=search.fitted,
                    mean=mean[:, 0].numpy(),
                    deviation=variance[:, 0].sqrt().numpy(),
                )

    def figures(self, search: Search, position: Tensor) -> list[tuple[str, str, Figure]]:
        """A figure of mean and standard deviation per number that was reached."""
        drawn = []
        for count in self.chosen:
            if not self._path(count).exists():
                continue
            with np.load(self._path(count)) as stored:
                fitted = int(stored["fitted"])
                maps = {
                    "predicted mean": stored["mean"],
                    "standard deviation": stored["deviation"],
                }
            places = search.places[:fitted]
            caption = f"What the model said after {fitted} measurements; measured places in red."
            drawn.append(
                (f"maps_{count}", caption, plots.place_map(position.numpy(), maps, places=places))
            )
        return drawn


def _metrics(search: Search, y: Tensor, position: Tensor) -> dict[str, float]:
    known = y.nan_to_num(nan=-math.inf)
    count = max(1, round(0.01 * len(y)))
    best = set(known.argsort(descending=True)[:count].tolist())
    largest = float(search.values.nan_to_num(nan=-math.inf).max())
    calibration = search.calibration
    return {
        "measurements": len(search.steps),
        "best_found": largest,
        "regret": float(known.max()) - largest,
        "top_1_percent": len(best & set(search.places)),
        "top_1_percent_of": count,
        "path": Moves(position).length(search.places),
        "coverage_90": calibration.coverage,
        "log_density": calibration.log_density,
    }


def _figures(search: Search, y: Tensor, position: Tensor) -> list[tuple[str, str, Figure]]:
    at, places = position.numpy(), search.places
    mean, variance = search.surrogate.marginals(search.candidates)
    scores = torch.full((len(y),), torch.nan, dtype=torch.float64)
    free = search.available()
    if free.any():
        with seeded(search.seed):
            found = search.scores(free.nonzero()[:, 0])
        # The least half of the scores, logarithms often, would take all of the colours.
        scores[free] = found.clamp_min(float(found.median()))
    maps = {"to be found": y, "predicted mean": mean[:, 0]}
    maps |= {"standard deviation": variance[:, 0].sqrt(), "acquisition": scores}
    values = search.values.nan_to_num(nan=-math.inf)
    steps = [step for step in search.steps if step.mean is not None]
    known = torch.full((len(y),), torch.nan, dtype=torch.float64)
    known[places] = search.values
    embedded = search.surrogate.embedding(search.candidates)
    figures = [
        ("places", "Places in the order of their measurement.", plots.places_in_order(at, places)),
        (
            "maps",
            "What there is to find, what the model says after the last measurement, and where it "
            "would measure next; measured places in red.",
            plots.place_map(at, {k: v.numpy() for k, v in maps.items()}, places=places),
        ),
        (
            "curve",
            "The best measurement so far.",
            plots.learning_curves({"search": values.cummax(0).values.numpy()}),
        ),
        (
            "embedding",
            "The places as the model's embedding has them, coloured by what was measured.",
            plots.embedding_by_value(embedded.double().numpy(), known.numpy()),
        ),
    ]
    if steps:
        numbers = [[s.y[0], s.mean or 0.0, s.scale or 0.0] for s in steps]
        columns = np.array(numbers, dtype=float).T
        caption = f"Each measurement as predicted before it: {search.calibration.verdict}."
        figures.append(("predicted", caption, plots.predicted(*columns)))
    return figures
