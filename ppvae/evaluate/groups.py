"""A group of draws in a store: variables with dims, and the coordinates of these dims."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppvae.evaluate.dims import event_dims
from ppvae.evaluate.names import Names
from ppvae.evaluate.stores import Filled, Store

__all__ = ["LEAD", "Group", "stored_name"]

# The dims of draws per datum.
LEAD = ("chain", "draw", "sample")


def stored_name(name: str) -> str:
    """The name of a variable in a file: no slash, which would be a group, and no leading dim."""
    name = name.replace("/", "_") or "_"
    return f"{name}_" if name in LEAD else name


class Group:
    """One group of the store: its arrays, and the size of each dim.

    Arguments:
        store: Store that the arrays are created in.
        name: Name of the group.
        rows: Numbers of the rows that the samples are.
        along: Columns that are coordinates along the samples, by name.
        names: Names along the dims and along the samples.
        taken: Names of sites and columns, which no dim may have.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        rows: Tensor,
        along: Mapping[str, Tensor],
        names: Names,
        taken: frozenset[str],
    ) -> None:
        self.store = store
        self.name = name
        self.rows = rows
        self.along = along
        self.names = names
        self.taken = taken
        self.arrays: dict[str, Filled] = {}
        self.sizes: dict[str, int] = {}
        self.by_datum: set[str] = set()

    def put(self, name: str, values: Tensor, dims: tuple[str, ...], at: int) -> None:
        """Write the values of rows from ``at`` on; ``dims`` are those of ``values``."""
        unit = self.names.units.get(name)
        name = stored_name(name)
        array = values.detach().cpu()
        array = array.float() if array.is_floating_point() else array.long()
        if name not in self.arrays:
            dims = self._own(name, dims, tuple(array.shape))
            shape = [
                len(self.rows) if dim == "sample" else n
                for dim, n in zip(dims, array.shape, strict=True)
            ]
            numbers = array.numpy()
            self._coordinates(dims, shape)
            self.arrays[name] = self.store.create(self.name, name, dims, shape, numbers.dtype)
            if unit is not None:
                self.store.unit(self.name, name, unit)
        if "sample" not in dims:
            if at == 0:
                self.arrays[name][...] = array.numpy()
            return
        axis = dims.index("sample")
        stop = at + array.shape[axis]
        self.arrays[name][(slice(None),) * axis + (slice(at, stop),)] = array.numpy()

    def _own(self, name: str, dims: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """A dim with another size, or called as a variable, gets the variable's name in front."""
        own = []
        for dim, size in zip(dims, shape, strict=True):
            while dim not in LEAD and (dim in self.taken or self.sizes.get(dim, size) != size):
                dim = f"{name}_{dim}"
            own.append(dim)
        return tuple(own)

    def _coordinates(self, dims: tuple[str, ...], shape: list[int]) -> None:
        for dim, size in zip(dims, shape, strict=True):
            if dim not in self.sizes:
                self.sizes[dim] = size
                if len(self.names.dims.get(dim, ())) == size:
                    self.store.text(self.name, dim, dim, self.names.dims[dim])
                    continue
                numbers = self.rows if dim == "sample" else torch.arange(size)
                array = self.store.create(self.name, dim, (dim,), (size,), "int64")
                array[...] = numbers.numpy()
                if dim == "sample":
                    for name, texts in self.names.rows.items():
                        self.store.text(self.name, name, dim, texts)
                    for name, column in self.along.items():
                        self.put(name, column, ("sample", *event_dims(name, column.dim() - 1)), 0)
