"""Random numbers of a shard: the numbers that a single process would have drawn for its rows.

Every process draws for all rows of the batch, with generators in the same state, and takes the
part of its own rows; k processes together thus draw k times as many numbers as one. The dimension
of the rows in each draw is determined before the first step, by running the objective on batches
of two sizes; this also checks that the results of a row do not depend on other rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from ppvae.errors import ContractError
from ppvae.fitting.tensors import kept_buffers
from ppvae.objectives import Objective, Terms
from ppvae.objectives.shards import ALONE
from ppvae.programs import forked
from ppvae.typing import Keywords

if TYPE_CHECKING:
    from ppvae.fitting.distributed import ProcessShards

__all__ = ["Slicing", "dims_of_draws"]

# Number of rows of the larger batch on which an objective is tried.
TRIED = 8

Draws = Sequence["int | None"]
Arguments = Sequence[Any]


class _Random(TorchDispatchMode):
    """Passes each operation that draws random numbers to :meth:`draw`."""

    def __init__(self) -> None:
        super().__init__()
        self.position = 0

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Arguments = (),
        kwargs: Keywords | None = None,
    ) -> object:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        self.position += 1
        return self.draw(self.position - 1, func, args, kwargs or {})

    def draw(self, number: int, func: OpOverload, args: Arguments, kwargs: Keywords) -> object:
        """The result of draw ``number`` of the evaluation."""
        raise NotImplementedError


class _Recording(_Random):
    """Records the draws."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Tensor] = []

    def draw(self, number: int, func: OpOverload, args: Arguments, kwargs: Keywords) -> object:
        out = func(*args, **kwargs)
        if not isinstance(out, Tensor):
            raise ContractError(
                f"several processes: expected draws of one tensor each; got those of {func}. "
                "Train on one device, or leave that layer out."
            )
        self.drawn.append(out.detach().clone())
        return out


class _Replaying(_Random):
    """Returns some rows of recorded draws."""

    def __init__(self, drawn: Sequence[Tensor], dims: Draws, rows: slice) -> None:
        super().__init__()
        self.drawn, self.dims, self.rows = drawn, dims, rows

    def draw(self, number: int, func: OpOverload, args: Arguments, kwargs: Keywords) -> object:
        value, dim = self.drawn[number], self.dims[number]
        if dim is not None:
            value = value.narrow(dim, self.rows.start, self.rows.stop - self.rows.start)
        if _in_place(func):
            return args[0].copy_(value)
        return value.clone()


class Slicing(_Random):
    """Draws for the rows of all processes, and returns the part of this one's rows.

    Arguments:
        dims: Dimension of the rows of each draw; None where it has none.
        shards: Division of the batch's rows among processes.
    """

    def __init__(self, dims: Draws, shards: ProcessShards) -> None:
        super().__init__()
        self.dims, self.shards = dims, shards

    def draw(self, number: int, func: OpOverload, args: Arguments, kwargs: Keywords) -> object:
        if number >= len(self.dims):
            raise ContractError(
                f"several processes: expected {len(self.dims)} draws of random numbers in each "
                "step, as in the first; got more. Draw equally often for every batch."
            )
        dim = self.dims[number]
        if dim is None:
            return func(*args, **kwargs)
        total, own = self.shards.total, self.shards.rows
        if _in_place(func):
            target, rest = args[0], self._all_rows(args[1:], dim)
            shape = [*target.shape]
            shape[dim] = total
            drawn = func(target.new_empty(shape), *rest, **kwargs)
            return target.copy_(drawn.narrow(dim, own.start, own.stop - own.start))
        drawn = func(*self._all_rows(args, dim), **kwargs)
        return drawn.narrow(dim, own.start, own.stop - own.start).clone()

    def _all_rows(self, args: Arguments, dim: int) -> Arguments:
        """Arguments of a draw for all rows: sizes, and parameters gathered."""
        mine = self.shards.rows.stop - self.shards.rows.start
        whole: list[object] = []
        for value in args:
            if isinstance(value, Tensor) and value.dim() > dim and value.size(dim) == mine:
                value = self.shards.gather(value, dim)
            elif isinstance(value, list | tuple) and len(value) > dim and value[dim] == mine:
                value = [*value[:dim], self.shards.total, *value[dim + 1 :]]
            whole.append(value)
        return whole


def _in_place(func: OpOverload) -> bool:
    return bool(func._schema.is_mutable)


@torch.no_grad()
def dims_of_draws(objective: Objective, batch: Mapping[str, Tensor]) -> Draws:
    """The dimension of the rows in each draw of random numbers of an evaluation.

    Arguments:
        objective: An objective, in the mode in which it is to be evaluated.
        batch: The first rows of the data, at least four.

    Raises:
        ContractError: If that dimension of a draw cannot be determined, or if the terms of a datum
            depend on the other rows of its batch.
    """
    rows = min(TRIED, len(next(iter(batch.values()))))
    if rows < 4:
        raise ContractError(
            f"several processes: expected at least 4 rows of data; got {rows}. Use one process."
        )
    device, shards = next(iter(batch.values())).device, objective.shards
    objective.shards = ALONE
    try:
        with forked(device), kept_buffers(objective):
            return _dims(objective, batch, rows)
    finally:
        objective.shards = shards


def _dims(objective: Objective, batch: Mapping[str, Tensor], rows: int) -> Draws:
    recorded: list[list[Tensor]] = []
    terms = []
    split = rows // 2 - 1 or 1
    for size in (rows, split):
        with _Recording() as mode:
            terms.append(objective.evaluate({k: v[:size] for k, v in batch.items()})[0])
        recorded.append(mode.drawn)
    whole, part = recorded
    dims: list[int | None] = []
    for number, (a, b) in enumerate(zip(whole, part, strict=False)):
        differ = [d for d in range(a.dim()) if a.dim() != b.dim() or a.size(d) != b.size(d)]
        right = not differ or (
            len(differ) == 1 and (a.size(differ[0]), b.size(differ[0])) == (rows, split)
        )
        if a.dim() != b.dim() or not right:
            raise ContractError(
                f"several processes: expected draws with a dimension of the batch's rows; draw "
                f"{number} has shape {tuple(a.shape)} for {rows} rows and {tuple(b.shape)} for "
                f"{split}. Train on one device."
            )
        dims.append(differ[0] if differ else None)
    if len(whole) != len(part):
        raise ContractError(
            f"several processes: expected as many draws of random numbers for any batch; got "
            f"{len(whole)} and {len(part)}. Train on one device."
        )
    _refuse_mixing(objective, batch, [slice(0, split), slice(split, rows)], whole, dims, terms[0])
    return dims


def _refuse_mixing(
    objective: Objective,
    batch: Mapping[str, Tensor],
    parts: Sequence[slice],
    drawn: Sequence[Tensor],
    dims: Draws,
    whole: Terms,
) -> None:
    """Raise an error if log-likelihoods and KLs of two parts differ from those of all rows."""
    found = []
    for rows in parts:
        with _Replaying(drawn, dims, rows):
            terms = objective.evaluate({name: value[rows] for name, value in batch.items()})[0]
        found.append(terms.by_name())
    for name, together in whole.by_name().items():
        apart = torch.cat([part[name] for part in found])
        size = 1.0 + together.abs().max()
        if not torch.allclose(apart, together, rtol=1e-3, atol=float(1e-3 * size)):
            raise ContractError(
                f"several processes: expected a model and a guide that treat each datum alone; "
                f"{name} of a datum differs in a smaller batch, as with batch normalisation. "
                "Use layer normalisation, or train on one device."
            )
