"""Classes, identifiers and names of a dataset, numbered as another dataset numbers them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ppvae.data.columns import kind_of
from ppvae.data.mapped import Column
from ppvae.data.record import recoded, text_of
from ppvae.errors import DataError

__all__ = ["renumbered"]

Named = tuple[Column, Sequence[str] | None]


def renumbered(name: str, given: Named, other: Named) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers of names as another column numbers them, and its names.

    Arguments:
        name: The column.
        given: Numbers (N), and the names that they stand for; None where they stand for
            themselves. NaN and -1 are missing, and stay.
        other: The same of the other dataset.

    Raises:
        DataError: If the other column lacks a name, or is one of quantities.
    """
    mine, its = given[1], other[1]
    values = torch.as_tensor(given[0]).cpu()
    if its is None and not kind_of(name).coded:
        raise DataError(
            f"column {name!r}: expected numbers, as in the training data; got the names "
            f"{', '.join(map(str, (mine or ())[:4]))}. Write the column alike in both."
        )
    if its is None:
        its = _digits(torch.as_tensor(other[0]))
    if mine is None and kind_of(name).coded:
        mine = _digits(values)
    missing = values.isnan() | (values == -1)
    if mine is None:
        texts = [text_of(value) for value in values.masked_fill(missing, 0).tolist()]
        mine = sorted({t for t, gone in zip(texts, missing.tolist(), strict=True) if not gone})
        places = {text: i for i, text in enumerate(mine)}
        codes = np.array([places.get(text, 0) for text in texts], dtype=np.int64)
    else:
        codes = values.masked_fill(missing, 0).numpy().astype(np.int64)
    absent = missing.numpy()
    numbers = recoded(name, np.where(absent, -1, codes), mine, its)
    found = torch.from_numpy(np.where(absent, -1, numbers))
    if values.is_floating_point():
        found = torch.where(missing, values, found.to(values.dtype))
    return found, tuple(its)


def _digits(values: Tensor) -> tuple[str, ...]:
    return tuple(str(i) for i in range(int(values.max()) + 1))
