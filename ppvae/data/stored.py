r"""How a file stores an array, where that changes what its numbers mean.

By the conventions of netCDF, which xarray writes into HDF5 and zarr as well, attributes say that
the numbers are packed, :math:`\mathrm{value} = \mathrm{stored} \cdot \mathrm{scale\_factor} +
\mathrm{add\_offset}`, and which number stands for a missing value.

Pieces of an array that were never written are read as its fill value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ppvae.errors import DataError

__all__ = ["refuse_packed", "unwritten"]

MISSING = ("_FillValue", "missing_value")


def refuse_packed(
    path: Path, name: str, attributes: Mapping[str, object], blocks: Iterable[np.ndarray]
) -> None:
    """Refuse an array of packed numbers, or with a number that stands for a missing value.

    Arguments:
        path: Path of the file.
        name: Name of the array.
        attributes: Attributes of the array.
        blocks: Its values, some rows at a time; read only if a number stands for missing ones.

    Raises:
        DataError: If its attributes say so.
    """
    numbers = {
        key: _number(attributes.get(key)) for key in ("scale_factor", "add_offset", *MISSING)
    }
    said = {key: number for key, number in numbers.items() if number is not None}
    plain = {"scale_factor": 1.0, "add_offset": 0.0}
    packed = [key for key, number in plain.items() if said.get(key, number) != number]
    if packed:
        raise DataError(
            f"{path.name}: expected numbers as they are in {name!r}; got packed ones, as its "
            f"attributes {', '.join(f'{key}={said[key]:g}' for key in packed)} say. Unpack them, "
            "as xarray.open_dataset does, and save the values."
        )
    standing = [(k, said[k]) for k in MISSING if k in said and not math.isnan(said[k])]
    for block in blocks if standing else ():
        for key, number in standing:
            if np.any(block == number):
                raise DataError(
                    f"{path.name}: expected NaN where a value of {name!r} is missing; got the "
                    f"attribute {key}={number:g}, which stands for it. Replace it by NaN, or "
                    "delete the attribute if that number is a value."
                )


def _number(value: object) -> float | None:
    """An attribute as a number; None if it is none."""
    array = np.asarray(value)
    return float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "iufb" else None


def unwritten(name: str, written: int, pieces: int, fill: object) -> str:
    """A note on the pieces of an array that were never written; empty if all were.

    Arguments:
        name: Name of the array.
        written: Number of pieces in the file.
        pieces: Number of pieces of the array.
        fill: Value as which the others are read.
    """
    if written >= pieces:
        return ""
    return (
        f"{name}: {pieces - written} of {pieces} pieces are not stored, and read as {fill}; check "
        "whether the file is complete"
    )
