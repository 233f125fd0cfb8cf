"""Columns and features without any known value, from which nothing can be learned."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ppvae.data.dataset import Dataset
from ppvae.data.mapped import Column, rows_of, spans
from ppvae.data.sparse import SparseRows
from ppvae.errors import DataError

__all__ = ["refuse_unknown"]

logger = logging.getLogger(__name__)


def refuse_unknown(data: Dataset, part: str, *names: str) -> None:
    """Refuse data of which a column is missing entirely; warn of such features to train on.

    Arguments:
        data: The data.
        part: What they are, such as ``"training"``, for the message.
        names: Columns that are refused; all by default.

    Raises:
        DataError: Naming the column.
    """
    for name in data.missing_ok:
        unknown = _unknown(data[name]) if name in data else torch.zeros(1, dtype=torch.bool)
        if not unknown.any():
            continue
        if unknown.all() and (not names or name in names):
            raise DataError(
                f"column {name!r}: expected some known values in the {part} data; got missing "
                "ones (NaN) alone. Check how they were written, or leave the column out."
            )
        if part != "training":
            continue
        features = data.names.get(name, ())
        labels = [
            str(features[i] if len(features) == len(unknown) else i)
            for i in unknown.nonzero().flatten().tolist()
        ]
        shown = ", ".join(labels[:6]) + (", ..." if len(labels) > 6 else "")
        logger.warning(
            "column %r: no known value in the training data of the features %s, of which nothing "
            "is learned.",
            *(name, shown),
        )


def _unknown(column: Column) -> Tensor:
    """Whether all values are missing, by feature of vectors (D), or of all together (1)."""
    if isinstance(column, SparseRows) or not _floating(column):
        return torch.zeros(1, dtype=torch.bool)
    unknown: Tensor | None = None
    for rows in spans(column):
        gone = rows_of(column, rows).isnan()
        gone = gone.all(0) if gone.dim() == 2 else gone.all().reshape(1)
        unknown = gone if unknown is None else unknown & gone
        if not unknown.any():
            break
    return torch.zeros(1, dtype=torch.bool) if unknown is None else unknown.cpu()


def _floating(column: Column) -> bool:
    if isinstance(column, Tensor):
        return column.is_floating_point()
    return column.dtype.kind == "f"
