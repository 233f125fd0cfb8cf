"""Stores that draws are written to piece by piece: memory, a netCDF file, or a zarr folder.

Each store makes named arrays in named groups, of a size known beforehand, that are filled piece
by piece (``array[slices] = values``), and is then finished and opened as an xarray DataTree. The
files are what xarray itself would write, without the whole ever being in memory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from ppvae.data.written import HDF5File
from ppvae.errors import ArgumentError, RunError
from ppvae.typing import JsonObject

if TYPE_CHECKING:
    import h5netcdf
    import xarray
    from arviz import InferenceData

__all__ = ["Memory", "NetCDF", "Store", "Zarr", "container", "storing"]

Attributes: TypeAlias = Mapping[str, str | int | None]

# Numbers in one compressed piece of a variable.
PIECE = 2**18


class Filled(Protocol):
    """An array that is filled by assignment to slices."""

    def __setitem__(self, key: EllipsisType | tuple[slice, ...], value: np.ndarray, /) -> None: ...


class Store(ABC):
    """Arrays by group and name."""

    @abstractmethod
    def create(
        self, group: str, name: str, dims: Sequence[str], shape: Sequence[int], dtype: DTypeLike
    ) -> Filled:
        """An array to be filled by assignment to slices."""

    @abstractmethod
    def text(self, group: str, name: str, dim: str, values: Sequence[str]) -> None:
        """An array of names along a dim."""

    @abstractmethod
    def unit(self, group: str, name: str, unit: str) -> None:
        """Set the attribute ``unit`` of an array.

        xarray takes ``units`` of times for an encoding and converts the numbers; ``unit`` is
        left alone.
        """

    @abstractmethod
    def describe(self, group: str, attributes: Attributes) -> None:
        """Set attributes of a group; "" is the root."""

    @abstractmethod
    def finish(self) -> None:
        """Close the store, and move its file or folder into place."""

    @abstractmethod
    def open(self) -> xarray.DataTree:
        """The contents of the finished store, read lazily if they are on disk."""

    @abstractmethod
    def discard(self) -> None:
        """Remove an incomplete store."""


class Memory(Store):
    """Arrays in memory."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, tuple[tuple[str, ...], np.ndarray]]] = {}
        self.attributes: dict[str, dict[str, str | int | None]] = {}
        self.units: dict[tuple[str, str], str] = {}

    def create(
        self, group: str, name: str, dims: Sequence[str], shape: Sequence[int], dtype: DTypeLike
    ) -> Filled:
        array = np.empty(tuple(shape), dtype)
        self.groups.setdefault(group, {})[name] = (tuple(dims), array)
        return array

    def text(self, group: str, name: str, dim: str, values: Sequence[str]) -> None:
        self.groups.setdefault(group, {})[name] = ((dim,), np.array(values, dtype=object))

    def unit(self, group: str, name: str, unit: str) -> None:
        self.units[group, name] = unit

    def describe(self, group: str, attributes: Attributes) -> None:
        self.attributes[group] = dict(attributes)

    def finish(self) -> None:
        pass

    def open(self) -> xarray.DataTree:
        import xarray

        datasets = {"/": xarray.Dataset(attrs=self.attributes.get("", {}))}
        for group, variables in self.groups.items():
            attributes = dict(self.attributes.get(group, {}))
            coordinates = str(attributes.pop("coordinates", "")).split()
            dataset = xarray.Dataset(variables, attrs=attributes)
            datasets[f"/{group}"] = dataset.set_coords(coordinates)
        for (group, name), unit in self.units.items():
            datasets[f"/{group}"][name].attrs["unit"] = unit
        return xarray.DataTree.from_dict(datasets)

    def discard(self) -> None:
        self.groups.clear()


class _Checked:
    """A variable of a netCDF file; each piece written to it is checked to be on the disk."""

    def __init__(self, variable: Filled, disk: HDF5File) -> None:
        self.variable = variable
        self.disk = disk

    def __setitem__(self, key: EllipsisType | tuple[slice, ...], value: np.ndarray, /) -> None:
        self.variable[key] = value
        self.disk.check()


class NetCDF(Store):
    """A netCDF file, written under a temporary name and moved into place when complete."""

    def __init__(self, path: Path) -> None:
        import h5netcdf

        self.path = path
        self.partial = _beside(path)
        with _removed_on_error(self.partial):
            self.disk = HDF5File(self.partial)
            try:
                self.file = h5netcdf.File(self.disk, "w")
            except BaseException:
                self.disk.discard()
                raise

    def _group(self, name: str) -> h5netcdf.Group:
        if not name:
            return self.file
        return self.file[name] if name in self.file.groups else self.file.create_group(name)

    def create(
        self, group: str, name: str, dims: Sequence[str], shape: Sequence[int], dtype: DTypeLike
    ) -> Filled:
        parent = self._group(group)
        for dim, size in zip(dims, shape, strict=True):
            if dim not in parent.dimensions:
                parent.dimensions[dim] = size
        packed: JsonObject = {
            "chunks": pieces(dims, shape),
            "compression": "gzip",
            "compression_opts": 1,
            "shuffle": True,
        }
        options = {} if np.prod(shape) <= PIECE else packed
        variable = parent.create_variable(name, tuple(dims), dtype, **options)
        return _Checked(variable, self.disk)

    def text(self, group: str, name: str, dim: str, values: Sequence[str]) -> None:
        import h5py

        parent = self._group(group)
        if dim not in parent.dimensions:
            parent.dimensions[dim] = len(values)
        parent.create_variable(name, (dim,), h5py.string_dtype())[...] = np.array(values, object)

    def unit(self, group: str, name: str, unit: str) -> None:
        self._group(group)[name].attrs["unit"] = unit

    def describe(self, group: str, attributes: Attributes) -> None:
        self._group(group).attrs.update(attributes)

    def finish(self) -> None:
        self.file.close()
        self.disk.finish()
        os.replace(self.partial, self.path)
        self.partial.parent.rmdir()

    def open(self) -> xarray.DataTree:
        import xarray

        return xarray.open_datatree(self.path, engine="h5netcdf")

    def discard(self) -> None:
        with suppress(OSError, RuntimeError):
            self.file.close()
        self.disk.discard()
        shutil.rmtree(self.partial.parent, ignore_errors=True)


class Zarr(Store):
    """A zarr folder (zarr 3 or later), written under a temporary name and moved when complete."""

    def __init__(self, path: Path) -> None:
        import zarr

        if int(zarr.__version__.partition(".")[0]) < 3:
            raise ModuleNotFoundError(
                f"zarr: expected version 3 or later; got {zarr.__version__}. "
                "Upgrade it, or write a .nc file."
            )
        self.path = path
        self.partial = _beside(path)
        with _removed_on_error(self.partial):
            self.root = zarr.open_group(self.partial, mode="w", zarr_format=3)

    def create(
        self, group: str, name: str, dims: Sequence[str], shape: Sequence[int], dtype: DTypeLike
    ) -> Filled:
        parent = self.root.require_group(group)
        single = np.prod(shape) <= PIECE
        return parent.create_array(
            name,
            shape=tuple(shape),
            dtype=dtype,
            chunks=tuple(shape) if single else pieces(dims, shape),
            dimension_names=tuple(dims),
        )

    def text(self, group: str, name: str, dim: str, values: Sequence[str]) -> None:
        with warnings.catch_warnings():
            # Text is not in the specification of zarr 3 yet; xarray reads it.
            warnings.simplefilter("ignore")
            parent = self.root.require_group(group)
            array = parent.create_array(
                name, shape=(len(values),), dtype="str", dimension_names=(dim,)
            )
            array[...] = np.array(values, dtype=object)

    def unit(self, group: str, name: str, unit: str) -> None:
        self.root[f"{group}/{name}"].attrs["unit"] = unit

    def describe(self, group: str, attributes: Attributes) -> None:
        (self.root.require_group(group) if group else self.root).attrs.update(attributes)

    def finish(self) -> None:
        if self.path.is_symlink():
            self.path.unlink()
        shutil.rmtree(self.path, ignore_errors=True)
        os.replace(self.partial, self.path)
        self.partial.parent.rmdir()

    def open(self) -> xarray.DataTree:
        import xarray

        return xarray.open_datatree(self.path, engine="zarr", consolidated=False, chunks=None)

    def discard(self) -> None:
        shutil.rmtree(self.partial.parent, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A temporary path in a new folder beside ``path``, which nobody else can have created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent)) / path.name


@contextmanager
def _removed_on_error(partial: Path) -> Iterator[None]:
    """Remove the new folder of a temporary path if the block raises."""
    try:
        yield
    except BaseException:
        shutil.rmtree(partial.parent, ignore_errors=True)
        raise


def pieces(dims: Sequence[str], shape: Sequence[int]) -> tuple[int, ...]:
    """Compressed pieces of about a million bytes: few draws and samples, all of an image."""
    sizes = dict(zip(dims, shape, strict=True))
    inner = int(np.prod([n for dim, n in sizes.items() if dim not in ("draw", "sample")]))
    samples = max(1, min(sizes.get("sample", 1), 16, PIECE // inner))
    draws = max(1, min(sizes.get("draw", 1), PIECE // (inner * samples)))
    return tuple({"draw": draws, "sample": samples}.get(d, n) for d, n in sizes.items())


def _store_for(path: str | Path | None) -> Store:
    """Memory without a path; a zarr folder if it ends in ``.zarr``; else a netCDF file.

    Raises:
        ArgumentError: If it ends in anything but ``.nc`` or ``.zarr``.
        ModuleNotFoundError: If a zarr folder is requested and zarr 3 is not installed.
    """
    if path is None:
        return Memory()
    path = Path(path)
    if path.suffix == ".zarr":
        return Zarr(path)
    if path.suffix != ".nc":
        raise ArgumentError(
            f"path: expected a name that ends in .nc or .zarr; got {path.name!r}. Use arviz.nc."
        )
    return NetCDF(path)


@contextmanager
def storing(path: str | Path | None) -> Iterator[Store]:
    """Memory without a path, a zarr folder, or a netCDF file; discarded if the block raises.

    Arguments:
        path: A file, a folder, or None.

    Raises:
        ArgumentError: If the path ends in anything but ``.nc`` or ``.zarr``.
        RunError: If it cannot be written.
    """
    store: Store | None = None
    try:
        store = _store_for(path)
        yield store
    except BaseException as error:
        if store is not None:
            store.discard()
        if path is not None and isinstance(error, OSError):
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise RunError(
                f"path: could not write {str(path)!r} ({reason}). Free some space, or name "
                "another place."
            ) from error
        raise


def container(tree: xarray.DataTree) -> InferenceData | xarray.DataTree:
    """A tree in the type of the installed ArviZ: ``InferenceData`` before version 1."""
    with warnings.catch_warnings():
        # ArviZ 0.23 announces its own next version at import.
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    # ArviZ 1 still has the name InferenceData, not the class.
    if int(arviz.__version__.partition(".")[0]) < 1:
        return arviz.InferenceData.from_datatree(tree)
    return tree
