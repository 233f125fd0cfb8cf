"""Something done every so many optimiser steps, counted across a run that stops and resumes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Every"]


class Every(nn.Module):
    """Counts steps and says at which ones the work is due.

    The count is a buffer, so that a checkpoint keeps it; it is read from the device once a run.

    Arguments:
        steps: Between two times.
    """

    age: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("age", torch.zeros((), dtype=torch.int64), persistent=False)
        self._age: int | None = None

    def reset(self) -> None:
        """Count from zero."""
        self.age.zero_()
        self._age = None

    def due(self, *, least: int = 1) -> bool:
        """Count one step; whether the work is due after it.

        Arguments:
            least: Steps between two times, where that is more than it was made for.
        """
        if self._age is None:  # The one time that a resumed run's count is read.
            self._age = int(self.age)
        self._age += 1
        self.age += 1
        return self._age % max(self.steps, least) == 0
