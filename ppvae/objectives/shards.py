"""Rows of a batch that several processes share out, and what is not linear in them.

An objective and its terms are sums over rows but for some functions of the batch's mean
(capacities), of all its encodings (estimators of information) or of other rows (a GP's table).
These go through a :class:`Shards`. With k processes each computes

.. math::
    \\frac1k \\, \\mathrm{loss}(\\text{all rows})

from its own rows and what it gathered of the others'; the sum of the processes' gradients is that
of one process with all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

__all__ = ["ALONE", "Shards"]

T = TypeVar("T")


class Shards:
    """All rows in this process. Subclasses share them out among several.

    Attributes:
        size: Number of processes.
        rank: Number of this process, from 0; process 0 writes what is written.
    """

    size: int = 1
    rank: int = 0

    def own(self, rows: int) -> slice:
        """Which of the next batch's rows are this process's; called before each batch.

        Arguments:
            rows: Number of rows of all processes.
        """
        return slice(0, rows)

    def count(self, rows: int) -> int:
        """Rows of all processes in the batch of which this one has so many."""
        return rows

    def gather(self, value: Tensor, dim: int = 0) -> Tensor:
        """The rows of all processes in order; gradients go to their owners.

        Arguments:
            value: Own rows along dimension ``dim``.
            dim: Dimension of the rows.
        """
        return value

    def sum(self, value: Tensor) -> Tensor:
        """Sum over all rows, (..., N) to ()."""
        return value.sum()

    def mean(self, value: Tensor) -> Tensor:
        """Mean over all rows, (..., N) to ()."""
        return value.mean()

    def averages(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Means over all rows by name, (N) to ()."""
        return {name: value.mean() for name, value in values.items()}

    def posteriors(
        self, values: Mapping[str, TorchDistribution]
    ) -> Mapping[str, TorchDistribution]:
        """The guide's distributions of all rows, without gradients."""
        return values

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        """Gradients of a loss of all rows, added up over the processes."""
        loss.backward(inputs=list(parameters))

    def drawing(
        self, objective: nn.Module, batch: Mapping[str, Tensor]
    ) -> AbstractContextManager[None]:
        """A scope whose random numbers are those that one process draws for the rows."""
        return nullcontext()

    def agreed(self, number: int, step: int = 0) -> int:
        """The largest of the processes' numbers; some steps are let go by without asking."""
        return number

    def first(self, value: T) -> T:
        """The first process's value that counts as true, else the first value."""
        return value


ALONE = Shards()
