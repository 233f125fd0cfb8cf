"""One fit by several processes, each with a part of every batch's rows (torch.distributed).

This uses torch's launcher and collectives, without a wrapper around the model: one flat all-reduce
of the gradients per step, and gathers of quantities that are not linear in the batch
(:mod:`ppvae.objectives.shards`). k processes take the same steps as one, to rounding: the order of
the data, the batches and the random numbers are the same (:mod:`ppvae.fitting.draws`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributions import Independent, MultivariateNormal, Normal

from ppvae.data import Dataset
from ppvae.errors import ArgumentError, ContractError, RunError
from ppvae.fitting.draws import Draws, Slicing, dims_of_draws
from ppvae.fitting.fingerprint import fingerprint
from ppvae.fitting.tensors import named_tensors
from ppvae.objectives import Objective
from ppvae.objectives.shards import Shards

__all__ = ["ProcessShards"]

T = TypeVar("T")

# Steps between two checks whether some process is to end.
ASK_EVERY = 10


class ProcessShards(Shards):
    """This process's rows of each batch, and the communication with the other processes.

    Attributes:
        size: Number of processes.
        rank: Number of this process.
        counts: Number of rows of each process in the current batch.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.counts = [0] * self.size
        self._draws: dict[tuple[int, bool, frozenset[str]], Draws] = {}

    def own(self, rows: int) -> slice:
        each, rest = divmod(rows, self.size)
        self.counts = [each + (rank < rest) for rank in range(self.size)]
        return self.rows

    @property
    def total(self) -> int:
        """Number of rows of all processes in the current batch."""
        return sum(self.counts)

    @property
    def rows(self) -> slice:
        """This process's rows; a row of weight zero if a batch has fewer rows than processes."""
        if self.counts[self.rank] == 0:
            return slice(0, 1)
        start = sum(self.counts[: self.rank])
        return slice(start, start + self.counts[self.rank])

    def count(self, rows: int) -> int:
        return self.total

    def gather(self, value: Tensor, dim: int = 0) -> Tensor:
        gathered: Tensor = _Gather.apply(value, dim, self)
        return gathered

    def sum(self, value: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(value[..., : self.counts[self.rank]].sum(), self.size)
        return total

    def mean(self, value: Tensor) -> Tensor:
        return self.sum(value) / (self.total * (value.numel() // value.size(-1)))

    def averages(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = torch.stack([v[: self.counts[self.rank]].sum() for v in values.values()])
        total: Tensor = _Sum.apply(own, self.size)
        return dict(zip(values, (total / self.total).unbind(), strict=True))

    def posteriors(
        self, values: Mapping[str, TorchDistribution]
    ) -> Mapping[str, TorchDistribution]:
        return _Gathered(values, self)

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        (loss / self.size).backward(inputs=list(parameters))
        grads = [p.grad for p in parameters if p.grad is not None]
        for dtype in {grad.dtype for grad in grads}:
            alike = [grad for grad in grads if grad.dtype == dtype]
            flat = torch.cat([grad.reshape(-1) for grad in alike])
            with _together():
                dist.all_reduce(flat)
            for grad, part in zip(alike, flat.split([g.numel() for g in alike]), strict=True):
                grad.copy_(part.view(grad.shape))

    def drawing(
        self, objective: nn.Module, batch: Mapping[str, Tensor]
    ) -> AbstractContextManager[Any]:
        return Slicing(self._draws[_key(objective, batch)], self)

    def agreed(self, number: int, step: int = 0) -> int:
        if step % ASK_EVERY:
            return 0
        largest = torch.tensor(number)
        with _together():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def first(self, value: T) -> T:
        values: list[Any] = [None] * self.size
        with _together():
            dist.all_gather_object(values, value)
        return next((v for v in values if v), values[0])

    def begin(self, objective: nn.Module, data: Dataset) -> None:
        """Copy the weights of process 0 to all processes.

        Raises:
            ArgumentError: If the processes differ in their data or their model.
            ContractError: If the objective has a term that cannot be divided among processes.
        """
        tensors = named_tensors(objective)
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        everyone: list[Any] = [None] * self.size
        with _together():
            dist.all_gather_object(everyone, (fingerprint(data), shapes))
        for what, index in (("training data", 0), ("weights", 1)):
            others = [n for n, each in enumerate(everyone) if each[index] != everyone[0][index]]
            if others:
                raise ArgumentError(
                    f"several processes: expected the same {what} in all; those of processes "
                    f"{others} differ from those of process 0. Build the data and the model from "
                    "the same file, options and seed in each."
                )
        unsharded = [t.name for t in getattr(objective, "terms", ()) if not t.sharded]
        if unsharded:
            raise ContractError(
                f"several processes: expected terms that are shared out; {unsharded} are not. "
                "Train on one device, or take what they need of other rows from context.shards "
                "and set `sharded = True` in the class."
            )
        for value in tensors.values():
            flat = value.detach().contiguous().clone()
            with _together():
                dist.broadcast(flat, 0)
            with torch.no_grad():
                value.copy_(flat)

    def learn(self, objective: Objective, batch: Mapping[str, Tensor]) -> None:
        """Record the dimensions of an objective's draws, before it is evaluated in this mode."""
        key = _key(objective, batch)
        self._draws[key] = dims_of_draws(objective, batch)
        objective.shards = self


class _Gathered(Mapping[str, TorchDistribution]):
    """The distributions of the rows of all processes, each gathered when it is looked up."""

    def __init__(self, values: Mapping[str, TorchDistribution], shards: ProcessShards) -> None:
        self.values_of, self.shards = values, shards

    def __getitem__(self, name: str) -> TorchDistribution:
        q = self.values_of[name]
        with torch.no_grad():
            return _gathered(q, self.shards)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


def _key(objective: nn.Module, batch: Mapping[str, Tensor]) -> tuple[int, bool, frozenset[str]]:
    return id(objective), objective.training, frozenset(batch)


class _Sum(torch.autograd.Function):
    """Sum over k processes; the gradient is multiplied by k, as losses are later divided by k."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, size: int) -> Tensor:
        ctx.size = size
        total = value.detach().clone()
        with _together():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * ctx.size, None


class _Gather(torch.autograd.Function):
    """Rows of all processes; each process gets the gradient of its rows, times their number."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, dim: int, shards: ProcessShards) -> Tensor:
        dim %= value.dim()
        ctx.dim, ctx.rows, ctx.size = dim, shards.rows, shards.size
        ctx.shape, ctx.empty = value.shape, shards.counts[shards.rank] == 0
        rows = value.detach().movedim(dim, 0)
        kind = rows.dtype
        rows = rows.to(torch.uint8) if kind is torch.bool else rows
        padded = rows.new_zeros(max(shards.counts), *rows.shape[1:])
        padded[: shards.counts[shards.rank]] = rows[: shards.counts[shards.rank]]
        everyone = [torch.empty_like(padded) for _ in range(shards.size)]
        with _together():
            dist.all_gather(everyone, padded)
        parts = [part[:count] for part, count in zip(everyone, shards.counts, strict=True)]
        return torch.cat(parts).to(kind).movedim(0, dim).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if ctx.empty:
            return grads[0].new_zeros(ctx.shape), None, None
        own = grads[0].narrow(ctx.dim, ctx.rows.start, ctx.rows.stop - ctx.rows.start)
        return own * ctx.size, None, None


def _gathered(q: TorchDistribution, shards: ProcessShards, inner: int = 0) -> Any:
    """A distribution gathered from all processes, with ``inner`` declared event dimensions."""
    dim = -1 - inner
    if hasattr(q, "gathered"):
        pseudo = None if q.pseudo is None else _gathered(q.pseudo, shards)
        return q.gathered(shards.gather, pseudo)
    if isinstance(q, Independent):
        count = q.reinterpreted_batch_ndims
        return Independent(_gathered(q.base_dist, shards, inner + count), count)
    if isinstance(q, Normal):
        return Normal(shards.gather(q.loc, dim), shards.gather(q.scale, dim), validate_args=False)
    if isinstance(q, MultivariateNormal):
        tril = shards.gather(q.scale_tril, dim - 2)
        return MultivariateNormal(shards.gather(q.loc, dim - 1), scale_tril=tril)
    raise ContractError(
        f"several processes: expected a normal posterior where a prior stores the encodings; "
        f"got {type(q).__name__}. Train on one device."
    )


@contextmanager
def _together() -> Iterator[None]:
    """Replace torch's error at the loss of another process by one in words."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            "several processes: expected all to take part in each step; another one has ended "
            f"({str(error).splitlines()[0][:200]}). Its own message says why; go on from the last "
            "checkpoint."
        ) from error
