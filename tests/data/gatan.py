"""A writer of small files of Gatan's DigitalMicrograph, versions 3 and 4."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

__all__ = ["KINDS", "write_gatan"]

# Codes of each type of values: of the array, and of the picture.
KINDS = {
    "uint8": (10, 6),
    "int8": (9, 9),
    "int16": (2, 1),
    "uint16": (4, 10),
    "int32": (3, 7),
    "uint32": (5, 11),
    "float32": (6, 2),
    "float64": (7, 12),
}


class _Tags:
    """Tags of a version: counts and sizes are 4 bytes in version 3, and 8 in version 4."""

    def __init__(self, version: int) -> None:
        self.version = version

    def number(self, value: int) -> bytes:
        return struct.pack(">i" if self.version == 3 else ">q", value)

    def tag(self, name: str, body: bytes, kind: int) -> bytes:
        size = b"" if self.version == 3 else struct.pack(">q", len(body))
        return struct.pack(">bh", kind, len(name)) + name.encode() + size + body

    def data(self, name: str, info: list[int], content: bytes) -> bytes:
        head = b"%%%%" + self.number(len(info)) + b"".join(map(self.number, info))
        return self.tag(name, head + content, 21)

    def group(self, name: str, *tags: bytes) -> bytes:
        return self.tag(name, b"\0\0" + self.number(len(tags)) + b"".join(tags), 20)

    def text(self, name: str, words: str) -> bytes:
        return self.data(name, [20, 4, len(words)], words.encode("utf-16-le"))

    def whole(self, name: str, value: int) -> bytes:
        return self.data(name, [5], struct.pack("<I", value))


def write_gatan(path: Path, values: np.ndarray, *, spectral: bool = False) -> None:
    """Write a picture (H, W) or a stack (N, H, W); the suffix names the version.

    Arguments:
        path: Path of a .dm3 or .dm4 file.
        values: Of a type in :data:`KINDS`, or of records B, G, R, A.
        spectral: Whether the file says that the values are a spectral image.
    """
    make = _Tags(int(path.suffix[-1]))
    code, kind = KINDS.get(values.dtype.name, (3, 23))
    size, content = values.size, values.astype(values.dtype.newbyteorder("<")).tobytes()
    unit = [make.data(name, [6], struct.pack("<f", 1)) for name in ("Origin", "Scale")]
    unit.append(make.text("Units", "nm"))
    axes = make.group("Dimension", *[make.group("", *unit) for _ in values.shape])
    picture = make.group(
        "ImageData",
        make.group("Calibrations", make.group("Brightness", *unit), axes),
        make.data("Data", [20, code, size], content),
        make.whole("DataType", kind),
        make.group("Dimensions", *[make.whole("", length) for length in values.shape[::-1]]),
        make.whole("PixelDepth", values.itemsize),
    )
    said = [make.text("Format", "Spectrum image"), make.text("Signal", "EELS")] * spectral
    tags = make.group("ImageTags", *[make.group("Meta Data", *said)] * spectral)
    listed = make.group("ImageList", make.group("", picture, tags, make.text("Name", "a")))
    body = b"\0\0" + make.number(1) + listed
    head = struct.pack(">i", make.version) + make.number(len(body)) + struct.pack(">i", 1)
    path.write_bytes(head + body + b"\0" * 8)
