"""Whole numbers of pictures that are far below the scale by which they become [0, 1].

Masks and binarised pictures are often stored as uint8 of 0 and 1, and cameras write 10 or 12 bits
into 16. Nothing in such a file states its scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ppvae.data.columns import kind_of
from ppvae.data.mapped import Column, spans
from ppvae.data.sparse import SparseRows

__all__ = ["dim_bytes", "dim_words", "said_dim"]

# Number of levels up to which bytes are hardly intensities from 0 to 255.
FEW = 16
# Largest numbers of cameras with 8, 10 and 12 bits, that are written into 16.
TOPS = (255, 1023, 4095)
MARK = "if the full scale is"


def dim_bytes(name: str, column: Column) -> str:
    """A note on uint8 with few levels, which becomes almost 0; empty for others.

    Arguments:
        name: Name of the dataset column.
        column: Values with shape (N, ...); read up to the first that is large.
    """
    if not str(column.dtype).endswith("uint8") or not kind_of(name).intensity:
        return ""
    if isinstance(column, SparseRows):
        return ""  # Counts.
    most = 0
    for span in spans(column):
        rows = column[span]
        most = max(most, int(rows.max()) if math.prod(rows.shape) else 0)
        if most >= FEW:
            return ""
    if not most:
        return ""
    other = "bool" if most == 1 else f"numbers divided by {most}"
    return (
        f"{name}: the largest uint8 is {most}, which becomes {most / 255:.2g}, as 255 becomes 1; "
        f"{MARK} {most}, pass {other}, or for files of pictures range=(0, {most}) (on the command "
        f"line --range 0 {most})"
    )


def dim_words(largest: float) -> str:
    """A note on pictures of 16 bits, of which the upper bits are not used; empty for others.

    Arguments:
        largest: Largest value of the pictures, 65535 as 1.
    """
    most = round(largest * 65535)
    top = most if most < FEW else next((top for top in TOPS if most <= top), 0)
    if not top:
        return ""
    return (
        f"x: the largest value of 16 bits is {most}, which becomes {most / 65535:.2g}, as 65535 "
        f"becomes 1; {MARK} {top}, pass range=(0, {top}) (on the command line --range 0 {top})"
    )


def said_dim(notes: Iterable[str]) -> list[str]:
    """The notes of :func:`dim_bytes` and :func:`dim_words` among others."""
    return [note for note in notes if MARK in note]
