"""Division of a batch's rows among processes, and terms that are not linear in the rows.

An objective and its terms are sums over rows, except for some functions of the batch's mean
(capacities), of all its encodings (estimators of information) or of other rows (a GP's table).
These use a :class:`Shards`. With k processes, each computes

.. math::
    \\frac1k \\, \\mathrm{loss}(\\text{all rows})

from its own rows and values gathered from the other processes; the sum of the processes' gradients
is the gradient of one process with all rows.
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
    """All rows in this process. Subclasses divide them among several processes.

    Attributes:
        size: Number of processes.
        rank: Number of this process, from 0; only process 0 writes files.
    """

    size: int = 1
    rank: int = 0

    def own(self, rows: int) -> slice:
        """The rows of the next batch that belong to this process; called before each batch.

        Arguments:
            rows: Number of rows of all processes.
        """
        return slice(0, rows)

    def count(self, rows: int) -> int:
        """Number of rows of all processes in the batch, given this one's number."""
        return rows

    def gather(self, value: Tensor, dim: int = 0) -> Tensor:
        """The rows of all processes in order; each process gets the gradients of its own rows.

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
        """Compute the gradients of a loss () of all rows, summed over the processes."""
        loss.backward(inputs=list(parameters))

    def drawing(
        self, objective: nn.Module, batch: Mapping[str, Tensor]
    ) -> AbstractContextManager[None]:
        """A scope with the random numbers that a single process would draw for these rows."""
        return nullcontext()

    def agreed(self, number: int, step: int = 0) -> int:
        """The largest of the processes' numbers; at some steps 0, without communication."""
        return number

    def first(self, value: T) -> T:
        """The first true value in the order of the processes, or else that of process 0."""
        return value


ALONE = Shards()
