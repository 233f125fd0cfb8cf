"""Feeds: an epoch of mini-batches in random order, including a smaller last one.

A last batch of one row is merged into the batch before it: critics, batch normalisation and
everything else that compares the rows of a batch need at least two.

There are two ways to the same batches: by index from tensors resident on the device, without
transfers; or, where data do not fit or are memory-mapped, through a torch DataLoader with pinned
memory. Both keep uint8 as uint8 until a batch is on the device.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ppvae.data import Dataset
from ppvae.objectives.shards import ALONE, Shards
from ppvae.programs import INDEX, signature

__all__ = ["Feed", "Loaded", "Resident", "columns_used", "fits", "make_feed", "sizes_of"]

Batch = dict[str, Tensor]


class Resident:
    """Batches drawn by index from columns on the device.

    Arguments:
        data: Dataset on the device.
        batch_size: Number of rows B of a batch.
        generator: Generator, on the same device, that draws the order of an epoch.
        dtype: Dtype of the floating-point columns.
        index: Whether the rows' numbers are added as the column ``index``.
        shards: Division of a batch's rows among processes.
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
        index: bool,
        shards: Shards = ALONE,
    ) -> None:
        self.shards = shards
        self.data = data
        self.batch_size = batch_size
        self.generator = generator
        self.dtype = dtype
        self.index = index

    def __len__(self) -> int:
        return len(sizes_of(self.data.num_rows, self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(
            self.data.num_rows, generator=self.generator, device=self.generator.device
        )
        for every in order.split(sizes_of(self.data.num_rows, self.batch_size)):
            rows = every[self.shards.own(len(every))]
            batch = self.data._batch(rows, self.dtype, rows.device)
            if self.index:
                batch[INDEX] = rows
            yield batch


class Loaded:
    """Batches read from memory or disk by a torch DataLoader, ahead of the device.

    Arguments:
        data: Dataset on any device, memory-mapped or not.
        batch_size: Number of rows B of a batch.
        generator: Generator, on the CPU, that draws the order of an epoch.
        dtype: Dtype of the floating-point columns.
        index: Whether the rows' numbers are added as the column ``index``.
        device: Device of the batches.
        workers: Number of processes that read; with 0, this process reads.
        shards: Division of a batch's rows among processes; only the own rows are read.
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
        index: bool,
        device: torch.device,
        workers: int = 0,
        shards: Shards = ALONE,
    ) -> None:
        self.data = data
        self.shards = shards
        self.generator = generator
        self.dtype = dtype
        self.index = index
        self.device = device
        self.order = _Order(data.num_rows, batch_size, generator, shards)
        self.loader: DataLoader[Batch] = DataLoader(
            _Rows(data),
            batch_size=None,
            sampler=self.order,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            # A separate generator, as the loader draws seeds for its workers from it.
            generator=torch.Generator().manual_seed(generator.initial_seed()),
        )

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        self.order.shuffle()
        sizes = sizes_of(self.data.num_rows, self.order.batch_size)
        for size, columns in zip(sizes, self.loader, strict=True):
            self.shards.own(size)
            rows = columns.pop(INDEX)
            picked = Dataset._trusted(columns, self.data)
            batch = picked.batch(slice(None), dtype=self.dtype, device=self.device)
            if self.index:
                batch[INDEX] = rows.to(self.device, non_blocking=True)
            yield batch


def sizes_of(num_rows: int, batch_size: int) -> list[int]:
    """The sizes of an epoch's batches."""
    full, rest = divmod(num_rows, batch_size)
    sizes = [batch_size] * full + ([rest] if rest else [])
    if rest == 1 and full:
        sizes[-2:] = [batch_size + 1]
    return sizes


class _Order:
    """The row numbers of each batch of an epoch; a loader may iterate over them more than once."""

    def __init__(
        self, num_rows: int, batch_size: int, generator: torch.Generator, shards: Shards
    ) -> None:
        self.shards = shards
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.generator = generator
        self.rows: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(sizes_of(self.num_rows, self.batch_size))

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.rows)

    def shuffle(self) -> None:
        """Draw the order of a new epoch."""
        order = torch.randperm(self.num_rows, generator=self.generator)
        batches = order.split(sizes_of(self.num_rows, self.batch_size))
        self.rows = tuple(rows[self.shards.own(len(rows))] for rows in batches)


class _Rows(TorchDataset[Batch]):
    """A dataset indexed by batches of row numbers, with values as they are stored."""

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def __getitem__(self, rows: Tensor) -> Batch:
        return {**self.data.read(rows), INDEX: rows}


Feed = Resident | Loaded


def columns_used(data: Dataset, *modules: nn.Module, everything: bool = False) -> Dataset:
    """Only the columns that the modules' programs take, or all of them."""
    names: set[str] = set()
    for module in modules:
        parameters = signature(module)
        everything |= any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        names |= parameters.keys()
    chosen = [name for name in data if everything or name in names]
    # If no column is in common, the check of the contract names those that are missing.
    return data.select(*chosen) if chosen else data


def fits(data: Dataset, device: torch.device) -> bool:
    """Whether the columns can be resident: none is memory-mapped, and a GPU has room for them."""
    if data.mapped:
        return False
    if device.type != "cuda":
        return True
    size = sum(column.nbytes for column in data.values())
    return size < 0.5 * torch.cuda.mem_get_info(device)[0]


def make_feed(
    data: Dataset,
    batch_size: int,
    *,
    seed: int,
    dtype: torch.dtype,
    index: bool,
    device: torch.device,
    resident: bool,
    workers: int,
    shards: Shards = ALONE,
) -> Feed:
    """The feed of training data, with a separate generator seeded by ``seed``."""
    place = device if resident else torch.device("cpu")
    generator = torch.Generator(place).manual_seed(seed)
    if resident:
        return Resident(
            data, batch_size, generator=generator, dtype=dtype, index=index, shards=shards
        )
    return Loaded(
        data,
        batch_size,
        generator=generator,
        dtype=dtype,
        index=index,
        device=device,
        workers=workers,
        shards=shards,
    )
