"""Conversion of arrays of any dtype to columns; an error explains what cannot be converted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Number
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ppvae.data.columns import kind_of
from ppvae.data.mapped import Column, MappedRows, native, rows_of, spans
from ppvae.data.pairing import is_frame
from ppvae.data.sparse import SparseRows, is_sparse
from ppvae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_column", "expect_names", "refuse_non_finite", "refuse_not_dense"]


def expect_names(what: str, names: Iterable[object]) -> None:
    """Refuse names of columns that are not text, or that a terminal would act on.

    Arguments:
        what: What holds the names, which opens the message.
        names: The names.

    Raises:
        DataError: If there is one.
    """
    for name in names:
        if not isinstance(name, str) or not name or not name.isprintable():
            raise DataError(
                f"{what}: expected names of columns; got {name!r}. Write a name, such as 'x'."
            )


def as_column(name: str, value: object, *, missing_ok: bool = False) -> tuple[Column, str]:
    """A column of a dataset, and a note on what was done to it (empty if nothing).

    Arguments:
        name: Name of the column.
        value: Tensor, array, masked or memory-mapped array, or nested lists.
        missing_ok: Whether a masked value may become NaN.

    Raises:
        DataError: If the values are not numbers, or the column cannot have their shape.
    """
    if isinstance(value, MappedRows):
        _refuse_dtype(name, value)
        return value, ""
    if isinstance(value, SparseRows):
        return value, ""
    if is_sparse(value) and not kind_of(name).coded and name != "mask":
        rows = SparseRows(value)
        counts = "; uint8 taken as counts, unscaled" if value.dtype == np.uint8 else ""
        return rows, f"{name}: a sparse matrix, made dense a batch at a time{counts}"
    if isinstance(value, np.memmap) and value.ndim > 1 and not kind_of(name).coded:
        _refuse_dtype(name, value)
        _refuse_empty(name, value)
        if name == "mask":
            for span in spans(value):
                _flags(rows_of(value, span))
        return value, ""
    note = ""
    if isinstance(value, Tensor):
        column = _dense(name, value.detach()).resolve_neg()
    else:
        array, note = _array(name, value, missing_ok)
        column = torch.from_numpy(np.require(native(array), requirements=["C", "W"]))
    if column.ndim == 0:
        raise DataError(
            f"column {name!r}: expected one row per datum; got a single number. "
            "Give it the shape (N, ...)."
        )
    _refuse_empty(name, column)
    if name == "mask":
        return _flags(column), note
    if column.dtype == torch.bool:
        note = "; ".join(filter(None, (note, f"{name}: false is 0, true is 1")))
    if kind_of(name).coded:
        column, shaped = _ids(name, column)
        return column, "; ".join(filter(None, (note, shaped)))
    intensity = column.dtype == torch.uint8 and kind_of(name).intensity
    if intensity and is_frame(value):
        intensity, note = False, f"{name}: uint8 of a table taken as counts, unscaled"
    if not column.is_floating_point() and column.dtype != torch.int64 and not intensity:
        column = column.long()
    return column, note


def _refuse_empty(name: str, column: Tensor | np.ndarray) -> None:
    if 0 in column.shape[1:]:
        raise DataError(
            f"column {name!r}: expected at least one number per datum; got the shape "
            f"{tuple(column.shape)}. Check the selection of features."
        )


def refuse_not_dense(name: str, tensor: Tensor) -> None:
    """Refuse a tensor without an array of values: nested, quantized, masked, sparse, on "meta".

    Raises:
        DataError: If it is one of these.
    """
    if tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        what, remedy = (
            ("a nested one", "Give every row the same shape: tensor.to_padded_tensor(...)")
            if tensor.is_nested
            else ("a quantized one", "Pass tensor.dequantize()")
            if tensor.is_quantized
            else ("one without values, on the device meta", "Pass a tensor with values")
        )
        raise DataError(f"column {name!r}: expected a dense tensor; got {what}. {remedy}.")
    if type(tensor).__name__ == "MaskedTensor":
        raise DataError(
            f"column {name!r}: expected a dense tensor; got a masked one, with hidden values. "
            "Pass tensor.to_tensor(float('nan')), with NaN where they are missing."
        )
    if tensor.layout != torch.strided:
        raise DataError(
            f"column {name!r}: expected a dense tensor; got a sparse one ({tensor.layout}). "
            "Pass tensor.to_dense()."
        )


def _dense(name: str, tensor: Tensor) -> Tensor:
    refuse_not_dense(name, tensor)
    if tensor.is_complex():
        raise _complex(name, str(tensor.dtype))
    if tensor.is_floating_point() and tensor.element_size() == 1:
        return tensor.float()  # Of 8 bits, which have few operations.
    if tensor.dtype == torch.uint64:
        refuse_beyond(name, tensor.numpy())
    return tensor.long() if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64) else tensor


def refuse_beyond(name: str, array: np.ndarray) -> None:
    """Refuse unsigned integers that are too large for int64.

    Raises:
        DataError: If there is one.
    """
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size:
        most = int(array.max())
        if most >= 2**63:
            raise DataError(
                f"column {name!r}: expected whole numbers below 2**63; got {most}. "
                "Convert them to floating-point numbers."
            )


def _flags(mask: Tensor) -> Tensor:
    """A mask of 0 and 1 as booleans; other values are refused."""
    if not bool(((mask == 0) | (mask == 1)).all()):
        strange = mask[(mask != 0) & (mask != 1)].reshape(-1)[0]
        raise DataError(
            f"column 'mask': expected booleans, or 0 and 1; got {float(strange):g}. "
            "Pass 1 where a value was observed, such as mask > 0."
        )
    return mask.bool()


def _array(name: str, value: object, missing_ok: bool) -> tuple[np.ndarray, str]:
    if is_sparse(value):
        raise DataError(
            f"column {name!r}: expected a dense array; got a sparse matrix {value.shape}. "
            "Pass matrix.toarray()."
        )
    note = ""
    if isinstance(value, list | tuple) and any(isinstance(v, np.ma.MaskedArray) for v in value):
        value = np.ma.array(value)  # numpy.asarray would show what is hidden.
    if isinstance(value, np.ma.MaskedArray):
        value, note = _unmasked(name, value, missing_ok)
    try:
        array = _of_frame(value) if is_frame(value) else np.asarray(value)
    except ValueError as error:
        raise DataError(
            f"column {name!r}: expected rows of one shape; got ragged ones ({error}). "
            "Give every row the same number of values."
        ) from error
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"column {name!r}: expected an array; got {type(value).__name__}, which has no "
            f"numbers of its own ({str(error)[:120]}). Pass one array of it."
        ) from error
    _refuse_dtype(name, array)
    refuse_beyond(name, array)
    return array, note


def _of_frame(frame: pd.DataFrame) -> np.ndarray:
    """The numbers of a DataFrame, also of several dtypes, and with missing ones as NaN."""
    from pandas.api.types import is_complex_dtype, is_numeric_dtype

    array = np.asarray(frame)
    numbers = all(is_numeric_dtype(t) and not is_complex_dtype(t) for t in frame.dtypes)
    if array.dtype == object and numbers:
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


def _unmasked(name: str, value: np.ma.MaskedArray, missing_ok: bool) -> tuple[np.ndarray, str]:
    hidden = int(np.ma.count_masked(value))
    if not hidden:
        return np.asarray(value.data), ""
    if name == "y":
        return value.filled(-1), f"{name}: {hidden} masked values are missing (-1)"
    if not missing_ok:
        raise DataError(
            f"column {name!r}: expected values that are all there; got a masked array with "
            f"{hidden} hidden values. Remove these rows, or name the column in missing_ok if the "
            "model takes missing values."
        )
    filled = np.ma.filled(value.astype(np.float64), np.nan)
    return filled, f"{name}: {hidden} masked values are missing (NaN)"


def _refuse_dtype(name: str, array: np.ndarray | MappedRows) -> None:
    kind = array.dtype.kind
    if kind in "buif":
        return
    if kind == "c":
        raise _complex(name, str(array.dtype))
    if kind in "mM":
        raise DataError(
            f"column {name!r}: expected numbers; got dates or durations ({array.dtype}). Pass "
            "numbers in a unit of your choice, such as array / numpy.timedelta64(1, 's')."
        )
    if array.dtype.names:
        raise DataError(
            f"column {name!r}: expected numbers; got records with the fields "
            f"{list(array.dtype.names)}. Pass each field as a column, or stack the fields."
        )
    remedy = "Encode names as numbers first."
    if isinstance(array, np.ndarray) and kind == "O" and array.size:
        if all(isinstance(value, Number) for value in array.flat):
            remedy = "Convert them: array.astype(float)."
    if kind_of(name).coded:
        remedy = "Number them: numpy.unique(values, return_inverse=True)[1]."
    if kind == "O" and array.ndim == 1 and len(array) and np.ndim(array[0]) > 0:
        remedy = "Stack the rows: numpy.stack(values)."
    raise DataError(
        f"column {name!r}: expected numbers; got "
        f"{'text' if kind in 'US' else 'values'} of dtype {array.dtype}. {remedy}"
    )


def _complex(name: str, dtype: str) -> DataError:
    return DataError(
        f"column {name!r}: expected real numbers; got {dtype}. "
        "Stack the real and imaginary parts as two channels."
    )


def _ids(name: str, column: Tensor) -> tuple[Tensor, str]:
    """Whole numbers (N) from one column, a column of height one, or one-hot rows."""
    numbers = column.long()
    if column.is_floating_point() and not torch.equal(numbers.to(column.dtype), column):
        raise DataError(
            f"column {name!r}: expected whole numbers (ids from 0); got {column.dtype} with "
            "fractions or NaN. Encode it as integers; -1 is a missing class."
        )
    note = ""
    if numbers.ndim == 2 and numbers.size(1) == 1:
        numbers, note = numbers[:, 0], f"{name}: shape (N, 1) taken as (N)"
    elif numbers.ndim == 2 and bool(((numbers == 0) | (numbers == 1)).all()):
        if not bool((numbers.sum(1) == 1).all()):
            raise DataError(
                f"column {name!r}: expected one number per datum, or one-hot rows; got rows with "
                "several ones, or none. Give each datum one class; -1 is a missing class."
            )
        note = f"{name}: one-hot rows with {numbers.size(1)} columns taken as numbers from 0"
        numbers = numbers.argmax(1)
    elif numbers.ndim > 1:
        raise DataError(
            f"column {name!r}: expected shape (N); got (N, "
            f"{', '.join(map(str, numbers.shape[1:]))}). Give each datum one number."
        )
    least = kind_of(name).least
    if len(numbers) and int(numbers.min()) < least:
        raise DataError(
            f"column {name!r}: expected ids from {least}; got {int(numbers.min())}. "
            "Number them from 0; leave out rows where it is missing (-1)."
        )
    absent = int((numbers == -1).sum())
    if absent:
        unknown = f"{name}: {absent} of {len(numbers)} rows are without a label (-1)"
        note = f"{note}; {unknown}" if note else unknown
    return numbers, note


def refuse_non_finite(
    name: str, column: Column, *, missing_ok: bool = False, features: Sequence[str] = ()
) -> int:
    """Refuse NaN and infinity, reading by chunks; return the number of missing values.

    Arguments:
        name: Name of the column.
        column: Values of the column.
        missing_ok: Whether NaN is accepted, as a missing value.
        features: Names of the numbers of a row, where rows are vectors.

    Raises:
        DataError: If there is one; the message names the row, and the feature if it has a name.
    """
    if isinstance(column, SparseRows):  # Checked in the constructor.
        return 0
    if isinstance(column, Tensor):
        floating = column.is_floating_point()
    else:
        floating = column.dtype.kind == "f"
        if column.dtype.kind == "u" and column.dtype.itemsize == 8:
            for rows in spans(column):
                refuse_beyond(name, np.asarray(column[rows]))
    if not floating:
        return 0
    missing = 0
    for rows in spans(column):
        chunk = rows_of(column, rows)
        good = ~torch.isinf(chunk) if missing_ok else torch.isfinite(chunk)
        if not good.all():
            row, *place = (~good).nonzero()[0].tolist()
            where = f"row {rows.start + row}"
            if len(place) == 1 and len(features) == good.shape[1]:
                where += f" of {features[place[0]]!r}"
            raise DataError(
                f"column {name!r}: expected finite numbers; got NaN or infinity in {where}. "
                "Remove the row, or name the column in missing_ok if the model takes missing "
                "values."
            )
        missing += int(chunk.isnan().sum())
        if chunk.dtype == torch.float64:
            size = chunk.abs().nan_to_num(0).max()
            if float(size) > torch.finfo(torch.float32).max:
                raise DataError(
                    f"column {name!r}: expected numbers that float32 holds, in which models "
                    f"compute; got one of size {float(size):.3g}. Scale them."
                )
    return missing
