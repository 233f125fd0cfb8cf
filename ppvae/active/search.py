"""The search: ask where to measure, and tell the result, until the budget is used.

    search = Search(surrogate, x, acquisition="log-ei", folder="search")
    while len(search.y) < 100:
        for place in search.ask():
            search.tell(place, measure(place))

The complete state is in the search's folder after each step. The random numbers of a step depend
only on the seed and the number of measurements, so that a resumed search is the same bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppvae.active.acquisition import Acquisition, Asked, acquisition_named
from ppvae.active.botorch_model import output_weights
from ppvae.active.calibration import Calibration, calibration
from ppvae.active.moves import Moves
from ppvae.active.state import Step
from ppvae.active.surrogate import Surrogate
from ppvae.borders import expect_fields, typed
from ppvae.errors import ArgumentError
from ppvae.expected import ROWS, as_numbers, at_least, taking
from ppvae.programs import forked, placement

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Search", "explore"]


@dataclass
class Search:
    """A search for large values among candidates.

    Arguments:
        surrogate: The model of the measurements.
        candidates: Inputs of the places, with shape (N, ...); rows are flattened, and computed
            with in the dtype of the surrogate's weights.
        acquisition: Name of :data:`~ppvae.active.ACQUISITIONS`, or a function.
        start: Places measured at random before the first fit.
        batch: Number q of places per :meth:`ask` after that.
        moves: Positions of the places, with the costs and limits of moves.
        weights: Weights of the outputs, with shape (T); by default only the first output.
        seed: Random seed.
        folder: Folder in which the search is saved after each measurement; none by default.
        fit_every: Number of measurements between two fits.
        steps: Measurements so far, in order.
        asked: Candidates returned by :meth:`ask` that are not measured yet.
        fitted: Number of measurements at the last fit.

    Raises:
        ArgumentError: If an argument is out of range, candidates are not finite numbers, or all
            weights are zero.
    """

    surrogate: Surrogate
    candidates: Tensor
    acquisition: str | Acquisition = "log-ei"
    start: int = 10
    batch: int = 1
    moves: Moves | None = None
    weights: Tensor | None = None
    seed: int = 0
    folder: Path | None = None
    fit_every: int = 1
    steps: list[Step] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    fitted: int = 0

    def __post_init__(self) -> None:
        expect_fields(
            self, start=at_least(1), batch=at_least(1), fit_every=at_least(1), candidates=ROWS
        )
        x = self.candidates
        # In the dtype and on the device of the surrogate's weights, if it has any.
        if any(p.is_floating_point() for p in self.surrogate.parameters()):
            x = x.to(placement(self.surrogate))
        self.candidates = x.reshape(len(x), -1)
        if self.start > len(x):
            raise ArgumentError(
                f"start: expected from 1 to {len(x)}, the candidates; got {self.start}. Use 10."
            )
        if self.weights is not None:
            used = self.weights
            if used.dim() != 1 or not bool(used.isfinite().all() & (used != 0).any()):
                raise ArgumentError(
                    f"weights: expected a finite number for each output, one of them not zero; "
                    f"got {used.tolist()}. Use 1 for the output to raise and 0 for the others."
                )
        if self.moves is not None and len(self.moves.positions) != len(x):
            raise ArgumentError(
                f"moves: expected a position of each of {len(x)} candidates; got "
                f"{len(self.moves.positions)}. Pass positions with shape (N, 2)."
            )
        self.score = acquisition_named(self.acquisition)
        self.folder = None if self.folder is None else Path(self.folder)

    @property
    def places(self) -> list[int]:
        """Candidates measured so far, in order; failed ones and repetitions, too."""
        return [step.place for step in self.steps]

    @property
    def y(self) -> Tensor:
        """The measurements, with shape (M, T), in order; NaN where the instrument failed."""
        return torch.tensor([step.y for step in self.steps], dtype=torch.float64)

    @property
    def values(self) -> Tensor:
        """The weighted outputs of the measurements, with shape (M), in order."""
        y = self.y
        if not len(y):
            return y.reshape(0)
        if self.weights is None:
            return y[:, 0]
        weighted = y * self.weights.double()
        return weighted.where(self.weights != 0, 0).sum(-1)

    @property
    def best(self) -> int | None:
        """The candidate with the largest measurement; None before the first."""
        values = self.values
        if not len(values) or values.isnan().all():
            return None
        return self.places[int(values.nan_to_num(nan=-math.inf).argmax())]

    @property
    def calibration(self) -> Calibration:
        """The calibration of the predictions made before each measurement."""
        gap = math.nan
        pairs = [
            (gap if s.mean is None else s.mean, gap if s.scale is None else s.scale)
            for s in self.steps
        ]
        predicted = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2)
        return calibration(self.values, predicted[:, 0], predicted[:, 1])

    def available(self) -> Tensor:
        """Mask of the candidates that are neither measured nor asked for, with shape (N)."""
        free = torch.ones(len(self.candidates), dtype=torch.bool)
        free[[*self.places, *self.asked]] = False
        return free

    def ask(self) -> list[int]:
        """The candidates to measure next; the same ones until they have been measured.

        Raises:
            ArgumentError: If every candidate has been measured, or none is within reach.
        """
        if self.asked:
            return list(self.asked)
        free = int(self.available().sum())
        if free == 0:
            raise ArgumentError(
                f"ask: expected candidates that are not measured; got none left of "
                f"{len(self.candidates)}. Stop here, or add candidates."
            )
        begins = len(self.steps) < self.start or self._lacks()
        if not begins:
            self._update()
        with forked(seed=self._seed(0)):
            if begins:
                count = max(1, self.start - len(self.steps))
                unmeasured = self._unmeasured()
                order = torch.randperm(free)[: min(count, free)]
                self.asked = unmeasured[order].tolist()
            else:
                for _ in range(min(self.batch, free)):
                    self.asked.append(self._next())
        self.save()
        return list(self.asked)

    def _lacks(self) -> bool:
        """Whether nothing can be fitted yet, for want of a measurement of some output."""
        y = self.y
        return not len(y) or bool(y.isnan().all(0).any() | self.values.isnan().all())

    def _unmeasured(self) -> Tensor:
        return self.available().nonzero()[:, 0]

    def _next(self) -> int:
        """The best candidate, given those asked for already."""
        free = self._unmeasured()
        last = self.asked[-1] if self.asked else self.places[-1]
        cost = torch.zeros(len(free), dtype=torch.float64)
        if self.moves is not None:
            within = self.moves.reachable(last, free)
            free, cost = free[within], self.moves.cost(last, free[within])
        scores = self.scores(free) - cost
        if not (scores > -math.inf).any():
            raise ArgumentError(
                "acquisition: expected a finite score of some candidate; got none. Choose another "
                "acquisition."
            )
        return int(free[int(scores.nan_to_num(nan=-math.inf).argmax())])

    def scores(self, places: Tensor) -> Tensor:
        """The scores of candidates, given those asked for, without the costs of moves.

        Arguments:
            places: Numbers of candidates, with shape (M).
        """
        values = self.values
        asked = Asked(
            self.surrogate,
            self.candidates[places],
            float(values[~values.isnan()].max()),
            self.candidates[self.asked],
            self.weights,
        )
        return self.score(asked).double()

    def tell(
        self,
        place: int,
        y: float | Sequence[float] | Tensor | np.ndarray,
        noise: float | Sequence[float] | Tensor | np.ndarray | None = None,
    ) -> None:
        """Add a measurement of any candidate, asked for or not, also a repeated one.

        Arguments:
            place: Number of the candidate.
            y: Result of the measurement, one number or T; NaN if the instrument failed, which is
                noted; the candidate is then not asked for again.
            noise: Known standard deviation of each, above zero: one number, or T.

        Raises:
            ArgumentError: If there is no such candidate, if the number of outputs differs from
                that before or from that of the weights, or if one is infinite or a noise is not
                above zero.
        """
        if not 0 <= place < len(self.candidates):
            raise ArgumentError(
                f"tell: expected a candidate from 0 to {len(self.candidates) - 1}; got {place}. "
                "Pass a number that ask() returned."
            )
        numbers = _numbers(y)
        known = None if noise is None else _numbers(noise)
        outputs = len(numbers) if self.weights is None else len(self.weights)
        outputs = len(self.steps[0].y) if self.steps else outputs
        if len(numbers) != outputs or any(math.isinf(number) for number in numbers):
            raise ArgumentError(
                f"tell: expected {outputs} numbers, finite or NaN; got {list(numbers)}. Give the "
                "same outputs at each place, one per weight, NaN where one failed."
            )
        wrong = known is not None and (len(known) != outputs or not min(known) > 0)
        if wrong or (self.steps and (known is None) != (self.steps[0].noise is None)):
            raise ArgumentError(
                f"noise: expected {outputs} standard deviations above 0 with every measurement, "
                f"or with none; got {noise}. Give it each time, or never."
            )
        mean = scale = None
        if self.fitted:
            mean, scale = self._predicted(place, known)
        self.steps.append(Step(int(place), numbers, known, mean, scale))
        if place in self.asked:
            self.asked.remove(place)
        self.save()

    def _predicted(self, place: int, noise: tuple[float, ...] | None) -> tuple[float, float]:
        """Mean and standard deviation of a measurement to come."""
        weights = output_weights(self.surrogate, self.weights)
        mean, variance = self.surrogate.marginals(self.candidates[place][None])
        total = variance[0] + self.surrogate.noise_variance()
        if noise is not None:
            total = total + torch.tensor(noise, dtype=torch.float64).square()
        return float((mean[0] * weights).sum()), float((total * weights.square()).sum().sqrt())

    def update(self) -> None:
        """Fit the surrogate, if there are new measurements since the last fit."""
        self._update()
        self.save()

    def _update(self) -> None:
        count = len(self.steps)
        if self._lacks() or (self.fitted and count - self.fitted < self.fit_every):
            return
        y = self.y
        seen = ~y.isnan().all(1)
        noise = None
        if self.steps and self.steps[0].noise is not None:
            noise = torch.tensor([step.noise for step in self.steps], dtype=torch.float64)[seen]
        rows = torch.tensor(self.places)[seen]
        with forked(seed=self._seed(1)):
            self.surrogate.fit(self.candidates[rows], y[seen].to(self.candidates), noise)
        self.fitted = count

    def _seed(self, stream: int) -> int:
        return (1_000_003 * self.seed + 2 * len(self.steps) + stream) % 2**63

    def save(self) -> None:
        """Write the search into its folder, if it has one."""
        if self.folder is not None:
            from ppvae.active.state import write_search

            write_search(self.folder, self)

    def load(self) -> None:
        """Restore the search from its folder.

        Raises:
            RunError: If the folder's search has other candidates or settings, is damaged, or does
                not exist.
        """
        if self.folder is None:
            raise ArgumentError(
                "load: expected a search with a folder; got none. Pass folder=PATH to Search."
            )
        from ppvae.active.state import read_search

        read_search(self.folder, self)


def _numbers(value: float | Sequence[float] | Tensor | np.ndarray) -> tuple[float, ...]:
    flat = as_numbers("measurement", value).double().reshape(-1)
    return tuple(flat.tolist())


@typed(
    candidates=ROWS,
    measure=taking(1),
    budget=at_least(1),
    start=at_least(1),
    seed=at_least(0),
    progress=taking(1),
)
def explore(
    model: Surrogate,
    candidates: Tensor,
    measure: Callable[[int], float | Sequence[float] | Tensor | np.ndarray],
    acquisition: str | Acquisition = "log-ei",
    budget: int = 100,
    *,
    start: int = 10,
    batch: int = 1,
    moves: Moves | None = None,
    weights: Tensor | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: Callable[[Search], None] | None = None,
) -> Search:
    """Measure where the model suggests, ``budget`` times in total; resume a search in the folder.

    Arguments:
        model: The model of the measurements.
        candidates: Inputs of the places, with shape (N, ...).
        measure: Function from a candidate's number to its measurement, one number or T; NaN where
            the instrument failed.
        acquisition: Name of :data:`~ppvae.active.ACQUISITIONS`, or a function.
        budget: Total number of measurements, including those at the start.
        start: Number of places measured at random first.
        batch: Number of places chosen at a time.
        moves: Positions of the places, with the costs and limits of moves.
        weights: Weights of the outputs, with shape (T); by default only the first output.
        seed: Random seed; the caller's generators are restored.
        folder: Folder in which the search is saved after each measurement.
        progress: Function that is called after each batch.

    Raises:
        ArgumentError: If the budget exceeds the number of candidates, or is less than ``start``.
    """
    if not start <= budget <= len(candidates):
        raise ArgumentError(
            f"budget: expected from {start}, the start, to {len(candidates)}, the candidates; got "
            f"{budget}. Choose one between."
        )
    search = Search(
        model,
        candidates,
        acquisition,
        start=start,
        batch=batch,
        moves=moves,
        weights=weights,
        seed=seed,
        folder=None if folder is None else Path(folder),
    )
    from ppvae.active.state import SEARCH

    if search.folder is not None and (search.folder / SEARCH).exists():
        search.load()
    while len(search.steps) < budget:
        for place in search.ask()[: budget - len(search.steps)]:
            search.tell(place, measure(place))
        if progress is not None:
            progress(search)
    search.asked = []
    search.update()
    return search
