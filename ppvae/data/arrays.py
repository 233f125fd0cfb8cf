"""Arrays: ``.npz`` archives, and ``.npy`` and ``.zarr`` on disk, whose rows are read as needed."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppvae.data.arranged import Layout, channels_first, dataset_of
from ppvae.data.beside import beside
from ppvae.data.columns import COLUMNS, found_as, known_as
from ppvae.data.dataset import Dataset
from ppvae.data.hdf5 import refuse_outside
from ppvae.data.mapped import MappedRows
from ppvae.data.paths import UNREADABLE, PathLike, existing, refuse_larger
from ppvae.data.spectra import spectral_image
from ppvae.data.stored import refuse_packed, unwritten
from ppvae.errors import DataError
from ppvae.expected import expect_package
from ppvae.typing import Spec

if TYPE_CHECKING:
    import h5py
    from zarr.types import AnyArray

__all__ = ["h5", "npy", "npz", "zarr"]


def npz(
    path: PathLike,
    *,
    missing_ok: Sequence[str] = (),
    layout: Layout = "auto",
    like: Spec | None = None,
) -> Dataset:
    """One array per column from a NumPy archive; pickled objects are never read.

    Text in ``y``, ``object`` and ``batch`` is numbered in sorted order, text in ``c`` and ``view``
    is read with its unit, text in columns of your own as either.
    Pictures ``x`` with shape (N, H, W) become (N, 1, H, W), and those with
    shape (N, H, W, C) become (N, C, H, W): the last axis holds the channels where it is shorter
    than both others and the first of the three is longer than 4.

    What is no array, and arrays of other names that are single values or longer or shorter than
    ``x``, are left out, with a note.

    Arguments:
        path: Path of the archive.
        missing_ok: Columns that may hold NaN.
        layout: ``"first"`` or ``"last"``, the axis of the channels of ``x``, in place of the rule.
        like: Spec of the columns of a fitted run; its numbers of classes and identifiers are used.

    Raises:
        DataError: If it cannot be read, or the columns cannot be used.
    """
    path = existing(path)
    try:
        with zipfile.ZipFile(path) as packed:
            refuse_larger(path, sum(part.file_size for part in packed.infolist()))
        with np.load(path, allow_pickle=False) as archive:
            members = {name: _member(archive, name, like) for name in archive.files}
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path.name}: expected a NumPy archive of numbers; it cannot be read "
            f"({_reason(path, error)}). Save it again with numpy.savez(path, x=..., ...), without "
            "objects."
        ) from error
    # NumPy gives what is no array, such as a README, as bytes.
    columns = {name: part for name, part in members.items() if isinstance(part, np.ndarray)}
    others = sorted(members.keys() - columns.keys())
    if not columns:
        raise DataError(
            f"{path.name}: expected a NumPy archive of arrays; got {_named(others) or 'none'}. "
            "Save it again with numpy.savez(path, x=..., ...)."
        )
    note = f"left out, as no arrays: {_named(others)}" if others else ""
    if {"format", "shape", "data"} <= set(columns):
        from scipy.sparse import load_npz

        return Dataset({"x": load_npz(path)}, missing_ok=missing_ok).noted(note)
    left, said = beside(columns, like or ())
    kept = {name: array for name, array in columns.items() if name not in left}
    return dataset_of(path, kept, missing_ok, layout, like).noted(note, said)


def _member(
    archive: np.lib.npyio.NpzFile, name: str, like: Spec | None
) -> np.ndarray | bytes | None:
    """A member of an archive; None for objects, unless a column with a meaning has them."""
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error) or known_as(name) in COLUMNS or name in (like or ()):
            raise
        return None


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def _reason(path: Path, error: Exception) -> str:
    """What is wrong with a file, in words; NumPy's own message advises to trust the file."""
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY" and path.suffix.lower() == ".npz":
        return "it is one array: its name should end in .npy"
    if start[:2] == b"PK" and path.suffix.lower() == ".npy":
        return "it is an archive: its name should end in .npz"
    if start[:2] != b"PK" and start != b"\x93NUMPY":
        return "it is empty" if not start else "it is no NumPy file"
    return str(error).partition(" when allow_pickle")[0]


def npy(
    path: PathLike,
    *,
    missing_ok: Sequence[str] = (),
    layout: Layout = "auto",
    like: Spec | None = None,
    **columns: PathLike,
) -> Dataset:
    """``x`` from one array file, memory-mapped; other columns from further files by name.

    Rows are read when they are needed, so that the array may be larger than memory. The rules are
    those of :func:`npz`.

    Arguments:
        path: Path of the file of ``x``.
        missing_ok: Columns that may hold NaN.
        layout: ``"first"`` or ``"last"``, the axis of the channels, in place of the rule of
            :func:`npz`.
        like: Spec of the columns of a fitted run; its numbers of classes and identifiers are used.
        columns: Path of the file of each other column.

    Raises:
        DataError: If a file cannot be read, or the columns cannot be used.
    """
    mapped: dict[str, np.ndarray] = {}
    for name, file in {"x": path, **columns}.items():
        file = existing(file)
        try:
            mapped[name] = np.load(file, mmap_mode="r", allow_pickle=False)
        except UNREADABLE as error:
            raise DataError(
                f"{file.name}: expected an array saved with numpy.save; it cannot be read "
                f"({_reason(file, error)}). Save it again."
            ) from error
        if not isinstance(mapped[name], np.ndarray):
            raise DataError(
                f"{file.name}: expected an array saved with numpy.save; got an archive. "
                "Its name should end in .npz."
            )
    small = {k: np.array(v) if v.ndim <= 1 else v for k, v in mapped.items()}
    return dataset_of(existing(path), small, missing_ok, layout, like)


class _Zarr:
    """A zarr array whose rows get the order of axes of other arrays when they are read."""

    def __init__(self, array: AnyArray, layout: Layout, name: str) -> None:
        self.array = array
        self.layout = layout
        self.name = name
        row, self.note = channels_first(np.empty((1, *array.shape[1:]), array.dtype), layout, name)
        self.shape: tuple[int, ...] = (array.shape[0], *row.shape[1:])
        self.dtype = np.dtype(array.dtype)
        self.ndim = row.ndim

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        if np.ndim(rows) == 0:
            return self[np.reshape(rows, 1)][0]
        try:
            values = np.asarray(self.array.oindex[rows])
        except UNREADABLE as error:
            raise DataError(
                f"{self.name}: expected chunks that can be read; got a damaged one "
                f"({str(error).strip() or type(error).__name__}). Save the array again."
            ) from error
        return channels_first(values, self.layout)[0]


def zarr(
    path: PathLike,
    *,
    missing_ok: Sequence[str] = (),
    layout: Layout = "auto",
    like: Spec | None = None,
) -> Dataset:
    """``x`` from a zarr array, or one array per column from a group; rows are read as needed.

    The rules are those of :func:`npz`. ``x`` and ``source`` stay on the disk; the others are
    read.

    Arguments:
        path: The folder.
        missing_ok: Columns that may hold NaN.
        layout: Where the channels of ``x`` are, against the rule of :func:`npz`.
        like: The columns' spec of a fitted run, whose classes and identifiers are used.

    Raises:
        MissingPackageError: If zarr is not installed.
        DataError: If the folder cannot be read, or the columns cannot be used.
    """
    path = existing(path)
    library = expect_package(path.name, "zarr", "zarr")
    try:
        node = library.open(str(path), mode="r")
        found = dict(node.arrays()) if isinstance(node, library.Group) else {"x": node}
        left, said = beside(found, like or ())
        arrays = {name: array for name, array in found.items() if name not in left}
        columns: dict[str, np.ndarray | MappedRows] = {}
        notes = [said]
        for name, array in arrays.items():
            _refuse_pickled(path, array)
            notes.append(
                unwritten(name, array.nchunks_initialized, array.nchunks, array.fill_value)
            )
            step = max(1, array.chunks[0]) if array.ndim else 1
            starts = range(0, array.shape[0] if array.ndim else 0, step)
            blocks = (np.asarray(array[i : i + step]) for i in starts)
            refuse_packed(path, name, dict(array.attrs), blocks)
            if name in ("x", "source") and array.ndim > 1:
                rows = _Zarr(array, layout, name)
                columns[name] = MappedRows(rows, np.arange(array.shape[0]))
                notes.append(rows.note)
            else:
                columns[name] = np.asarray(array[...])
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path.name}: expected a zarr array or group; it cannot be read "
            f"({str(error).strip() or type(error).__name__}). Save it again with zarr.save(path, "
            "x=...)."
        ) from error
    if not columns:
        raise DataError(
            f"{path.name}: expected arrays in the group, one per column; got none. Save x there, "
            "or name the folder of the array itself."
        )
    return dataset_of(path, columns, missing_ok, layout, like).noted(*notes)


def _refuse_pickled(path: Path, array: AnyArray) -> None:
    """Refuse an array whose chunks are pickles; only zarr 2 has a codec that reads them."""
    if hasattr(array, "compressors"):
        return
    codecs = [*(array.filters or ()), array.compressor]
    if any(getattr(codec, "codec_id", "") == "pickle" for codec in codecs):
        raise DataError(
            f"{path.name}: expected arrays of numbers or text; got pickled objects, which could "
            "run any code. Save numbers with zarr.save(path, x=...)."
        )


def h5(
    path: PathLike,
    *,
    missing_ok: Sequence[str] = (),
    layout: Layout = "auto",
    like: Spec | None = None,
    **spectral: int,
) -> Dataset:
    """Columns from the data sets at the root of an HDF5 file if one is ``x``; otherwise spectra.

    The rules for columns are those of :func:`npz`; all are read into memory. A file without ``x``
    is read by :func:`spectral_image`.

    Arguments:
        path: Path of the file.
        missing_ok: Columns that may hold NaN.
        layout: ``"first"`` or ``"last"``, the axis of the channels of ``x``, in place of the rule.
        like: Spec of the columns of a fitted run; its numbers of classes and identifiers are used.
        spectral: ``size`` and ``channel`` of :func:`spectral_image`.

    Raises:
        DataError: If the file cannot be read, or the columns cannot be used.
    """
    import h5py

    path = existing(path)
    try:
        refuse_outside(path)
        with h5py.File(path, "r") as file:
            found = {
                name: item
                for name, item in file.items()
                if isinstance(item, h5py.Dataset) and item.shape is not None
            }
            objects = [
                name
                for name, item in found.items()
                if item.dtype.kind == "O" and h5py.check_string_dtype(item.dtype) is None
            ]
            left, said = beside(found, like or (), objects)
            sets = {name: item for name, item in found.items() if name not in left}
            if found_as("x", sets) is None:
                return spectral_image(path, missing_ok=missing_ok, like=like, **spectral)
            for name in set(objects) & set(sets):
                raise DataError(
                    f"{path.name}: expected numbers or text in {name!r}; got objects, such as "
                    "rows of several lengths. Save it as an array of one shape."
                )
            refuse_larger(path, sum(item.nbytes for item in sets.values()))
            columns = {
                name: item.asstr()[...].astype(str) if item.dtype.kind == "O" else item[...]
                for name, item in sets.items()
            }
            notes = [_unwritten(name, item) for name, item in sets.items()]
            for name, item in sets.items():
                refuse_packed(path, name, item.attrs, [columns[name]])
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path.name}: expected an HDF5 file; it cannot be read ({error}). Copy it again."
        ) from error
    return dataset_of(path, columns, missing_ok, layout, like).noted(*notes, said)


def _unwritten(name: str, item: h5py.Dataset) -> str:
    if item.chunks is None:
        return ""
    pieces = math.prod(-(-n // chunk) for n, chunk in zip(item.shape, item.chunks, strict=True))
    return unwritten(name, item.id.get_num_chunks(), pieces, item.fillvalue)
