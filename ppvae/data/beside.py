"""What files of arrays hold beside their columns: a pixel size, a title, wavelengths."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np

from ppvae.data.columns import COLUMNS, found_as, known_as

__all__ = ["Stored", "beside"]


class Stored(Protocol):
    """An array in a file, of which the values need not be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...


def beside(
    arrays: Mapping[str, Stored], known: Collection[str] = (), objects: Collection[str] = ()
) -> tuple[list[str], str]:
    """Names of arrays that are no columns, and a note on them.

    These are single numbers or texts, objects and records, and arrays of another length than x
    (without it, than other columns with a meaning), unless their names have a meaning: those are
    refused where they are read, if they cannot be used.

    Arguments:
        arrays: Arrays of a file, by name.
        known: Names that have a meaning, beside those of :data:`ppvae.data.columns.COLUMNS`.
        objects: Names of arrays that hold objects.
    """
    own = [n for n in arrays if known_as(n) not in COLUMNS and n not in known]
    given = found_as("x", arrays)
    meant = [given] if given is not None else [n for n in arrays if n not in own]
    lengths = {arrays[n].shape[0] for n in meant if arrays[n].shape}
    if not any(arrays[n].shape for n in arrays):
        return [], ""  # No columns at all, which is said where they are read.
    left: dict[str, str] = {}
    for name in own:
        shape, kind = arrays[name].shape, arrays[name].dtype.kind
        if not shape:
            left[name] = "a single value"
        elif lengths and (name in objects or kind == "V"):
            left[name] = "no numbers or text"
        elif len(lengths) == 1 and shape[0] not in lengths:
            left[name] = f"shape {tuple(shape)}"
    listed = [f"{name[:60]!r} ({why})" for name, why in left.items()]
    more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
    note = f"left out, as they do not have a value per row: {', '.join(listed[:6])}{more}"
    return [*left], note if left else ""
