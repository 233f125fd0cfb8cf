"""What programs can be given as the columns of a batch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ppvae.data.convert import refuse_not_dense
from ppvae.errors import ContractError, DataError

__all__ = ["refuse_columns"]


def refuse_columns(batch: Mapping[str, Tensor]) -> None:
    """Refuse a batch that is not one of dense tensors by name, each with at least one row.

    Arguments:
        batch: Columns by name, each with shape (N, ...); a number as ``size``.

    Raises:
        ContractError: If it is not one.
    """
    if not isinstance(batch, Mapping):
        raise ContractError(
            f"batch: expected columns by name; got a {type(batch).__name__}. Pass {{'x': x}}."
        )
    for name, column in batch.items():
        if not isinstance(name, str) or not (
            isinstance(column, Tensor) or (name == "size" and type(column) is int)
        ):
            raise ContractError(
                f"batch: expected tensors by name; got {name!r}, a {type(column).__name__}. "
                "Use torch.as_tensor."
            )
        if isinstance(column, Tensor):
            try:
                refuse_not_dense(name, column)
            except DataError as error:
                raise ContractError(f"batch: {error}") from None
            if column.dim() and not len(column):
                raise ContractError(
                    f"batch: expected at least one row in {name!r}; got shape "
                    f"{tuple(column.shape)}. Pass rows, 8 to 32 of them for a check."
                )
