"""TIFF files that end too early: readers take their first pictures for all of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

from ppvae.errors import DataError

__all__ = ["refuse_cut_off"]

# By the first bytes: byte order; format of an offset; and of the number of tags of a header.
KINDS = {
    b"II*\0": ("<", "I", "H"),
    b"MM\0*": (">", "I", "H"),
    b"II+\0": ("<", "Q", "Q"),
    b"MM\0+": (">", "Q", "Q"),
}
# Length in bytes of a number by the type of a tag, where it is more than one.
LENGTHS = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
# Tags that state which pictures there are, and where: bits, description, strips, tiles.
TAGS = {258, 270, 273, 279, 324, 325}


def refuse_cut_off(path: Path) -> None:
    """Refuse a TIFF file with a header, or the values of one, behind its end.

    Arguments:
        path: The file; one of another kind is left to its reader.

    Raises:
        DataError: If a part of it lies behind its end.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        kind = KINDS.get(file.read(4))
        if kind is None or size < 16:
            return
        order, offset, count = kind
        file.seek(4 if offset == "I" else 8)
        seen: set[int] = set()
        try:
            (place,) = _unpacked(file, order + offset)
            while place and place not in seen:
                if place > size:
                    raise EOFError
                seen.add(place)
                file.seek(place)
                (tags,) = _unpacked(file, order + count)
                for _ in range(tags):
                    tag, form, number, start = _unpacked(file, f"{order}HH{offset}{offset}")
                    length = LENGTHS.get(form, 1) * number
                    outside = length > struct.calcsize(offset) and start + length > size
                    if tag in TAGS and outside:
                        raise EOFError
                if file.tell() == size:
                    break  # Some programs leave out the place of the next header, which is none.
                (place,) = _unpacked(file, order + offset)
        except EOFError as error:
            raise DataError(
                f"{path.name}: expected a complete file; got one that is cut off: its headers "
                f"name places behind its end, at {size} bytes. Copy the file again, or save the "
                "pictures that are there as an array: .npz."
            ) from error


def _unpacked(file: IO[bytes], form: str) -> tuple[int, ...]:
    """The numbers of a format at the present place.

    Raises:
        EOFError: If the file ends before.
    """
    content = file.read(struct.calcsize(form))
    if len(content) < struct.calcsize(form):
        raise EOFError
    return struct.unpack(form, content)
