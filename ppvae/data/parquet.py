"""Large Parquet files: the columns that are needed, some rows at a time.

A file whose numbers take more than :data:`LARGE` bytes is never a DataFrame with all of its rows:
columns that are plainly numbers are stand-ins there, without values, until :func:`by_batches`
fills the matrix of features from batches of rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppvae.data.columns import known_as
from ppvae.data.features import Precision, in_float64, is_beyond, numbers_of, refuse_rounded

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LARGE", "LargeParquet"]

# Bytes of numbers from which on a file is read by batches, and numbers in a batch.
LARGE, BATCH = 2**28, 2**24


class LargeParquet:
    """A Parquet file of many numbers.

    Arguments:
        path: The file.
        kept: Columns that are read whole, whatever they hold.
        counters: Pattern of names of columns that may number the rows, which are read whole, too.
    """

    def __init__(self, path: Path, kept: Collection[str], counters: re.Pattern[str]) -> None:
        import pyarrow.parquet

        self.path = path
        self.file = pyarrow.parquet.ParquetFile(path, memory_map=True)
        types = pyarrow.types
        schema = self.file.schema_arrow
        self.names: list[str] = list(schema.names)
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        self.plain = {
            field.name: field.type.to_pandas_dtype()
            for field in schema
            if (types.is_floating(field.type) or types.is_integer(field.type))
            and not {field.name, known_as(field.name)} & set(kept)
            and field.name not in index
            and counters.fullmatch(field.name) is None
        }
        self.rows = int(self.file.metadata.num_rows)

    @property
    def is_large(self) -> bool:
        """Whether it should be read by batches."""
        width = sum(np.dtype(dtype).itemsize for dtype in self.plain.values())
        unique = len(set(self.names)) == len(self.names)
        return unique and self.rows * width > LARGE

    def frame(self) -> pd.DataFrame:
        """The table, with stand-ins that take no memory for the columns that are plain numbers."""
        import pandas as pd
        from scipy.sparse import csc_matrix

        others = [name for name in self.names if name not in self.plain]
        frame = pd.read_parquet(self.path, columns=others)
        empty = csc_matrix((self.rows, len(self.plain)), dtype=np.float32)
        stand_ins = pd.DataFrame.sparse.from_spmatrix(empty, frame.index, list(self.plain))
        order = [name for name in self.names if name in self.plain or name in frame.columns]
        return pd.concat([frame, stand_ins], axis=1)[order]

    def features(
        self, source: str, frame: pd.DataFrame, names: Sequence[str]
    ) -> tuple[np.ndarray, str]:
        """As :func:`ppvae.data.features.matrix`, from batches of the file's rows.

        Raises:
            DataError: If float64 makes different whole numbers equal.
        """
        others = [name for name in names if name not in self.plain]
        whole = {name: numbers_of(source, name, frame[name]) for name in others}
        for name, column in whole.items():
            refuse_rounded(source, name, column)
        values, precision = self._filled(names, whole, np.float32)
        for name, size in zip(names, precision.size.tolist(), strict=True):
            if size >= 2**53 and name not in whole and self.plain[name] in (np.int64, np.uint64):
                self._refuse_rounded(source, name)
        fine = [name for name, it_is in zip(names, precision.fine, strict=True) if it_is]
        if fine:
            values, _ = self._filled(names, whole, np.float64)
        note = f"{source}: read {self._step(len(names)):,} rows at a time"
        return values, "; ".join(filter(None, [note, in_float64(fine)]))

    def _refuse_rounded(self, source: str, name: str) -> None:
        """As :func:`ppvae.data.features.refuse_rounded`, from the large numbers of a column."""
        large = []
        for batch in self.file.iter_batches(BATCH, columns=[name]):
            numbers = batch.column(0).drop_null().to_numpy(zero_copy_only=False)
            if is_beyond(numbers):
                large.append(np.unique(numbers))
        if large:
            refuse_rounded(source, name, np.concatenate(large))

    def _step(self, width: int) -> int:
        return max(1, BATCH // width)

    def _filled(
        self, names: Sequence[str], whole: Mapping[str, np.ndarray], dtype: type[np.floating]
    ) -> tuple[np.ndarray, Precision]:
        """The matrix, and what float32 would change in it."""
        values = np.empty((self.rows, len(names)), dtype)
        precision = Precision(len(names))
        read = [name for name in names if name not in whole]
        start = 0
        for batch in self.file.iter_batches(self._step(len(names)), columns=read):
            stop = start + batch.num_rows
            block = np.empty((batch.num_rows, len(names)))
            for i, name in enumerate(names):
                if name in whole:
                    block[:, i] = whole[name][start:stop]
                else:
                    block[:, i] = batch.column(name).to_numpy(zero_copy_only=False)
            values[start:stop] = block
            if dtype == np.float32:
                precision.add(block)
            start = stop
        return values, precision
