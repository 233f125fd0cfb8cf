"""The means of each step, kept on the device and read back in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Fault", "Record"]

Means = dict[str, Tensor]


@dataclass(frozen=True)
class Fault:
    """The first number that was not finite.

    Attributes:
        step: Of the steps since the last reading, which one, from zero.
        name: The term, or ``"weights"`` where all terms were finite and the weights are not.
    """

    step: int
    name: str


class Record:
    """Collects :meth:`~ppvae.objectives.Terms.means` of steps; waits only when read.

    Arguments:
        parameters: Looked at for finite numbers with each reading.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.names: list[str] = []
        self._rows: list[Tensor] = []
        self._counts: list[int] = []
        self._totals: dict[str, float] = {}
        self._count = 0

    def add(self, means: Means, rows: int) -> None:
        """One step over ``rows`` data."""
        if not self._rows:
            self.names = list(means)
        self._rows.append(torch.stack([means[name] for name in self.names]))
        self._counts.append(rows)

    def __len__(self) -> int:
        """How many steps are not yet read."""
        return len(self._rows)

    def read(self) -> Fault | None:
        """Wait for the device; add the steps to the epoch, or say what was not finite."""
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
            # The loss and the ELBO are sums: the term that broke them comes after them.
            bad = (~table[step].isfinite()).nonzero().flatten().tolist()
            terms = [i for i in bad if self.names[i] not in ("loss", "elbo")]
            return Fault(step, self.names[terms[0] if terms else column])
        for name, total in zip(self.names, (counts @ table).tolist(), strict=True):
            self._totals[name] = self._totals.get(name, 0.0) + total
        self._count += int(counts.sum())
        return None

    def finish(self) -> dict[str, float]:
        """The epoch's means over data, and start afresh."""
        means = {name: total / self._count for name, total in self._totals.items()}
        self._totals, self._count = {}, 0
        return means
