"""The means of each step, stored on the device and read back together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Best", "Fault", "Record", "StackedMeans"]

Means = dict[str, Tensor]


@dataclass(frozen=True)
class Fault:
    """The first number that shows that training has diverged.

    Attributes:
        step: Number of the step, from zero; in a :class:`Record`, counted from the last reading.
        name: Name of the term, or ``"weights"`` if all terms were finite but the weights are not.
        what: Description of the fault, such as "not finite".
        detail: Site, rows or parameter of the origin, in words; empty if unknown.
    """

    step: int
    name: str
    what: str = "not finite"
    detail: str = ""

    def words(self, steps: int, epochs: int) -> str:
        """The fault as text, given the steps per epoch and the number of epochs."""
        epoch = min(self.step // steps + 1, epochs)
        what = "the weights were" if self.name == "weights" else f"{self.name!r} was"
        first = f"the first that was {self.what}" if self.what == "not finite" else self.what
        began = f", beginning with {self.detail}" if self.detail else ""
        return f"step {self.step} (epoch {epoch} of {epochs}): {what} {first}{began}"


@dataclass
class Best:
    """The best validation so far.

    Attributes:
        elbo: Plain ELBO of that validation, in nats per datum.
        epoch: Epoch after which it was reached; 0 before the first validation.
        stale: Number of validations since then.
        tensors: Weights of that epoch by name, in their own shapes, if they are to be restored.
    """

    elbo: float = -torch.inf
    epoch: int = 0
    stale: int = 0
    tensors: dict[str, Tensor] | None = None


class StackedMeans(dict[str, Tensor]):
    """Means by name, each with shape (), that lie in one tensor.

    Arguments:
        names: Names of the means.
        stacked: The means, with shape (M).
    """

    def __init__(self, names: Sequence[str], stacked: Tensor) -> None:
        super().__init__(zip(names, stacked.unbind(), strict=True))
        self.stacked = stacked


class Record:
    """Collects :meth:`~ppvae.objectives.Terms.means` of steps; waits only when read.

    Arguments:
        parameters: Parameters that are checked for finite numbers at each reading.

    Attributes:
        totals: Sums over the data of the epoch so far, by name.
        count: Number of data of the epoch so far.
        first: Means of the first step of the last reading.
        recent: Means over the data of the last reading.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.names: list[str] = []
        self._rows: list[Tensor] = []
        self._counts: list[int] = []
        self.totals: dict[str, float] = {}
        self.count = 0
        self.first: dict[str, float] = {}
        self.recent: dict[str, float] = {}

    def add(self, means: Means, rows: int) -> None:
        """Add a step over ``rows`` data."""
        if not self._rows:
            self.names = list(means)
        if isinstance(means, StackedMeans) and list(means) == self.names:
            self._rows.append(means.stacked.clone())
        else:
            self._rows.append(torch.stack([means[name] for name in self.names]))
        self._counts.append(rows)

    def __len__(self) -> int:
        """Number of steps that are not yet read."""
        return len(self._rows)

    def read(self) -> Fault | None:
        """Wait for the device; add the steps to the epoch, or return what was not finite."""
        if not self._rows:
            return None
        norms = torch._foreach_norm([parameter.detach() for parameter in self.parameters])
        norm = torch.stack([n.to(self._rows[0]) for n in norms]).sum()
        everything = torch.cat([torch.stack(self._rows).flatten(), norm[None]]).cpu().double()
        table, finite = everything[:-1].reshape(len(self._rows), -1), everything.isfinite()
        counts = torch.tensor(self._counts, dtype=torch.float64)
        self._rows, self._counts = [], []
        if not finite.all():
            step, column = divmod(int((~finite).nonzero()[0]), table.size(1))
            if step == len(table):
                return Fault(step - 1, "weights")
            # The loss and the ELBO are sums; the term that made them non-finite comes after them.
            bad = (~table[step].isfinite()).nonzero().flatten().tolist()
            terms = [i for i in bad if self.names[i] not in ("loss", "elbo")]
            return Fault(step, self.names[terms[0] if terms else column])
        sums = (counts @ table).tolist()
        self.first = dict(zip(self.names, table[0].tolist(), strict=True))
        self.recent = {n: s / float(counts.sum()) for n, s in zip(self.names, sums, strict=True)}
        for name, total in zip(self.names, sums, strict=True):
            self.totals[name] = self.totals.get(name, 0.0) + total
        self.count += int(counts.sum())
        return None

    def finish(self) -> dict[str, float]:
        """Return the epoch's means over data, and start the next epoch."""
        means = {name: total / self.count for name, total in self.totals.items()}
        self.totals, self.count = {}, 0
        return means

    def drop(self) -> None:
        """Discard the steps that are not yet read."""
        self._rows, self._counts = [], []
