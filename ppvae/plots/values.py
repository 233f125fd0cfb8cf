"""The values that plots take: tensors or arrays, checked and converted to numpy arrays."""

from __future__ import annotations

from collections.abc import Sized
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.expected import TENSOR, expect

__all__ = [
    "Array",
    "Values",
    "as_array",
    "as_images",
    "as_matrix",
    "refuse_infinite",
    "same_rows",
]

Array: TypeAlias = NDArray[np.float64]
Values: TypeAlias = Tensor | np.ndarray


def as_array(values: Values) -> Array:
    """An array in float64 with the same shape; uint8 intensities 0..255 become 0..1.

    NaN is kept, and stands for values that are masked: what is missing is not drawn.

    Raises:
        ArgumentError: If the values are not real numbers.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    if isinstance(values, Tensor):
        expect(TENSOR, "Pass a tensor or an array.", values=values)
        values = values.detach().cpu().numpy()
    found = np.asarray(values)
    if found.dtype.kind not in "biuf":
        raise ArgumentError(
            f"values: expected real numbers; got {found.dtype} with shape {found.shape}. Pass a "
            "tensor or an array."
        )
    array: Array = found.astype(np.float64)
    return array / 255.0 if found.dtype == np.uint8 else array


def as_images(name: str, values: Values, *, dims: tuple[int, ...] = (4,)) -> Array:
    """Images with shape (..., C, H, W).

    Raises:
        ArgumentError: If the number of dimensions is not among ``dims``, or there is no image.
    """
    array = as_array(values)
    if array.ndim not in dims or not array.size:
        shapes = {4: "(N, C, H, W)", 5: "(R, N, C, H, W)"}
        rule = " or ".join(shapes[d] for d in dims)
        raise ArgumentError(
            f"{name}: expected images with shape {rule}, at least one; got shape "
            f"{array.shape}. Add the channel dimension, also where it is one."
        )
    refuse_infinite(name, array)
    return array


def refuse_infinite(name: str, array: Array) -> None:
    """Refuse infinite values, and values all of which are missing: they have no range of colours.

    Raises:
        ArgumentError: If there are any.
    """
    if np.isinf(array).any() or np.isnan(array).all():
        raise ArgumentError(
            f"{name}: expected finite numbers, NaN where one is missing; got "
            f"{np.isinf(array).sum()} infinite of {array.size}, {np.isnan(array).sum()} missing. "
            "Leave those rows out."
        )


def as_matrix(name: str, values: Values) -> Array:
    """A table of finite numbers with shape (N, D); a column (N) becomes (N, 1).

    Raises:
        ArgumentError: If it is neither, has fewer than two rows, or a number is not finite.
    """
    array = as_array(values)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) < 2 or not array.size:
        raise ArgumentError(
            f"{name}: expected shape (N, D) with at least two rows; got shape {array.shape}. "
            "Flatten what is in a row."
        )
    if not np.isfinite(array).all():
        raise ArgumentError(
            f"{name}: expected finite numbers; got {(~np.isfinite(array)).sum()} that are not. "
            "Leave those rows out."
        )
    return array


def same_rows(**columns: Sized | None) -> int:
    """The number of rows that all columns share; those that are None are left out.

    Raises:
        ArgumentError: If they differ, or one is a single number.
    """
    given = {name: column for name, column in columns.items() if column is not None}
    single = [name for name, column in given.items() if getattr(column, "ndim", 1) == 0]
    if single:
        raise ArgumentError(
            f"{' and '.join(single)}: expected one row per datum; got a single number. Give it "
            "the shape (N, ...)."
        )
    lengths = {name: len(column) for name, column in given.items()}
    if len(set(lengths.values())) > 1:
        raise ArgumentError(
            f"{' and '.join(lengths)}: expected one number of rows; got "
            f"{', '.join(map(str, lengths.values()))}. Pass rows of the same data."
        )
    return next(iter(lengths.values()))
