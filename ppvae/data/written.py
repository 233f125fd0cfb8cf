"""Files that HDF5 writes: a full disk is an error of Python's, never one within HDF5.

Where a write fails, HDF5 keeps what it could not write, tries again when the file is closed and
when the process ends, and can end it there with a segmentation fault.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

__all__ = ["HDF5File"]


class HDF5File(io.RawIOBase):
    """A new file for ``h5py.File`` that takes every write, and keeps the first error.

    After an error, what is written stays in memory, to be read back, and :meth:`check` raises:
    call it after each piece of data.

    Arguments:
        path: The file.

    Attributes:
        error: The first error of a write; None without one.

    Raises:
        OSError: If the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._file = path.open("w+b", buffering=0)
        self._kept: list[tuple[int, bytes]] = []
        self._at = 0
        self._size = 0

    def check(self) -> None:
        """Raise the first error of a write, if there was one.

        Raises:
            OSError: That error.
        """
        if self.error is not None:
            raise self.error

    def readable(self) -> bool:
        """True, as HDF5 reads back what it has written."""
        return True

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place, counted from the start, from here or from the end."""
        self._at = (
            offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        )
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size."""
        size = self._at if size is None else size
        try:
            self._file.truncate(size)
        except OSError as error:
            self._fail(error)
        self._size = size
        return size

    def write(self, data: object, /) -> int:
        """Write bytes, all of them."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        start, done = self._at, 0
        try:
            while self.error is None and done < len(view):
                self._file.seek(start + done)
                done += self._file.write(view[done:]) or 0
        except OSError as error:
            self._fail(error)
        if self.error is not None:
            self._kept.append((start, bytes(view)))
        self._at = start + len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def readinto(self, buffer: object, /) -> int:
        """Read bytes, also those that could not be written."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = max(0, min(len(view), self._size - self._at))
        self._file.seek(self._at)
        found = self._file.read(count) or b""
        view[:count] = found + bytes(count - len(found))
        for start, data in self._kept:
            low, high = max(start, self._at), min(start + len(data), self._at + count)
            if low < high:
                view[low - self._at : high - self._at] = data[low - start : high - start]
        self._at += count
        return count

    def flush(self) -> None:
        """Nothing: no write is kept back."""

    def finish(self) -> None:
        """Wait for the disk, and close the file, which HDF5 has closed.

        Raises:
            OSError: If something could not be written.
        """
        self.check()
        os.fsync(self._file.fileno())
        self._file.close()
        self.close()

    def discard(self) -> None:
        """Close the file, whatever became of it."""
        self._kept.clear()
        try:
            self._file.close()
        except OSError as error:
            self._fail(error)
        self.close()

    def _fail(self, error: OSError) -> None:
        if self.error is None:
            self.error = error
