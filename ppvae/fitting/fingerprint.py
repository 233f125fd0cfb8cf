"""A fingerprint of the data that a run was fitted with, in 64 characters."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from ppvae.data import Dataset
from ppvae.data.mapped import Column

__all__ = ["fingerprint"]

# Size in bytes up to which a column is read in full; of a larger one, this many rows are read.
WHOLE, ROWS = 2**28, 2**14


def fingerprint(data: Dataset) -> str:
    """SHA-256 of the columns' names, dtypes, shapes and values.

    It covers all values of a column of up to 256 MiB, and 16,384 evenly spaced rows of a larger
    one.
    """
    digest = hashlib.sha256()
    for name in sorted(data):
        column = data[name]
        shape, kind = tuple(column.shape), str(column.dtype).removeprefix("torch.")
        digest.update(f"{name} {shape} {kind};".encode())
        rows = len(column)
        part: Column | np.ndarray = column
        if column.nbytes > WHOLE and rows > ROWS:
            numbers = np.linspace(0, rows - 1, ROWS).astype(np.int64)
            part = (
                column[torch.from_numpy(numbers)]
                if isinstance(column, Tensor)
                else column[numbers]
            )
        if isinstance(part, Tensor):
            part = part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
