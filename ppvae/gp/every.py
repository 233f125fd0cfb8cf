"""A counter for work that is due every few optimiser steps, which survives resuming a run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.expected import at_least

__all__ = ["Every"]


# Share of all rows: with many rows, the work is due after this share of them.
_SHARE = 16


class Every(nn.Module):
    """Counts steps, and tells when the work is due.

    The count and the largest batch are buffers, so that a checkpoint keeps them; they are read
    from the device once a run.

    Arguments:
        steps: Between two times.
        adapts: Let it follow the data, for work that passes over all of them: at most as many as a
            pass takes, so that large batches are not trained against old results, and at least as
            many as take a sixteenth of the rows, so that its share of a step does not grow.

    Raises:
        ArgumentError: If ``steps`` is below 1.
    """

    age: Tensor
    largest: Tensor

    @typed(steps=at_least(1))
    def __init__(self, steps: int, *, adapts: bool = False) -> None:
        super().__init__()
        self.steps = steps
        self.adapts = adapts
        self.rows, self.batch_size = 0, 1
        for name in ("age", "largest"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64), persistent=False)
        self._age: int | None = None
        self._largest = 0

    def reset(self, rows: int = 0) -> None:
        """Count from zero, for data with ``rows`` rows."""
        self.rows, self.batch_size = rows, 1
        self.age.zero_()
        self.largest.zero_()
        self._age = None

    def note(self, batch_size: int) -> None:
        """Record the number of rows of a step; the largest batch counts."""
        self.batch_size = max(self.batch_size, batch_size)

    @property
    def interval(self) -> int:
        """Current number of steps between two times."""
        if not self.adapts:
            return self.steps
        a_pass = max(1, math.ceil(self.rows / self.batch_size))
        return max(min(self.steps, a_pass), self.rows // (_SHARE * self.batch_size))

    def due(self) -> bool:
        """Count one step, and return whether the work is due after it."""
        if self._age is None:  # The one time that a resumed run's counts are read.
            self._age, self._largest = int(self.age), int(self.largest)
            self.batch_size = max(self.batch_size, self._largest)
        if self.batch_size != self._largest:
            self._largest = self.batch_size
            self.largest.fill_(self._largest)
        self._age += 1
        self.age += 1
        return self._age % self.interval == 0
